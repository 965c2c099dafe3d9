/* zeros.h: the product of tile.h where most of `a` is 0: pixels, one-hot codes, counts of words.
 *
 * Rows of a go in pairs.  A list says in which terms of the sum the two are not both 0, and these alone are added, in
 * the order of all: the same sums.  (One that is 0 may have another sign, where it began as -0 or rounded to it.)
 * 0 times what is not finite is not 0: where b holds such a number, nothing is left out.
 *
 * 784-128-10 @128 on MNIST, of which 19 % is not 0 and 29 % of a pair, one thread, Zen 4 (before there were blocks for
 * the first-level cache): forward 226 us without it, 89 with it, dw 229 and 75; of these 9 and 5 us are lists, 6 us is
 * the look at w.  Loading b for each row of a pair, as gcc would, instead of once: 113 and 106 us.  Four rows by four
 * vectors: 94 and 77, of numbers that are 0 by themselves, one in ten, 85 and 92 instead of 58 and 63; with AVX2 two
 * rows and four alike.  Asking for the next batch in bursts, after each pair, takes 50 us instead of 20.
 *
 * Zen 5, with those blocks: forward 44 us (68 without them; the multiply-adds take 29), dw 37 (44); of 784-512 168
 * (268) and 203 (200).  Blocks of 32 kB 46 us, of 64 44.  Two rows by four vectors in blocks of 128 to 224 terms: 53 to
 * 56 and 52 us; rows one by one 53 and 55, of single zeros, one number in ten, 41 and 44 instead of 37 and 35: refused.
 * Where there is no way down, the forward product asks for the next rows: evaluating takes 0.96 of the time. */
#ifndef PN_ZEROS_H
#define PN_ZEROS_H
#include "tile.h"

enum { PAIR = 2, PAIR_VECS = TILE_ROWS * TILE_VECS > 16 ? 8 : 4 };

typedef struct listed { /* terms, ascending */
    const uint16_t *k;
    int64_t n;
} listed;

/* Bytes of a block of b; terms of a block, and in all lists of a chunk of rows. */
enum { FIT = 48 << 10, MOST_TERMS = 1024, MOST_LISTED = 8192 };
/* What `zeros` says.  Of very few, blocks would cost more than they save: 784-128-10 @128, 3 % not 0, 0.35 of the time
 * that a step on full rows takes, in blocks 0.39. */
enum { FEW = 1, VERY_FEW };

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
static void pair_of(int64_t nv, const operands *o, const listed *t) {
    switch (nv) { STRIP(8) STRIP(4) STRIP(2) STRIP(1) }
}

/* Bits: which of the first n numbers at x, VLEN of them at most, are not 0. */
PN_INLINE uint32_t nonzero(const real *x, int64_t n) {
    return vbits(veq(n >= VLEN ? vload(x) : vload_only(x, n), vset(0))) ^ (((uint32_t)1 << VLEN) - 1);
}

