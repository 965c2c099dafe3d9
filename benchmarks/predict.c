/* predict.c: how long a call takes that predicts one row, in C, without Python, and what a network takes in memory.
 * Loaded by predict.py. */
#define _GNU_SOURCE
#include "pynet.h"

#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of each of `calls` predictions in a row, of the network in a file; -1: it cannot be opened. */
double predict_seconds(const char *path, long calls) {
    static float x[1 << 12], y[1 << 12];
    pn_model *model;
    pn_machine *machine;
    double seconds = -1;
    if (pn_model_open(&model, path, NULL, 0) != PN_OK) return -1;
    const size_t size = pn_model_scratch(model, 1);
    void *scratch = malloc(size);
    for (int i = 0; i < 1 << 12; i++) x[i] = (float)(i * 2654435761u >> 16 & 255) / 256;
    if (scratch && pn_model_machine(&machine, model, 1, scratch, size) == PN_OK) {
        const double start = now();
        for (long i = 0; i < calls; i++) pn_predict_one(machine, x, y);
        seconds = (now() - start) / (double)calls;
    }
    free(scratch);
    pn_model_close(model);
    return seconds;
}

/* Bytes that a network takes once it is open, and those of a machine for one row; 0: this C library does not tell. */
long long model_bytes(const char *path, long long *machine) {
    pn_model *model;
    if (pn_model_open(&model, path, NULL, 0) != PN_OK) return -1;
    *machine = (long long)pn_model_scratch(model, 1);
    long long bytes = 0;
#ifdef __GLIBC__
    const struct mallinfo2 with = mallinfo2();
    bytes = (long long)(with.uordblks + with.hblkhd);
#endif
    pn_model_close(model);
#ifdef __GLIBC__
    const struct mallinfo2 without = mallinfo2();
    bytes -= (long long)(without.uordblks + without.hblkhd);
#endif
    return bytes;
}
