/* rich_net.h: a net with noise, norms, learned slopes, gradient clips, recurrence and a function of the caller's.
 *
 *   s0 = dropout(relu(x w + b)), [width];  then seven residual blocks, s = s + second(first(s)):
 *     gaussian noise, batch norm | prelu, rrelu | layer norm, noisy relu | gradient clip, row norm |
 *     noisy relu (sigmoid), running norm | python, the same prelu again | dropout, prelu with one slope
 *   h1 = lstm(x as 5 steps of 4, mask), all states;  h2 = lstm(h1), the last
 *   l[3] = concat(s, h2) w (cross-entropy with labels, accuracy)      m[2] = tanh(h1 w) (mse)
 *   f = relu(norm(x w + b)), with the w and b of s0 and the running statistics of the batch norm
 *
 * So each first op of a block adds to a gradient, each second one writes it; the prelu of two blocks and what f shares
 * have several readers; widths that are no multiple of 16 have padding where noise may gather. */
#ifndef PN_RICH_NET_H
#define PN_RICH_NET_H
#include "nets.h"

enum { FEATURES = 4, TIMES = 5, N_BLOCKS = 7 };

// clang-format off: what belongs together stands together
enum {
    RICH_X, RICH_MASK, RICH_S, /* then first, second, sum of each block */
    RICH_BLOCKS = RICH_S + 3 * N_BLOCKS + 1,
    RICH_STATS = RICH_BLOCKS, RICH_STATS2, RICH_H1, RICH_Z1, RICH_H2, RICH_Z2, RICH_C, RICH_L, RICH_M, RICH_F,
    N_RICH_VALUES
};
enum {
    RICH_W, RICH_B, RICH_GAMMA, RICH_BETA, RICH_MEAN, RICH_VARIANCE, RICH_SLOPES, RICH_ROW_GAMMA, RICH_ROW_BETA,
    RICH_GAMMA2, RICH_BETA2, RICH_MEAN2, RICH_VARIANCE2, RICH_SLOPE, RICH_W1, RICH_U1, RICH_B1, RICH_W2, RICH_U2,
    RICH_B2, RICH_WL, RICH_BL, RICH_WM, RICH_BM,
    N_RICH_PARAMS
};
enum {
    RICH_INPUT, RICH_INPUT_MASK, RICH_DENSE,
    RICH_GAUSSIAN, RICH_BATCH_NORM, RICH_ADD1, RICH_PRELU, RICH_RRELU, RICH_ADD2,
    RICH_LAYER_NORM, RICH_NOISY, RICH_ADD3, RICH_CLIP, RICH_ROW_NORM, RICH_ADD4,
    RICH_NOISY_SIGMOID, RICH_RUNNING_NORM, RICH_ADD5, RICH_PYTHON, RICH_PRELU2, RICH_ADD6,
    RICH_DROPOUT, RICH_PRELU3, RICH_ADD7,
    RICH_LSTM1, RICH_LSTM2, RICH_CONCAT1, RICH_CONCAT2, RICH_HEAD_L, RICH_HEAD_M, RICH_FOLDED,
    RICH_LOSS_L, RICH_LOSS_M, RICH_ACCURACY,
    N_RICH_OPS
};
// clang-format on

/* Block k = 1..: what it reads is SUM(k - 1). */
#define FIRST(k)  (RICH_S + 3 * (k) - 2)
#define SECOND(k) (RICH_S + 3 * (k) - 1)
#define SUM(k)    (RICH_S + 3 * (k))

static inline uint32_t lstm_memory(uint32_t features, uint32_t units) { /* columns of z: op_lstm.h */
    const uint64_t state = pn_pad(units), gates = pn_pad(4 * units);
    return (uint32_t)(TIMES * (gates + 2 * state) + 2 * state + pn_pad(features));
}

