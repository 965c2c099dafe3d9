/* dense.h: one register tile, c[m,n] (+)= sum_k a(m,k) b[k,n], and its callers; the one of dx stands in dense_dx.h.
 *
 *   forward   y_bo  = x_bi  w_io + b_o     a = x  (rows of the batch)       b = w, panels along O
 *   dx        dx_bi = dz_bo w_io^T         a = dz (rows of the batch)       b = w^T, panels along I
 *   dw        dw_io = x_bi^T dz_bo         a = x  (columns: inputs)         b = dz, rows of the batch
 *
 * Vectors run along n, never along the sum; k ascends in every tile: each output is one chain of fused
 * multiply-adds in one order, so neither the tile's shape nor the thread that owns it shows in the bits. */
#ifndef PN_DENSE_H
#define PN_DENSE_H
#include "random.h"

#include <string.h>

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

/* Whether a tile asks for what is wanted: who predicts wants nothing, and small tiles are too rare to spend code on. */
#define WANTS(mr) (PN_TRAINS(PN_DTYPE) && 2 * (mr) > TILE_ROWS)

PN_INLINE void tile(const int mr, const int nv, const int asks, const operands *o) {
    vec acc[TILE_ROWS][ROW_VECS];
    const real *a[(TILE_ROWS + GROUP - 1) / GROUP], *b = o->b;
    real *const c = o->c; /* what is stored could be `o` itself, for all that a compiler knows: it is read first */
    const int64_t sm = o->sm, sk = o->sk, sb = o->sb, bp = o->bp, sc = o->sc, cp = o->cp, ss = o->ss, sp = o->sp;
    pn_wanted *const w = asks && WANTS(mr) ? o->wanted : NULL;
    uintptr_t next = w ? w->next : o->next;
    int64_t left = w ? w->left : INT64_MAX;
#pragma GCC unroll 4
    for (int m = 0; m < mr; m += GROUP) a[m / GROUP] = o->a + m * sm;
#pragma GCC unroll 16
    for (int m = 0; m < mr; m++)
#pragma GCC unroll 8
        for (int j = 0; j < nv; j++) acc[m][j] = vload(o->start + m * ss + AT(sp, j));
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
#pragma GCC unroll 16
        for (int m = 0; m < mr; m++) {
            const vec av = vset(a[m / GROUP][m % GROUP * sm]);
#pragma GCC unroll 8
            for (int j = 0; j < nv; j++) acc[m][j] = vfma(av, bv[j], acc[m][j]);
        }
#pragma GCC unroll 4
        for (int m = 0; m < mr; m += GROUP) a[m / GROUP] += sk;
        b += sb;
        for (int j = 0; asks && j < nv; j += PANEL_VECS)
            __builtin_prefetch((const void *)(next + (uintptr_t)AT(bp, j) * sizeof(real)));
        if (asks) next += o->step;
        if (asks && WANTS(mr)) {
            left -= (int64_t)o->step;
            if (__builtin_expect(left <= 0, 0)) {
                left = INT64_MAX;
                if (++w->row < w->end)
                    next = (uintptr_t)(w->base + (w->order ? w->order[w->row] : w->row) * w->row_stride),
                    left = w->bytes;
            }
        }
    }
    if (w) w->next = next, w->left = left;
#pragma GCC unroll 16
    for (int m = 0; m < mr; m++)
#pragma GCC unroll 8
        for (int j = 0; j < nv; j++) vstore(c + m * sc + AT(cp, j), acc[m][j]);
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
    static void asking_##mr(const operands *o) { tile(mr, TILE_VECS, 1, o); }                                          \
    static void narrow_##mr(const operands *o) { tile(mr, 1, 0, o); }
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
#define PLACE(mr) [mr] = {tile_##mr, asking_##mr, narrow_##mr},
static const struct tiles {
    tile_function *wide, *asking, *narrow; /* TILE_VECS vectors, and one */
} tiles[TILE_ROWS + 1] = {EACH_TILE(PLACE)};

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

/* Rows [m0,m1) x panels [p0,p1): columns outside, rows inside, so that a strip of b stays close; rows are
 * cut into equal tiles, because a last tile of one or two rows would wait on its own latency. */
