/* test_parts.c: batches in parts, and a reduce that adds up their gradients over ranks, here threads: each with a
 * machine and arenas of its own, with room for a part only.  The parts are the same bits on any number of ranks, and
 * within rounding what whole batches are. */
#define _GNU_SOURCE
#include "training.h"

#include <math.h>
#include <pthread.h>

CHECK_PROGRAM

enum { MOST_RANKS = 3, MOST_PARTS = 13, BATCH = 64, BATCHES = 4 }; /* the last batch: 8 rows, so some parts have none */

/* ---- ranks ------------------------------------------------------------------------------------------------------ */

typedef struct exchange { /* what the ranks have in common */
    pthread_mutex_t mutex;
    pthread_cond_t all_here;
    int ranks, here;
    long meeting;
    const void *terms[MOST_RANKS]; /* the gradients of all ranks, where no reduce adds them up */
    void *gradient[MOST_PARTS];
    pn_status status[MOST_PARTS];
} exchange;

static void meet(exchange *e) { /* all ranks; what one wrote before, the others read after */
    pthread_mutex_lock(&e->mutex);
    const long now = e->meeting;
    if (++e->here == e->ranks) {
        e->here = 0, e->meeting++;
        pthread_cond_broadcast(&e->all_here);
    }
    while (e->meeting == now) pthread_cond_wait(&e->all_here, &e->mutex);
    pthread_mutex_unlock(&e->mutex);
}

typedef struct rank {
    exchange *e;
    pn_machine *machine;
    pn_arenas arenas;
    pn_dtype dtype;
    uint64_t elems;
    pn_job job;
    caller_function function;
    double sums[MOST_PARTS][N_SUMS]; /* of its own parts */
    int64_t stop_after, batches, done;
    int64_t expected; /* part */
    int in_turn;
    pn_status status;
} rank;

static void add(void *to, const void *from, uint64_t n, pn_dtype dtype) {
    for (uint64_t i = 0; i < n; i++)
        if (dtype == PN_F64)
            ((double *)to)[i] += ((const double *)from)[i];
        else
            ((float *)to)[i] += ((const float *)from)[i];
}

/* The reduce of a job: parts are added in ascending order. */
static pn_status add_up(void *context, int64_t part, pn_status status, int *last) {
    rank *k = context;
    exchange *e = k->e;
    const size_t size = k->elems * (k->dtype == PN_F64 ? 8 : 4);
    k->in_turn &= part == k->expected;
    k->expected = part + 1 < k->job.part1 ? part + 1 : k->job.part0;
    memcpy(e->gradient[part], k->arenas.grads, size);
    e->status[part] = status;
    if (part + 1 < k->job.part1) return status;
    meet(e);
    memcpy(k->arenas.grads, e->gradient[0], size);
    pn_status all = e->status[0];
    for (int p = 1; p < k->job.parts; p++) {
        add(k->arenas.grads, e->gradient[p], k->elems, k->dtype);
        if (all == PN_OK) all = e->status[p];
    }
    meet(e); /* before the next gradients are written */
    *last = ++k->batches == k->stop_after;
    return all;
}

/* The same for gradients that all ranks see: they wait for each other before they read them, and afterwards. */
static pn_status see_all(void *context, int64_t part, pn_status status, int *last) {
    rank *k = context;
    k->in_turn &= part == k->expected;
    k->e->status[part] = status;
    meet(k->e);
    pn_status all = PN_OK;
    for (int p = 0; p < k->job.parts && all == PN_OK; p++) all = k->e->status[p];
    meet(k->e);
    *last = ++k->batches == k->stop_after;
    return all;
}
static pn_status all_saw(void *context) {
    meet(((rank *)context)->e);
    return PN_OK;
}

static void *run_rank(void *argument) { /* its parts of every batch; nobody looks at the clock */
    rank *k = argument;
    k->status = pn_run(k->machine, &k->job, 0, BATCHES, k->job.parts ? 0 : 1e9, &k->done);
    return NULL;
}

/* ---- training --------------------------------------------------------------------------------------------------- */

typedef struct outcome {
    pn_arenas arenas; /* of rank 0 */
    double sums[MOST_PARTS][N_SUMS];
    pn_status status;
    int64_t done;
} outcome;

