/* norm.h: normalisation: y = (x - mean) gamma / sqrt(variance + epsilon) + beta.
 *
 *   batch_norm    mean and variance of each column of the batch (Ioffe, Szegedy 2015, arXiv:1502.03167)
 *   running_norm  the running ones, which are constants here
 *   row_norm      of each row: layer norm (Ba, Kiros, Hinton 2016, arXiv:1607.06450); without gamma and beta instance
 * norm
 *
 * x^ stands for the normalised (x - mean) / deviation.  Rows count r_b times, R = sum r_b.
 * Sums over the batch run in four chains, rows b = 0, 4, 8 ..; 1, 5, ..; added as (0 + 1) + (2 + 3): one order for
 * every ISA, and four times as fast as one chain, which would wait for its additions. */
#ifndef PN_NORM_H
#define PN_NORM_H
#include "simd.h"

typedef struct chains {
    vec c[4];
} chains;
PN_INLINE chains chains_zero(void) { return (chains){{vset(0), vset(0), vset(0), vset(0)}}; }
PN_INLINE vec chains_sum(const chains *s) { return vadd(vadd(s->c[0], s->c[1]), vadd(s->c[2], s->c[3])); }

/* for b in 0..B-1: BODY with k = b mod 4 */
#define EACH_ROW(BODY)                                                                                                 \
    {                                                                                                                  \
        int64_t b4 = 0;                                                                                                \
        for (; b4 + 4 <= B; b4 += 4) {                                                                                 \
            _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) {                                                      \
                const int64_t b = b4 + k;                                                                              \
                BODY                                                                                                   \
            }                                                                                                          \
        }                                                                                                              \
        for (int64_t b = b4; b < B; b++) {                                                                             \
            const int64_t k = b - b4;                                                                                  \
            BODY                                                                                                       \
        }                                                                                                              \
    }
#define EACH_COLUMN  for (int64_t o = p0 * PN_PANEL; o < p1 * PN_PANEL; o += VLEN)
#define AT_O(vector) vload((const real *)(vector) + o)

PN_INLINE void gather_sum(real *to, vec sum, int add) {
    if (to) vstore(to, add ? vadd(vload(to), sum) : sum);
}

/* ---- batch_norm
 * ------------------------------------------------------------------------------------------------------ */

static void batch_norm_forward(const real *x, int64_t ldx, const real *r, double r_sum, const pn_norm *norm, real *mean,
                               real *variance, real *y, int64_t ldy, int64_t B, int64_t p0, int64_t p1) {
    const vec share = vset(R(r_sum > 0 ? 1 / r_sum : 0)), epsilon = vset(R(norm->epsilon));
    EACH_COLUMN {
        /* mean = x_0 + sum r (x - x_0) / R: x_0 is near, so nothing cancels when the mean is far from 0 */
        const vec x0 = vload(x + o);
        chains s = chains_zero();
        EACH_ROW(s.c[k] = vfma(vset(r[b]), vsub(vload(x + b * ldx + o), x0), s.c[k]);)
        const vec mu = vfma(chains_sum(&s), share, x0);
        /* variance = sum r (x - mean)^2 / R */
        s = chains_zero();
        EACH_ROW(const vec d = vsub(vload(x + b * ldx + o), mu); s.c[k] = vfma(vmul(vset(r[b]), d), d, s.c[k]);)
        const vec v = vmul(chains_sum(&s), share);
        vstore(mean + o, mu);
        vstore(variance + o, v);
        const vec g = vdiv(AT_O(norm->gamma), vsqrt(vadd(v, epsilon))), beta = AT_O(norm->beta);
        for (int64_t b = 0; b < B; b++) vstore(y + b * ldy + o, vfma(vsub(vload(x + b * ldx + o), mu), g, beta));
    }
}

