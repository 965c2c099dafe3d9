/* test_training.c: training as its callers see it: bits that do not depend on threads or instruction sets, steps that
 * do not allocate; statistics, random numbers, bounds and the caller's function in the rich net. */
#include "training.h"

#include <math.h>

CHECK_PROGRAM

/* ---- the same bits, whoever computes ---------------------------------------------------------------------- */

static void check_bits(const char *name, const task *t, int many, int few, double share) {
    static const int threads[] = {1, 2, 3, 7};
    uint64_t fma[2] = {0, 0};
    for (int i = 0; pn_isa_name(i); i++)
        for (int dtype = PN_F32; dtype <= PN_F64; dtype++) {
            const char *isa = pn_isa_name(i);
            if (!pn_isa_usable(isa)) continue;
            const int steps = dtype == PN_F32 && strcmp(isa, "scalar") != 0 ? many : few;
            uint64_t first = 0;
            for (int k = 0; k < 4; k++) {
                AT("%s net, %s, f%d, %d threads", name, isa, dtype ? 64 : 32, threads[k]);
                double loss[2];
                long late = 0;
                const long before = allocations;
                const uint64_t bits = trained(t, dtype, isa, threads[k], steps, loss, &late);
                if (k == 0) first = bits;
                CHECK(bits == first);
                CHECK(loss[1] < loss[0] * share);
                CHECK(late == 0); /* not one allocation per step, nor per hundred */
#ifdef COUNT_ALLOCATIONS
                CHECK(allocations - before >= 1); /* the counter counts: the machine */
#else
                (void)before;
#endif
            }
            if (strcmp(isa, "scalar") == 0) continue;
            if (!fma[dtype]) printf("bits f%d %-16s %016llx\n", dtype ? 64 : 32, name, (unsigned long long)first);
            if (!fma[dtype]) fma[dtype] = first;
            CHECK(first == fma[dtype]);
        }
}

/* ---- a small rich net in double, one machine after the other ---------------------------------------------- */

static task small; /* widths that are no multiple of 16, not even of 2 */

typedef struct bench {
    pn_arenas arenas;
    pn_machine *machine;
    caller_function function;
    double sums[N_SUMS];
    pn_job job;
    double *w; /* the parameters */
} bench;

static void set_up(bench *b, const task *t) {
    memset(b, 0, sizeof *b);
    b->arenas = make_arenas(t->net.plan.param_elems, PN_F64);
    initialise(&t->net, b->arenas, PN_F64);
    CHECK(pn_machine_open(&b->machine, &t->net.plan, PN_F64, SAMPLES, &b->arenas, NULL, 2) == PN_OK);
    if (!b->machine) exit(EXIT_FAILURE); /* that was said */
    b->function = (caller_function){.n = &t->net, .machine = b->machine, .dtype = PN_F64};
    pn_machine_on_call(b->machine, squash, &b->function);
    b->job = training_job(t, b->sums);
    b->w = b->arenas.params;
}
static void put_away(bench *b) {
    pn_machine_close(b->machine);
    drop_arenas(b->arenas);
}
static pn_status step(bench *b) { /* the first batch, again */
    int64_t done;
    const pn_status status = pn_run(b->machine, &b->job, 0, 1, 1e9, &done);
    CHECK(done == (status == PN_OK));
    return status;
}
static uint64_t bits_of(const bench *b, const task *t) { return add_bits(NO_BITS, b->w, bytes_of(&t->net, PN_F64)); }
static double *element(const bench *b, const task *t, int param, uint32_t i, uint32_t o) {
    return &b->w[place(&t->net.params[param], i, o)];
}

/* ---- running statistics move with an update, and by the formula -------------------------------------------- */

