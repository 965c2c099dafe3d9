/* test_machine.c: the machine as its callers see it: memory that runs out, forks, callers in several threads, arguments
 * that are refused. */
#define _GNU_SOURCE
#include "training.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

CHECK_PROGRAM

#ifndef EMULATED /* by qemu-user; tests/c/run.sh says so */
#define EMULATED 0
#endif

/* Read by ThreadSanitizer, if it is here: a child that starts threads is what we test. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "die_after_fork=0"; }

/* ---- memory that runs out -------------------------------------------------------------------------------- */

static void check_out_of_memory(void) {
#ifdef COUNT_ALLOCATIONS
    const pn_arenas arenas = make_arenas(plain.net.plan.param_elems, PN_F32);
    pn_machine *machine = NULL;
    pn_status status = PN_NO_MEMORY;
    const long held = allocations - frees;
    int failed = 0;
    while (status == PN_NO_MEMORY && failed < 100) {
        AT("pn_machine_open, allocation %d fails", failed + 1);
        fail_at = failed + 1;
        status = pn_machine_open(&machine, &plain.net.plan, PN_F32, ROWS, &arenas, NULL, 1);
        const int reached = atomic_exchange(&fail_at, 0) <= 0;
        if (!reached) break;
        failed++;
        CHECK(status == PN_NO_MEMORY && !machine && allocations - frees == held);
    }
    CHECK(failed == 1 && status == PN_OK && machine); /* the machine and its block */
    pn_machine_close(machine);
    CHECK(allocations - frees == held);
    drop_arenas(arenas);
#else
    printf("test_machine: SKIPPED: counted and failing allocations (this linker has no --wrap)\n");
#endif
}

/* ---- forks: the child has no threads, and makes some ----------------------------------------------------- */

static int in_child(int (*body)(void)) { /* its wait status; a child that hangs is killed */
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        alarm(300);
        failures = 0;
        _exit(body());
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return -1;
    if (status != 0) fprintf(stderr, "the child ended with status %#x\n", (unsigned)status);
    return status;
}

static uint64_t right_bits;
static int same_bits(void) { return trained(&plain, PN_F32, NULL, 3, 8, NULL, NULL) != right_bits || failures; }

/* The pool cannot be made, or gets some of its workers late: fewer threads, the same bits. */
static int starving;
static int starved(void) {
    const pn_arenas arenas = make_arenas(plain.net.plan.param_elems, PN_F32);
    initialise(&plain.net, arenas, PN_F32);
    double sums[N_SUMS] = {0};
    pn_machine *machine;
    pn_job job = training_job(&plain, sums);
    if (pn_machine_open(&machine, &plain.net.plan, PN_F32, ROWS, &arenas, NULL, 7) != PN_OK) return 2;
    fail_at = starving;
    if (train(machine, &job, 0, 8) != PN_OK) return 3;
    pn_machine_close(machine);
    const uint64_t bits = add_bits(NO_BITS, arenas.params, plain.net.plan.param_elems * sizeof(float));
    drop_arenas(arenas);
    return bits != right_bits;
}

static void check_starved(void) { /* before this process has threads of its own */
    right_bits = trained(&plain, PN_F32, NULL, 1, 8, NULL, NULL);
    for (int i = 0; i < 32; i++) {
        starving = 1 + i % 8; /* the pool, or the seat of one of 6 workers, or nothing */
        AT("allocation %d of the pool fails", starving);
        CHECK(in_child(starved) == 0);
    }
}

static void check_forks(void) {
    AT("fork");
    CHECK(trained(&plain, PN_F32, NULL, 3, 8, NULL, NULL) == right_bits);
    if (EMULATED)
        printf("test_machine: SKIPPED: a child of a parent with threads starts some (qemu-user dies of it)\n");
    for (int i = 0; i < 2 && !EMULATED; i++) CHECK(in_child(same_bits) == 0);
    CHECK(trained(&plain, PN_F32, NULL, 3, 8, NULL, NULL) == right_bits); /* and the parent's threads still work */
}

/* ---- callers in several threads -------------------------------------------------------------------------- */

enum { CALLERS = 4, CALLS = 60 };
typedef struct caller {
    pthread_t thread;
    pn_machine *machine; /* NULL: opens one of its own */
    pn_arenas arenas;
    int ok, busy, wrong;
} caller;
static float right_answer[SAMPLES][CLASSES], right_second[SAMPLES][2];

