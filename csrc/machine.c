/* machine.c: the memory of a machine, laid out once, and the doors to it. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "core.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

double pn_now(void) {
    struct timespec t;
#if defined(_WIN32)
    timespec_get(&t, TIME_UTC);
#else
    clock_gettime(CLOCK_MONOTONIC, &t);
#endif
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- layout: the same walk counts the bytes (base NULL) and hands out the pointers -------------------- */

typedef struct carver {
    char *base;
    size_t used;
    int overflow;
} carver;

enum { LINE = 64 };

static uint64_t times(uint64_t a, uint64_t b) { return b && a > UINT64_MAX / b ? UINT64_MAX : a * b; }

static void *carve(carver *c, uint64_t count, size_t size) {
    const size_t most = SIZE_MAX / 4 / LINE * LINE; /* so that rounding up stays below it too */
    if (count > (most - c->used) / size) {
        c->overflow = 1;
        return NULL;
    }
    void *part = c->base ? c->base + c->used : NULL;
    c->used = (c->used + count * size + LINE - 1) / LINE * LINE;
    return part;
}

static int is_label(const pn_op *op) {
    return op->kind == PN_OP_loss ? op->act == PN_LOSS_cross_entropy_index
                                  : op->act == PN_METRIC_accuracy_index || op->act == PN_METRIC_top_k_index;
}

static void *copied(carver *c, const void *table, uint64_t count, size_t size) {
    void *to = carve(c, count, size);
    if (to && count) memcpy(to, table, count * size);
    return to;
}

/* Whether the way down of an op multiplies by the transpose of a parameter. */
static int reads_transposed(const pn_op *op, uint32_t param) {
    if (op->flags & PN_NO_BACKWARD) return 0;
    if (op->kind == PN_OP_lstm && op->w2 == param) return 1;
    return (op->kind == PN_OP_dense || op->kind == PN_OP_lstm) && op->w == param && !(op->flags & PN_STOP_X);
}

/* Whether the rows of a batch can go through an op one by one, up and down, sums over them apart. */
static int rows_apart(const pn_op *op, int training) {
    switch (op->kind) {
    case PN_OP_input:
    case PN_OP_dense:
    case PN_OP_activation:
    case PN_OP_add:
    case PN_OP_concat:
    case PN_OP_loss:
    case PN_OP_metric:
    case PN_OP_random:
    case PN_OP_row_norm:
    case PN_OP_prelu:
    case PN_OP_lstm: return 1;
    case PN_OP_running_norm: return !training; /* its way down makes sums as it goes */
    default: return 0;
    }
}

static uint64_t losses(const pn_plan *plan) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < plan->n_ops; i++) n += plan->ops[i].kind == PN_OP_loss;
    return n;
}

