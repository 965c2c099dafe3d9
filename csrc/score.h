/* score.h: the heads of a run: targets and weights of a batch, losses, metrics.  Part of run.c, one per dtype.
 * Sums are double and serial, rows ascending. */

static int64_t integer_at(const pn_array *a, int64_t row) {
    const char *p = (const char *)a->base + row * a->row_stride;
    switch (a->type) {
    case PN_INT8: return *(const int8_t *)p;
    case PN_UINT8: return *(const uint8_t *)p;
    case PN_INT16: return *(const int16_t *)p;
    case PN_UINT16: return *(const uint16_t *)p;
    case PN_INT32: return *(const int32_t *)p;
    case PN_UINT32: return *(const uint32_t *)p;
    case PN_INT64: return *(const int64_t *)p;
    case PN_UINT64: return *(const uint64_t *)p > INT32_MAX ? -1 : (int64_t)*(const uint64_t *)p;
    default: return -1; /* not an integer type: never a label */
    }
}

static real *target(const run *r, uint32_t slot) {
    return (real *)r->m->targets + r->m->target_column[slot] * (size_t)r->B;
}
static int32_t *labels(const run *r, uint32_t slot) { return r->m->labels + (int64_t)slot * r->m->capacity; }

/* Classes of a label slot: the narrowest head that reads it. */
static int64_t classes(const run *r, uint32_t slot) {
    int64_t n = INT32_MAX;
    for (uint32_t i = 0; i < r->m->plan.n_ops; i++) {
        const pn_op *op = &r->m->plan.ops[i];
        if ((op->kind == PN_OP_loss || op->kind == PN_OP_metric) && op->slot == slot && width(r, op->x) < n)
            n = width(r, op->x);
    }
    return n;
}

static void load_weights(run *r) {
    pn_machine *m = r->m;
    const pn_job *job = r->job;
    m->weight_sum = m->weight_squares = 0;
    if (!m->training && !(job->stages & PN_METRIC)) return; /* nobody asks for them */
    if (!job->weight) { /* the sums below, without waiting for additions: 1 % of a step of 4-32-32-1 @32 and @256 */
        for (int64_t b = 0; b < r->B; b++) ((real *)m->weights)[b] = 1;
        m->weight_sum = m->weight_squares = (double)(r->whole1 - r->whole0);
        return;
    }
    for (int64_t i = r->whole0; i < r->whole1; i++) { /* the loss of a part is a share of that of the batch */
        const real w = (real)job->weight[job->order ? job->order[i] : i];
        if (i >= r->row0 && i < r->row0 + r->B) ((real *)m->weights)[i - r->row0] = w;
        m->weight_sum += (double)w;
        m->weight_squares += (double)w * (double)w;
    }
}

static pn_status load_targets(run *r) {
    pn_machine *m = r->m;
    const pn_job *job = r->job;
    for (uint32_t t = 0; t < m->plan.n_targets; t++) {
        pn_array array = job->targets[t];
        if (m->target_width[t] == PN_NONE) continue;
        if (m->target_width[t]) {
            array.width = m->target_width[t];
            r->k->gather(&array, job->order, r->row0, NULL, NULL, target(r, t), (int64_t)pn_pad(array.width), 0, r->B);
            continue;
        }
        const int64_t n = classes(r, t);
        for (int64_t b = 0; b < r->B; b++) {
            const int64_t label = integer_at(&array, job->order ? job->order[r->row0 + b] : r->row0 + b);
            if (label < 0 || label >= n) return PN_BAD_LABEL;
            labels(r, t)[b] = (int32_t)label;
        }
    }
    return PN_OK;
}

/* ---- metrics: one number per row ------------------------------------------------------------------------------ */

static int64_t argmax(const real *x, int64_t n) { /* the first of the largest */
    int64_t best = 0;
    real most = x[0];
    for (int64_t i = 1; i < n; i++) { /* without a branch, which nobody could predict */
        const int more = x[i] > most;
        most = more ? x[i] : most, best = more ? i : best;
    }
    return best;
}

/* Is class c among the k largest?  Of equals, the lower index ranks higher. */
static double in_top_k(const real *x, int64_t n, int64_t c, int64_t k) {
    int64_t rank = 0;
    for (int64_t i = 0; i < n; i++) rank += x[i] > x[c] || (x[i] == x[c] && i < c);
    return rank < k;
}

