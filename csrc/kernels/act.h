/* act.h: the rows of activations.def as loops, forward and backward. */
#ifndef PN_ACT_H
#define PN_ACT_H
#include "vmath.h"

/* ---- formulas too long for a row --------------------------------------------------------------------- */

PN_INLINE vec vinside(vec x, vec y) { return vsel(vlt(vset(1), vabs(x)), vset(0), y); } /* NaN: y */
PN_INLINE vec vlecun_tanh_grad(vec x, vec a) {
    vec t = vtanh(x);
    return vadd(vfnma(t, t, vset(1)), a);
}
#define SELU_SCALE R(1.0507009873554804934)
#define SELU_ALPHA R(1.6732632423543772848)
PN_INLINE vec vselu(vec x) {
    return vmul(vset(SELU_SCALE), vsel(vlt(x, vset(0)), vmul(vset(SELU_ALPHA), vexpm1(x)), x));
}
PN_INLINE vec vselu_grad(vec y) {
    return vsel(vlt(y, vset(0)), vadd(y, vset(SELU_SCALE * SELU_ALPHA)), vset(SELU_SCALE));
}
PN_INLINE vec vgelu_grad(vec x) { /* Phi + x phi */
    return vfma(vmul(x, vset(R(0.39894228040143267794))), vgauss(x), vnormcdf(x));
}
PN_INLINE vec vsilu_grad(vec x) { /* s (1 + x (1 - s)) */
    vec s = vsigmoid(x);
    return vmul(s, vfma(x, vsub(vset(1), s), vset(1)));
}
PN_INLINE vec vmish_n(vec x) { /* tanh(log(1+e)) = n/(n+2), n = e (e + 2); beyond 20 the quotient is 1 */
    vec e = vexp(vmin(vset(20), x));
    return vmul(e, vadd(e, vset(2)));
}
PN_INLINE vec vmish(vec x) {
    vec n = vmish_n(x);
    return vmul(x, vdiv(n, vadd(n, vset(2))));
}
PN_INLINE vec vmish_grad(vec x) { /* t + x (1 - t^2) sigmoid(x), 1 - t^2 = 4 (n + 1)/(n + 2)^2 */
    vec n = vmish_n(x), d = vdiv(vset(1), vadd(n, vset(2)));
    vec one_t2 = vmul(vmul(vset(4), vadd(n, vset(1))), vmul(d, d));
    one_t2 = vsel(vlt(vset(20), x), vset(0), one_t2); /* n stands still there, x does not */
    return vfma(vmul(x, one_t2), vsigmoid(x), vmul(n, d));
}
PN_INLINE vec vhard_swish(vec x) {
    return vmul(x, vmin(vset(1), vmax(vset(0), vmul(vadd(x, vset(3)), vset(R(1) / R(6))))));
}
PN_INLINE vec vhard_swish_grad(vec x) {
    vec inner = vfma(x, vset(R(1) / R(3)), vset(R(0.5)));
    return vsel(vle(x, vset(-3)), vset(0), vsel(vle(vset(3), x), vset(1), inner));
}
PN_INLINE vec vsinc(vec x) { return vsel(veq(x, vset(0)), vset(1), vdiv(vsin(x), vsel(veq(x, vset(0)), vset(1), x))); }
PN_INLINE vec vsinc_grad(vec x) { /* (cos x - sinc x)/x; near 0, where that cancels, sum (-1)^k 2k x^(2k-1)/(2k+1)! */
    vec z = vneg(vmul(x, x)), s = vset(R(2 * TRIG_TERMS - 2) * R(inverse_factorial[2 * TRIG_TERMS - 1]));
#pragma GCC unroll 16
    for (int k = TRIG_TERMS - 2; k >= 1; k--) s = vfma(s, z, vset(R(2 * k) * R(inverse_factorial[2 * k + 1])));
    mask near = vlt(vabs(x), vset(1));
    vec safe = vsel(near, vset(1), x);
    return vsel(near, vneg(vmul(x, s)), vdiv(vsub(vcos(x), vdiv(vsin(x), safe)), safe));
}
PN_INLINE vec visru_grad(vec y, vec a) {
    vec s = vmax(vset(0), vfnma(vmul(a, y), y, vset(1)));
    return vmul(s, vsqrt(s));
}
PN_INLINE vec vtricube_base(vec x) {
    vec t = vabs(x);
    return vfnma(vmul(t, t), t, vset(1));
} /* 1 - |x|^3 */
PN_INLINE vec vtricube(vec x) {
    vec b = vtricube_base(x);
    return vmul(vset(R(70) / R(81)), vmul(vmul(b, b), b));
}
PN_INLINE vec vtricube_grad(vec x) { /* -(70/9) x |x| (1 - |x|^3)^2 */
    return vmul(vmul(vset(R(-70) / R(9)), vmul(x, vabs(x))), vsquare(vtricube_base(x)));
}

