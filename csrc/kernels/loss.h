/* loss.h: softmax, and every loss: its value per row and its gradient in one pass.
 * y prediction, t target, d = y - t; a row's loss is the mean over its O outputs (cross-entropy: the sum).
 * Sums along a row run in 16 virtual lanes and one tree (simd.h), the same on every ISA. */
#ifndef PN_LOSS_H
#define PN_LOSS_H
#include "vmath.h"

/* ---- softmax: p_o = exp(z_o - max z) / sum ------------------------------------------------------------- */

static real row_max(const real *z, int64_t O) {
    lanes16 m = lanes_set(-INFINITY);
    for (int64_t o = 0; o < O; o += PN_PANEL)
        for (int j = 0; j < PANEL_VECS; j++)
            m.v[j] = vmax(m.v[j], vload_head(z + o + j * VLEN, O - o - j * VLEN, -INFINITY));
    return lanes_max(&m);
}

/* e_o = exp(z_o - top), 0 in the padding; returns their sum */
static real row_exp(const real *z, real *e, real top, int64_t O) {
    lanes16 s = lanes_set(0);
    for (int64_t o = 0; o < O; o += PN_PANEL)
        for (int j = 0; j < PANEL_VECS; j++) {
            const vec x = vexp(vsub(vload_head(z + o + j * VLEN, O - o - j * VLEN, -INFINITY), vset(top)));
            s.v[j] = vadd(s.v[j], x);
            vstore(e + o + j * VLEN, x);
        }
    return lanes_sum(&s);
}

static void softmax_forward(const real *x_bo, int64_t ldx, real *y_bo, int64_t ldy, int64_t m0, int64_t m1, int64_t O) {
    for (int64_t m = m0; m < m1; m++) {
        real *y = y_bo + m * ldy;
        const real s = row_exp(x_bo + m * ldx, y, row_max(x_bo + m * ldx, O), O);
        for (int64_t o = 0; o < O; o += VLEN) vstore(y + o, vdiv(vload(y + o), vset(s)));
    }
}

static void softmax_backward(const real *y_bo, int64_t ldy, const real *dy_bo, int64_t lddy, real *dx_bo, int64_t lddx,
                             int64_t m0, int64_t m1, int64_t O, int add) {
    for (int64_t m = m0; m < m1; m++) { /* dx = y (dy - sum y dy); y and so dx are 0 in the padding */
        const real *y = y_bo + m * ldy, *dy = dy_bo + m * lddy;
        real *dx = dx_bo + m * lddx;
        lanes16 s = lanes_set(0);
        for (int64_t o = 0; o < O; o += PN_PANEL)
            for (int j = 0; j < PANEL_VECS; j++)
                s.v[j] = vfma(vload(y + o + j * VLEN), vload(dy + o + j * VLEN), s.v[j]);
        const vec sum = vset(lanes_sum(&s));
        for (int64_t o = 0; o < (int64_t)pn_pad((uint64_t)O); o += VLEN) {
            const vec g = vmul(vload(y + o), vsub(vload(dy + o), sum));
            vstore(dx + o, add ? vadd(vload(dx + o), g) : g);
        }
    }
}

/* ---- losses that are a mean over outputs: l and g = dl/dy of one vector --------------------------------- */

