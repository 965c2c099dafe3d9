/* lanes.h: a pruned w whose outputs stand side by side, for few rows: y_bo = x_bi w_io + b_o.
 *
 * A panel of 16 outputs is a row of steps.  Every two steps see the same 32 inputs, from a multiple of 8 on; a step has
 * for each output one value and the place of its input among the 32, or PN_NO_PLACE and a value 0.  Steps are made so
 * that what an output has goes over its inputs in order (src/pynet/lanes.py): with 80 % pruned three of four places are
 * taken, with 95 % a half.
 *
 * So one instruction picks the inputs of 16 values from what is in registers, where sparse.h loads each alone, and the
 * bits are the same: each sum goes over its inputs in order, and products with 0 change none (of finite x).
 *
 * Zen 4, AVX-512, one row of 1024: 3.0 cycles a step, where 81 bytes from the second-level cache take 2.6 and what is
 * loaded, 512 bits a cycle, 3.0: the values 1, x 1.5 (each sight is loaded once in two steps, and half of them cross a
 * line), the number of the sight a quarter, the places another (a shift brings those of the next step to where the pick
 * looks for them; spreading bytes took a load and a shuffle for each step).  A single row gains that only with two
 * panels at a time, because a sum waits 4 cycles for its last product.
 *
 * Other forms, against this one (one row of 1024 with 80, 90 and 95 % pruned):
 *
 * - a sight for each step, from a multiple of 16 on, x sliding in registers, 18 bytes a step: the form before,
 *   1.17, 1.23 and 1.20 times as long; with a flag in the places instead of a number 1.06, 1.10, 1.10
 * - the same with a branch that slides: 0.97 of that up to 1024, where the processor knows all turns by heart, and
 *   twice as long beyond
 * - two panels that share their sights: 5, 8 and 10 % more steps; four: 9, 15 and 20 %
 * - a sight for four steps: 6, 16 and 30 % more steps
 * - from a multiple of 4 on, or 2, or any: 2 to 4 % fewer steps, but more lines are crossed: 1.00 to 1.1 times as long
 * - copies of x for each place in a line: nothing, they take room in the cache
 * - places and sights in blocks of 68 bytes, so that places cross lines: 1.02 to 1.06
 * - AVX2, what is seen in four registers: 0.98 to 1.06 (four picks and three blends of each eight are what takes time)
 *
 * Refused earlier:
 *
 * - packed values and places, spread by a mask (vexpandps): a fifth fewer bytes, but 12 cycles a step
 * - 64 inputs in sight: 12 to 24 % fewer steps, and each takes 1.4 times as long; faster only beyond the caches
 * - one input of a panel a step, a mask saying whose weights are left: as many steps whatever is pruned, four times as
 *   many at 80 % as here
 * - outputs sorted by how many weights they have left, before they form panels: 1.5 to 3 % fewer steps of 1024 wide;
 *   grouped by where their inputs lie: 3 to 4.5 %, and each result has to find its place */
#ifndef PN_LANES_H
#define PN_LANES_H
#include "simd.h"

/* Values are asked for so many steps ahead: up to 1.5 times as fast with 4096 x 4096.  A single row, which waits for
 * its loads, asks only where there are many, 5 MB of them: with what a cache holds it would be 3 to 8 % slower. */
enum { LANES_AHEAD = 48, LANES_MANY = 1 << 16 };
#ifdef SIGHT_IN_REGISTERS
enum { LANES_PANELS = 2 }; /* that a single row meets at once */
#else
enum { LANES_PANELS = 1 };
#endif
#ifdef PLACES_IN_REGISTERS
enum { SHIFTS = 1, SEEN_AT_ONCE = 2 }; /* known shifts are cheaper; steps for which a sight is loaded once */
#else
enum { SHIFTS = 0, SEEN_AT_ONCE = 1 };
#endif
#define LANES_ROWS (VLEN == 16 ? 8 : VLEN == 8 ? 4 : 1) /* whose sums wait in registers at once, at most */

/* Where a panel is, and its sums of up to eight rows. */
typedef struct lanes_panel {
    const real *v;
    const uint8_t *places, *sights;
    int64_t output, blocks; /* its first one; of them all */
    vec sum[8][PANEL_VECS];
} lanes_panel;

PN_INLINE void some_steps(lanes_panel *a, const int M, const int ahead, const real *x, int64_t ldx, const places *at,
                          int first) {
    const real *from = x + pn_sight(a->sights, first);
    sight seen[8];
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) seen[m] = vsee(from + m * ldx);
#pragma GCC unroll 2
    for (int k = first; k < first + SEEN_AT_ONCE; k++) {
        const real *v = a->v + k * PN_PANEL;
        if (ahead) __builtin_prefetch((const void *)((uintptr_t)v + LANES_AHEAD * PN_PANEL * sizeof(real)));
        UNROLL_VECS
        for (int j = 0; j < PANEL_VECS; j++)
#pragma GCC unroll 8
            for (int m = 0; m < M; m++)
                a->sum[m][j] = vfma(vload(v + j * VLEN), vpick(seen[m], at[j], k), a->sum[m][j]);
    }
}

