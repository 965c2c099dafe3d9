/* lbfgs.c: L-BFGS (J. Nocedal, "Updating quasi-Newton matrices with limited storage", Math. Comp. 35 (1980); Nocedal
 * and Wright, Numerical Optimization, 2nd edition 2006, section 7.2), with the line search of line_search.c.
 *
 * Its twin is src/pynet/reference_lbfgs.py. */
#include "search.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { BEGIN = 1, TRY }; /* phases: the loss at the first point; at a point of the line */
static const double MOST_STEP = 1e10;

static double *pair(const pn_search *s, int64_t k) { return s->pairs + k * (2 * s->n + 1); }

/* That are of use: none once the search of this iteration has begun anew along the gradient. */
static int64_t pairs_of(const pn_search *s) { return s->anew ? 0 : (int64_t)s->numbers[PN_SEARCH_PAIRS]; }

/* Numbers that come from a file must not lead beyond the pairs. */
static int counts_fit(const pn_search *s) {
    const double pairs = s->numbers[PN_SEARCH_PAIRS], next = s->numbers[PN_SEARCH_NEXT];
    return pairs >= 0 && pairs <= (double)s->memory && next >= 0 && next < (double)s->memory;
}

typedef struct parts { /* of scratch */
    double *d, *gradient, *alpha, *sums;
} parts;
static parts parts_of(const pn_search *s) {
    double *d = s->scratch;
    return (parts){d, d + s->n, d + 2 * s->n, d + 2 * s->n + s->memory};
}

size_t pn_lbfgs_scratch(const pn_plan *plan, const pn_search *s) {
    if (s->n < 1 || s->n > INT32_MAX || s->memory < 1 || s->memory > INT32_MAX) return 0;
    return 2 * (size_t)s->n + (size_t)s->memory + plan->n_sums;
}

/* d = -H g: the inverse Hessian H that the pairs stand for, by the two-loop recursion; without pairs d = -g. */
static void two_loops(const pn_search *s, double *d, double *alpha) {
    const int64_t n = s->n, next = (int64_t)s->numbers[PN_SEARCH_NEXT], pairs = pairs_of(s);
    for (int64_t j = 0; j < n; j++) d[j] = -s->gradient[j];
    for (int64_t i = 0; i < pairs; i++) { /* newest first */
        const int64_t k = (next - 1 - i + s->memory) % s->memory;
        const double *x = pair(s, k), *y = x + n, a = alpha[k] = pn_dot(x, d, n) / x[2 * n];
        for (int64_t j = 0; j < n; j++) d[j] -= a * y[j];
    }
    if (pairs) { /* H begins as the newest s'y / y'y (equation 7.20) */
        const double *x = pair(s, (next - 1 + s->memory) % s->memory), scale = x[2 * n] / pn_dot(x + n, x + n, n);
        for (int64_t j = 0; j < n; j++) d[j] *= scale;
    }
    for (int64_t i = pairs; i-- > 0;) { /* oldest first */
        const int64_t k = (next - 1 - i + s->memory) % s->memory;
        const double *x = pair(s, k), b = alpha[k] - pn_dot(x + n, d, n) / x[2 * n];
        for (int64_t j = 0; j < n; j++) d[j] += b * x[j];
    }
}

/* The direction from the point, and the first step along it. */
static void aim(pn_search *s) {
    const parts p = parts_of(s);
    two_loops(s, p.d, p.alpha);
    double slope = pn_dot(s->gradient, p.d, s->n);
    if (!(slope < 0) || !isfinite(slope)) { /* rounding has spoilt the pairs */
        s->anew = 1;
        two_loops(s, p.d, p.alpha);
        slope = pn_dot(s->gradient, p.d, s->n);
    }
    s->step = pairs_of(s) ? 1 : fmin(1, 1 / sqrt(-slope));
    s->tries = 0;
    pn_line_begin(&s->line, s->numbers[PN_SEARCH_LOSS], slope, s->step, MOST_STEP);
    s->phase = TRY;
}

