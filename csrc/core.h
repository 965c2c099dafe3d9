/* core.h: what the files of libpynet share among themselves.
 *
 *   layers --plan.py--> pn_plan --plan.c checks--> machine.c (memory, threads) --> run.c (walks) --> kernels
 *
 * Letters: B rows of a batch, I inputs, O outputs.  x_bi means x[B,I].
 * A machine's memory, one block, every part 64-byte aligned, behind the machine itself:
 *
 *   values   [row_elems][B]    one [B][ld] block per value of the plan
 *   dvalues  the same again    gradients (training only)
 *   wt       W transposed, in panels [I/16][O][16], for every weight matrix that hands a gradient down
 *   scratch  what ops keep once per batch: mean and variance of batch norms (training only)
 *   targets, weights, row losses, partial sums
 */
#ifndef PN_CORE_H
#define PN_CORE_H

#include "pynet.h"

#if defined(PN_DTYPE_f64)
typedef double real;
#define PN_DTYPE        PN_F64
#define PN_SUFFIX(name) name##_f64
#else
typedef float real;
#define PN_DTYPE        PN_F32
#define PN_SUFFIX(name) name##_f32
#endif

/* What a build leaves out: PN_ONLY_f32 the machine of doubles; PN_TRAINED says which pn_dtype train, a bit for each;
 * PN_LARGE = 0 what makes things faster and the library larger: throughout kernels/, and turned weights. */
#ifndef PN_TRAINED
#define PN_TRAINED 3
#endif
#ifndef PN_LARGE
#define PN_LARGE 1
#endif
#define PN_TRAINS(dtype) (PN_TRAINED >> (dtype) & 1)
#define PN_ZEROS(dtype)  (PN_LARGE && PN_TRAINS(dtype))
#define PN_TURNS(dtype)  (PN_LARGE && PN_TRAINS(dtype))

/* ---- roll-calls as data (roll.c), for names and for Python ----------------------------------- */

typedef struct pn_entry {
    char list[11], name[21]; /* not pointers, which the loader would have to set */
    int id, extra;           /* optimizers: slots; activations: 'X', 'Y' */
} pn_entry;
extern const pn_entry pn_roll[]; /* ends with an empty list */

#define OP(id, NAME) PN_OP_##NAME = id,
enum {
#include "ops.def"
};
#define LOSS(id, NAME) PN_LOSS_##NAME = id,
enum {
#include "ops.def"
};
#define METRIC(id, NAME) PN_METRIC_##NAME = id,
enum {
#include "ops.def"
};
#define OPTIMIZER(id, NAME, slots) PN_OPTIMIZER_##NAME = id,
enum {
#include "ops.def"
};
#define CLIP(id, NAME) PN_CLIP_##NAME = id,
enum {
#include "ops.def"
};
#define RANDOM(id, NAME) PN_RANDOM_##NAME = id,
enum {
#include "ops.def"
};
#define ACT(id, NAME, needs, forward, derivative) PN_ACT_##NAME = id,
#define ACT_ROW(id, NAME, needs)                  PN_ACT_##NAME = id,
enum {
#include "activations.def"
};
#undef ACT
#undef ACT_ROW
enum { PN_N_ACTS = 65 };
enum { PN_MOST_PARTS = 1 << 20 }; /* of a batch */
enum { PN_MOST_TURNED = 4 };      /* outputs of turned weights */
enum { PN_BLOCK = 16384 };        /* elements; sums over an arena are added block by block, whoever made them */

int pn_known(const char *list, int id); /* is there such a number in this list? */
int pn_op_predicts(int kind);           /* whether a network that only predicts may have it */
int pn_activation_needs_x(int id);
int pn_optimizer_slots(int id); /* -1: unknown */

static inline uint64_t pn_pad(uint64_t n) { return (n + PN_PANEL - 1) / PN_PANEL * PN_PANEL; }
static inline uint32_t pn_panels(uint32_t cols) { return (cols + PN_PANEL - 1) / PN_PANEL; }
static inline uint64_t pn_param_size(const pn_param *p) {
    return p->flags & PN_TURNED ? pn_pad(p->rows) * p->cols : pn_pad(p->cols) * p->rows;
}

