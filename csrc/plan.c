/* plan.c: the one place where the numbers of a plan are believed or refused. */
#include "core.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct fault {
    char *text;
    size_t size;
} fault;

static int refuse(fault *f, const char *format, ...) {
    if (f->text && f->size) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(f->text, f->size, format, arguments);
        va_end(arguments);
    }
    return 0;
}

enum { MAX_WIDTH = 1 << 24, MAX_TABLE = 1 << 14 };

static int check_values(const pn_plan *plan, fault *f) {
    for (uint32_t i = 0; i < plan->n_values; i++) {
        const pn_value *v = &plan->values[i];
        if (v->width < 1 || v->width > MAX_WIDTH)
            return refuse(f, "value %u: width %u, expected 1..%d", i, v->width, MAX_WIDTH);
        if (v->ld < v->width || v->ld % PN_PANEL || v->ld % 512 == 0 || v->ld > 2u * MAX_WIDTH)
            return refuse(f, "value %u: ld %u, expected a multiple of 16 but not of 512, at least the width %u", i,
                          v->ld, v->width);
        if (v->column % PN_PANEL || (uint64_t)v->column + v->ld > plan->row_elems)
            return refuse(f, "value %u: columns %u..%llu, expected a multiple of 16 inside 0..%u", i, v->column,
                          (unsigned long long)v->column + v->ld, plan->row_elems);
        for (uint32_t j = 0; j < i; j++) { /* tables are short; overlap would be silent corruption */
            const pn_value *u = &plan->values[j];
            if (v->column < u->column + u->ld && u->column < v->column + v->ld)
                return refuse(f, "values %u and %u overlap", j, i);
        }
    }
    return 1;
}

static int check_params(const pn_plan *plan, fault *f) {
    for (uint32_t i = 0; i < plan->n_params; i++) {
        const pn_param *p = &plan->params[i];
        if (p->rows < 1 || p->rows > MAX_WIDTH || p->cols < 1 || p->cols > MAX_WIDTH)
            return refuse(f, "param %u: shape %u x %u, expected 1..%d each", i, p->rows, p->cols, MAX_WIDTH);
        const uint32_t most = PN_LARGE ? PN_MOST_TURNED : 0;
        if (p->flags & PN_TURNED && p->cols > most)
            return refuse(f, "param %u: turned, %u columns > %u", i, p->cols, most);
        uint64_t size = pn_param_size(p);
        if (p->offset % PN_PANEL || p->offset > plan->param_elems || size > plan->param_elems - p->offset)
            return refuse(f, "param %u: offset %llu and size %llu leave the arena of %llu", i,
                          (unsigned long long)p->offset, (unsigned long long)size,
                          (unsigned long long)plan->param_elems);
        if (i && p->offset < plan->params[i - 1].offset + pn_param_size(&plan->params[i - 1]))
            return refuse(f, "param %u: offset %llu overlaps param %u (offsets ascend)", i,
                          (unsigned long long)p->offset, i - 1);
        if (!(p->l1 >= 0 && p->l2 >= 0 && isfinite(p->l1) && isfinite(p->l2)))
            return refuse(f, "param %u: l1 %g, l2 %g, expected finite and >= 0", i, p->l1, p->l2);
        if (!(p->max_norm >= 0 && p->rate >= 0 && isfinite(p->max_norm) && isfinite(p->rate)))
            return refuse(f, "param %u: max_norm %g, rate %g, expected finite and >= 0", i, p->max_norm, p->rate);
    }
    return 1;
}

/* What an op must find: value indices in range, widths that fit, an input that some earlier op wrote. */
typedef struct walk {
    const pn_plan *plan;
    fault *f;
    uint32_t i; /* the op */
    const pn_op *op;
} walk;

static int keeps_z(const pn_op *op) {
    return op->kind == PN_OP_dense || op->kind == PN_OP_row_norm || op->kind == PN_OP_lstm;
}

static int value_ok(const walk *w, const char *field, uint32_t v, int written_before) {
    if (v >= w->plan->n_values)
        return refuse(w->f, "op %u: %s = %u, but there are %u values", w->i, field, v, w->plan->n_values);
    int written = 0;
    for (uint32_t j = 0; j < w->i; j++) {
        const pn_op *o = &w->plan->ops[j];
        if (o->kind == PN_OP_loss || o->kind == PN_OP_metric) continue;
        if (o->y == v && o->kind != PN_OP_concat) written = 1;
        if (o->y == v && o->kind == PN_OP_concat) written = w->op->kind == PN_OP_concat && w->op->y == v ? 2 : 1;
        if (keeps_z(o) && o->z == v) written = 1;
    }
    if (written_before && !written)
        return refuse(w->f, "op %u: %s = %u is read before any op writes it", w->i, field, v);
    if (!written_before && written == 1) return refuse(w->f, "op %u: %s = %u is written twice", w->i, field, v);
    return 1;
}

