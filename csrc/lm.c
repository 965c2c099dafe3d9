/* lm.c: Levenberg-Marquardt (K. Levenberg 1944, D. W. Marquardt 1963), for the sum of the squared errors.
 *
 * With r the errors, row b and output o, of all heads, and c_bo = weight of row b times weight of the head, over the
 * weight of all rows and the outputs of the head, the loss is  F(x) = sum c r^2 + sum l2 x^2.  With J = dr/dx:
 *
 *   A = J'cJ + l2,   g = J'cr + l2 x  (half the gradient),   (A + damping) h = -g
 *   gain = (F(x) - F(x + h)) / (h'(damping h - g)),  the second of which is what a linear r would gain
 *
 *   gain > 0:   x += h,  damping *= max(1/3, 1 - (2 gain - 1)^3),  growth = 2
 *   otherwise:  damping *= growth,  growth *= 2
 *
 * (H. B. Nielsen, "Damping parameter in Marquardt's method", IMM-REP-1999-05, Technical University of Denmark; Madsen,
 * Nielsen, Tingleff, "Methods for non-linear least squares problems", 2004, algorithm 3.16).  A row of J is the way
 * down of one row of the data with a 1 at one output; 128 of them are added to A at a time.  Everything but the net
 * itself is in double.  Its twin is src/pynet/reference_lm.py. */
#include "search.h"

#include <math.h>
#include <string.h>

enum { BEGIN = 1, ROWS, FACTOR, TRY }; /* phases: the loss at the first point; A and g; a try's U'U = A; its loss */
enum { BLOCK = 128 };                  /* rows of J */

typedef struct parts { /* of scratch, wide = pad(n); every part begins at a line */
    double *a, *u;     /* [wide / 16][wide][16] */
    double *rows;      /* [BLOCK][wide], each times the root of its c */
    double *g, *h;     /* [wide] */
    double *sums;
} parts;
static int64_t wide_of(const pn_search *s) { return (int64_t)pn_pad((uint64_t)s->n); }
static parts parts_of(const pn_search *s) {
    const int64_t wide = wide_of(s);
    double *a = s->scratch, *u = a + wide * wide, *rows = u + wide * wide, *g = rows + BLOCK * wide;
    return (parts){a, u, rows, g, g + wide, g + 2 * wide};
}

size_t pn_lm_scratch(const pn_plan *plan, const pn_search *s) {
    if (s->n < 1 || s->n > 1 << 24) return 0;
    const uint64_t wide = pn_pad((uint64_t)s->n), elems = 2 * wide * wide + (BLOCK + 2) * wide + plan->n_sums;
    return elems > SIZE_MAX / sizeof(double) ? 0 : (size_t)elems;
}

static const pn_kernels_f64 *kernels_of(const pn_machine *m) { return pn_isa_find(m->isa)->kernels[PN_F64]; }

static int fits(const pn_search *s, const pn_machine *m, const pn_job *job) {
    if (!pn_search_fits(s, m, job) || !kernels_of(m) || s->n > 1 << 24) return 0;
    if (!(s->damping > 0) || !(s->damping_min > 0) || !(s->damping_max >= s->damping_min)) return 0;
    for (uint32_t i = 0; i < m->plan.n_ops; i++)
        if (m->plan.ops[i].kind == PN_OP_loss && m->plan.ops[i].act != PN_LOSS_mse) return 0;
    return 1;
}

static double element(const pn_machine *m, const void *array, int64_t i) {
    return m->dtype == PN_F64 ? ((const double *)array)[i] : (double)((const float *)array)[i];
}

/* The gradient of output o of a head, and of nothing else, where the way down begins. */
static void ask_for(pn_machine *m, uint32_t head, uint32_t o) {
    const size_t size = m->dtype == PN_F64 ? 8 : 4;
    for (uint32_t i = 0; i < m->plan.n_ops; i++) {
        const pn_op *op = &m->plan.ops[i];
        int64_t rows;
        uint32_t ld;
        if (op->kind != PN_OP_loss) continue;
        char *d = pn_machine_value(m, op->x, 1, &rows, &ld);
        memset(d, 0, ld * size);
        if (i == head && m->dtype == PN_F64)
            ((double *)(void *)d)[o] = 1;
        else if (i == head)
            ((float *)(void *)d)[o] = 1;
    }
}

