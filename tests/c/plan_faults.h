/* plan_faults.h: what the checker must refuse, and with which words; what it must not. */
#ifndef PN_PLAN_FAULTS_H
#define PN_PLAN_FAULTS_H
#include "rich_net.h"

#include <math.h>

/* One number in one place of a good plan, and what the text must contain. */
typedef struct fault {
    const char *text;
    size_t at, size;
    uint64_t number;
    double real;
} fault;
#define PLACE(field)                offsetof(net, field), sizeof(((net *)0)->field)
#define BAD(text, field, number)    {text, PLACE(field), number, 0}
#define BAD_REAL(text, field, real) {text, PLACE(field), 0, real}

static const fault plain_faults[] = {
    BAD("counts", plan.n_values, 1 << 15),
    BAD("counts", plan.n_params, 1 << 15),
    BAD("counts", plan.n_ops, 1 << 15),
    BAD("counts", plan.n_sums, 1 << 30),
    BAD("counts", plan.n_inputs, 0),
    BAD("counts", plan.n_inputs, 99),
    BAD("counts", plan.n_targets, 99),
    BAD("counts", plan.n_outputs, 1 << 15),
    BAD("counts", plan.param_elems, (uint64_t)1 << 41),

    BAD("value 1: width 0", values[1].width, 0),
    BAD("value 2: width 16777217", values[2].width, (1 << 24) + 1),
    BAD("value 2: ld 240", values[2].width, 241),
    BAD("value 1: ld 239", values[1].ld, 239),
    BAD("value 1: ld 0", values[1].ld, 0),
    BAD("value 0: ld 512", values[0].ld, 512),
    BAD("value 0: ld 4294967280", values[0].ld, 0xfffffff0),
    BAD("value 3: columns 1", values[3].column, 1),
    BAD("value 3: columns 65536", values[3].column, 1 << 16),
    BAD("value 3: columns 4294967280", values[3].column, 0xfffffff0),
    BAD("value 0: columns 0..32", plan.row_elems, 16),
    BAD("values 0 and 4 overlap", values[4].column, 16),
    BAD("values 0 and 1 overlap", values[0].ld, 48),

    BAD("param 0: shape 0 x 240", params[WA].rows, 0),
    BAD("param 1: shape 1 x 0", params[BA].cols, 0),
    BAD("param 2: shape 4294967295 x 240", params[WB].rows, UINT32_MAX),
    BAD("param 1: offset 4801", params[BA].offset, 4801),
    BAD("param 7: offset 1099511627776", params[BM].offset, (uint64_t)1 << 40),
    BAD("param 7: offset 18446744073709551600", params[BM].offset, UINT64_MAX - 15),
    BAD("param 2: offset 16 overlaps param 1", params[WB].offset, 16),
    BAD("param 0: offset 0 and size 4800 leave the arena of 16", plan.param_elems, 16),
    BAD("param 2: offset 5040 and size 4026531840 leave", params[WB].rows, 1 << 24),
    BAD("param 0: turned, 240 columns > ", params[WA].flags, PN_TURNED),
    BAD_REAL("param 3: l1 -1", params[BB].l1, -1),
    BAD_REAL("param 3: l1 nan", params[BB].l1, NAN),
    BAD_REAL("param 4: l1 0, l2 inf", params[WL].l2, INFINITY),

    BAD("op 3: unknown kind 0", ops[OP_S].kind, 0),
    BAD("op 3: unknown kind 255", ops[OP_S].kind, 255),
    BAD_REAL("op 1: p[0] is not finite", ops[OP_A].p[0], NAN),
    BAD_REAL("op 9: p[1] is not finite", ops[OP_LOSS_L].p[1], INFINITY),
    BAD("op 0: slot = 1, but there are 1 inputs", ops[OP_INPUT].slot, 1),
    BAD("op 0: y = 10, but there are 10 values", ops[OP_INPUT].y, N_VALUES),
    BAD("op 0: w = 99", ops[OP_INPUT].w, 99),
    BAD("op 0: b = 1 has shape 1 x 240, expected 1 x 20", ops[OP_INPUT].b, BA),
    BAD("op 1: x = 2 is read before any op writes it", ops[OP_A].x, VALUE_B),
    BAD("op 1: x = 4294967295", ops[OP_A].x, PN_NONE),
    BAD("op 1: y = 0 is written twice", ops[OP_A].y, VALUE_X),
    BAD("op 2: y = 0 is written twice", ops[OP_B].y, VALUE_X),
    BAD("op 2: x = 2 is read before any op writes it", ops[OP_B].x, VALUE_B),
    BAD("op 1: unknown activation 63", ops[OP_A].act, 63),
    BAD("op 1: w = 2 has shape 240 x 240, expected 20 x 240", ops[OP_A].w, WB),
    BAD("op 1: w = 8, but there are 8 params", ops[OP_A].w, N_PARAMS),
    BAD("op 1: w = 4294967295", ops[OP_A].w, PN_NONE),
    BAD("op 1: b = 5 has shape 1 x 3, expected 1 x 240", ops[OP_A].b, BL),
    BAD("op 2: activation 10 needs z", ops[OP_B].z, PN_NONE),
    BAD("op 2: z = 2 is not free", ops[OP_B].z, VALUE_B),
    BAD("op 2: z = 1 is not free", ops[OP_B].z, VALUE_A),
    BAD("op 2: z = 77", ops[OP_B].z, 77),
    BAD("op 1: z has width 2, expected 240", ops[OP_A].z, VALUE_M),
    BAD("op 6: unknown activation 200", ops[OP_R].act, 200),
    BAD("op 6: widths 240 and 260 differ", ops[OP_R].x, VALUE_S),
    BAD("op 3: widths 20 + 240 -> 240 differ", ops[OP_S].x, VALUE_X),
    BAD("op 3: x2 = 9 is read before any op writes it", ops[OP_S].x2, VALUE_SPARE),
    BAD("op 3: x2 = 10, but there are 10 values", ops[OP_S].x2, N_VALUES),
    BAD("op 4: columns 21..261", ops[OP_CS].at, 21),
    BAD("op 4: columns 4294967295..", ops[OP_CS].at, UINT32_MAX),
    BAD("op 4: y = 1 is written twice", ops[OP_CS].y, VALUE_A),
    BAD("op 9: unknown loss 0", ops[OP_LOSS_L].act, 0),
    BAD("op 9: two losses on value 7", ops[OP_LOSS_L].flags, PN_ADD_X),
    BAD("op 10: x = 9 is read before any op writes it", ops[OP_LOSS_M].x, VALUE_SPARE),
    BAD("op 10: slot = 2, but there are 2 targets", ops[OP_LOSS_M].slot, 2),
    BAD("op 10: sums 1..3", ops[OP_LOSS_M].at, 1),
    BAD("op 10: sums 7..9", ops[OP_LOSS_M].at, 7),
    BAD("op 10: sums 4294967295..", ops[OP_LOSS_M].at, UINT32_MAX),
    BAD("op 11: unknown metric 99", ops[OP_ACCURACY].act, 99),
    BAD("op 11: sums 6..", ops[OP_ACCURACY].act, PN_METRIC_r2),
    BAD("op 12: output = 10", outputs[0], N_VALUES),
    BAD("op 12: output = 9 is read before any op writes it", outputs[1], VALUE_SPARE),
};