typedef struct terms {
    vec l, g;
} terms;
PN_INLINE terms mse_terms(vec y, vec t, vec c) {
    const vec d = vsub(y, t);
    (void)c;
    return (terms){vmul(d, d), vadd(d, d)};
}
PN_INLINE terms mae_terms(vec y, vec t, vec c) {
    const vec d = vsub(y, t);
    (void)c;
    return (terms){vabs(d), vsign(d)};
}
PN_INLINE terms huber_terms(vec y, vec t, vec c) { /* |d| <= c: d^2/2, else c (|d| - c/2) */
    const vec d = vsub(y, t), half = vset(R(0.5));
    const mask in = vle(vabs(d), c);
    return (terms){vsel(in, vmul(half, vmul(d, d)), vmul(c, vfnma(half, c, vabs(d)))), vsel(in, d, vmul(c, vsign(d)))};
}
PN_INLINE terms log_cosh_terms(vec y, vec t, vec c) { /* |d| + log(1 + exp(-2|d|)) - log 2 */
    const vec d = vsub(y, t), a = vabs(d);
    (void)c;
    return (terms){vadd(a, vsub(vlog1p(vexp(vmul(vset(-2), a))), vset(R(0.69314718055994530942)))), vtanh(d)};
}
PN_INLINE terms poisson_terms(vec y, vec t, vec c) { /* y - t log(y + 1e-7) */
    const vec u = vadd(y, vset(R(1e-7)));
    (void)c;
    return (terms){vfnma(t, vlog(u), y), vsub(vset(1), vdiv(t, u))};
}
PN_INLINE terms quantile_terms(vec y, vec t, vec c) { /* e = t - y: max(c e, (c-1) e) */
    const vec e = vsub(t, y), less = vsub(c, vset(1));
    return (terms){vmax(vmul(c, e), vmul(less, e)),
                   vsel(vlt(vset(0), e), vneg(c), vsel(vlt(e, vset(0)), vneg(less), vset(0)))};
}
PN_INLINE terms bce_terms(vec z, vec t, vec c) { /* max(z,0) - z t + log(1 + exp(-|z|)); g = sigmoid(z) - t */
    (void)c;
    return (terms){vfnma(z, t, vsoftplus(z)), vsub(vsigmoid(z), t)};
}

#define MEAN(NAME)                                                                                                     \
    static real NAME##_row(const real *y, const real *t, real *dx, real factor, real parameter, int64_t O) {           \
        const vec c = vset(parameter), f = vset(factor);                                                               \
        lanes16 s = lanes_set(0);                                                                                      \
        for (int64_t o = 0; o < O; o += PN_PANEL)                                                                      \
            for (int j = 0; j < PANEL_VECS; j++) {                                                                     \
                const int64_t at = o + j * VLEN, left = O - at;                                                        \
                const terms q = NAME##_terms(vload(y + at), vload(t + at), c);                                         \
                const mask in = vlt(viota(), vset((real)(left < 0 ? 0 : left > VLEN ? VLEN : left)));                  \
                s.v[j] = vadd(s.v[j], vsel(in, q.l, vset(0)));                                                         \
                vstore(dx + at, vsel(in, vflush(vmul(f, q.g)), vset(0)));                                              \
            }                                                                                                          \
        return lanes_sum(&s) / (real)O;                                                                                \
    }                                                                                                                  \
    static void NAME##_rows(vec y, vec t, vec c, terms *q) { *q = NAME##_terms(y, t, c); }
MEAN(mse)
MEAN(mae)
MEAN(huber)
MEAN(log_cosh)
MEAN(poisson)
MEAN(quantile)
MEAN(bce)

typedef void mean_rows(vec y, vec t, vec c, terms *q);
static mean_rows *mean_rows_of(int kind) {
    switch (kind) {
    case PN_LOSS_mse: return mse_rows;
    case PN_LOSS_mae: return mae_rows;
    case PN_LOSS_huber: return huber_rows;
    case PN_LOSS_log_cosh: return log_cosh_rows;
    case PN_LOSS_poisson: return poisson_rows;
    case PN_LOSS_quantile: return quantile_rows;
    case PN_LOSS_binary_cross_entropy: return bce_rows;
    default: return NULL;
    }
}

/* VLEN rows of few outputs at once, rows in the lanes: each function is computed for as many numbers as there are.  The
 * same sums in the same order.  (dx stored number by number instead of row by row: 8-32-4 @64 1.11 of a step, 4-4-4
 * @128 1.14.) */
