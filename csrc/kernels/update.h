/* update.h: flat loops over a range of the arenas: penalties, clipping, one optimizer step.
 *
 * g gradient, p parameter, s0 and s1 optimizer slots, all at the same offset; n is a multiple of 16.  The gradient of a
 * step is the sum of n_g terms, added in their order.
 * hyper: [0] momentum | beta_1 | rho | eta_minus  [1] beta_2 | eta_plus  [2] epsilon | step_min  [3] step_max
 *        [7] weight decay.   bias: 1 - beta_1^t, 1 - beta_2^t (adam, adamw).  Square root and division are exact.
 * Padding holds g = 0 and p = 0 and every rule keeps it there. */
#ifndef PN_UPDATE_H
#define PN_UPDATE_H
#include "simd.h"

#define EACH for (int64_t i = 0; i < n; i += VLEN)

typedef struct rule {
    vec h0, h1, h2, h3, decay, rate, c1, c2;
    vec g0, g1; /* 1 - h0 and 1 - h1, taken in double: 1 - 0.999f would be off by 5e-5 */
} rule;

PN_INLINE void sgd(const rule *r, real *p, vec g, real *s0, real *s1) {
    (void)s0, (void)s1;
    vstore(p, vfnma(r->rate, g, vload(p))); /* p -= lr g */
}
PN_INLINE void momentum(const rule *r, real *p, vec g, real *s0, real *s1) {
    (void)s1;
    const vec v = vflush(vfma(r->h0, vload(s0), g)); /* v = mu v + g */
    vstore(s0, v);
    vstore(p, vfnma(r->rate, v, vload(p))); /* p -= lr v */
}
PN_INLINE void nesterov(const rule *r, real *p, vec g, real *s0, real *s1) {
    (void)s1;
    const vec v = vflush(vfma(r->h0, vload(s0), g));
    vstore(s0, v);
    vstore(p, vfnma(r->rate, vfma(r->h0, v, g), vload(p))); /* p -= lr (g + mu v) */
}
/* Kingma and Ba 2015, algorithm 1; c1 = lr/(1-beta_1^t), c2 = 1/sqrt(1-beta_2^t).
 * On Zen 4 it waits for the divider, 16.0 of 16.4 cycles for 16 parameters, and nothing hides behind that: the
 * schedulers are full of what waits.  Refused: weights transposed for the next step while they are written, each block
 * after its own update or after that of the next: a step of 64-64-64-10 @1 takes 1.04 times as long. */
PN_INLINE void adam(const rule *r, real *p, vec g, real *s0, real *s1) {
    const vec m = vflush(vfma(r->h0, vload(s0), vmul(r->g0, g)));
    const vec v = vflush(vfma(r->h1, vload(s1), vmul(r->g1, vmul(g, g))));
    vstore(s0, m);
    vstore(s1, v);
    const vec d = vfma(vsqrt(v), r->c2, r->h2);
    vstore(p, vfnma(r->c1, vdiv(m, d), vload(p)));
}
PN_INLINE void adamw(const rule *r, real *p, vec g, real *s0, real *s1) { /* Loshchilov and Hutter 2019 */
    vstore(p, vfnma(vmul(r->rate, r->decay), vload(p), vload(p)));        /* p -= lr decay p */
    adam(r, p, g, s0, s1);
}
PN_INLINE void rmsprop(const rule *r, real *p, vec g, real *s0, real *s1) { /* Tieleman and Hinton 2012 */
    (void)s1;
    const vec v = vflush(vfma(r->h0, vload(s0), vmul(r->g0, vmul(g, g))));
    vstore(s0, v);
    vstore(p, vfnma(r->rate, vdiv(g, vadd(vsqrt(v), r->h2)), vload(p)));
}
PN_INLINE void adagrad(const rule *r, real *p, vec g, real *s0, real *s1) { /* Duchi, Hazan and Singer 2011 */
    (void)s1;
    const vec v = vflush(vfma(g, g, vload(s0)));
    vstore(s0, v);
    vstore(p, vfnma(r->rate, vdiv(g, vadd(vsqrt(v), r->h2)), vload(p)));
}
PN_INLINE void rprop(const rule *r, real *p, vec g, real *s0, real *s1) { /* Riedmiller and Braun 1993, iRprop- */
    const vec zero = vset(0), was = vload(s1);
    const vec size = vsel(veq(was, zero), r->rate, was), s = vmul(vsign(g), vsign(vload(s0)));
    const vec next =
        vsel(vlt(zero, s), vmin(vmul(size, r->h1), r->h3), vsel(vlt(s, zero), vmax(vmul(size, r->h0), r->h2), size));
    g = vsel(vlt(s, zero), zero, g);
    vstore(s0, g);
    vstore(s1, next);
    vstore(p, vfnma(vsign(g), next, vload(p)));
}

