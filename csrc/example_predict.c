/* example_predict.c: a network that was trained and saved in Python predicts in C.
 *
 *   python -c 'import pynet as pn; ...; model.save("net.safetensors")'
 *   cc example_predict.c $(pkg-config --cflags --libs pynet) -lm -o predict
 *   echo "5.1 3.5 1.4 0.2" | ./predict net.safetensors
 *
 * Reads rows of numbers, those of all inputs one after the other, and prints a line of outputs for each. */
#include <stdio.h>
#include <stdlib.h>

#include "pynet.h"

static int give_up(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    return 1;
}

/* One number of the model's dtype, behind `at`. */
static int read_number(pn_dtype dtype, void *at, long i) {
    return dtype == PN_F64 ? scanf("%lf", (double *)at + i) : scanf("%f", (float *)at + i);
}
static void print_number(pn_dtype dtype, const void *at, long i, char behind) {
    /* so many digits that they are read back as the same number */
    if (dtype == PN_F64)
        printf("%.17g%c", ((const double *)at)[i], behind);
    else
        printf("%.9g%c", (double)((const float *)at)[i], behind);
}

int main(int n, char **words) {
    if (n != 2) return give_up("usage", "example_predict MODEL < rows");

    /* 1. The model: read once, never written again. */
    pn_model *model;
    char why[200];
    if (pn_model_open(&model, words[1], why, sizeof why) != PN_OK) return give_up(words[1], why);
    const pn_dtype dtype = pn_model_dtype(model);

    /* 2. Memory for the rows, and scratch for a machine: all that predicting will ever need. */
    const void *x[PN_MOST_ENDS];
    void *y[PN_MOST_ENDS], *scratch = malloc(pn_model_scratch(model, 1));
    long features = 0, answers = 0;
    for (uint32_t i = 0; i < pn_model_inputs(model); i++) features += pn_model_input_width(model, i);
    for (uint32_t k = 0; k < pn_model_outputs(model); k++) answers += pn_model_output_width(model, k);
    const size_t size = dtype == PN_F64 ? sizeof(double) : sizeof(float);
    char *row = malloc((size_t)features * size), *answer = malloc((size_t)answers * size);
    if (!scratch || !row || !answer) return give_up("memory", "there is none");
    char *at = row;
    for (uint32_t i = 0; i < pn_model_inputs(model); i++) x[i] = at, at += pn_model_input_width(model, i) * size;
    at = answer;
    for (uint32_t k = 0; k < pn_model_outputs(model); k++) y[k] = at, at += pn_model_output_width(model, k) * size;

    /* 3. A machine, one for each thread. */
    pn_machine *machine;
    pn_status status = pn_model_machine(&machine, model, 1, scratch, pn_model_scratch(model, 1));
    if (status != PN_OK) return give_up("pn_model_machine", pn_status_text(status));

    /* 4. Row after row. */
    for (;;) {
        for (long i = 0; i < features; i++)
            if (read_number(dtype, row, i) != 1) {
                pn_model_close(model);
                free(scratch), free(row), free(answer);
                return i == 0 && feof(stdin) ? 0 : give_up("stdin", "a row is too short, or no numbers");
            }
        status = pn_predict(machine, 1, x, y);
        if (status != PN_OK) return give_up("pn_predict", pn_status_text(status));
        for (long k = 0; k < answers; k++) print_number(dtype, answer, k, k + 1 < answers ? ' ' : '\n');
    }
}