static void batch_norm_backward(const real *x, int64_t ldx, const real *r, double r_sum, const pn_norm *norm,
                                const real *dy, int64_t lddy, real *dgamma, real *dbeta, int add_w, real *dx,
                                int64_t lddx, int add, int64_t B, int64_t p0, int64_t p1) {
    const vec share = vset(R(r_sum > 0 ? 1 / r_sum : 0)), epsilon = vset(R(norm->epsilon));
    EACH_COLUMN {
        const vec mu = AT_O(norm->mean), inverse = vdiv(vset(1), vsqrt(vadd(AT_O(norm->variance), epsilon)));
        /* dbeta = sum dy,  dgamma = sum dy x^ */
        chains s = chains_zero(), t = chains_zero();
        EACH_ROW(const vec d = vload(dy + b * lddy + o); s.c[k] = vadd(s.c[k], d);
                 t.c[k] = vfma(d, vmul(vsub(vload(x + b * ldx + o), mu), inverse), t.c[k]);)
        const vec sum = chains_sum(&s), dot = chains_sum(&t);
        gather_sum(dbeta ? dbeta + o : NULL, sum, add_w);
        gather_sum(dgamma ? dgamma + o : NULL, dot, add_w);
        if (!dx) continue;
        /* dx = gamma / deviation (dy - r_b/R (sum dy + x^ sum dy x^)) */
        const vec scale = vmul(AT_O(norm->gamma), inverse), slope = vmul(dot, inverse);
        for (int64_t b = 0; b < B; b++) {
            real *to = dx + b * lddx + o;
            const vec pull = vfma(vsub(vload(x + b * ldx + o), mu), slope, sum);
            const vec g = vmul(scale, vfnma(vmul(vset(r[b]), share), pull, vload(dy + b * lddy + o)));
            vstore(to, add ? vadd(vload(to), g) : g);
        }
    }
}

/* n columns; the padding of an arena stays 0, that of a value has statistics of its own */
static void track(real *running, const real *now, double momentum, double factor, int64_t n) {
    const vec keep = vset(R(momentum)), take = vset(R((1 - momentum) * factor));
    for (int64_t i = 0; i < n; i += VLEN)
        vstore_head(running + i, vflush(vfma(keep, vload(running + i), vmul(take, vload(now + i)))), n - i);
}

/* ---- running_norm
 * ---------------------------------------------------------------------------------------------------- */

static void running_norm_forward(const real *x, int64_t ldx, const pn_norm *norm, real *y, int64_t ldy, int64_t m0,
                                 int64_t m1, int64_t p0, int64_t p1) {
    EACH_COLUMN {
        const vec mu = AT_O(norm->mean), beta = AT_O(norm->beta);
        const vec g = vdiv(AT_O(norm->gamma), vsqrt(vadd(AT_O(norm->variance), vset(R(norm->epsilon)))));
        for (int64_t m = m0; m < m1; m++) vstore(y + m * ldy + o, vfma(vsub(vload(x + m * ldx + o), mu), g, beta));
    }
}

static void running_norm_backward(const real *x, int64_t ldx, const pn_norm *norm, const real *dy, int64_t lddy,
                                  real *dgamma, real *dbeta, int add_w, real *dx, int64_t lddx, int add, int64_t B,
                                  int64_t p0, int64_t p1) {
    EACH_COLUMN {
        const vec mu = AT_O(norm->mean);
        const vec inverse = vdiv(vset(1), vsqrt(vadd(AT_O(norm->variance), vset(R(norm->epsilon)))));
        if (dgamma || dbeta) {
            chains s = chains_zero(), t = chains_zero();
            EACH_ROW(const vec d = vload(dy + b * lddy + o); s.c[k] = vadd(s.c[k], d);
                     t.c[k] = vfma(d, vmul(vsub(vload(x + b * ldx + o), mu), inverse), t.c[k]);)
            gather_sum(dbeta ? dbeta + o : NULL, chains_sum(&s), add_w);
            gather_sum(dgamma ? dgamma + o : NULL, chains_sum(&t), add_w);
        }
        if (!dx) continue;
        const vec scale = vmul(AT_O(norm->gamma), inverse); /* dx = dy gamma / deviation */
        for (int64_t b = 0; b < B; b++) {
            real *to = dx + b * lddx + o;
            const vec g = vmul(vload(dy + b * lddy + o), scale);
            vstore(to, add ? vadd(vload(to), g) : g);
        }
    }
}

/* ---- row_norm: sums along a row in 16 virtual lanes and one tree (simd.h)
 * ----------------------------------------------- */

#define EACH_LANE                                                                                                      \
    for (int64_t o = 0; o < O; o += PN_PANEL) _Pragma("GCC unroll 4") for (int j = 0; j < PANEL_VECS; j++)

/* x - shift, 0 in the padding: there x reads as the shift */
PN_INLINE vec centred(const real *x, int64_t at, int64_t O, real shift) {
    return vsub(vload_head(x + at, O - at, shift), vset(shift));
}

