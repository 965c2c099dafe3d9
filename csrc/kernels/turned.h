/* turned.h: dense layers of one to four outputs, whose weights are kept turned (PN_TURNED): w^T in panels along I,
 * wt[p][o][l] = w[16p + l][o].  In panels along O each weight would take fifteen, seven or three neighbours of padding
 * with it, through every product and every update: 12 to 15 of 16 parts of the work.
 *
 *   forward   y_bo  = sum_i x_bi w_io + b_o    lanes are rows;   few rows: one after the other, a number at a time
 *   dx        dx_bi = sum_o dz_bo w_io         lanes are inputs
 *   dw        dw_io = sum_b x_bi dz_bo         lanes are inputs
 *
 * The same sums in the same order as in dense.h: the same bits. */
#ifndef PN_TURNED_H
#define PN_TURNED_H
#include "tile.h"

/* f for one to four outputs, each compiled by itself: loops over a variable number of them took 2.7 us instead of 0.9
 * (forward, 256 rows of 32 inputs, Zen 4). */
#define FOR_OUTPUTS(O, f, ...)                                                                                         \
    switch (O) {                                                                                                       \
    case 1: f(1, __VA_ARGS__); break;                                                                                  \
    case 2: f(2, __VA_ARGS__); break;                                                                                  \
    case 3: f(3, __VA_ARGS__); break;                                                                                  \
    default: f(4, __VA_ARGS__); break;                                                                                 \
    }

/* Input i of the first output. */
PN_INLINE int64_t turned_at(int O, int64_t i) { return i / PN_PANEL * PN_PANEL * O + i % PN_PANEL; }

/* c = sums and, beyond the O outputs, what the padding of b is */
PN_INLINE void store_few(const int O, const real *sums, const real *b, real *c) {
    for (int j = 0; j < PANEL_VECS; j++) vstore(c + j * VLEN, vrow(O, sums, j, vload(b + j * VLEN)));
}

PN_INLINE void row_of_few(const int O, const real *x, const real *wt, const real *b, int64_t I, real *c) {
    vec sum[FEW_OUTPUTS];
    real sums[FEW_OUTPUTS * VLEN];
#pragma GCC unroll 4
    for (int o = 0; o < O; o++) sum[o] = vset(b[o]);
    for (int64_t p = 0; p < I; p += PN_PANEL, wt += PN_PANEL * O) {
        const int n = I - p < (int)PN_PANEL ? (int)(I - p) : (int)PN_PANEL;
        for (int l = 0; l < n; l++)
#pragma GCC unroll 4
            for (int o = 0; o < O; o++) sum[o] = vfma(vset(x[p + l]), vset(wt[o * (int)PN_PANEL + l]), sum[o]);
    }
#pragma GCC unroll 4
    for (int o = 0; o < O; o++) vstore(sums + o * VLEN, sum[o]);
    store_few(O, sums, b, c);
}

/* Up to VLEN rows, one in each lane. */
PN_INLINE void rows_of_few(const int O, const real *x, int64_t ldx, int64_t rows, const real *wt, const real *b,
                           int64_t I, real *c, int64_t ldc) {
    vec sum[FEW_OUTPUTS];
    real sums[FEW_OUTPUTS * VLEN];
#pragma GCC unroll 4
    for (int o = 0; o < O; o++) sum[o] = vset(b[o]);
    for (int64_t i = 0; i < I; i += VLEN) {
        const int64_t left = I - i;
        const real *from = x + i, *w = wt + turned_at(O, i);
        int64_t ld = ldx;
        square copy;
        if (rows < VLEN) { /* what lies behind is not ours */
            for (int64_t k = 0; k < VLEN; k++)
                vstore(copy.at + k * PN_PANEL, k < rows ? vload_head(from + k * ld, left, 0) : vset(0));
            from = copy.at, ld = PN_PANEL;
        }
#pragma GCC unroll 4
        for (int k = 0; k < VLEN; k += VCOLUMNS) {
            if (k >= left) break;
            vec column[VCOLUMNS];
            vcolumns(column, from + k, ld);
#pragma GCC unroll 4
            for (int n = 0; n < VCOLUMNS; n++) {
                if (k + n >= left) break;
#pragma GCC unroll 4
                for (int o = 0; o < O; o++) sum[o] = vfma(column[n], vset(w[o * (int)PN_PANEL + k + n]), sum[o]);
            }
        }
    }
#pragma GCC unroll 4
    for (int o = 0; o < O; o++) vstore(sums + o * VLEN, sum[o]);
    for (int64_t k = 0; k < rows; k++) store_few(O, sums + k, b, c + k * ldc);
}