/* The net of rich_net.h, 37 wide, with 7 units. */
static const fault rich_faults[] = {
    BAD_REAL("param 0: max_norm -1, rate 1", params[RICH_W].max_norm, -1),
    BAD_REAL("param 0: max_norm nan", params[RICH_W].max_norm, NAN),
    BAD_REAL("param 0: max_norm inf", params[RICH_W].max_norm, INFINITY),
    BAD_REAL("param 6: max_norm 0, rate -0.5", params[RICH_SLOPES].rate, -0.5),
    BAD_REAL("param 6: max_norm 0, rate inf", params[RICH_SLOPES].rate, INFINITY),
    BAD_REAL("param 6: max_norm 0, rate nan", params[RICH_SLOPES].rate, NAN),

    BAD("turned", params[RICH_SLOPE].flags, PN_TRAINABLE | PN_TURNED),
    BAD_REAL("op 2: dropout rate 1 after activation 6, expected relu", ops[RICH_DENSE].p[2], 1),
    BAD_REAL("op 2: dropout rate -0.1", ops[RICH_DENSE].p[2], -0.1),
    BAD_REAL("op 2: p[2] is not finite", ops[RICH_DENSE].p[2], NAN),
    BAD("op 2: dropout rate 0.25 after activation 3, expected relu", ops[RICH_DENSE].act, PN_ACT_tanh),
    BAD("op 2: a folded norm has no way down", ops[RICH_DENSE].w2, RICH_GAMMA),
    BAD("op 30: a folded norm has no way down", ops[RICH_FOLDED].flags, PN_STOP_X),
    BAD("op 30: epsilon 0, expected > 0", ops[RICH_FOLDED].p[2], 0),
    BAD_REAL("op 30: epsilon -1, expected > 0", ops[RICH_FOLDED].p[2], -1),
    BAD("op 30: w2 = 24, but there are 24 params", ops[RICH_FOLDED].w2, N_RICH_PARAMS),
    BAD("op 30: w2 = 4294967294, but there are 24 params", ops[RICH_FOLDED].w2, PN_NONE - 1),
    BAD("op 30: w2 = 13 has shape 1 x 1, expected 1 x 37", ops[RICH_FOLDED].w2, RICH_MEAN2),

    BAD("op 3: unknown random 0", ops[RICH_GAUSSIAN].act, 0),
    BAD("op 3: unknown random 6", ops[RICH_GAUSSIAN].act, 6),
    BAD("op 3: widths 20 and 37 differ", ops[RICH_GAUSSIAN].x, RICH_X),
    BAD_REAL("op 7: p[1] is not finite", ops[RICH_RRELU].p[1], INFINITY),
    BAD_REAL("op 21: dropout rate 1, expected 0 <= rate < 1", ops[RICH_DROPOUT].p[0], 1),
    BAD_REAL("op 21: dropout rate -0.25", ops[RICH_DROPOUT].p[0], -0.25),

    BAD_REAL("op 4: momentum 1.5, expected 0..1", ops[RICH_BATCH_NORM].p[1], 1.5),
    BAD_REAL("op 4: momentum -0.5", ops[RICH_BATCH_NORM].p[1], -0.5),
    BAD("op 4: epsilon 0, expected > 0", ops[RICH_BATCH_NORM].p[0], 0),
    BAD("op 4: w, b = 0, 3 are not the first two params from w2 = 2", ops[RICH_BATCH_NORM].w, RICH_W),
    BAD("op 4: w, b = 2, 4 are not the first two params from w2 = 2", ops[RICH_BATCH_NORM].b, RICH_MEAN),
    BAD("op 4: w, b = 2, 3 are not the first two params from w2 = 9", ops[RICH_BATCH_NORM].w2, RICH_GAMMA2),
    BAD("op 4: w, b = 2, 3 are not the first two params from w2 = 4294967295", ops[RICH_BATCH_NORM].w2, PN_NONE),
    BAD("op 4: w2 = 5 has shape 1 x 36, expected 1 x 37", params[RICH_VARIANCE].cols, 36),
    BAD("op 4: widths 20 and 37 differ", ops[RICH_BATCH_NORM].x, RICH_X),
    BAD_REAL("op 16: epsilon -1, expected > 0", ops[RICH_RUNNING_NORM].p[0], -1),
    BAD("op 16: w, b = 9, 99 are not the first two params from w2 = 9", ops[RICH_RUNNING_NORM].b, 99),
    BAD("op 16: widths 20 and 37 differ", ops[RICH_RUNNING_NORM].x, RICH_X),

    BAD("op 9: epsilon 0, expected > 0", ops[RICH_LAYER_NORM].p[0], 0),
    BAD("op 9: w = 24, but there are 24 params", ops[RICH_LAYER_NORM].w, N_RICH_PARAMS),
    BAD("op 9: b = 13 has shape 1 x 1, expected 1 x 37", ops[RICH_LAYER_NORM].b, RICH_SLOPE),
    BAD("op 9: z has width 1, expected at least 2", values[RICH_STATS].width, 1),
    BAD("op 9: z = 9 is not free", ops[RICH_LAYER_NORM].z, FIRST(3)),
    BAD("op 9: z = 0 is not free", ops[RICH_LAYER_NORM].z, RICH_X),
    BAD("op 9: z = 4294967295 is not free", ops[RICH_LAYER_NORM].z, PN_NONE),
    BAD("op 13: z = 24 is not free", ops[RICH_ROW_NORM].z, RICH_STATS),
    BAD("op 9: widths 20 and 37 differ", ops[RICH_LAYER_NORM].x, RICH_X),

    BAD("op 6: w = 0 has shape 20 x 37, expected 1 x 37", ops[RICH_PRELU].w, RICH_W),
    BAD("op 6: w = 4294967295, but there are 24 params", ops[RICH_PRELU].w, PN_NONE),
    BAD("op 6: widths 20 and 37 differ", ops[RICH_PRELU].x, RICH_X),
    BAD("op 22: w = 16 has shape 1 x 28, expected 1 x 37", ops[RICH_PRELU3].w, RICH_B1),

    BAD("op 12: unknown clip 0", ops[RICH_CLIP].act, 0),
    BAD("op 12: unknown clip 4", ops[RICH_CLIP].act, 4),
    BAD("op 12: c 0, expected > 0", ops[RICH_CLIP].p[0], 0),
    BAD_REAL("op 12: c -1, expected > 0", ops[RICH_CLIP].p[0], -1),
    BAD("op 12: widths 20 and 37 differ", ops[RICH_CLIP].x, RICH_X),

    BAD("op 24: w2 = 99, but there are 24 params", ops[RICH_LSTM1].w2, 99),
    BAD("op 24: w2 = 4294967295, but there are 24 params", ops[RICH_LSTM1].w2, PN_NONE),
    BAD("op 24: w2 = 14 has shape 4 x 28, expected 4 x 16", ops[RICH_LSTM1].w2, RICH_W1),
    BAD("op 24: 0 steps of 7 units do not fit width 20", ops[RICH_LSTM1].at, 0),
    BAD("op 24: 3 steps of 7 units do not fit width 20", ops[RICH_LSTM1].at, 3),
    BAD("op 24: 4294967295 steps of 7 units do not fit width 20", ops[RICH_LSTM1].at, UINT32_MAX),
    BAD("op 24: w = 14 has shape 4 x 28, expected 5 x 28", ops[RICH_LSTM1].at, 4),
    BAD("op 24: w = 15 has shape 7 x 28, expected 4 x 28", ops[RICH_LSTM1].w, RICH_U1),
    BAD("op 24: b = 1 has shape 1 x 37, expected 1 x 28", ops[RICH_LSTM1].b, RICH_B),
    BAD("op 24: b = 4294967295, but there are 24 params", ops[RICH_LSTM1].b, PN_NONE),
    BAD("op 24: y has width 34, expected 7 or 5 times that", values[RICH_H1].width, 34),
    BAD("op 24: x2 = 99, but there are 34 values", ops[RICH_LSTM1].x2, 99),
    BAD("op 24: x2 = 32 is read before any op writes it", ops[RICH_LSTM1].x2, RICH_M),
    BAD("op 24: the mask has width 20, expected 5", ops[RICH_LSTM1].x2, RICH_X),
    BAD("op 24: z has width 367, expected at least 368", values[RICH_Z1].width, 367),
    BAD("op 24: z = 26 is not free", ops[RICH_LSTM1].z, RICH_H1),
    BAD("op 24: z = 4294967295 is not free", ops[RICH_LSTM1].z, PN_NONE),
    BAD("op 25: z = 27 is not free", ops[RICH_LSTM2].z, RICH_Z1),

    BAD("op 18: x = 34, but there are 34 values", ops[RICH_PYTHON].x, N_RICH_VALUES),
    BAD("op 18: x = 32 is read before any op writes it", ops[RICH_PYTHON].x, RICH_M),
    BAD("op 18: y = 2 is written twice", ops[RICH_PYTHON].y, RICH_S),
    BAD("op 18: unknown kind 17", ops[RICH_PYTHON].kind, 17),
};

/* What is no fault. */
static const fault rich_varieties[] = {
    BAD("no bound", params[RICH_W].max_norm, 0),
    BAD("no dropout", ops[RICH_DENSE].p[2], 0),
    BAD("a dropout of nothing", ops[RICH_DROPOUT].p[0], 0),
    BAD("noise of nothing", ops[RICH_GAUSSIAN].p[0], 0),
    BAD("statistics of the last batch", ops[RICH_BATCH_NORM].p[1], 0),
    BAD_REAL("statistics that stay", ops[RICH_BATCH_NORM].p[1], 1),
    BAD("no gamma", ops[RICH_LAYER_NORM].w, PN_NONE),
    BAD("no beta", ops[RICH_LAYER_NORM].b, PN_NONE),
    BAD("one slope", ops[RICH_PRELU].w, RICH_SLOPE),
    BAD("clips by value", ops[RICH_CLIP].act, PN_CLIP_value),
    BAD("signs", ops[RICH_CLIP].act, PN_CLIP_sign),
    BAD("no mask", ops[RICH_LSTM1].x2, PN_NONE),
    BAD("z with room", values[RICH_STATS].width, 16),
    BAD("a function of other widths", ops[RICH_PYTHON].x, RICH_X),
};
#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#endif
