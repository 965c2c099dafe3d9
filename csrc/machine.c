/* machine.c: the memory of a machine, laid out once, and the doors to it. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "core.h"

#include <math.h>
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

/* The dense op that alone makes the gradient of its weights, where nobody needs that in memory but for a clip or
 * another part of the batch: the update may make it then (op_dense.h).  Fewer weights stay in the first-level cache
 * anyway. */
static const pn_op *may_be_late(const pn_plan *plan, uint32_t param) {
    enum { LEAST = 1 << 11 }; /* weights */
    const pn_param *w = &plan->params[param];
    const pn_op *found = NULL;
    for (uint32_t i = 0; i < plan->n_ops; i++) {
        const pn_op *op = &plan->ops[i];
        if (op->w != param && op->w2 != param && op->b != param) continue;
        if (found) return NULL;
        found = op;
    }
    if (!found || found->kind != PN_OP_dense || found->w != param || found->flags & PN_NO_BACKWARD) return NULL;
    if (w->flags & (PN_MASKED | PN_TURNED) || w->l1 > 0 || w->l2 > 0 || pn_param_size(w) < LEAST) return NULL;
    return found;
}

/* Once, because to look at every parameter and op in each step is 3 % of the instructions of 4-32-32-1 @1. */
static unsigned extras_of(const pn_plan *plan) {
    unsigned extras = 0;
    for (uint32_t p = 0; p < plan->n_params; p++) {
        const pn_param *q = &plan->params[p];
        if (!(q->flags & PN_TRAINABLE)) continue;
        if (q->l1 > 0 || q->l2 > 0) extras |= PN_PENALTIES;
        if (q->flags & PN_MASKED) extras |= PN_MASKS;
        if (q->max_norm > 0) extras |= PN_MAX_NORMS;
    }
    for (uint32_t i = 0; i < plan->n_ops; i++)
        if (plan->ops[i].kind == PN_OP_batch_norm) extras |= PN_BATCH_NORMS;
    return extras;
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
        if (op->kind != PN_OP_sparse || (pn_in_lanes(op) && !m->training)) continue;
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
            kept &= !(plan->params[p].flags & PN_TURNED); /* it is its own transpose */
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
        m->late = carve(c, PN_LARGE ? plan->n_params : 0, sizeof(pn_op *));
        for (uint32_t p = 0; PN_LARGE && m->late && p < plan->n_params; p++) m->late[p] = may_be_late(&m->plan, p);
    }
    return c->overflow ? PN_NO_MEMORY : PN_OK;
}

/* The machine itself stands first in its memory, its parts behind it. */
static size_t head(void) { return (sizeof(pn_machine) + LINE - 1) / LINE * LINE; }

static pn_status measure(const pn_plan *plan, pn_dtype dtype, int64_t rows, int training, size_t *bytes) {
    pn_machine m = {.dtype = dtype, .training = training};
    carver c = {.used = head() + LINE};
    const pn_status status = rows > 0 ? lay_out(&m, &c, plan, rows) : PN_BAD_ARGUMENT;
    *bytes = status == PN_OK ? c.used : 0;
    return status;
}

size_t pn_machine_bytes(const pn_plan *plan, pn_dtype dtype, int64_t rows, int training) {
    size_t bytes;
    measure(plan, dtype, rows, training, &bytes);
    return bytes;
}

static pn_status check(const pn_plan *plan, pn_dtype dtype, int64_t rows, const pn_arenas *arenas, int n_threads,
                       size_t *bytes) {
    if (rows < 1 || !arenas->params || (dtype != PN_F32 && dtype != PN_F64) || n_threads < 0) return PN_BAD_ARGUMENT;
    const pn_status status = pn_plan_check(plan, NULL, 0);
    if (!PN_TRAINS(dtype) && arenas->grads) return PN_BAD_ARGUMENT;
    for (uint32_t i = 0; status == PN_OK && !PN_TRAINS(dtype) && i < plan->n_ops; i++)
        if (!pn_op_predicts(plan->ops[i].kind)) return PN_BAD_ARGUMENT;
    for (uint32_t p = 0; status == PN_OK && p < plan->n_params; p++) {
        const uint32_t flags = plan->params[p].flags;
        if ((flags & PN_MASKED && arenas->grads && !arenas->keep) || (flags & PN_TURNED && !PN_TURNS(dtype)))
            return PN_BAD_ARGUMENT;
    }
    return status == PN_OK ? measure(plan, dtype, rows, arenas->grads != NULL, bytes) : status;
}

/* Makes a machine in memory that is 0: so the padding of every value starts. */
static pn_status settle(pn_machine **machine, char *memory, const pn_plan *plan, pn_dtype dtype, int64_t rows,
                        const pn_arenas *arenas, const char *isa, int n_threads) {
    pn_process(); /* what the first call in a process does, so that predicting does not */
    const pn_status known = isa ? PN_OK : pn_isa_default(&isa);
    const pn_isa *found = known == PN_OK ? pn_isa_find(isa) : NULL;
    if (!found) return PN_NO_ISA;
    if (!found->kernels[dtype]) return PN_BAD_ARGUMENT; /* left out of this build */
    memory = (char *)(((uintptr_t)memory + LINE - 1) / LINE * LINE);
    pn_machine *m = (pn_machine *)memory;
    m->dtype = dtype;
    m->training = arenas->grads != NULL;
    carver c = {.base = memory, .used = head()};
    const pn_status status = lay_out(m, &c, plan, rows);
    if (status != PN_OK) return status;
    m->kernels = found->kernels[dtype];
    m->isa = found->name;
    m->asked_threads = n_threads;
    m->n_threads = n_threads ? n_threads : pn_get_num_threads();
    m->capacity = rows;
    m->extras = extras_of(&m->plan);
    m->rows_apart = 1;
    for (uint32_t i = 0; i < plan->n_ops; i++) m->rows_apart &= rows_apart(&plan->ops[i], m->training);
    m->arenas = *arenas;
    if (m->training) memset(arenas->grads, 0, plan->param_elems * (dtype == PN_F64 ? 8 : 4));
    *machine = m;
    return PN_OK;
}

