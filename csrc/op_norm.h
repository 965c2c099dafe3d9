/* op_norm.h: batch_norm (statistics of the batch), running_norm (running statistics), row_norm (of each row).
 * Batch norms are divided by columns: a panel sees the whole batch. */

/* ---- batch_norm ----------------------------------------------------------------------------------------------------
 */

static pn_norm batch_statistics(const run *r) { /* gamma and beta, with the mean and variance of this batch */
    pn_norm norm = norm_of(r, r->op->p[0]);
    norm.mean = op_scratch(r);
    norm.variance = op_scratch(r) + panels(r, r->op->y) * PN_PANEL;
    return norm;
}

static void batch_norm_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const pn_norm norm = batch_statistics(r);
    int64_t p0, p1;
    share(panels(r, op->y), i, n, &p0, &p1);
    r->k->batch_norm_forward(value(r, op->x), ld(r, op->x), r->m->weights, r->m->weight_sum, &norm, op_scratch(r),
                             op_scratch(r) + panels(r, op->y) * PN_PANEL, value(r, op->y), ld(r, op->y), r->B, p0, p1);
}
static void batch_norm_forward(run *r, const pn_op *op) {
    divide(r, batch_norm_task, r->B * width(r, op->y) * 8, panels(r, op->y));
}

static void batch_norm_back_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const pn_norm norm = batch_statistics(r);
    int64_t p0, p1;
    share(panels(r, op->y), i, n, &p0, &p1);
    r->k->batch_norm_backward(value(r, op->x), ld(r, op->x), r->m->weights, r->m->weight_sum, &norm, dvalue(r, op->y),
                              ld(r, op->y), trainable(r, op->w) ? gradient(r, op->w) : NULL,
                              trainable(r, op->b) ? gradient(r, op->b) : NULL, op->flags & PN_ADD_W,
                              op->flags & PN_STOP_X ? NULL : dvalue(r, op->x), ld(r, op->x), op->flags & PN_ADD_X, r->B,
                              p0, p1);
}
static void batch_norm_backward(run *r, const pn_op *op) {
    divide(r, batch_norm_back_task, r->B * width(r, op->y) * 8, panels(r, op->y));
}

/* Running mean and variance follow those of the batch.  The variance of a sample falls short of that of the whole:
 * it is taken n/(n-1) times, n = (sum of weights)^2 / sum of their squares, the number of rows where all are equal. */
static void batch_norm_track(run *r, const pn_op *op) {
    const double squares = r->m->weight_squares, sum = r->m->weight_sum;
    const double n = squares > 0 ? sum * sum / squares : 0;
    const int64_t O = width(r, op->y);
    r->op = op;
    if (n <= 1) return; /* a single row has no variance */
    r->k->track(weight(r, op->w2 + 2), op_scratch(r), op->p[1], 1, O);
    r->k->track(weight(r, op->w2 + 3), op_scratch(r) + pn_pad((uint64_t)O), op->p[1], n / (n - 1), O);
}

/* ---- running_norm --------------------------------------------------------------------------------------------------
 */

static void running_norm_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const pn_norm norm = norm_of(r, op->p[0]);
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    r->k->running_norm_forward(value(r, op->x), ld(r, op->x), &norm, value(r, op->y), ld(r, op->y), m0, m1, 0,
                               panels(r, op->y));
}
static void running_norm_forward(run *r, const pn_op *op) {
    divide(r, running_norm_task, r->B * width(r, op->y) * 4, r->B);
}

static void running_norm_back_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const pn_norm norm = norm_of(r, op->p[0]);
    int64_t p0, p1;
    share(panels(r, op->y), i, n, &p0, &p1);
    r->k->running_norm_backward(value(r, op->x), ld(r, op->x), &norm, dvalue(r, op->y), ld(r, op->y),
                                trainable(r, op->w) ? gradient(r, op->w) : NULL,
                                trainable(r, op->b) ? gradient(r, op->b) : NULL, op->flags & PN_ADD_W,
                                op->flags & PN_STOP_X ? NULL : dvalue(r, op->x), ld(r, op->x), op->flags & PN_ADD_X,
                                r->B, p0, p1);
}
static void running_norm_backward(run *r, const pn_op *op) {
    divide(r, running_norm_back_task, r->B * width(r, op->y) * 8, panels(r, op->y));
}

/* ---- row_norm: z keeps mean and 1/deviation of each row ------------------------------------------------------------
 */

static pn_norm row_factors(const run *r) {
    return (pn_norm){.gamma = weight(r, r->op->w), .beta = weight(r, r->op->b), .epsilon = r->op->p[0]};
}

static void row_norm_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const pn_norm norm = row_factors(r);
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    r->k->row_norm_forward(value(r, op->x), ld(r, op->x), &norm, value(r, op->z), ld(r, op->z), value(r, op->y),
                           ld(r, op->y), m0, m1, width(r, op->y));
}
static void row_norm_forward(run *r, const pn_op *op) { divide(r, row_norm_task, r->B * width(r, op->y) * 8, r->B); }

static void row_norm_back_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const pn_norm norm = row_factors(r);
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    r->k->row_norm_backward(value(r, op->x), ld(r, op->x), &norm, value(r, op->z), ld(r, op->z), dvalue(r, op->y),
                            ld(r, op->y), dvalue(r, op->x), ld(r, op->x), m0, m1, width(r, op->y),
                            op->flags & PN_ADD_X);
}

static void row_norm_sums_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    int64_t p0, p1;
    share(panels(r, op->y), i, n, &p0, &p1);
    r->k->row_norm_sums(value(r, op->x), ld(r, op->x), value(r, op->z), ld(r, op->z), dvalue(r, op->y), ld(r, op->y),
                        trainable(r, op->w) ? gradient(r, op->w) : NULL,
                        trainable(r, op->b) ? gradient(r, op->b) : NULL, r->B, p0, p1, op->flags & PN_ADD_W);
}
static void row_norm_backward(run *r, const pn_op *op) {
    const int64_t work = r->B * width(r, op->y) * 8;
    if (r->part & SUMS && (trainable(r, op->w) || trainable(r, op->b)))
        divide(r, row_norm_sums_task, work, panels(r, op->y));
    if (r->part & ROWS && !(op->flags & PN_STOP_X)) divide(r, row_norm_back_task, work, r->B);
}
