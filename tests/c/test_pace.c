/* test_pace.c: batches on a made-up machine, whose times are known. */
#include "check.h"
#include "core.h"

CHECK_PROGRAM

/* Seconds of a batch with 1, 2, 4 ... threads: one[k] */
static double with(const double *times, int threads) {
    int k = 0;
    while (threads > 1) threads = (threads + 1) / 2, k++;
    return times[k];
}

/* Runs batches for that long; returns the seconds more than with the best number from the start. */
static double run_for(pn_pace *p, int most, const double *times, double seconds, double best) {
    double total = 0, lost = 0;
    while (total < seconds) {
        const int n = pn_pace_threads(p, most);
        CHECK(n >= 1 && n <= most);
        const double t = with(times, n);
        const int64_t batches = t < 1e-4 ? 16 : 1; /* of short ones many between two looks at the clock */
        pn_pace_took(p, (double)batches * t, batches);
        total += (double)batches * t, lost += (double)batches * (t - best);
    }
    return lost;
}

static void check(const char *name, int most, const double *times, int expected) {
    for (double scale = 1; scale < 3e4; scale *= 10) { /* batches of 10 us to 0.1 s */
        double here[8];
        for (int k = 0; k < 8; k++) here[k] = times[k] * 1e-5 * scale;
        AT("%s, %d threads, scale %g", name, most, scale);
        pn_pace p = {0};
        run_for(&p, most, here, 100 * here[0] + 1, here[0]);
        CHECK(p.best == expected);
        const double best = with(here, expected), lost = run_for(&p, most, here, 60, best);
        CHECK(lost < (expected == most ? 0.04 : 0.1) * 60); /* trials cost little */
        CHECK(p.best == expected);
    }
}

int main(void) {
    const double even[8] = {8, 4, 2, 1, 1, 1, 1, 1}, worse[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    const double middle[8] = {4, 3, 2, 3, 4, 5, 6, 7}, flat[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    check("one thread", 1, flat, 1);
    check("all the better", 2, even, 2);
    check("all the better", 8, even, 8);
    check("no odd number lost", 7, even, 7);
    check("all the worse", 2, worse, 1);
    check("all the worse", 8, worse, 1);
    check("best in between", 16, middle, 4);
    check("no difference: stays", 4, flat, 4);

    AT("a core becomes busy, and free again");
    const double free_core[8] = {4e-3, 2e-3, 1e-3}, busy[8] = {4e-3, 2e-3, 3e-3}, one_left[8] = {4e-3, 5e-3, 6e-3};
    pn_pace p = {0};
    run_for(&p, 4, free_core, 5, 1e-3);
    CHECK(p.best == 4);
    run_for(&p, 4, busy, 3, 2e-3);
    CHECK(p.best == 2);
    run_for(&p, 4, one_left, 3, 4e-3);
    CHECK(p.best == 1);
    run_for(&p, 4, busy, 3, 2e-3);
    CHECK(p.best == 2);
    run_for(&p, 4, free_core, 3, 1e-3);
    CHECK(p.best == 4);

    AT("a first batch that takes long");
    p = (pn_pace){0};
    pn_pace_threads(&p, 2);
    pn_pace_took(&p, 1.0, 1);
    run_for(&p, 2, free_core, 0.03, 1e-3);
    CHECK(p.best == 2);

    AT("another number is chosen");
    CHECK(pn_pace_threads(&p, 6) == 6);
    CHECK(pn_pace_threads(&p, 1) == 1);
    return verdict("test_pace", 100000);
}
