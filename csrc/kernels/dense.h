/* dense.h: forward and dw as products of tiles; dx stands in dense_dx.h, layers of few outputs in turned.h.
 *
 *   forward   y_bo  = x_bi  w_io + b_o     a = x  (rows of the batch)       b = w, panels along O
 *   dx        dx_bi = dz_bo w_io^T         a = dz (rows of the batch)       b = w^T, panels along I
 *   dw        dw_io = x_bi^T dz_bo         a = x  (columns: inputs)         b = dz, rows of the batch */
#ifndef PN_DENSE_H
#define PN_DENSE_H
#include "zeros.h"

#include <string.h>

/* Bytes that each of the K steps of a product [M,P] asks for, so that its last one asks for the last: one or two lines
 * at most. */
static uintptr_t asking_step(const pn_wanted *w, int64_t K, int64_t M, int64_t P) {
    enum { MOST = PN_PANEL * sizeof(real) * (TILE_VECS > PANEL_VECS ? TILE_VECS / PANEL_VECS : 1) };
    const int64_t tiles_of = (M + TILE_ROWS - 1) / TILE_ROWS * ((P * PANEL_VECS + TILE_VECS - 1) / TILE_VECS);
    const int64_t step = 1 + (w->end - w->row) * w->bytes / (K * (tiles_of > 0 ? tiles_of : 1));
    return (uintptr_t)(step < (int64_t)MOST ? step : (int64_t)MOST);
}

/* Asks for a line of each page of what is wanted, all at once: who asks for the first one of a page waits for the
 * translation of its address, here for several at a time.  dw of 784-128-10 @128, MNIST in any order, float32 102 us
 * without it and 88 with it, in order 85 and 84; uint8 100 and 84, 81.
 * (Inline: gcc leaves out calls of a function that does nothing but ask.) */
PN_INLINE void find_pages(const pn_wanted *w) {
    enum { PAGE = 4096 };
    for (int64_t row = w->row + 1; row < w->end; row++) {
        const char *at = w->base + (w->order ? w->order[row] : row) * w->row_stride;
        for (int64_t i = 0; i < w->bytes; i += PAGE) __builtin_prefetch(at + i);
        __builtin_prefetch(at + w->bytes - 1);
    }
}

static void dense_forward(const real *x_bi, int64_t ldx, const real *w_io, const real *b_o, real *y_bo, int64_t ldy,
                          real *z_bo, int64_t ldz, int64_t m0, int64_t m1, int64_t I, int64_t p0, int64_t p1, int act,
                          const double *p, const pn_then *then, pn_wanted *wanted, int zeros) {
    real *sum = z_bo ? z_bo : y_bo;
    const int64_t ld = z_bo ? ldz : ldy;
    /* y[m, 16p..] = b + sum_i x[m,i] w[p][i][0..16) */
    operands o = {.a = x_bi,
                  .sm = ldx,
                  .sk = 1,
                  .b = w_io,
                  .sb = PN_PANEL,
                  .bp = I * PN_PANEL,
                  .c = sum,
                  .sc = ld,
                  .cp = PN_PANEL,
                  .K = I,
                  .start = b_o,
                  .sp = PN_PANEL,
                  .far = if_far(NEXT_B, I, p1 - p0)};
    const int elementwise = act != PN_ACT_softmax && (z_bo || act != PN_ACT_identity);
    o.relu = PN_LARGE && act == PN_ACT_relu && !z_bo && !zeros && !(then && then->norm);
    const epilogue after = {elementwise && !o.relu ? act_loop_of(act) : NULL, p, y_bo, ldy, then};
    const int pairs = PN_ZEROS(PN_DTYPE) && zeros && all_finite(&o, p0, p1);
    if (PN_LARGE && WANTS(TILE_ROWS) && wanted && (pairs || o.far == NOTHING)) {
        o.wanted = wanted;
        o.step = pairs ? bytes_of_term(wanted, I * (m1 - m0)) : asking_step(wanted, I, m1 - m0, p1 - p0);
        find_pages(wanted);
    }
    if (pairs)
        product_of_pairs(&o, m0, m1, p0, p1, zeros, &after);
    else
        product(&o, m0, m1, p0, p1, &after);
}