static void product(operands *o, int64_t m0, int64_t m1, int64_t p0, int64_t p1, const epilogue *then) {
    if (m1 <= m0) return;
    const int64_t blocks = (m1 - m0 + TILE_ROWS - 1) / TILE_ROWS;
    const real *const a = o->a, *const b = o->b;
    real *const c = o->c;
    if (!o->start) o->start = pn_zeros.PN_SUFFIX(of), o->ss = 0, o->sp = 0;
    const real *const start = o->start;
    const pn_then *more = then ? then->then : NULL;
    const int asks = o->far == NEXT_B;
    const pn_wanted *const w = WANTS(TILE_ROWS) ? o->wanted : NULL;
    if (asks) o->step = (uintptr_t)o->sb * sizeof(real) / (uintptr_t)blocks;
    for (int64_t q = p0 * PANEL_VECS; q < p1 * PANEL_VECS;) {
        const int64_t left = p1 * PANEL_VECS - q;
        const int nv = m1 - m0 == 1 && left >= ROW_VECS ? ROW_VECS : left >= TILE_VECS ? TILE_VECS : 1;
        o->b = b + AT(o->bp, q);
        o->start = start + AT(o->sp, q);
        o->next = (uintptr_t)o->b + (uintptr_t)AT(o->bp, TILE_VECS) * sizeof(real); /* perhaps none */
        for (int64_t k = 0, m = m0; k < blocks; k++) {
            const int64_t end = m0 + (m1 - m0) * (k + 1) / blocks;
            const struct tiles *t = &tiles[end - m];
            o->a = a + m * o->sm;
            o->c = c + m * o->sc + AT(o->cp, q);
            if (nv == ROW_VECS)
                row_alone(o);
            else if (nv == TILE_VECS)
                (asks || (w && w->row < w->end) ? t->asking : t->wide)(o);
            else
                t->narrow(o);
            o->start += (end - m) * o->ss;
            o->next += (uintptr_t)o->K * o->step;
            if (more && more->norm) fold_norm(more->norm, o->c, o->sc, end - m, q * VLEN, nv * VLEN);
            if (then && then->loop)
                then->loop(then->p, o->c, o->sc, then->y + m * then->ldy + q * VLEN, then->ldy, end - m, nv * VLEN);
            m = end;
        }
        if (more && more->random) { /* a strip at a time: draws serve eight rows */
            real *y = then->y + q * VLEN;
            random_columns(PN_RANDOM_dropout, &more->rate, more->random, y, then->ldy, y, then->ldy, m0, m1, q * VLEN,
                           nv * VLEN);
        }
        q += nv;
    }
}

static void dense_forward(const real *x_bi, int64_t ldx, const real *w_io, const real *b_o, real *y_bo, int64_t ldy,
                          real *z_bo, int64_t ldz, int64_t m0, int64_t m1, int64_t I, int64_t p0, int64_t p1, int act,
                          const double *p, const pn_then *then) {
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
    const epilogue after = {elementwise ? act_loop_of(act) : NULL, p, y_bo, ldy, then};
    product(&o, m0, m1, p0, p1, &after);
}

/* dw takes x in blocks that stay in the second-level cache while all of dz passes.  Unblocked, 4096 x 4096 @1024 ran at
 * 49 % of the FMA peak, in blocks of 256 x 224 at 89 % (Zen 4, AVX-512; 256 x 448 and 512 x 224: no better).  A tile of
 * six rows has six cycles for a row of the batch, too few to look up the page of x and that of dz for each: it takes a
 * copy of the block without gaps (AVX2, median over widths 256..4096: 86 %, without the copy 75 %, 128 x 192 83 %). */
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

/* dw[i][o] of the only panel, where few of its columns count: lanes are inputs, so that none multiplies padding.  The
 * same sums in the same order (4-32-32-1 @32: a step 4 % shorter than with the tile). */
