/* sparse.h: y_bo = x_bi w_io + b_o with a pruned w, of which only what is left is stored, output by output, inputs
 * ascending: values, and the steps from the input of one value to that of the next (the first counts from input -1).
 * A step has four bits or eight; where a distance is longer, values of 0 stand in between.  Of steps of four bits each
 * output has an even number: two share a byte, and a value of 0 with a step of 0 fills up.
 *
 * Sums go over the inputs in order, as in dense.h; leaving out a product with 0 changes no bit of them (of finite x).
 * So a pruned layer gives the bits of its dense form, whichever of the ways below it takes:
 *
 *   one row      values meet single numbers, four outputs at a time, so that four sums wait at once
 *   more rows    x is transposed first, and each value meets 16 or 32 rows at once
 *   lanes        another form, for few rows: lanes.h */
#ifndef PN_SPARSE_H
#define PN_SPARSE_H
#include "act.h"
#include "lanes.h"

#if defined(PN_ISA_scalar)
#define real_fma(a, b, c) ((a) * (b) + (c))
#elif defined(PN_DTYPE_f64)
#define real_fma(a, b, c) __builtin_fma(a, b, c)
#else
#define real_fma(a, b, c) __builtin_fmaf(a, b, c)
#endif

PN_INLINE int64_t begin_of(const pn_sparse *w, int64_t o) { return o ? w->ends[o - 1] : 0; }

/* ---- one row: y[o] for outputs [o0,o1) ------------------------------------------------------------------------- */

/* sum += value e times its input, of nibbles, two in a byte, e + 1 as well; x points at the input before, then at the
 * last. */
PN_INLINE void add_step(const pn_sparse *w, const int nibbles, const real **x, int64_t e, real *sum) {
    const real *v = (const real *)w->values + e;
    const int64_t step = w->steps[nibbles ? e >> 1 : e];
    *x += nibbles ? step & 15 : step;
    *sum = real_fma(v[0], **x, *sum);
    if (!nibbles) return;
    *x += step >> 4;
    *sum = real_fma(v[1], **x, *sum);
}

/* Goes on with a sum at value e. */
PN_INLINE real go_on(const pn_sparse *w, const int nibbles, const real *x, int64_t e, int64_t end, real sum) {
    for (; e < end; e += 1 + nibbles) add_step(w, nibbles, &x, e, &sum);
    return sum;
}

/* Asking for values and steps ahead, a line at a time or those of the next four outputs at once: 5 to 10 % slower up to
 * 2048 x 2048, no faster beyond (Zen 4, 80 to 95 % pruned): refused.  It is not the memory: a value takes 1.4 cycles up
 * to 2048 inputs and 1.8 with 4096, whose x shares the first-level cache with what passes through. */
PN_INLINE void one_row(const pn_sparse *w, const int nibbles, const real *x, const real *b, real *y, int64_t o0,
                       int64_t o1) {
    int64_t o = o0;
    for (; o + 4 <= o1; o += 4) {
        const int64_t e0 = begin_of(w, o), e1 = w->ends[o], e2 = w->ends[o + 1], e3 = w->ends[o + 2];
        const int64_t e4 = w->ends[o + 3];
        const real *x0 = x - 1, *x1 = x0, *x2 = x0, *x3 = x0;
        real s0 = b ? b[o] : 0, s1 = b ? b[o + 1] : 0, s2 = b ? b[o + 2] : 0, s3 = b ? b[o + 3] : 0;
        int64_t least = e1 - e0, k = 0;
        least = e2 - e1 < least ? e2 - e1 : least;
        least = e3 - e2 < least ? e3 - e2 : least;
        least = e4 - e3 < least ? e4 - e3 : least;
        for (; k < least; k += 1 + nibbles) { /* of nibbles all counts are even */
            add_step(w, nibbles, &x0, e0 + k, &s0);
            add_step(w, nibbles, &x1, e1 + k, &s1);
            add_step(w, nibbles, &x2, e2 + k, &s2);
            add_step(w, nibbles, &x3, e3 + k, &s3);
        }
        y[o] = go_on(w, nibbles, x0, e0 + k, e1, s0);
        y[o + 1] = go_on(w, nibbles, x1, e1 + k, e2, s1);
        y[o + 2] = go_on(w, nibbles, x2, e2 + k, e3, s2);
        y[o + 3] = go_on(w, nibbles, x3, e3 + k, e4, s3);
    }
    for (; o < o1; o++) y[o] = go_on(w, nibbles, x - 1, begin_of(w, o), w->ends[o], b ? b[o] : 0);
}

/* What follows the sums here; a softmax looks at whole rows, and later. */
PN_INLINE act_loop *act_of(int act) {
    return act == PN_ACT_softmax || act == PN_ACT_identity ? NULL : act_loop_of(act);
}