/* dw takes x in blocks that stay in the second-level cache while all of dz passes.  Unblocked, 4096 x 4096 @1024 ran at
 * 49 % of the FMA peak, in blocks of 256 x 224 at 89 % (Zen 4, AVX-512; 256 x 448 and 512 x 224: no better).  A tile of
 * six rows has six cycles for a row of the batch, too few to look up the page of x and that of dz for each: it takes a
 * copy of the block without gaps (AVX2, median over widths 256..4096: 86 %, without the copy 75 %, 128 x 192 83 %).
 * Inputs outside and rows inside, 256, 384 or 512 of them: nothing (784-512-256-10 @1024). */
#if TILE_ROWS == 14
enum { DW_ROWS = 256, DW_INPUTS = 224, DW_COPY = 0 };
#else
enum { DW_ROWS = 128, DW_INPUTS = 96, DW_COPY = 1 };
#endif

/* dw[p][i][0..16) = sum_b x[b,i] dz[b, 16p..], FEW_ROWS rows at a time, whose dz stay in registers: a tile would load
 * and store more than it multiplies.  Times of a step in tiles over those without (Zen 4, 256-256-256-256): @2 1.10,
 * @4 1.14, @6 1.09, @8 1.10, @12 1.08, @16 1.04, @24 1.03 (64-64-64-64 1.01, 64-64-64-10 @32 0.98); AVX2 @6 1.04,
 * @8 1.03, @12 1.00, @16 0.99 (64-64-64-64 0.90).  All panels for each few rows, instead of all rows for each panel: a
 * step of 1024-1024-1024-1024 @6 takes 1.06 times as long.
 * A single row loads nothing that it does not add: with `start` a step of 4-32-32-1 took 9 % more instructions. */
enum { FEW_ROWS = VLEN > 1 && PN_TRAINS(PN_DTYPE) ? 4 : 1, NO_TILE = FEW_ROWS > 1 ? VLEN : 1 };
PN_INLINE void outer_products(int rows, const real *x_bi, int64_t ldx, const real *dz_bo, int64_t lddz, real *dw_io,
                              int64_t i0, int64_t i1, int add) {
    const int64_t step = add ? PN_PANEL : 0;
    real *to = dw_io + i0 * PN_PANEL;
    const real *start = add ? to : pn_zeros.PN_SUFFIX(of);
    lanes16 g[FEW_ROWS];
#pragma GCC unroll 4
    for (int b = 0; b < rows; b++)
        for (int j = 0; j < PANEL_VECS; j++) g[b].v[j] = vload(dz_bo + b * lddz + j * VLEN);
    for (int64_t i = i0; i < i1; i++, to += PN_PANEL, start += step)
        for (int j = 0; j < PANEL_VECS; j++) {
            vec sum = rows > 1 ? vload(start + j * VLEN) : add ? vload(to + j * VLEN) : vset(0);
#pragma GCC unroll 4
            for (int b = 0; b < rows; b++) sum = vfma(vset(x_bi[b * ldx + i]), g[b].v[j], sum);
            vstore(to + j * VLEN, sum);
        }
}
static void few_rows(int64_t B, const real *x_bi, int64_t ldx, const real *dz_bo, int64_t lddz, real *dw_io, int64_t I,
                     int64_t i0, int64_t i1, int64_t p0, int64_t p1, int add) {
#define ROWS(n)                                                                                                        \
    case n:                                                                                                            \
        if (n <= FEW_ROWS) outer_products(n, x, ldx, dz, lddz, dw, i0, i1, add || b);                                  \
        break;
    for (int64_t p = p0; p < p1; p++)
        for (int64_t b = 0; b < B; b += FEW_ROWS) {
            const real *x = x_bi + b * ldx, *dz = dz_bo + b * lddz + p * PN_PANEL;
            real *dw = dw_io + p * I * PN_PANEL;
            switch (B - b < FEW_ROWS ? B - b : FEW_ROWS) { ROWS(1) ROWS(2) ROWS(3) ROWS(4) }
        }
#undef ROWS
}