/* A gradient in memory; or, where x is given, x_i dz_o of a single row and a panel of outputs. */
PN_INLINE vec gradient_at(const real *g, const real *x, int64_t i) {
    return x ? vfma(vset(x[i / PN_PANEL]), vload(g + i % PN_PANEL), vset(0)) : vload(g + i);
}

/* p[i], s0[i], s1[i] may not exist for rules without slots: their pointers are not followed then. */
#define RULE(NAME, slots)                                                                                              \
    case PN_OPTIMIZER_##NAME:                                                                                          \
        EACH {                                                                                                         \
            vec gi = vflush(gradient_at(g, x, i));                                                                     \
            if (l2) gi = vfma(r->decay, vload(p + i), gi);                                                             \
            NAME(r, p + i, gi, slots > 0 ? s0 + i : p, slots > 1 ? s1 + i : p);                                        \
        }                                                                                                              \
        break;

PN_INLINE void follow(int optimizer, const rule *r, int l2, real *p, const real *g, const real *x, real *s0, real *s1,
                      int64_t n) {
    switch (optimizer) {
#define OPTIMIZER(id, NAME, slots) RULE(NAME, slots)
#include "../ops.def"
    default: break;
    }
}

PN_INLINE rule rule_of(const double *h, double rate, const double *bias) {
    return (rule){.h0 = vset(R(h[0])),
                  .h1 = vset(R(h[1])),
                  .h2 = vset(R(h[2])),
                  .h3 = vset(R(h[3])),
                  .decay = vset(R(h[7])),
                  .rate = vset(R(rate)),
                  .g0 = vset(R(1 - h[0])),
                  .g1 = vset(R(1 - h[1])),
                  .c1 = vset(R(rate / bias[0])),
                  .c2 = vset(R(1 / sqrt(bias[1])))};
}
PN_INLINE int decays(int optimizer, const double *h) { return h[7] != 0 && optimizer != PN_OPTIMIZER_adamw; }

enum { TERMS = 256 }; /* elements of a sum of gradients that waits in the first-level cache */

static void update(int optimizer, const double *h, double rate, const double *bias, real *p, const real *const *g,
                   int n_g, real *s0, real *s1, int64_t n) {
    const int l2 = decays(optimizer, h);
    const rule r = rule_of(h, rate, bias);
    real sum[TERMS];
    for (int64_t from = 0, m; from < n; from += m) {
        m = n_g == 1 || n - from < TERMS ? n - from : TERMS;
        for (int64_t i = 0; n_g > 1 && i < m; i += VLEN) {
            vec gi = vload(g[0] + from + i);
            for (int k = 1; k < n_g; k++) gi = vadd(gi, vload(g[k] + from + i));
            vstore(sum + i, gi);
        }
        follow(optimizer, &r, l2, p + from, n_g > 1 ? sum : g[0], NULL, s0 ? s0 + from : NULL, s1 ? s1 + from : NULL,
               m);
    }
}

