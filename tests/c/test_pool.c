/* test_pool.c: every task of every call is done once, while the call is under way, whoever is late.
 *
 * Calls follow each other without pause and differ in threads and tasks, with more threads than processors: workers
 * wake up when their call is over, or in the middle of the next.
 *
 *   test_pool [calls] */
#include "check.h"
#include "core.h"

#include <stdatomic.h>

CHECK_PROGRAM

enum { THREADS = 9, EACH = 9 };

typedef struct call {
    int n; /* tasks; 0: over */
    atomic_int wrong, done[THREADS * EACH + 1];
} call;

static void task(void *argument, int i, int n) {
    call *c = argument;
    if (n != c->n || i < 0 || i >= n) {
        atomic_fetch_add(&c->wrong, 1);
        return;
    }
    for (volatile int k = 0; k < i % 7 * 100; k++) continue; /* of different lengths */
    atomic_fetch_add(&c->done[i], 1);
}

int main(int argc, char **argv) {
    const long calls = argc > 1 ? atol(argv[1]) : 100000;
    static call all[2]; /* in turns: what a late worker does to the call before shows as well */
    for (long k = 0; k < calls; k++) {
        call *c = &all[k % 2];
        const int threads = 1 + below(THREADS), each = 1 + below(EACH);
        AT("call %ld, %d threads, %d tasks each", k, threads, each);
        c->n = threads * each;
        pn_parallel(task, c, threads, each);
        int once = 1;
        for (int i = 0; i < c->n; i++) once &= atomic_exchange(&c->done[i], 0) == 1;
        CHECK(once);
        c->n = 0;
        CHECK(atomic_load(&c->wrong) == 0);
    }
    return verdict("test_pool", calls);
}
