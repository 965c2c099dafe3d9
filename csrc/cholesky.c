/* cholesky.c: symmetric matrices in panels of 16 columns: adding J'J to one, and solving with it.
 *
 * U'U = A by rows of 16: row q of blocks is what is left of A's after the rows above it, U_kq'U_kp, solved with its own
 * triangle (Golub and Van Loan, Matrix Computations, 4th edition, section 4.2).  All products are those of dense
 * layers: the kernel that sums x'dz over the rows of a batch, here over the rows of U.  It can only add, so that what
 * is left stands negated until its turn comes.  Every element is one chain in one order: neither threads nor
 * instruction sets with fused multiply-add show. */
#include "search.h"

#include <math.h>
#include <string.h>

enum { WIDE = 8 }; /* panels of a task of pn_sym_add */

typedef struct sums {
    double *a;
    const double *rows;
    int64_t wide, k, next;
    const pn_kernels_f64 *kernels;
} sums;

static void sum_task(void *argument, int i, int n) {
    sums *t = argument;
    const int64_t panels = t->wide / PN_PANEL, groups = (panels + WIDE - 1) / WIDE;
    (void)i, (void)n;
    for (int64_t g; (g = groups - 1 - __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED)) >= 0;) { /* longest first */
        const int64_t p0 = g * WIDE, p1 = p0 + WIDE < panels ? p0 + WIDE : panels;
        t->kernels->dense_dw(t->rows, t->wide, t->rows, t->wide, t->a, t->wide, 0, p1 * PN_PANEL, t->k, p0, p1, 1, NULL,
                             0);
    }
}

void pn_sym_add(double *a, const double *rows, int64_t n, int64_t k, const pn_kernels_f64 *kernels, int threads) {
    sums t = {a, rows, (int64_t)pn_pad((uint64_t)n), k, 0, kernels};
    pn_parallel(sum_task, &t, k * n * n / 2 < 1 << 19 ? 1 : threads, 1);
}

void pn_cholesky_begin(double *c, const double *a, int64_t n, double damping) {
    const int64_t wide = (int64_t)pn_pad((uint64_t)n);
    for (int64_t i = 0; i < wide * wide; i++) c[i] = -a[i];
    for (int64_t i = 0; i < wide; i++) *pn_sym(c, wide, i, i) -= i < n ? damping : 1;
}

typedef struct row { /* of blocks */
    double *c;
    int64_t wide, q, next;
    const pn_kernels_f64 *kernels;
} row;

static void subtract(const row *r, int64_t p) { /* the rows above from block [q,p] */
    double *panel = r->c + p * r->wide * PN_PANEL;
    const double *own = r->c + r->q * r->wide * PN_PANEL;
    if (r->q)
        r->kernels->dense_dw(own, PN_PANEL, panel, PN_PANEL, panel + r->q * PN_PANEL * PN_PANEL, r->wide, 0, PN_PANEL,
                             r->q * PN_PANEL, 0, 1, 1, NULL, 0);
}

static void row_task(void *argument, int i, int n) {
    row *r = argument;
    const double *u = r->c + (r->q * r->wide + r->q * PN_PANEL) * PN_PANEL; /* the triangle */
    const int64_t panels = r->wide / PN_PANEL;
    (void)i, (void)n;
    for (int64_t p; (p = r->q + 1 + __atomic_fetch_add(&r->next, 1, __ATOMIC_RELAXED)) < panels;) {
        subtract(r, p);
        double *b = r->c + (p * r->wide + r->q * PN_PANEL) * PN_PANEL;
        for (int j = 0; j < (int)PN_PANEL; j++) {
            double *bj = b + j * (int)PN_PANEL;
            for (int k = 0; k < j; k++) { /* b holds -U below, the negated rest at and above row j */
                const double f = u[k * (int)PN_PANEL + j];
                for (int l = 0; l < (int)PN_PANEL; l++) bj[l] += f * b[k * (int)PN_PANEL + l];
            }
            const double f = -1 / u[j * (int)PN_PANEL + j];
            for (int l = 0; l < (int)PN_PANEL; l++) bj[l] *= f;
        }
    }
}

/* In place: the negated rest of a block on the diagonal becomes its triangle. */
static int triangle(double *b) {
    for (int j = 0; j < (int)PN_PANEL; j++) {
        double *bj = b + j * (int)PN_PANEL;
        const double before = -bj[j];
        for (int k = 0; k < j; k++)
            for (int l = j; l < (int)PN_PANEL; l++) bj[l] += b[k * (int)PN_PANEL + j] * b[k * (int)PN_PANEL + l];
        const double pivot = -bj[j];
        if (!(pivot > 0) || !isfinite(pivot) || !isfinite(before)) return 0;
        const double root = sqrt(pivot);
        for (int l = j; l < (int)PN_PANEL; l++) bj[l] /= -root;
        for (int l = 0; l < j; l++) bj[l] = 0;
    }
    return 1;
}

int pn_cholesky_rows(double *c, int64_t n, int64_t q, const pn_kernels_f64 *kernels, int threads) {
    row r = {c, (int64_t)pn_pad((uint64_t)n), q, 0, kernels};
    subtract(&r, q);
    if (!triangle(c + (q * r.wide + q * PN_PANEL) * PN_PANEL)) return 0;
    pn_parallel(row_task, &r, (r.wide - q * PN_PANEL) * (q + 1) * 256 < 1 << 19 ? 1 : threads, 1);
    return 1;
}

void pn_cholesky_solve(const double *u, int64_t n, double *x) {
    const int64_t wide = (int64_t)pn_pad((uint64_t)n);
    for (int64_t p = 0; p < wide; p += PN_PANEL) { /* U'z = x, from above */
        const double *panel = u + p * wide;
        for (int64_t k = 0; k < p + PN_PANEL; k++) {
            const int own = (int)(k - p); /* among the columns of this panel */
            if (own >= 0) x[k] /= panel[k * PN_PANEL + own];
            for (int l = own < 0 ? 0 : own + 1; l < (int)PN_PANEL; l++) x[p + l] -= panel[k * PN_PANEL + l] * x[k];
        }
    }
    for (int64_t p = wide - PN_PANEL; p >= 0; p -= PN_PANEL) { /* U x = z, from below */
        const double *panel = u + p * wide;
        for (int64_t k = p + PN_PANEL - 1; k >= 0; k--) {
            const int own = (int)(k - p);
            double sum = 0;
            for (int l = own < 0 ? 0 : own + 1; l < (int)PN_PANEL; l++) sum += panel[k * PN_PANEL + l] * x[p + l];
            x[k] -= sum;
            if (own >= 0) x[k] /= panel[k * PN_PANEL + own];
        }
    }
}