static inline net make_rich_net(uint32_t width, uint32_t units) {
    uint32_t widths[N_RICH_VALUES];
    for (int v = 0; v < N_RICH_VALUES; v++) widths[v] = width; /* of blocks and of f */
    widths[RICH_X] = FEATURES * TIMES, widths[RICH_MASK] = TIMES;
    widths[RICH_STATS] = widths[RICH_STATS2] = 2;
    widths[RICH_H1] = TIMES * units, widths[RICH_Z1] = lstm_memory(FEATURES, units);
    widths[RICH_H2] = units, widths[RICH_Z2] = lstm_memory(units, units);
    widths[RICH_C] = width + units, widths[RICH_L] = CLASSES, widths[RICH_M] = 2;
    uint32_t shapes[N_RICH_PARAMS][2];
    for (int p = 0; p < N_RICH_PARAMS; p++) shapes[p][0] = 1, shapes[p][1] = width; /* vectors of norms and slopes */
    shapes[RICH_W][0] = FEATURES * TIMES;
    shapes[RICH_SLOPE][1] = 1;
    shapes[RICH_W1][0] = FEATURES, shapes[RICH_U1][0] = shapes[RICH_W2][0] = shapes[RICH_U2][0] = units;
    for (int p = RICH_W1; p <= RICH_B2; p++) shapes[p][1] = 4 * units;
    shapes[RICH_WL][0] = width + units, shapes[RICH_WL][1] = shapes[RICH_BL][1] = CLASSES;
    shapes[RICH_WM][0] = TIMES * units, shapes[RICH_WM][1] = shapes[RICH_BM][1] = 2;

    net n = {.outputs = {RICH_L, RICH_M, RICH_F}};
    n.plan = (pn_plan){.n_ops = N_RICH_OPS, .n_outputs = 3, .n_inputs = 2, .n_targets = 2, .n_sums = N_SUMS};
    lay_out(&n, widths, N_RICH_VALUES, (const uint32_t(*)[2])shapes, N_RICH_PARAMS);
    const int statistics[] = {RICH_MEAN, RICH_VARIANCE, RICH_MEAN2, RICH_VARIANCE2};
    for (int i = 0; i < 4; i++) n.params[statistics[i]].flags = 0;
    n.start[RICH_GAMMA] = n.start[RICH_VARIANCE] = n.start[RICH_ROW_GAMMA] = 1;
    n.start[RICH_GAMMA2] = 0.75f, n.start[RICH_BETA2] = 0.125f, n.start[RICH_MEAN2] = 0.5f;
    n.start[RICH_VARIANCE2] = 0.8f, n.start[RICH_SLOPES] = 0.25f, n.start[RICH_SLOPE] = 0.3f;
    n.params[RICH_W].max_norm = 0.9;
    n.params[RICH_SLOPES].rate = 0.5, n.params[RICH_BM].rate = 0;

    // clang-format off: a table
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
#define ROW(...) (pn_op){.x2 = PN_NONE, .z = PN_NONE, .w = PN_NONE, .b = PN_NONE, .w2 = PN_NONE, __VA_ARGS__}
#define TO_FIRST(k)  .x = SUM((k) - 1), .y = FIRST(k), .flags = PN_ADD_X
#define TO_SECOND(k) .x = FIRST(k), .y = SECOND(k)
    n.ops[RICH_INPUT] = ROW(.kind = PN_OP_input, .y = RICH_X);
    n.ops[RICH_INPUT_MASK] = ROW(.kind = PN_OP_input, .y = RICH_MASK, .slot = 1);
    n.ops[RICH_DENSE] = ROW(.kind = PN_OP_dense, .act = PN_ACT_relu, .x = RICH_X, .y = SUM(0), .w = RICH_W, .b = RICH_B,
                            .slot = 1, .p = {0, 0, 0.25}, .flags = PN_STOP_X);
    n.ops[RICH_GAUSSIAN] = ROW(.kind = PN_OP_random, .act = PN_RANDOM_gaussian_noise, TO_FIRST(1), .slot = 2,
                               .p = {0.5});
    n.ops[RICH_BATCH_NORM] = ROW(.kind = PN_OP_batch_norm, TO_SECOND(1), .w = RICH_GAMMA, .b = RICH_BETA,
                                 .w2 = RICH_GAMMA, .p = {1e-3, 0.9});
    n.ops[RICH_PRELU] = ROW(.kind = PN_OP_prelu, .x = SUM(1), .y = FIRST(2), .w = RICH_SLOPES,
                            .flags = PN_ADD_X | PN_ADD_W);
    n.ops[RICH_RRELU] = ROW(.kind = PN_OP_random, .act = PN_RANDOM_rrelu, TO_SECOND(2), .slot = 3, .p = {0.125, 0.5});
    n.ops[RICH_LAYER_NORM] = ROW(.kind = PN_OP_row_norm, TO_FIRST(3), .z = RICH_STATS, .w = RICH_ROW_GAMMA,
                                 .b = RICH_ROW_BETA, .p = {1e-3});
    n.ops[RICH_NOISY] = ROW(.kind = PN_OP_random, .act = PN_RANDOM_noisy_relu, TO_SECOND(3), .slot = 4, .p = {0.3});
    n.ops[RICH_CLIP] = ROW(.kind = PN_OP_gradient_clip, .act = PN_CLIP_norm, TO_FIRST(4), .p = {0.01});
    n.ops[RICH_ROW_NORM] = ROW(.kind = PN_OP_row_norm, TO_SECOND(4), .z = RICH_STATS2, .p = {1e-3});
    n.ops[RICH_NOISY_SIGMOID] = ROW(.kind = PN_OP_random, .act = PN_RANDOM_noisy_relu_sigmoid, TO_FIRST(5), .slot = 5);
    n.ops[RICH_RUNNING_NORM] = ROW(.kind = PN_OP_running_norm, TO_SECOND(5), .w = RICH_GAMMA2, .b = RICH_BETA2,
                                   .w2 = RICH_GAMMA2, .p = {1e-3});
    n.ops[RICH_PYTHON] = ROW(.kind = PN_OP_python, TO_FIRST(6));
    n.ops[RICH_PRELU2] = ROW(.kind = PN_OP_prelu, TO_SECOND(6), .w = RICH_SLOPES);
    n.ops[RICH_DROPOUT] = ROW(.kind = PN_OP_random, .act = PN_RANDOM_dropout, TO_FIRST(7), .slot = 6, .p = {0.1});
    n.ops[RICH_PRELU3] = ROW(.kind = PN_OP_prelu, TO_SECOND(7), .w = RICH_SLOPE);
    for (int k = 1; k <= N_BLOCKS; k++)
        n.ops[RICH_DENSE + 3 * k] = ROW(.kind = PN_OP_add, .x = SUM(k - 1), .x2 = SECOND(k), .y = SUM(k));
    n.ops[RICH_LSTM1] = ROW(.kind = PN_OP_lstm, .x = RICH_X, .x2 = RICH_MASK, .y = RICH_H1, .z = RICH_Z1, .w = RICH_W1,
                            .b = RICH_B1, .w2 = RICH_U1, .at = TIMES, .flags = PN_STOP_X);
    n.ops[RICH_LSTM2] = ROW(.kind = PN_OP_lstm, .x = RICH_H1, .y = RICH_H2, .z = RICH_Z2, .w = RICH_W2, .b = RICH_B2,
                            .w2 = RICH_U2, .at = TIMES, .flags = PN_ADD_X);
    n.ops[RICH_CONCAT1] = ROW(.kind = PN_OP_concat, .x = SUM(N_BLOCKS), .y = RICH_C);
    n.ops[RICH_CONCAT2] = ROW(.kind = PN_OP_concat, .x = RICH_H2, .y = RICH_C, .at = width);
    n.ops[RICH_HEAD_L] = ROW(.kind = PN_OP_dense, .x = RICH_C, .y = RICH_L, .w = RICH_WL, .b = RICH_BL);
    n.ops[RICH_HEAD_M] = ROW(.kind = PN_OP_dense, .act = PN_ACT_tanh, .x = RICH_H1, .y = RICH_M, .w = RICH_WM,
                             .b = RICH_BM);
    n.ops[RICH_FOLDED] = ROW(.kind = PN_OP_dense, .act = PN_ACT_relu, .x = RICH_X, .y = RICH_F, .w = RICH_W,
                             .b = RICH_B, .w2 = RICH_GAMMA, .p = {0, 0, 1e-3}, .flags = PN_STOP_X | PN_NO_BACKWARD);
    n.ops[RICH_LOSS_L] = ROW(.kind = PN_OP_loss, .act = PN_LOSS_cross_entropy_index, .x = RICH_L, .at = 2, .p = {0, 1});
    n.ops[RICH_LOSS_M] = ROW(.kind = PN_OP_loss, .act = PN_LOSS_mse, .x = RICH_M, .slot = 1, .at = 4, .p = {0, 1});
    n.ops[RICH_ACCURACY] = ROW(.kind = PN_OP_metric, .act = PN_METRIC_accuracy_index, .x = RICH_L, .at = 6);
#pragma GCC diagnostic pop
#undef ROW
#undef TO_FIRST
#undef TO_SECOND
    // clang-format on
    return n;
}

