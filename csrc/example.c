/* example.c: libpynet without Python.  A 2-8-1 network learns XOR: its plan is built by hand, a machine trains it,
 * and the same machine predicts.
 *
 *   cmake -S . -B build -DPYNET_PYTHON=OFF && cmake --build build && build/example
 *   or, installed:  cc example.c $(pkg-config --cflags --libs pynet) -lm
 *
 * The exit status is 0 only if the network has learned. */
#include <math.h>
#include <stdio.h>

#include "pynet.h"

/* Numbers of ops.def and activations.def.  They are for ever: files contain them too. */
enum { OP_INPUT = 1, OP_DENSE = 2, OP_LOSS = 6 };
enum { ACT_IDENTITY = 0, ACT_TANH = 3 };
enum { LOSS_BINARY_CROSS_ENTROPY = 9, OPTIMIZER_ADAM = 4 };

/* ---- 1. The plan: three tables ----------------------------------------------------------------------------
 *
 *   x[B,2] --dense tanh--> h[B,8] --dense--> z[B,1] --loss(z, target)-->
 *
 * z is a logit: the probability is 1 / (1 + exp(-z)), and the loss takes that step itself. */
enum { X, H, Z, N_VALUES };
static const pn_value values[N_VALUES] = {
    /* width, ld, column, flags: rows are padded to 16 columns, and values stand side by side */
    [X] = {2, 16, 0, 0},
    [H] = {8, 16, 16, 0},
    [Z] = {1, 16, 32, 0},
};

enum { W1, B1, W2, B2, N_PARAMS };
static const pn_param params[N_PARAMS] = {
    /* A matrix [I,O] takes I rows of 16 for every 16 columns that O needs; the next parameter begins behind it. */
    [W1] = {.offset = 0, .rows = 2, .cols = 8, .flags = PN_TRAINABLE, .rate = 1},
    [B1] = {.offset = 32, .rows = 1, .cols = 8, .flags = PN_TRAINABLE, .rate = 1},
    [W2] = {.offset = 48, .rows = 8, .cols = 1, .flags = PN_TRAINABLE, .rate = 1},
    [B2] = {.offset = 176, .rows = 1, .cols = 1, .flags = PN_TRAINABLE, .rate = 1},
};
enum { PARAM_ELEMS = 192 };

static const pn_op ops[] = {
    {.kind = OP_INPUT, .y = X, .w = PN_NONE, .b = PN_NONE, .w2 = PN_NONE, .slot = 0}, /* rows of inputs[0], as they are
                                                                                       */
    {.kind = OP_DENSE,
     .act = ACT_TANH,
     .x = X,
     .y = H,
     .z = PN_NONE,
     .w = W1,
     .b = B1,
     .w2 = PN_NONE,
     .flags = PN_STOP_X},
    {.kind = OP_DENSE, .act = ACT_IDENTITY, .x = H, .y = Z, .z = PN_NONE, .w = W2, .b = B2, .w2 = PN_NONE},
    /* p[1] is the weight of this head; sums[2] collects its loss and sums[3] the weights of the rows */
    {.kind = OP_LOSS, .act = LOSS_BINARY_CROSS_ENTROPY, .x = Z, .slot = 0, .at = 2, .p = {0, 1}},
};

static const uint32_t outputs[] = {Z};
// clang-format off
static const pn_plan plan = {
    .values = values, .n_values = N_VALUES, .row_elems = 48,   /* 3 x 16 columns */
    .params = params, .n_params = N_PARAMS, .param_elems = PARAM_ELEMS,
    .ops = ops, .n_ops = sizeof ops / sizeof ops[0], .n_inputs = 1, .n_targets = 1, .n_sums = 4,
    .outputs = outputs, .n_outputs = 1,
};
// clang-format on

