/* predict.c: how long a call takes that predicts one row, in C, without Python.  Loaded by predict.py. */
#define _POSIX_C_SOURCE 200809L
#include "pynet.h"

#include <stdlib.h>
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