/* The terms of K where one of two rows of x is not 0: how many, 16 of which may be written at once. */
static int64_t list_of_rows(const real *x, const real *x2, int64_t K, uint16_t *terms) {
    int64_t n = 0;
    for (int64_t k = 0; k < K; k += VLEN)
        n += vnumbers(terms + n, nonzero(x + k, K - k) | nonzero(x2 + k, K - k), (int)k);
    return n;
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
static int64_t list_of_columns(const uint16_t *there, int64_t K, uint32_t columns, uint16_t *terms) {
    int64_t n = 0;
    for (int64_t k = 0; k < K; k += 16) n += vnumbers(terms + n, vtest16(there + k, columns), (int)k);
    return n;
}

/* The lists of `rows` rows of a and K terms from x on, one behind the other in `terms`; returns how many are listed. */
static int64_t list_pairs(const operands *o, const real *x, int64_t rows, int64_t K, uint16_t *terms, listed *t) {
    uint16_t there[MOST_TERMS];
    int64_t n = 0;
    for (int64_t m = 0; m < rows; m += PAIR, t++, x += PAIR * o->sm) {
        t->k = terms + n;
        if (o->sm == 1) {
            if (m % 16 == 0) look_at_columns(x, o->sk, K, rows - m < 16 ? rows - m : 16, there);
            t->n = list_of_columns(there, K, (uint32_t)3 << m % 16, terms + n);
        } else {
            t->n = list_of_rows(x, m + 1 < rows ? x + o->sm : x, K, terms + n);
        }
        n += t->n;
    }
    return n;
}

/* Bytes to ask for: for each of `terms`, left out or not; and with each that is listed, a line at most, of what all
 * owe up to there, which may have been asked for by then. */
static uintptr_t bytes_of_term(const pn_wanted *w, int64_t terms) {
    return (uintptr_t)(terms > 0 ? ((w->end - w->row) * w->bytes + terms - 1) / terms : 0);
}
static uintptr_t some_of(int64_t *owed, int64_t terms) {
    enum { LINE = 64 };
    const int64_t due = (*owed + terms - 1) / terms, each = due < 0 ? 0 : due < LINE ? due : LINE;
    *owed -= each * terms;
    return (uintptr_t)each;
}

/* product() in pairs.  In a, neighbours are either the terms (sk = 1) or the rows (sm = 1).  Of a chunk of rows all
 * lists are made first; then strip after strip of a block of b meets them, and stays in the cache.  The sums go on from
 * block to block.  `step` is bytes_of_term. */
static void product_of_pairs(const operands *o, int64_t m0, int64_t m1, int64_t p0, int64_t p1, int zeros,
                             const epilogue *then) {
    if (p1 <= p0) return;
    const int64_t K = o->K, sm = o->sm, sc = o->sc, vecs = (p1 - p0) * PANEL_VECS;
    const int64_t widest = vecs < PAIR_VECS ? vecs : PAIR_VECS, fit = FIT / (widest * VLEN * (int64_t)sizeof(real));
    const int64_t most = zeros == FEW && fit < MOST_TERMS ? fit : MOST_TERMS, blocks = (K + most - 1) / most;
    const int64_t block = ((K + blocks - 1) / blocks + 15) / 16 * 16, chunk = MOST_LISTED / block / 8 * 8 * PAIR;
    const int64_t strips = (vecs + PAIR_VECS - 1) / PAIR_VECS;
    uint16_t terms[MOST_LISTED + 16];
    listed t[MOST_LISTED / 16];
    int64_t owed = 0;
    for (int64_t k = 0; k < K; k += block) {
        const int64_t own = K - k < block ? K - k : block;
        const epilogue *const after = k + block < K ? NULL : then;
        for (int64_t m = m0; m < m1; m += chunk) {
            const int64_t end = m1 - m < chunk ? m1 : m + chunk;
            const int64_t n = list_pairs(o, o->a + m * sm + k * o->sk, end - m, own, terms, t);
            operands pair = *o;
            owed += o->wanted ? (end - m) * own * (int64_t)o->step : 0;
            if (n) pair.step = some_of(&owed, n * strips);
            for (int64_t q = p0 * PANEL_VECS, nv; q < p1 * PANEL_VECS; q += nv) {
                for (nv = PAIR_VECS; nv > p1 * PANEL_VECS - q; nv /= 2) {
                }
                pair.b = o->b + k * o->sb + AT(o->bp, q);
                for (int64_t r = m; r < end; r += PAIR) {
                    const int two = r + 1 < end; /* or the last one goes with itself */
                    pair.a = o->a + r * sm + k * o->sk, pair.sm = two * sm;
                    pair.c = o->c + r * sc + AT(o->cp, q), pair.sc = two * sc;
                    pair.start = pair.c, pair.ss = pair.sc, pair.sp = o->cp;
                    if (k == 0 && !o->start)
                        pair.start = pn_zeros.PN_SUFFIX(of), pair.ss = pair.sp = 0;
                    else if (k == 0)
                        pair.start = o->start + (r - m0) * o->ss + AT(o->sp, q), pair.ss = two * o->ss, pair.sp = o->sp;
                    pair_of(nv, &pair, &t[(r - m) / PAIR]);
                    if (after) finish(after, pair.c, sc, r, 1 + two, q, nv);
                }
                if (after) finish_strip(after, m, end, q, nv);
            }
        }
    }
}

/* Whether lists pay, by a sample of four pairs of rows [m0,m1), two at least: a list takes as long as LIST eighths of a
 * panel, and what is listed may be EIGHTHS of what remains: a term takes longer than in a tile.  (With a LIST of 8
 * 784-32-10 @64, 20 % not 0, took 1.13 of the time on Zen 5.)  Very few are those of an eighth of all pairs. */
static void few_numbers(const real *x, int64_t ldx, int64_t m0, int64_t m1, int64_t I, int64_t panels, int *few) {
    enum { SAMPLES = 4, LIST = VLEN > 8 ? 9 : 12, EIGHTHS = VLEN > 8 ? 6 : 4 };
    const int64_t limit = SAMPLES * I * EIGHTHS * (8 * panels - LIST);
    int64_t n = 0;
    *few = PN_ZEROS(PN_DTYPE);
    for (int s = 0; s < SAMPLES && *few; s++) {
        const real *row = x + (m0 + (m1 - m0 - PAIR) * s / (SAMPLES - 1)) * ldx;
        for (int64_t i = 0; i < I; i += VLEN)
            n += __builtin_popcount(nonzero(row + i, I - i) | nonzero(row + ldx + i, I - i));
        *few = 64 * n * panels > limit ? 0 : 8 * n > SAMPLES * I ? FEW : VERY_FEW;
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
