/* test_second_order.c: the parts of lbfgs.c and lm.c against naive loops and the conditions that they promise; both on
 * a net, whole and in slices, on every instruction set; refusals. */
#include "search.h" /* in double, whoever is included after it */
#include "allocator.h"
#include "check.h"
#include "nets.h"

#include <math.h>

CHECK_PROGRAM

/* ---- cholesky.c -------------------------------------------------------------------------------------------------- */

enum { MOST = 150 };
static double rows[2 * MOST][MOST + 16], square[MOST + 16][MOST + 16];

static double *room(size_t elems) {
    double *p = aligned_alloc(64, (elems * sizeof *p + 63) / 64 * 64);
    if (!p) abort();
    memset(p, 0, elems * sizeof *p);
    return p;
}

/* A = rows' rows + 1, solved: A x = b; and a matrix that is not definite is found out. */
static void check_cholesky(const pn_kernels_f64 *kernels, int n, int k) {
    const int64_t wide = (int64_t)pn_pad((uint64_t)n);
    double *a = room((size_t)(wide * wide)), *u[2], *flat = room((size_t)(k * wide)), *x = room((size_t)wide);
    for (int m = 0; m < k; m++)
        for (int j = 0; j < n; j++) flat[m * wide + j] = rows[m][j] = uniform(-1, 1);
    for (int t = 0; t < 2; t++) {
        u[t] = room((size_t)(wide * wide));
        memset(a, 0, (size_t)(wide * wide) * sizeof *a);
        pn_sym_add(a, flat, n, k / 2, kernels, 1 + 2 * t);
        pn_sym_add(a, flat + k / 2 * wide, n, k - k / 2, kernels, 1 + 2 * t);
        pn_cholesky_begin(u[t], a, n, 1);
        for (int64_t q = 0; q < wide / 16; q++) CHECK(pn_cholesky_rows(u[t], n, q, kernels, 1 + 2 * t));
    }
    CHECK(memcmp(u[0], u[1], (size_t)(wide * wide) * sizeof *a) == 0); /* whatever the number of threads */
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double s = 0;
            for (int m = 0; m < k; m++) s += rows[m][i] * rows[m][j];
            square[i][j] = s + (i == j);
            if (i <= j) CHECK(fabs(*pn_sym(a, wide, i, j) - s) <= 1e-12 * k);
        }
    double b[MOST];
    for (int j = 0; j < n; j++) x[j] = b[j] = uniform(-1, 1);
    pn_cholesky_solve(u[0], n, x);
    for (int i = 0; i < n; i++) {
        double s = 0;
        for (int j = 0; j < n; j++) s += square[i][j] * x[j];
        CHECK(fabs(s - b[i]) <= 1e-11 * k);
    }
    for (int64_t j = n; j < wide; j++) CHECK(x[j] == 0);
    for (int what = 0; what < 4; what++) {
        const int bad = what % 2 ? n - 1 : n - 1 - n / 3;
        const double diagonal = *pn_sym(a, wide, bad, bad);
        *pn_sym(a, wide, bad, bad) = what < 2 ? -1.5 : NAN;
        pn_cholesky_begin(u[0], a, n, 1);
        *pn_sym(a, wide, bad, bad) = diagonal;
        int64_t q = 0;
        while (q < wide / 16 && pn_cholesky_rows(u[0], n, q, kernels, 1)) q++;
        CHECK(q == bad / 16);
    }
    free(a), free(u[0]), free(u[1]), free(flat), free(x);
}

/* ---- line_search.c ------------------------------------------------------------------------------------------------
 */

static double valley(int which, double t, double *slope) {
    switch (which) {
    case 0: *slope = (t * t - 2) / ((t * t + 2) * (t * t + 2)); return -t / (t * t + 2);
    case 1: {
        const double s = t + 0.004, s3 = s * s * s;
        *slope = 5 * s * s3 - 8 * s3;
        return s * s * s3 - 2 * s * s3;
    }
    case 2: *slope = -1 + pow(t, 8); return -t + pow(t, 9) / 9;
    case 3: *slope = -1 + cos(8 * t) * 8 / 9 + 3 * t * t / 40; return -t + sin(8 * t) / 9 + t * t * t / 40;
    default: *slope = 2 * t - 1e-3; return t * t - 1e-3 * t;
    }
}