/* ---- what kernels take ------------------------------------------------------------------------- */

/* Where random numbers stand: a function of the seed, the stream of the op, the step, the row and the column. */
typedef struct pn_position {
    uint64_t seed;
    uint32_t stream, step;
    int64_t row0; /* of the first row of the batch */
} pn_position;

typedef struct pn_norm { /* vectors [O] in panels: y = (x - mean) gamma / sqrt(variance + epsilon) + beta */
    const void *gamma, *beta, *mean, *variance;
    double epsilon;
} pn_norm;

/* What a dense op does to a strip of its outputs while it is in the cache; NULL: nothing of the kind. */
typedef struct pn_then {
    const pn_norm *norm;       /* before the activation */
    const pn_position *random; /* after it: dropout */
    double rate;
} pn_then;

/* Rows that the next batch will gather: a product asks for their bytes, so many with each of its steps. */
typedef struct pn_wanted {
    const char *base;
    int64_t row_stride, bytes; /* from row to row, and of a row */
    const int64_t *order;      /* NULL: one after the other */
    int64_t row, end;          /* in this order: the one that is being asked for, and where the last ends */
    uintptr_t next;            /* byte of it, and how many are left */
    int64_t left;
} pn_wanted;

typedef struct pn_sparse { /* a pruned weight matrix: kernels/sparse.h; in lanes: kernels/lanes.h */
    const void *values;    /* [ends[O-1]], output by output; in lanes [16 ends[P-1]] */
    const uint8_t *steps;  /* of each value, one byte or four bits; in lanes the places */
    const uint32_t *ends;  /* [O] values of the outputs up to this one; in lanes [P] steps up to this panel */
    int nibbles, lanes;
    const uint8_t *sights; /* in lanes */
} pn_sparse;
static inline int pn_in_lanes(const pn_op *op) { return op->p[2] == PN_LANES; } /* of a SPARSE op */
static inline int pn_step(const pn_sparse *w, int64_t e) {
    return w->nibbles ? w->steps[e >> 1] >> (e & 1) * 4 & 15 : w->steps[e];
}
/* In lanes each output of a panel has a place in every step.  Of four steps, a block, the places of one output stand
 * side by side.  After all places the sights: of every two steps the first input that they see, in units, in two bytes.
 */
enum { PN_LANES_SIGHT = 32, PN_NO_PLACE = PN_LANES_SIGHT, PN_LANES_UNIT = 8, PN_LANES_BLOCK = 4, PN_LANES_BYTES = 17 };
static inline uint8_t pn_place(const uint8_t *places, int64_t step, int64_t lane) {
    const int64_t within = step & (PN_LANES_BLOCK - 1);
    return places[(step - within) * PN_PANEL + lane * PN_LANES_BLOCK + within];
}
static inline uint32_t pn_sight(const uint8_t *sights, int64_t step) {
    const uint8_t *at = sights + (step & ~(int64_t)1);
    return (uint32_t)(at[0] | at[1] << 8) * PN_LANES_UNIT;
}
enum { PN_SPARSE_TILE = 32 }; /* rows of the widest tile of columns x_tir[tiles][I][R] */

/* ---- kernels --------------------------------------------------------------------------------- *
 * KERNEL(name, (arguments)), TRAINS of those that only training needs, SOLVES those of pn_lm and pn_obs too, LARGE
 * those of a large library where its dtype trains.  Ranges are [m0,m1) rows and [p0,p1) panels of 16 columns; work is
 * divided only among outputs, so a result does not depend on how.  Kernels never fail, allocate or print.      */
