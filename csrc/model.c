/* model.c: a network out of a file.  Its parameters are read into panels once; then it is never written again, so any
 * number of threads may use it, each with a machine of its own. */
#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 64 };

static uint64_t little(const uint8_t *p, int bytes) {
    uint64_t n = 0;
    for (int i = bytes - 1; i >= 0; i--) n = n << 8 | p[i];
    return n;
}

/* Element k of a tensor of the model's dtype. */
static double real_at(const pn_tensor *t, uint64_t k) {
    if (t->size == t->count * 8) {
        const uint64_t n = little(t->bytes + 8 * k, 8);
        double x;
        memcpy(&x, &n, sizeof x);
        return x;
    }
    const uint32_t n = (uint32_t)little(t->bytes + 4 * k, 4);
    float x;
    memcpy(&x, &n, sizeof x);
    return x;
}

/* ---- one parameter ------------------------------------------------------------------------------------------- */

/* The tensors of a pruned kernel are "kernel.values", "kernel.counts" ...: of a sparse op "kernel.values" is the
 * parameter, else "kernel" is. */
static pn_text kernel_of(pn_text name) {
    const size_t suffix = sizeof ".values" - 1;
    const int values = name.length > suffix && memcmp(name.at + name.length - suffix, ".values", suffix) == 0;
    return (pn_text){name.at, name.length - (values ? suffix : 0)};
}

typedef struct filling { /* of param p */
    pn_model *m;
    const pn_container *c;
    const pn_param *p;
    pn_text name, kernel;
} filling;

static int put(const filling *f, uint64_t i, uint64_t o, double x) { /* 0: not finite */
    const uint64_t at = f->p->offset + (o / PN_PANEL * f->p->rows + i) * PN_PANEL + o % PN_PANEL;
    if (f->m->dtype == PN_F64)
        ((double *)f->m->params)[at] = x;
    else
        ((float *)f->m->params)[at] = (float)x;
    return isfinite(x);
}

static int is_real(const filling *f, const pn_tensor *t) {
    return pn_text_is(t->dtype, f->m->dtype == PN_F64 ? "F64" : "F32");
}

static const char *fill_plain(const filling *f, const pn_tensor *t) {
    const pn_param *p = f->p;
    const int fits =
        t->rank == 2 ? t->shape[0] == p->rows && t->shape[1] == p->cols : p->rows == 1 && t->count == p->cols;
    if (!is_real(f, t) || !fits) return "has another type or shape than the plan says";
    for (uint64_t i = 0, k = 0; i < p->rows; i++)
        for (uint64_t o = 0; o < p->cols; o++, k++)
            if (!put(f, i, o, real_at(t, k))) return "has NaN or infinite values";
    return NULL;
}

/* The parts of a pruned matrix [I, O]: see src/pynet/compact.py. */
typedef struct parts {
    const pn_tensor *values, *counts, *steps, *nibbles, *bits, *lanes;
} parts;

static parts find_parts(const filling *f) {
    const pn_container *c = f->c;
    return (parts){pn_container_find(c, f->kernel, ".values"), pn_container_find(c, f->kernel, ".counts"),
                   pn_container_find(c, f->kernel, ".steps"),  pn_container_find(c, f->kernel, ".nibbles"),
                   pn_container_find(c, f->kernel, ".bits"),   pn_container_find(c, f->kernel, ".lanes")};
}

static const char *fill_from_bits(const filling *f, const parts *q) {
    const uint64_t I = f->p->rows, n = I * f->p->cols;
    if (!pn_text_is(q->bits->dtype, "U8") || q->bits->count != (n + 7) / 8) return "has not one bit for each weight";
    uint64_t v = 0;
    for (uint64_t k = 0; k < n; k++) {
        if (!(q->bits->bytes[k / 8] >> k % 8 & 1)) continue;
        if (v == q->values->count) return "has fewer values than its bits say";
        if (!put(f, k % I, k / I, real_at(q->values, v++))) return "has NaN or infinite values";
    }
    return v == q->values->count ? NULL : "has more values than its bits say";
}

