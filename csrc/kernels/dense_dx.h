/* dense_dx.h: dx_bi (+)= dz_bo w_io^T, o ascending: by tiles from w^T in panels along I, or from w itself. */
#ifndef PN_DENSE_DX_H
#define PN_DENSE_DX_H
#include "dense.h"

/* wt[p - p0][o][l] = w[o/16][16p + l][o%16], 0 beyond I.  Squares of one p lie far apart, so no processor sees the next
 * one coming: it is asked for, where weights do not fit in the second-level cache. */
static void transpose(const real *w_io, real *wt_oi, int64_t I, int64_t O, int64_t p0, int64_t p1) {
    const int far = if_far(1, I, pn_panels((uint32_t)O));
    for (int64_t p = p0; p < p1; p++)
        for (int64_t o = 0; o < O; o += VLEN)
            for (int64_t l = 0; l < PN_PANEL; l += VLEN) {
                const real *from = w_io + (o / PN_PANEL * I + p * PN_PANEL + l) * PN_PANEL + o % PN_PANEL;
                for (int k = 0; far && k < VLEN; k++)
                    __builtin_prefetch(
                        (const void *)((uintptr_t)from + (uintptr_t)((I + k) * PN_PANEL) * sizeof(real)));
                transpose_square(from, PN_PANEL, I - p * PN_PANEL - l, wt_oi + ((p - p0) * O + o) * PN_PANEL + l,
                                 PN_PANEL, O - o);
            }
}

static void dense_dx(const real *dz_bo, int64_t lddz, const real *wt_oi, real *dx_bi, int64_t lddx, int64_t m0,
                     int64_t m1, int64_t O, int64_t p0, int64_t p1, int add) {
    /* dx[m, 16p..] = sum_o dz[m,o] wt[p][o][0..16) */
    operands o = {.a = dz_bo,
                  .sm = lddz,
                  .sk = 1,
                  .b = wt_oi,
                  .sb = PN_PANEL,
                  .bp = O * PN_PANEL,
                  .c = dx_bi,
                  .sc = lddx,
                  .cp = PN_PANEL,
                  .K = O,
                  .start = add ? dx_bi + m0 * lddx : NULL,
                  .ss = lddx,
                  .sp = PN_PANEL,
                  .far = if_far(NEXT_B, O, p1 - p0)};
    product(&o, m0, m1, p0, p1, NULL);
}

/* Few rows: squares of w are transposed in registers, in the order in which they lie, and written nowhere.  A row loads
 * and stores its dx for each of them, so tiles are faster where these are many, unless a multiply-add of a vector takes
 * as long as two loads and dx stays in the cache.  The way down through all layers, times that of tiles (Zen 4), with
 * AVX-512: 64-64-64-10 @1 0.74, @8 0.89, @32 0.95, @256 0.98; 256-256-256-256 @4 0.72, @8 0.85, @32 0.95, @128 1.00;
 * 1024-1024-1024 @1 0.76, @8 0.91, @16 1.05; with AVX2: 256-256-256-256 @4 0.85, @8 0.97, @16 1.06, 64-64-64-10 @64
 * 1.08.  With through_relu() behind them tiles were faster on Zen 5 from 33 rows on (of a step of 64-64-64-10 @64 0.97,
 * @256 0.95, 4-32-32-1 @256 0.96), before four rows went at once; now up to 16, 32 or 96 rows are within 1 %.  Refused,
 * on Zen 5: 8 outputs and two vectors of inputs at a time, so that a number of dz serves both: 4-32-32-1 @1 1.02, @32
 * 0.97, 64-64-64-10 @256 0.99, 256-256-256-256 @32 1.03. */
static int few_enough(int64_t rows, int64_t O, int64_t panels) {
    enum { WIDE = TILE_ROWS == 14, ROWS = WIDE ? 32 : VLEN, DX = 1 << 12 };
    const int64_t dx = rows * panels * PN_PANEL, passes = (O + PN_PANEL - 1) / PN_PANEL;
    return VLEN > 1 && ((rows <= ROWS && dx <= DX) || (WIDE && passes == 1));
}

enum { AT_ONCE = 4 };

/* A vector of dx of as many rows, whose sums wait at once: with four, a step takes, times as long as with one (Zen 5),
 * 64-64-64-10 @32 0.96, 4-32-32-1 @32 0.97, 16-16-16 @128 0.98; with eight 0.97, 1.03 and 0.99. */
PN_INLINE void rows_of_dx(const int rows, const int whole, const real *dz, int64_t lddz, const vec *wt, int64_t left,
                          const real *y, real *dx, int64_t lddx, int add, vec *db) {
    vec sum[AT_ONCE];
#pragma GCC unroll 4
    for (int b = 0; b < rows; b++) sum[b] = add ? vload(dx + b * lddx) : vset(0);
#pragma GCC unroll 16
    for (int k = 0; k < VLEN; k++) {
        if (!whole && k == left) break;
#pragma GCC unroll 4
        for (int b = 0; b < rows; b++) sum[b] = vfma(vset(dz[b * lddz + k]), wt[k], sum[b]);
    }
#pragma GCC unroll 4
    for (int b = 0; b < rows; b++) {
        if (y) sum[b] = vmul(sum[b], vsel(vlt(vset(0), vload(y + b * lddx)), vset(1), vset(0)));
        *db = vadd(*db, sum[b]);
        vstore(dx + b * lddx, sum[b]);
    }
}