PN_INLINE void mean_of_few(const int outputs, mean_rows *of, const real *y, int64_t ldy, const real *t, int64_t ldt,
                           const real *weight, double factor, real parameter, real *loss, real *dx, int64_t lddx,
                           int64_t O) {
    const vec none = vset(0), c = vset(parameter);
    vec ys[FEW_OUTPUTS], ts[FEW_OUTPUTS], l[FEW_OUTPUTS] = {none, none, none, none};
    real f[VLEN], g[FEW_OUTPUTS * VLEN];
#pragma GCC unroll 4
    for (int o = 0; o < outputs; o += VCOLUMNS) vcolumns(ys + o, y + o, ldy), vcolumns(ts + o, t + o, ldt);
    for (int m = 0; m < VLEN; m++) f[m] = R(factor * (double)weight[m] / (double)O);
#pragma GCC unroll 4
    for (int o = 0; o < outputs; o++) {
        terms q;
        of(ys[o], ts[o], c, &q);
        l[o] = q.l;
        vstore(g + o * VLEN, vflush(vmul(vload(f), q.g)));
    }
    const vec sum = vadd(vadd(vadd(l[0], l[2]), vadd(l[1], l[3])), none); /* as lanes_sum: no -0 */
    vstore(loss, vdiv(sum, vset((real)O)));
    for (int m = 0; m < VLEN; m++)
        for (int j = 0; j < PANEL_VECS; j++) vstore(dx + m * lddx + j * VLEN, vrow(outputs, g + m, j, none));
}

/* VLEN rows of as many outputs as there are lanes, or fewer, at once: only the terms of the sums are turned.  The same
 * sums in the same order.  Steps with it over those row by row (Zen 5): 8-8-8 @32 0.90, @256 0.88, 16-16-16 @64 0.95,
 * with other losses 0.88 (log-cosh) to 1.00 (mean absolute error); over those by mean_of_few, squared errors:
 * 2-2-2 1.00, 4-4-4 @32 0.97, @256 0.94. */
PN_INLINE void mean_of_panel(const int lanes, mean_rows *of, const real *y, int64_t ldy, const real *t, int64_t ldt,
                             const real *weight, double factor, real parameter, real *loss, real *dx, int64_t lddx,
                             int64_t O) {
    const vec none = vset(0), c = vset(parameter);
    vec sum[PN_PANEL];
    real f[VLEN], l[VLEN * PN_PANEL];
    for (int m = 0; m < VLEN; m++) f[m] = R(factor * (double)weight[m] / (double)O);
    for (int j = 0; j < (int)PN_PANEL; j += VLEN) {
        const mask in = vlt(viota(), vset((real)(O - j)));
        for (int m = 0; m < VLEN; m++) {
            terms q = {none, none};
            if (j < lanes) of(vload(y + m * ldy + j), vload(t + m * ldt + j), c, &q);
            vstore(l + m * (int)PN_PANEL + j, vsel(in, q.l, none));
            vstore(dx + m * lddx + j, vsel(in, vflush(vmul(vset(f[m]), q.g)), none));
        }
    }
#pragma GCC unroll 4
    for (int o = 0; o < lanes; o += VCOLUMNS) vcolumns(sum + o, l + o, PN_PANEL);
#pragma GCC unroll 4
    for (int n = lanes / 2; n > 0; n /= 2)
#pragma GCC unroll 8
        for (int o = 0; o < n; o++) sum[o] = vadd(sum[o], sum[o + n]);
    vstore(loss, vdiv(vadd(sum[0], none), vset((real)O))); /* as lanes_sum: no -0 */
}

/* ---- cross-entropy from logits: l = log sum exp z - z_label,  g = softmax(z) - onehot -------------------- */