/* Adds the rows of J of one row of the data to the block, and to A when that is full. */
static pn_status add_row(pn_search *s, pn_machine *m, const pn_job *job, int64_t b, int64_t *filled) {
    const parts p = parts_of(s);
    const int64_t n = s->n, wide = wide_of(s);
    pn_job one = *job;
    int64_t done;
    one.batch = 1, one.sums = p.sums, one.stages = PN_FORWARD | PN_LOSS;
    pn_status status = pn_run(m, &one, b, 1, INFINITY, &done);
    const double weight = m->weight_sum;
    s->weight += weight;
    one.stages = PN_BACKWARD | PN_BARE;
    for (uint32_t i = 0; status == PN_OK && weight > 0 && i < m->plan.n_ops; i++) {
        const pn_op *op = &m->plan.ops[i];
        if (op->kind != PN_OP_loss || op->p[1] == 0) continue;
        const uint32_t O = m->plan.values[op->x].width;
        const double root = sqrt(weight * op->p[1] / O); /* A and g are divided by the weight of all rows at the end */
        int64_t rows;
        uint32_t ld;
        for (uint32_t o = 0; status == PN_OK && o < O; o++) {
            const double y = element(m, pn_machine_value(m, op->x, 0, &rows, &ld), o);
            const double error = y - element(m, m->targets, (int64_t)m->target_column[op->slot] + o);
            double *row = p.rows + *filled * wide;
            ask_for(m, i, o);
            if ((status = pn_run(m, &one, b, 1, INFINITY, &done)) != PN_OK) break;
            memset(row, 0, (size_t)wide * sizeof *row);
            pn_search_add_gradient(s, m, root, row);
            const double f = root * error;
            for (int64_t j = 0; j < n; j++) p.g[j] += f * row[j];
            if (++*filled == BLOCK) {
                pn_sym_add(p.a, p.rows, n, BLOCK, kernels_of(m), m->n_threads);
                *filled = 0;
            }
        }
    }
    return status;
}

/* Goes on with A and g at the point in the arena; *complete: they are there now. */
static pn_status linearise(pn_search *s, pn_machine *m, const pn_job *job, double until, int *complete) {
    const parts p = parts_of(s);
    const int64_t n = s->n, wide = wide_of(s);
    *complete = 0;
    if (!s->row) {
        memset(p.a, 0, (size_t)(wide * wide) * sizeof *p.a);
        memset(p.g, 0, (size_t)wide * sizeof *p.g);
        s->weight = 0, s->chunk = 0; /* of the block: rows of J that are in it */
    }
    while (s->row < job->rows) {
        const pn_status status = add_row(s, m, job, s->row, &s->chunk);
        if (status != PN_OK) return status;
        if (++s->row % 16 == 0 && s->row < job->rows && pn_now() >= until) return PN_OK;
    }
    pn_sym_add(p.a, p.rows, n, s->chunk, kernels_of(m), m->n_threads);
    s->row = s->chunk = 0, *complete = 1;
    const double share = s->weight > 0 ? 1 / s->weight : 0;
    for (int64_t i = 0; i < wide * wide; i++) p.a[i] *= share;
    const pn_param *q = m->plan.params;
    double largest = 0;
    for (int64_t j = 0; j < n; j++) {
        while ((uint64_t)s->places[j] >= q->offset + pn_param_size(q)) q++;
        double *diagonal = pn_sym(p.a, wide, j, j);
        *diagonal += q->l2;
        p.g[j] = p.g[j] * share + q->l2 * s->x[j];
        s->gradient[j] = 2 * p.g[j];
        largest = fmax(largest, *diagonal);
    }
    s->numbers[PN_SEARCH_GRADIENT] = pn_largest(s->gradient, n);
    const double known = s->numbers[PN_SEARCH_DAMPING], first = s->damping * (largest > 0 ? largest : 1);
    s->step = fmin(fmax(known > 0 ? known : first, s->damping_min), s->damping_max);
    return PN_OK;
}

/* The step was no good: more damping, or the end. */
static pn_status damp(pn_search *s, const pn_machine *m, int *done) {
    pn_search_move(s, m, 0, NULL);
    s->numbers[PN_SEARCH_STEP] = s->step;
    s->step *= s->factor;
    s->factor *= 2;
    if (s->step > s->damping_max || s->tries >= s->most_evaluations)
        return pn_search_end_iteration(s, PN_END_DAMPING, done);
    s->phase = FACTOR, s->row = 0;
    return PN_OK;
}