/* What an update follows: the clipped sum of gradients, their sum, or the gradients of all ranks. */
typedef enum way { CLIPPED, SUMMED, SEEN } way;

/* From the same weights, with parts 0 whole batches; at most `stop_after` batches, if that is not 0. */
static outcome train_by(int ranks, const task *t, pn_dtype dtype, const char *isa, int64_t parts, int64_t stop_after,
                        int threads, way by) {
    static rank all[MOST_RANKS];
    exchange e = {.mutex = PTHREAD_MUTEX_INITIALIZER, .all_here = PTHREAD_COND_INITIALIZER, .ranks = ranks};
    pthread_t thread[MOST_RANKS];
    const uint64_t elems = t->net.plan.param_elems;
    for (int p = 0; p < parts; p++)
        if (!(e.gradient[p] = malloc(bytes_of(&t->net, dtype)))) abort();
    for (int i = 0; i < ranks; i++) {
        rank *k = &all[i];
        *k = (rank){.e = &e, .dtype = dtype, .elems = elems, .stop_after = stop_after, .in_turn = 1};
        k->arenas = make_arenas(elems, dtype);
        initialise(&t->net, k->arenas, dtype);
        k->job = training_job(t, k->sums[0]);
        if (parts) {
            k->job.parts = parts, k->job.part0 = parts * i / ranks, k->job.part1 = parts * (i + 1) / ranks;
            k->job.reduce = add_up, k->job.context = k, k->expected = k->job.part0;
        }
        if (by != CLIPPED) k->job.n_clips = 0;
        if (by == SEEN) {
            e.terms[i] = k->arenas.grads;
            k->job.reduce = see_all, k->job.updated = all_saw, k->job.terms = e.terms, k->job.n_terms = ranks;
        }
        const int64_t rows = parts ? (BATCH - 1) / parts + 1 : BATCH;
        CHECK(pn_machine_open(&k->machine, &t->net.plan, dtype, rows, &k->arenas, isa, threads) == PN_OK);
        if (!k->machine) exit(EXIT_FAILURE); /* that was said */
        k->function = (caller_function){.n = &t->net, .machine = k->machine, .dtype = dtype};
        pn_machine_on_call(k->machine, squash, &k->function);
    }
    const long before = allocations + frees;
    if (ranks == 1) run_rank(&all[0]);
    if (threads == 1 && ranks == 1) CHECK(allocations + frees == before);
    for (int i = 0; ranks > 1 && i < ranks; i++) CHECK(pthread_create(&thread[i], NULL, run_rank, &all[i]) == 0);
    for (int i = 0; ranks > 1 && i < ranks; i++) pthread_join(thread[i], NULL);
    outcome o = {.arenas = all[0].arenas, .status = all[0].status, .done = all[0].done};
    memcpy(o.sums, all[0].sums, sizeof o.sums);
    for (int i = 0; i < ranks; i++) {
        rank *k = &all[i];
        CHECK(k->in_turn && k->expected == k->job.part0);
        CHECK(k->status == o.status && k->done == o.done);
        CHECK(padding_is_zero(&t->net, k->arenas.params, dtype) && padding_is_zero(&t->net, k->arenas.grads, dtype));
        if (parts) CHECK(k->batches == o.done + (o.status != PN_OK));
        if (parts) memcpy(o.sums[k->job.part0], k->sums, (size_t)(k->job.part1 - k->job.part0) * sizeof k->sums[0]);
        pn_machine_close(k->machine);
        if (i == 0) continue;
        CHECK(memcmp(k->arenas.params, o.arenas.params, bytes_of(&t->net, dtype)) == 0);
        CHECK(by == SEEN || memcmp(k->arenas.grads, o.arenas.grads, bytes_of(&t->net, dtype)) == 0);
        drop_arenas(k->arenas);
    }
    for (int p = 0; p < parts; p++) free(e.gradient[p]);
    return o;
}

static outcome train_on(int ranks, const task *t, pn_dtype dtype, const char *isa, int64_t parts, int64_t stop_after,
                        int threads) {
    return train_by(ranks, t, dtype, isa, parts, stop_after, threads, CLIPPED);
}

static int same(const outcome *a, const outcome *b, const task *t, pn_dtype dtype) {
    return a->status == b->status && a->done == b->done && memcmp(a->sums, b->sums, sizeof a->sums) == 0 &&
           memcmp(a->arenas.params, b->arenas.params, bytes_of(&t->net, dtype)) == 0;
}

