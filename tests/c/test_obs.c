/* test_obs.c: the surgeon's order and costs against the textbook, which carries the whole inverse along; threads. */
#include "check.h"
#include "core.h"

#include <math.h>
#include <string.h>

CHECK_PROGRAM

enum { MOST = 67 };

/* A symmetric, positive definite matrix: A A' + 1 */
static void draw(double *h, int n) {
    double a[MOST * MOST];
    for (int i = 0; i < n * n; i++) a[i] = uniform(-1, 1);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            h[i * n + j] = i == j;
            for (int k = 0; k < n; k++) h[i * n + j] += a[i * n + k] * a[j * n + k];
        }
}

/* Row and column p leave the inverse: h -= h[:,p] h[p,:] / h[p,p] */
static void textbook(const double *inverse, const double *start, int n, int steps, const int32_t *order,
                     const double *cost) {
    double h[MOST * MOST], w[MOST];
    int gone[MOST] = {0};
    memcpy(h, inverse, (size_t)(n * n) * sizeof *h);
    memcpy(w, start, (size_t)n * sizeof *w);
    for (int k = 0; k < steps; k++) {
        int best = -1;
        for (int j = 0; j < n; j++)
            if (!gone[j] && (best < 0 || w[j] * w[j] / h[j * n + j] < w[best] * w[best] / h[best * n + best])) best = j;
        const double d = h[best * n + best], least = w[best] * w[best] / d / 2;
        CHECK(order[k] == best);
        CHECK(fabs(cost[k] - least) <= 1e-9 * (1 + least));
        const double share = w[best] / d;
        for (int j = 0; j < n; j++) w[j] -= h[j * n + best] * share;
        double row[MOST];
        memcpy(row, h + best * n, (size_t)n * sizeof *row);
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) h[i * n + j] -= row[i] * row[j] / d;
        gone[best] = 1;
    }
}

static void check(int n, int N, int shared, int steps) {
    AT("n %d, N %d, shared %d, steps %d", n, N, shared, steps);
    const size_t matrices = shared ? 1 : (size_t)N, size = (size_t)(n * n);
    double *inverse = malloc(matrices * size * sizeof *inverse), *w = malloc((size_t)(N * n) * sizeof *w);
    double *cost[2];
    int32_t *order[2];
    for (size_t k = 0; k < matrices; k++) draw(inverse + k * size, n);
    for (int i = 0; i < N * n; i++) w[i] = below(9) ? uniform(-1, 1) : 0; /* some have gone already */
    for (int k = 0; k < 2; k++) {
        cost[k] = malloc((size_t)(N * steps) * sizeof *cost[k] + 1);
        order[k] = malloc((size_t)(N * steps) * sizeof *order[k] + 1);
        pn_set_num_threads(k ? 3 : 1);
        CHECK(pn_obs(inverse, shared, w, N, n, steps, order[k], cost[k]) == PN_OK);
    }
    CHECK(memcmp(order[0], order[1], (size_t)(N * steps) * sizeof *order[0]) == 0);
    CHECK(memcmp(cost[0], cost[1], (size_t)(N * steps) * sizeof *cost[0]) == 0);
    for (int row = 0; row < N; row++)
        textbook(inverse + (shared ? 0 : (size_t)row * size), w + row * n, n, steps, order[0] + row * steps,
                 cost[0] + row * steps);
    for (int k = 0; k < 2; k++) free(cost[k]), free(order[k]);
    free(inverse), free(w);
}

int main(void) {
    static const int sizes[] = {1, 2, 15, 16, 17, 33, MOST};
    for (int s = 0; s < (int)(sizeof sizes / sizeof sizes[0]); s++)
        for (int N = 1; N < 6; N++) check(sizes[s], N, N % 2, N == 3 ? sizes[s] / 2 : sizes[s]);
    AT("refusals");
    double one = 1, cost;
    int32_t order;
    CHECK(pn_obs(&one, 1, &one, 0, 1, 1, &order, &cost) == PN_BAD_ARGUMENT);
    CHECK(pn_obs(&one, 1, &one, 1, 0, 0, &order, &cost) == PN_BAD_ARGUMENT);
    CHECK(pn_obs(&one, 1, &one, 1, 1, 2, &order, &cost) == PN_BAD_ARGUMENT);
    CHECK(pn_obs(&one, 1, &one, 1, 1, 0, &order, &cost) == PN_OK);
    const double nothing = 0;
    CHECK(pn_obs(&nothing, 1, &one, 1, 1, 1, &order, &cost) == PN_OK);
    CHECK(order == -1 && isinf(cost));
    return verdict("test_obs", 2000);
}
