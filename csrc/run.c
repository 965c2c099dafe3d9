/* run.c: the C machine walks the plan: up (forward), at the heads (score.h), down (backward), then the update.
 * Compiled once per dtype.  Its twin is src/pynet/reference.py.
 *
 * Every op is one parallel region whose tasks own disjoint outputs: the number of threads cannot show in a result.
 * Work under the gate stays in the calling thread. */
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
    int64_t step;
    double rate;
    int64_t begin, end; /* range of the arena for update tasks */
    int by_rows;
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
static int trainable(const run *r, uint32_t p) { return p != PN_NONE && r->m->plan.params[p].flags & PN_TRAINABLE; }

/* ---- dividing work ------------------------------------------------------------------------------------ */

/* One more thread for every ~8 us of multiply-adds (fork-join costs about 1 us, and a cold pool some 30). */
enum { GATE = 1 << 19 };

static void divide(run *r, pn_work *work, int64_t multiply_adds, int64_t units) {
    int64_t n = 1 + multiply_adds / GATE;
    if (n > r->m->n_threads) n = r->m->n_threads;
    if (n > units) n = units;
    if (n <= 1)
        work(r, 0, 1);
    else
        pn_parallel(work, r, (int)n);
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

/* ---- up ------------------------------------------------------------------------------------------------- */

static void input_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    pn_array array = r->job->inputs[op->slot];
    array.width = (uint32_t)width(r, op->y);
    int64_t m0, m1;
    share(r->B, i, n, &m0, &m1);
    r->k->gather(&array, r->job->order, r->row0, param(r, r->m->arenas.params, op->w),
                 param(r, r->m->arenas.params, op->b), value(r, op->y), ld(r, op->y), m0, m1);
}

static void dense_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    int64_t m[2], p[2];
    cut(r, r->B, panels(r, op->y), i, n, m, p);
    real *z = op->z == PN_NONE ? NULL : value(r, op->z);
    r->k->dense_forward(value(r, op->x), ld(r, op->x), param(r, r->m->arenas.params, op->w),
                        param(r, r->m->arenas.params, op->b), value(r, op->y), ld(r, op->y), z, z ? ld(r, op->z) : 0,
                        m[0], m[1], width(r, op->x), p[0], p[1], op->act, op->p);
}

static void activation_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    int64_t m0, m1;
    share(r->B, i, n, &m0, &m1);
    if (op->act == PN_ACT_softmax) /* of a dense op: in place */
        r->k->softmax_forward(value(r, op->kind == PN_OP_dense ? op->y : op->x),
                              ld(r, op->kind == PN_OP_dense ? op->y : op->x), value(r, op->y), ld(r, op->y), m0, m1,
                              width(r, op->y));
    else
        r->k->act_forward(op->act, op->p, value(r, op->x), ld(r, op->x), value(r, op->y), ld(r, op->y), m0, m1, 0,
                          panels(r, op->y));
}

static void forward(run *r) {
    const pn_plan *plan = &r->m->plan;
    for (uint32_t i = 0; i < plan->n_ops; i++) {
        const pn_op *op = r->op = &plan->ops[i];
        switch (op->kind) {
        case PN_OP_input: divide(r, input_task, r->B * width(r, op->y) * 4, r->B); break;
        case PN_OP_dense:
            r->by_rows = prefer_rows(r, r->B, panels(r, op->y));
            divide(r, dense_task, r->B * width(r, op->x) * width(r, op->y), r->by_rows ? r->B : panels(r, op->y));
            if (op->act == PN_ACT_softmax) divide(r, activation_task, r->B * width(r, op->y) * 16, r->B);
            break;
        case PN_OP_activation: divide(r, activation_task, r->B * width(r, op->y) * 16, r->B); break;
        case PN_OP_add:
            r->k->add(value(r, op->x), ld(r, op->x), value(r, op->x2), ld(r, op->x2), value(r, op->y), ld(r, op->y), 0,
                      r->B, 0, panels(r, op->y));
            break;
        case PN_OP_concat: {
            const int64_t w = width(r, op->x), end = op->at + w; /* the last piece clears the padding */
            const int64_t pad = end == width(r, op->y) ? (int64_t)pn_pad((uint64_t)end) - op->at : w;
            r->k->copy(value(r, op->x), ld(r, op->x), value(r, op->y) + op->at, ld(r, op->y), 0, r->B, w, pad, 0);
            break;
        }
        default: break;
        }
    }
}

/* ---- down ----------------------------------------------------------------------------------------------- */

static void act_back_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const int dense = op->kind == PN_OP_dense; /* in place on dy, which becomes dz */
    const uint32_t to = dense ? op->y : op->x;
    const int add = !dense && op->flags & PN_ADD_X;
    int64_t m0, m1;
    share(r->B, i, n, &m0, &m1);
    if (op->act == PN_ACT_softmax) {
        r->k->softmax_backward(value(r, op->y), ld(r, op->y), dvalue(r, op->y), ld(r, op->y), dvalue(r, to), ld(r, to),
                               m0, m1, width(r, op->y), add);
        return;
    }
    const uint32_t v = !pn_activation_needs_x(op->act) ? op->y : dense ? op->z : op->x;
    r->k->act_backward(op->act, op->p, value(r, v), ld(r, v), dvalue(r, op->y), ld(r, op->y), dvalue(r, to), ld(r, to),
                       m0, m1, 0, panels(r, op->y), add);
}