/* The largest |difference| of weights, or gradients, in double. */
static double apart(const task *t, const double *a, const double *b) {
    double most = 0;
    for (uint64_t e = 0; e < t->net.plan.param_elems; e++) most = fmax(most, fabs(a[e] - b[e]));
    return most;
}

static const int64_t cuts[] = {1, 2, 3, MOST_PARTS};

static void check_whole(const task *t, const char *name) {
    AT("%s net, whole batches", name);
    const outcome whole = train_on(1, t, PN_F64, NULL, 0, 0, 1);
    CHECK(whole.status == PN_OK && whole.done == BATCHES);
    for (int k = 0; k < 4; k++) {
        AT("%s net, %d parts beside whole batches", name, (int)cuts[k]);
        const outcome parts = train_on(1, t, PN_F64, NULL, cuts[k], 0, 1);
        CHECK(parts.status == PN_OK && parts.done == BATCHES);
        CHECK(same(&parts, &whole, t, PN_F64) == (cuts[k] == 1)); /* else it is another order of additions */
        CHECK(apart(t, parts.arenas.params, whole.arenas.params) < 1e-11);
        CHECK(apart(t, parts.arenas.grads, whole.arenas.grads) < 1e-13);
        for (int i = 0; i < N_SUMS; i++) {
            double sum = 0;
            for (int p = 0; p < cuts[k]; p++) sum += parts.sums[p][i];
            CHECK(fabs(sum - whole.sums[0][i]) <= 1e-12 * fabs(sum));
            CHECK(i >= 2 || sum == parts.sums[0][i]); /* penalties, and the number of batches */
        }
        drop_arenas(parts.arenas);
    }
    drop_arenas(whole.arenas);
}

/* The same bits, whoever computes the parts. */
static void check_ranks(const task *t, const char *name) {
    for (int i = 0; pn_isa_name(i); i++)
        for (int dtype = PN_F32; dtype <= PN_F64 && pn_isa_usable(pn_isa_name(i)); dtype++)
            for (int k = 1; k < 4; k++) {
                AT("%s net, %s, f%d, %d parts on one rank", name, pn_isa_name(i), dtype ? 64 : 32, (int)cuts[k]);
                const outcome one = train_on(1, t, dtype, pn_isa_name(i), cuts[k], 0, 1);
                for (int ranks = 2; ranks <= MOST_RANKS && ranks <= cuts[k]; ranks++) {
                    AT("%s net, %s, f%d, %d parts on %d ranks", name, pn_isa_name(i), dtype ? 64 : 32, (int)cuts[k],
                       ranks);
                    const outcome several = train_on(ranks, t, dtype, pn_isa_name(i), cuts[k], 0, 2);
                    CHECK(several.status == PN_OK && several.done == BATCHES);
                    CHECK(same(&several, &one, t, dtype));
                    drop_arenas(several.arenas);
                }
                drop_arenas(one.arenas);
            }
}

/* The same bits, whether reduce adds up the gradients or the update does. */
static void check_terms(const task *t, const char *name) {
    for (int i = 0; pn_isa_name(i); i++)
        for (int dtype = PN_F32; dtype <= PN_F64 && pn_isa_usable(pn_isa_name(i)); dtype++)
            for (int ranks = 1; ranks <= MOST_RANKS; ranks++) {
                AT("%s net, %s, f%d, the gradients of %d ranks", name, pn_isa_name(i), dtype ? 64 : 32, ranks);
                const outcome added = train_by(ranks, t, dtype, pn_isa_name(i), ranks, 0, 2, SUMMED);
                const outcome seen = train_by(ranks, t, dtype, pn_isa_name(i), ranks, 0, 2, SEEN);
                CHECK(seen.status == PN_OK && seen.done == BATCHES);
                CHECK(same(&seen, &added, t, dtype));
                drop_arenas(added.arenas), drop_arenas(seen.arenas);
            }
}

/* ---- what ends a run -------------------------------------------------------------------------------------------- */