pn_status pn_machine_open_in(pn_machine **machine, void *memory, size_t size, const pn_plan *plan, pn_dtype dtype,
                             int64_t rows, const pn_arenas *arenas, const char *isa, int n_threads) {
    size_t bytes;
    *machine = NULL;
    const pn_status status = check(plan, dtype, rows, arenas, n_threads, &bytes);
    if (status != PN_OK) return status;
    if (!memory || size < bytes) return PN_BAD_ARGUMENT;
    memset(memory, 0, bytes);
    return settle(machine, memory, plan, dtype, rows, arenas, isa, n_threads);
}

pn_status pn_machine_open(pn_machine **machine, const pn_plan *plan, pn_dtype dtype, int64_t rows,
                          const pn_arenas *arenas, const char *isa, int n_threads) {
    size_t bytes;
    *machine = NULL;
    pn_status status = check(plan, dtype, rows, arenas, n_threads, &bytes);
    if (status != PN_OK) return status;
    char *memory = calloc(1, bytes); /* its pages are only touched when they are used */
    if (!memory) return PN_NO_MEMORY;
    status = settle(machine, memory, plan, dtype, rows, arenas, isa, n_threads);
    if (status == PN_OK)
        (*machine)->block = memory;
    else
        free(memory);
    return status;
}

void pn_machine_close(pn_machine *machine) {
    if (machine) free(machine->block);
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

/* Parts of batches, or batches, that the machine has room for and can do. */
static int parts_fit(const pn_job *job, const pn_machine *m) {
    if (!job->parts) return job->batch <= m->capacity && !job->n_terms;
    if (job->parts < 1 || job->parts > PN_MOST_PARTS || job->batch > INT64_MAX / PN_MOST_PARTS) return 0;
    if (job->part0 < 0 || job->part1 <= job->part0 || job->part1 > job->parts) return 0;
    if ((job->batch - 1) / job->parts + 1 > m->capacity || !(job->stages & PN_FORWARD)) return 0;
    if (job->stages & PN_UPDATE && !job->reduce) return 0;
    if (job->n_terms < 0 || job->n_terms > PN_MOST_TERMS || (job->n_terms && (!job->terms || !job->updated))) return 0;
    if (job->n_terms && job->n_clips) return 0;
    for (uint32_t i = 0; i < m->plan.n_ops; i++) { /* they look at a whole batch */
        const pn_op *op = &m->plan.ops[i];
        if (op->kind == PN_OP_batch_norm || (op->kind == PN_OP_gradient_clip && op->act == PN_CLIP_norm)) return 0;
        if (op->kind == PN_OP_loss && op->act == PN_LOSS_external) return 0;
    }
    return 1;
}

static int covers(const pn_job *job, const pn_machine *m) {
    const pn_plan *plan = &m->plan;
    const uint32_t down = PN_BACKWARD | PN_UPDATE;
    if (job->stages & ~(uint32_t)(PN_TRAINS(m->dtype) ? PN_TRAINING : PN_PREDICTING)) return 0;
    if (job->rows < 1 || job->batch < 1 || !parts_fit(job, m)) return 0;
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

pn_status pn_predict(pn_machine *m, int64_t rows, const void *const *x, void *const *y) {
    const pn_plan *plan = &m->plan;
    const int64_t size = m->dtype == PN_F64 ? 8 : 4;
    const uint32_t type = m->dtype == PN_F64 ? PN_FLOAT64 : PN_FLOAT32;
    pn_array inputs[PN_MOST_ENDS] = {{0}}, outputs[PN_MOST_ENDS] = {{0}};
    if (plan->n_inputs > PN_MOST_ENDS || plan->n_outputs > PN_MOST_ENDS) return PN_BAD_ARGUMENT;
    for (uint32_t i = 0; i < plan->n_ops && plan->ops[i].kind == PN_OP_input; i++) { /* they come first */
        const uint32_t slot = plan->ops[i].slot, width = plan->values[plan->ops[i].y].width;
        inputs[slot] = (pn_array){(void *)(uintptr_t)x[slot], width * size, size, width, type};
    }
    for (uint32_t k = 0; k < plan->n_outputs; k++) {
        const uint32_t width = plan->values[plan->outputs[k]].width;
        outputs[k] = (pn_array){y[k], width * size, size, width, type};
    }
    const int64_t batch = rows < m->capacity ? rows : m->capacity;
    const pn_job job = {
        .inputs = inputs, .outputs = outputs, .rows = rows, .batch = batch, .stages = PN_FORWARD | PN_OUTPUT};
    int64_t done;
    return rows < 1 ? rows ? PN_BAD_ARGUMENT : PN_OK : pn_run(m, &job, 0, (rows - 1) / batch + 1, INFINITY, &done);
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
