/* obs.c: in which order an optimal brain surgeon takes the weights of a quadratic form away, and what each costs.
 *
 * The loss is L(w + d) = L(w) + 1/2 d' H d.  Of all weights that are left, the one goes that costs least when the
 * others make up for it: cost_p = w_p^2 / (2 [H^-1]_pp), and w -= H^-1[:,p] w_p / [H^-1]_pp (Hassibi, Stork 1993). Then
 * row and column p leave H^-1 (Frantar, Singh, Alistarh 2022, arXiv:2208.11580, lemma 1):
 *
 *   H^-1  <-  H^-1 - c c',   c = H^-1[:,p] / sqrt([H^-1]_pp)
 *
 * which is a Cholesky decomposition whose pivots are chosen on the way.  The c are kept instead of the ever smaller
 * H^-1, whose diagonal and whose column p are all that is needed: a third of the memory traffic, and no writing. */
#define PN_DTYPE_f64 /* everything here is in double */
#include "core.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct obs {
    const double *inverse, *w; /* [N][n][n] or [n][n]; [N][n] */
    int64_t N, n, steps;
    int64_t apart; /* elements from the inverse of a row to that of the next; 0: they share one */
    int32_t *order;
    double *cost;
    const pn_kernels_f64 *k;
    double *scratch;
    size_t each; /* elements of scratch for a task */
    int64_t next;
} obs;

static size_t scratch_of(int64_t n, int64_t steps) { return (size_t)(pn_pad((uint64_t)n) * ((uint64_t)steps + 4)); }

static double *element(double *c, int64_t steps, int64_t k, int64_t j) {
    return c + (j / PN_PANEL * steps + k) * PN_PANEL + j % PN_PANEL;
}

static void obs_row(const obs *o, int64_t row, double *scratch) {
    const int64_t n = o->n, steps = o->steps, wide = (int64_t)pn_pad((uint64_t)n);
    const double *inverse = o->inverse + row * o->apart;
    int32_t *order = o->order + row * steps;
    double *cost = o->cost + row * steps;
    double *w = scratch, *d = w + wide, *column = d + wide, *a = column + wide, *c = a + wide;
    int32_t *place = malloc((size_t)n * sizeof *place); /* column j of c belongs to weight place[j] */
    for (int64_t j = 0; j < n; j++) {
        w[j] = o->w[row * n + j];
        d[j] = inverse[j * n + j];
        if (place) place[j] = (int32_t)j;
    }
    int64_t left = n;
    for (int64_t k = 0; k < steps; k++) {
        int64_t p = -1;
        double least = INFINITY;
        for (int64_t j = 0; place && j < left; j++) { /* of equals the first weight */
            const double own = w[j] * w[j], bound = least * d[j];
            if (d[j] > 0 && (own < bound || (p >= 0 && own == bound && place[j] < place[p]))) least = own / d[j], p = j;
        }
        if (p < 0) { /* no memory, or H^-1 is used up: the rest stays */
            for (; k < steps; k++) order[k] = -1, cost[k] = INFINITY;
            break;
        }
        order[k] = place[p];
        cost[k] = least / 2;
        for (int64_t i = 0; i < k; i++) a[i] = *element(c, steps, i, p);
        for (int64_t j = 0; j < left; j++) column[j] = -inverse[place[p] * n + place[j]];
        for (int64_t q = 0; q * PN_PANEL < left; q++) { /* column = sum_i c_i c_ip - H^-1[:,p] */
            double *at = column + q * PN_PANEL;
            o->k->dense_forward(a, wide, c + q * steps * PN_PANEL, at, at, PN_PANEL, NULL, 0, 0, 1, k, 0, 1,
                                PN_ACT_identity, NULL, NULL, NULL, 0);
        }
        const double root = sqrt(d[p]), share = w[p] / d[p];
        for (int64_t j = 0; j < left; j++) {
            const double cj = -column[j] / root;
            *element(c, steps, k, j) = cj;
            w[j] += column[j] * share;
            d[j] -= cj * cj;
        }
        left--; /* the last takes the place of p */
        w[p] = w[left], d[p] = d[left], place[p] = place[left];
        for (int64_t i = 0; i <= k; i++) *element(c, steps, i, p) = *element(c, steps, i, left);
    }
    free(place);
}

static void obs_task(void *argument, int i, int n) {
    obs *o = argument;
    (void)n;
    for (int64_t row; (row = __atomic_fetch_add(&o->next, 1, __ATOMIC_RELAXED)) < o->N;)
        obs_row(o, row, o->scratch + (size_t)i * o->each);
}

pn_status pn_obs(const double *inverse, int shared, const double *w, int64_t N, int64_t n, int64_t steps,
                 int32_t *order, double *cost) {
    const char *name = NULL;
    const int threads = pn_get_num_threads() < N ? pn_get_num_threads() : (int)N;
    const pn_status status = pn_isa_default(&name);
    if (status != PN_OK) return status;
    if (!pn_dtype_built(PN_F64)) return PN_BAD_ARGUMENT;
    if (N < 1 || n < 1 || n > 1 << 24 || steps < 0 || steps > n) return PN_BAD_ARGUMENT;
    obs o = {inverse,
             w,
             N,
             n,
             steps,
             shared ? 0 : n * n,
             order,
             cost,
             pn_isa_find(name)->kernels[PN_F64],
             NULL,
             scratch_of(n, steps),
             0};
    o.scratch = calloc((size_t)threads * o.each, sizeof(double));
    if (!o.scratch) return PN_NO_MEMORY;
    pn_parallel(obs_task, &o, threads, 1);
    free(o.scratch);
    return PN_OK;
}