enum { FEW_OUTPUTS = 4 };
static void few_outputs(const real *x_bi, int64_t ldx, const real *dz_bo, int64_t lddz, real *dw_io, int64_t i0,
                        int64_t i1, int64_t B, int64_t O, int add) {
    enum { AT_ONCE = 4 };
    for (int64_t i = i0 - i0 % PN_PANEL; i < i1; i += AT_ONCE * VLEN) {
        real sums[FEW_OUTPUTS][AT_ONCE * VLEN];
        const int64_t from = i < i0 ? i0 - i : 0, to = i1 - i < AT_ONCE * VLEN ? i1 - i : AT_ONCE * VLEN;
        const int64_t n = (to + VLEN - 1) / VLEN;
        real *dw = dw_io + i * PN_PANEL;
        for (int64_t o = 0; o < O; o++) {
            vec sum[AT_ONCE];
            for (int64_t l = from; add && l < to; l++) sums[o][l] = dw[l * PN_PANEL + o];
#pragma GCC unroll 4
            for (int k = 0; k < AT_ONCE; k++) sum[k] = add ? vload(sums[o] + k * VLEN) : vset(0);
            for (int64_t b = 0; b < B; b++) {
                const vec d = vset(dz_bo[b * lddz + o]);
#pragma GCC unroll 4
                for (int k = 0; k < AT_ONCE; k++)
                    if (k < n) sum[k] = vfma(vload(x_bi + b * ldx + i + k * VLEN), d, sum[k]);
            }
#pragma GCC unroll 4
            for (int k = 0; k < AT_ONCE; k++) vstore(sums[o] + k * VLEN, sum[k]);
        }
        for (int64_t l = from; l < to; l++) {
            for (int64_t o = 0; !add && o < PN_PANEL; o += VLEN) vstore(dw + l * PN_PANEL + o, vset(0));
            for (int64_t o = 0; o < O; o++) dw[l * PN_PANEL + o] = sums[o][l];
        }
    }
}

/* Bytes that each step of a product [I,P] over B rows asks for, so that its last one asks for the last: one or two
 * lines at most. */
static uintptr_t asking_step(const pn_wanted *w, int64_t B, int64_t I, int64_t P) {
    enum { MOST = PN_PANEL * sizeof(real) * (TILE_VECS > PANEL_VECS ? TILE_VECS / PANEL_VECS : 1) };
    const int64_t tiles_of = (I + TILE_ROWS - 1) / TILE_ROWS * ((P * PANEL_VECS + TILE_VECS - 1) / TILE_VECS);
    const int64_t step = 1 + (w->end - w->row) * w->bytes / (B * (tiles_of > 0 ? tiles_of : 1));
    return (uintptr_t)(step < (int64_t)MOST ? step : (int64_t)MOST);
}

static void dense_dw(const real *x_bi, int64_t ldx, const real *dz_bo, int64_t lddz, real *dw_io, int64_t I, int64_t i0,
                     int64_t i1, int64_t B, int64_t O, int64_t p0, int64_t p1, int add, pn_wanted *wanted) {
    if (B == 1 || (B <= NO_TILE && O > FEW_OUTPUTS)) {
        few_rows(B, x_bi, ldx, dz_bo, lddz, dw_io, I, i0, i1, p0, p1, add);
        return;
    }
    if (PN_TRAINS(PN_DTYPE) && O <= FEW_OUTPUTS) {
        if (p1 > p0) few_outputs(x_bi, ldx, dz_bo, lddz, dw_io, i0, i1, B, O, add);
        return;
    }
    real block[DW_COPY ? DW_ROWS * DW_INPUTS : 1];
    const int copy = DW_COPY && p1 - p0 > 4 && ldx > DW_INPUTS; /* worth it */
    const uintptr_t step = WANTS(TILE_ROWS) && wanted ? asking_step(wanted, B, i1 - i0, p1 - p0) : 0;
    /* dw[p][i][0..16) = sum_b x[b,i] dz[b, 16p..]; the next rows go on where the last ended: one order of the sum */
    for (int64_t b = 0; b < B; b += DW_ROWS)
        for (int64_t i = i0; i < i1; i += DW_INPUTS) {
            const int64_t rows = B - b < DW_ROWS ? B - b : DW_ROWS, inputs = i1 - i < DW_INPUTS ? i1 - i : DW_INPUTS;
            const real *x = x_bi + b * ldx + i;
            for (int64_t m = 0; copy && m < rows; m++)
                memcpy(block + m * DW_INPUTS, x + m * ldx, (size_t)inputs * sizeof(real));
            real *dw = dw_io + i * PN_PANEL;
            operands o = {.a = copy ? block : x,
                          .sm = 1,
                          .sk = copy ? DW_INPUTS : ldx,
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
