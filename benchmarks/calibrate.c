/* calibrate.c: the physical limits of one core.  Built with -O3 -march=native by calibrate.py. */
#include <math.h>
#include <stdint.h>
#include <time.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#if defined(__x86_64__)
#define REGISTER "x"
#else
#define REGISTER "w"
#endif
typedef float vec __attribute__((vector_size(BYTES)));
enum { LANES = BYTES / 4, CHAINS = 12 }; /* enough independent sums to hide the latency of an fma */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

/* GFLOP/s of fused multiply-adds on registers. */
double fma_peak(int64_t rounds) {
    vec x = {0}, y = {0};
    for (int i = 0; i < LANES; i++) x[i] = 0.999f, y[i] = 1e-3f;
#define START(c) vec a##c = y * (float)(c + 1);
    EACH(START)
    const double start = now();
    for (int64_t r = 0; r < rounds; r++) {
#define ROUND(c) a##c = a##c * x + y;
        EACH(ROUND)
        __asm__ volatile("" : "+" REGISTER(x), "+" REGISTER(y)); /* x and y might change: every round has to be done */
    }
    const double seconds = now() - start;
#define KEEP(c) __asm__ volatile("" : : REGISTER(a##c));
    EACH(KEEP)
    return 2.0 * LANES * CHAINS * (double)rounds / seconds * 1e-9;
}

/* GB/s of what an optimizer step moves: four arrays read, three of them written back. */
double update_bandwidth(float *restrict p, const float *restrict g, float *restrict m, float *restrict v, int64_t n,
                        int64_t rounds) {
    const double start = now();
    for (int64_t r = 0; r < rounds; r++) {
        for (int64_t i = 0; i < n; i++) {
            m[i] = m[i] + g[i];
            v[i] = v[i] - g[i];
            p[i] = p[i] + g[i];
        }
        __asm__ volatile("" : : "r"(p), "r"(m), "r"(v) : "memory");
    }
    return 28.0 * (double)n * (double)rounds / (now() - start) * 1e-9;
}

/* G elements/s of one exact square root and one exact division each, from the first-level cache: no step of Adam that
 * promises the same bits everywhere is faster. */
double root_and_quotient(int64_t rounds) {
    enum { N = 2048 };
    static float v[N], m[N], y[N];
    for (int i = 0; i < N; i++) v[i] = 1.0f + (float)i, m[i] = (float)i;
    const double start = now();
    for (int64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < N; i++) y[i] = m[i] / sqrtf(v[i]);
        __asm__ volatile("" : : "r"(v), "r"(m), "r"(y) : "memory");
    }
    return (double)N * (double)rounds / (now() - start) * 1e-9;
}