/* All samples with every thread; rows of the last, shorter batch too. */
static pn_status predict(pn_machine *machine, float (*l)[CLASSES], float (*m)[2]) {
    pn_array outputs[] = {{l, sizeof l[0], sizeof(float), CLASSES, PN_FLOAT32},
                          {m, sizeof m[0], sizeof(float), 2, PN_FLOAT32}};
    const pn_job job = {
        .inputs = inputs, .outputs = outputs, .rows = SAMPLES, .batch = ROWS, .stages = PN_FORWARD | PN_OUTPUT};
    int64_t done;
    return pn_run(machine, &job, 0, (SAMPLES + ROWS - 1) / ROWS, 1e9, &done);
}

static void *call(void *argument) {
    caller *c = argument;
    static _Thread_local float l[SAMPLES][CLASSES], m[SAMPLES][2];
    pn_machine *machine = c->machine;
    if (!machine && pn_machine_open(&machine, &plain.net.plan, PN_F32, ROWS, &c->arenas, NULL, 0) != PN_OK) return NULL;
    for (int i = 0; i < CALLS; i++) {
        const pn_status status = predict(machine, l, m);
        if (status == PN_BUSY)
            c->busy++;
        else if (status == PN_OK && memcmp(l, right_answer, sizeof l) == 0 && memcmp(m, right_second, sizeof m) == 0)
            c->ok++;
        else
            c->wrong++;
    }
    if (!c->machine) pn_machine_close(machine);
    return NULL;
}

static void check_callers(void) {
    pn_arenas arenas = make_arenas(plain.net.plan.param_elems, PN_F32);
    initialise(&plain.net, arenas, PN_F32);
    const pn_arenas reading = {.params = arenas.params};
    pn_machine *shared;
    AT("callers in several threads");
    CHECK(pn_machine_open(&shared, &plain.net.plan, PN_F32, ROWS, &reading, NULL, 2) == PN_OK);
    CHECK(predict(shared, right_answer, right_second) == PN_OK);
    for (int one_machine = 0; one_machine <= 1; one_machine++) {
        caller callers[CALLERS];
        int ok = 0, busy = 0, wrong = 0;
        for (int i = 0; i < CALLERS; i++)
            callers[i] = (caller){.machine = one_machine ? shared : NULL, .arenas = reading};
        pn_set_num_threads(0); /* the first to ask finds out how many there are */
        for (int i = 0; i < CALLERS; i++) CHECK(pthread_create(&callers[i].thread, NULL, call, &callers[i]) == 0);
        for (int i = 0; i < CALLERS; i++) {
            pthread_join(callers[i].thread, NULL);
            ok += callers[i].ok, busy += callers[i].busy, wrong += callers[i].wrong;
        }
        printf("test_machine: %s: %d calls right, %d found it busy, %d wrong\n",
               one_machine ? "one machine" : "a machine each", ok, busy, wrong);
        CHECK(wrong == 0 && ok > 0 && ok + busy == CALLERS * CALLS && (one_machine || busy == 0));
    }
    CHECK(pn_get_num_threads() >= 1);
    pn_machine_close(shared);
    drop_arenas(arenas);
}

/* ---- arguments that are refused -------------------------------------------------------------------------- */