/* ---- penalties: loss += l1 sum|w| + l2 sum w^2;  g += l1 sign(w) + 2 l2 w ------------------------------- */

static void penalty(double l1, double l2, const real *w, real *g, int64_t n) {
    const vec a = vset(R(l1)), b = vset(R(2 * l2));
    EACH {
        const vec x = vload(w + i);
        vstore(g + i, vadd(vload(g + i), vfma(b, x, vmul(a, vsign(x)))));
    }
}

/* Sums over an arena in 16 lanes of double, so that they neither overflow nor depend on the ISA. */
#define SUM16(term)                                                                                                    \
    double l[PN_PANEL] = {0}, s = 0;                                                                                   \
    for (int64_t i = 0; i < n; i += PN_PANEL)                                                                          \
        for (int j = 0; j < (int)PN_PANEL; j++) {                                                                      \
            const double x = (double)v[i + j];                                                                         \
            l[j] += term;                                                                                              \
        }                                                                                                              \
    for (int j = 0; j < (int)PN_PANEL; j++) s += l[j];                                                                 \
    *sum += s
static void penalty_value(double l1, double l2, const real *v, int64_t n, double *sum) {
    SUM16(l1 * fabs(x) + l2 * (x * x));
}
static void sum_squares(const real *v, int64_t n, double *sum) { SUM16(x * x); }

/* ---- masks and clipping --------------------------------------------------------------------------------------------
 */

/* A pruned weight is 0 and so is its state in the optimizer: with a gradient of 0 every rule leaves it there. */
static void clear_pruned(const uint16_t *keep, real *g, int64_t n) {
    EACH vstore(g + i, vkeep(vload(g + i), (uint32_t)keep[i / PN_PANEL] >> i % PN_PANEL));
}
static void scale(real *g, double factor, int64_t n) { EACH vstore(g + i, vmul(vload(g + i), vset(R(factor)))); }
static void clip_value(real *g, double c, int64_t n) {
    const vec hi = vset(R(c)), lo = vset(R(-c));
    EACH vstore(g + i, vmin(hi, vmax(lo, vload(g + i))));
}
static void clip_sign(real *g, int64_t n) { EACH vstore(g + i, vsign(vload(g + i))); }

/* ---- max-norm: w[:,o] *= min(1, c / |w[:,o]|) after a step (Srebro, Shraibman 2005) --------------------------- */

static void max_norm(double c, real *w_io, int64_t I, int64_t p0, int64_t p1) {
    const vec limit = vset(R(c)), one = vset(1);
    for (int64_t q = p0 * PANEL_VECS; q < p1 * PANEL_VECS; q++) {
        real *w = w_io + q / PANEL_VECS * I * PN_PANEL + q % PANEL_VECS * VLEN;
        vec s[4] = {vset(0), vset(0), vset(0), vset(0)}; /* four chains: i = 0, 4, ..; 1, 5, ..; as in norm.h */
        int64_t i = 0;
        for (; i + 4 <= I; i += 4)
            for (int k = 0; k < 4; k++) s[k] = vfma(vload(w + (i + k) * PN_PANEL), vload(w + (i + k) * PN_PANEL), s[k]);
        for (int k = 0; i < I; i++, k++) s[k] = vfma(vload(w + i * PN_PANEL), vload(w + i * PN_PANEL), s[k]);
        const vec norm = vsqrt(vadd(vadd(s[0], s[1]), vadd(s[2], s[3])));
        const vec factor = vsel(vlt(limit, norm), vdiv(limit, norm), one);
        real lane[VLEN];
        int over = 0;
        vstore(lane, factor);
        for (int j = 0; j < VLEN; j++) over |= lane[j] != 1;
        for (i = 0; over && i < I; i++) vstore(w + i * PN_PANEL, vmul(vload(w + i * PN_PANEL), factor));
    }
}
#endif