/* What the loss at the point in the arena means. */
static pn_status look(pn_search *s, const pn_machine *m, double loss, int *done) {
    const parts p = parts_of(s);
    const double before = s->numbers[PN_SEARCH_LOSS];
    s->tries++;
    s->numbers[PN_SEARCH_EVALUATIONS]++;
    if (!(loss < before) || !(s->predicted > 0)) return damp(s, m, done);
    const double g = 2 * (before - loss) / s->predicted - 1, less = fmax(1 / 3.0, 1 - g * g * g);
    pn_search_read(s, m, s->x);
    memcpy(s->sums, p.sums, m->plan.n_sums * sizeof *s->sums);
    s->numbers[PN_SEARCH_LOSS] = loss;
    s->numbers[PN_SEARCH_STEP] = s->step;
    s->numbers[PN_SEARCH_DAMPING] = fmin(fmax(s->step * less, s->damping_min), s->damping_max);
    const int slow = before - loss <= s->loss_tolerance * before;
    return pn_search_end_iteration(s, slow ? PN_END_LOSS : PN_GOES_ON, done);
}

/* Goes on with U'U = A + damping, and then with h. */
static pn_status solve(pn_search *s, const pn_machine *m, double until, int *done) {
    const parts p = parts_of(s);
    const int64_t n = s->n, wide = wide_of(s);
    if (!s->row) pn_cholesky_begin(p.u, p.a, n, s->step);
    while (s->row < wide / PN_PANEL) {
        if (!pn_cholesky_rows(p.u, n, s->row, kernels_of(m), m->n_threads)) return damp(s, m, done);
        if (++s->row < wide / PN_PANEL && pn_now() >= until) return PN_OK;
    }
    for (int64_t j = 0; j < wide; j++) p.h[j] = -p.g[j];
    pn_cholesky_solve(p.u, n, p.h);
    s->predicted = s->step * pn_dot(p.h, p.h, n) - pn_dot(p.h, p.g, n);
    s->row = 0;
    s->phase = TRY;
    return PN_OK;
}

static pn_status first_point(pn_search *s, const pn_machine *m, double loss) {
    if (!isfinite(loss)) return PN_NOT_FINITE;
    memcpy(s->sums, parts_of(s).sums, m->plan.n_sums * sizeof *s->sums);
    s->numbers[PN_SEARCH_LOSS] = loss;
    s->numbers[PN_SEARCH_STARTED] = 1;
    s->phase = ROWS;
    return PN_OK;
}

static pn_status advance(pn_search *s, pn_machine *m, const pn_job *job, double until, int *done) {
    const parts p = parts_of(s);
    int complete;
    pn_status status;
    if (s->phase == ROWS) {
        status = linearise(s, m, job, until, &complete);
        if (status != PN_OK || !complete) return status;
        if (s->numbers[PN_SEARCH_GRADIENT] <= s->gradient_tolerance)
            return pn_search_end_iteration(s, PN_END_GRADIENT, done);
        s->phase = FACTOR, s->factor = 2;
        return PN_OK;
    }
    if (s->phase == FACTOR) return solve(s, m, until, done);
    double loss;
    if (s->phase == TRY) pn_search_move(s, m, 1, p.h);
    status = pn_search_evaluate(s, m, job, until, p.sums, NULL, &loss, &complete);
    if (status == PN_OK && complete) return s->phase == TRY ? look(s, m, loss, done) : first_point(s, m, loss);
    if (s->phase == TRY) pn_search_move(s, m, 0, NULL);
    return status;
}

pn_status pn_lm(pn_search *s, pn_machine *m, const pn_job *job, double seconds, int *done) {
    const double until = pn_now() + seconds;
    pn_status status = PN_OK;
    *done = 0;
    if (!pn_dtype_built(PN_F64)) return PN_BAD_ARGUMENT; /* the sums of A are of doubles */
    if (s->phase == PN_REST) {
        if (!fits(s, m, job)) return PN_BAD_ARGUMENT;
        pn_search_read(s, m, s->x);
        s->numbers[PN_SEARCH_EVALUATIONS] = s->numbers[PN_SEARCH_END] = s->numbers[PN_SEARCH_STEP] = 0;
        s->chunk = s->row = s->tries = 0;
        s->phase = s->numbers[PN_SEARCH_STARTED] > 0 ? ROWS : BEGIN;
    }
    do status = advance(s, m, job, until, done);
    while (status == PN_OK && !*done && pn_now() < until);
    if (status != PN_OK) s->phase = PN_REST;
    return status;
}