static const char *fill_from_steps(const filling *f, const parts *q) {
    const pn_tensor *steps = q->nibbles ? q->nibbles : q->steps;
    const uint64_t n = q->values->count, O = f->p->cols;
    if (!pn_text_is(q->counts->dtype, "U32") || q->counts->count != O || !pn_text_is(steps->dtype, "U8") ||
        steps->count != (q->nibbles ? n / 2 + n % 2 : n))
        return "has counts, values and steps that do not fit each other";
    uint64_t e = 0;
    for (uint64_t o = 0; o < O; o++) {
        uint64_t i = 0; /* one more than the input */
        for (uint64_t left = little(q->counts->bytes + 4 * o, 4); left; left--, e++) {
            if (e == n) return "has fewer values than its counts say";
            const int step = q->nibbles ? steps->bytes[e / 2] >> e % 2 * 4 & 15 : steps->bytes[e];
            i += (uint64_t)step;
            if (i < 1 || i > f->p->rows || (!step && !q->nibbles)) return "has steps that lead outside of its inputs";
            if (step && !put(f, i - 1, o, real_at(q->values, e))) return "has NaN or infinite values";
        }
    }
    return e == n ? NULL : "has more values than its counts say";
}

static const char *fill(const filling *f, uint32_t expected, uint64_t *left) {
    const pn_tensor *own = pn_container_find(f->c, f->name, ""), *whole = pn_container_find(f->c, f->kernel, "");
    const parts q = find_parts(f);
    const pn_tensor *all[] = {whole, q.values, q.counts, q.steps, q.nibbles, q.bits, q.lanes};
    uint32_t crc = 0;
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        if (!all[k]) continue;
        if (all[k]->size > *left) return "has tensors that other parameters have too";
        *left -= all[k]->size;
        crc = pn_crc32(crc, all[k]->bytes, all[k]->size);
    }
    if (!own && !q.values) return "is missing";
    if (PN_CRC_DIFFERS(crc, expected)) return "does not match its checksum: the file is damaged";
    if (own) return fill_plain(f, own);
    if (!is_real(f, q.values)) return "has another type than the plan says";
    if (q.bits) return fill_from_bits(f, &q);
    if (q.counts && (q.steps || q.nibbles)) return fill_from_steps(f, &q);
    return "is neither whole nor pruned";
}

/* ---- places of sparse ops ------------------------------------------------------------------------------------- */

static const pn_tensor *places_of(const pn_container *c, const pn_op *op, pn_text name) {
    return pn_container_find(c, kernel_of(name), pn_in_lanes(op) ? ".lanes" : op->p[2] == 4 ? ".nibbles" : ".steps");
}

/* How many places and ends there will be. */
static const char *count_places(pn_model *m, const pn_container *c) {
    pn_plan *plan = &m->plan;
    for (uint32_t i = 0; i < plan->n_ops; i++) {
        const pn_op *op = &plan->ops[i];
        if (op->kind != PN_OP_sparse) continue;
        if (op->w >= plan->n_params || op->y >= plan->n_values) return "a sparse op is out of range";
        const pn_tensor *places = places_of(c, op, m->sources[op->w].name);
        const pn_tensor *counts = pn_container_find(c, kernel_of(m->sources[op->w].name), ".counts");
        const uint32_t O = plan->values[op->y].width;
        if (!places || !counts || !pn_text_is(places->dtype, "U8") || !pn_text_is(counts->dtype, "U32") ||
            counts->count != (pn_in_lanes(op) ? pn_panels(O) : O))
            return "the places of a sparse op are missing or do not fit";
        uint64_t steps = 0;
        for (uint64_t q = 0; pn_in_lanes(op) && q < counts->count; q++) steps += little(counts->bytes + 4 * q, 4);
        if (pn_in_lanes(op) && places->count != steps * PN_LANES_BYTES)
            return "a sparse op in lanes has more or fewer places than its counts say";
        const uint64_t ends = op->slot + counts->count, to = op->at + places->count;
        if (ends > UINT32_MAX) return "a sparse op is out of range";
        if (ends > plan->n_ends) plan->n_ends = (uint32_t)ends;
        if (to > plan->n_places) plan->n_places = to;
    }
    return NULL;
}

static const pn_op *first_with(const pn_plan *plan, uint32_t w) { /* sparse, and of this parameter */
    const pn_op *op = plan->ops;
    while (op->kind != PN_OP_sparse || op->w != w) op++;
    return op;
}

/* Of a plan without overflow: count_places has looked.  What the numbers mean, pn_plan_check will see. */
static const char *copy_places(pn_model *m, const pn_container *c, uint32_t *ends, uint8_t *places) {
    for (uint32_t i = 0; i < m->plan.n_ops; i++) {
        const pn_op *op = &m->plan.ops[i];
        if (op->kind != PN_OP_sparse) continue;
        const pn_op *first = first_with(&m->plan, op->w);
        if (op->at != first->at || op->slot != first->slot) return "two sparse ops of one parameter differ";
        if (op != first) continue;
        const pn_tensor *from = places_of(c, op, m->sources[op->w].name);
        const pn_tensor *counts = pn_container_find(c, kernel_of(m->sources[op->w].name), ".counts");
        memcpy(places + op->at, from->bytes, from->size);
        uint32_t end = 0;
        for (uint64_t o = 0; o < counts->count; o++)
            ends[op->slot + o] = end += (uint32_t)little(counts->bytes + 4 * o, 4);
    }
    return NULL;
}

