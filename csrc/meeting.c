/* meeting.c: processes of one machine wait for each other, in memory that they share.  Part of the Python package. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#include <sched.h>
#endif
#include "core.h"

/* Spinning first: at the end of a step the others are there within microseconds.  Then the processor is offered to
 * them, as they may have to share it. */
enum { SPIN = 2000 };

static int64_t meetings(const pn_seat *seat) { return __atomic_load_n(&seat->meetings, __ATOMIC_ACQUIRE); }

void pn_arrive(pn_seat *own) { __atomic_store_n(&own->meetings, meetings(own) + 1, __ATOMIC_RELEASE); }

int pn_all_here(const pn_seat *seats, int n, int own, double seconds) {
    const int64_t meeting = meetings(&seats[own]);
    double until = 0;
    for (int k = 0, spins = 0; k < n; spins++) {
        if (meetings(&seats[k]) >= meeting) {
            k++;
        } else if (spins < SPIN) {
            PN_PAUSE();
        } else {
            if (until == 0) until = pn_now() + seconds;
            if (pn_now() > until) return 0;
#if !defined(_WIN32)
            sched_yield();
#endif
        }
    }
    return 1;
}
