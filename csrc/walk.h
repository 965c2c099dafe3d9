/* walk.h: through the ops of a plan, up and down.  Part of run.c, one per dtype.
 *
 * Op by op, each divided among the threads as suits it: that keeps large weights in the cache of the thread that owns
 * their panels.  Or, where the rows of a batch go their ways independently, by strips: one parallel region in which a
 * task takes some rows through all ops, one for the way up and one for the way down, and a third for the sums over
 * rows.  Then what a thread reads it has written itself, and a step meets three times instead of a dozen.  */
#ifndef PN_WALK_H
#define PN_WALK_H
#include "work.h"

#define loss_forward(r, op)    ((void)0) /* heads: score.h */
#define loss_backward(r, op)   ((void)0)
#define metric_forward(r, op)  ((void)0)
#define metric_backward(r, op) ((void)0)

static void forward(run *r) {
    const pn_plan *plan = &r->m->plan;
    for (uint32_t i = 0; i < plan->n_ops && r->status == PN_OK; i++) {
        const pn_op *op = r->op = &plan->ops[i];
        switch (op->kind) {
#define OP(id, NAME)                                                                                                   \
    case PN_OP_##NAME: NAME##_forward(r, op); break;
#include "ops.def"
        }
    }
}

static int has_sums(const pn_op *op) { /* apart from its gradients of rows */
    return op->kind == PN_OP_dense || op->kind == PN_OP_lstm || op->kind == PN_OP_prelu || op->kind == PN_OP_row_norm;
}

static void backward(run *r) {
    const pn_plan *plan = &r->m->plan;
    for (uint32_t i = plan->n_ops; i-- > 0 && r->status == PN_OK;) {
        const pn_op *op = r->op = &plan->ops[i];
        if (op->flags & PN_NO_BACKWARD) continue;
        if (!(r->part & ROWS) && !has_sums(op)) continue;
        switch (op->kind) {
#define OP(id, NAME)                                                                                                   \
    case PN_OP_##NAME: NAME##_backward(r, op); break;
#include "ops.def"
        }
    }
}

/* ---- strips ---------------------------------------------------------------------------------------------------- */

static void strip_up(void *argument, int i, int n) {
    run mine = *(const run *)argument;
    share(mine.B, i, n, &mine.m0, &mine.m1);
    mine.pieces = 1;
    forward(&mine);
    if (mine.job->stages & PN_STAGES & PN_LOSS) row_losses(&mine);
}

static void strip_down(void *argument, int i, int n) {
    run mine = *(const run *)argument;
    share(mine.B, i, n, &mine.m0, &mine.m1);
    mine.pieces = 1;
    mine.part = ROWS;
    backward(&mine);
}

static void sums_of_all(void *argument, int i, int n) {
    run mine = *(const run *)argument;
    mine.piece = i, mine.pieces = n;
    mine.part = SUMS;
    backward(&mine);
}

/* Strips are for nets whose activations weigh more than their weights: of these half of what a thread reads was last
 * written by another, in the update, and half of what it updates it has not summed.  Two threads, strips against op by
 * op (Zen 4): 32-32-32-4 @512 80 and 112 us, 64-64-64-10 @256 108 and 118, 300-100-10 @256 244 and 275; 784-128-10
 * @256, @512 and @1024, 256-256-256-10 @512 within 2 %; @128 333 and 323, where processors lie far from each other 650
 * and 469; @32 144 and 111.  With one thread, strips of 32 to 256 rows, so that a strip's activations stay in the
 * cache, gained nothing anywhere (64-64-64-10 @256 and @1024, 784-128-10 and 784-512-256-10 @1024: 0 to 6 % slower):
 * refused. */
enum { STRIP_ROWS = 28 }; /* two tiles of the widest kind */

static int strip_threads(const run *r) { /* 1: op by op */
    const int64_t weights = (int64_t)r->m->plan.param_elems, activations = r->B * (int64_t)r->m->plan.row_elems;
    if (!r->m->rows_apart || activations < 2 * weights) return 1;
    int64_t n = 1 + r->B * weights / GATE;
    if (n > r->B / (STRIP_ROWS / 2)) n = r->B / (STRIP_ROWS / 2);
    return n < 2 ? 1 : n < r->threads ? (int)n : r->threads;
}

static void region(run *r, pn_work *task, int threads, int64_t each) {
    pn_parallel(task, r, threads, (int)(each < 1 ? 1 : each > TASKS ? TASKS : each));
}

/* ---- the walk -------------------------------------------------------------------------------------------------- */

static void walk_up(run *r) {
    const int threads = strip_threads(r);
    if (threads > 1) {
        region(r, strip_up, threads, r->B / (threads * STRIP_ROWS));
        return;
    }
    forward(r);
    if (r->status == PN_OK && r->job->stages & PN_STAGES & PN_LOSS) row_losses(r);
}

static void mask_task(void *argument, int i, int n) {
    const run *r = argument;
    int64_t from, to;
    share((r->end - r->begin) / PN_PANEL, i, n, &from, &to);
    from += r->begin / PN_PANEL, to += r->begin / PN_PANEL;
    r->k->clear_pruned(r->m->arenas.keep + from, (real *)r->m->arenas.grads + from * PN_PANEL, (to - from) * PN_PANEL);
}

/* The gradient of the penalties, and 0 where weights are pruned. */
static void constrain(run *r) {
    const pn_plan *plan = &r->m->plan;
    if (!(r->m->extras & (PN_PENALTIES | PN_MASKS))) return;
    for (uint32_t p = 0; p < plan->n_params; p++) {
        const pn_param *q = &plan->params[p];
        if (r->first_part && !(r->job->stages & PN_BARE) && q->flags & PN_TRAINABLE && (q->l1 > 0 || q->l2 > 0))
            r->k->penalty(q->l1, q->l2, weight(r, p), gradient(r, p), (int64_t)pn_param_size(q));
        if (q->flags & PN_TRAINABLE && q->flags & PN_MASKED) {
            r->begin = (int64_t)q->offset, r->end = r->begin + (int64_t)pn_param_size(q);
            divide(r, mask_task, (r->end - r->begin) * 4, (r->end - r->begin) / PN_PANEL);
        }
    }
}

static void walk_down(run *r) {
    const pn_plan *plan = &r->m->plan;
    const int threads = strip_threads(r);
    if (threads > 1) {
        r->part = TRANSPOSES;
        backward(r);
        region(r, strip_down, threads, r->B / (threads * STRIP_ROWS));
        region(r, sums_of_all, threads, r->B * (int64_t)plan->param_elems / (threads * GATE));
    } else {
        r->part = ROWS | SUMS | TRANSPOSES;
        backward(r);
    }
    constrain(r);
}

/* A part without rows, of a batch that has fewer rows than parts. */
static void nothing_down(run *r) {
    memset(r->m->arenas.grads, 0, r->m->plan.param_elems * sizeof(real));
    constrain(r);
}
#endif
