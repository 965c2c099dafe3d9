/* random.h: random numbers by position, and the ops that use them.
 *
 * Philox4x32-10 of Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011: a block of four
 * 32-bit words is a function of a key (the seed) and a counter:
 *
 *   word 0  column o                  word 2  step
 *   word 1  row / rows of a block     word 3  stream with its highest bit set (without: initial weights and shuffles)
 *
 * Lanes are columns, so a vector of blocks holds numbers of 8 rows (16 bits each) or of 4 (32 bits) of as many columns.
 * They depend on the place alone: not on the ISA, the threads, the batch a prediction is cut into, nor on each other.
 */
#ifndef PN_RANDOM_H
#define PN_RANDOM_H
#include "act.h"

enum { ROUNDS = 10 };
typedef struct place { /* all of the counter but the group of rows, and the keys of all rounds */
    wide column[2], step, stream, k0[ROUNDS], k1[ROUNDS];
} place;
PN_INLINE void place_of(place *q, const pn_position *at) {
    q->step = wset(at->step);
    q->stream = wset(at->stream | 0x80000000u);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        q->k0[i] = wset((uint32_t)at->seed + i * 0x9E3779B9u);
        q->k1[i] = wset((uint32_t)(at->seed >> 32) + i * 0xBB67AE85u);
    }
}
PN_INLINE void place_at(place *q, int64_t column) { /* VLEN of them */
    uint64_t columns[2][8];
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < WIDES; k++) columns[k][i] = (uint64_t)(column + WIDES * i + k);
    q->column[0] = wload(columns[0]), q->column[1] = wload(columns[WIDES - 1]);
}

/* Ten rounds turn a counter into the words of its block: upper halves of c are rubbish that nobody reads. */
PN_INLINE void rounds(const place *q, wide c[4]) {
#pragma GCC unroll 10
    for (int i = 0; i < ROUNDS; i++) {
        const wide p0 = wmul(c[0], wset(0xD2511F53u)), p1 = wmul(c[2], wset(0xCD9E8D57u));
        c[0] = wxor(wxor(whigh(p1), c[1]), q->k0[i]);
        c[2] = wxor(wxor(whigh(p0), c[3]), q->k1[i]);
        c[1] = p1, c[3] = p0;
    }
}

/* The four words of the blocks of VLEN columns. */
PN_INLINE void philox(const place *q, int64_t group, ivec word[4]) {
    wide part[2][4];
    for (int k = 0; k < WIDES; k++) {
        part[k][0] = q->column[k], part[k][1] = wset((uint32_t)group), part[k][2] = q->step, part[k][3] = q->stream;
        rounds(q, part[k]);
    }
    for (int w = 0; w < 4; w++) word[w] = wjoin(part[0][w], part[WIDES - 1][w]);
}

/* What csrc/order.c sorts: a number of 64 bits for each of n rows, two from a block of the stream (purpose, epoch),
 * with the row in its lowest bits. */
static void row_keys(uint64_t seed, uint32_t purpose, uint32_t epoch, int64_t n, uint64_t rows, uint64_t *keys) {
    enum { BLOCKS = sizeof(wide) / sizeof(uint64_t) };
    place q;
    place_of(&q, &(pn_position){.seed = seed});
    for (uint64_t row = 0; row < (uint64_t)n; row += 2 * BLOCKS) {
        uint64_t word[4][BLOCKS];
        for (uint64_t l = 0; l < BLOCKS; l++) word[0][l] = row / 2 + l;
        wide c[4] = {wload(word[0]), wset(purpose), wset(epoch), wset(0)};
        rounds(&q, c);
        memcpy(word, c, sizeof word);
        for (uint64_t l = 0; l < BLOCKS; l++) {
            keys[row + 2 * l] = ((word[0][l] << 32 | (word[1][l] & 0xffffffff)) & ~rows) | (row + 2 * l);
            keys[row + 2 * l + 1] = ((word[2][l] << 32 | (word[3][l] & 0xffffffff)) & ~rows) | (row + 2 * l + 1);
        }
    }
}

/* The numbers of a group of rows, in the columns of a vector.  Not inlined: each would stand in every loop below, and a
 * call is a hundredth of what ten rounds take. */