static void row_norm_forward(const real *x_bo, int64_t ldx, const pn_norm *norm, real *stats, int64_t lds, real *y_bo,
                             int64_t ldy, int64_t m0, int64_t m1, int64_t O) {
    const real *gamma = norm->gamma, *beta = norm->beta;
    for (int64_t m = m0; m < m1; m++) {
        const real *x = x_bo + m * ldx;
        real *y = y_bo + m * ldy;
        lanes16 s = lanes_set(0);
        EACH_LANE s.v[j] = vadd(s.v[j], centred(x, o + j * VLEN, O, x[0]));
        const real mean = x[0] + lanes_sum(&s) / R(O);
        s = lanes_set(0);
        EACH_LANE {
            const vec d = centred(x, o + j * VLEN, O, mean);
            s.v[j] = vfma(d, d, s.v[j]);
        }
        const real variance = lanes_sum(&s) / R(O);
        real lane[VLEN];
        vstore(lane, vdiv(vset(1), vsqrt(vset(variance + R(norm->epsilon)))));
        const vec inverse = vset(lane[0]);
        stats[m * lds] = mean;
        stats[m * lds + 1] = lane[0];
        EACH_LANE { /* the padding becomes beta there, which is 0 */
            const int64_t at = o + j * VLEN;
            const vec n = vmul(centred(x, at, O, mean), inverse), g = gamma ? vmul(n, vload(gamma + at)) : n;
            vstore(y + at, beta ? vadd(g, vload(beta + at)) : g);
        }
    }
}

static void row_norm_backward(const real *x_bo, int64_t ldx, const pn_norm *norm, const real *stats, int64_t lds,
                              const real *dy_bo, int64_t lddy, real *dx_bo, int64_t lddx, int64_t m0, int64_t m1,
                              int64_t O, int add) {
    const real *gamma = norm->gamma;
    for (int64_t m = m0; m < m1; m++) { /* dx = (g - mean g - x^ mean(g x^)) / deviation,  g = dy gamma */
        const real *x = x_bo + m * ldx, *dy = dy_bo + m * lddy, mean = stats[m * lds];
        const vec inverse = vset(stats[m * lds + 1]);
        lanes16 s = lanes_set(0), t = lanes_set(0);
        EACH_LANE {
            const int64_t at = o + j * VLEN;
            const vec d = vload(dy + at), g = gamma ? vmul(d, vload(gamma + at)) : d;
            s.v[j] = vadd(s.v[j], g);
            t.v[j] = vfma(g, vmul(centred(x, at, O, mean), inverse), t.v[j]);
        }
        const vec sum = vset(lanes_sum(&s) / R(O)), dot = vset(lanes_sum(&t) / R(O));
        EACH_LANE {
            const int64_t at = o + j * VLEN;
            const vec d = vload(dy + at), g = gamma ? vmul(d, vload(gamma + at)) : d;
            const vec pull = vfma(vmul(centred(x, at, O, mean), inverse), dot, sum);
            real *to = dx_bo + m * lddx + at;
            vec r = vmul(vsub(g, pull), inverse);
            r = vsel(vlt(viota(), vset((real)(O - at < VLEN ? O - at : VLEN))), r, vset(0)); /* padding is 0 */
            vstore(to, add ? vadd(vload(to), r) : r);
        }
    }
}

static void row_norm_sums(const real *x, int64_t ldx, const real *stats, int64_t lds, const real *dy, int64_t lddy,
                          real *dgamma, real *dbeta, int64_t B, int64_t p0, int64_t p1, int add) {
    EACH_COLUMN { /* dbeta = sum_b dy,  dgamma = sum_b dy x^;  dy is 0 in the padding */
        chains s = chains_zero(), t = chains_zero();
        EACH_ROW(const vec d = vload(dy + b * lddy + o); s.c[k] = vadd(s.c[k], d);
                 const vec n = vmul(vsub(vload(x + b * ldx + o), vset(stats[b * lds])), vset(stats[b * lds + 1]));
                 t.c[k] = vfma(d, n, t.c[k]);)
        gather_sum(dbeta ? dbeta + o : NULL, chains_sum(&s), add);
        gather_sum(dgamma ? dgamma + o : NULL, chains_sum(&t), add);
    }
}
#endif