/* ---- 2. The arenas: yours, 64-byte aligned, one offset for everything that belongs to a parameter ----------- */
static _Alignas(64) float weights[PARAM_ELEMS], gradients[PARAM_ELEMS], adam[2][PARAM_ELEMS];

/* Element [i,o] of a parameter, in panels of 16 columns. */
static float *element(const pn_param *p, uint32_t i, uint32_t o) {
    return weights + p->offset + (o / PN_PANEL * p->rows + i) * PN_PANEL + o % PN_PANEL;
}

/* Matrices start at random in +-1 (a constant would never break the symmetry), vectors and padding at 0. */
static void initialise(void) {
    uint32_t state = 1;
    for (int k = W1; k <= W2; k += W2 - W1)
        for (uint32_t i = 0; i < params[k].rows; i++)
            for (uint32_t o = 0; o < params[k].cols; o++) {
                state = state * 1664525u + 1013904223u;
                *element(&params[k], i, o) = (float)(state >> 8) / (float)(1 << 23) - 1;
            }
}

static int give_up(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    return 1;
}

int main(void) {
    /* Machines believe their plan, so a plan is checked; the text names the row that is wrong. */
    char text[200];
    if (pn_plan_check(&plan, text, sizeof text) != PN_OK) return give_up("plan", text);

    /* ---- 3. A machine for batches of up to 4 rows; NULL: the best instruction set, 1: one thread ------------- */
    initialise();
    const pn_arenas arenas = {.params = weights, .grads = gradients, .slots = {adam[0], adam[1]}};
    pn_machine *machine;
    pn_status status = pn_machine_open(&machine, &plan, PN_F32, 4, &arenas, NULL, 1);
    if (status != PN_OK) return give_up("pn_machine_open", pn_status_text(status));

    /* ---- 4. Training: describe the job once, run it often ---------------------------------------------------- */
    static uint8_t x[4][2] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}}; /* any number type: rows are converted on the way */
    static uint8_t target[4] = {0, 1, 1, 0};
    const pn_array inputs[] = {{.base = x, .row_stride = 2, .col_stride = 1, .width = 2, .type = PN_UINT8}};
    const pn_array targets[] = {{.base = target, .row_stride = 1, .col_stride = 1, .width = 1, .type = PN_UINT8}};
    const double rate[] = {0.05};
    double sums[4];
    // clang-format off
    pn_job job = {
        .inputs = inputs, .targets = targets, .rows = 4, .batch = 4, .sums = sums,
        .stages = PN_FORWARD | PN_LOSS | PN_BACKWARD | PN_UPDATE,
        .optimizer = OPTIMIZER_ADAM, .hyper = {0.9, 0.999, 1e-8}, .rate = rate,
    };
    // clang-format on
    for (job.step = 0; job.step < 300; job.step++) { /* the step is Adam's clock */
        int64_t done;
        for (int i = 0; i < 4; i++) sums[i] = 0; /* sums are added to */
        status = pn_run(machine, &job, 0, 1, 1e9, &done);
        if (status != PN_OK) return give_up("pn_run", pn_status_text(status));
        if (job.step % 50 == 0) printf("step %3d   loss %.5f\n", (int)job.step, sums[2] / sums[3]);
    }

    /* ---- 5. Prediction: one row in, one out, in the machine's dtype ------------------------------------------ */
    int right = 0;
    printf("\n x0 x1   target   predicted\n");
    for (int row = 0; row < 4; row++) {
        const float in[2] = {x[row][0], x[row][1]};
        float z;
        status = pn_predict_one(machine, in, &z);
        if (status != PN_OK) return give_up("pn_predict_one", pn_status_text(status));
        printf("  %d  %d        %d      %.4f\n", x[row][0], x[row][1], target[row], 1 / (1 + exp(-(double)z)));
        right += (z > 0) == target[row];
    }
    pn_machine_close(machine);
    return right == 4 && sums[2] / sums[3] < 0.05 ? 0 : give_up("XOR", "not learned");
}