/* ---- one loop per row, forward and backward ----------------------------------------------------------- */

typedef void act_loop(const double *p, const real *x, int64_t ldx, real *y, int64_t ldy, int64_t rows, int64_t n);
typedef void act_back_loop(const double *p, const real *v, int64_t ldv, const real *dy, int64_t lddy, real *dx,
                           int64_t lddx, int64_t rows, int64_t n);

/* n, a multiple of VLEN, elements of each row */
#define ACT(id, NAME, needs, forward, derivative)                                                                      \
    static void forward_##NAME(const double *p, const real *px, int64_t ldx, real *py, int64_t ldy, int64_t rows,      \
                               int64_t n) {                                                                            \
        const vec a = vset(R(p[0])), v0 = vset(0), v1 = vset(1);                                                       \
        (void)a, (void)v0, (void)v1;                                                                                   \
        for (int64_t m = 0; m < rows; m++)                                                                             \
            for (int64_t j = 0; j < n; j += VLEN) {                                                                    \
                const vec x = vload(px + m * ldx + j);                                                                 \
                vstore(py + m * ldy + j, forward);                                                                     \
            }                                                                                                          \
    }                                                                                                                  \
    static void backward_##NAME(const double *p, const real *pv, int64_t ldv, const real *pdy, int64_t lddy,           \
                                real *pdx, int64_t lddx, int64_t rows, int64_t n) {                                    \
        const vec a = vset(R(p[0])), v0 = vset(0), v1 = vset(1);                                                       \
        (void)a, (void)v0, (void)v1;                                                                                   \
        for (int64_t m = 0; m < rows; m++)                                                                             \
            for (int64_t j = 0; j < n; j += VLEN) {                                                                    \
                const vec x = vload(pv + m * ldv + j), y = x, dy = vload(pdy + m * lddy + j);                          \
                (void)x, (void)y;                                                                                      \
                vstore(pdx + m * lddx + j, vmul(dy, derivative));                                                      \
            }                                                                                                          \
    }
#define ACT_ROW(id, NAME, needs)
#include "../activations.def"
#undef ACT

/* Not tables: their addresses would have to be put right when the library is loaded, and take 32 bytes each. */
#define ACT(id, NAME, needs, forward, derivative)                                                                      \
    case id: return forward_##NAME;
static act_loop *act_loop_of(int act) {
    switch (act) {
#include "../activations.def"
    default: return NULL; /* those that look at whole rows */
    }
}
#undef ACT
#define ACT(id, NAME, needs, forward, derivative)                                                                      \
    case id: return backward_##NAME;
static act_back_loop *act_back_loop_of(int act) {
    switch (act) {
#include "../activations.def"
    default: return NULL;
    }
}
#undef ACT
#undef ACT_ROW

static void act_forward(int act, const double *p, const real *x, int64_t ldx, real *y, int64_t ldy, int64_t m0,
                        int64_t m1, int64_t p0, int64_t p1) {
    act_loop_of(act)(p, x + m0 * ldx + p0 * PN_PANEL, ldx, y + m0 * ldy + p0 * PN_PANEL, ldy, m1 - m0,
                     (p1 - p0) * PN_PANEL);
}