static void dx_of_few(const real *dz_bo, int64_t lddz, const real *w_io, real *dx_bi, int64_t lddx, int64_t m0,
                      int64_t m1, int64_t I, int64_t O, int64_t p0, int64_t p1, int add, const real *relu_bi,
                      real *db_i) {
    for (int64_t o = 0; o < O; o += VLEN)
        for (int64_t i = p0 * PN_PANEL; i < p1 * PN_PANEL; i += VLEN) {
            const int64_t left = O - o;
            vec wt[VLEN]; /* [o][i] */
            square copy;
            int64_t ld = PN_PANEL;
            const real *w = square_of(w_io + (o / PN_PANEL * I + i) * PN_PANEL + o % PN_PANEL, &ld, I - i, &copy);
#pragma GCC unroll 4
            for (int k = 0; k < VLEN; k += VTURN) {
                if (k < left)
                    vturn(wt + k, w + k, ld);
                else
                    for (int j = 0; j < VTURN; j++) wt[k + j] = vset(0); /* nobody reads it */
            }
            const real *y = relu_bi && o + VLEN >= O ? relu_bi + i : NULL; /* dx is complete then */
            vec db = vset(0);
            int64_t b = m0;
#define ROWS(rows, whole)                                                                                              \
    for (; b + rows <= m1; b += rows)                                                                                  \
    rows_of_dx(rows, whole, dz_bo + b * lddz + o, lddz, wt, left, y ? y + b * lddx : NULL, dx_bi + b * lddx + i, lddx, \
               add || o, &db)
            if (PN_LARGE && left >= VLEN) {
                ROWS(AT_ONCE, 1);
                ROWS(1, 1);
            } else {
                if (PN_LARGE) ROWS(AT_ONCE, 0);
                ROWS(1, 0);
            }
#undef ROWS
            if (y && db_i) vstore(db_i + i, db);
        }
}

/* dx = dz of the ReLU that made x, and its column sums: the sums of four vectors wait at once. */
static void through_relu(const real *relu_bi, real *dx_bi, int64_t ld, int64_t m0, int64_t m1, int64_t p0, int64_t p1,
                         real *db_i) {
    const int64_t end = p1 * PN_PANEL;
    for (int64_t i = p0 * PN_PANEL; i < end; i += AT_ONCE * VLEN) {
        vec db[AT_ONCE];
#pragma GCC unroll 4
        for (int k = 0; k < AT_ONCE; k++) db[k] = vset(0);
        for (int64_t m = m0; m < m1; m++) {
            const real *y = relu_bi + m * ld + i;
            real *dx = dx_bi + m * ld + i;
#pragma GCC unroll 4
            for (int k = 0; k < AT_ONCE; k++) {
                if (i + k * VLEN >= end) break;
                const vec d = vmul(vload(dx + k * VLEN), vsel(vlt(vset(0), vload(y + k * VLEN)), vset(1), vset(0)));
                db[k] = vadd(db[k], d);
                vstore(dx + k * VLEN, d);
            }
        }
#pragma GCC unroll 4
        for (int k = 0; k < AT_ONCE; k++)
            if (db_i && i + k * VLEN < end) vstore(db_i + i + k * VLEN, db[k]);
    }
}

/* Or a few panels are transposed at a time, always into the same place, which stays in the cache.  At 1024 x 1024 that
 * is four megabytes less to write and to read again than all of w^T: a step of 1024-1024-1024-1024 takes 0.82 of the
 * time @8, 0.92 @32, 0.97 @256 (transpose asks for w early as well), of 512-512-512-512 0.90 @8. */
static void dense_dx_from_w(const real *dz_bo, int64_t lddz, const real *w_io, real *room, real *dx_bi, int64_t lddx,
                            int64_t m0, int64_t m1, int64_t I, int64_t O, int64_t p0, int64_t p1, int add,
                            const real *relu_bi, real *db_i) {
    enum { FITS = 1 << 18 }; /* bytes */
    if (few_enough(m1 - m0, O, p1 - p0)) {
        dx_of_few(dz_bo, lddz, w_io, dx_bi, lddx, m0, m1, I, O, p0, p1, add, relu_bi, db_i);
        return;
    }
    const int64_t fit = FITS / (O * PN_PANEL * (int64_t)sizeof(real)), most = fit < 2 ? 2 : fit;
    for (int64_t p = p0, n; p < p1; p += n) {
        n = p1 - p < most ? p1 - p : most;
        transpose(w_io, room, I, O, p, p + n);
        dense_dx(dz_bo, lddz, room, dx_bi + p * PN_PANEL, lddx, m0, m1, O, 0, n, add);
        if (relu_bi) through_relu(relu_bi, dx_bi, lddx, m0, m1, p, p + n, db_i);
    }
}
#endif