static void check_doors(void) {
    const pn_arenas arenas = make_arenas(plain.net.plan.param_elems, PN_F32);
    initialise(&plain.net, arenas, PN_F32);
    pn_machine *m;
    const pn_plan *plan = &plain.net.plan;
    AT("pn_machine_open");
    CHECK(pn_machine_open(&m, plan, PN_F32, 0, &arenas, NULL, 1) == PN_BAD_ARGUMENT && !m);
    CHECK(pn_machine_open(&m, plan, PN_F32, 4, &arenas, NULL, -1) == PN_BAD_ARGUMENT);
    CHECK(pn_machine_open(&m, plan, (pn_dtype)2, 4, &arenas, NULL, 1) == PN_BAD_ARGUMENT);
    CHECK(pn_machine_open(&m, plan, PN_F32, 4, &(pn_arenas){.grads = arenas.grads}, NULL, 1) == PN_BAD_ARGUMENT);
    CHECK(pn_machine_open(&m, plan, PN_F32, 4, &arenas, "avx9", 1) == PN_NO_ISA && !m);
    if (!PN_TRAINS(PN_F64)) CHECK(pn_machine_open(&m, plan, PN_F64, 4, &arenas, NULL, 1) == PN_BAD_ARGUMENT && !m);
    pn_plan headless = *plan;
    headless.n_ops = OP_LOSS_L, headless.n_targets = 0, headless.row_elems = 2048;
    for (int shift = 20; shift < 63; shift++) { /* sizes beyond 2^62 are no sizes, whatever they wrap to */
        const double need = 2048. * 4 * ldexp(1, shift);
        const size_t told = pn_machine_bytes(&headless, PN_F32, (int64_t)1 << shift, 0);
        CHECK(need < ldexp(1, 61) ? (double)told >= need : told == 0 || (double)told >= need);
        AT("pn_machine_open of 2^%d rows", shift);
        if (need < ldexp(1, 62)) continue;
        CHECK(told == 0 &&
              pn_machine_open(&m, &headless, PN_F32, (int64_t)1 << shift, &arenas, NULL, 1) == PN_NO_MEMORY);
    }
    setenv("PYNET_ISA", "avx9", 1);
    CHECK(pn_machine_open(&m, plan, PN_F32, 4, &arenas, NULL, 1) == PN_NO_ISA && !m);
    unsetenv("PYNET_ISA");

    AT("pn_run");
    CHECK(pn_machine_open(&m, plan, PN_F32, ROWS, &arenas, NULL, 100000) == PN_OK);
    double sums[N_SUMS] = {0};
    const pn_job good = training_job(&plain, sums);
    int64_t done;
#define REFUSED(change, first, count)                                                                                  \
    do {                                                                                                               \
        pn_job job = good;                                                                                             \
        change;                                                                                                        \
        CHECK(pn_run(m, &job, first, count, 1e9, &done) == PN_BAD_ARGUMENT && done == 0);                              \
    } while (0)
    REFUSED((void)job, -1, 1);
    REFUSED((void)job, 0, -1);
    REFUSED((void)job, 4, 1); /* there are batches 0..3 */
    REFUSED((void)job, INT64_MAX, 1);
    REFUSED((void)job, INT64_MAX / ROWS + 1, 1);
    REFUSED(job.batch = ROWS + 1, 0, 1);
    REFUSED(job.batch = 0, 0, 1);
    REFUSED(job.rows = 0, 0, 1);
    REFUSED(job.inputs = NULL, 0, 1);
    REFUSED(job.targets = NULL, 0, 1);
    REFUSED(job.sums = NULL, 0, 1);
    REFUSED(job.rate = NULL, 0, 1);
    REFUSED(job.clips = NULL, 0, 1);
    REFUSED(job.optimizer = 99, 0, 1);
    REFUSED(job.stages = PN_OUTPUT, 0, 1);
    REFUSED(job.stages = PN_BACKWARD, 0, 1);                 /* of a batch that was never run forward */
    CHECK(pn_predict_one(m, data, sums) == PN_BAD_ARGUMENT); /* two outputs */

    AT("a batch that fails leaves the parameters as they were");
    const uint64_t bits = add_bits(NO_BITS, arenas.params, plan->param_elems * 4);
    const uint8_t label = labels[order[3]];
    const float x = data[order[3]][0];
    pn_job job = good;
    labels[order[3]] = CLASSES;
    CHECK(pn_run(m, &job, 0, 1, 1e9, &done) == PN_BAD_LABEL && done == 0);
    labels[order[3]] = label;
    data[order[3]][0] = NAN;
    CHECK(pn_run(m, &job, 0, 1, 1e9, &done) == PN_NOT_FINITE && done == 0);
    data[order[3]][0] = x;
    CHECK(add_bits(NO_BITS, arenas.params, plan->param_elems * 4) == bits && sums[1] == 0);
    CHECK(pn_run(m, &job, 0, 4, 1e9, &done) == PN_OK && done == 4 && sums[1] == 4);
    CHECK(pn_run(m, &job, 0, 4, 0, &done) == PN_OK && done == 1); /* time is up after one batch */
    pn_machine_close(m);
    drop_arenas(arenas);
}

int main(void) {
    make_tasks();
    check_starved();
    check_doors();
    check_out_of_memory();
    check_forks();
    check_callers();
    return verdict("test_machine", 150);
}