/* The activation of rows [0,rows) x panels [p0,p1); the padding of y becomes 0 before. */
PN_INLINE void finish_rows(real *y, int64_t ldy, int64_t rows, int64_t O, int64_t p0, int64_t p1, int act,
                           const double *p) {
    const int64_t begin = p0 * PN_PANEL, end = p1 * PN_PANEL;
    for (int64_t m = 0; end > O && m < rows; m++)
        for (int64_t o = O; o < end; o++) y[m * ldy + o] = 0;
    act_loop *loop = act_of(act);
    if (loop) loop(p, y + begin, ldy, y + begin, ldy, rows, end - begin);
}

static void sparse_rows(const real *x_bi, int64_t ldx, const pn_sparse *w, const real *b_o, real *y_bo, int64_t ldy,
                        int64_t m0, int64_t m1, int64_t O, int64_t p0, int64_t p1, int act, const double *p) {
    const int64_t o0 = p0 * PN_PANEL, o1 = p1 * PN_PANEL < O ? p1 * PN_PANEL : O;
    if (w->lanes) lanes_sums(x_bi, ldx, w, b_o, y_bo, ldy, m0, m1, p0, p1);
    for (int64_t m = m0; m < m1 && !w->lanes; m++)
        if (w->nibbles)
            one_row(w, 1, x_bi + m * ldx, b_o, y_bo + m * ldy, o0, o1);
        else
            one_row(w, 0, x_bi + m * ldx, b_o, y_bo + m * ldy, o0, o1);
    finish_rows(y_bo + m0 * ldy, ldy, m1 - m0, O, p0, p1, act, p);
}

/* ---- many rows: tiles of R of them ----------------------------------------------------------------------------- */

/* x_tir[t][i][0..R) = x_bi[R t ..][i], 0 beyond row B, for tiles [t0,t1).  All rows of a few inputs at a time: of 32
 * rows the first 16 alone would be written to every other line, half of the sets of the first-level cache (from the
 * second level a square takes 50 cycles instead of 65, Zen 5). */
static void columns(const real *x_bi, int64_t ldx, real *x_tir, int64_t R, int64_t B, int64_t I, int64_t t0,
                    int64_t t1) {
    for (int64_t t = t0; t < t1; t++)
        for (int64_t i = 0; i < I; i += VLEN)
            for (int64_t m = 0; m < R; m += VLEN)
                transpose_square(x_bi + (t * R + m) * ldx + i, ldx, B - t * R - m, x_tir + (t * I + i) * R + m, R,
                                 I - i);
}

/* sum += value times its R rows, which lie `step` inputs behind `at`; returned. */
PN_INLINE const real *add_value(const real *value, int64_t step, const int R, const real *at, vec *sum) {
    at += step * R;
    UNROLL_VECS
    for (int k = 0; k < R / VLEN; k++) sum[k] = vfma(vset(*value), vload(at + k * VLEN), sum[k]);
    return at;
}

/* Value e, of nibbles e + 1 as well; `at` are the rows of the input before, returned those of the last. */
PN_INLINE const real *add_values(const pn_sparse *w, const int nibbles, const int R, const real *at, int64_t e,
                                 vec *sum) {
    const real *v = (const real *)w->values + e;
    const int64_t step = w->steps[nibbles ? e >> 1 : e];
    at = add_value(v, nibbles ? step & 15 : step, R, at, sum);
    return nibbles ? add_value(v + 1, step >> 4, R, at, sum) : at;
}

/* The steps of values e to e + 7, the first one lowest (all vector units here are little-endian). */
PN_INLINE uint64_t eight_steps(const pn_sparse *w, const int nibbles, int64_t e) {
    if (nibbles) {
        uint32_t steps;
        memcpy(&steps, w->steps + e / 2, sizeof steps);
        return steps;
    }
    uint64_t steps;
    memcpy(&steps, w->steps + e, sizeof steps);
    return steps;
}

/* y[o - o0][0..R) for outputs [o0,o1), at_once of them at a time; what is below `floor` becomes that.
 *
 * A value and 32 rows are three loads, of which Zen 5 begins two a cycle, and two additions, each of which waits four
 * cycles for the one before: 2.0 cycles with two outputs at a time, less what the next two overlap.  Measured 2.15, and
 * 1.9 since eight steps come in one load (PN_LARGE); with 1024 inputs, from the second level, 2.5 instead of 3.2.  By
 * hand, four outputs at a time, one value of each in turn, values by fours from a register: 1.25.  But not by gcc,
 * which has too few registers for it: 1.7 with the best of three ways to write it, 2.1 with the others, at 1024 2.5
 * with all.  Refused as well: two outputs and values by fours or eights in a register (0 to 3 %), by way of a common
 * register (nothing), four steps more of what is left over (nothing), outputs sorted by their counts and masks for what
 * is left over (0.8), tiles of 64 rows (256 wide 1.05 times as fast, 1024 0.9), of 16 (0.76); blocks of inputs for the
 * first-level cache, which need a table of where each output enters them (1024 wide, 80 % pruned 1.09, 90 % 1.00; of 16
 * to 128 outputs at a time 1.00 and 0.85). Refused before, on Zen 4: four at a time (2 to 8 % slower at 256, where
 * tails count); one loop for the longer of two tails, sums handed over through y (nothing). */