static int param_ok(const walk *w, const char *field, uint32_t p, uint32_t rows, uint32_t cols) {
    if (p >= w->plan->n_params)
        return refuse(w->f, "op %u: %s = %u, but there are %u params", w->i, field, p, w->plan->n_params);
    const pn_param *q = &w->plan->params[p];
    if (q->rows != rows || q->cols != cols)
        return refuse(w->f, "op %u: %s = %u has shape %u x %u, expected %u x %u", w->i, field, p, q->rows, q->cols,
                      rows, cols);
    if (PN_LARGE && q->flags & PN_TURNED && !(w->op->kind == PN_OP_dense && p == w->op->w && p != w->op->b))
        return refuse(w->f, "op %u: %s = %u is turned, which only the w of dense ops may be", w->i, field, p);
    return 1;
}

static int same_width(const walk *w) {
    const uint32_t x = w->plan->values[w->op->x].width, y = w->plan->values[w->op->y].width;
    return x == y ? 1 : refuse(w->f, "op %u: widths %u and %u differ", w->i, x, y);
}

static int z_ok(const walk *w, uint64_t least) {
    const pn_op *op = w->op;
    if (op->z == op->y || !value_ok(w, "z", op->z, 0)) return refuse(w->f, "op %u: z = %u is not free", w->i, op->z);
    const uint32_t width = w->plan->values[op->z].width;
    return width >= least
               ? 1
               : refuse(w->f, "op %u: z has width %u, expected at least %llu", w->i, width, (unsigned long long)least);
}

/* gamma, beta, mean, variance of `width` units, from param w2 on */
static int norm_ok(const walk *w, uint32_t width, double epsilon) {
    if (!(epsilon > 0)) return refuse(w->f, "op %u: epsilon %g, expected > 0", w->i, epsilon);
    for (uint32_t k = 0; k < 4; k++)
        if (!param_ok(w, "w2", w->op->w2 + k, 1, width)) return 0;
    return 1;
}

static int random_ok(const walk *w) {
    const double *p = w->op->p;
    const int kind = w->op->act;
    if (!pn_known("random", kind)) return refuse(w->f, "op %u: unknown random %d", w->i, kind);
    if (kind == PN_RANDOM_dropout && !(p[0] >= 0 && p[0] < 1))
        return refuse(w->f, "op %u: dropout rate %g, expected 0 <= rate < 1", w->i, p[0]);
    return same_width(w);
}

static int lstm_ok(const walk *w) {
    const pn_op *op = w->op;
    const pn_value *v = w->plan->values;
    if (op->w2 >= w->plan->n_params)
        return refuse(w->f, "op %u: w2 = %u, but there are %u params", w->i, op->w2, w->plan->n_params);
    const uint32_t T = op->at, U = w->plan->params[op->w2].rows;
    if (T < 1 || v[op->x].width % T || U > MAX_WIDTH / 4)
        return refuse(w->f, "op %u: %u steps of %u units do not fit width %u", w->i, T, U, v[op->x].width);
    const uint32_t F = v[op->x].width / T;
    if (!param_ok(w, "w2", op->w2, U, 4 * U) || !param_ok(w, "w", op->w, F, 4 * U) ||
        !param_ok(w, "b", op->b, 1, 4 * U))
        return 0;
    if (v[op->y].width != U && v[op->y].width != (uint64_t)T * U)
        return refuse(w->f, "op %u: y has width %u, expected %u or %u times that", w->i, v[op->y].width, U, T);
    if (op->x2 != PN_NONE) {
        if (!value_ok(w, "x2", op->x2, 1)) return 0;
        if (v[op->x2].width != T)
            return refuse(w->f, "op %u: the mask has width %u, expected %u", w->i, v[op->x2].width, T);
    }
    return z_ok(w, T * (pn_pad(4 * U) + 2 * pn_pad(U)) + 2 * pn_pad(U) + pn_pad(F));
}