static void turned_forward(const real *x_bi, int64_t ldx, const real *wt_oi, const real *b_o, real *y_bo, int64_t ldy,
                           real *z_bo, int64_t ldz, int64_t m0, int64_t m1, int64_t I, int64_t O, int act,
                           const double *p, const pn_then *then) {
    real *const sum = z_bo ? z_bo : y_bo;
    const int64_t ld = z_bo ? ldz : ldy;
    const epilogue after = {act != PN_ACT_softmax && (z_bo || act != PN_ACT_identity) ? act_loop_of(act) : NULL, p,
                            y_bo, ldy, then};
    const real *const b = b_o ? b_o : pn_zeros.PN_SUFFIX(of);
    const int64_t at_once = 4 * (m1 - m0) >= VLEN ? VLEN : 1;
    for (int64_t m = m0, rows; m < m1; m += rows) {
        const real *x = x_bi + m * ldx;
        real *c = sum + m * ld;
        rows = m1 - m < at_once ? m1 - m : at_once;
        if (at_once > 1)
            FOR_OUTPUTS(O, rows_of_few, x, ldx, rows, wt_oi, b, I, c, ld)
        else
            FOR_OUTPUTS(O, row_of_few, x, wt_oi, b, I, c)
        finish(&after, c, ld, m, rows, 0, PANEL_VECS);
    }
    finish_strip(&after, m0, m1, 0, PANEL_VECS);
}

PN_INLINE void few_dx(const int O, const real *dz_bo, int64_t lddz, const real *wt_oi, real *dx_bi, int64_t lddx,
                      int64_t m0, int64_t m1, int64_t i, int add, const real *y, real *db_i) {
    const real *w = wt_oi + turned_at(O, i);
    vec db = vset(0);
    for (int64_t b = m0; b < m1; b++) {
        real *dx = dx_bi + b * lddx + i;
        vec sum = add ? vload(dx) : vset(0);
#pragma GCC unroll 4
        for (int o = 0; o < O; o++) sum = vfma(vset(dz_bo[b * lddz + o]), vload(w + o * (int)PN_PANEL), sum);
        if (y) sum = vmul(sum, vsel(vlt(vset(0), vload(y + b * lddx + i)), vset(1), vset(0)));
        db = vadd(db, sum);
        vstore(dx, sum);
    }
    if (y && db_i) vstore(db_i + i, db);
}
static void turned_dx(const real *dz_bo, int64_t lddz, const real *wt_oi, real *dx_bi, int64_t lddx, int64_t m0,
                      int64_t m1, int64_t O, int64_t p0, int64_t p1, int add, const real *relu_bi, real *db_i) {
    for (int64_t i = p0 * PN_PANEL; i < p1 * PN_PANEL; i += VLEN)
        FOR_OUTPUTS(O, few_dx, dz_bo, lddz, wt_oi, dx_bi, lddx, m0, m1, i, add, relu_bi, db_i)
}

PN_INLINE void few_dw(const int O, const real *x_bi, int64_t ldx, const real *dz_bo, int64_t lddz, real *dw_oi,
                      int64_t I, int64_t B, int64_t p0, int64_t p1, int add) {
    enum { MOST = 4 };
    const int AT_ONCE = VLEN == 8 && O > 2 ? 2 : MOST; /* 16 registers */
    for (int64_t i = p0 * PN_PANEL; i < p1 * PN_PANEL; i += AT_ONCE * VLEN) {
        vec sum[FEW_OUTPUTS][MOST];
        const int64_t left = (p1 * PN_PANEL - i) / VLEN, n = left < AT_ONCE ? left : AT_ONCE;
#pragma GCC unroll 4
        for (int o = 0; o < O; o++)
#pragma GCC unroll 4
            for (int k = 0; k < AT_ONCE; k++)
                sum[o][k] = add && k < n ? vload(dw_oi + turned_at(O, i + k * VLEN) + o * (int)PN_PANEL) : vset(0);
        for (int64_t b = 0; b < B; b++) {
            vec d[FEW_OUTPUTS];
#pragma GCC unroll 4
            for (int o = 0; o < O; o++) d[o] = vset(dz_bo[b * lddz + o]);
#pragma GCC unroll 4
            for (int k = 0; k < AT_ONCE; k++)
#pragma GCC unroll 4
                for (int o = 0; o < O; o++)
                    if (k < n) sum[o][k] = vfma(vload(x_bi + b * ldx + i + k * VLEN), d[o], sum[o][k]);
        }
#pragma GCC unroll 4
        for (int k = 0; k < AT_ONCE; k++) {
            if (k == n) break;
            const int64_t there = I - i - k * VLEN; /* x has something in its padding, dw has not */
            const uint32_t lanes = there >= VLEN ? ~0u : there > 0 ? (1u << there) - 1 : 0;
            real *dw = dw_oi + turned_at(O, i + k * VLEN);
#pragma GCC unroll 4
            for (int o = 0; o < O; o++)
                vstore(dw + o * (int)PN_PANEL, there >= VLEN ? sum[o][k] : vkeep(sum[o][k], lanes));
        }
    }
}
static void turned_dw(const real *x_bi, int64_t ldx, const real *dz_bo, int64_t lddz, real *dw_oi, int64_t I, int64_t B,
                      int64_t O, int64_t p0, int64_t p1, int add) {
    FOR_OUTPUTS(O, few_dw, x_bi, ldx, dz_bo, lddz, dw_oi, I, B, p0, p1, add)
}
#endif