/* In lanes a value that belongs to no input would meet one nevertheless.  Of a plan that was checked. */
static int idle_are_0(const pn_model *m) {
    for (uint32_t i = 0; i < m->plan.n_ops; i++) {
        const pn_op *op = &m->plan.ops[i];
        if (op->kind != PN_OP_sparse || !pn_in_lanes(op) || op != first_with(&m->plan, op->w)) continue;
        const pn_param *w = &m->plan.params[op->w];
        const uint8_t *places = m->plan.places + op->at;
        for (uint64_t k = 0; k < w->cols; k++) {
            const double v = m->dtype == PN_F64 ? ((const double *)m->params)[w->offset + k]
                                                : (double)((const float *)m->params)[w->offset + k];
            if (v != 0 && pn_place(places, (int64_t)(k / PN_PANEL), (int64_t)(k % PN_PANEL)) == PN_NO_PLACE) return 0;
        }
    }
    return 1;
}

/* ---- ops that a network which only predicts may have --------------------------------------------------------------
 */

static int predicts(const pn_op *op) {
    const int dropout = op->kind == PN_OP_dense && op->w2 == PN_NONE && op->p[2] != 0;
    return pn_op_predicts(op->kind) && op->kind != PN_OP_python && !dropout;
}

static const char *check_frozen(const pn_plan *plan) {
    if (plan->n_inputs > PN_MOST_ENDS || plan->n_outputs > PN_MOST_ENDS) return "more than 16 inputs or outputs";
    for (uint32_t i = 0; i < plan->n_ops; i++)
        if (!predicts(&plan->ops[i])) return "the plan has an op that does not belong into a network that predicts";
    for (uint32_t slot = 0; slot < plan->n_inputs; slot++) {
        uint32_t read = 0;
        for (uint32_t i = 0; i < plan->n_ops; i++)
            read += plan->ops[i].kind == PN_OP_input && plan->ops[i].slot == slot;
        if (read != 1) return "the plan reads an input twice, or not at all";
    }
    return NULL;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static uint64_t whole_lines(uint64_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }

static const char *fill_all(pn_model *m, const pn_container *c, size_t file_size, const char **which, size_t *length) {
    const uint64_t arena = m->plan.param_elems * (m->dtype == PN_F64 ? 8 : 4);
    const char *fault = count_places(m, c);
    if (fault) return fault;
    const uint64_t ends = whole_lines((uint64_t)m->plan.n_ends * sizeof(uint32_t)),
                   need = whole_lines(arena) + ends + m->plan.n_places;
    if (need > PN_MODEL_BYTES && (need - PN_MODEL_BYTES) / PN_MODEL_BYTES_PER_BYTE > file_size)
        return "it would take more memory than such a file can be worth";
    if (need > SIZE_MAX - LINE) return PN_OUT_OF_MEMORY; /* more than an address can say */
    char *memory = m->memory = calloc(1, (size_t)(need + LINE));
    if (!memory) return PN_OUT_OF_MEMORY;
    m->params = memory = (char *)(uintptr_t)whole_lines((uintptr_t)memory);
    uint32_t *const to = (uint32_t *)(memory + whole_lines(arena));
    uint8_t *const places = (uint8_t *)memory + whole_lines(arena) + ends;
    m->plan.ends = to, m->plan.places = places;
    uint64_t left = file_size; /* each byte belongs to one parameter: opening takes as long as reading */
    for (uint32_t p = 0; p < m->plan.n_params && !fault; p++) {
        const pn_text name = m->sources[p].name;
        const filling f = {m, c, &m->plan.params[p], name, kernel_of(name)};
        *which = name.at, *length = name.length;
        fault = fill(&f, m->sources[p].crc, &left);
    }
    if (!fault) *which = NULL, fault = copy_places(m, c, to, places);
    return fault;
}

pn_status pn_model_open_memory(pn_model **model, const void *data, size_t n, char *text, size_t size) {
    pn_container c = {0};
    const char *fault, *which = NULL;
    size_t length = 0;
    *model = NULL;
    if (size) text[0] = '\0';
    pn_model *m = calloc(1, sizeof *m);
    fault = m ? pn_container_read(&c, data, n) : PN_OUT_OF_MEMORY;
    if (!fault && !c.plan.at)
        fault = "no plan in it: save it again with pn.load(...).save(...); integer networks: pn.export.to_c";
    if (!fault) fault = pn_plan_text_read(m, c.plan);
    if (!fault && !pn_dtype_built(m->dtype)) fault = "a network of float64, and this libpynet was built without it";
    if (!fault) fault = check_frozen(&m->plan);
    if (!fault) fault = fill_all(m, &c, n, &which, &length);
    pn_container_drop(&c);
    pn_status status = fault ? strcmp(fault, PN_OUT_OF_MEMORY) == 0 ? PN_NO_MEMORY : PN_BAD_FILE : PN_OK;
    if (fault && which && size) snprintf(text, size, "parameter '%.*s' %s", (int)length, which, fault);
    if (fault && !which && size) snprintf(text, size, "%s", fault);
    if (!fault) status = pn_plan_check(&m->plan, text, size);
    if (status == PN_OK && !idle_are_0(m)) {
        status = PN_BAD_FILE;
        if (size) snprintf(text, size, "a sparse op has values other than 0 that belong nowhere");
    }
    if (status == PN_OK && !pn_machine_bytes(&m->plan, m->dtype, 1, 0)) {
        status = PN_NO_MEMORY; /* more than an address can say */
        if (size) snprintf(text, size, "%s", PN_OUT_OF_MEMORY);
    }
    if (m) free(m->sources), m->sources = NULL;
    if (status == PN_OK)
        *model = m;
    else
        pn_model_close(m);
    return status;
}

/* The whole file, or what else has a path and an end, in one block; NULL: `fault` says why. */
static void *read_file(const char *path, size_t *n, const char **fault) {
    FILE *file = fopen(path, "rb");
    char *data = NULL;
    size_t room = 0;
    *n = 0, *fault = NULL;
    if (!file) *fault = "it cannot be opened";
    while (!*fault && *n == room) {
        room = room ? 2 * room : 1 << 16;
        char *larger = room > *n ? realloc(data, room) : NULL;
        if (larger)
            data = larger, *n += fread(data + *n, 1, room - *n, file);
        else
            *fault = PN_OUT_OF_MEMORY;
    }
    if (file && !*fault && ferror(file)) *fault = "it cannot be read";
    if (file) fclose(file);
    if (*fault) free(data), data = NULL;
    return data;
}

pn_status pn_model_open(pn_model **model, const char *path, char *text, size_t size) {
    size_t n = 0;
    const char *fault;
    *model = NULL;
    void *data = read_file(path, &n, &fault);
    if (!data) {
        if (size) snprintf(text, size, "%s", fault);
        return strcmp(fault, PN_OUT_OF_MEMORY) == 0 ? PN_NO_MEMORY : PN_BAD_FILE;
    }
    const pn_status status = pn_model_open_memory(model, data, n, text, size);
    free(data);
    return status;
}

void pn_model_close(pn_model *m) {
    if (!m) return;
    free(m->memory);
    free(m->tables);
    free(m->sources);
    free(m);
}

/* ---- questions, and machines ----------------------------------------------------------------------------------------
 */

pn_dtype pn_model_dtype(const pn_model *m) { return m->dtype; }
uint32_t pn_model_inputs(const pn_model *m) { return m->plan.n_inputs; }
uint32_t pn_model_outputs(const pn_model *m) { return m->plan.n_outputs; }

uint32_t pn_model_input_width(const pn_model *m, uint32_t slot) {
    for (uint32_t i = 0; i < m->plan.n_ops; i++)
        if (m->plan.ops[i].kind == PN_OP_input && m->plan.ops[i].slot == slot)
            return m->plan.values[m->plan.ops[i].y].width;
    return 0;
}

uint32_t pn_model_output_width(const pn_model *m, uint32_t k) {
    return k < m->plan.n_outputs ? m->plan.values[m->plan.outputs[k]].width : 0;
}

size_t pn_model_scratch(const pn_model *m, int64_t rows) { return pn_machine_bytes(&m->plan, m->dtype, rows, 0); }

pn_status pn_model_machine(pn_machine **machine, const pn_model *m, int64_t rows, void *scratch, size_t size) {
    const pn_arenas arenas = {.params = m->params};
    return pn_machine_open_in(machine, scratch, size, &m->plan, m->dtype, rows, &arenas, NULL, 1);
}