typedef void draw(const place *q, int64_t group, vec r[8]);

/* 8 rows: 16-bit integers, biased by 2^m */
PN_SHARED void sixteen_bits(const place *q, int64_t group, vec r[8]) {
    ivec word[4];
    philox(q, group, word);
    for (int w = 0; w < 4; w++) {
        r[2 * w] = vbiased(IAND(word[w], SETBITS(0xffff)));
        r[2 * w + 1] = vbiased(SHR(word[w], 16));
    }
}
/* 4 rows: numbers inside (0, 1), odd multiples of 2^-24 */
PN_SHARED void uniforms(const place *q, int64_t group, vec r[8]) {
    ivec word[4];
    philox(q, group, word);
    for (int w = 0; w < 4; w++)
        r[w] = vfma(vsub(vbiased(SHR(word[w], 9)), vset(TWO_M)), vset(R(0x1p-23)), vset(R(0x1p-24)));
}
/* 4 rows: standard normal numbers, |n| < 5.8 (Box, Muller 1958) */
PN_SHARED void normals(const place *q, int64_t group, vec r[8]) {
    uniforms(q, group, r);
    for (int k = 0; k < 4; k += 2) {
        const vec radius = vsqrt(vmul(vset(-2), vlog(r[k]))), angle = vmul(vset(R(6.28318530717958647693)), r[k + 1]);
        r[k] = vmul(radius, vcos(angle));
        r[k + 1] = vmul(radius, vsin(angle));
    }
}

/* ---- the formulas: y of x and the number r, and dy/dx ---------------------------------------------------------------
 */

typedef struct factors {
    vec a, b; /* dropout: 2^m + share of 2^16, scale;  noise: deviation;  rrelu: lower, upper - lower */
} factors;

/* Sixteen bits decide: a rate is a multiple of 2^-16, and the scale is that of the multiple. */
PN_INLINE double dropped_share(double rate) {
    const double n = floor(rate * 65536 + 0.5);
    return n > 65535 ? 65535 : n;
}
PN_INLINE double dropout_scale(double rate) { return 65536 / (65536 - dropped_share(rate)); }

PN_INLINE factors random_factors(const int kind, const double *p) {
    if (kind == PN_RANDOM_dropout) return (factors){vset(TWO_M + R(dropped_share(p[0]))), vset(R(dropout_scale(p[0])))};
    return (factors){vset(R(p[0])), vset(R(p[1] - p[0]))};
}
PN_INLINE vec random_value(const int kind, const factors *f, vec x, vec r) {
    switch (kind) {
    case PN_RANDOM_dropout: return vsel(vlt(r, f->a), vset(0), vmul(x, f->b));
    case PN_RANDOM_gaussian_noise: return vfma(f->a, r, x);
    case PN_RANDOM_noisy_relu: return vmax(vset(0), vfma(f->a, r, x));
    case PN_RANDOM_noisy_relu_sigmoid: return vmax(vset(0), vfma(vsqrt(vsigmoid(x)), r, x));
    default: return vsel(vlt(x, vset(0)), vmul(vfma(f->b, r, f->a), x), x); /* rrelu */
    }
}
PN_INLINE vec random_slope(const int kind, const factors *f, vec x, vec r) {
    switch (kind) {
    case PN_RANDOM_dropout: return vsel(vlt(r, f->a), vset(0), f->b);
    case PN_RANDOM_gaussian_noise: return vset(1);
    case PN_RANDOM_noisy_relu: return vsel(vlt(vset(0), vfma(f->a, r, x)), vset(1), vset(0));
    case PN_RANDOM_noisy_relu_sigmoid: { /* y = x + s n, s = sqrt(sigmoid x), s' = s (1 - s^2) / 2 */
        const vec q = vsigmoid(x), s = vsqrt(q), ds = vmul(vmul(vset(R(0.5)), s), vsub(vset(1), q));
        return vsel(vlt(vset(0), vfma(s, r, x)), vfma(ds, r, vset(1)), vset(0));
    }
    default: return vsel(vlt(x, vset(0)), vfma(f->b, r, f->a), vset(1)); /* rrelu */
    }
}