/* clang-format off */
#define PN_KERNELS(KERNEL, TRAINS, SOLVES, LARGE)                                                                      \
    /* y_bo = x_bi w_io + b_o, then act; z keeps the sum where it is not NULL; `then` may be NULL; with `zeros` x is   \
       taken to be mostly 0: kernels/zeros.h; `wanted` may be NULL; so in dw */                                        \
    KERNEL(dense_forward, (const real *x_bi, int64_t ldx, const real *w_io, const real *b_o, real *y_bo, int64_t ldy,  \
                           real *z_bo, int64_t ldz, int64_t m0, int64_t m1, int64_t I, int64_t p0, int64_t p1,         \
                           int act, const double *p, const pn_then *then, pn_wanted *wanted, int zeros))               \
    /* dx_bi (+)= dz_bo w_io^T; wt holds w^T in panels along I; p0, p1 are panels of I.  An LSTM goes up with it. */   \
    KERNEL(dense_dx, (const real *dz_bo, int64_t lddz, const real *wt_oi, real *dx_bi, int64_t lddx, int64_t m0,       \
                      int64_t m1, int64_t O, int64_t p0, int64_t p1, int add))                                         \
    /* dw_io (+)= x_bi^T dz_bo for inputs [i0,i1) and panels [p0,p1) of O */                                           \
    SOLVES(dense_dw, (const real *x_bi, int64_t ldx, const real *dz_bo, int64_t lddz, real *dw_io, int64_t I,          \
                      int64_t i0, int64_t i1, int64_t B, int64_t p0, int64_t p1, int add,                              \
                      pn_wanted *wanted, int zeros))                                                                   \
    /* whether so little of rows [m0,m1) of x, two at least, is not 0 that `zeros` pays: 0, 1, or 2 for hardly any */  \
    TRAINS(few_numbers, (const real *x, int64_t ldx, int64_t m0, int64_t m1, int64_t I, int64_t panels, int *few))     \
    /* db_o (+)= column sums of dz_bo */                                                                               \
    TRAINS(column_sums, (const real *dz_bo, int64_t lddz, real *db_o, int64_t B, int64_t p0, int64_t p1, int add))     \
    /* the same from w itself, with room for p1 - p0 panels of w^T; more than 256 kB are not needed.  With relu_bi,    \
       laid out as dx, the outputs of the ReLU that made x: dx becomes its dz, and db_i, unless it is NULL, is         \
       overwritten with the column sums of that */                                                                     \
    TRAINS(dense_dx_from_w, (const real *dz_bo, int64_t lddz, const real *w_io, real *room, real *dx_bi, int64_t lddx, \
                             int64_t m0, int64_t m1, int64_t I, int64_t O, int64_t p0, int64_t p1, int add,            \
                             const real *relu_bi, real *db_i))                                                         \
    /* wt_oi = panels [p0,p1) along I of w_io^T */                                                                     \
    TRAINS(transpose, (const real *w_io, real *wt_oi, int64_t I, int64_t O, int64_t p0, int64_t p1))                   \
    /* the same three with w and dw turned, of 1 to 4 outputs: [I/16][O][16]; p0, p1 are panels of I; of x and dx all  \
       columns of the panels are there */                                                                              \
    LARGE(turned_forward, (const real *x_bi, int64_t ldx, const real *wt_oi, const real *b_o, real *y_bo,              \
                           int64_t ldy, real *z_bo, int64_t ldz, int64_t m0, int64_t m1, int64_t I, int64_t O,         \
                           int act, const double *p, const pn_then *then))                                             \
    LARGE(turned_dx, (const real *dz_bo, int64_t lddz, const real *wt_oi, real *dx_bi, int64_t lddx, int64_t m0,       \
                      int64_t m1, int64_t O, int64_t p0, int64_t p1, int add, const real *relu_bi, real *db_i))        \
    LARGE(turned_dw, (const real *x_bi, int64_t ldx, const real *dz_bo, int64_t lddz, real *dw_oi, int64_t I,          \
                      int64_t B, int64_t O, int64_t p0, int64_t p1, int add))                                          \
    /* y_bo = x_bi w_io + b_o, then act, of a pruned w: one row after the other, in lanes some at once; or, in steps,  \
       from columns of x_bi, tiles of R rows: 16 or 32 */                                                              \
    KERNEL(sparse_rows, (const real *x_bi, int64_t ldx, const pn_sparse *w, const real *b_o, real *y_bo, int64_t ldy,  \
                         int64_t m0, int64_t m1, int64_t O, int64_t p0, int64_t p1, int act, const double *p))         \
    KERNEL(columns, (const real *x_bi, int64_t ldx, real *x_tir, int64_t R, int64_t B, int64_t I, int64_t t0,          \
                     int64_t t1))                                                                                      \
    KERNEL(sparse_columns, (const real *x_tir, int64_t R, const pn_sparse *w, const real *b_o, real *y_bo,             \
                            int64_t ldy, int64_t B, int64_t I, int64_t O, int64_t t0, int64_t t1, int64_t p0,          \
                            int64_t p1, int act, const double *p))                                                     \
    /* dx_bi (+)= dz_bo w^T, from dz in columns; dx_tir is room for tiles [t0,t1) */                                   \
    TRAINS(sparse_dx, (const real *dz_tor, int64_t R, const pn_sparse *w, real *dx_tir, real *dx_bi, int64_t lddx,     \
                       int64_t B, int64_t I, int64_t O, int64_t t0, int64_t t1, int add))                              \
    /* dv (+)= sum_b x_bi dz_bo of each value, for outputs [o0,o1) */                                                  \
    TRAINS(sparse_dw, (const real *x_tir, const real *dz_tor, int64_t R, const pn_sparse *w, real *dv, int64_t B,      \
                       int64_t I, int64_t O, int64_t o0, int64_t o1, int add))                                         \
    KERNEL(act_forward, (int act, const double *p, const real *x, int64_t ldx, real *y, int64_t ldy, int64_t m0,       \
                         int64_t m1, int64_t p0, int64_t p1))                                                          \
    /* dx (+)= dy act'(v); v is y or x as activations.def says; dx may be dy */                                        \
    TRAINS(act_backward, (int act, const double *p, const real *v, int64_t ldv, const real *dy, int64_t lddy,          \
                          real *dx, int64_t lddx, int64_t m0, int64_t m1, int64_t p0, int64_t p1, int add))            \
    /* y = x > 0 ? x : a x, a [O], or one for all with `shared`; da (+)= sum_b dy x where x <= 0 */                    \
    KERNEL(prelu_forward, (const real *x, int64_t ldx, const real *a, int shared, real *y, int64_t ldy, int64_t m0,    \
                           int64_t m1, int64_t p0, int64_t p1))                                                        \
    TRAINS(prelu_backward, (const real *x, int64_t ldx, const real *a, int shared, const real *dy, int64_t lddy,       \
                            real *dx, int64_t lddx, int64_t m0, int64_t m1, int64_t p0, int64_t p1, int add))          \
    TRAINS(prelu_sums, (const real *x, int64_t ldx, int shared, const real *dy, int64_t lddy, real *da, int64_t B,     \
                        int64_t p0, int64_t p1, int add))                                                              \
    /* RANDOM of ops.def: y = f(x);  dx (+)= dy f'(x) with the numbers of the way up; dx may be dy */                  \
    TRAINS(random_forward, (int kind, const double *p, const pn_position *at, const real *x, int64_t ldx, real *y,     \
                            int64_t ldy, int64_t m0, int64_t m1, int64_t p0, int64_t p1))                              \
    TRAINS(random_backward, (int kind, const double *p, const pn_position *at, const real *x, int64_t ldx,             \
                             const real *dy, int64_t lddy, real *dx, int64_t lddx, int64_t m0, int64_t m1, int64_t p0, \
                             int64_t p1, int add))                                                                     \
    TRAINS(dropped_relu_backward, (double rate, const real *y, int64_t ldy, real *dy, int64_t lddy, int64_t m0,        \
                                   int64_t m1, int64_t p0, int64_t p1))                                                \
    /* statistics of the batch, rows weighted by r; mean and variance are written, then read by backward */            \
    TRAINS(batch_norm_forward, (const real *x, int64_t ldx, const real *r, double r_sum, const pn_norm *norm,          \
                                real *mean, real *variance, real *y, int64_t ldy, int64_t B, int64_t p0, int64_t p1))  \
    TRAINS(batch_norm_backward, (const real *x, int64_t ldx, const real *r, double r_sum, const pn_norm *norm,         \
                                 const real *dy, int64_t lddy, real *dgamma, real *dbeta, int add_w, real *dx,         \
                                 int64_t lddx, int add, int64_t B, int64_t p0, int64_t p1))                            \
    KERNEL(running_norm_forward, (const real *x, int64_t ldx, const pn_norm *norm, real *y, int64_t ldy, int64_t m0,   \
                                  int64_t m1, int64_t p0, int64_t p1))                                                 \
    TRAINS(running_norm_backward, (const real *x, int64_t ldx, const pn_norm *norm, const real *dy, int64_t lddy,      \
                                   real *dgamma, real *dbeta, int add_w, real *dx, int64_t lddx, int add, int64_t B,   \
                                   int64_t p0, int64_t p1))                                                            \
    /* running = momentum running + (1 - momentum) factor now */                                                       \
    TRAINS(track, (real *running, const real *now, double momentum, double factor, int64_t n))                         \
    /* statistics of each row: stats[b] = mean, 1 / deviation; gamma, beta may be NULL */                              \
    KERNEL(row_norm_forward, (const real *x, int64_t ldx, const pn_norm *norm, real *stats, int64_t lds, real *y,      \
                              int64_t ldy, int64_t m0, int64_t m1, int64_t O))                                         \
    TRAINS(row_norm_backward, (const real *x, int64_t ldx, const pn_norm *norm, const real *stats, int64_t lds,        \
                               const real *dy, int64_t lddy, real *dx, int64_t lddx, int64_t m0, int64_t m1,           \
                               int64_t O, int add))                                                                    \
    TRAINS(row_norm_sums, (const real *x, int64_t ldx, const real *stats, int64_t lds, const real *dy, int64_t lddy,   \
                           real *dgamma, real *dbeta, int64_t B, int64_t p0, int64_t p1, int add))                     \
    /* one step of an LSTM between its matrix products: recurrent.h */                                                 \
    KERNEL(lstm_forward, (real *g_bo, int64_t ldg, const real *c_prev, const real *h_prev, real *c, real *h,           \
                          int64_t ld, const real *mask, int64_t ldm, int64_t m0, int64_t m1, int64_t U))               \
    TRAINS(lstm_backward, (const real *g_bo, int64_t ldg, const real *c_prev, const real *c, real *dz_bo, real *dc,    \
                           real *dh, int64_t ld, const real *mask, int64_t ldm, int64_t m0, int64_t m1, int64_t U))    \
    KERNEL(softmax_forward, (const real *x_bo, int64_t ldx, real *y_bo, int64_t ldy, int64_t m0, int64_t m1,           \
                             int64_t O))                                                                               \
    TRAINS(softmax_backward, (const real *y_bo, int64_t ldy, const real *dy_bo, int64_t lddy, real *dx_bo,             \
                              int64_t lddx, int64_t m0, int64_t m1, int64_t O, int add))                               \
    /* y = a + b, whole padded rows */                                                                                 \
    KERNEL(add, (const real *a, int64_t lda, const real *b, int64_t ldb, real *y, int64_t ldy, int64_t m0,             \
                 int64_t m1, int64_t p0, int64_t p1))                                                                  \
    /* y[:, 0:n] (+)= x[:, 0:n], any n; columns n..pad of y become 0 when `pad` > n */                                 \
    KERNEL(copy, (const real *x, int64_t ldx, real *y, int64_t ldy, int64_t m0, int64_t m1, int64_t n, int64_t pad,    \
                  int add))                                                                                            \
    /* y = (array[order[m]] - shift) * scale, columns width..ld become 0 */                                            \
    KERNEL(gather, (const pn_array *array, const int64_t *order, int64_t row0, const real *scale, const real *shift,   \
                    real *y, int64_t ldy, int64_t m0, int64_t m1))                                                     \
    /* row losses l[m] and dx_bo = factor * weight[m] * dl/dx; t is [B][ldt] or, for labels, int32 [B] */              \
    TRAINS(loss, (int loss, double parameter, const real *x_bo, int64_t ldx, const real *t_bo, int64_t ldt,            \
                  const int32_t *labels, const real *weight, double factor, real *row_loss, real *dx_bo,               \
                  int64_t lddx, int64_t m0, int64_t m1, int64_t O))                                                    \
    /* one optimizer step on n elements, with the sum of n_g gradients; hyper and the rest in update.h */              \
    TRAINS(update, (int optimizer, const double *hyper, double rate, const double *bias, real *p,                      \
                    const real *const *g, int n_g, real *s0, real *s1, int64_t n))                                     \
    /* the same on w_io, inputs [i0,i1) and panels [p0,p1), with the gradient x_bi^T dz_bo of few rows, which is kept  \
       nowhere; slots lie like w */                                                                                    \
    LARGE(update_of_rows, (int optimizer, const double *hyper, double rate, const double *bias, real *w_io,            \
                           real *s0_io, real *s1_io, const real *x_bi, int64_t ldx, const real *dz_bo, int64_t lddz,   \
                           int64_t I, int64_t i0, int64_t i1, int64_t B, int64_t p0, int64_t p1))                      \
    TRAINS(penalty, (double l1, double l2, const real *w, real *g, int64_t n))                                         \
    TRAINS(penalty_value, (double l1, double l2, const real *w, int64_t n, double *sum))                               \
    TRAINS(sum_squares, (const real *g, int64_t n, double *sum))                                                       \
    /* g = 0 where the bit of an element is 0 */                                                                       \
    TRAINS(clear_pruned, (const uint16_t *keep, real *g, int64_t n))                                                   \
    TRAINS(scale, (real *g, double factor, int64_t n))                                                                 \
    TRAINS(clip_value, (real *g, double c, int64_t n))                                                                 \
    TRAINS(clip_sign, (real *g, int64_t n))                                                                            \
    /* keys[row] of rows 0..n-1, n % 32 = 0: 64 random bits, but those of the mask `rows` are the row's: order.c */    \
    LARGE(row_keys, (uint64_t seed, uint32_t purpose, uint32_t epoch, int64_t n, uint64_t rows, uint64_t *keys))       \
    /* w[:,o] *= min(1, c / |w[:,o]|) */                                                                               \
    TRAINS(max_norm, (double c, real *w_io, int64_t I, int64_t p0, int64_t p1))
