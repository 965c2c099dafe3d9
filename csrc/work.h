/* work.h: one run of a machine, what its ops ask it for, and how they divide their work among threads.
 * Part of run.c, once per dtype.
 *
 * Every op is one parallel region (or a few) whose tasks own disjoint outputs: the number of threads cannot show in a
 * result (but in the sign of a zero: kernels/zeros.h).  Work under the gate stays in the calling thread. */
#ifndef PN_WORK_H
#define PN_WORK_H
#include "core.h"

#include <math.h>
#include <string.h>

typedef PN_SUFFIX(pn_kernels) kernels;

typedef struct run {
    pn_machine *m;
    const pn_job *job;
    const kernels *k;
    int threads;
    int64_t B;              /* rows of this batch, or of this part of it */
    int64_t row0;           /* the first of them, counted in the order */
    int64_t whole0, whole1; /* the rows of the whole batch */
    int first_part;         /* the one with the penalties */
    const pn_op *op;
    int64_t step;         /* updates done before this batch */
    double rate, bias[2]; /* of its update; 1 - beta^t of Adam */
    int64_t begin, end;   /* range of the arena for update tasks */
    int by_rows;
    const pn_op *gone_on; /* the layer below, where the gradient has gone on to it: op_dense.h */
    pn_status status;     /* of the ops that can fail */
    /* A task that walks through all ops (walk.h) has a run of its own, which says what of each op is its own: */
    int64_t m0, m1;    /* these rows; otherwise all of the batch */
    int piece, pieces; /* this piece of what is divided; 0 pieces: divide() makes tasks */
    unsigned part;     /* of the way down: */
    int zeros;         /* most of this op's x is 0: few_numbers */
} run;
enum { ROWS = 1, SUMS = 2, TRANSPOSES = 4 }; /* gradients of values; of parameters; what the first need of weights */

static real *value(const run *r, uint32_t v) {
    return (real *)r->m->values + (size_t)r->m->plan.values[v].column * (size_t)r->B;
}
static real *dvalue(const run *r, uint32_t v) {
    return (real *)r->m->dvalues + (size_t)r->m->plan.values[v].column * (size_t)r->B;
}
static int64_t ld(const run *r, uint32_t v) { return r->m->plan.values[v].ld; }
static int64_t width(const run *r, uint32_t v) { return r->m->plan.values[v].width; }
static int64_t panels(const run *r, uint32_t v) { return pn_panels(r->m->plan.values[v].width); }
static real *param(const run *r, void *arena, uint32_t p) {
    return p == PN_NONE ? NULL : (real *)arena + r->m->plan.params[p].offset;
}
static real *weight(const run *r, uint32_t p) { return param(r, r->m->arenas.params, p); }
static real *gradient(const run *r, uint32_t p) { return param(r, r->m->arenas.grads, p); }
static real *transposed(const run *r, uint32_t p) { return (real *)r->m->transposed + r->m->wt_offset[p]; }
static int trainable(const run *r, uint32_t p) { return p != PN_NONE && r->m->plan.params[p].flags & PN_TRAINABLE; }

/* ---- dividing work ------------------------------------------------------------------------------------ */

/* One more thread for every ~8 us of multiply-adds (fork-join costs about 1 us, and a cold pool some 30), and up to
 * four tasks for each, of at least as much: what a late thread has not begun by then, others do. */
enum { GATE = 1 << 19, TASKS = 4 };

static int64_t threads_for(const run *r, int64_t multiply_adds, int64_t units) {
    int64_t n = 1 + multiply_adds / GATE;
    if (n > r->threads) n = r->threads;
    return n > units ? units : n;
}

static void divide(run *r, pn_work *work, int64_t multiply_adds, int64_t units) {
    if (r->pieces) {
        work(r, r->piece, r->pieces);
        return;
    }
    const int64_t n = threads_for(r, multiply_adds, units);
    if (n <= 1) {
        work(r, 0, 1);
        return;
    }
    int64_t each = multiply_adds / (n * GATE);
    if (each > units / (2 * n)) each = units / (2 * n); /* panels go in pairs */
    if (r->zeros) each = 1;                             /* a task that owns panels makes lists of all x */
    pn_parallel(work, r, (int)n, (int)(each < 1 ? 1 : each > TASKS ? TASKS : each));
}
static void share(int64_t total, int i, int n, int64_t *from, int64_t *to) {
    *from = n == 1 ? 0 : total * i / n; /* a division takes 10 to 20 cycles, of small nets all together 3 % */
    *to = n == 1 ? total : total * (i + 1) / n;
}
static void share_rows(const run *r, int i, int n, int64_t *m0, int64_t *m1) {
    share(r->m1 - r->m0, i, n, m0, m1);
    *m0 += r->m0, *m1 += r->m0;
}
/* Panels [0,n_panels) where a task gets some (its weights stay in its cache), else rows, of which m says the range. */
static void cut(const run *r, int64_t n_panels, int i, int n, int64_t m[2], int64_t p[2]) {
    const int64_t from = m[0], rows = m[1] - m[0];
    p[0] = 0, p[1] = n_panels;
    if (r->by_rows) {
        share(rows, i, n, &m[0], &m[1]);
        m[0] += from, m[1] += from;
    } else {
        share(n_panels, i, n, &p[0], &p[1]);
    }
}
static int prefer_rows(const run *r, int64_t rows, int64_t n_panels) {
    const int n = r->pieces ? r->pieces : r->threads;
    return n_panels < 2 * n && rows >= 2 * n;
}

/* dx (+)= dy, whole padded rows (padding is 0) */
static void pass_down(const run *r, uint32_t x, const real *dy, int64_t lddy, int64_t n, int add) {
    r->k->copy(dy, lddy, dvalue(r, x), ld(r, x), r->m0, r->m1, n, (int64_t)pn_pad((uint64_t)n), add);
}

/* ---- shared by ops ---------------------------------------------------------------------------------------- */

static pn_position position(const run *r) { /* of the random numbers of this op and step */
    return (pn_position){r->job->seed, r->op->slot, (uint32_t)r->step, r->row0};
}

/* The norm whose gamma, beta, mean and variance begin at param w2. */
static pn_norm norm_of(const run *r, double epsilon) {
    const uint32_t p = r->op->w2;
    return (pn_norm){weight(r, p), weight(r, p + 1), weight(r, p + 2), weight(r, p + 3), epsilon};
}

static real *op_scratch(const run *r) { return (real *)r->m->scratch + r->m->op_offset[r->op - r->m->plan.ops]; }
#endif
