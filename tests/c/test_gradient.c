/* test_gradient.c: what backward leaves in the gradient arena is the slope of what forward calls the loss: central
 * differences in double through nets with every op in them (nets.h, rich_net.h), on every instruction set.  Random ops
 * draw the same numbers again, so their differences are exact.
 *
 *   test_gradient [seed] */
#include "check.h"
#include "rich_net.h"

#include <math.h>

CHECK_PROGRAM

enum { BATCH = 9, SAMPLES_PER_PARAM = 12 };
static double inputs[BATCH][FEATURES * TIMES], mask[BATCH][TIMES], wanted[BATCH][2], row_weight[BATCH];
static int32_t labels[BATCH];

/* Penalties and heads, as pn_job.sums reports them. */
static double loss_of(pn_machine *machine, const net *n, uint32_t stages, int rows) {
    const pn_array x[] = {{inputs, sizeof inputs[0], sizeof(double), FEATURES * TIMES, PN_FLOAT64},
                          {mask, sizeof mask[0], sizeof(double), TIMES, PN_FLOAT64}};
    const pn_array targets[] = {{labels, sizeof labels[0], sizeof labels[0], 1, PN_INT32},
                                {wanted, sizeof wanted[0], sizeof(double), 2, PN_FLOAT64}};
    double sums[N_SUMS] = {0};
    pn_job job = {.inputs = x, .targets = targets, .weight = row_weight, .rows = rows, .batch = BATCH, .sums = sums};
    job.seed = 99, job.step = 12;
    job.stages = stages | PN_FORWARD | PN_LOSS;
    int64_t done;
    CHECK(pn_run(machine, &job, 0, 1, 1e9, &done) == PN_OK && done == 1);
    double total = sums[0];
    for (uint32_t i = 0; i < n->plan.n_ops; i++)
        if (n->ops[i].kind == PN_OP_loss) total += n->ops[i].p[1] * sums[n->ops[i].at] / sums[n->ops[i].at + 1];
    return total;
}

static void check_slopes(const char *name, const char *isa, const net *n) {
    const double h = 1e-6;
    const pn_arenas arenas = make_arenas(n->plan.param_elems, PN_F64);
    double *w = arenas.params, *g = arenas.grads, *was = malloc(n->plan.param_elems * sizeof *was);
    pn_machine *machine = NULL;
    AT("%s net, %s", name, isa);
    initialise(n, arenas, PN_F64);
    CHECK(was && pn_machine_open(&machine, &n->plan, PN_F64, BATCH, &arenas, isa, 1) == PN_OK);
    if (!machine || !was) return;
    caller_function function = {.n = n, .machine = machine, .dtype = PN_F64};
    pn_machine_on_call(machine, squash, &function);
    loss_of(machine, n, PN_BACKWARD, BATCH - 2); /* what another batch leaves in memory is not to be seen */
    loss_of(machine, n, PN_BACKWARD, BATCH);
    memcpy(was, g, n->plan.param_elems * sizeof *was);
    for (uint32_t k = 0; k < n->plan.n_params; k++) {
        const pn_param *p = &n->params[k];
        const int trains = (p->flags & PN_TRAINABLE) != 0; /* else a running statistic, without a gradient */
        double largest = 0;
        for (int s = 0; s < SAMPLES_PER_PARAM; s++) {
            const uint32_t i = (uint32_t)below((int)p->rows), o = (uint32_t)below((int)p->cols);
            const uint64_t at = place(p, i, o);
            const double here = w[at];
            AT("%s net, %s: param %u [%u,%u]", name, isa, k, i, o);
            w[at] = here + h;
            const double above = loss_of(machine, n, 0, BATCH);
            w[at] = here - h;
            const double slope = trains ? (above - loss_of(machine, n, 0, BATCH)) / (2 * h) : 0;
            w[at] = here;
            checks++;
            if (!(fabs(slope - was[at]) <= 1e-8 + 1e-6 * fabs(slope))) FAIL("%.12g, but slope %.12g", was[at], slope);
            largest = fmax(largest, fabs(slope));
        }
        AT("%s net, %s: param %u", name, isa, k);
        CHECK(trains ? largest > 1e-4 : largest == 0);
    }
    AT("%s net, %s: padding of the gradients", name, isa);
    for (uint32_t k = 0; k < n->plan.n_params; k++)
        for (uint64_t e = 0; e < pn_param_size(&n->params[k]); e++)
            if (is_padding(&n->params[k], e)) CHECK(was[n->params[k].offset + e] == 0);
    pn_machine_close(machine);
    drop_arenas(arenas);
    free(was);
}

int main(int argc, char **argv) {
    const uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    printf("test_gradient: seed %llu\n", (unsigned long long)seed);
    net plain = make_net(), rich = make_rich_net(37, 7);
    link_plan(&plain), link_plan(&rich);
    plain.params[WA].l1 = plain.params[WB].l2 = 0.01; /* enough to be seen */
    rich.ops[RICH_CLIP].p[0] = 1e6;                   /* a clip that clips is no slope */
    int runs = 0;
    for (int i = 0; pn_isa_name(i); i++) {
        if (!pn_isa_usable(pn_isa_name(i))) continue;
        random_state = seed;
        for (int r = 0; r < BATCH; r++) {
            for (int c = 0; c < FEATURES * TIMES; c++) inputs[r][c] = uniform(-1, 1);
            for (int t = 0; t < TIMES; t++) mask[r][t] = t <= r % TIMES;
            for (int c = 0; c < 2; c++) wanted[r][c] = uniform(-1, 1);
            labels[r] = below(CLASSES);
            row_weight[r] = uniform(0.5, 2);
        }
        check_slopes("plain", pn_isa_name(i), &plain);
        check_slopes("rich", pn_isa_name(i), &rich);
        runs++;
    }
    return verdict("test_gradient", 1000L * runs);
}