static void act_backward(int act, const double *p, const real *v, int64_t ldv, const real *dy, int64_t lddy, real *dx,
                         int64_t lddx, int64_t m0, int64_t m1, int64_t p0, int64_t p1, int add) {
    enum { AT_ONCE = 16 * PN_PANEL };
    act_back_loop *const loop = act_back_loop_of(act);
    const int64_t begin = p0 * PN_PANEL, end = p1 * PN_PANEL;
    if (!add) {
        loop(p, v + m0 * ldv + begin, ldv, dy + m0 * lddy + begin, lddy, dx + m0 * lddx + begin, lddx, m1 - m0,
             end - begin);
        return;
    }
    for (int64_t m = m0; m < m1; m++) /* rare (a value that several ops read), so not in each of the loops */
        for (int64_t i = begin; i < end; i += AT_ONCE) {
            real g[AT_ONCE], *to = dx + m * lddx + i;
            const int64_t n = end - i < AT_ONCE ? end - i : AT_ONCE;
            loop(p, v + m * ldv + i, 0, dy + m * lddy + i, 0, g, 0, 1, n);
            for (int64_t j = 0; j < n; j += VLEN) vstore(to + j, vadd(vload(to + j), vload(g + j)));
        }
}

/* ---- prelu: the slope is learned, one for each unit or one for all (He et al. 2015, arXiv:1502.01852) -------------
 */

#define EACH_PLACE                                                                                                     \
    for (int64_t m = m0; m < m1; m++)                                                                                  \
        for (int64_t i = p0 * PN_PANEL; i < p1 * PN_PANEL; i += VLEN)
#define SLOPE(a) (shared ? vset((a)[0]) : vload((a) + i))

static void prelu_forward(const real *x, int64_t ldx, const real *a, int shared, real *y, int64_t ldy, int64_t m0,
                          int64_t m1, int64_t p0, int64_t p1) {
    EACH_PLACE {
        const vec v = vload(x + m * ldx + i);
        vstore(y + m * ldy + i, vsel(vlt(vset(0), v), v, vmul(SLOPE(a), v)));
    }
}

static void prelu_backward(const real *x, int64_t ldx, const real *a, int shared, const real *dy, int64_t lddy,
                           real *dx, int64_t lddx, int64_t m0, int64_t m1, int64_t p0, int64_t p1, int add) {
    EACH_PLACE { /* dx = dy (x > 0 ? 1 : a) */
        real *to = dx + m * lddx + i;
        const vec g = vmul(vload(dy + m * lddy + i), vsel(vlt(vset(0), vload(x + m * ldx + i)), vset(1), SLOPE(a)));
        vstore(to, add ? vadd(vload(to), g) : g);
    }
}

/* da_o = sum_b dy x where x <= 0; shared: summed over o as well, panel by panel, then the tree of simd.h */
static void prelu_sums(const real *x, int64_t ldx, int shared, const real *dy, int64_t lddy, real *da, int64_t B,
                       int64_t p0, int64_t p1, int add) {
    lanes16 all = lanes_set(0);
    for (int64_t p = p0; p < p1; p++)
        for (int j = 0; j < PANEL_VECS; j++) {
            const int64_t i = p * PN_PANEL + j * VLEN;
            vec s = vset(0);
            for (int64_t b = 0; b < B; b++) {
                const vec v = vload(x + b * ldx + i);
                s = vfma(vload(dy + b * lddy + i), vsel(vlt(vset(0), v), vset(0), v), s);
            }
            all.v[j] = vadd(all.v[j], s);
            if (!shared) vstore(da + i, add ? vadd(vload(da + i), s) : s);
        }
    if (shared) da[0] = (add ? da[0] : 0) + lanes_sum(&all);
}
#endif