/* clang-format on */

#define PN_FIELD(name, args) void(*name) args;
typedef struct pn_kernels {
    PN_KERNELS(PN_FIELD, PN_FIELD, PN_FIELD, PN_FIELD)
} PN_SUFFIX(pn_kernels);
#undef PN_FIELD

/* ---- instruction sets (dispatch.c) ------------------------------------------------------------ */

typedef struct pn_isa {
    char name[8];
    int needs;              /* of the CPU: dispatch.c */
    const void *kernels[2]; /* pn_kernels of f32 and f64 */
} pn_isa;
extern const union pn_zeros { /* what a sum without a bias begins with */
    float of_f32[PN_PANEL];
    double of_f64[PN_PANEL];
} pn_zeros;
const pn_isa *pn_isa_find(const char *name); /* NULL: not built or not usable */
int pn_dtype_built(pn_dtype dtype);

/* ---- threads (pool.c) -------------------------------------------------------------------------- */

/* Calls work(argument, i, n) for i in 0..n-1, n = threads * each, task 0 in the calling thread.  Falls back to doing
 * all of it in the calling thread when the pool is busy or cannot be made, or for one thread. */
typedef void pn_work(void *argument, int i, int n);
void pn_parallel(pn_work *work, void *argument, int threads, int each);
int pn_available_cpus(void); /* cpus.c */
int pn_process(void);        /* a number that changes in a forked child */