static void check_statistics(void) {
    bench b;
    set_up(&b, &small);
    const uint32_t width = small.net.values[FIRST(1)].width;
    const double momentum = small.net.ops[RICH_BATCH_NORM].p[1];
    const uint64_t start = bits_of(&b, &small);
    AT("running statistics without an update");
    b.job.stages &= ~(uint32_t)PN_UPDATE;
    CHECK(step(&b) == PN_OK && bits_of(&b, &small) == start);
    AT("running statistics");
    b.job.stages |= PN_UPDATE;
    CHECK(step(&b) == PN_OK);
    int64_t rows;
    uint32_t ld;
    const double *x = pn_machine_value(b.machine, FIRST(1), 0, &rows, &ld);
    CHECK(rows == small.batch);
    for (uint32_t o = 0; o < width; o++) {
        double sum = 0, squares = 0, mean = 0, variance = 0;
        for (int64_t m = 0; m < rows; m++) {
            const double r = row_weights[order[m]];
            sum += r, squares += r * r, mean += r * x[m * ld + o];
        }
        mean /= sum;
        for (int64_t m = 0; m < rows; m++) variance += row_weights[order[m]] * pow(x[m * ld + o] - mean, 2) / sum;
        const double n = sum * sum / squares; /* a sample's variance falls short of that of the whole */
        CHECK(fabs(*element(&b, &small, RICH_MEAN, 0, o) - (1 - momentum) * mean) < 1e-13);
        variance = momentum * 1 + (1 - momentum) * variance * n / (n - 1);
        CHECK(fabs(*element(&b, &small, RICH_VARIANCE, 0, o) - variance) < 1e-13);
        CHECK(*element(&b, &small, RICH_MEAN2, 0, o) == 0.5); /* a running norm has constants */
    }
    AT("running statistics, a batch of one row");
    const double was = *element(&b, &small, RICH_MEAN, 0, 0), slope = *element(&b, &small, RICH_SLOPE, 0, 0);
    b.job.batch = 1;
    CHECK(step(&b) == PN_OK);
    CHECK(*element(&b, &small, RICH_MEAN, 0, 0) == was && *element(&b, &small, RICH_SLOPE, 0, 0) != slope);
    put_away(&b);
}

/* ---- the way down, in a call of its own, which has no data ---------------------------------------------------- */

static void check_way_down(void) {
    enum { MANY = 500 }; /* so many that the next batch would be asked for: the first row, again and again */
    pn_array same_inputs[] = {inputs[0], inputs[1]}, same_targets[] = {targets[0], targets[1]};
    for (int i = 0; i < 2; i++) same_inputs[i].row_stride = same_targets[i].row_stride = 0;
    const size_t bytes = bytes_of(&small.net, PN_F64);
    bench b;
    AT("the way down alone");
    set_up(&b, &small);
    pn_machine_close(b.machine);
    CHECK(pn_machine_open(&b.machine, &small.net.plan, PN_F64, MANY, &b.arenas, NULL, 2) == PN_OK);
    b.function.machine = b.machine;
    pn_machine_on_call(b.machine, squash, &b.function);
    b.job.inputs = same_inputs, b.job.targets = same_targets, b.job.weight = NULL, b.job.order = NULL;
    b.job.rows = 2 * MANY, b.job.batch = MANY;
    b.job.stages &= ~(uint32_t)PN_UPDATE;
    CHECK(MANY * INPUTS >= 1 << 13 && step(&b) == PN_OK);
    const uint64_t at_once = add_bits(NO_BITS, b.arenas.grads, bytes);
    memset(b.arenas.grads, 0, bytes);
    b.job.stages = PN_FORWARD | PN_LOSS; /* afresh: dy is overwritten on the way down */
    CHECK(step(&b) == PN_OK && add_bits(NO_BITS, b.arenas.grads, bytes) != at_once);
    b.job.stages = PN_BACKWARD, b.job.inputs = b.job.targets = NULL;
    CHECK(step(&b) == PN_OK && add_bits(NO_BITS, b.arenas.grads, bytes) == at_once);
    put_away(&b);
}

/* ---- the caller's function: missing, failing on the way up, on the way down -------------------------------- */