/* After the second batch because reduce says so; in the third because one rank has no gradient: all ranks alike. */
static void check_ends(const task *t) {
    const int64_t row = order[2 * BATCH + BATCH / 2]; /* in the part of the second of three ranks */
    const uint8_t label = labels[row];
    const float x = data[row][0];
    for (int64_t parts = 3; parts <= 6; parts += 3)
        for (int ranks = 1; ranks <= 3; ranks += 2) {
            AT("%d parts on %d ranks: two batches", (int)parts, ranks);
            const outcome two = train_on(ranks, t, PN_F32, NULL, parts, 2, 1);
            CHECK(two.status == PN_OK && two.done == 2);
            AT("%d parts on %d ranks: a label that is none", (int)parts, ranks);
            labels[row] = CLASSES;
            const outcome bad = train_on(ranks, t, PN_F32, NULL, parts, 0, 1);
            labels[row] = label;
            CHECK(bad.status == PN_BAD_LABEL && bad.done == 2);
            CHECK(memcmp(bad.arenas.params, two.arenas.params, bytes_of(&t->net, PN_F32)) == 0);
            AT("%d parts on %d ranks: a NaN", (int)parts, ranks);
            data[row][0] = NAN;
            const outcome lost = train_on(ranks, t, PN_F32, NULL, parts, 0, 1);
            data[row][0] = x;
            CHECK(lost.status == PN_NOT_FINITE && lost.done == 2);
            CHECK(memcmp(lost.arenas.params, two.arenas.params, bytes_of(&t->net, PN_F32)) == 0);
            drop_arenas(two.arenas), drop_arenas(bad.arenas), drop_arenas(lost.arenas);
        }
}

/* ---- parts without updates, and jobs that are refused ------------------------------------------------------------ */

typedef struct prediction {
    float l[SAMPLES][CLASSES], m[SAMPLES][2], f[SAMPLES][64];
    double sums[MOST_PARTS][N_SUMS];
} prediction;

/* Parts part0 .. part1-1 of every batch, into `to`. */
static pn_status predict(const task *t, int64_t parts, int64_t part0, int64_t part1, prediction *to) {
    pn_array outputs[] = {{to->l, sizeof to->l[0], sizeof(float), CLASSES, PN_FLOAT32},
                          {to->m, sizeof to->m[0], sizeof(float), 2, PN_FLOAT32},
                          {to->f, sizeof to->f[0], sizeof(float), t->net.values[RICH_F].width, PN_FLOAT32}};
    const pn_arenas arenas = make_arenas(t->net.plan.param_elems, PN_F32), reading = {.params = arenas.params};
    initialise(&t->net, arenas, PN_F32);
    pn_machine *machine;
    CHECK(pn_machine_open(&machine, &t->net.plan, PN_F32, BATCH, &reading, NULL, 1) == PN_OK);
    caller_function function = {.n = &t->net, .machine = machine, .dtype = PN_F32};
    pn_machine_on_call(machine, squash, &function);
    pn_job job = training_job(t, to->sums[part0]);
    job.stages = PN_FORWARD | PN_METRIC | PN_OUTPUT, job.outputs = outputs;
    job.parts = parts, job.part0 = part0, job.part1 = part1;
    int64_t done;
    const pn_status status = pn_run(machine, &job, 0, BATCHES, 1e9, &done);
    CHECK(done == (status == PN_OK ? BATCHES : 0));
    pn_machine_close(machine);
    drop_arenas(arenas);
    return status;
}

static void check_prediction(const task *t) {
    static prediction whole, parts;
    AT("predictions");
    CHECK(predict(t, 0, 0, 0, &whole) == PN_OK);
    for (int k = 1; k < 4; k++) {
        AT("predictions in %d parts", (int)cuts[k]);
        memset(&parts, 0, sizeof parts);
        CHECK(predict(t, cuts[k], 1, cuts[k], &parts) == PN_OK);
        CHECK(memcmp(parts.l[BATCH], (float[CLASSES]){0}, sizeof parts.l[0]) == 0); /* a row of part 0 */
        CHECK(predict(t, cuts[k], 0, 1, &parts) == PN_OK);
        double right = 0, rows = 0;
        for (int p = 0; p < cuts[k]; p++) right += parts.sums[p][6], rows += parts.sums[p][7];
        CHECK(right == whole.sums[0][6] && rows == whole.sums[0][7] && right > 0); /* accuracy: sums of halves */
        CHECK(memcmp(parts.l, whole.l, sizeof whole.l) == 0 && memcmp(parts.m, whole.m, sizeof whole.m) == 0);
        CHECK(memcmp(parts.f, whole.f, sizeof whole.f) == 0);
    }
}