/* A layer may be called thousands of times: its places are read once. */
static int places_were_read(const walk *w) {
    const pn_value *v = w->plan->values;
    const pn_op *op = w->op;
    for (const pn_op *o = w->plan->ops; o < op; o++)
        if (o->kind == PN_OP_sparse && o->w == op->w && o->at == op->at && o->slot == op->slot && o->p[2] == op->p[2] &&
            v[o->x].width == v[op->x].width && v[o->y].width == v[op->y].width)
            return 1;
    return 0;
}

/* The first of `n` ends, NULL if they are not there or descend. */
static const uint32_t *ends_of(const walk *w, uint32_t n) {
    const pn_op *op = w->op;
    const pn_plan *plan = w->plan;
    if (op->slot > plan->n_ends || n > plan->n_ends - op->slot) {
        refuse(w->f, "op %u: ends %u..%llu, but there are %u", w->i, op->slot, (unsigned long long)op->slot + n,
               plan->n_ends);
        return NULL;
    }
    const uint32_t *ends = plan->ends + op->slot;
    for (uint32_t o = 1; o < n; o++)
        if (ends[o] < ends[o - 1]) {
            refuse(w->f, "op %u: ends of outputs %u and %u descend", w->i, o - 1, o);
            return NULL;
        }
    return ends;
}

/* Whether a sparse op has n values, and so many bytes that say where they belong. */
static int places_ok(const walk *w, uint64_t n, uint64_t bytes) {
    const pn_op *op = w->op;
    const pn_plan *plan = w->plan;
    if (n < 1) return refuse(w->f, "op %u: no values", w->i);
    if (n > MAX_WIDTH)
        return refuse(w->f, "op %u: %llu values, the most is %d", w->i, (unsigned long long)n, MAX_WIDTH);
    if (!param_ok(w, "w", op->w, 1, (uint32_t)n)) return 0;
    if (op->at > plan->n_places || bytes > plan->n_places - op->at)
        return refuse(w->f, "op %u: places %u..%llu, but there are %llu", w->i, op->at,
                      (unsigned long long)op->at + bytes, (unsigned long long)plan->n_places);
    return 1;
}

static int lanes_ok(const walk *w) {
    const pn_op *op = w->op;
    const uint32_t I = w->plan->values[op->x].width, O = w->plan->values[op->y].width, P = pn_panels(O);
    const uint32_t *ends = ends_of(w, P);
    if (!ends || !places_ok(w, (uint64_t)ends[P - 1] * PN_PANEL, (uint64_t)ends[P - 1] * PN_LANES_BYTES)) return 0;
    const uint8_t *places = w->plan->places + op->at, *sights = places + (size_t)ends[P - 1] * PN_PANEL;
    for (uint32_t q = 0, s = 0; q < P; q++) {
        if (ends[q] % PN_LANES_BLOCK)
            return refuse(w->f, "op %u: %u steps up to panel %u, expected a multiple of 4", w->i, ends[q], q);
        for (; s < ends[q]; s++) {
            const uint32_t first = pn_sight(sights, s);
            if (first + PN_LANES_SIGHT > pn_pad(I))
                return refuse(w->f, "op %u: step %u lies outside of %u inputs", w->i, s, I);
            for (uint32_t o = 0; o < PN_PANEL; o++) {
                const uint8_t place = pn_place(places, s, o);
                if (place != PN_NO_PLACE && (place > PN_NO_PLACE || first + place >= I || q * PN_PANEL + o >= O))
                    return refuse(w->f, "op %u: step %u has a place outside of %u inputs and %u outputs", w->i, s, I,
                                  O);
            }
        }
    }
    return 1;
}

static int sparse_ok(const walk *w) {
    const pn_op *op = w->op;
    const pn_plan *plan = w->plan;
    const uint32_t I = plan->values[op->x].width, O = plan->values[op->y].width;
    if (op->p[2] != 8 && op->p[2] != 4 && !pn_in_lanes(op))
        return refuse(w->f, "op %u: steps of %g bits, expected 8 or 4", w->i, op->p[2]);
    if (op->b != PN_NONE && !param_ok(w, "b", op->b, 1, O)) return 0;
    if (places_were_read(w)) return 1;
    if (pn_in_lanes(op)) return lanes_ok(w);
    const uint32_t *ends = ends_of(w, O);
    const uint64_t n = ends ? ends[O - 1] : 0;
    if (!ends || !places_ok(w, n, op->p[2] == 8 ? n : n / 2 + n % 2)) return 0;
    const pn_sparse s = {NULL, plan->places + op->at, ends, op->p[2] == 4, 0, NULL};
    for (uint32_t o = 0; o < O; o++) {
        uint64_t i = 0; /* one more than the input */
        if (s.nibbles && ends[o] % 2) return refuse(w->f, "op %u: output %u has an odd number of nibbles", w->i, o);
        for (uint32_t e = o ? ends[o - 1] : 0; e < ends[o]; e++) {
            const int step = pn_step(&s, e);
            i += (uint64_t)step;
            if (i < 1 || (step == 0 && !s.nibbles) || i > I)
                return refuse(w->f, "op %u: value %u lies outside of %u inputs", w->i, e, I);
        }
    }
    return 1;
}