/* ---- threads for the next batch (pace.c) ---------------------------------------------------------- */

typedef struct pn_pace {
    int most, best; /* threads that may be used; that were fastest */
    int threads;    /* of the batches under way: the best, or those of a trial */
    int wider;      /* the next trial is with more */
    int first;      /* no batch was done yet */
    int64_t batches;
    double seconds;         /* of the batches under way, all together */
    double best_time, hold; /* seconds: a batch with the best; until the next trial */
} pn_pace;
int pn_pace_threads(pn_pace *p, int most);
void pn_pace_took(pn_pace *p, double seconds, int64_t batches); /* with these threads */

/* ---- mapped data (ahead.c) ---------------------------------------------------------------------- */

void pn_ahead(const pn_array *a, const int64_t *order, int64_t row0, int64_t rows);

/* ---- the machine (machine.c) -------------------------------------------------------------------- */

/* What a step of a plan has beside gradients and their update. */
enum { PN_PENALTIES = 1, PN_MASKS = 2, PN_MAX_NORMS = 4, PN_BATCH_NORMS = 8 };

struct pn_machine {
    pn_plan plan; /* its tables are copies inside `block` */
    pn_dtype dtype;
    const void *kernels;
    const char *isa;
    int asked_threads; /* 0: as many as the process may use now */
    int n_threads;     /* at most */
    pn_pace pace[2];   /* of predictions; of training */
    int training;
    unsigned extras;  /* PN_PENALTIES ... */
    int rows_apart;   /* no op looks at more than one row at a time, but for sums */
    int64_t capacity; /* rows */
    int64_t rows;     /* rows of the batch now in `values` */
    pn_arenas arenas;
    void *values, *dvalues, *transposed, *scratch, *targets, *weights;
    void *columns[3]; /* of SPARSE ops: their x; dy and dx (training) */
    void *row_loss;   /* [B] for each loss */
    int32_t *labels;
    double *partial;                   /* sums of squares, one per block of the gradient arena */
    double *batch_sums;                /* [n_sums] */
    uint64_t *wt_offset;               /* [n_params] into transposed; UINT64_MAX: not kept */
    uint64_t *op_offset;               /* [n_ops] into scratch, of ops that use it */
    const pn_op **late;                /* [n_params] the op whose gradient of it the update may make, or NULL */
    uint64_t *target_column;           /* [n_targets] column (x rows) into targets */
    uint32_t *target_width;            /* [n_targets]; 0: class labels, PN_NONE: not read */
    double weight_sum, weight_squares; /* of the rows of this batch */
    pn_call *call;                     /* of PYTHON ops */
    void *context;
    int running; /* 0, or pn_process() of the process where a thread uses the machine: no fork copies that thread */
    void *block; /* the one allocation, NULL in memory of the caller's */
};