static void check_function(void) {
    task two = small; /* two ops with a function: up, up, down, down */
    link_plan(&two.net);
    two.net.ops[RICH_DROPOUT].kind = PN_OP_python;
    bench b;
    set_up(&b, &two);
    const uint64_t start = bits_of(&b, &two);
    double room[64] = {77}; /* of one row of any output */
    pn_array outputs[] = {{room, 0, 8, CLASSES, PN_FLOAT64}, {room, 0, 8, 2, PN_FLOAT64}, {room, 0, 8, 37, PN_FLOAT64}};
    b.job.stages |= PN_OUTPUT, b.job.outputs = outputs;
    AT("a python op without its function");
    pn_machine_on_call(b.machine, NULL, NULL);
    CHECK(step(&b) == PN_CALL_FAILED && bits_of(&b, &two) == start && b.sums[1] == 0 && room[0] == 77);
    pn_machine_on_call(b.machine, squash, &b.function);
    b.job.stages &= ~(uint32_t)PN_OUTPUT;
    for (int call = 1; call <= 4; call++) {
        AT("a python op whose call %d fails", call);
        b.function.calls = 0, b.function.fail_at = call;
        CHECK(step(&b) == PN_CALL_FAILED && bits_of(&b, &two) == start && b.sums[1] == 0);
        CHECK(b.function.calls == call); /* nothing was called after that */
    }
    AT("a python op");
    b.function.calls = b.function.fail_at = 0;
    CHECK(step(&b) == PN_OK && bits_of(&b, &two) != start && b.sums[1] == 1 && b.function.calls == 4);
    put_away(&b);
}

/* ---- gradient clips on the way down -------------------------------------------------------------------------- */

static double clipped(int kind, double g, double norm, double c) {
    if (kind == PN_CLIP_sign) return (g > 0) - (g < 0);
    return kind == PN_CLIP_value ? fmin(c, fmax(-c, g)) : g * fmin(1, c / norm);
}

/* Beside one that does not clip: the gradients that are handed down, and what arrives below, where others add theirs.
 */
static void check_gradient_clips(void) {
    static const struct {
        int kind;
        double c;
    } clips_of[] = {{PN_CLIP_norm, 1e-3}, {PN_CLIP_norm, 10}, {PN_CLIP_value, 1e-5}, {PN_CLIP_sign, 0}};
    task other = small;
    link_plan(&other.net);
    pn_op *op = &other.net.ops[RICH_CLIP];
    bench open, shut;
    op->p[0] = 1e6;
    set_up(&open, &other);
    CHECK(step(&open) == PN_OK);
    for (int i = 0; i < 4; i++) {
        AT("gradient clip %d, c %g", clips_of[i].kind, clips_of[i].c);
        op->act = (uint8_t)clips_of[i].kind, op->p[0] = clips_of[i].c;
        set_up(&shut, &other);
        CHECK(step(&shut) == PN_OK);
        int64_t rows;
        uint32_t ld;
        const double *dy = pn_machine_value(open.machine, op->y, 1, &rows, &ld);
        const double *dx = pn_machine_value(open.machine, op->x, 1, &rows, &ld);
        const double *to = pn_machine_value(shut.machine, op->x, 1, &rows, &ld);
        double norm = 0, largest = 0;
        int differ = 0;
        for (int64_t e = 0; e < rows * ld; e++) norm += dy[e] * dy[e];
        norm = sqrt(norm);
        for (int64_t e = 0; e < rows * ld; e++) {
            const double want = dx[e] - dy[e] + clipped(op->act, dy[e], norm, op->p[0]);
            largest = fmax(largest, fabs(to[e] - want));
            differ += to[e] != dx[e];
        }
        CHECK(norm > 1e-2 && norm < 10);
        CHECK(largest < 1e-15 && (differ > rows) == (clips_of[i].c != 10));
        put_away(&shut);
    }
    put_away(&open);
}

/* ---- masks and padding ---------------------------------------------------------------------------------------- */

static void check_masks(void) { /* states stay as they are where a sequence has ended */
    bench b;
    set_up(&b, &small);
    CHECK(step(&b) == PN_OK);
    int64_t rows;
    uint32_t ld;
    const uint32_t units = small.net.values[RICH_H2].width;
    const double *h = pn_machine_value(b.machine, RICH_H1, 0, &rows, &ld);
    AT("states of an LSTM with a mask");
    for (int64_t m = 0; m < rows; m++)
        for (int t = 1; t < TIMES; t++) {
            const double *now = h + m * ld + t * units;
            CHECK((memcmp(now, now - units, units * sizeof *now) == 0) == (mask[order[m]][t] == 0));
        }
    put_away(&b);
}

/* Columns beyond the width: numbers, of values (noise gathers there), and 0 of gradients (an arena would gather it). */
static int ends_well(pn_machine *machine, const net *n, uint32_t v, int gradient) {
    int64_t rows;
    uint32_t ld;
    const double *x = pn_machine_value(machine, v, gradient, &rows, &ld);
    for (int64_t e = 0; e < rows * ld; e++)
        if (e % ld >= n->values[v].width && (gradient ? x[e] != 0 : !isfinite(x[e]))) return 0;
    return 1;
}