static double row_metric(const pn_op *op, const real *x, const real *t, int32_t label, int64_t O) {
    double s = 0;
    switch (op->act) {
    case PN_METRIC_accuracy_index: return argmax(x, O) == label;
    case PN_METRIC_accuracy_dense: return argmax(x, O) == argmax(t, O);
    case PN_METRIC_top_k_index: return in_top_k(x, O, label, (int64_t)op->p[0]);
    case PN_METRIC_top_k_dense: return in_top_k(x, O, argmax(t, O), (int64_t)op->p[0]);
    case PN_METRIC_accuracy_binary:
        for (int64_t o = 0; o < O; o++) s += ((double)x[o] > op->p[0]) == (t[o] > (real)0.5);
        return s / (double)O;
    case PN_METRIC_mae:
        for (int64_t o = 0; o < O; o++) s += fabs((double)x[o] - (double)t[o]);
        return s / (double)O;
    case PN_METRIC_mse:
        for (int64_t o = 0; o < O; o++) s += ((double)x[o] - (double)t[o]) * ((double)x[o] - (double)t[o]);
        return s / (double)O;
    default: return 0;
    }
}

static void metric(const run *r, const pn_op *op) {
    const int64_t O = width(r, op->x), ldx = ld(r, op->x), ldt = (int64_t)pn_pad(r->m->target_width[op->slot]);
    const real *x = value(r, op->x), *w = r->m->weights, *t = target(r, op->slot);
    const int32_t *label = labels(r, op->slot);
    double *sums = r->m->batch_sums + op->at;
    const int dense = r->m->target_width[op->slot] != 0;
    for (int64_t b = 0; b < r->B; b++) {
        const real *xb = x + b * ldx, *tb = t + b * ldt;
        const double wb = (double)w[b];
        if (op->act == PN_METRIC_r2) {
            sums[0] += wb;
            for (int64_t o = 0; o < O; o++) {
                const double y = (double)xb[o], d = y - (double)tb[o], target_o = (double)tb[o];
                sums[1 + 3 * o] += wb * target_o;
                sums[2 + 3 * o] += wb * target_o * target_o;
                sums[3 + 3 * o] += wb * d * d;
            }
        } else {
            sums[0] += wb * row_metric(op, xb, tb, dense ? 0 : label[b], O);
            sums[1] += wb;
        }
    }
}

/* ---- losses ------------------------------------------------------------------------------------------------------ */

static real *row_loss(const run *r, const pn_op *op) { /* [B] of this loss */
    int64_t n = 0;
    for (const pn_op *before = r->m->plan.ops; before < op; before++) n += before->kind == PN_OP_loss;
    return (real *)r->m->row_loss + n * r->m->capacity;
}

static void loss_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const int dense = r->m->target_width[op->slot] != 0;
    const double factor = r->m->weight_sum > 0 ? op->p[1] / r->m->weight_sum : 0;
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    r->k->loss(op->act, op->p[0], value(r, op->x), ld(r, op->x), dense ? target(r, op->slot) : NULL,
               (int64_t)pn_pad(r->m->target_width[op->slot]), dense ? NULL : labels(r, op->slot), r->m->weights, factor,
               row_loss(r, op), dvalue(r, op->x), ld(r, op->x), m0, m1, width(r, op->x));
}

static void row_losses(run *r) {
    for (uint32_t i = 0; i < r->m->plan.n_ops; i++) {
        const pn_op *op = r->op = &r->m->plan.ops[i];
        if (op->kind == PN_OP_loss && op->act != PN_LOSS_external)
            divide(r, loss_task, r->B * width(r, op->x) * 32, r->B);
    }
}

static double penalties(const run *r) {
    double sum = 0;
    if (!(r->m->extras & PN_PENALTIES)) return sum;
    for (uint32_t p = 0; p < r->m->plan.n_params; p++) {
        const pn_param *q = &r->m->plan.params[p];
        if (q->flags & PN_TRAINABLE && (q->l1 > 0 || q->l2 > 0))
            r->k->penalty_value(q->l1, q->l2, param(r, r->m->arenas.params, p), (int64_t)pn_param_size(q), &sum);
    }
    return sum;
}

/* Fills batch_sums; 0 if the loss of the batch is not finite. */
static int score(const run *r) {
    pn_machine *m = r->m;
    memset(m->batch_sums, 0, m->plan.n_sums * sizeof *m->batch_sums);
    double total = 0;
    if (r->job->stages & PN_LOSS && r->first_part) {
        total = m->batch_sums[0] = penalties(r);
        m->batch_sums[1] = 1;
    }
    for (uint32_t i = 0; i < m->plan.n_ops; i++) {
        const pn_op *op = &m->plan.ops[i];
        if (op->kind == PN_OP_loss && r->job->stages & PN_LOSS) {
            double *sums = m->batch_sums + op->at;
            if (op->act == PN_LOSS_external) continue;
            const real *weight = m->weights, *loss = row_loss(r, op);
            for (int64_t b = 0; b < r->B; b++) {
                sums[0] += (double)weight[b] * (double)loss[b];
                sums[1] += (double)weight[b];
            }
            if (sums[1] > 0) total += op->p[1] * sums[0] / sums[1];
        }
        if (op->kind == PN_OP_metric && r->job->stages & PN_METRIC) metric(r, op);
    }
    return isfinite(total);
}