static void dw_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    int64_t in[2], p[2];
    cut(r, width(r, op->x), panels(r, op->y), i, n, in, p);
    r->k->dense_dw(value(r, op->x), ld(r, op->x), dvalue(r, op->y), ld(r, op->y), param(r, r->m->arenas.grads, op->w),
                   width(r, op->x), in[0], in[1], r->B, p[0], p[1], op->flags & PN_ADD_W);
}

static void transpose_task(void *argument, int i, int n) {
    const run *r = argument;
    int64_t p0, p1;
    share(panels(r, r->op->x), i, n, &p0, &p1);
    r->k->transpose(param(r, r->m->arenas.params, r->op->w), (real *)r->m->transposed + r->m->wt_offset[r->op->w],
                    width(r, r->op->x), width(r, r->op->y), p0, p1);
}

static void dx_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    int64_t m[2], p[2];
    cut(r, r->B, panels(r, op->x), i, n, m, p);
    r->k->dense_dx(dvalue(r, op->y), ld(r, op->y), (real *)r->m->transposed + r->m->wt_offset[op->w], dvalue(r, op->x),
                   ld(r, op->x), m[0], m[1], width(r, op->y), p[0], p[1], op->flags & PN_ADD_X);
}

static void dense_backward(run *r, const pn_op *op) {
    const int64_t I = width(r, op->x), O = width(r, op->y), P = panels(r, op->y);
    if (op->act != PN_ACT_identity) divide(r, act_back_task, r->B * O * 8, r->B);
    if (trainable(r, op->b))
        r->k->column_sums(dvalue(r, op->y), ld(r, op->y), param(r, r->m->arenas.grads, op->b), r->B, 0, P,
                          op->flags & PN_ADD_W);
    if (trainable(r, op->w)) {
        r->by_rows = prefer_rows(r, I, P);
        divide(r, dw_task, r->B * I * O, r->by_rows ? I : P);
    }
    if (op->flags & PN_STOP_X) return;
    divide(r, transpose_task, I * O * 2, panels(r, op->x));
    r->by_rows = prefer_rows(r, r->B, panels(r, op->x));
    divide(r, dx_task, r->B * I * O, r->by_rows ? r->B : panels(r, op->x));
}

/* dx (+)= dy, whole padded rows (padding is 0) */
static void pass_down(const run *r, uint32_t x, const real *dy, int64_t lddy, int64_t n, int add) {
    r->k->copy(dy, lddy, dvalue(r, x), ld(r, x), 0, r->B, n, (int64_t)pn_pad((uint64_t)n), add);
}

static void backward(run *r) {
    const pn_plan *plan = &r->m->plan;
    for (uint32_t i = plan->n_ops; i-- > 0;) {
        const pn_op *op = r->op = &plan->ops[i];
        if (op->flags & PN_NO_BACKWARD) continue;
        switch (op->kind) {
        case PN_OP_dense: dense_backward(r, op); break;
        case PN_OP_activation:
            if (!(op->flags & PN_STOP_X)) divide(r, act_back_task, r->B * width(r, op->y) * 8, r->B);
            break;
        case PN_OP_add:
            if (!(op->flags & PN_STOP_X))
                pass_down(r, op->x, dvalue(r, op->y), ld(r, op->y), width(r, op->y), op->flags & PN_ADD_X);
            if (!(op->flags & PN_STOP_X2))
                pass_down(r, op->x2, dvalue(r, op->y), ld(r, op->y), width(r, op->y), op->flags & PN_ADD_X2);
            break;
        case PN_OP_concat:
            if (!(op->flags & PN_STOP_X))
                pass_down(r, op->x, dvalue(r, op->y) + op->at, ld(r, op->y), width(r, op->x), op->flags & PN_ADD_X);
            break;
        default: break;
        }
    }
    for (uint32_t p = 0; p < plan->n_params; p++) {
        const pn_param *q = &plan->params[p];
        if (q->flags & PN_TRAINABLE && (q->l1 > 0 || q->l2 > 0))
            r->k->penalty(q->l1, q->l2, param(r, r->m->arenas.params, p), param(r, r->m->arenas.grads, p),
                          (int64_t)pn_param_size(q));
    }
}

/* ---- clipping and update: flat loops over the arena ------------------------------------------------------- */

static void squares_task(void *argument, int i, int n) {
    const run *r = argument;
    const int64_t total = (int64_t)r->m->plan.param_elems;
    int64_t b0, b1;
    share((total + PN_BLOCK - 1) / PN_BLOCK, i, n, &b0, &b1);
    for (int64_t b = b0; b < b1; b++) {
        const int64_t left = total - b * PN_BLOCK;
        r->m->partial[b] = 0;
        r->k->sum_squares((real *)r->m->arenas.grads + b * PN_BLOCK, left < PN_BLOCK ? left : PN_BLOCK,
                          &r->m->partial[b]);
    }
}