/* With a copy of a, of `inputs` inputs.  By itself, so that lists and it are not on a stack at once. */
PN_SHARED void product_of_copy(operands *o, int64_t inputs, int64_t p0, int64_t p1) {
    real block[DW_COPY ? DW_ROWS * DW_INPUTS : 1];
    for (int64_t k = 0; k < o->K; k++) memcpy(block + k * DW_INPUTS, o->a + k * o->sk, (size_t)inputs * sizeof(real));
    o->a = block, o->sk = DW_INPUTS;
    product(o, 0, inputs, p0, p1, NULL);
}

/* By itself: dense_dw of a single row would fill `all`, too. */
PN_SHARED int finite_rows(const real *dz_bo, int64_t lddz, int64_t B, int64_t p0, int64_t p1) {
    const operands all = {.b = dz_bo, .sb = lddz, .bp = PN_PANEL, .K = B};
    return all_finite(&all, p0, p1);
}

static void dense_dw(const real *x_bi, int64_t ldx, const real *dz_bo, int64_t lddz, real *dw_io, int64_t I, int64_t i0,
                     int64_t i1, int64_t B, int64_t p0, int64_t p1, int add, pn_wanted *wanted, int zeros) {
    const int pairs = PN_ZEROS(PN_DTYPE) && zeros && finite_rows(dz_bo, lddz, B, p0, p1);
    if (B == 1 || (B <= NO_TILE && !pairs)) {
        few_rows(B, x_bi, ldx, dz_bo, lddz, dw_io, I, i0, i1, p0, p1, add);
        return;
    }
    const int copy = DW_COPY && p1 - p0 > 4 && ldx > DW_INPUTS; /* worth it */
    const uintptr_t step = !(WANTS(TILE_ROWS) && wanted) ? 0
                           : pairs                       ? bytes_of_term(wanted, B * (i1 - i0))
                                                         : asking_step(wanted, B, i1 - i0, p1 - p0);
    if (PN_LARGE && step) find_pages(wanted);
    /* dw[p][i][0..16) = sum_b x[b,i] dz[b, 16p..]; the next rows go on where the last ended: one order of the sum */
    for (int64_t b = 0; b < B; b += DW_ROWS)
        for (int64_t i = i0; i < i1; i += DW_INPUTS) {
            const int64_t rows = B - b < DW_ROWS ? B - b : DW_ROWS, inputs = i1 - i < DW_INPUTS ? i1 - i : DW_INPUTS;
            real *dw = dw_io + i * PN_PANEL;
            operands o = {.a = x_bi + b * ldx + i,
                          .sm = 1,
                          .sk = ldx,
                          .b = dz_bo + b * lddz,
                          .sb = lddz,
                          .bp = PN_PANEL,
                          .c = dw,
                          .sc = PN_PANEL,
                          .cp = I * PN_PANEL,
                          .K = rows,
                          .start = add || b ? dw : NULL,
                          .ss = PN_PANEL,
                          .sp = I * PN_PANEL,
                          .wanted = wanted,
                          .step = step,
                          .far = if_far(NEXT_C, i1 - i0, p1 - p0)};
            if (pairs)
                product_of_pairs(&o, 0, inputs, p0, p1, zeros, NULL);
            else if (copy)
                product_of_copy(&o, inputs, p0, p1);
            else
                product(&o, 0, inputs, p0, p1, NULL);
        }
}

/* Four panels at once, because a sum waits for its last addition: 0.3 us of 124 (64-64-64-10 @256), refused. */
static void column_sums(const real *dz_bo, int64_t lddz, real *db_o, int64_t B, int64_t p0, int64_t p1, int add) {
    for (int64_t p = p0; p < p1; p++) { /* db[o] = sum_b dz[b,o], b ascending */
        lanes16 s = lanes_set(0);
        for (int64_t m = 0; m < B; m++)
            for (int j = 0; j < PANEL_VECS; j++)
                s.v[j] = vadd(s.v[j], vload(dz_bo + m * lddz + p * PN_PANEL + j * VLEN));
        for (int j = 0; j < PANEL_VECS; j++) {
            real *d = db_o + p * PN_PANEL + j * VLEN;
            vstore(d, add ? vadd(vload(d), s.v[j]) : s.v[j]);
        }
    }
}
#endif