static void check_lines(void) {
    for (int which = 0; which < 5; which++)
        for (double step = 1e-6; step < 1e7; step *= 10) {
            AT("line %d from step %g", which, step);
            double slope, t = step;
            const double start = valley(which, 0, &slope), steep = slope;
            pn_line line;
            pn_line_begin(&line, start, slope, step, 1e10);
            pn_line_answer answer = PN_LINE_GOES_ON;
            double loss = start;
            for (int k = 0; k < 60 && answer == PN_LINE_GOES_ON; k++) {
                loss = valley(which, t, &slope);
                answer = pn_line_next(&line, loss, slope, &t);
            }
            CHECK(answer == PN_LINE_DONE);
            CHECK(loss <= start + 1e-4 * t * steep && fabs(slope) <= 0.9 * fabs(steep));
        }
    static const struct {
        int tries;
        double step;
    } expected[5][4] = {
        /* what MINPACK-2's dcsrch, as SciPy 1.17 has it, finds from these steps */
        {{5, 0.341}, {2, 0.5}, {1, 10}, {3, 111.0833378851}},
        {{12, 1.596000000186}, {8, 1.596000000005}, {8, 1.595999999757}, {11, 1.595999998873}},
        {{7, 0.787852570223}, {4, 0.9326277071568}, {3, 0.8180154398011}, {9, 0.8635486992527}},
        {{12, 3.736412656686}, {5, 3.729779927603}, {5, 3.725786627783}, {7, 2.993376065475}},
        {{2, 0.00049995}, {2, 0.0005}, {2, 0.0004999999999997}, {2, 0.0005000000000083}},
    };
    static const double first[] = {1e-3, 0.1, 10, 1000};
    for (int which = 0; which < 5; which++)
        for (int k = 0; k < 4; k++) {
            AT("line %d from step %g, as in MINPACK", which, first[k]);
            double slope, t = first[k];
            const double start = valley(which, 0, &slope);
            pn_line line;
            pn_line_begin(&line, start, slope, t, 1e10);
            pn_line_answer answer = PN_LINE_GOES_ON;
            int tries = 0;
            for (; tries < 60 && answer == PN_LINE_GOES_ON; tries++) {
                const double loss = valley(which, t, &slope);
                answer = pn_line_next(&line, loss, slope, &t);
            }
            CHECK(tries == expected[which][k].tries);
            CHECK(fabs(t - expected[which][k].step) <= 1e-7 * t);
        }
    AT("a line that goes down for ever");
    pn_line line;
    double t = 1;
    pn_line_begin(&line, 0, -1, t, 100);
    pn_line_answer answer = PN_LINE_GOES_ON;
    for (int k = 0; k < 60 && answer == PN_LINE_GOES_ON; k++) answer = pn_line_next(&line, -t, -1, &t);
    CHECK(answer == PN_LINE_STUCK && t == 100);
}

/* ---- a net: x[2] -tanh-> h[20] -> y[2], and mse -------------------------------------------------------------------
 */

enum { N = 90, X = 0, H, Y, W1 = 0, B1, W2, B2, WEIGHTS = 2 * 20 + 20 + 20 * 2 + 2, BATCH = 32 };
static float x[N][2], wanted[N][2];
static double row_weight[N];

static net make_small(void) {
    static const uint32_t widths[] = {2, 20, 2}, shapes[][2] = {{2, 20}, {1, 20}, {20, 2}, {1, 2}};
    net n = {.outputs = {Y}};
    n.plan = (pn_plan){.n_ops = 4, .n_outputs = 1, .n_inputs = 1, .n_targets = 1, .n_sums = 4};
    lay_out(&n, widths, 3, shapes, 4);
    n.params[W1].l2 = 1e-6;
    n.ops[0] = (pn_op){.kind = PN_OP_input, .y = X, .w = PN_NONE, .b = PN_NONE, .w2 = PN_NONE};
    n.ops[1] = (pn_op){.kind = PN_OP_dense, .act = PN_ACT_tanh, .x = X, .y = H, .z = PN_NONE, .w = W1, .b = B1};
    n.ops[1].w2 = PN_NONE, n.ops[1].flags = PN_STOP_X;
    n.ops[2] = (pn_op){.kind = PN_OP_dense, .x = H, .y = Y, .z = PN_NONE, .w = W2, .b = B2, .w2 = PN_NONE};
    n.ops[3] = (pn_op){.kind = PN_OP_loss, .act = PN_LOSS_mse, .x = Y, .at = 2, .w2 = PN_NONE, .p = {0, 1}};
    return n;
}