/* 0: the gradient's norm is not finite */
static int clip(run *r, const pn_clip *c) {
    real *g = r->m->arenas.grads;
    const int64_t n = (int64_t)r->m->plan.param_elems, blocks = (n + PN_BLOCK - 1) / PN_BLOCK;
    if (c->kind == PN_CLIP_value) r->k->clip_value(g, c->c, n);
    if (c->kind == PN_CLIP_sign) r->k->clip_sign(g, n);
    if (c->kind == PN_CLIP_norm) {
        double sum = 0;
        divide(r, squares_task, n * 4, blocks);
        for (int64_t b = 0; b < blocks; b++) sum += r->m->partial[b];
        const double norm = sqrt(sum);
        if (!isfinite(norm)) return 0;
        if (norm > c->c) r->k->scale(g, c->c / norm, n);
    }
    return 1;
}

static void update_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_arenas *a = &r->m->arenas;
    int64_t from, to;
    share((r->end - r->begin) / PN_PANEL, i, n, &from, &to);
    from = r->begin + from * PN_PANEL, to = r->begin + to * PN_PANEL;
    real *s0 = a->slots[0] ? (real *)a->slots[0] + from : NULL, *s1 = a->slots[1] ? (real *)a->slots[1] + from : NULL;
    r->k->update(r->job->optimizer, r->job->hyper, r->rate, (double)r->step, (real *)a->params + from,
                 (real *)a->grads + from, s0, s1, to - from);
}

/* 0: nothing was changed, because the gradient is not finite */
static int update(run *r) {
    const pn_plan *plan = &r->m->plan;
    for (int64_t i = 0; i < r->job->n_clips; i++)
        if (!clip(r, &r->job->clips[i])) return 0;
    for (uint32_t p = 0; p < plan->n_params;) { /* neighbours that train are one range */
        if (!(plan->params[p].flags & PN_TRAINABLE)) {
            p++;
            continue;
        }
        r->begin = (int64_t)plan->params[p].offset;
        do r->end = (int64_t)(plan->params[p].offset + pn_param_size(&plan->params[p])), p++;
        while (p < plan->n_params && plan->params[p].flags & PN_TRAINABLE && (int64_t)plan->params[p].offset == r->end);
        divide(r, update_task, (r->end - r->begin) * 16, (r->end - r->begin) / PN_PANEL);
    }
    return 1;
}

#include "score.h"

/* ---- batches ------------------------------------------------------------------------------------------------ */

static void output(const run *r) {
    const pn_plan *plan = &r->m->plan;
    for (uint32_t i = 0; i < plan->n_outputs; i++) {
        const pn_array *a = &r->job->outputs[i];
        const int64_t n = width(r, plan->outputs[i]);
        const real *from = value(r, plan->outputs[i]);
        for (int64_t m = 0; m < r->B; m++)
            memcpy((char *)a->base + (r->row0 + m) * a->row_stride, from + m * ld(r, plan->outputs[i]),
                   (size_t)n * sizeof(real));
    }
}

pn_status PN_SUFFIX(pn_run)(pn_machine *m, const pn_job *job, int64_t first, int64_t count, double seconds,
                            int64_t *done) {
    run r = {.m = m, .job = job, .k = m->kernels};
    const double start = count > 1 ? pn_now() : 0;
    for (int64_t b = 0; b < count; b++) {
        if (first + b > (job->rows - 1) / job->batch) return PN_BAD_ARGUMENT; /* before the product can overflow */
        r.row0 = (first + b) * job->batch;
        r.B = job->rows - r.row0 < job->batch ? job->rows - r.row0 : job->batch;
        if (job->stages & PN_FORWARD) {
            m->rows = r.B;
            if (job->stages & (PN_LOSS | PN_METRIC)) {
                const pn_status status = load_targets(&r);
                if (status != PN_OK) return status;
            }
            forward(&r);
        } else if (m->rows != r.B) {
            return PN_BAD_ARGUMENT; /* there is no such batch in memory */
        }
        if (job->stages & (PN_LOSS | PN_METRIC)) {
            if (!score(&r)) return PN_NOT_FINITE;
        }
        if (job->stages & PN_OUTPUT) output(&r);
        if (job->stages & PN_BACKWARD) backward(&r);
        if (job->stages & PN_UPDATE) {
            r.step = job->step + b + 1;
            r.rate = job->rate[b];
            if (!update(&r)) return PN_NOT_FINITE;
        }
        if (job->stages & (PN_LOSS | PN_METRIC))
            for (uint32_t i = 0; i < m->plan.n_sums; i++) job->sums[i] += m->batch_sums[i];
        *done = b + 1;
        if (count > 1 && pn_now() - start >= seconds) break;
    }
    return PN_OK;
}
