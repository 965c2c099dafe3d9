/* integers.c: how long exported networks take for one row, with integers and with floats.  Compiled by integers.py
 * together with ints.c, an integer network, and reals.c, the same of floats. */
#define _POSIX_C_SOURCE 200809L
#include "ints.h"
#include "reals.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Prints the seconds of a call, a line for each round: integers, floats. */
int main(int argc, char **argv) {
    static TYPE q[INTS_INPUT];
    static int16_t out[INTS_OUTPUT], memory[INTS_MEMORY];
    static float x[REALS_X_SIZE], y[REALS_Y_SIZE], scratch[REALS_SCRATCH];
    const long rounds = argc > 2 ? atol(argv[1]) : 1, calls = argc > 2 ? atol(argv[2]) : 1;
    if (ints_selftest() != 0 || reals_selftest() != 0) return 1;
    for (int i = 0; i < INTS_INPUT; i++) {
        x[i] = (float)(i * 2654435761u >> 16 & 255) / 256;
        q[i] = (TYPE)(i * 2654435761u >> 16 & 127);
    }
    for (long r = 0; r < rounds; r++) {
        double t = now();
        for (long i = 0; i < calls; i++) {
            q[0] = (TYPE)(out[0] & 127); /* no call may be left out */
            ints_predict_q(q, out, memory);
        }
        const double integers = (now() - t) / (double)calls;
        t = now();
        for (long i = 0; i < calls; i++) {
            x[0] = y[0];
            reals_predict(x, y, scratch);
        }
        printf("%.4g %.4g\n", integers, (now() - t) / (double)calls);
    }
    return 0;
}