/* Fills m from plan; with c->base NULL only c->used is of use. */
static pn_status lay_out(pn_machine *m, carver *c, const pn_plan *plan, int64_t rows) {
    const size_t size = m->dtype == PN_F64 ? 8 : 4;
    const uint64_t B = (uint64_t)rows;
    m->plan = *plan;
    m->plan.values = copied(c, plan->values, plan->n_values, sizeof(pn_value));
    m->plan.params = copied(c, plan->params, plan->n_params, sizeof(pn_param));
    m->plan.ops = copied(c, plan->ops, plan->n_ops, sizeof(pn_op));
    m->plan.outputs = copied(c, plan->outputs, plan->n_outputs, sizeof(uint32_t));
    m->values = carve(c, times(plan->row_elems, B), size);
    m->batch_sums = carve(c, plan->n_sums, sizeof(double));
    m->weights = carve(c, B, size);
    m->row_loss = carve(c, times(B, losses(plan)), size);
    m->target_column = carve(c, plan->n_targets, sizeof(uint64_t));
    m->target_width = carve(c, plan->n_targets, sizeof(uint32_t));
    m->labels = carve(c, times(B, plan->n_targets), sizeof(int32_t));
    m->wt_offset = carve(c, plan->n_params, sizeof(uint64_t));
    m->op_offset = carve(c, plan->n_ops, sizeof(uint64_t));

    uint64_t columns = 0; /* one padded row per dense target */
    for (uint32_t t = 0; t < plan->n_targets; t++) {
        uint32_t width = PN_NONE; /* of this slot: 0 for labels, PN_NONE where only an external loss looks */
        int used = 0;
        for (uint32_t i = 0; i < plan->n_ops; i++) {
            const pn_op *op = &plan->ops[i];
            if ((op->kind != PN_OP_loss && op->kind != PN_OP_metric) || op->slot != t) continue;
            used = 1;
            if (op->kind == PN_OP_loss && op->act == PN_LOSS_external) continue;
            const uint32_t w = is_label(op) ? 0 : plan->values[op->x].width;
            if (width != PN_NONE && width != w) return PN_BAD_PLAN;
            width = w;
        }
        if (!used) return PN_BAD_PLAN;
        if (m->target_width) m->target_width[t] = width, m->target_column[t] = columns;
        columns += width == PN_NONE ? 0 : pn_pad(width);
    }
    uint64_t widest[2] = {0, 0}; /* x and y of SPARSE ops */
    for (uint32_t i = 0; i < plan->n_ops; i++) {
        const pn_op *op = &plan->ops[i];
        if (op->kind != PN_OP_sparse) continue;
        const uint32_t I = plan->values[op->x].width, O = plan->values[op->y].width;
        widest[0] = I > widest[0] ? I : widest[0], widest[1] = O > widest[1] ? O : widest[1];
    }
    const uint64_t tiled = B == 1 && !m->training ? 0 : (B + PN_SPARSE_TILE - 1) / PN_SPARSE_TILE * PN_SPARSE_TILE;
    for (int k = 0; k < (m->training ? 3 : 1); k++) m->columns[k] = carve(c, times(tiled, widest[k == 1]), size);
    m->targets = carve(c, times(columns, B), size);
    if (m->training) {
        uint64_t elems = 0;
        for (uint32_t p = 0; p < plan->n_params; p++) {
            int kept = 0;
            for (uint32_t i = 0; i < plan->n_ops && !kept; i++) kept = reads_transposed(&plan->ops[i], p);
            if (m->wt_offset) m->wt_offset[p] = kept ? elems : UINT64_MAX;
            if (kept) elems += pn_pad(plan->params[p].rows) * plan->params[p].cols;
        }
        m->transposed = carve(c, elems, size);
        elems = 0;
        for (uint32_t i = 0; i < plan->n_ops; i++) {
            if (m->op_offset) m->op_offset[i] = elems;
            if (plan->ops[i].kind == PN_OP_batch_norm) elems += 2 * pn_pad(plan->values[plan->ops[i].y].width);
        }
        m->scratch = carve(c, elems, size);
        m->dvalues = carve(c, times(plan->row_elems, B), size);
        m->partial = carve(c, plan->param_elems / PN_BLOCK + 1, sizeof(double));
    }
    return c->overflow ? PN_NO_MEMORY : PN_OK;
}

size_t pn_machine_bytes(const pn_plan *plan, pn_dtype dtype, int64_t rows, int training) {
    pn_machine m = {.dtype = dtype, .training = training};
    carver c = {0};
    return rows > 0 && lay_out(&m, &c, plan, rows) == PN_OK ? c.used : 0;
}

pn_status pn_machine_open(pn_machine **machine, const pn_plan *plan, pn_dtype dtype, int64_t rows,
                          const pn_arenas *arenas, const char *isa, int n_threads) {
    *machine = NULL;
    if (rows < 1 || !arenas->params || (dtype != PN_F32 && dtype != PN_F64) || n_threads < 0) return PN_BAD_ARGUMENT;
    pn_status status = pn_plan_check(plan, NULL, 0);
    for (uint32_t p = 0; status == PN_OK && arenas->grads && !arenas->keep && p < plan->n_params; p++)
        if (plan->params[p].flags & PN_MASKED) return PN_BAD_ARGUMENT;
    if (status == PN_OK && !isa) status = pn_isa_default(&isa);
    if (status != PN_OK) return status;
    const pn_isa *found = pn_isa_find(isa);
    if (!found) return PN_NO_ISA;

    pn_machine *m = calloc(1, sizeof *m);
    if (!m) return PN_NO_MEMORY;
    m->dtype = dtype;
    m->training = arenas->grads != NULL;
    carver c = {0};
    status = lay_out(m, &c, plan, rows);
    if (status == PN_OK) {
        m->block = calloc(1, c.used + LINE); /* zeros: padding of every value starts at 0 */
        if (!m->block) status = PN_NO_MEMORY;
    }
    if (status == PN_OK) {
        c = (carver){.base = (char *)(((uintptr_t)m->block + LINE - 1) / LINE * LINE)};
        status = lay_out(m, &c, plan, rows);
    }
    if (status != PN_OK) {
        pn_machine_close(m);
        return status;
    }
    m->kernels = found->kernels[dtype];
    m->isa = found->name;
    m->asked_threads = n_threads;
    m->n_threads = n_threads ? n_threads : pn_get_num_threads();
    m->capacity = rows;
    m->rows_apart = 1;
    for (uint32_t i = 0; i < plan->n_ops; i++) m->rows_apart &= rows_apart(&plan->ops[i], m->training);
    m->arenas = *arenas;
    if (m->training) memset(arenas->grads, 0, plan->param_elems * (dtype == PN_F64 ? 8 : 4));
    *machine = m;
    return PN_OK;
}

