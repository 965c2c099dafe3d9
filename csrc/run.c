/* run.c: the C machine walks the plan: up (forward), at the heads (score.h), down (backward), then the update.
 * Compiled once per dtype.  Its twin is src/pynet/reference.py.  The ops stand in op_*.h, NAME_forward above
 * NAME_backward. */
#include "work.h"

#include "op_basic.h"

#include "op_dense.h"
#include "op_lstm.h"
#include "op_norm.h"
#include "op_random.h"
#include "op_sparse.h"
#include "score.h"
#include "walk.h"

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
    const real *g[PN_MOST_TERMS] = {(real *)a->grads + from};
    for (int64_t k = 0; k < r->job->n_terms; k++) g[k] = (const real *)r->job->terms[k] + from;
    r->k->update(r->job->optimizer, r->job->hyper, r->rate, r->bias, (real *)a->params + from, g,
                 r->job->n_terms ? (int)r->job->n_terms : 1, s0, s1, to - from);
}

/* 1 - beta^t.  ln beta <= beta - 1, so beyond t (1 - beta) = 38 the power is less than half of the last place of 1: two
 * powers take 50 ns, 4 % of a step of 4-32-32-1 @1.  (Taken before the way up, for nothing to wait for them: 1.00.) */
static double one_less_power(double beta, double t) { return t * (1 - beta) > 38 ? 1 : 1 - pow(beta, t); }

/* w[:,o] *= min(1, c / |w[:,o]|), as the kernel of that name does it with panels along the outputs */
static void turned_max_norm(const run *r, const pn_param *q, real *wt) {
    const int64_t step = PN_PANEL * (int64_t)q->cols, P = pn_panels(q->rows);
    for (real *column = wt; column < wt + step; column += PN_PANEL) {
        double sum = 0;
        for (int64_t p = 0; p < P; p++) r->k->sum_squares(column + p * step, PN_PANEL, &sum);
        const double factor = q->max_norm / sqrt(sum);
        for (int64_t p = 0; factor < 1 && p < P; p++) r->k->scale(column + p * step, factor, PN_PANEL);
    }
}

static void bound_norms(const run *r) {
    const pn_plan *plan = &r->m->plan;
    for (uint32_t p = 0; p < plan->n_params; p++) {
        const pn_param *q = &plan->params[p];
        if (!(q->flags & PN_TRAINABLE && q->max_norm > 0)) continue;
        if (PN_TURNS(PN_DTYPE) && q->flags & PN_TURNED)
            turned_max_norm(r, q, weight(r, p));
        else
            r->k->max_norm(q->max_norm, weight(r, p), q->rows, 0, pn_panels(q->cols));
    }
}

/* 0: nothing was changed, because the gradient is not finite */
static int update(run *r) {
    const pn_plan *plan = &r->m->plan;
    for (int64_t i = 0; i < r->job->n_clips; i++)
        if (!clip(r, &r->job->clips[i])) return 0;
    const double rate = r->rate;
    const int id = r->job->optimizer, adam = id == PN_OPTIMIZER_adam || id == PN_OPTIMIZER_adamw;
    for (int k = 0; k < 2; k++) r->bias[k] = adam ? one_less_power(r->job->hyper[k], (double)(r->step + 1)) : 1;
    for (uint32_t p = 0; p < plan->n_params;) { /* neighbours that train at one rate are one range */
        const pn_param *first = &plan->params[p], *q = first;
        if (!(q->flags & PN_TRAINABLE) || q->rate == 0) { /* no step at all: Rprop would find one of its own */
            p++;
            continue;
        }
        r->rate = rate * q->rate;
        if (goes_late(r, p)) {
            late_update(r, p++);
            continue;
        }
        r->begin = r->end = (int64_t)q->offset;
        do r->end += (int64_t)pn_param_size(q), q = &plan->params[++p];
        while (p < plan->n_params && q->flags & PN_TRAINABLE && q->rate == first->rate &&
               (int64_t)q->offset == r->end && !goes_late(r, p));
        divide(r, update_task, (r->end - r->begin) * 16, (r->end - r->begin) / PN_PANEL);
    }
    if (r->m->extras & PN_MAX_NORMS) bound_norms(r);
    if (r->m->extras & PN_BATCH_NORMS)
        for (uint32_t i = 0; i < plan->n_ops; i++)
            if (plan->ops[i].kind == PN_OP_batch_norm) batch_norm_track(r, &plan->ops[i]);
    return 1;
}

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

/* Rows [*from, *to) of a batch of B rows: those of parts part0 .. part1-1. */
static void rows_of_parts(const pn_job *job, int64_t B, int64_t part0, int64_t part1, int64_t *from, int64_t *to) {
    *from = job->parts ? B * part0 / job->parts : 0;
    *to = job->parts ? B * part1 / job->parts : B;
}

static void look_ahead(const run *r, int64_t *asked) {
    const pn_job *job = r->job;
    if (*asked < r->whole0) *asked = r->whole0;
    while (*asked < job->rows && *asked < r->whole1 + job->ahead) {
        const int64_t left = job->rows - *asked, n = left < job->batch ? left : job->batch;
        int64_t from, to;
        rows_of_parts(job, n, job->part0, job->part1, &from, &to);
        for (uint32_t i = 0; i < r->m->plan.n_inputs; i++)
            pn_ahead(&job->inputs[i], job->order, *asked + from, to - from);
        *asked += n;
    }
}