static int sums_ok(const walk *w, uint32_t n) {
    if (w->op->slot >= w->plan->n_targets)
        return refuse(w->f, "op %u: slot = %u, but there are %u targets", w->i, w->op->slot, w->plan->n_targets);
    if (w->op->at < 2 || w->op->at > w->plan->n_sums || n > w->plan->n_sums - w->op->at)
        return refuse(w->f, "op %u: sums %u..%llu, but there are 2..%u", w->i, w->op->at,
                      (unsigned long long)w->op->at + n, w->plan->n_sums);
    return 1;
}

static int check_op(const walk *w) {
    const pn_op *op = w->op;
    const pn_value *v = w->plan->values;
    for (int k = 0; k < 3; k++)
        if (!isfinite(op->p[k])) return refuse(w->f, "op %u: p[%d] is not finite", w->i, k);
    if (op->kind != PN_OP_input && !value_ok(w, "x", op->x, 1)) return 0;
    if (op->kind != PN_OP_loss && op->kind != PN_OP_metric && !value_ok(w, "y", op->y, 0)) return 0;
    switch (op->kind) {
    case PN_OP_input:
        if (w->i && w->op[-1].kind != PN_OP_input) return refuse(w->f, "op %u: input ops come first", w->i);
        if (op->slot >= w->plan->n_inputs)
            return refuse(w->f, "op %u: slot = %u, but there are %u inputs", w->i, op->slot, w->plan->n_inputs);
        return (op->w == PN_NONE || param_ok(w, "w", op->w, 1, v[op->y].width)) &&
               (op->b == PN_NONE || param_ok(w, "b", op->b, 1, v[op->y].width));
    case PN_OP_dense:
        if (!pn_known("activation", op->act)) return refuse(w->f, "op %u: unknown activation %d", w->i, op->act);
        if (!param_ok(w, "w", op->w, v[op->x].width, v[op->y].width)) return 0;
        if (op->b != PN_NONE && !param_ok(w, "b", op->b, 1, v[op->y].width)) return 0;
        if (op->w2 != PN_NONE) {
            if (!(op->flags & PN_NO_BACKWARD)) return refuse(w->f, "op %u: a folded norm has no way down", w->i);
            if (!norm_ok(w, v[op->y].width, op->p[2])) return 0;
        } else if (op->p[2] != 0 && !(op->p[2] > 0 && op->p[2] < 1 && op->act == PN_ACT_relu)) {
            return refuse(w->f, "op %u: dropout rate %g after activation %d, expected relu and 0 <= rate < 1", w->i,
                          op->p[2], op->act);
        }
        if (op->z == PN_NONE) {
            if (!(op->flags & PN_NO_BACKWARD) && pn_activation_needs_x(op->act))
                return refuse(w->f, "op %u: activation %d needs z to be kept for backward", w->i, op->act);
            return 1;
        }
        if (!z_ok(w, 1)) return 0;
        if (v[op->z].width != v[op->y].width)
            return refuse(w->f, "op %u: z has width %u, expected %u", w->i, v[op->z].width, v[op->y].width);
        return 1;
    case PN_OP_sparse:
        if (!pn_known("activation", op->act)) return refuse(w->f, "op %u: unknown activation %d", w->i, op->act);
        if (!(op->flags & PN_NO_BACKWARD) && pn_activation_needs_x(op->act))
            return refuse(w->f, "op %u: activation %d has an op of its own", w->i, op->act);
        return sparse_ok(w);
    case PN_OP_activation:
        if (!pn_known("activation", op->act)) return refuse(w->f, "op %u: unknown activation %d", w->i, op->act);
        return same_width(w);
    case PN_OP_add:
        if (!value_ok(w, "x2", op->x2, 1)) return 0;
        if (v[op->x].width != v[op->y].width || v[op->x2].width != v[op->y].width)
            return refuse(w->f, "op %u: widths %u + %u -> %u differ", w->i, v[op->x].width, v[op->x2].width,
                          v[op->y].width);
        return 1;
    case PN_OP_concat:
        if (op->at > v[op->y].width || v[op->x].width > v[op->y].width - op->at)
            return refuse(w->f, "op %u: columns %u..%llu leave the width %u", w->i, op->at,
                          (unsigned long long)op->at + v[op->x].width, v[op->y].width);
        return 1;
    case PN_OP_loss:
        if (!pn_known("loss", op->act)) return refuse(w->f, "op %u: unknown loss %d", w->i, op->act);
        if (op->flags & PN_ADD_X) return refuse(w->f, "op %u: two losses on value %u", w->i, op->x);
        return sums_ok(w, 2);
    case PN_OP_metric:
        if (!pn_known("metric", op->act)) return refuse(w->f, "op %u: unknown metric %d", w->i, op->act);
        if ((op->act == PN_METRIC_top_k_index || op->act == PN_METRIC_top_k_dense) &&
            !(op->p[0] >= 1 && op->p[0] <= v[op->x].width))
            return refuse(w->f, "op %u: k = %g, expected 1..%u", w->i, op->p[0], v[op->x].width);
        return sums_ok(w, op->act == PN_METRIC_r2 ? 1 + 3 * v[op->x].width : 2);
    case PN_OP_random: return random_ok(w);
    case PN_OP_batch_norm:
        if (!(op->p[1] >= 0 && op->p[1] <= 1)) return refuse(w->f, "op %u: momentum %g, expected 0..1", w->i, op->p[1]);
        /* fall through */
    case PN_OP_running_norm:
        if (op->w != op->w2 || op->b != op->w2 + 1)
            return refuse(w->f, "op %u: w, b = %u, %u are not the first two params from w2 = %u", w->i, op->w, op->b,
                          op->w2);
        return same_width(w) && norm_ok(w, v[op->y].width, op->p[0]);
    case PN_OP_row_norm:
        if (!(op->p[0] > 0)) return refuse(w->f, "op %u: epsilon %g, expected > 0", w->i, op->p[0]);
        return same_width(w) && (op->w == PN_NONE || param_ok(w, "w", op->w, 1, v[op->y].width)) &&
               (op->b == PN_NONE || param_ok(w, "b", op->b, 1, v[op->y].width)) && z_ok(w, 2);
    case PN_OP_prelu:
        if (!same_width(w)) return 0;
        return op->w < w->plan->n_params && w->plan->params[op->w].cols == 1
                   ? param_ok(w, "w", op->w, 1, 1)
                   : param_ok(w, "w", op->w, 1, v[op->y].width);
    case PN_OP_gradient_clip:
        if (!pn_known("clip", op->act)) return refuse(w->f, "op %u: unknown clip %d", w->i, op->act);
        if (op->act != PN_CLIP_sign && !(op->p[0] > 0))
            return refuse(w->f, "op %u: c %g, expected > 0", w->i, op->p[0]);
        return same_width(w);
    case PN_OP_lstm: return lstm_ok(w);
    case PN_OP_python: return 1;
    default: return refuse(w->f, "op %u: unknown kind %d", w->i, op->kind);
    }
}