static int64_t places[WEIGHTS + 1]; /* and a 0 */
static int find_places(const net *n) {
    int found = 0;
    for (uint32_t k = 0; k < n->plan.n_params; k++) { /* ascending, as they stand in panels */
        const pn_param *p = &n->params[k];
        for (uint64_t e = 0; e < pn_param_size(p); e++)
            if (!is_padding(p, e) && p->flags & PN_TRAINABLE) places[found++] = (int64_t)(p->offset + e);
    }
    return found;
}

typedef pn_status search_function(pn_search *, pn_machine *, const pn_job *, double, int *);

static pn_search make_search(const net *n, search_function *run, int64_t count) {
    pn_search s = {.places = places, .n = count, .most_evaluations = 20, .memory = 7};
    s.damping = 1e-3, s.damping_min = 1e-15, s.damping_max = 1e10;
    const size_t scratch = run == pn_lm ? pn_lm_scratch(&n->plan, &s) : pn_lbfgs_scratch(&n->plan, &s);
    CHECK(scratch > 0);
    s.numbers = room(PN_SEARCH_NUMBERS), s.x = room((size_t)count), s.gradient = room((size_t)count);
    s.pairs = room(7 * (2 * (size_t)count + 1)), s.sums = room(n->plan.n_sums), s.scratch = room(scratch);
    return s;
}
static void drop_search(pn_search s) {
    free(s.numbers), free(s.x), free(s.gradient), free(s.pairs), free(s.sums), free(s.scratch);
}

static const pn_array inputs = {x, sizeof x[0], sizeof(float), 2, PN_FLOAT32};
static const pn_array targets = {wanted, sizeof wanted[0], sizeof(float), 2, PN_FLOAT32};
static void make_data(void) {
    random_state = 11; /* the checks before took as many numbers as there are instruction sets here */
    for (int r = 0; r < N; r++) {
        x[r][0] = (float)uniform(-1, 1), x[r][1] = (float)uniform(-1, 1);
        wanted[r][0] = 3 * x[r][0] * x[r][0] * x[r][1], wanted[r][1] = x[r][0] - x[r][1] * x[r][1];
        row_weight[r] = r % 5 ? uniform(0.5, 2) : 0;
    }
}
static pn_job make_job(void) {
    return (pn_job){.inputs = &inputs, .targets = &targets, .weight = row_weight, .rows = N, .batch = BATCH};
}

/* A name for the bits after some iterations; *loss: before and after; *slices: calls that it took. */
static uint64_t searched(search_function *run, pn_dtype dtype, const char *isa, int threads, int iterations,
                         double seconds, double loss[2], int *slices) {
    net n = make_small();
    link_plan(&n);
    pn_arenas arenas = make_arenas(n.plan.param_elems, dtype);
    initialise(&n, arenas, dtype);
    pn_machine *machine;
    CHECK(pn_machine_open(&machine, &n.plan, dtype, BATCH, &arenas, isa, threads) == PN_OK);
    pn_search s = make_search(&n, run, find_places(&n));
    const pn_job job = make_job();
    CHECK(s.n == WEIGHTS);
    *slices = 0;
    const long before = allocations + frees;
    for (int done = 0, k = 0; k < iterations && !s.numbers[PN_SEARCH_END]; ++*slices) {
        const uint64_t point = add_bits(NO_BITS, arenas.params, n.plan.param_elems * (dtype == PN_F64 ? 8 : 4));
        CHECK(run(&s, machine, &job, seconds, &done) == PN_OK);
        const uint64_t now = add_bits(NO_BITS, arenas.params, n.plan.param_elems * (dtype == PN_F64 ? 8 : 4));
        CHECK(done || now == point); /* within an iteration nobody sees what is tried */
        k += done;
        if (done && k == 1) loss[0] = s.numbers[PN_SEARCH_LOSS];
        for (int64_t j = 0; done && j < s.n; j++) CHECK(s.x[j] == number(arenas.params, dtype, (uint64_t)places[j]));
    }
    if (threads == 1) CHECK(allocations + frees == before);
    loss[1] = s.numbers[PN_SEARCH_LOSS];
    for (uint32_t k = 0; k < n.plan.n_params; k++)
        for (uint64_t e = 0; e < pn_param_size(&n.params[k]); e++)
            if (is_padding(&n.params[k], e)) CHECK(number(arenas.params, dtype, n.params[k].offset + e) == 0);
    const uint64_t bits = add_bits(NO_BITS, arenas.params, n.plan.param_elems * (dtype == PN_F64 ? 8 : 4));
    pn_machine_close(machine);
    drop_arenas(arenas);
    drop_search(s);
    return bits;
}

