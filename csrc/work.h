/* work.h: one run of a machine, what its ops ask it for, and how they divide their work among threads.
 * Part of run.c, once per dtype.
 *
 * Every op is one parallel region (or a few) whose tasks own disjoint outputs: the number of threads cannot show in a
 * result.  Work under the gate stays in the calling thread. */
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
    int64_t B;    /* rows of this batch */
    int64_t row0; /* its first row, counted in the order */
    const pn_op *op;
    int64_t step; /* updates done before this batch */
    double rate;
    int64_t begin, end; /* range of the arena for update tasks */
    int by_rows;
    pn_status status; /* of the ops that can fail */
} run;

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

static void divide(run *r, pn_work *work, int64_t multiply_adds, int64_t units) {
    int64_t n = 1 + multiply_adds / GATE, each;
    if (n > r->m->n_threads) n = r->m->n_threads;
    if (n > units) n = units;
    if (n <= 1) {
        work(r, 0, 1);
        return;
    }
    each = multiply_adds / (n * GATE);
    if (each > units / (2 * n)) each = units / (2 * n); /* panels go in pairs */
    pn_parallel(work, r, (int)n, (int)(each < 1 ? 1 : each > TASKS ? TASKS : each));
}
static void share(int64_t total, int i, int n, int64_t *from, int64_t *to) {
    *from = total * i / n;
    *to = total * (i + 1) / n;
}
/* Output [rows, panels]: by panels where each task gets some (its weights stay in its cache), else by rows. */
static void cut(const run *r, int64_t rows, int64_t n_panels, int i, int n, int64_t m[2], int64_t p[2]) {
    m[0] = p[0] = 0, m[1] = rows, p[1] = n_panels;
    if (r->by_rows)
        share(rows, i, n, &m[0], &m[1]);
    else
        share(n_panels, i, n, &p[0], &p[1]);
}
static int prefer_rows(const run *r, int64_t rows, int64_t n_panels) {
    return n_panels < 2 * r->m->n_threads && rows >= 2 * r->m->n_threads;
}

/* dx (+)= dy, whole padded rows (padding is 0) */
static void pass_down(const run *r, uint32_t x, const real *dy, int64_t lddy, int64_t n, int add) {
    r->k->copy(dy, lddy, dvalue(r, x), ld(r, x), 0, r->B, n, (int64_t)pn_pad((uint64_t)n), add);
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
