/* nets.h: a plan with every op in it, and all that is needed to train it.
 *
 *   x[20] -tanh-> a[240] -gelu-> b[240]    s = a + b    c = concat(s, x)    r = relu(c)
 *   l[3] = r w (cross-entropy with labels, accuracy)      m[2] = tanh(s w) (mse, weight 0.5)
 *
 * a -> b is wide enough for every thread of the tests: the gate is passed 7 times over. */
#ifndef PN_NETS_H
#define PN_NETS_H

#include "check.h"
#include "core.h"

#include <string.h>

enum { VALUE_X, VALUE_A, VALUE_B, VALUE_Z, VALUE_S, VALUE_C, VALUE_R, VALUE_L, VALUE_M, VALUE_SPARE, N_VALUES };
enum { WA, BA, WB, BB, WL, BL, WM, BM, N_PARAMS };
enum { OP_INPUT, OP_A, OP_B, OP_S, OP_CS, OP_CX, OP_R, OP_L, OP_M, OP_LOSS_L, OP_LOSS_M, OP_ACCURACY, N_OPS };
enum { ROWS = 64, SAMPLES = 200, CLASSES = 3, N_SUMS = 8, ROOM = 48 };

typedef struct net { /* tables with room for what a malformed count would read */
    pn_value values[ROOM];
    pn_param params[ROOM];
    pn_op ops[ROOM];
    uint32_t outputs[ROOM];
    float start[ROOM]; /* of each vector among the params */
    pn_plan plan;
} net;

static inline void link_plan(net *n) { /* after a copy */
    n->plan.values = n->values;
    n->plan.params = n->params;
    n->plan.ops = n->ops;
    n->plan.outputs = n->outputs;
}

/* Values side by side, params one behind the other; of matrices those of two columns turned, where they may be. */
static inline void lay_out(net *n, const uint32_t *widths, uint32_t n_values, const uint32_t (*shapes)[2],
                           uint32_t n_params) {
    n->plan.n_values = n_values, n->plan.n_params = n_params;
    for (uint32_t i = 0; i < n_values; i++) {
        const uint32_t ld = (uint32_t)pn_pad(widths[i]);
        n->values[i] = (pn_value){widths[i], ld % 512 ? ld : ld + PN_PANEL, n->plan.row_elems, 0};
        n->plan.row_elems += n->values[i].ld;
    }
    for (uint32_t i = 0; i < n_params; i++) {
        n->params[i] = (pn_param){.offset = n->plan.param_elems, .flags = PN_TRAINABLE, .rate = 1};
        n->params[i].rows = shapes[i][0], n->params[i].cols = shapes[i][1];
        if (PN_TURNS(PN_F32) && PN_TURNS(PN_F64) && shapes[i][0] > 1 && shapes[i][1] == 2)
            n->params[i].flags |= PN_TURNED;
        n->plan.param_elems += pn_param_size(&n->params[i]);
    }
}