static void check_searches(void) {
    static const char *const names[] = {"lbfgs", "lm"};
    search_function *const functions[] = {pn_lbfgs, pn_lm};
    for (int f = 0; f < 2; f++)
        for (pn_dtype dtype = PN_F32; dtype <= PN_F64; dtype++) {
            uint64_t fma = 0;
            for (int i = 0; pn_isa_name(i); i++) {
                if (!pn_isa_usable(pn_isa_name(i)) || !PN_TRAINS(dtype)) continue;
                AT("%s f%d, %s", names[f], dtype == PN_F64 ? 64 : 32, pn_isa_name(i));
                double loss[2], again[2];
                int slices, more;
                const uint64_t whole = searched(functions[f], dtype, pn_isa_name(i), 1, 40, 1e9, loss, &slices);
                CHECK(searched(functions[f], dtype, pn_isa_name(i), 1, 40, 0, again, &more) == whole);
                CHECK(searched(functions[f], dtype, pn_isa_name(i), 3, 40, 1e9, again, &slices) == whole);
                CHECK(slices == 40 && more > 100 && again[1] == loss[1]);
                CHECK(loss[1] < loss[0] * (f ? 1e-2 : 0.6));
                if (strcmp(pn_isa_name(i), "scalar") == 0) continue;
                CHECK(!fma || fma == whole);
                if (!fma)
                    printf("bits f%d %-16s %016llx\n", dtype == PN_F64 ? 64 : 32, names[f], (unsigned long long)whole);
                fma = whole;
            }
        }
}

/* ---- refusals -------------------------------------------------------------------------------------------------------
 */

static pn_status tried(search_function *run, net n, void (*change)(pn_search *, pn_job *)) {
    link_plan(&n);
    const pn_arenas arenas = make_arenas(n.plan.param_elems, PN_F32);
    initialise(&n, arenas, PN_F32);
    pn_machine *machine;
    CHECK(pn_machine_open(&machine, &n.plan, PN_F32, BATCH, &arenas, NULL, 1) == PN_OK);
    pn_search s = make_search(&n, run, find_places(&n)), made = s;
    pn_job job = make_job();
    if (change) change(&s, &job);
    int done;
    const pn_status status = run(&s, machine, &job, 1e9, &done);
    CHECK(done == (status == PN_OK));
    pn_machine_close(machine);
    drop_arenas(arenas);
    drop_search(made);
    return status;
}
static void no_rows(pn_search *s, pn_job *job) { (void)s, job->rows = 0; }
static void no_places(pn_search *s, pn_job *job) { (void)job, s->places = NULL; }
static void no_evaluations(pn_search *s, pn_job *job) { (void)job, s->most_evaluations = 0; }
static void nan_tolerance(pn_search *s, pn_job *job) { (void)job, s->loss_tolerance = NAN; }
static void beyond(pn_search *s, pn_job *job) { (void)job, s->places += 1; } /* the last is 0, or stands outside */
static void no_memory(pn_search *s, pn_job *job) { (void)job, s->memory = 0; }
static void no_pairs(pn_search *s, pn_job *job) { (void)job, s->pairs = NULL; }
static void many_pairs(pn_search *s, pn_job *job) { (void)job, s->numbers[PN_SEARCH_PAIRS] = (double)s->memory + 1; }
static void far_pair(pn_search *s, pn_job *job) { (void)job, s->numbers[PN_SEARCH_NEXT] = (double)s->memory; }
static void nan_pair(pn_search *s, pn_job *job) { (void)job, s->numbers[PN_SEARCH_NEXT] = NAN; }
static void no_damping(pn_search *s, pn_job *job) { (void)job, s->damping = 0; }
static void bounds(pn_search *s, pn_job *job) { (void)job, s->damping_min = 2 * s->damping_max; }