static real cross_entropy_index_row(const real *z, int32_t label, real *dx, real factor, int64_t O) {
    const real top = row_max(z, O), s = row_exp(z, dx, top, O), zl = z[label];
    const vec scale = vset(factor / s);
    for (int64_t o = 0; o < O; o += VLEN) vstore(dx + o, vflush(vmul(vload(dx + o), scale)));
    dx[label] -= factor;
    real lane[PN_PANEL] = {0}; /* one scalar logarithm: the vector one, so that every ISA has its bits */
    for (int i = 0; i < VLEN; i++) lane[i] = s;
    vstore(lane, vlog(vload(lane)));
    return top - zl + lane[0] + (s - s); /* s - s: a NaN among the logits, which vlog does not pass on */
}

static real cross_entropy_dense_row(const real *z, const real *t, real *dx, real factor, int64_t O) {
    const real top = row_max(z, O), s = row_exp(z, dx, top, O);
    lanes16 mass = lanes_set(0), dot = lanes_set(0);
    for (int64_t o = 0; o < O; o += PN_PANEL)
        for (int j = 0; j < PANEL_VECS; j++) {
            const int64_t at = o + j * VLEN, left = O - at;
            const vec tv = vload_head(t + at, left, 0);
            mass.v[j] = vadd(mass.v[j], tv);
            dot.v[j] = vfma(tv, vsub(vset(top), vload_head(z + at, left, top)), dot.v[j]);
        }
    const real sum = lanes_sum(&mass);
    const vec scale = vset(sum / s), f = vset(factor); /* l = sum t log s + sum t (top - z);  g = (sum t) p - t */
    for (int64_t o = 0; o < O; o += VLEN)
        vstore(dx + o, vflush(vmul(f, vsub(vmul(vload(dx + o), scale), vload_head(t + o, O - o, 0)))));
    real lane[PN_PANEL];
    for (int i = 0; i < VLEN; i++) lane[i] = s;
    vstore(lane, vlog(vload(lane)));
    return sum * lane[0] + lanes_sum(&dot);
}

#if defined(__SANITIZE_ADDRESS__) /* whose stack is less aligned than gcc takes it to be: nothing may look aligned */
enum { SKEW = 1 };
#else
enum { SKEW = 0 };
#endif

/* VLEN rows of one panel at once, rows in the lanes: only exponentials that count, one logarithm and no reduction.  The
 * same sums in the same order. */
static void cross_entropy_few_classes(const real *x_bo, int64_t ldx, const int32_t *label, const real *weight,
                                      double factor, real *loss, real *dx_bo, int64_t lddx, int64_t O) {
    enum { SQUARES = PN_PANEL * VLEN };
    real room[SKEW + 3 * SQUARES + 2 * VLEN];
    real *z = room + SKEW, *e = z + SQUARES, *sums = e + SQUARES, *f = sums + SQUARES, *l = f + VLEN;
    for (int j = 0; j < PANEL_VECS; j++) transpose_square(x_bo + j * VLEN, ldx, VLEN, z + j * VLEN * VLEN, VLEN, VLEN);
    vec top = vload(z), picked = vset(0);
    for (int64_t o = 1; o < O; o++) top = vmax(top, vload(z + o * VLEN));
    for (int64_t o = 0; o < PN_PANEL; o++) {
        const vec x = o < O ? vexp(vsub(vload(z + o * VLEN), top)) : vset(0);
        vstore(e + o * VLEN, x), vstore(sums + o * VLEN, x);
    }
    for (int64_t n = PN_PANEL / 2 * VLEN; n >= VLEN; n /= 2) /* lanes_sum */
        for (int64_t i = 0; i < n; i += VLEN) vstore(sums + i, vadd(vload(sums + i), vload(sums + i + n)));
    for (int m = 0; m < VLEN; m++) f[m] = R(factor * (double)weight[m]), l[m] = (real)label[m];
    const vec s = vload(sums), scale = vdiv(vload(f), s);
    for (int64_t o = 0; o < O; o++) {
        const mask here = veq(vload(l), vset((real)o));
        const vec g = vflush(vmul(vload(e + o * VLEN), scale));
        vstore(e + o * VLEN, vsel(here, vsub(g, vload(f)), g));
        picked = vsel(here, vload(z + o * VLEN), picked);
    }
    vstore(loss, vadd(vadd(vsub(top, picked), vlog(s)), vsub(s, s)));
    for (int j = 0; j < PANEL_VECS; j++)
        transpose_square(e + j * VLEN * VLEN, VLEN, VLEN, dx_bo + j * VLEN, lddx, VLEN);
}

