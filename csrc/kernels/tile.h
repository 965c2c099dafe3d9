/* tile.h: one register tile, c[m,n] (+)= sum_k a(m,k) b[k,n], and the product made of it.
 *
 * Vectors run along n, never along the sum; k ascends in every tile: each output is one chain of fused
 * multiply-adds in one order, so neither the tile's shape nor the thread that owns it shows in the bits. */
#ifndef PN_TILE_H
#define PN_TILE_H
#include "random.h"

/* a(m,k) = a[m*sm + k*sk].  Vector j of b, c and start lies in panel j / PANEL_VECS, bp, cp and sp elements apart. */
typedef struct operands {
    const real *a;
    int64_t sm, sk;
    const real *b;
    int64_t sb, bp;
    real *c;
    int64_t sc, cp;
    int64_t K;
    const real *start; /* where the sums begin: at c itself, or at one row for all (ss = 0), NULL: at 0 */
    int64_t ss, sp;
    int relu;          /* of the sums, where PN_LARGE */
    int far;           /* what does not fit in the second-level cache, and is asked for ahead of its use */
    uintptr_t next;    /* of b, for the strip of columns after this */
    pn_wanted *wanted; /* instead of that: rows of the next batch, or NULL */
    uintptr_t step;    /* bytes for each k to ask for meanwhile */
} operands;

#define AT(stride, j) ((j) / PANEL_VECS * (stride) + (j) % PANEL_VECS * VLEN)

enum { NOTHING, NEXT_B, NEXT_C };
/* Rows that one pointer serves.  The strides of 14 rows do not fit into registers: six loads from the stack for each k,
 * a step of 64-64-64-10 @32 takes 5 % longer.  Those of 6 do, and a second pointer costs 4 to 8 % of all instructions.
 */
enum { GROUP = TILE_ROWS > 8 ? 4 : TILE_ROWS };
enum { ROW_VECS = 8 }; /* vectors of the tile of a single row */
/* Rows of a tile of one vector, the most: with 28, half as often as with 14, a tile begins and ends, which takes 40
 * cycles, and for each k a row of b is loaded.  Times of a step (Zen 5): 15-15-15 @32 0.92, @96 0.97, 16-16-16 @128
 * 0.97, 64-64-64-10 @32 0.99, 784-128-10 @128 0.98.  18 kB of the library.  Elsewhere a panel is as wide as a
 * tile, or wider, and nothing narrow is left. */
enum { NARROWS = VLEN == 16, NARROW_ROWS = PN_LARGE && NARROWS ? 28 : TILE_ROWS };

/* Whether a tile asks for what is wanted: who predicts wants nothing, and small tiles are too rare to spend code on. */
#define WANTS(mr) (PN_TRAINS(PN_DTYPE) && 2 * (mr) > TILE_ROWS)

/* The first byte of the next row, and how many there are: no end of them behind the last row. */
PN_INLINE uintptr_t next_wanted(pn_wanted *w, int64_t *left) {
    *left = INT64_MAX;
    if (++w->row >= w->end) return w->next;
    *left = w->bytes;
    return (uintptr_t)(w->base + (w->order ? w->order[w->row] : w->row) * w->row_stride);
}

/* PN_LARGE: sums that begin alike are loaded once, and a ReLU meets them in registers: 0.4 of what a tile takes beyond
 * its multiply-adds.  Forward (Zen 4, AVX-512), 64 outputs: 256 rows and 32, 64, 128 and 256 inputs 9.7, 18.6, 36.5 and
 * 72.0 us, 10.7, 19.6, 37.3 and 73.0 without it (peak: 8.9, 17.9, 35.8, 71.6); steps of 64-64-64-10 and 4-32-32-1 1.5
 * to 3 %.  11 kB of the library. */
