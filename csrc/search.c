/* search.c: the loss over all rows, as a function of some elements of the arena, for lbfgs.c and lm.c. */
#include "search.h"

#include <math.h>
#include <string.h>

static int is_deterministic(const pn_op *op) {
    if (op->kind == PN_OP_random || op->kind == PN_OP_batch_norm || op->kind == PN_OP_gradient_clip) return 0;
    if (op->kind == PN_OP_dense && op->w2 == PN_NONE && op->p[2] > 0) return 0; /* it drops outputs */
    return op->kind != PN_OP_loss || op->act != PN_LOSS_external;
}

int pn_search_fits(const pn_search *s, const pn_machine *m, const pn_job *job) {
    const pn_plan *plan = &m->plan;
    if (!m->training || job->parts || job->rows < 1 || job->batch < 1 || s->n < 1 || s->n > INT32_MAX || !s->places)
        return 0;
    if (!s->numbers || !s->x || !s->gradient || !s->sums || !s->scratch) return 0;
    if (s->most_evaluations < 1 || !(s->gradient_tolerance >= 0) || !(s->loss_tolerance >= 0)) return 0;
    for (uint32_t i = 0; i < plan->n_ops; i++)
        if (!is_deterministic(&plan->ops[i])) return 0;
    uint32_t p = 0;
    for (int64_t j = 0; j < s->n; j++) {
        if (s->places[j] < 0 || (j && s->places[j] <= s->places[j - 1])) return 0;
        const uint64_t place = (uint64_t)s->places[j];
        while (p < plan->n_params && place >= plan->params[p].offset + pn_param_size(&plan->params[p])) p++;
        if (p == plan->n_params || place < plan->params[p].offset) return 0;
        if (!(plan->params[p].flags & PN_TRAINABLE) || plan->params[p].l1 > 0) return 0;
    }
    return 1;
}

void pn_search_read(const pn_search *s, const pn_machine *m, double *x) {
    if (m->dtype == PN_F64)
        for (int64_t j = 0; j < s->n; j++) x[j] = ((const double *)m->arenas.params)[s->places[j]];
    else
        for (int64_t j = 0; j < s->n; j++) x[j] = (double)((const float *)m->arenas.params)[s->places[j]];
}

void pn_search_move(const pn_search *s, const pn_machine *m, double step, const double *d) {
    for (int64_t j = 0; j < s->n; j++) {
        const double x = d ? s->x[j] + step * d[j] : s->x[j];
        if (m->dtype == PN_F64)
            ((double *)m->arenas.params)[s->places[j]] = x;
        else
            ((float *)m->arenas.params)[s->places[j]] = (float)x;
    }
}

void pn_search_add_gradient(const pn_search *s, const pn_machine *m, double factor, double *sum) {
    if (m->dtype == PN_F64)
        for (int64_t j = 0; j < s->n; j++) sum[j] += factor * ((const double *)m->arenas.grads)[s->places[j]];
    else
        for (int64_t j = 0; j < s->n; j++) sum[j] += factor * (double)((const float *)m->arenas.grads)[s->places[j]];
}

/* As trainer and history show it: penalties, and of each head the weighted mean over the rows. */
static double loss_of(const pn_plan *plan, const double *sums) {
    double total = sums[0] / sums[1];
    for (uint32_t i = 0; i < plan->n_ops; i++) {
        const pn_op *op = &plan->ops[i];
        if (op->kind == PN_OP_loss && sums[op->at + 1] > 0) total += op->p[1] * sums[op->at] / sums[op->at + 1];
    }
    return total;
}

/* The gradient of a batch is that of its own mean, penalties included: weighted by what its rows weigh, they add up to
 * that of the mean over all rows, with the penalties once. */
pn_status pn_search_evaluate(pn_search *s, pn_machine *m, const pn_job *job, double until, double *sums,
                             double *gradient, double *loss, int *complete) {
    const int64_t chunks = (job->rows - 1) / job->batch + 1;
    pn_job mine = *job;
    mine.stages = PN_FORWARD | PN_LOSS | PN_METRIC | (gradient ? PN_BACKWARD : 0);
    mine.sums = sums;
    *complete = 0;
    if (!s->chunk) {
        memset(sums, 0, m->plan.n_sums * sizeof *sums);
        if (gradient) memset(gradient, 0, (size_t)s->n * sizeof *gradient);
        s->weight = 0;
    }
    while (s->chunk < chunks) {
        int64_t one;
        const pn_status status = pn_run(m, &mine, s->chunk, 1, INFINITY, &one);
        if (status != PN_OK) s->chunk = 0; /* from the beginning, if there is another call */
        if (status == PN_NOT_FINITE) {
            *loss = INFINITY, *complete = 1;
            return PN_OK;
        }
        if (status != PN_OK) return status;
        if (gradient) pn_search_add_gradient(s, m, m->weight_sum, gradient);
        s->weight += m->weight_sum;
        if (++s->chunk < chunks && pn_now() >= until) return PN_OK;
    }
    s->chunk = 0, *complete = 1;
    *loss = loss_of(&m->plan, sums);
    for (int64_t j = 0; gradient && s->weight > 0 && j < s->n; j++) gradient[j] /= s->weight;
    return PN_OK;
}

pn_status pn_search_end_iteration(pn_search *s, pn_search_end end, int *done) {
    s->numbers[PN_SEARCH_ITERATIONS]++;
    s->numbers[PN_SEARCH_END] = end;
    s->phase = PN_REST;
    *done = 1;
    return PN_OK;
}

/* In eight chains and one tree, so that no instruction set shows. */
double pn_dot(const double *a, const double *b, int64_t n) {
    double l[8] = {0};
    int64_t j = 0;
    for (; j + 8 <= n; j += 8)
        for (int k = 0; k < 8; k++) l[k] += a[j + k] * b[j + k];
    for (int k = 0; j < n; j++, k++) l[k] += a[j] * b[j];
    return ((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7]));
}

double pn_largest(const double *a, int64_t n) {
    double most = 0;
    for (int64_t j = 0; j < n; j++) {
        if (isnan(a[j])) return a[j];
        if (fabs(a[j]) > most) most = fabs(a[j]);
    }
    return most;
}