/* Prediction: as trained, but a batch norm takes the running statistics. */
static inline void freeze(net *n) { n->ops[RICH_BATCH_NORM].kind = PN_OP_running_norm; }

/* ---- the function of the python op: y = x / (1 + x^2), on whole rows with their padding ------------------ */

typedef struct caller_function {
    const net *n;
    pn_machine *machine;
    pn_dtype dtype;
    int calls, fail_at; /* the how-manieth call fails; 0: none */
} caller_function;

static inline void put_number(void *row, pn_dtype dtype, uint32_t at, double x) {
    if (dtype == PN_F64)
        ((double *)row)[at] = x;
    else
        ((float *)row)[at] = (float)x;
}

static inline int squash(void *context, uint32_t index, int backward) {
    caller_function *f = context;
    const pn_op *op = &f->n->ops[index];
    const size_t size = f->dtype == PN_F64 ? 8 : 4;
    int64_t rows;
    uint32_t ldx, ldy;
    char *x = pn_machine_value(f->machine, op->x, 0, &rows, &ldx), *dx = NULL;
    char *y = pn_machine_value(f->machine, op->y, backward, &rows, &ldy);
    if (backward) dx = pn_machine_value(f->machine, op->x, 1, &rows, &ldx);
    if (++f->calls == f->fail_at || ldx != ldy) return 1;
    for (int64_t b = 0; b < rows; b++, x += ldx * size, y += ldy * size, dx = dx ? dx + ldx * size : NULL)
        for (uint32_t o = 0; o < ldx; o++) {
            const int inside = o < f->n->values[op->x].width;
            const double v = inside ? number(x, f->dtype, o) : 0, d = 1 + v * v;
            if (!backward) {
                put_number(y, f->dtype, o, v / d);
                continue;
            }
            const double old = inside && op->flags & PN_ADD_X ? number(dx, f->dtype, o) : 0;
            put_number(dx, f->dtype, o, old + (inside ? number(y, f->dtype, o) * (1 - v * v) / (d * d) : 0));
        }
    return 0;
}
#endif
