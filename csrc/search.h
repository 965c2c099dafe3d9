/* search.h: what the two searches of second order share: search.c, line_search.c, cholesky.c.
 *
 *   lbfgs.c, lm.c  --batch by batch-->  pn_run  (the loss at a point, its gradient, rows of the Jacobian)
 *
 * A search is cut anywhere between two batches: what it has to know then stands in pn_search. */
#ifndef PN_SEARCH_H
#define PN_SEARCH_H
#define PN_DTYPE_f64 /* everything here is in double */
#include "core.h"

enum { PN_REST = 0 }; /* pn_search.phase between two iterations */

/* ---- search.c ---- */

/* Whether the plan has a loss with a gradient that is the same each time, over places of trainable parameters. */
int pn_search_fits(const pn_search *s, const pn_machine *m, const pn_job *job);
/* The point in the arena, and back: arena = x + step d. */
void pn_search_read(const pn_search *s, const pn_machine *m, double *x);
void pn_search_move(const pn_search *s, const pn_machine *m, double step, const double *d);
/* sum += factor times what stands in the gradient arena. */
void pn_search_add_gradient(const pn_search *s, const pn_machine *m, double factor, double *sum);
/* Goes on with loss, sums and, unless it is NULL, gradient at the point in the arena; *complete: they are there now.
 * A loss that is not finite is INFINITY. */
pn_status pn_search_evaluate(pn_search *s, pn_machine *m, const pn_job *job, double until, double *sums,
                             double *gradient, double *loss, int *complete);
/* An iteration ends at the point in the arena, for the reason `end`. */
pn_status pn_search_end_iteration(pn_search *s, pn_search_end end, int *done);
double pn_dot(const double *a, const double *b, int64_t n);
double pn_largest(const double *a, int64_t n); /* |element|; NaN if one is NaN */

/* ---- line_search.c ---- */

typedef enum pn_line_answer { PN_LINE_GOES_ON, PN_LINE_DONE, PN_LINE_STUCK } pn_line_answer;
/* From a point where the loss is `loss` and its slope along the line `slope` < 0; the first step is the caller's. */
void pn_line_begin(pn_line *l, double loss, double slope, double step, double most);
/* What loss and slope after *step say; goes on: *step is the next to try. */
pn_line_answer pn_line_next(pn_line *l, double loss, double slope, double *step);

/* ---- cholesky.c: symmetric matrices in panels [pad(n) / 16][pad(n)][16], the upper half of which counts ---- */

static inline double *pn_sym(double *a, int64_t wide, int64_t i, int64_t j) {
    return a + (j / PN_PANEL * wide + i) * PN_PANEL + j % PN_PANEL;
}
/* a += sum over rows of row' row, rows [k][pad(n)] */
void pn_sym_add(double *a, const double *rows, int64_t n, int64_t k, const pn_kernels_f64 *kernels, int threads);
/* c = -(a + damping), 1 where there is only padding */
void pn_cholesky_begin(double *c, const double *a, int64_t n, double damping);
/* The next 16 rows, from row 16 q, of U with U'U = -c; 0: the matrix is not positive definite, to working precision. */
int pn_cholesky_rows(double *c, int64_t n, int64_t q, const pn_kernels_f64 *kernels, int threads);
/* x = (U'U)^-1 x, [pad(n)], 0 in the padding */
void pn_cholesky_solve(const double *u, int64_t n, double *x);
#endif