static void loss(int kind, double parameter, const real *x_bo, int64_t ldx, const real *t_bo, int64_t ldt,
                 const int32_t *labels, const real *weight, double factor, real *row_loss, real *dx_bo, int64_t lddx,
                 int64_t m0, int64_t m1, int64_t O) {
    int64_t m = m0;
    for (; VLEN > 1 && kind == PN_LOSS_cross_entropy_index && O <= PN_PANEL && m1 - m >= VLEN; m += VLEN)
        cross_entropy_few_classes(x_bo + m * ldx, ldx, labels + m, weight + m, factor, row_loss + m, dx_bo + m * lddx,
                                  lddx, O);
    mean_rows *const of_rows = PN_LARGE && VLEN > 1 && O <= PN_PANEL ? mean_rows_of(kind) : NULL;
    const int mse = kind == PN_LOSS_mse;
#define ROWS(f, n, of)                                                                                                 \
    f(n, of, x_bo + m * ldx, ldx, t_bo + m * ldt, ldt, weight + m, factor, R(parameter), row_loss + m,                 \
      dx_bo + m * lddx, lddx, O)
    for (; of_rows && m1 - m >= VLEN; m += VLEN) {
        if (mse && O > 1) {
            if (O <= 4)
                ROWS(mean_of_panel, 4, mse_rows);
            else if (O <= 8)
                ROWS(mean_of_panel, 8, mse_rows);
            else
                ROWS(mean_of_panel, PN_PANEL, mse_rows);
            continue;
        }
        switch (O) {
        case 1: ROWS(mean_of_few, 1, of_rows); break;
        case 2: ROWS(mean_of_few, 2, of_rows); break;
        case 3: ROWS(mean_of_few, 3, of_rows); break;
        case 4: ROWS(mean_of_few, 4, of_rows); break;
        default: ROWS(mean_of_panel, PN_PANEL, of_rows);
        }
    }
#undef ROWS
    for (; m < m1; m++) {
        const real *x = x_bo + m * ldx, *t = t_bo ? t_bo + m * ldt : NULL;
        real *dx = dx_bo + m * lddx;
        const real c = R(parameter), f = R(factor * (double)weight[m]), fo = R(factor * (double)weight[m] / (double)O);
        switch (kind) {
        case PN_LOSS_mse: row_loss[m] = mse_row(x, t, dx, fo, c, O); break;
        case PN_LOSS_mae: row_loss[m] = mae_row(x, t, dx, fo, c, O); break;
        case PN_LOSS_huber: row_loss[m] = huber_row(x, t, dx, fo, c, O); break;
        case PN_LOSS_log_cosh: row_loss[m] = log_cosh_row(x, t, dx, fo, c, O); break;
        case PN_LOSS_poisson: row_loss[m] = poisson_row(x, t, dx, fo, c, O); break;
        case PN_LOSS_quantile: row_loss[m] = quantile_row(x, t, dx, fo, c, O); break;
        case PN_LOSS_binary_cross_entropy: row_loss[m] = bce_row(x, t, dx, fo, c, O); break;
        case PN_LOSS_cross_entropy_index: row_loss[m] = cross_entropy_index_row(x, labels[m], dx, f, O); break;
        case PN_LOSS_cross_entropy_dense: row_loss[m] = cross_entropy_dense_row(x, t, dx, f, O); break;
        default: row_loss[m] = 0; /* external: the caller writes dx */
        }
    }
}
#endif