static void check_padding(void) {
    task other = small;
    link_plan(&other.net);
    other.net.ops[RICH_HEAD_M].flags = PN_STOP_X; /* then the second LSTM writes its dx, and does not add to it */
    other.net.ops[RICH_LSTM2].flags = 0;
    for (int k = 0; k < 2; k++) {
        const task *t = k ? &other : &small;
        bench b;
        int64_t rows;
        uint32_t ld;
        set_up(&b, t);
        double *x = pn_machine_value(b.machine, 0, 0, &rows, &ld), *dx = pn_machine_value(b.machine, 0, 1, &rows, &ld);
        for (uint64_t e = 0; e < (uint64_t)t->net.plan.row_elems * SAMPLES; e++) x[e] = dx[e] = NAN; /* all of memory */
        CHECK(step(&b) == PN_OK);
        for (uint32_t v = 0; v < t->net.plan.n_values; v++) {
            AT("padding of value %u, net %d", v, k);
            const int kept =
                v == RICH_STATS || v == RICH_STATS2 || v == RICH_Z1 || v == RICH_Z2; /* by an op, for itself */
            const int top = v == RICH_X || v == RICH_MASK || v == RICH_F; /* nobody asks for their gradients */
            CHECK(kept || ends_well(b.machine, &t->net, v, 0));
            CHECK(kept || top || ends_well(b.machine, &t->net, v, 1));
        }
        put_away(&b);
    }
}

/* ---- rates by parameter, bounds on norms ------------------------------------------------------------------- */

static void check_rates(void) {
    task other = small;
    link_plan(&other.net);
    other.optimizer = PN_OPTIMIZER_sgd;
    bench half, whole;
    set_up(&half, &other);
    other.net.params[RICH_SLOPES].rate = 1;
    set_up(&whole, &other);
    AT("learning rates by parameter");
    CHECK(step(&half) == PN_OK && step(&whole) == PN_OK);
    const uint32_t width = other.net.params[RICH_SLOPES].cols;
    for (uint32_t o = 0; o < width; o++) {
        const double a = *element(&half, &other, RICH_SLOPES, 0, o) - 0.25;
        const double b = *element(&whole, &other, RICH_SLOPES, 0, o) - 0.25;
        CHECK(a != 0 && fabs(2 * a - b) < 1e-15);
        CHECK(*element(&half, &other, RICH_GAMMA, 0, o) == *element(&whole, &other, RICH_GAMMA, 0, o));
    }
    CHECK(*element(&whole, &other, RICH_BM, 0, 1) == 0 && *element(&whole, &other, RICH_BL, 0, 1) != 0);
    AT("max_norm");
    double longest = 0;
    for (uint32_t o = 0; o < width; o++) {
        double squares = 0;
        for (uint32_t i = 0; i < INPUTS; i++) squares += pow(*element(&whole, &other, RICH_W, i, o), 2);
        longest = fmax(longest, sqrt(squares));
    }
    CHECK(fabs(longest - other.net.params[RICH_W].max_norm) < 1e-14); /* some were longer, none is */
    put_away(&half);
    put_away(&whole);
}

/* ---- prediction with random ops ------------------------------------------------------------------------------ */

typedef struct prediction {
    double l[SAMPLES][CLASSES], m[SAMPLES][2], f[SAMPLES][64];
} prediction;

static void predict(pn_machine *machine, const net *n, int64_t batch, uint64_t seed, int64_t step, prediction *to) {
    const pn_array outputs[] = {{to->l, sizeof to->l[0], sizeof(double), CLASSES, PN_FLOAT64},
                                {to->m, sizeof to->m[0], sizeof(double), 2, PN_FLOAT64},
                                {to->f, sizeof to->f[0], sizeof(double), n->values[RICH_F].width, PN_FLOAT64}};
    pn_job job = {.inputs = inputs, .outputs = (pn_array *)(uintptr_t)outputs, .rows = SAMPLES, .batch = batch};
    job.stages = PN_FORWARD | PN_OUTPUT, job.seed = seed, job.step = step;
    int64_t done;
    memset(to, 0, sizeof *to);
    CHECK(pn_run(machine, &job, 0, (SAMPLES + batch - 1) / batch, 1e9, &done) == PN_OK);
    CHECK(done == (SAMPLES + batch - 1) / batch);
}