PN_INLINE void tile(const int mr, const int nv, const int asks, const operands *o) {
    vec acc[NARROW_ROWS][ROW_VECS];
    const real *a[(NARROW_ROWS + GROUP - 1) / GROUP], *b = o->b;
    real *const c = o->c; /* what is stored could be `o` itself, for all that a compiler knows: it is read first */
    const int64_t sm = o->sm, sk = o->sk, sb = o->sb, bp = o->bp, sc = o->sc, cp = o->cp, ss = o->ss, sp = o->sp;
    pn_wanted *const w = asks && WANTS(mr) ? o->wanted : NULL;
    uintptr_t next = w ? w->next : o->next;
    int64_t left = w ? w->left : INT64_MAX;
#pragma GCC unroll 8
    for (int m = 0; m < mr; m += GROUP) a[m / GROUP] = o->a + m * sm;
    if (PN_LARGE && ss == 0) {
#pragma GCC unroll 8
        for (int j = 0; j < nv; j++) {
            acc[0][j] = vload(o->start + AT(sp, j));
#pragma GCC unroll 32
            for (int m = 1; m < mr; m++) acc[m][j] = acc[0][j];
        }
    } else {
#pragma GCC unroll 32
        for (int m = 0; m < mr; m++)
#pragma GCC unroll 8
            for (int j = 0; j < nv; j++) acc[m][j] = vload(o->start + m * ss + AT(sp, j));
    }
    const vec least = vset(o->relu ? 0 : R(-INFINITY));
    if (o->far == NEXT_C) {
        for (int m = 0; m < mr; m++)
            for (int j = 0; j < nv; j += PANEL_VECS)
                __builtin_prefetch((const void *)((uintptr_t)c + (uintptr_t)((m + mr) * sc + AT(cp, j)) * sizeof(real)),
                                   1);
    }
    for (int64_t k = o->K; k > 0; k--) {
        vec bv[ROW_VECS];
#pragma GCC unroll 8
        for (int j = 0; j < nv; j++) bv[j] = vload(b + AT(bp, j));
#pragma GCC unroll 32
        for (int m = 0; m < mr; m++) {
            const vec av = vset(a[m / GROUP][m % GROUP * sm]);
#pragma GCC unroll 8
            for (int j = 0; j < nv; j++) acc[m][j] = vfma(av, bv[j], acc[m][j]);
        }
#pragma GCC unroll 8
        for (int m = 0; m < mr; m += GROUP) a[m / GROUP] += sk;
        b += sb;
        for (int j = 0; asks && j < nv; j += PANEL_VECS)
            __builtin_prefetch((const void *)(next + (uintptr_t)AT(bp, j) * sizeof(real)));
        if (asks) next += o->step;
        if (asks && WANTS(mr)) {
            left -= (int64_t)o->step;
            if (__builtin_expect(left <= 0, 0)) next = next_wanted(w, &left);
        }
    }
    if (w) w->next = next, w->left = left;
#pragma GCC unroll 32
    for (int m = 0; m < mr; m++)
#pragma GCC unroll 8
        for (int j = 0; j < nv; j++) /* in this order: NaN as the second is NaN */
            vstore(c + m * sc + AT(cp, j), PN_LARGE ? vmax(least, acc[m][j]) : acc[m][j]);
}

/* A single row goes by 8 vectors, so that more sums, and more streams of weights, wait at once.  One row in C, times as
 * fast as by 2 vectors (Zen 4): 784-128-10 1.05 with AVX-512, 1.83 with AVX2; 64-64 0.99, 1.88; 1024-1024 1.54, 1.51;
 * 4096-4096 1.39, 1.80; of the smallest nets (4-32-32-1) 0.97.  6 x 4 gained nothing; 2 and 3 rows were not tried.
 * By 4 vectors where there are no 8: 64-64-64-10 @1 with AVX-512 0.3 %, refused.
 *
 * One function per number of rows.  `_asking`: for weights that do not fit in the second-level cache.  A strip of them
 * comes from memory while the first tile of its rows waits, unless the strip before has asked for it; the gradient of
 * few rows waits for the memory that it is written to, unless the tile before has asked for that.  With it and without,
 * % of the peak on Zen 4:
 *
 * - forward and dx: AVX2 4096 @32 82 and 65, 2048 @32 87 and 66, 4096 @128 91 and 87; AVX-512 4096 @32 92 and 84
 * - dw: AVX2 4096 @32 84 and 61, 4096 @128 90 and 84; AVX-512 4096 @32 86 and 75, 2048 @32 86 and 77
 * - weights that fit: 1 to 2 % less with it
 * - dw asking for the next strip of dz instead: AVX2 4096 @128 68 and 85, refused */
#define TILE(mr)                                                                                                       \
    static void tile_##mr(const operands *o) { tile(mr, TILE_VECS, 0, o); }                                            \
    static void asking_##mr(const operands *o) { tile(mr, TILE_VECS, 1, o); }
#if TILE_ROWS == 14
#define EACH_TILE(T) T(1) T(2) T(3) T(4) T(5) T(6) T(7) T(8) T(9) T(10) T(11) T(12) T(13) T(14)
#elif TILE_ROWS == 6
#define EACH_TILE(T) T(1) T(2) T(3) T(4) T(5) T(6)
#else
#define EACH_TILE(T) T(1) T(2)
#endif
EACH_TILE(TILE)
static void row_alone(const operands *o) { tile(1, ROW_VECS, 0, o); }
typedef void tile_function(const operands *o);
#define PLACE(mr) [mr] = {tile_##mr, asking_##mr},
static const struct tiles {
    tile_function *wide, *asking;
} tiles[TILE_ROWS + 1] = {EACH_TILE(PLACE)};

#if VLEN == 16 /* NARROWS */
#define NARROW(mr)                                                                                                     \
    static void narrow_##mr(const operands *o) { tile(mr, 1, 0, o); }
#define NARROW_PLACE(mr) [mr] = narrow_##mr,
#if PN_LARGE
#define EACH_NARROW(T) EACH_TILE(T) T(15) T(16) T(17) T(18) T(19) T(20) T(21) T(22) T(23) T(24) T(25) T(26) T(27) T(28)
#else
#define EACH_NARROW EACH_TILE
#endif
EACH_NARROW(NARROW)
static tile_function *const narrow[NARROW_ROWS + 1] = {EACH_NARROW(NARROW_PLACE)};
PN_INLINE void narrow_tile(int64_t rows, const operands *o) { narrow[rows](o); }
#else
PN_INLINE void narrow_tile(int64_t rows, const operands *o) { (void)rows, (void)o; }
#endif

