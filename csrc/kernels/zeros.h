/* zeros.h: the product of tile.h where most of `a` is 0: pixels, one-hot codes, counts of words.
 *
 * Rows of a go in pairs.  A list says in which terms of the sum the two are not both 0, and these alone are added, in
 * the order of all: the same sums.  (One that is 0 may have another sign, where it began as -0 or rounded to it.)
 * 0 times what is not finite is not 0: where b holds such a number, nothing is left out.
 *
 * 784-128-10 @128 on MNIST, of which 19 % is not 0 and 29 % of a pair, one thread (Zen 4): forward 226 us without it,
 * 89 with it, dw 229 and 75; of these 9 and 5 us are lists, 6 us is the look at w.  Loading b for each row of a pair,
 * as gcc would, instead of once: 113 and 106 us.  Four rows by four vectors: 94 and 77, of numbers that are 0 by
 * themselves, one in ten, 85 and 92 instead of 58 and 63; with AVX2 two rows and four alike.  Asking for the next batch
 * in bursts, after each pair, takes 50 us instead of 20. */
#ifndef PN_ZEROS_H
#define PN_ZEROS_H
#include "tile.h"

enum { PAIR = 2, PAIR_VECS = TILE_ROWS * TILE_VECS > 16 ? 8 : 4, MOST_LISTED = 1024 };

typedef struct listed { /* terms, ascending; a word may write 16 at once */
    int64_t n;
    uint16_t k[MOST_LISTED + 16];
} listed;

/* Meanwhile it asks for what is wanted, a line with each term; with a step of 0 always for the same. */
PN_INLINE void pair(const int nv, const operands *o, const listed *t) {
    vec acc[PAIR][PAIR_VECS];
    const real *const a = o->a, *const b = o->b;
    real *const c = o->c;
    const int64_t sm = o->sm, sk = o->sk, sb = o->sb, bp = o->bp, sc = o->sc, cp = o->cp, ss = o->ss, sp = o->sp;
    pn_wanted *const w = o->wanted && o->wanted->row < o->wanted->end ? o->wanted : NULL;
    const uintptr_t step = w ? o->step : 0;
    uintptr_t next = w ? w->next : (uintptr_t)c;
    int64_t left = w ? w->left : INT64_MAX;
#pragma GCC unroll 2
    for (int m = 0; m < PAIR; m++)
#pragma GCC unroll 8
        for (int j = 0; j < nv; j++) acc[m][j] = vload(o->start + m * ss + AT(sp, j));
    for (int64_t l = 0; l < t->n; l++) {
        const real *ak = a + t->k[l] * sk, *bk = b + t->k[l] * sb;
        const vec a0 = vset(ak[0]), a1 = vset(ak[sm]);
#pragma GCC unroll 8
        for (int j = 0; j < nv; j++) {
            const vec bv = vheld(vload(bk + AT(bp, j)));
            acc[0][j] = vfma(a0, bv, acc[0][j]);
            acc[1][j] = vfma(a1, bv, acc[1][j]);
        }
        __builtin_prefetch((const void *)next);
        next += step, left -= (int64_t)step;
        if (__builtin_expect(left <= 0, 0)) next = next_wanted(w, &left);
    }
    if (w) w->next = next, w->left = left;
#pragma GCC unroll 2
    for (int m = 0; m < PAIR; m++)
#pragma GCC unroll 8
        for (int j = 0; j < nv; j++) vstore(c + m * sc + AT(cp, j), acc[m][j]);
}

#define STRIP(n)                                                                                                       \
    case n:                                                                                                            \
        if (n == PAIR_VECS || (n < PAIR_VECS && n >= PANEL_VECS)) pair(n, o, t);                                       \
        break;
static void pair_in_strips(operands *o, int64_t p0, int64_t p1, const listed *t) {
    const real *const b = o->b, *const start = o->start;
    real *const c = o->c;
    for (int64_t q = p0 * PANEL_VECS, nv; q < p1 * PANEL_VECS; q += nv) {
        for (nv = PAIR_VECS; nv > p1 * PANEL_VECS - q; nv /= 2) {
        }
        o->b = b + AT(o->bp, q), o->start = start + AT(o->sp, q), o->c = c + AT(o->cp, q);
        switch (nv) { STRIP(8) STRIP(4) STRIP(2) STRIP(1) }
    }
}

/* Bits: which of the first n numbers at x, VLEN of them at most, are not 0. */
PN_INLINE uint32_t nonzero(const real *x, int64_t n) {
    return vbits(veq(n >= VLEN ? vload(x) : vload_only(x, n), vset(0))) ^ (((uint32_t)1 << VLEN) - 1);
}

/* The terms of K where one of two rows of x is not 0. */
static void list_of_rows(const real *x, const real *x2, int64_t K, listed *t) {
    t->n = 0;
    for (int64_t k = 0; k < K; k += VLEN)
        t->n += vnumbers(t->k + t->n, nonzero(x + k, K - k) | nonzero(x2 + k, K - k), (int)k);
}

/* The same of two columns.  Rows of x are read once for n <= 16 of them: there[k] has a bit for each that is not 0. */
static void look_at_columns(const real *x, int64_t ldx, int64_t K, int64_t n, uint16_t *there) {
    for (int64_t k = 0; k < K; k++) {
        uint32_t bits = 0;
        for (int64_t j = 0; j < n; j += VLEN) bits |= nonzero(x + k * ldx + j, n - j) << j;
        there[k] = (uint16_t)bits;
    }
    for (int64_t k = K; k % 16; k++) there[k] = 0;
}
static void list_of_columns(const uint16_t *there, int64_t K, uint32_t columns, listed *t) {
    t->n = 0;
    for (int64_t k = 0; k < K; k += 16) t->n += vnumbers(t->k + t->n, vtest16(there + k, columns), (int)k);
}