/* relu of the folded norm, by hand */
static double folded(const bench *b, const float *x, uint32_t o) {
    double z = *element(b, &small, RICH_B, 0, o);
    for (uint32_t i = 0; i < INPUTS; i++) z += (double)x[i] * *element(b, &small, RICH_W, i, o);
    z -= *element(b, &small, RICH_MEAN, 0, o);
    z /= sqrt(*element(b, &small, RICH_VARIANCE, 0, o) + small.net.ops[RICH_FOLDED].p[2]);
    return fmax(0, z * *element(b, &small, RICH_GAMMA, 0, o) + *element(b, &small, RICH_BETA, 0, o));
}

static void check_prediction(void) {
    static const int64_t batches[] = {SAMPLES, 64, 8, 7, 1};
    static prediction whole, now;
    bench b; /* trained, so that its statistics are some */
    set_up(&b, &small);
    CHECK(train(b.machine, &b.job, 0, 8) == PN_OK);
    const pn_arenas reading = {.params = b.w};
    task frozen = small;
    link_plan(&frozen.net);
    pn_machine *machine;
    AT("a batch norm asks for a machine that trains");
    CHECK(pn_machine_open(&machine, &frozen.net.plan, PN_F64, SAMPLES, &reading, NULL, 1) == PN_OK);
    int64_t done;
    const pn_job job = {.inputs = inputs, .rows = SAMPLES, .batch = SAMPLES, .stages = PN_FORWARD};
    CHECK(pn_run(machine, &job, 0, 1, 1e9, &done) == PN_BAD_ARGUMENT && done == 0);
    pn_machine_close(machine);
    const size_t bytes = pn_machine_bytes(&frozen.net.plan, PN_F64, SAMPLES, 1);
    freeze(&frozen.net);
    AT("a batch norm keeps a mean and a variance for each padded column");
    CHECK(bytes == pn_machine_bytes(&frozen.net.plan, PN_F64, SAMPLES, 1) + 2 * 48 * sizeof(double));
    for (int i = 0; pn_isa_name(i); i++) {
        const char *isa = pn_isa_name(i);
        if (!pn_isa_usable(isa)) continue;
        CHECK(pn_machine_open(&machine, &frozen.net.plan, PN_F64, SAMPLES, &reading, isa, 2) == PN_OK);
        caller_function function = {.n = &frozen.net, .machine = machine, .dtype = PN_F64};
        pn_machine_on_call(machine, squash, &function);
        for (int k = 0; k < 5; k++) {
            AT("%s: predictions in batches of %d", isa, (int)batches[k]);
            predict(machine, &frozen.net, batches[k], 5, 3, k ? &now : &whole);
            if (k) CHECK(memcmp(&now, &whole, sizeof now) == 0);
        }
        AT("%s: predictions of another seed, of another step", isa);
        predict(machine, &frozen.net, SAMPLES, 6, 3, &now);
        CHECK(memcmp(now.l, whole.l, sizeof now.l) != 0 && memcmp(now.m, whole.m, sizeof now.m) == 0);
        predict(machine, &frozen.net, SAMPLES, 5, 4, &now);
        CHECK(memcmp(now.l, whole.l, sizeof now.l) != 0 && memcmp(now.f, whole.f, sizeof now.f) == 0);
        AT("%s: a norm folded into a dense op", isa);
        for (int r = 0; r < SAMPLES; r++)
            for (uint32_t o = 0; o < frozen.net.values[RICH_F].width; o++)
                CHECK(fabs(whole.f[r][o] - folded(&b, data[r], o)) < 1e-12);
        pn_machine_close(machine);
    }
    put_away(&b);
}

int main(void) {
    make_tasks();
    small = rich;
    small.net = make_rich_net(37, 7);
    link_plan(&small.net);
    check_statistics();
    check_way_down();
    check_function();
    check_gradient_clips();
    check_masks();
    check_padding();
    check_rates();
    check_prediction();
    check_bits("plain", &plain, 200, 20, 0.5);
    check_bits("rich", &rich, 10, 8, 1);
    return verdict("test_training", 200);
}