static void check_refusals(void) {
    search_function *const functions[] = {pn_lbfgs, pn_lm};
    for (int f = 0; f < 2; f++) {
        AT("refusals of %s", f ? "lm" : "lbfgs");
        search_function *run = functions[f];
        void (*const changes[])(pn_search *, pn_job *) = {no_rows, no_places, no_evaluations, nan_tolerance, beyond};
        CHECK(tried(run, make_small(), NULL) == PN_OK);
        for (int k = 0; k < 5; k++) CHECK(tried(run, make_small(), changes[k]) == PN_BAD_ARGUMENT);
        net n = make_small();
        n.params[W1].l1 = 1;
        CHECK(tried(run, n, NULL) == PN_BAD_ARGUMENT);
        n = make_small();
        n.ops[3].act = PN_LOSS_external;
        CHECK(tried(run, n, NULL) == PN_BAD_ARGUMENT);
        n = make_small();
        n.ops[1].act = PN_ACT_relu, n.ops[1].p[2] = 0.5;
        CHECK(tried(run, n, NULL) == PN_BAD_ARGUMENT);
        n = make_small();
        n.ops[3].act = PN_LOSS_mae;
        CHECK(tried(run, n, NULL) == (f ? PN_BAD_ARGUMENT : PN_OK));
    }
    AT("refusals");
    CHECK(tried(pn_lbfgs, make_small(), no_memory) == PN_BAD_ARGUMENT);
    CHECK(tried(pn_lbfgs, make_small(), no_pairs) == PN_BAD_ARGUMENT);
    CHECK(tried(pn_lbfgs, make_small(), many_pairs) == PN_BAD_ARGUMENT);
    CHECK(tried(pn_lbfgs, make_small(), far_pair) == PN_BAD_ARGUMENT);
    CHECK(tried(pn_lbfgs, make_small(), nan_pair) == PN_BAD_ARGUMENT);
    CHECK(tried(pn_lm, make_small(), no_damping) == PN_BAD_ARGUMENT);
    CHECK(tried(pn_lm, make_small(), bounds) == PN_BAD_ARGUMENT);
    const net n = make_small();
    const pn_search none = {.n = 0, .memory = 1}, many = {.n = (int64_t)1 << 40, .memory = 1};
    CHECK(!pn_lm_scratch(&n.plan, &none) && !pn_lbfgs_scratch(&n.plan, &none));
    CHECK(!pn_lm_scratch(&n.plan, &many) && !pn_lbfgs_scratch(&n.plan, &many));
    AT("a loss that is not finite");
    wanted[3][1] = NAN;
    CHECK(tried(pn_lbfgs, make_small(), NULL) == PN_NOT_FINITE);
    CHECK(tried(pn_lm, make_small(), NULL) == PN_NOT_FINITE);
}

int main(void) {
    static const int sizes[] = {1, 2, 15, 16, 17, 33, 64, 129, MOST};
    for (int i = 0; pn_isa_name(i); i++)
        for (int s = 0; pn_isa_usable(pn_isa_name(i)) && s < (int)(sizeof sizes / sizeof sizes[0]); s++) {
            AT("%s, %d weights", pn_isa_name(i), sizes[s]);
            check_cholesky(pn_isa_find(pn_isa_name(i))->kernels[PN_F64], sizes[s], 3 + 137 * (s % 3));
        }
    check_lines();
    make_data();
    check_searches();
    check_refusals();
    return verdict("test_second_order", 20000);
}