/* Bytes to ask for: for each of `terms`, left out or not; and with each that is listed, a line at most, of what all
 * owe up to there. */
static uintptr_t bytes_of_term(const pn_wanted *w, int64_t terms) {
    return (uintptr_t)(terms > 0 ? ((w->end - w->row) * w->bytes + terms - 1) / terms : 0);
}
static uintptr_t some_of(int64_t *owed, int64_t terms) {
    enum { LINE = 64 };
    const int64_t each = *owed / terms < LINE ? *owed / terms : LINE;
    *owed -= each * terms;
    return (uintptr_t)each;
}

/* product() in pairs.  In a, neighbours are either the terms (sk = 1) or the rows (sm = 1).  A block of b stays in the
 * second-level cache; the sums go on from block to block.  `step` is bytes_of_term. */
static void product_of_pairs(operands *o, int64_t m0, int64_t m1, int64_t p0, int64_t p1, const epilogue *then) {
    enum { FIT = 1 << 17, LEAST = 64 }; /* numbers of b; terms */
    if (p1 <= p0) return;
    const real *const a = o->a, *const b = o->b;
    real *const c = o->c;
    const int64_t K = o->K, sm = o->sm, sc = o->sc, width = (p1 - p0) * PN_PANEL, fit = FIT / width / 16 * 16;
    const int64_t block = fit < LEAST ? LEAST : fit < MOST_LISTED ? fit : MOST_LISTED;
    uint16_t there[MOST_LISTED];
    listed t;
    if (!o->start) o->start = pn_zeros.PN_SUFFIX(of), o->ss = 0, o->sp = 0;
    const real *start = o->start;
    const int64_t strips = (width / VLEN + PAIR_VECS - 1) / PAIR_VECS;
    int64_t ss = o->ss, owed = 0;
    for (int64_t k = 0; k < K; k += block) {
        const int64_t terms = K - k < block ? K - k : block;
        o->b = b + k * o->sb;
        for (int64_t m = m0; m < m1; m += PAIR) {
            const int two = m + 1 < m1; /* or the last one goes with itself */
            const real *x = a + m * sm + k * o->sk;
            o->sm = two * sm, o->sc = two * sc, o->ss = two * ss;
            if (sm == 1) {
                if ((m - m0) % 16 == 0) look_at_columns(x, o->sk, terms, m1 - m < 16 ? m1 - m : 16, there);
                list_of_columns(there, terms, (uint32_t)3 << (m - m0) % 16, &t);
            } else {
                list_of_rows(x, x + o->sm, terms, &t);
            }
            operands strip = *o;
            strip.a = x, strip.c = c + m * sc, strip.start = start + (m - m0) * ss;
            owed += o->wanted ? PAIR * terms * (int64_t)o->step : 0;
            if (t.n) strip.step = some_of(&owed, t.n * strips);
            pair_in_strips(&strip, p0, p1, &t);
            if (then && k + block >= K)
                finish(then, c + m * sc + p0 * PN_PANEL, sc, m, 1 + two, p0 * PANEL_VECS, (p1 - p0) * PANEL_VECS);
        }
        start = c + m0 * sc, ss = sc, o->sp = o->cp;
    }
    if (then) finish_strip(then, m0, m1, p0 * PANEL_VECS, (p1 - p0) * PANEL_VECS);
}

/* Whether lists pay, by a sample of four pairs of rows [m0,m1), two at least: a list takes as long as LIST halves of a
 * panel, and what is listed may be EIGHTHS of what remains: a term takes longer than in a tile. */
static void few_numbers(const real *x, int64_t ldx, int64_t m0, int64_t m1, int64_t I, int64_t panels, int *few) {
    enum { SAMPLES = 4, LIST = VLEN > 8 ? 2 : 3, EIGHTHS = VLEN > 8 ? 6 : 4 };
    const int64_t limit = SAMPLES * I * EIGHTHS * (2 * panels - LIST);
    int64_t n = 0;
    *few = PN_ZEROS(PN_DTYPE);
    for (int s = 0; s < SAMPLES && *few; s++) {
        const real *row = x + (m0 + (m1 - m0 - PAIR) * s / (SAMPLES - 1)) * ldx;
        for (int64_t i = 0; i < I; i += VLEN)
            n += __builtin_popcount(nonzero(row + i, I - i) | nonzero(row + ldx + i, I - i));
        *few = 16 * n * panels <= limit;
    }
}

static int all_finite(const operands *o, int64_t p0, int64_t p1) {
    enum { SUMS = 4 }; /* wait at once */
    vec sum[SUMS] = {vset(0), vset(0), vset(0), vset(0)};
    for (int64_t p = p0; p < p1; p++)
        for (int64_t k = 0; k < o->K; k += SUMS)
#pragma GCC unroll 4
            for (int s = 0; s < SUMS; s++) {
                const real *b = o->b + (k + s < o->K ? k + s : k) * o->sb + p * o->bp;
                for (int j = 0; j < PANEL_VECS; j++) sum[s] = vfma(vload(b + j * VLEN), vset(0), sum[s]);
            }
    const vec all = vadd(vadd(sum[0], sum[1]), vadd(sum[2], sum[3])); /* 0, or NaN */
    return vbits(veq(all, all)) == ((uint32_t)1 << VLEN) - 1;
}
#endif