/* All stages but the update, of the rows of r. */
static pn_status stages_of(run *r) {
    pn_machine *m = r->m;
    const uint32_t stages = r->job->stages & PN_STAGES;
    if (stages & PN_FORWARD) {
        m->rows = r->B;
        load_weights(r);
        if (stages & (PN_LOSS | PN_METRIC)) {
            const pn_status status = load_targets(r);
            if (status != PN_OK) return status;
        }
        if (r->B) walk_up(r);
        if (r->status != PN_OK) return r->status;
    } else if (m->rows != r->B) {
        return PN_BAD_ARGUMENT; /* there is no such batch in memory */
    } else if (stages & PN_LOSS) {
        row_losses(r);
    }
    if (stages & (PN_LOSS | PN_METRIC)) {
        if (!score(r)) return PN_NOT_FINITE;
    }
    if (stages & PN_OUTPUT) output(r);
    if (stages & PN_BACKWARD) {
        if (r->B)
            walk_down(r);
        else
            nothing_down(r);
    }
    return r->status;
}

static void add_sums(const run *r, int64_t part) {
    const uint32_t n = r->m->plan.n_sums;
    if (r->job->stages & PN_STAGES & (PN_LOSS | PN_METRIC))
        for (uint32_t i = 0; i < n; i++) r->job->sums[part * n + i] += r->m->batch_sums[i];
}

/* The parts of one batch, and what the others make of theirs; *waited: the time that took. */
static pn_status parts_of(run *r, int *last, double *waited) {
    const pn_job *job = r->job;
    const int reduces = (job->stages & PN_STAGES & PN_UPDATE) != 0;
    pn_status status = PN_OK;
    for (int64_t part = job->part0; part < job->part1; part++) {
        int64_t from, to;
        rows_of_parts(job, r->whole1 - r->whole0, part, part + 1, &from, &to);
        r->row0 = r->whole0 + from;
        r->B = r->m1 = to - from;
        r->first_part = part == 0;
        if (status == PN_OK) status = stages_of(r);
        if (status == PN_OK) add_sums(r, part - job->part0);
        if (reduces) {
            const double before = pn_now();
            status = job->reduce(job->context, part, status, last);
            *waited += pn_now() - before;
        } else if (status != PN_OK) {
            break;
        }
    }
    return status;
}

/* Whether all are through with the terms, which the next step overwrites. */
static int terms_are_free(const pn_job *job, double *waited) {
    const double before = pn_now();
    const pn_status status = job->updated(job->context);
    *waited += pn_now() - before;
    return status == PN_OK;
}

/* Batches until the next look at the clock, which takes 20 to 30 ns: 4 % of a step of 4-32-32-1 @1. */
static int64_t next_look(double seconds) { /* of a batch */
    const double after = 10e-6;
    return seconds * 16 < after ? 16 : seconds < after ? (int64_t)(after / seconds) : 1;
}

pn_status PN_SUFFIX(pn_run)(pn_machine *m, const pn_job *job, int64_t first, int64_t count, double seconds,
                            int64_t *done) {
    const uint32_t stages = job->stages & PN_STAGES;
    run r = {.m = m, .job = job, .k = m->kernels};
    pn_pace *pace = &m->pace[(stages & PN_BACKWARD) != 0];
    const int timed = count > 1 || job->batch > 1; /* a row by itself takes less time than to look at the clock */
    const int together = job->parts && stages & PN_UPDATE; /* others have to stop after the same batch */
    const double start = timed ? pn_now() : 0;
    double now = start, waited = 0;
    int64_t asked = 0;           /* rows of mapped inputs up to here */
    int64_t since = 0, look = 1; /* batches since the last look at the clock; then the next */
    for (int64_t b = 0; b < count; b++) {
        if (first + b > (job->rows - 1) / job->batch) return PN_BAD_ARGUMENT; /* before the product can overflow */
        r.whole0 = r.row0 = (first + b) * job->batch;
        r.step = job->step + (stages & PN_UPDATE ? b : 0); /* a prediction draws once, however it is cut */
        r.B = r.m1 = job->rows - r.row0 < job->batch ? job->rows - r.row0 : job->batch;
        r.whole1 = r.whole0 + r.B;
        r.first_part = 1;
        if (job->ahead && job->order && stages & PN_FORWARD) look_ahead(&r, &asked);
        r.threads = pn_pace_threads(pace, m->n_threads);
        int last = 0;
        const pn_status status = job->parts ? parts_of(&r, &last, &waited) : stages_of(&r);
        if (status != PN_OK) return status;
        if (stages & PN_UPDATE) {
            r.rate = job->rate[b];
            if (!update(&r)) return PN_NOT_FINITE;
            if (job->n_terms && !terms_are_free(job, &waited)) return PN_CALL_FAILED;
        }
        if (!job->parts) add_sums(&r, 0);
        *done = b + 1;
        if (!timed) break;
        if (++since < look && !together) continue;
        const double before = now + waited, took = (now = pn_now()) - before;
        if (r.whole1 - r.whole0 == job->batch) pn_pace_took(pace, took, since);
        if (together ? last : now - start >= seconds) break;
        look = next_look(took / (double)since);
        since = 0, waited = 0;
    }
    return PN_OK;
}