PN_INLINE void lanes_steps(lanes_panel *a, const int M, const int ahead, const real *x, int64_t ldx) {
    places at[PANEL_VECS];
    UNROLL_VECS
    for (int j = 0; j < PANEL_VECS; j++) at[j] = vplaces(a->places + j * VLEN * PN_LANES_BLOCK);
    if (SHIFTS)
        some_steps(a, M, ahead, x, ldx, at, 0), some_steps(a, M, ahead, x, ldx, at, 2);
    else
        for (int k = 0; k < PN_LANES_BLOCK; k += SEEN_AT_ONCE) some_steps(a, M, ahead, x, ldx, at, k);
    a->v += PN_LANES_BLOCK * PN_PANEL, a->places += PN_LANES_BLOCK * PN_PANEL, a->sights += PN_LANES_BLOCK;
}

PN_INLINE int64_t lanes_begin(const pn_sparse *w, int64_t q) { return q ? w->ends[q - 1] : 0; }

/* y for outputs of Q panels from q on and M rows.  Of two panels the longer one comes first: it ends by itself. */
PN_INLINE void lanes_block(const pn_sparse *w, const int Q, const int M, const int ahead, const real *x, int64_t ldx,
                           const real *b, real *y, int64_t ldy, int64_t q) {
    lanes_panel a[2];
    const int64_t second = Q == 2 && w->ends[q + 1] - w->ends[q] > w->ends[q] - lanes_begin(w, q);
#pragma GCC unroll 2
    for (int k = 0; k < Q; k++) {
        const int64_t at = q + (k ^ second), begin = lanes_begin(w, at);
        a[k].output = at * PN_PANEL, a[k].blocks = (w->ends[at] - begin) / PN_LANES_BLOCK;
        a[k].v = (const real *)w->values + begin * PN_PANEL;
        a[k].places = w->steps + begin * PN_PANEL, a[k].sights = w->sights + begin;
        UNROLL_VECS
        for (int j = 0; j < PANEL_VECS; j++) {
            const vec first = b ? vload(b + a[k].output + j * VLEN) : vset(0);
#pragma GCC unroll 8
            for (int m = 0; m < M; m++) a[k].sum[m][j] = first;
        }
    }
    int64_t s = 0;
    for (; Q == 2 && s < a[1].blocks; s++) lanes_steps(&a[0], M, ahead, x, ldx), lanes_steps(&a[1], M, ahead, x, ldx);
    for (; s < a[0].blocks; s++) lanes_steps(&a[0], M, ahead, x, ldx);
#pragma GCC unroll 2
    for (int k = 0; k < Q; k++) UNROLL_VECS
    for (int j = 0; j < PANEL_VECS; j++)
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) vstore(y + m * ldy + a[k].output + j * VLEN, a[k].sum[m][j]);
}

/* Sums of rows [m0,m1) and panels [p0,p1), padding of y included.  A panel's values stay in the cache for all rows.
 * A function of its own: inlined, it takes registers from what else sparse_rows does. */
PN_SHARED void lanes_sums(const real *x, int64_t ldx, const pn_sparse *w, const real *b, real *y, int64_t ldy,
                          int64_t m0, int64_t m1, int64_t p0, int64_t p1) {
    const int many = p1 > p0 && w->ends[p1 - 1] - (p0 ? w->ends[p0 - 1] : 0) > LANES_MANY;
    int64_t q = p0;
    for (; LANES_PANELS == 2 && m1 - m0 == 1 && q + 2 <= p1; q += 2)
        if (many)
            lanes_block(w, 2, 1, 1, x + m0 * ldx, ldx, b, y + m0 * ldy, ldy, q);
        else
            lanes_block(w, 2, 1, 0, x + m0 * ldx, ldx, b, y + m0 * ldy, ldy, q);
    for (; q < p1; q++)
        for (int64_t m = m0, n; m < m1; m += n) {
            const real *from = x + m * ldx;
            real *to = y + m * ldy;
            n = m1 - m;
            if (LANES_ROWS >= 8 && n >= 8)
                n = 8, lanes_block(w, 1, 8, 1, from, ldx, b, to, ldy, q);
            else if (LANES_ROWS >= 4 && n >= 4)
                n = 4, lanes_block(w, 1, 4, 1, from, ldx, b, to, ldy, q);
            else if (LANES_ROWS >= 2 && n >= 2)
                n = 2, lanes_block(w, 1, 2, 1, from, ldx, b, to, ldy, q);
            else if (n = 1, LANES_ROWS > 1 && LANES_PANELS == 1 && many)
                lanes_block(w, 1, 1, 1, from, ldx, b, to, ldy, q);
            else
                lanes_block(w, 1, 1, 0, from, ldx, b, to, ldy, q);
        }
}

/* ---- the way down: values one by one ----------------------------------------------------------------------------- */

/* dx[i] += v dz[o] for tile after tile of R rows; of a panel step by step, so not in the order of the dense form */
PN_INLINE void lanes_dx(const real *dz, int64_t R, const pn_sparse *w, real *dx, int64_t O) {
    for (int64_t q = 0, s = 0; q * PN_PANEL < O; q++)
        for (; s < w->ends[q]; s++) {
            for (int64_t o = 0; o < PN_PANEL; o++) {
                const uint8_t place = pn_place(w->steps, s, o);
                if (place == PN_NO_PLACE) continue;
                const vec value = vset(((const real *)w->values)[s * PN_PANEL + o]);
                const real *from = dz + (q * PN_PANEL + o) * R;
                real *to = dx + (pn_sight(w->sights, s) + place) * R;
                for (int64_t k = 0; k < R; k += VLEN) vstore(to + k, vfma(vload(from + k), value, vload(to + k)));
            }
        }
}
#endif