PN_INLINE void column_sums_of(const pn_sparse *w, const int nibbles, const int R, const real *x, const real *b,
                              vec floor, real *y, int64_t o0, int64_t o1) {
    enum { MOST = PN_SPARSE_TILE / VLEN, READ = PN_LARGE && VLEN > 1 ? 8 : 1 }; /* steps at a time */
    const int nv = R / VLEN, at_once = nv >= 4   ? 1
                                       : nv >= 2 ? 2
                                                 : 4; /* sums that wait at once: enough, and few unequal tails */
    const real *const bias = b ? b + o0 : pn_zeros.PN_SUFFIX(of);
    int64_t next = begin_of(w, o0);
    for (int64_t o = o0; o < o1; o += at_once) { /* those behind o1 do what the last one does; y has room for it */
        int64_t begin[4], count[4], least = INT64_MAX;
        const real *at[4];
        vec sum[4][MOST];
#pragma GCC unroll 4
        for (int j = 0; j < at_once; j++) {
            begin[j] = j > 0 && o + j >= o1 ? begin[j - 1] : next;
            next = w->ends[o + j < o1 ? o + j : o1 - 1];
            count[j] = next - begin[j];
            at[j] = x - R;
            UNROLL_VECS
            for (int k = 0; k < nv; k++) sum[j][k] = vset(bias[o - o0 + j]);
            if (count[j] < least) least = count[j];
        }
        int64_t e = 0;
        for (; READ > 1 && e + READ <= least; e += READ) {
            uint64_t steps[4];
#pragma GCC unroll 4
            for (int j = 0; j < at_once; j++) steps[j] = eight_steps(w, nibbles, begin[j] + e);
#pragma GCC unroll 8
            for (int k = 0; k < READ; k++)
#pragma GCC unroll 4
                for (int j = 0; j < at_once; j++) {
                    const real *value = (const real *)w->values + begin[j] + e + k;
                    at[j] = add_value(value, (int64_t)(steps[j] & (nibbles ? 15 : 255)), R, at[j], sum[j]);
                    steps[j] >>= nibbles ? 4 : 8;
                }
        }
        for (; e < least; e += 1 + nibbles)
#pragma GCC unroll 4
            for (int j = 0; j < at_once; j++) at[j] = add_values(w, nibbles, R, at[j], begin[j] + e, sum[j]);
#pragma GCC unroll 4
        for (int j = 0; j < at_once; j++) {
            for (int64_t rest = least; rest < count[j]; rest += 1 + nibbles)
                at[j] = add_values(w, nibbles, R, at[j], begin[j] + rest, sum[j]);
            UNROLL_VECS
            for (int k = 0; k < nv; k++) vstore(y + (o - o0 + j) * R + k * VLEN, vmax(floor, sum[j][k]));
        }
    }
}

/* y[m][i] = from[i][m], of R rows those that are there; 0 from I to the end of the panel */
PN_INLINE void turn_back(const real *from, int64_t R, real *y, int64_t ldy, int64_t rows, int64_t I) {
    for (int64_t m = 0; m < rows; m += VLEN)
        for (int64_t i = 0; i < (int64_t)pn_pad((uint64_t)I); i += VLEN)
            transpose_square(from + i * R + m, R, I - i, y + m * ldy + i, ldy, rows - m);
}