/* The point in the arena is the next one. */
static pn_status accept(pn_search *s, const pn_machine *m, double loss, int *done) {
    const parts p = parts_of(s);
    const int64_t n = s->n, k = (int64_t)s->numbers[PN_SEARCH_NEXT];
    double *x = pair(s, k), *y = x + n;
    pn_search_read(s, m, p.d); /* as the machine's dtype has rounded it */
    for (int64_t j = 0; j < n; j++) x[j] = p.d[j] - s->x[j], y[j] = p.gradient[j] - s->gradient[j];
    x[2 * n] = pn_dot(x, y, n);
    const int64_t pairs = pairs_of(s);
    s->numbers[PN_SEARCH_PAIRS] = (double)pairs;
    if (x[2 * n] > DBL_EPSILON * pn_dot(y, y, n)) {
        s->numbers[PN_SEARCH_PAIRS] = (double)(pairs < s->memory ? pairs + 1 : pairs);
        s->numbers[PN_SEARCH_NEXT] = (double)((k + 1) % s->memory);
    }
    memcpy(s->x, p.d, (size_t)n * sizeof *s->x);
    memcpy(s->gradient, p.gradient, (size_t)n * sizeof *s->gradient);
    memcpy(s->sums, p.sums, m->plan.n_sums * sizeof *s->sums);
    const double before = s->numbers[PN_SEARCH_LOSS], largest = pn_largest(s->gradient, n);
    s->numbers[PN_SEARCH_LOSS] = loss;
    s->numbers[PN_SEARCH_GRADIENT] = largest;
    s->numbers[PN_SEARCH_STEP] = s->step;
    const int flat = largest <= s->gradient_tolerance, slow = before - loss <= s->loss_tolerance * fabs(before);
    return pn_search_end_iteration(s, flat ? PN_END_GRADIENT : slow ? PN_END_LOSS : PN_GOES_ON, done);
}

/* What the loss at the point in the arena means. */
static pn_status look(pn_search *s, const pn_machine *m, double loss, int *done) {
    const parts p = parts_of(s);
    const double slope = pn_dot(p.gradient, p.d, s->n);
    const int last = ++s->tries >= s->most_evaluations;
    s->numbers[PN_SEARCH_EVALUATIONS]++;
    if (!isfinite(loss) || !isfinite(slope)) { /* much too far */
        const double most = s->step / 2;
        s->step /= 10;
        pn_line_begin(&s->line, s->numbers[PN_SEARCH_LOSS], s->line.start_slope, s->step, most);
        if (!last) return PN_OK;
    } else {
        const double step = s->step;
        const pn_line_answer answer = pn_line_next(&s->line, loss, slope, &s->step);
        if (answer == PN_LINE_GOES_ON && !last) return PN_OK;
        if (answer == PN_LINE_DONE || loss < s->numbers[PN_SEARCH_LOSS]) { /* lower is good enough where it is stuck */
            s->step = step;
            return accept(s, m, loss, done);
        }
    }
    pn_search_move(s, m, 0, NULL);
    if (pairs_of(s)) { /* once more, along the gradient itself */
        s->anew = 1;
        aim(s);
        return PN_OK;
    }
    return pn_search_end_iteration(s, PN_END_LINE, done);
}

static pn_status first_point(pn_search *s, const pn_machine *m, double loss) {
    const parts p = parts_of(s);
    s->phase = PN_REST;
    const double largest = pn_largest(p.gradient, s->n);
    if (!isfinite(loss) || !isfinite(largest)) return PN_NOT_FINITE;
    memcpy(s->gradient, p.gradient, (size_t)s->n * sizeof *s->gradient);
    memcpy(s->sums, p.sums, m->plan.n_sums * sizeof *s->sums);
    s->numbers[PN_SEARCH_LOSS] = loss;
    s->numbers[PN_SEARCH_GRADIENT] = largest;
    s->numbers[PN_SEARCH_STARTED] = 1;
    return PN_OK;
}

pn_status pn_lbfgs(pn_search *s, pn_machine *m, const pn_job *job, double seconds, int *done) {
    const double until = pn_now() + seconds;
    *done = 0;
    if (s->phase == PN_REST) {
        if (s->memory < 1 || !s->pairs || !pn_search_fits(s, m, job) || !counts_fit(s)) return PN_BAD_ARGUMENT;
        pn_search_read(s, m, s->x);
        s->numbers[PN_SEARCH_EVALUATIONS] = s->numbers[PN_SEARCH_END] = s->numbers[PN_SEARCH_STEP] = 0;
        s->chunk = s->anew = 0;
        s->phase = BEGIN;
    }
    for (;;) {
        const parts p = parts_of(s);
        if (s->phase == BEGIN && s->numbers[PN_SEARCH_STARTED] > 0) {
            if (s->numbers[PN_SEARCH_GRADIENT] <= s->gradient_tolerance)
                return pn_search_end_iteration(s, PN_END_GRADIENT, done);
            aim(s);
        }
        if (s->phase == TRY) pn_search_move(s, m, s->step, p.d);
        double loss;
        int complete;
        pn_status status = pn_search_evaluate(s, m, job, until, p.sums, p.gradient, &loss, &complete);
        if (status != PN_OK || !complete) {
            if (s->phase == TRY) pn_search_move(s, m, 0, NULL);
            if (status != PN_OK) s->phase = PN_REST;
            return status;
        }
        status = s->phase == TRY ? look(s, m, loss, done) : first_point(s, m, loss);
        if (status != PN_OK || *done) return status;
        if (s->phase == PN_REST) s->phase = BEGIN;
        if (pn_now() >= until) {
            if (s->phase == TRY) pn_search_move(s, m, 0, NULL);
            return PN_OK;
        }
    }
}