/* run.c, once per dtype */
pn_status pn_run_f32(pn_machine *m, const pn_job *job, int64_t first, int64_t count, double seconds, int64_t *done);
pn_status pn_run_f64(pn_machine *m, const pn_job *job, int64_t first, int64_t count, double seconds, int64_t *done);
#ifdef PN_ONLY_f32
#define pn_run_f64 pn_run_f32 /* of a machine that is never made */
#endif
enum {
    PN_PREDICTING = PN_FORWARD | PN_OUTPUT,
    PN_TRAINING = PN_PREDICTING | PN_LOSS | PN_METRIC | PN_BACKWARD | PN_UPDATE | PN_BARE,
    PN_STAGES =
        PN_TRAINS(PN_DTYPE) ? PN_TRAINING : PN_PREDICTING /* of this dtype, so that code for others is left out */
};
double pn_now(void); /* seconds, monotonic */

/* What a loop does that waits for another thread. */
#if defined(__x86_64__) || defined(__i386__)
#define PN_PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PN_PAUSE() __asm__ volatile("yield")
#else
#define PN_PAUSE() ((void)0)
#endif

/* ---- processes that wait for each other (meeting.c) ------------------------------------------------------------- */

typedef struct pn_seat {           /* of one of them, in memory that they share */
    _Alignas(64) int64_t meetings; /* how often it has come */
} pn_seat;
void pn_arrive(pn_seat *own);
/* Whether all n have come as often as the one at `own`; waits that long for them.  What they wrote before can be read
 * then. */
int pn_all_here(const pn_seat *seats, int n, int own, double seconds);

#endif