/* ---- the loop: rows [m0,m1), n columns from `column`; one draw serves `rows` rows -----------------------------------
 */

PN_INLINE void random_loop(const int kind, const int down, const double *p, const pn_position *at, const real *x,
                           int64_t ldx, const real *dy, int64_t lddy, real *to, int64_t ldto, int64_t m0, int64_t m1,
                           int64_t column, int64_t n, int add) {
    const int rows = kind == PN_RANDOM_dropout ? 8 : 4;
    draw *const numbers = kind == PN_RANDOM_dropout ? sixteen_bits : kind == PN_RANDOM_rrelu ? uniforms : normals;
    const int reads_x = !down || kind > PN_RANDOM_gaussian_noise;
    const factors f = random_factors(kind, p);
    const int64_t row0 = at->row0;
    place q;
    place_of(&q, at);
    for (int64_t j = 0; j < n; j += VLEN) {
        place_at(&q, column + j);
        for (int64_t m = m0; m < m1;) {
            const int64_t group = (row0 + m) / rows, first = group * rows - row0;
            const int64_t from = m - first, to_row = m1 - first < rows ? m1 - first : rows;
            vec r[8];
            numbers(&q, group, r);
            for (int64_t i = from; i < to_row; i++) {
                const int64_t row = first + i;
                const vec v = reads_x ? vload(x + row * ldx + j) : vset(0);
                real *y = to + row * ldto + j;
                vec g;
                if (down)
                    g = vmul(vload(dy + row * lddy + j), random_slope(kind, &f, v, r[i]));
                else
                    g = random_value(kind, &f, v, r[i]);
                vstore(y, add ? vadd(vload(y), g) : g);
            }
            m = first + rows;
        }
    }
}

/* Dropout is what is used: the others share a loop that asks for each vector which of them it is. */
PN_SHARED void random_columns(int kind, const double *p, const pn_position *at, const real *x, int64_t ldx, real *y,
                              int64_t ldy, int64_t m0, int64_t m1, int64_t column, int64_t n) {
    if (kind == PN_RANDOM_dropout)
        random_loop(PN_RANDOM_dropout, 0, p, at, x, ldx, NULL, 0, y, ldy, m0, m1, column, n, 0);
    else
        random_loop(kind, 0, p, at, x, ldx, NULL, 0, y, ldy, m0, m1, column, n, 0);
}

static void random_forward(int kind, const double *p, const pn_position *at, const real *x, int64_t ldx, real *y,
                           int64_t ldy, int64_t m0, int64_t m1, int64_t p0, int64_t p1) {
    const int64_t column = p0 * PN_PANEL;
    random_columns(kind, p, at, x + column, ldx, y + column, ldy, m0, m1, column, (p1 - p0) * PN_PANEL);
}

static void random_backward(int kind, const double *p, const pn_position *at, const real *x, int64_t ldx,
                            const real *dy, int64_t lddy, real *dx, int64_t lddx, int64_t m0, int64_t m1, int64_t p0,
                            int64_t p1, int add) {
    const int64_t c = p0 * PN_PANEL, n = (p1 - p0) * PN_PANEL;
    if (kind == PN_RANDOM_dropout)
        random_loop(PN_RANDOM_dropout, 1, p, at, x + c, ldx, dy + c, lddy, dx + c, lddx, m0, m1, c, n, add);
    else
        random_loop(kind, 1, p, at, x + c, ldx, dy + c, lddy, dx + c, lddx, m0, m1, c, n, add);
}

/* relu, then dropout, seen from its output: dz = y > 0 ? dy scale : 0, in place */
static void dropped_relu_backward(double rate, const real *y, int64_t ldy, real *dy, int64_t lddy, int64_t m0,
                                  int64_t m1, int64_t p0, int64_t p1) {
    const vec scale = vset(R(dropout_scale(rate)));
    for (int64_t m = m0; m < m1; m++)
        for (int64_t i = p0 * PN_PANEL; i < p1 * PN_PANEL; i += VLEN) {
            real *d = dy + m * lddy + i;
            vstore(d, vsel(vlt(vset(0), vload(y + m * ldy + i)), vmul(vload(d), scale), vset(0)));
        }
}
#endif