static inline net make_net(void) {
    static const uint32_t widths[N_VALUES] = {20, 240, 240, 240, 240, 260, 260, 3, 2, 240};
    static const uint32_t shapes[N_PARAMS][2] = {{20, 240}, {1, 240}, {240, 240}, {1, 240},
                                                 {260, 3},  {1, 3},   {240, 2},   {1, 2}};
    net n = {.outputs = {VALUE_L, VALUE_M}};
    n.plan = (pn_plan){.n_ops = N_OPS, .n_outputs = 2, .n_inputs = 1, .n_targets = 2, .n_sums = N_SUMS};
    lay_out(&n, widths, N_VALUES, shapes, N_PARAMS);
    n.params[WA].l1 = 1e-5;
    n.params[WB].l2 = 1e-4;
    // clang-format off: a table
#define ROW(...) (pn_op){.w2 = PN_NONE, __VA_ARGS__}
    n.ops[OP_INPUT] = ROW(.kind = PN_OP_input, .y = VALUE_X, .w = PN_NONE, .b = PN_NONE);
    n.ops[OP_A] = ROW(.kind = PN_OP_dense, .act = PN_ACT_tanh, .x = VALUE_X, .y = VALUE_A, .z = PN_NONE, .w = WA,
                      .b = BA, .flags = PN_STOP_X);
    n.ops[OP_B] = ROW(.kind = PN_OP_dense, .act = PN_ACT_gelu, .x = VALUE_A, .y = VALUE_B, .z = VALUE_Z, .w = WB,
                      .b = BB, .flags = PN_ADD_X);
    n.ops[OP_S] = ROW(.kind = PN_OP_add, .x = VALUE_A, .x2 = VALUE_B, .y = VALUE_S);
    n.ops[OP_CS] = ROW(.kind = PN_OP_concat, .x = VALUE_S, .y = VALUE_C, .at = 0, .flags = PN_ADD_X);
    n.ops[OP_CX] = ROW(.kind = PN_OP_concat, .x = VALUE_X, .y = VALUE_C, .at = 240, .flags = PN_STOP_X);
    n.ops[OP_R] = ROW(.kind = PN_OP_activation, .act = PN_ACT_relu, .x = VALUE_C, .y = VALUE_R);
    n.ops[OP_L] = ROW(.kind = PN_OP_dense, .x = VALUE_R, .y = VALUE_L, .z = PN_NONE, .w = WL, .b = BL);
    n.ops[OP_M] = ROW(.kind = PN_OP_dense, .act = PN_ACT_tanh, .x = VALUE_S, .y = VALUE_M, .z = PN_NONE, .w = WM,
                      .b = BM);
    n.ops[OP_LOSS_L] = ROW(.kind = PN_OP_loss, .act = PN_LOSS_cross_entropy_index, .x = VALUE_L, .slot = 0, .at = 2,
                           .p = {0, 1});
    n.ops[OP_LOSS_M] = ROW(.kind = PN_OP_loss, .act = PN_LOSS_mse, .x = VALUE_M, .slot = 1, .at = 4, .p = {0, 0.5});
    n.ops[OP_ACCURACY] = ROW(.kind = PN_OP_metric, .act = PN_METRIC_accuracy_index, .x = VALUE_L, .slot = 0, .at = 6);
#undef ROW
    // clang-format on
    return n;
}

/* Arenas of a plan, in one dtype. */
static inline pn_arenas make_arenas(uint64_t elems, pn_dtype dtype) {
    const size_t size = ((size_t)elems + 1) * (dtype == PN_F64 ? 8 : 4), rounded = (size + 63) / 64 * 64;
    void *part[4];
    for (int i = 0; i < 4; i++) {
        part[i] = aligned_alloc(64, rounded);
        if (!part[i]) abort();
        memset(part[i], 0, rounded);
    }
    return (pn_arenas){.params = part[0], .grads = part[1], .slots = {part[2], part[3]}};
}
static inline void drop_arenas(pn_arenas a) {
    free(a.params);
    free(a.grads);
    free(a.slots[0]);
    free(a.slots[1]);
}

/* Element [i,o] of a parameter, in an arena. */
static inline uint64_t place(const pn_param *p, uint32_t i, uint32_t o) {
    if (p->flags & PN_TURNED) return p->offset + ((uint64_t)(i / PN_PANEL) * p->cols + o) * PN_PANEL + i % PN_PANEL;
    return p->offset + ((uint64_t)(o / PN_PANEL) * p->rows + i) * PN_PANEL + o % PN_PANEL;
}
/* Whether element e of a parameter is padding. */
static inline int is_padding(const pn_param *p, uint64_t e) {
    const int turned = (p->flags & PN_TURNED) != 0;
    return e / PN_PANEL / (turned ? p->cols : p->rows) * PN_PANEL + e % PN_PANEL >= (turned ? p->rows : p->cols);
}
static inline double number(const void *arena, pn_dtype dtype, uint64_t at) {
    return dtype == PN_F64 ? ((const double *)arena)[at] : (double)((const float *)arena)[at];
}

/* Weights in +-sqrt(3 / I), the same numbers in both dtypes; vectors as the net says, padding stays 0. */
static inline void initialise(const net *n, pn_arenas a, pn_dtype dtype) {
    random_state = 7;
    for (uint32_t k = 0; k < n->plan.n_params; k++) {
        const pn_param *p = &n->params[k];
        for (uint32_t i = 0; i < p->rows; i++)
            for (uint32_t o = 0; o < p->cols; o++) {
                const float size = p->rows > 1000 ? 0.055f : p->rows > 100 ? 0.11f : 0.39f;
                const float w = p->rows > 1 ? (float)uniform(-1, 1) * size : n->start[k];
                if (dtype == PN_F64)
                    ((double *)a.params)[place(p, i, o)] = (double)w;
                else
                    ((float *)a.params)[place(p, i, o)] = w;
            }
    }
}
#endif
