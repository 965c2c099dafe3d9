/* sparse.c: one layer, dense and pruned, for sparse.py: seconds of one call, float32, one thread. */
#include "numbers.h"

#include <stdlib.h>
#include <string.h>

static uint64_t state;
static double draw(void) { /* in [0,1): a linear congruential generator's upper bits */
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 33) / 2147483648.0;
}

typedef struct form {
    pn_sparse w;
    float *values;
    uint8_t *steps;
    uint32_t *ends;
} form;
static void drop(form *f) { free(f->values), free(f->steps), free(f->ends); }

/* Each weight stays with probability `density`. */
static void prune(form *f, int64_t I, int64_t O, double density, int nibbles) {
    const int longest = nibbles ? 15 : 255;
    const size_t most = (size_t)(I * O) + (size_t)O;
    f->values = malloc(most * sizeof *f->values), f->steps = calloc(most, 1),
    f->ends = malloc((size_t)O * sizeof *f->ends);
    uint32_t n = 0;
    for (int64_t o = 0; o < O; o++) {
        int64_t last = -1;
        for (int64_t i = 0; i < I; i++) {
            const int kept = draw() < density;
            if (!kept && i - last < longest) continue;
            f->values[n] = kept ? (float)(draw() - 0.5) : 0;
            const uint8_t step = (uint8_t)(i - last);
            if (nibbles)
                f->steps[n / 2] |= (uint8_t)(step << (n % 2 * 4));
            else
                f->steps[n] = step;
            n++, last = i;
        }
        if (nibbles && n % 2) f->values[n++] = 0; /* a step of 0: counts are even */
        f->ends[o] = n;
    }
    f->w = (pn_sparse){f->values, f->steps, f->ends, nibbles, 0, NULL};
}

/* A copy from a line of the cache on, as in pynet, and room for some bytes more. */
static void *in_lines(const void *from, size_t n, size_t more) {
    enum { LINE = 64 };
    void *to = aligned_alloc(LINE, (n + more + LINE - 1) / LINE * LINE);
    return memcpy(to, from, n);
}

/* The same in lanes, made of a form with steps of eight bits: src/pynet/lanes.py. */
static form in_lanes(const form *f, int64_t I, int64_t O) {
    enum { BLOCK = PN_LANES_BLOCK };
    const int64_t P = pn_panels((uint32_t)O), most = (int64_t)f->ends[O - 1] + 4 * P; /* a block takes a value */
    const int64_t last = ((int64_t)pn_pad((uint64_t)I) - PN_LANES_SIGHT) / PN_LANES_UNIT;
    form l = {0};
    float *values = calloc((size_t)(4 * most) * PN_PANEL, sizeof(float));
    uint8_t *places = malloc((size_t)(4 * most) * PN_PANEL), *sights = malloc((size_t)(4 * most));
    l.ends = malloc((size_t)P * sizeof *l.ends);
    uint32_t s = 0;
    for (int64_t q = 0; q < P; l.ends[q++] = s) {
        int64_t e[PN_PANEL], i[PN_PANEL], least = I, k = 0;
        for (int64_t j = 0; j < PN_PANEL; j++) {
            const int64_t o = q * PN_PANEL + j;
            e[j] = o < O && o ? f->ends[o - 1] : 0;
            i[j] = o < O && e[j] < f->ends[o] ? f->steps[e[j]] - 1 : I;
            least = i[j] < least ? i[j] : least;
        }
        for (; least < I || s % BLOCK; s++) {
            if (s % 2 == 0) {
                k = least / PN_LANES_UNIT < last ? least / PN_LANES_UNIT : last;
                sights[s] = (uint8_t)(k & 255), sights[s + 1] = (uint8_t)(k >> 8);
            }
            least = I;
            for (int64_t j = 0; j < PN_PANEL; j++) {
                const int64_t place = i[j] - k * PN_LANES_UNIT;
                uint8_t *own = places + (s / BLOCK * PN_PANEL + j) * BLOCK + s % BLOCK;
                *own = PN_NO_PLACE;
                if (i[j] < I && place < PN_LANES_SIGHT) {
                    *own = (uint8_t)place, values[(size_t)s * PN_PANEL + (size_t)j] = f->values[e[j]++];
                    i[j] = e[j] < f->ends[q * PN_PANEL + j] ? i[j] + f->steps[e[j]] : I;
                }
                least = i[j] < least ? i[j] : least;
            }
        }
    }
    l.values = in_lines(values, (size_t)s * PN_PANEL * sizeof(float), 0);
    l.steps = in_lines(places, (size_t)s * PN_PANEL, s);
    memcpy(l.steps + (size_t)s * PN_PANEL, sights, s);
    free(values), free(places), free(sights);
    l.w = (pn_sparse){l.values, l.steps, l.ends, 0, 1, l.steps + (size_t)s * PN_PANEL};
    return l;
}

/* way: 0 dense, 1 rows, 2 columns, 3 lanes.  -1: no such ISA. */
__attribute__((visibility("default"))) double sparse_seconds(const char *name, int way, int64_t B, int64_t I, int64_t O,
                                                             double density, int nibbles, int64_t rounds) {
    const pn_isa *isa = pn_isa_find(name);
    if (!isa) return -1;
    const pn_kernels_f32 *k = isa->kernels[0];
    const int64_t ldx = leading(I), ldy = leading(O), R = B > 16 ? 32 : 16;
    const int64_t P = pn_panels((uint32_t)O);
    float *x = numbers((size_t)(B * ldx)), *y = numbers((size_t)(B * ldy)), *w = numbers((size_t)(I * P * 16));
    float *b = numbers((size_t)pn_pad((uint64_t)O)), *x_tir = numbers((size_t)(I * PN_SPARSE_TILE));
    const double p[4] = {0};
    form f = {0};
    if (way) prune(&f, I, O, density, nibbles);
    if (way == 3) {
        const form l = in_lanes(&f, I, O);
        drop(&f), f = l;
    }
    double seconds = -1;
    for (int64_t r = -1; r < rounds; r++) {
        if (r == 0) seconds = pn_now();
        if (way == 0) k->dense_forward(x, ldx, w, b, y, ldy, NULL, 0, 0, B, I, 0, P, PN_ACT_relu, p, NULL, NULL, 0);
        if (way == 1 || way == 3) k->sparse_rows(x, ldx, &f.w, b, y, ldy, 0, B, O, 0, P, PN_ACT_relu, p);
        for (int64_t m = 0; way == 2 && m < B; m += R) { /* as in csrc/op_sparse.h */
            k->columns(x + m * ldx, ldx, x_tir, R, B - m, I, 0, 1);
            k->sparse_columns(x_tir, R, &f.w, b, y + m * ldy, ldy, B - m, I, O, 0, 1, 0, P, PN_ACT_relu, p);
        }
    }
    seconds = (pn_now() - seconds) / (double)rounds;
    free(x), free(y), free(w), free(b), free(x_tir), drop(&f);
    return seconds;
}
