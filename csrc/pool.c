/* pool.c: one small pool of threads for the process, made at the first parallel call.
 *
 * - Every thread of a call owns as many of its tasks as any other, in one piece: the same panels in every step, which
 *   are in its cache.  Who is through with its own takes over what others have not begun: a thread that is late, or
 *   whose processor is busy with something else, delays nobody by more than one task.
 * - A worker spins for some 150 us after its last task, then sleeps: a fork-join costs about a microsecond inside a
 *   training step and nothing between steps.  (With 30 us it slept through the small layers of 784-128-10 @128 and was
 *   woken in every step: 361 us against 350.)
 * - While one thread uses the pool, other callers do all their tasks themselves: results never depend on it.
 * - After fork the child starts with no pool (its threads did not survive); it makes a new one on demand. */
#if !defined(_WIN32)
#define _GNU_SOURCE
#endif
#include "core.h"

#include <stdlib.h>
#include <string.h>

static _Atomic int forks = 1; /* 1 and the forks between the first process and this one */

#if defined(_WIN32)
int pn_process(void) { return forks; }
void pn_parallel(pn_work *work, void *argument, int threads, int each) {
    for (int i = 0; i < threads * each; i++) work(argument, i, threads * each);
}
#else
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MAX_WORKERS = 255, SPIN = 8000 };

/* What a thread owns of the call under way: generation << 16 | its tasks << 8 | those of them that somebody has begun.
 * One word, so that a late worker never mixes two calls: not even the number of tasks may be that of the next. */
typedef struct share_of {
    _Alignas(64) _Atomic uint64_t word;
} share_of;
enum { MOST_TASKS = 255 }; /* of one thread */

typedef struct seat { /* of a worker */
    struct pool *p;
    int index;
    uint64_t seen; /* the ticket at hiring: a past one, not this worker's */
} seat;

typedef struct pool {
    atomic_flag taken;
    _Atomic uint64_t ticket; /* generation << 16 | threads: one word as well */
    atomic_int finished;     /* tasks of this ticket */
    atomic_int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pn_work *work;
    void *argument;
    int workers;
    share_of shares[MAX_WORKERS + 1];
    seat seats[MAX_WORKERS];
} pool;

static _Atomic(pool *) the_pool;

static void in_child(void) { /* after fork: stores only, no lock */
    atomic_store(&the_pool, NULL);
    atomic_fetch_add(&forks, 1);
}

int pn_process(void) {
    static atomic_flag registered = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&registered)) pthread_atfork(NULL, NULL, in_child);
    return atomic_load_explicit(&forks, memory_order_relaxed);
}

static uint64_t next_ticket(pool *p, uint64_t seen) {
    uint64_t t;
    for (int i = 0; i < SPIN; i++) {
        if ((t = atomic_load_explicit(&p->ticket, memory_order_acquire)) != seen) return t;
        PN_PAUSE();
    }
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->sleepers, 1);
    while ((t = atomic_load(&p->ticket)) == seen) pthread_cond_wait(&p->wake, &p->mutex);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->mutex);
    return t;
}

/* Does tasks of `owner` until all are begun.  A task that was begun keeps its call, and so work and argument, alive. */
static void serve(pool *p, uint64_t generation, int owner, int threads) {
    _Atomic uint64_t *word = &p->shares[owner].word;
    uint64_t w = atomic_load_explicit(word, memory_order_acquire);
    while (w >> 16 == generation) {
        const int each = w >> 8 & 0xff, begun = w & 0xff;
        if (begun == each) return;
        if (!atomic_compare_exchange_weak_explicit(word, &w, w + 1, memory_order_acquire, memory_order_acquire))
            continue;
        p->work(p->argument, owner * each + begun, threads * each);
        atomic_fetch_add_explicit(&p->finished, 1, memory_order_release);
        w = atomic_load_explicit(word, memory_order_acquire);
    }
}

static void take_part(pool *p, uint64_t ticket, int index) {
    const int threads = (int)(ticket & 0xffff);
    for (int k = 0; k < threads; k++) serve(p, ticket >> 16, (index + k) % threads, threads);
}

static void *worker(void *argument) {
    const seat s = *(seat *)argument;
    for (uint64_t seen = s.seen;;) {
        seen = next_ticket(s.p, seen);
        if (s.index < (int)(seen & 0xffff)) take_part(s.p, seen, s.index);
    }
    return NULL;
}

static pool *get_pool(void) {
    pool *p = atomic_load(&the_pool);
    if (p) return p;
    pn_process();
    pool *fresh = aligned_alloc(64, sizeof *fresh);
    if (!fresh) return NULL;
    memset(fresh, 0, sizeof *fresh);
    atomic_flag_clear(&fresh->taken);
    pthread_mutex_init(&fresh->mutex, NULL);
    pthread_cond_init(&fresh->wake, NULL);
    if (atomic_compare_exchange_strong(&the_pool, &p, fresh)) return fresh;
    free(fresh);
    return p;
}

/* Only the holder of `taken` hires. */
static void hire(pool *p, int workers) {
    while (p->workers < workers && p->workers < MAX_WORKERS) {
        pthread_t thread;
        pthread_attr_t detached;
        seat *s = &p->seats[p->workers];
        *s = (seat){p, p->workers + 1, atomic_load(&p->ticket)};
        pthread_attr_init(&detached);
        pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
        const int failed = pthread_create(&thread, &detached, worker, s);
        pthread_attr_destroy(&detached);
        if (failed) return;
        p->workers++;
    }
}

void pn_parallel(pn_work *work, void *argument, int threads, int each) {
    if (threads > MAX_WORKERS + 1) threads = MAX_WORKERS + 1;
    if (each > MOST_TASKS) each = MOST_TASKS;
    const int n = threads * each;
    pool *p = threads > 1 ? get_pool() : NULL;
    if (!p || atomic_flag_test_and_set_explicit(&p->taken, memory_order_acquire)) {
        for (int i = 0; i < n; i++) work(argument, i, n);
        return;
    }
    hire(p, threads - 1);
    const uint64_t generation = (atomic_load_explicit(&p->ticket, memory_order_relaxed) >> 16) + 1;
    p->work = work;
    p->argument = argument;
    atomic_store_explicit(&p->finished, 0, memory_order_relaxed);
    for (int i = 0; i < threads; i++)
        atomic_store_explicit(&p->shares[i].word, generation << 16 | (uint64_t)each << 8, memory_order_release);
    atomic_store(&p->ticket, generation << 16 | (uint64_t)threads);
    if (atomic_load(&p->sleepers)) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->mutex);
    }
    take_part(p, generation << 16 | (uint64_t)threads, 0);
    for (int spins = 0; atomic_load_explicit(&p->finished, memory_order_acquire) < n; spins++)
        if (spins < SPIN)
            PN_PAUSE();
        else
            sched_yield();
    atomic_flag_clear_explicit(&p->taken, memory_order_release);
}
#endif
