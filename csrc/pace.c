/* pace.c: how many threads the next batch gets, from what the last ones took.
 *
 * More threads need not be faster: another process may keep a core busy, caches far from each other may make every
 * exchange dear, and for small layers it may not pay by a little.  No model of the machine knows; a clock does.  So now
 * and then a stretch of batches is run with half as many threads, or with twice as many, and the faster stays.  A trial
 * that changes nothing makes the next one come later.  Results have the same bits for any number (work.h). */
#include "core.h"

/* Seconds.  A trial takes twice as long as a scheduler lets a competitor run.  With fewer threads than there may be,
 * the next trial comes soon: to miss that the others are free again costs more than to try.  (Every 0.1 s, 12 times as
 * long apart, took 1.03 to 1.05 of the time beside a busy process: Zen 5, 64-64-64-10 @256, 784-128-10 @1 and @128.) */
static const double TRIAL = 8e-3, FIRST_HOLD = 40e-3, LONGEST_HOLD[2] = {0.4, 1.0}, TRIALS_APART[2] = {25, 50},
                    BETTER = 0.97;

static int candidate(const pn_pace *p) {
    const int half = (p->best + 1) / 2, twice = 2 * p->best < p->most ? 2 * p->best : p->most;
    if (p->best == 1) return twice;
    return p->wider && twice > p->best ? twice : half;
}

static void stretch(pn_pace *p, int threads) {
    p->threads = threads;
    p->seconds = 0;
    p->batches = 0;
}

int pn_pace_threads(pn_pace *p, int most) {
    if (p->most != most) { /* the first time, or another number was chosen: all of them */
        *p = (pn_pace){.most = most, .best = most, .hold = FIRST_HOLD, .first = 1};
        stretch(p, most);
    }
    return p->threads;
}

void pn_pace_took(pn_pace *p, double seconds, int64_t batches) {
    if (p->first) { /* it found its memory untouched: no measure of the others */
        p->first = 0;
        return;
    }
    p->seconds += seconds;
    p->batches += batches;
    if (p->most == 1) return;
    if (p->threads == p->best) {
        if (p->seconds < p->hold) return;
        p->best_time = p->seconds / (double)p->batches;
        stretch(p, candidate(p));
        return;
    }
    if (p->seconds < TRIAL) return;
    const int all = p->best == p->most;
    const double time = p->seconds / (double)p->batches, apart = TRIALS_APART[all] * p->seconds;
    if (time < BETTER * p->best_time) {
        p->best = p->threads;
        p->hold = FIRST_HOLD;
    } else {
        p->wider = !p->wider;
        p->hold = 4 * p->hold < LONGEST_HOLD[all] ? 4 * p->hold : LONGEST_HOLD[all];
    }
    if (p->hold < apart && p->hold > FIRST_HOLD) p->hold = apart;
    stretch(p, p->best);
}
