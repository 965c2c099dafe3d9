/* test_plan.c: the plan checker refuses a table of malformed plans, and names the row; and whatever it lets pass,
 * however silly, a machine can run without touching memory that is not its own (to be seen under AddressSanitizer).
 *
 *   test_plan [seed] */
#include "check.h"
#include "nets.h"

#include <math.h>

CHECK_PROGRAM

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

static const fault faults[] = {
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
enum { N_FAULTS = sizeof faults / sizeof faults[0] };

static void put(net *n, size_t at, size_t size, uint64_t number) { /* little-endian, as all that pynet runs on */
    memcpy((char *)n + at, &number, size);
}

static void check_faults(void) {
    net good = make_net();
    link_plan(&good);
    char text[200], shorter[12];
    AT("the good plan");
    CHECK(pn_plan_check(&good.plan, text, sizeof text) == PN_OK && text[0] == '\0');
    const pn_arenas arenas = make_arenas(good.plan.param_elems, PN_F32);
    for (int i = 0; i < N_FAULTS; i++) {
        const fault *f = &faults[i];
        net bad = good;
        link_plan(&bad);
        if (f->real != 0)
            memcpy((char *)&bad + f->at, &f->real, sizeof f->real);
        else
            put(&bad, f->at, f->size, f->number);
        AT("fault %d, \"%s\"", i, f->text);
        CHECK(pn_plan_check(&bad.plan, text, sizeof text) == PN_BAD_PLAN);
        checks++;
        if (strncmp(text, f->text, strlen(f->text)) != 0 && !strstr(text, f->text)) FAIL("the text is \"%s\"", text);
        CHECK(pn_plan_check(&bad.plan, NULL, 0) == PN_BAD_PLAN);
        memset(shorter, 'x', sizeof shorter);
        CHECK(pn_plan_check(&bad.plan, shorter, 8) == PN_BAD_PLAN && strlen(shorter) == 7 && shorter[8] == 'x');
        pn_machine *machine = (pn_machine *)text;
        CHECK(pn_machine_open(&machine, &bad.plan, PN_F32, 4, &arenas, "scalar", 1) == PN_BAD_PLAN && !machine);
    }
    AT("targets that no op, or two kinds of op, read"); /* seen when memory is laid out */
    net n = good;
    link_plan(&n);
    pn_machine *machine;
    n.plan.n_targets = 3;
    CHECK(pn_machine_open(&machine, &n.plan, PN_F32, 4, &arenas, "scalar", 1) == PN_BAD_PLAN && !machine);
    n.plan.n_targets = 2;
    n.ops[OP_LOSS_M].slot = 0;
    CHECK(pn_machine_open(&machine, &n.plan, PN_F32, 4, &arenas, "scalar", 1) == PN_BAD_PLAN && !machine);
    drop_arenas(arenas);
}

/* ---- plans by chance ------------------------------------------------------------------------------------- */

enum { CHANCES = 60000, CHANCE_ROWS = 5, MOST_BYTES = 1 << 22 };

static uint64_t some_number(void) { /* what a field may plausibly hold, a small step beyond it, or nonsense */
    const int way = below(8), shift = below(64);
    if (way == 0) return random_bits() >> shift;
    if (way == 1) return UINT64_MAX;
    if (way == 2) return (uint64_t)below(1024) * 16;
    return (uint64_t)below(way % 2 ? 16 : 300);
}

static void spoil(net *n) {
    static const double reals[] = {0, 1, -1, 0.5, 1e300, -1e300, 1e-300};
    const size_t tables[4][3] = {{offsetof(net, values), sizeof(pn_value), N_VALUES},
                                 {offsetof(net, params), sizeof(pn_param), N_PARAMS},
                                 {offsetof(net, ops), sizeof(pn_op), N_OPS},
                                 {offsetof(net, ops), sizeof(pn_op), N_OPS}};
    const size_t *t = tables[below(4)], row = t[0] + t[1] * (size_t)below((int)t[2]);
    pn_op *op = &n->ops[below(N_OPS)];
    switch (below(6)) {
    case 0: op->p[below(3)] = reals[below(7)]; break;
    case 1: put(n, row, 1, some_number()); break; /* kind */
    case 2: op->act = (uint8_t)below(70), op->flags = (uint16_t)below(64); break;
    case 3: { /* a count; the tables have room for it */
        uint32_t *counts[] = {&n->plan.n_values, &n->plan.n_params,  &n->plan.n_ops,  &n->plan.n_outputs,
                              &n->plan.n_inputs, &n->plan.n_targets, &n->plan.n_sums, &n->plan.row_elems};
        const int k = below(8);
        *counts[k] = k < 6 ? (uint32_t)below(ROOM + 1) : (uint32_t)some_number();
        break;
    }
    default: {
        const size_t field = 4 * (size_t)below((int)(t[1] / 4));
        put(n, row + field, 4, some_number());
    }
    }
}

/* Everything that a machine can do, on arrays whose elements are all the same one. */
static int use(net *n) {
    const size_t need = pn_machine_bytes(&n->plan, PN_F32, CHANCE_ROWS, 1);
    if (!need || need > MOST_BYTES || n->plan.param_elems > MOST_BYTES) return 0;
    static double one = 1;
    static int32_t label = 1;
    pn_array inputs[ROOM], targets[ROOM], outputs[ROOM];
    void *room = malloc(n->plan.row_elems * sizeof(float));
    double *sums = calloc(n->plan.n_sums + 1u, sizeof *sums);
    const double rate[2] = {0.01, 0.01};
    const pn_clip clip = {PN_CLIP_norm, 0, 1};
    for (int i = 0; i < ROOM; i++) {
        inputs[i] = targets[i] = (pn_array){&one, 0, 0, 1, PN_FLOAT64};
        outputs[i] = (pn_array){room, 0, sizeof(float), 1, PN_FLOAT32};
    }
    for (uint32_t i = 0; i < n->plan.n_ops; i++) {
        const pn_op *op = &n->ops[i];
        if (op->slot >= ROOM) continue;
        if (op->kind == PN_OP_input) inputs[op->slot].width = n->plan.values[op->y].width;
        if (op->kind != PN_OP_loss && op->kind != PN_OP_metric) continue;
        const int labels = op->kind == PN_OP_loss
                               ? op->act == PN_LOSS_cross_entropy_index
                               : op->act == PN_METRIC_accuracy_index || op->act == PN_METRIC_top_k_index;
        targets[op->slot].width = n->plan.values[op->x].width;
        if (labels) targets[op->slot] = (pn_array){&label, 0, 0, 1, PN_INT32};
    }
    const pn_arenas arenas = make_arenas(n->plan.param_elems, PN_F32);
    pn_machine *machine;
    pn_status status = pn_machine_open(&machine, &n->plan, PN_F32, CHANCE_ROWS, &arenas, NULL, 2);
    CHECK(status == PN_OK && room && sums);
    pn_job job = {.inputs = inputs,
                  .targets = targets,
                  .outputs = outputs,
                  .rows = 8,
                  .batch = CHANCE_ROWS,
                  .stages = 63,
                  .optimizer = PN_OPTIMIZER_adam,
                  .hyper = {0.9, 0.999, 1e-8},
                  .rate = rate,
                  .clips = &clip,
                  .n_clips = 1,
                  .sums = sums};
    int64_t done;
    status = pn_run(machine, &job, 0, 2, 1e9, &done);
    const int refused = status == PN_BAD_ARGUMENT; /* two inputs of other widths in one slot, or no sums */
    CHECK(status == PN_OK || status == PN_NOT_FINITE || status == PN_BAD_LABEL || refused);
    pn_machine_close(machine);
    drop_arenas(arenas);
    free(room);
    free(sums);
    return status == PN_OK;
}

static void check_chances(void) {
    int passed = 0, ran = 0;
    for (int i = 0; i < CHANCES; i++) {
        AT("chance %d", i);
        net n = make_net();
        link_plan(&n);
        for (int k = below(3); k >= 0; k--) spoil(&n);
        if (pn_plan_check(&n.plan, NULL, 0) != PN_OK) continue;
        passed++;
        if (passed % 8 == 0) ran += use(&n); /* of what passes, most is alike */
    }
    printf("test_plan: of %d plans by chance %d passed, %d were run\n", CHANCES, passed, ran);
    AT("plans by chance");
    CHECK(passed > CHANCES / 50 && passed < CHANCES && ran > 100);
}

int main(int argc, char **argv) {
    check_faults();
    random_state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    printf("test_plan: %d faults; seed %llu\n", N_FAULTS, (unsigned long long)random_state);
    check_chances();
    return verdict("test_plan", 5 * N_FAULTS + 100);
}