static int check_ops(const pn_plan *plan, fault *f) {
    if (plan->ops[0].kind != PN_OP_input) return refuse(f, "op 0: kind %d, expected an input", plan->ops[0].kind);
    for (uint32_t i = 0; i < plan->n_ops; i++) {
        const walk w = {plan, f, i, &plan->ops[i]};
        if (!check_op(&w)) return 0;
    }
    for (uint32_t k = 0; k < plan->n_outputs; k++) {
        const walk w = {plan, f, plan->n_ops, &(const pn_op){0}};
        if (!value_ok(&w, "output", plan->outputs[k], 1)) return 0;
    }
    return 1;
}

pn_status pn_plan_check(const pn_plan *plan, char *text, size_t size) {
    fault f = {text, size};
    if (size) text[0] = '\0';
    if (plan->n_values > MAX_TABLE || plan->n_params > MAX_TABLE || plan->n_ops > MAX_TABLE ||
        plan->n_sums > MAX_WIDTH * 4u || plan->n_inputs < 1 || plan->n_inputs > plan->n_ops ||
        plan->n_targets > plan->n_ops || plan->n_outputs > MAX_TABLE || plan->param_elems > (uint64_t)1 << 40)
        return refuse(&f, "the counts of the plan are out of range"), PN_BAD_PLAN;
    return check_values(plan, &f) && check_params(plan, &f) && check_ops(plan, &f) ? PN_OK : PN_BAD_PLAN;
}