/* The sums of panels [p0,p1) and R rows, and their activation, in a square that is turned then. */
static void sparse_columns(const real *x_tir, int64_t R, const pn_sparse *w, const real *b_o, real *y_bo, int64_t ldy,
                           int64_t B, int64_t I, int64_t O, int64_t t0, int64_t t1, int64_t p0, int64_t p1, int act,
                           const double *p) {
    real turned[PN_PANEL * PN_SPARSE_TILE];
    act_loop *loop = act == PN_ACT_relu ? NULL : act_of(act); /* which meets its numbers in registers */
    const vec floor = vset(act == PN_ACT_relu ? 0 : R(-INFINITY));
    for (int64_t t = t0; t < t1; t++) {
        const real *x = x_tir + t * I * R;
        const int64_t rows = B - t * R < R ? B - t * R : R;
        for (int64_t q = p0; q < p1; q++) {
            const int64_t o0 = q * PN_PANEL, o1 = o0 + PN_PANEL < O ? o0 + PN_PANEL : O;
            switch (R + (w->nibbles != 0)) {
            case 16: column_sums_of(w, 0, 16, x, b_o, floor, turned, o0, o1); break;
            case 17: column_sums_of(w, 1, 16, x, b_o, floor, turned, o0, o1); break;
            case 32: column_sums_of(w, 0, 32, x, b_o, floor, turned, o0, o1); break;
            default: column_sums_of(w, 1, 32, x, b_o, floor, turned, o0, o1); break;
            }
            for (int64_t o = (o1 - o0) * R; o < (int64_t)PN_PANEL * R; o += VLEN) vstore(turned + o, vset(0));
            if (loop) loop(p, turned, R, turned, R, PN_PANEL, R);
            turn_back(turned, R, y_bo + t * R * ldy + o0, ldy, rows, PN_PANEL);
        }
    }
}

/* ---- the way down ------------------------------------------------------------------------------------------------ */

static void sparse_dx(const real *dz_tor, int64_t R, const pn_sparse *w, real *dx_tir, real *dx_bi, int64_t lddx,
                      int64_t B, int64_t I, int64_t O, int64_t t0, int64_t t1, int add) {
    if (add) columns(dx_bi, lddx, dx_tir, R, B, I, t0, t1);
    for (int64_t t = t0; t < t1; t++) {
        const real *dz = dz_tor + t * O * R, *v = w->values;
        real *dx = dx_tir + t * I * R;
        for (int64_t k = 0; !add && k < I * R; k += VLEN) vstore(dx + k, vset(0));
        if (w->lanes) lanes_dx(dz, R, w, dx, O);
        for (int64_t o = 0, e = 0; o < O && !w->lanes;
             o++) { /* dx[i] += v dz[o], outputs in order: as the dense form sums */
            real *to = dx - R;
            for (; e < w->ends[o]; e++) {
                to += pn_step(w, e) * R;
                const vec value = vset(v[e]);
                for (int64_t k = 0; k < R; k += VLEN) vstore(to + k, vfma(vload(dz + o * R + k), value, vload(to + k)));
            }
        }
        turn_back(dx, R, dx_bi + t * R * lddx, lddx, B - t * R < R ? B - t * R : R, I);
    }
}

/* sum_b x_bi dz_bo.  Here the sum over the rows of a batch runs in 16 lanes, row b in lane b % 16: the same on every
 * ISA, but not the one chain of the dense form, for which x would have to be gathered element by element. */
PN_INLINE real dw_of(const real *x_tir, const real *dz_tor, int64_t R, int64_t B, int64_t I, int64_t O, int64_t i,
                     int64_t o) {
    lanes16 sum = lanes_set(0);
    for (int64_t t = 0; t * R < B; t++)
        for (int64_t k = 0; k < R; k += PN_PANEL)
            for (int j = 0; j < PANEL_VECS; j++) {
                const int64_t at = k + j * VLEN;
                sum.v[j] = vfma(vload(x_tir + (t * I + i) * R + at), vload(dz_tor + (t * O + o) * R + at), sum.v[j]);
            }
    return lanes_sum(&sum);
}

PN_INLINE void put_dw(real *dv, int64_t e, real d, int add) { dv[e] = add ? dv[e] + d : d; }

static void sparse_dw(const real *x_tir, const real *dz_tor, int64_t R, const pn_sparse *w, real *dv, int64_t B,
                      int64_t I, int64_t O, int64_t o0, int64_t o1, int add) {
    if (w->lanes && o1 == O) o1 = (int64_t)pn_pad((uint64_t)O); /* all values belong to somebody */
    for (int64_t o = o0; w->lanes && o < o1; o++) {
        const int64_t q = o / PN_PANEL, lane = o % PN_PANEL;
        for (int64_t s = begin_of(w, q); s < w->ends[q]; s++) {
            const uint8_t place = pn_place(w->steps, s, lane);
            const int64_t i = pn_sight(w->sights, s) + place;
            put_dw(dv, s * PN_PANEL + lane, place == PN_NO_PLACE ? 0 : dw_of(x_tir, dz_tor, R, B, I, O, i, o), add);
        }
    }
    for (int64_t o = o0; o < o1 && !w->lanes; o++) {
        int64_t i = -1;
        for (int64_t e = begin_of(w, o); e < w->ends[o]; e++) {
            i += pn_step(w, e);
            put_dw(dv, e, dw_of(x_tir, dz_tor, R, B, I, O, i, o), add);
        }
    }
}
#endif
