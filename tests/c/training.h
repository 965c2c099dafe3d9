/* training.h: what trains the nets of nets.h and rich_net.h: samples, a job, steps, a name for the bits they leave. */
#ifndef PN_TRAINING_H
#define PN_TRAINING_H
#include "allocator.h"
#include "check.h"
#include "rich_net.h"

enum { INPUTS = FEATURES * TIMES };
static float data[SAMPLES][INPUTS], mask[SAMPLES][TIMES], wanted[SAMPLES][2];
static uint8_t labels[SAMPLES];
static int64_t order[SAMPLES];
static double row_weights[SAMPLES];

static const pn_array inputs[] = {{data, sizeof data[0], sizeof data[0][0], INPUTS, PN_FLOAT32},
                                  {mask, sizeof mask[0], sizeof mask[0][0], TIMES, PN_FLOAT32}};
static const pn_array targets[] = {{labels, 1, 1, 1, PN_UINT8},
                                   {wanted, sizeof wanted[0], sizeof wanted[0][0], 2, PN_FLOAT32}};
static const pn_clip clips[] = {{PN_CLIP_norm, 0, 0.5}};

typedef struct task { /* a net, and how it is trained */
    net net;
    int64_t batch;
    int32_t optimizer;
    double rate[SAMPLES], hyper[8];
} task;
static task plain, rich;

/* So wide that each op of the rich net has work for several threads: work.h. */
enum { RICH_WIDTH = 1034, RICH_UNITS = 23, RICH_ROWS = 160 };

static inline void make_tasks(void) {
    static const double adamw[8] = {0.9, 0.999, 1e-8, [7] = 0.01}, momentum[8] = {0.9};
    plain = (task){.net = make_net(), .batch = ROWS, .optimizer = PN_OPTIMIZER_adamw};
    rich = (task){.net = make_rich_net(RICH_WIDTH, RICH_UNITS), .batch = RICH_ROWS, .optimizer = PN_OPTIMIZER_momentum};
    memcpy(plain.hyper, adamw, sizeof adamw), memcpy(rich.hyper, momentum, sizeof momentum);
    link_plan(&plain.net), link_plan(&rich.net);
    for (int i = 0; i < SAMPLES; i++) plain.rate[i] = 0.002, rich.rate[i] = 0.02;
    for (int r = 0; r < SAMPLES; r++) {
        double sum = 0;
        for (int i = 0; i < INPUTS; i++) sum += (double)(data[r][i] = (float)uniform(-1, 1));
        for (int t = 0; t < TIMES; t++) mask[r][t] = t < 1 + r % TIMES; /* sequences of one step to all of them */
        labels[r] = sum < -1 ? 0 : sum < 1 ? 1 : 2;
        wanted[r][0] = data[r][0] * data[r][1];
        wanted[r][1] = (float)(sum / 10);
        order[r] = (r * 77) % SAMPLES;
        row_weights[r] = r % 5 ? 1 : 0.5;
    }
}

static inline pn_job training_job(const task *t, double *sums) {
    pn_job job = {.inputs = inputs, .targets = targets, .weight = row_weights, .order = order, .rows = SAMPLES};
    job.stages = PN_FORWARD | PN_LOSS | PN_METRIC | PN_BACKWARD | PN_UPDATE;
    job.batch = t->batch, job.optimizer = t->optimizer, job.rate = t->rate;
    job.clips = clips, job.n_clips = 1;
    job.seed = 0x123456789abcdef, job.sums = sums;
    memcpy(job.hyper, t->hyper, sizeof job.hyper);
    return job;
}

/* Runs steps from `from` to `to`: all batches of every epoch, the last one shorter than the others. */
static inline pn_status train(pn_machine *machine, pn_job *job, int from, int to) {
    const int64_t batches = (job->rows + job->batch - 1) / job->batch;
    pn_status status = PN_OK;
    for (int step = from; status == PN_OK && step < to; step++) {
        int64_t done = 0;
        job->step = step;
        status = pn_run(machine, job, step % batches, 1, 1e9, &done);
        if (status == PN_OK && done != 1) FAIL("step %d: %d batches done", step, (int)done);
    }
    return status;
}

static inline size_t bytes_of(const net *n, pn_dtype dtype) { return n->plan.param_elems * (dtype == PN_F64 ? 8 : 4); }

static inline int padding_is_zero(const net *n, const void *arena, pn_dtype dtype) {
    for (uint32_t k = 0; k < n->plan.n_params; k++)
        for (uint64_t e = 0; e < pn_param_size(&n->params[k]); e++)
            if (is_padding(&n->params[k], e) && number(arena, dtype, n->params[k].offset + e) != 0) return 0;
    return 1;
}

/* A name for the bits of the weights after some steps; *late: (de)allocations after the first of them. */
static inline uint64_t trained(const task *t, pn_dtype dtype, const char *isa, int n_threads, int steps, double *loss,
                               long *late) {
    const pn_arenas arenas = make_arenas(t->net.plan.param_elems, dtype);
    initialise(&t->net, arenas, dtype);
    const uint64_t untrained = add_bits(NO_BITS, arenas.params, bytes_of(&t->net, dtype));
    double sums[N_SUMS] = {0};
    pn_machine *machine;
    pn_job job = training_job(t, sums);
    CHECK(pn_machine_open(&machine, &t->net.plan, dtype, t->batch, &arenas, isa, n_threads) == PN_OK);
    caller_function function = {.n = &t->net, .machine = machine, .dtype = dtype};
    pn_machine_on_call(machine, squash, &function);
    CHECK(train(machine, &job, 0, 1) == PN_OK); /* the first step, which may hire threads */
    const long before = allocations + frees;
    CHECK(train(machine, &job, 1, 4) == PN_OK);
    if (loss) loss[0] = sums[2] / sums[3];
    CHECK(train(machine, &job, 4, steps - 4) == PN_OK);
    memset(sums, 0, sizeof sums);
    CHECK(train(machine, &job, steps - 4, steps) == PN_OK);
    if (late) *late = allocations + frees - before;
    if (loss) loss[1] = sums[2] / sums[3];
    pn_machine_close(machine);
    const uint64_t bits = add_bits(NO_BITS, arenas.params, bytes_of(&t->net, dtype));
    CHECK(bits != untrained);
    CHECK(padding_is_zero(&t->net, arenas.params, dtype) && padding_is_zero(&t->net, arenas.grads, dtype));
    drop_arenas(arenas);
    return bits;
}
#endif
