/* lanes.h: a pruned w whose outputs stand side by side, for few rows: y_bo = x_bi w_io + b_o.
 *
 * A panel of 16 outputs is a row of steps.  A step sees 32 inputs, from a multiple of 16 on, and has for each output
 * one value and the place of its input among the 32; PN_NO_PLACE and a value 0 where an output has none there.  Steps
 * are made so that what an output has goes over its inputs in order (src/pynet/lanes.py): with 80 % pruned three of
 * four places are taken, with 95 % a half.
 *
 * So one instruction picks the inputs of 16 values from what is in registers, where sparse.h loads each alone, and the
 * bits are the same: each sum goes over its inputs in order, and products with 0 change none (of finite x).
 *
 * Zen 4, AVX-512, 256 and 1024 wide, one row, times as fast as the steps of sparse.h: 3.5 at 80 %, 2.9 at 90 %, 2.5 at
 * 95 %: 4.5 cycles a step, of which the loads take 4.  Refused:
 *   packed values and places, spread by a mask (vexpandps): a fifth fewer bytes, but 12 cycles a step; two panels at
 *   once made it 17
 *   64 inputs in sight: 12 to 24 % fewer steps, and each takes 1.4 times as long; faster only beyond the caches
 *   one input of a panel a step, a mask saying whose weights are left: as many steps whatever is pruned, four times as
 *   many at 80 % as here */
#ifndef PN_LANES_H
#define PN_LANES_H
#include "simd.h"

/* Values are asked for so many steps ahead: up to 1.5 times as fast with 4096 x 4096.  A single row, which waits for
 * its loads, asks only where there are many, 5 MB of them: with what a cache holds it would be 3 to 8 % slower. */
enum { LANES_AHEAD = 48, LANES_MANY = 1 << 16 };
#define LANES_ROWS (VLEN == 16 ? 8 : VLEN == 8 ? 4 : 1) /* whose sums wait in registers at once, at most */

/* y for outputs of panel q and M rows */
PN_INLINE void lanes_block(const pn_sparse *w, const int M, const int ahead, const real *x, int64_t ldx, const real *b,
                           real *y, int64_t ldy, int64_t q) {
    const int64_t begin = q ? w->ends[q - 1] : 0, end = w->ends[q];
    vec sum[8][PANEL_VECS];
    UNROLL_VECS
    for (int j = 0; j < PANEL_VECS; j++) {
        const vec first = b ? vload(b + q * PN_PANEL + j * VLEN) : vset(0);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) sum[m][j] = first;
    }
    const real *v = (const real *)w->values + begin * PN_PANEL;
    const uint8_t *step = w->steps + begin * PN_LANES_BYTES, *last = w->steps + end * PN_LANES_BYTES;
    for (; step < last; step += PN_LANES_BYTES, v += PN_PANEL) {
        const real *seen = x + pn_sight(step);
        if (ahead) __builtin_prefetch((const void *)((uintptr_t)v + LANES_AHEAD * PN_PANEL * sizeof(real)));
        UNROLL_VECS
        for (int j = 0; j < PANEL_VECS; j++)
#pragma GCC unroll 8
            for (int m = 0; m < M; m++)
                sum[m][j] = vfma(vload(v + j * VLEN), vpick(seen + m * ldx, step + 2 + j * VLEN), sum[m][j]);
    }
    UNROLL_VECS
    for (int j = 0; j < PANEL_VECS; j++)
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) vstore(y + m * ldy + q * PN_PANEL + j * VLEN, sum[m][j]);
}

/* Sums of rows [m0,m1) and panels [p0,p1), padding of y included.  A panel's values stay in the cache for all rows.
 * A function of its own: inlined, it takes registers from what else sparse_rows does. */
PN_SHARED void lanes_sums(const real *x, int64_t ldx, const pn_sparse *w, const real *b, real *y, int64_t ldy,
                          int64_t m0, int64_t m1, int64_t p0, int64_t p1) {
    const int many = p1 > p0 && w->ends[p1 - 1] - (p0 ? w->ends[p0 - 1] : 0) > LANES_MANY;
    for (int64_t q = p0; q < p1; q++)
        for (int64_t m = m0, n; m < m1; m += n) {
            const real *from = x + m * ldx;
            real *to = y + m * ldy;
            n = m1 - m;
            if (LANES_ROWS >= 8 && n >= 8)
                n = 8, lanes_block(w, 8, 1, from, ldx, b, to, ldy, q);
            else if (LANES_ROWS >= 4 && n >= 4)
                n = 4, lanes_block(w, 4, 1, from, ldx, b, to, ldy, q);
            else if (LANES_ROWS >= 2 && n >= 2)
                n = 2, lanes_block(w, 2, 1, from, ldx, b, to, ldy, q);
            else if (n = 1, many)
                lanes_block(w, 1, 1, from, ldx, b, to, ldy, q);
            else
                lanes_block(w, 1, 0, from, ldx, b, to, ldy, q);
        }
}

/* ---- the way down: values one by one ----------------------------------------------------------------------------- */

/* dx[i] += v dz[o] for tile after tile of R rows; of a panel step by step, so not in the order of the dense form */
PN_INLINE void lanes_dx(const real *dz, int64_t R, const pn_sparse *w, real *dx, int64_t O) {
    for (int64_t q = 0, s = 0; q * PN_PANEL < O; q++)
        for (; s < w->ends[q]; s++) {
            const uint8_t *step = w->steps + s * PN_LANES_BYTES;
            for (int64_t o = 0; o < PN_PANEL; o++) {
                if (step[2 + o] == PN_NO_PLACE) continue;
                const vec value = vset(((const real *)w->values)[s * PN_PANEL + o]);
                const real *from = dz + (q * PN_PANEL + o) * R;
                real *to = dx + (pn_sight(step) + step[2 + o]) * R;
                for (int64_t k = 0; k < R; k += VLEN) vstore(to + k, vfma(vload(from + k), value, vload(to + k)));
            }
        }
}
#endif