static int if_far(int what, int64_t inputs, int64_t panels) {
    enum { FITS = 1 << 20 }; /* bytes */
    return inputs * panels * PN_PANEL * (int64_t)sizeof(real) > FITS ? what : NOTHING;
}

/* What follows a tile while it is in the first-level cache. */
typedef struct epilogue {
    act_loop *loop; /* NULL: nothing */
    const double *p;
    real *y; /* where act(c) goes: c itself, or beside it where c (= z) is kept */
    int64_t ldy;
    const pn_then *then; /* NULL: nothing */
} epilogue;

/* c = (c - mean) gamma / deviation + beta: a batch norm folded into the layer, n columns from `at` */
PN_INLINE void fold_norm(const pn_norm *norm, real *c, int64_t ldc, int64_t rows, int64_t at, int64_t n) {
    for (int64_t j = 0; j < n; j += VLEN) {
        const vec mu = vload((const real *)norm->mean + at + j), beta = vload((const real *)norm->beta + at + j);
        const vec variance = vadd(vload((const real *)norm->variance + at + j), vset(R(norm->epsilon)));
        const vec g = vdiv(vload((const real *)norm->gamma + at + j), vsqrt(variance));
        for (int64_t m = 0; m < rows; m++) vstore(c + m * ldc + j, vfma(vsub(vload(c + m * ldc + j), mu), g, beta));
    }
}

/* After the sums of rows m.. and vectors q.. of c; and after those of a strip: draws serve eight rows. */
PN_INLINE void finish(const epilogue *then, real *c, int64_t ldc, int64_t m, int64_t rows, int64_t q, int64_t nv) {
    if (then->then && then->then->norm) fold_norm(then->then->norm, c, ldc, rows, q * VLEN, nv * VLEN);
    if (then->loop) then->loop(then->p, c, ldc, then->y + m * then->ldy + q * VLEN, then->ldy, rows, nv * VLEN);
}
PN_INLINE void finish_strip(const epilogue *then, int64_t m0, int64_t m1, int64_t q, int64_t nv) {
    real *y = then->y + q * VLEN;
    if (then->then && then->then->random)
        random_columns(PN_RANDOM_dropout, &then->then->rate, then->then->random, y, then->ldy, y, then->ldy, m0, m1,
                       q * VLEN, nv * VLEN);
}

/* Rows [m0,m1) x panels [p0,p1): columns outside, rows inside, so that a strip of b stays close; rows are
 * cut into equal tiles, because a last tile of one or two rows would wait on its own latency. */
static void product(operands *o, int64_t m0, int64_t m1, int64_t p0, int64_t p1, const epilogue *then) {
    if (m1 <= m0) return;
    const int64_t wide_blocks = (m1 - m0 + TILE_ROWS - 1) / TILE_ROWS;
    const real *const a = o->a, *const b = o->b;
    real *const c = o->c;
    if (!o->start) o->start = pn_zeros.PN_SUFFIX(of), o->ss = 0, o->sp = 0;
    const real *const start = o->start;
    const int asks = o->far == NEXT_B;
    const pn_wanted *const w = WANTS(TILE_ROWS) ? o->wanted : NULL;
    if (asks) o->step = (uintptr_t)o->sb * sizeof(real) / (uintptr_t)wide_blocks;
    for (int64_t q = p0 * PANEL_VECS; q < p1 * PANEL_VECS;) {
        const int64_t left = p1 * PANEL_VECS - q;
        int nv = TILE_VECS;
        int64_t blocks = wide_blocks;
        if (NARROWS && left < TILE_VECS) {
            nv = 1;
            blocks = (m1 - m0 + NARROW_ROWS - 1) / NARROW_ROWS;
        } else if (m1 - m0 == 1 && left >= ROW_VECS) {
            nv = ROW_VECS;
        }
        o->b = b + AT(o->bp, q);
        o->start = start + AT(o->sp, q);
        o->next = (uintptr_t)o->b + (uintptr_t)AT(o->bp, TILE_VECS) * sizeof(real); /* perhaps none */
        for (int64_t k = 0, m = m0; k < blocks; k++) {
            const int64_t end = blocks == 1 ? m1 : m0 + (m1 - m0) * (k + 1) / blocks;
            o->a = a + m * o->sm;
            o->c = c + m * o->sc + AT(o->cp, q);
            if (nv == ROW_VECS)
                row_alone(o);
            else if (nv == TILE_VECS)
                (asks || (w && w->row < w->end) ? tiles[end - m].asking : tiles[end - m].wide)(o);
            else
                narrow_tile(end - m, o);
            o->start += (end - m) * o->ss;
            o->next += (uintptr_t)o->K * o->step;
            if (then) finish(then, o->c, o->sc, m, end - m, q, nv);
            m = end;
        }
        if (then) finish_strip(then, m0, m1, q, nv);
        q += nv;
    }
}
#endif