void pn_machine_close(pn_machine *machine) {
    if (!machine) return;
    free(machine->block);
    free(machine);
}

/* ---- doors ------------------------------------------------------------------------------------------- */

/* Arrays as wide as the plan's values, of known types; run.c then believes them. */
static int arrays_fit(const pn_job *job, const pn_machine *m) {
    const int scored = job->stages & (PN_LOSS | PN_METRIC);
    for (uint32_t i = 0; i < m->plan.n_ops && m->plan.ops[i].kind == PN_OP_input; i++) { /* they come first */
        const pn_op *op = &m->plan.ops[i];
        const pn_array *a = &job->inputs[op->slot];
        if (a->width != m->plan.values[op->y].width || a->type >= PN_N_TYPES) return 0;
    }
    for (uint32_t t = 0; scored && t < m->plan.n_targets; t++) {
        if (m->target_width[t] == PN_NONE) continue;
        const pn_array *a = &job->targets[t];
        if (a->width != (m->target_width[t] ? m->target_width[t] : 1) || a->type >= PN_N_TYPES) return 0;
    }
    return 1;
}

static int covers(const pn_job *job, const pn_machine *m) {
    const pn_plan *plan = &m->plan;
    const uint32_t down = PN_BACKWARD | PN_UPDATE;
    if (job->rows < 1 || job->batch < 1 || job->batch > m->capacity) return 0;
    if ((job->stages & PN_FORWARD) && !job->inputs) return 0;
    if ((job->stages & PN_FORWARD) && (job->stages & (PN_LOSS | PN_METRIC)) && plan->n_targets && !job->targets)
        return 0;
    if ((job->stages & PN_FORWARD) && !arrays_fit(job, m)) return 0;
    if ((job->stages & (PN_LOSS | PN_METRIC)) && (!job->sums || plan->n_sums < 2)) return 0;
    if ((job->stages & (down | PN_LOSS)) && !m->training) return 0;
    for (uint32_t i = 0; i < plan->n_ops && !m->training; i++)
        if (plan->ops[i].kind == PN_OP_batch_norm) return 0; /* it keeps the statistics of the batch for the way down */
    if ((job->stages & PN_OUTPUT) && !job->outputs) return 0;
    if (job->stages & PN_UPDATE) {
        const int slots = pn_optimizer_slots(job->optimizer);
        if (slots < 0 || !job->rate || (job->n_clips && !job->clips)) return 0;
        for (int i = 0; i < slots; i++)
            if (!m->arenas.slots[i]) return 0;
    }
    return 1;
}

pn_status pn_run(pn_machine *m, const pn_job *job, int64_t first, int64_t count, double seconds, int64_t *done) {
    *done = 0;
    if (first < 0 || count < 0 || !covers(job, m)) return PN_BAD_ARGUMENT;
    const int here = pn_process();
    int user = __atomic_load_n(&m->running, __ATOMIC_RELAXED);
    if (user == here || !__atomic_compare_exchange_n(&m->running, &user, here, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return PN_BUSY;
    if (!m->asked_threads) m->n_threads = pn_get_num_threads();
    const pn_status status = (m->dtype == PN_F64 ? pn_run_f64 : pn_run_f32)(m, job, first, count, seconds, done);
    __atomic_store_n(&m->running, 0, __ATOMIC_RELEASE);
    return status;
}

pn_status pn_predict_one(pn_machine *m, const void *x, void *y) {
    const uint32_t size = m->dtype == PN_F64 ? 8 : 4;
    if (m->plan.n_inputs != 1 || m->plan.n_outputs != 1) return PN_BAD_ARGUMENT;
    const uint32_t width = m->plan.values[m->plan.ops[0].y].width; /* the checker saw that INPUT ops come first */
    const pn_array input = {(void *)(uintptr_t)x, 0, size, width, m->dtype == PN_F64 ? PN_FLOAT64 : PN_FLOAT32};
    pn_array output = {y, 0, size, 0, input.type};
    const pn_job job = {.inputs = &input, .outputs = &output, .rows = 1, .batch = 1, .stages = PN_FORWARD | PN_OUTPUT};
    int64_t done;
    return pn_run(m, &job, 0, 1, 1e9, &done);
}

void pn_machine_on_call(pn_machine *m, pn_call *call, void *context) { m->call = call, m->context = context; }

void *pn_machine_value(pn_machine *m, uint32_t value, int gradient, int64_t *rows, uint32_t *ld) {
    if (value >= m->plan.n_values || (gradient && !m->training)) return NULL;
    const pn_value *v = &m->plan.values[value];
    *rows = m->rows;
    *ld = v->ld;
    return (char *)(gradient ? m->dvalues : m->values) +
           (size_t)v->column * (size_t)m->rows * (m->dtype == PN_F64 ? 8 : 4);
}
