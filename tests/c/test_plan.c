/* test_plan.c: the plan checker refuses a table of malformed plans, and names the row; and whatever it lets pass,
 * however silly, a machine can run without touching memory that is not its own (to be seen under AddressSanitizer).
 *
 *   test_plan [seed] */
#include "check.h"
#include "plan_faults.h"

#include <math.h>

CHECK_PROGRAM

static void put(net *n, size_t at, size_t size, uint64_t number) {
    const union {
        uint16_t first;
        uint8_t bytes[2];
    } order = {1};
    const size_t skipped = order.bytes[0] ? 0 : sizeof number - size; /* where the lowest bytes come last */
    memcpy((char *)n + at, (const char *)&number + skipped, size);
}

static void change(net *n, const fault *f) {
    if (f->real != 0)
        memcpy((char *)n + f->at, &f->real, sizeof f->real);
    else
        put(n, f->at, f->size, f->number);
}

static void check_faults(const net *good, const fault *faults, int n_faults) {
    const pn_arenas arenas = make_arenas(good->plan.param_elems, PN_F32);
    char text[200], shorter[12];
    for (int i = 0; i < n_faults; i++) {
        const fault *f = &faults[i];
        net bad = *good;
        link_plan(&bad);
        AT("fault %d, \"%s\"", i, f->text);
        CHECK(pn_plan_check(&bad.plan, text, sizeof text) == PN_OK && text[0] == '\0');
        change(&bad, f);
        CHECK(pn_plan_check(&bad.plan, text, sizeof text) == PN_BAD_PLAN);
        checks++;
        if (strncmp(text, f->text, strlen(f->text)) != 0 && !strstr(text, f->text)) FAIL("the text is \"%s\"", text);
        CHECK(pn_plan_check(&bad.plan, NULL, 0) == PN_BAD_PLAN);
        memset(shorter, 'x', sizeof shorter);
        CHECK(pn_plan_check(&bad.plan, shorter, 8) == PN_BAD_PLAN && strlen(shorter) == 7 && shorter[8] == 'x');
        pn_machine *machine = (pn_machine *)text;
        CHECK(pn_machine_open(&machine, &bad.plan, PN_F32, 4, &arenas, "scalar", 1) == PN_BAD_PLAN && !machine);
    }
    drop_arenas(arenas);
}

static void check_varieties(const net *good) {
    char text[200];
    for (int i = 0; i < COUNT(rich_varieties); i++) {
        net n = *good;
        link_plan(&n);
        change(&n, &rich_varieties[i]);
        AT("%s", rich_varieties[i].text);
        if (pn_plan_check(&n.plan, text, sizeof text) != PN_OK) FAIL("%s", text);
        checks++;
    }
}

static void check_targets(void) { /* seen when memory is laid out */
    net n = make_net();
    link_plan(&n);
    const pn_arenas arenas = make_arenas(n.plan.param_elems, PN_F32);
    pn_machine *machine;
    AT("targets that no op, or two kinds of op, read");
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

static void spoil(net *n, const pn_plan *good) {
    static const double reals[] = {0, 1, -1, 0.5, 1e300, -1e300, 1e-300};
    const size_t tables[4][3] = {{offsetof(net, values), sizeof(pn_value), good->n_values},
                                 {offsetof(net, params), sizeof(pn_param), good->n_params},
                                 {offsetof(net, ops), sizeof(pn_op), good->n_ops},
                                 {offsetof(net, ops), sizeof(pn_op), good->n_ops}};
    const size_t *t = tables[below(4)], row = t[0] + t[1] * (size_t)below((int)t[2]);
    pn_op *op = &n->ops[below((int)good->n_ops)];
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

/* A function of the caller's: fills what it has to write, padding included, with a number that tells nobody anything.
 */
typedef struct filler {
    const net *n;
    pn_machine *machine;
} filler;
static int fill(void *context, uint32_t index, int backward) {
    const filler *f = context;
    const pn_op *op = &f->n->ops[index];
    int64_t rows;
    uint32_t ld;
    float *to = pn_machine_value(f->machine, backward ? op->x : op->y, backward, &rows, &ld);
    for (int64_t i = 0; i < rows * ld; i++) to[i] = i % ld < f->n->values[backward ? op->x : op->y].width ? 0.5f : 0;
    return 0;
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
    pn_arenas arenas = make_arenas(n->plan.param_elems, PN_F32);
    uint16_t *kept = calloc(n->plan.param_elems / PN_PANEL + 1, sizeof *kept);
    arenas.keep = kept;
    pn_machine *machine;
    pn_status status = pn_machine_open(&machine, &n->plan, PN_F32, CHANCE_ROWS, &arenas, NULL, 2);
    CHECK(status == PN_OK && room && sums);
    filler filler = {n, machine};
    if (below(8)) pn_machine_on_call(machine, fill, &filler); /* else there is no such function */
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
    CHECK(status == PN_OK || status == PN_NOT_FINITE || status == PN_BAD_LABEL || status == PN_CALL_FAILED || refused);
    pn_machine_close(machine);
    drop_arenas(arenas);
    free(kept);
    free(room);
    free(sums);
    return status == PN_OK;
}

static void check_chances(const char *name, const net *good) {
    int passed = 0, ran = 0;
    for (int i = 0; i < CHANCES; i++) {
        AT("%s net, chance %d", name, i);
        net n = *good;
        link_plan(&n);
        for (int k = below(3); k >= 0; k--) spoil(&n, &good->plan);
        if (pn_plan_check(&n.plan, NULL, 0) != PN_OK) continue;
        passed++;
        if (passed % 8 == 0) ran += use(&n); /* of what passes, most is alike */
    }
    printf("test_plan: of %d plans by chance %d passed, %d were run\n", CHANCES, passed, ran);
    AT("plans by chance from the %s net", name);
    CHECK(passed > CHANCES / 50 && passed < CHANCES && ran > 100);
}

int main(int argc, char **argv) {
    net plain = make_net(), rich = make_rich_net(37, 7);
    const int n_faults = COUNT(plain_faults) + COUNT(rich_faults);
    link_plan(&plain), link_plan(&rich);
    check_faults(&plain, plain_faults, COUNT(plain_faults));
    check_faults(&rich, rich_faults, COUNT(rich_faults));
    check_varieties(&rich);
    check_targets();
    random_state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    printf("test_plan: %d faults; seed %llu\n", n_faults, (unsigned long long)random_state);
    check_chances("plain", &plain);
    check_chances("rich", &rich);
    return verdict("test_plan", 6 * n_faults + 100);
}