static void refuse(pn_machine *machine, const pn_job *good) {
    int64_t done;
#define REFUSED(change)                                                                                                \
    do {                                                                                                               \
        pn_job job = *good;                                                                                            \
        change;                                                                                                        \
        CHECK(pn_run(machine, &job, 0, 1, 1e9, &done) == PN_BAD_ARGUMENT && done == 0);                                \
    } while (0)
    REFUSED(job.parts = -1);
    REFUSED(job.parts = 1);                  /* of which part1 = 2 is none */
    REFUSED((job.parts = 1, job.part1 = 1)); /* there is room for half of it */
    REFUSED(job.parts = ((int64_t)1 << 20) + 1);
    REFUSED(job.part0 = -1);
    REFUSED(job.part0 = 2);
    REFUSED(job.part1 = 3);
    REFUSED(job.batch = INT64_MAX);
    REFUSED(job.stages |= PN_UPDATE); /* and no reduce */
    REFUSED(job.stages = PN_BACKWARD);
    const void *terms[PN_MOST_TERMS + 1] = {NULL};
    const pn_clip clip = {.kind = PN_CLIP_value, .c = 1};
    REFUSED((job.n_terms = 2, job.terms = terms)); /* and no updated */
    REFUSED((job.n_terms = 2, job.updated = all_saw));
    REFUSED((job.n_terms = -1, job.terms = terms, job.updated = all_saw));
    REFUSED((job.n_terms = PN_MOST_TERMS + 1, job.terms = terms, job.updated = all_saw));
    REFUSED((job.n_terms = 2, job.terms = terms, job.updated = all_saw, job.clips = &clip, job.n_clips = 1));
    REFUSED((job.n_terms = 2, job.terms = terms, job.updated = all_saw, job.parts = 0, job.batch = BATCH / 2));
#undef REFUSED
}

/* Beside a net that can be cut, those that look at a whole batch. */
static void check_refusals(const task *t, const task *with_norm, const task *with_clip) {
    const task *const tasks[] = {t, with_norm, with_clip};
    double sums[2 * N_SUMS] = {0};
    for (int i = 0; i < 3; i++) {
        AT("net %d in parts", i);
        const pn_arenas arenas = make_arenas(tasks[i]->net.plan.param_elems, PN_F32);
        initialise(&tasks[i]->net, arenas, PN_F32);
        pn_machine *machine;
        CHECK(pn_machine_open(&machine, &tasks[i]->net.plan, PN_F32, BATCH / 2, &arenas, NULL, 1) == PN_OK);
        caller_function function = {.n = &tasks[i]->net, .machine = machine, .dtype = PN_F32};
        pn_machine_on_call(machine, squash, &function);
        pn_job job = training_job(tasks[i], sums);
        job.parts = job.part1 = 2, job.stages &= ~(uint32_t)PN_UPDATE;
        int64_t done;
        CHECK(pn_run(machine, &job, 0, 1, 1e9, &done) == (i ? PN_BAD_ARGUMENT : PN_OK) && done == !i);
        if (i == 0) refuse(machine, &job);
        pn_machine_close(machine);
        drop_arenas(arenas);
    }
}

int main(void) {
    make_tasks();
    task with_both = rich; /* narrower; a batch norm and a gradient clip by norm look at whole batches */
    with_both.net = make_rich_net(37, 7);
    link_plan(&with_both.net);
    plain.batch = with_both.batch = BATCH;
    task with_norm = with_both, with_clip = with_both, small;
    link_plan(&with_norm.net), link_plan(&with_clip.net);
    with_norm.net.ops[RICH_CLIP].act = PN_CLIP_value, with_norm.net.ops[RICH_CLIP].p[0] = 1e-4;
    freeze(&with_clip.net);
    small = with_norm;
    link_plan(&small.net);
    freeze(&small.net);
    check_whole(&plain, "plain");
    check_whole(&small, "rich");
    check_ranks(&plain, "plain");
    check_ranks(&small, "rich");
    check_terms(&plain, "plain");
    check_terms(&small, "rich");
    check_ends(&plain);
    check_prediction(&small);
    check_refusals(&plain, &with_norm, &with_clip);
    return verdict("test_parts", 800);
}
