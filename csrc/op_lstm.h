/* op_lstm.h: lstm, all steps of all rows.  Rows are independent, so tasks own rows; sums over the batch come after.
 *
 *   x [B, T F]   w [F, 4U]   b [4U]   w2 [U, 4U] recurrent   x2 [B, T] mask, or none   y [B, U] last h, or [B, T U] all
 *   z, for each step t: gates [B, 4U], c [B, U], h [B, U], each padded; its gradient arena: theirs, then dc, dh, dx of
 * one step */

typedef struct lstm {
    int64_t T, F, U, ldg, ldu, ldf, step; /* elements of a step: B step */
    real *z, *dz;
} lstm;

static lstm lstm_of(const run *r) {
    const pn_op *op = r->op;
    lstm l = {.T = op->at, .U = r->m->plan.params[op->w2].rows, .F = r->m->plan.params[op->w].rows};
    l.ldg = (int64_t)pn_pad((uint64_t)(4 * l.U));
    l.ldu = (int64_t)pn_pad((uint64_t)l.U);
    l.ldf = (int64_t)pn_pad((uint64_t)l.F);
    l.step = r->B * (l.ldg + 2 * l.ldu);
    l.z = value(r, op->z);
    l.dz = r->m->training ? dvalue(r, op->z) : NULL;
    return l;
}
/* Of a step; NULL before the first. */
static real *gates(const lstm *l, real *z, int64_t t) { return z + t * l->step; }
static real *cell(const lstm *l, const run *r, int64_t t) { return t < 0 ? NULL : gates(l, l->z, t) + r->B * l->ldg; }
static real *hidden(const lstm *l, const run *r, int64_t t) { return t < 0 ? NULL : cell(l, r, t) + r->B * l->ldu; }
static const real *mask_of(const run *r, int64_t t) { return r->op->x2 == PN_NONE ? NULL : value(r, r->op->x2) + t; }
static int64_t mask_ld(const run *r) { return r->op->x2 == PN_NONE ? 0 : ld(r, r->op->x2); }

/* Columns of step t in a value [B, T n]; after the last of them, how far its padding reaches. */
static int64_t reach(const lstm *l, int64_t t, int64_t n) {
    return t == l->T - 1 ? (int64_t)pn_pad((uint64_t)(l->T * n)) - t * n : n;
}

static void lstm_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const lstm l = lstm_of(r);
    const int64_t P = pn_panels((uint32_t)(4 * l.U));
    const int all = width(r, op->y) != l.U; /* hidden states go out */
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    for (int64_t t = 0; t < l.T; t++) {
        real *g = gates(&l, l.z, t), *h = hidden(&l, r, t);
        const real *before = hidden(&l, r, t - 1);
        /* gates = x_t w + b + h_prev w2; all columns of the panels: x_t has no padding of its own */
        r->k->dense_forward(value(r, op->x) + t * l.F, ld(r, op->x), weight(r, op->w), weight(r, op->b), g, l.ldg, NULL,
                            0, m0, m1, l.F, 0, P, PN_ACT_identity, op->p, NULL, NULL, 0);
        if (before) r->k->dense_dx(before, l.ldu, weight(r, op->w2), g, l.ldg, m0, m1, l.U, 0, P, 1);
        r->k->lstm_forward(g, l.ldg, cell(&l, r, t - 1), before, cell(&l, r, t), h, l.ldu, mask_of(r, t), mask_ld(r),
                           m0, m1, l.U);
        if (all)
            r->k->copy(h, l.ldu, value(r, op->y) + t * l.U, ld(r, op->y), m0, m1, l.U, reach(&l, t, l.U), 0);
        else if (t == l.T - 1)
            r->k->copy(h, l.ldu, value(r, op->y), ld(r, op->y), m0, m1, l.U, l.ldu, 0);
    }
}
static void lstm_forward(run *r, const pn_op *op) {
    const lstm l = lstm_of(r);
    divide(r, lstm_task, r->B * l.T * 4 * l.U * (l.F + l.U), r->B);
    (void)op;
}

static void lstm_back_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const lstm l = lstm_of(r);
    const int all = width(r, op->y) != l.U;
    real *dc = gates(&l, l.dz, l.T), *dh = dc + r->B * l.ldu, *dx = dh + r->B * l.ldu;
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    memset(dc + m0 * l.ldu, 0, (size_t)((m1 - m0) * l.ldu) * sizeof(real));
    memset(dh + m0 * l.ldu, 0, (size_t)((m1 - m0) * l.ldu) * sizeof(real));
    for (int64_t t = l.T - 1; t >= 0; t--) {
        real *dz = gates(&l, l.dz, t);
        if (all || t == l.T - 1) /* dh += dy_t */
            r->k->copy(dvalue(r, op->y) + (all ? t * l.U : 0), ld(r, op->y), dh, l.ldu, m0, m1, l.U, 0, 1);
        r->k->lstm_backward(gates(&l, l.z, t), l.ldg, cell(&l, r, t - 1), cell(&l, r, t), dz, dc, dh, l.ldu,
                            mask_of(r, t), mask_ld(r), m0, m1, l.U);
        if (t) /* dh_prev = dz w2^T */
            r->k->dense_dx(dz, l.ldg, transposed(r, op->w2), dh, l.ldu, m0, m1, 4 * l.U, 0, pn_panels((uint32_t)l.U),
                           1);
        if (op->flags & PN_STOP_X) continue;
        /* dx_t = dz w^T */
        r->k->dense_dx(dz, l.ldg, transposed(r, op->w), dx, l.ldf, m0, m1, 4 * l.U, 0, pn_panels((uint32_t)l.F), 0);
        r->k->copy(dx, l.ldf, dvalue(r, op->x) + t * l.F, ld(r, op->x), m0, m1, l.F, reach(&l, t, l.F),
                   op->flags & PN_ADD_X);
    }
}

static void lstm_sums_task(void *argument, int i, int n) { /* dw, db, dw2 over all steps, by panels of 4U */
    const run *r = argument;
    const pn_op *op = r->op;
    const lstm l = lstm_of(r);
    const int add = op->flags & PN_ADD_W;
    int64_t p0, p1;
    share(pn_panels((uint32_t)(4 * l.U)), i, n, &p0, &p1);
    if (trainable(r, op->w2) && !add)
        memset(gradient(r, op->w2) + p0 * l.U * PN_PANEL, 0, (size_t)((p1 - p0) * l.U * PN_PANEL) * sizeof(real));
    for (int64_t t = 0; t < l.T; t++) {
        const real *dz = gates(&l, l.dz, t);
        if (trainable(r, op->w)) /* dw += x_t^T dz */
            r->k->dense_dw(value(r, op->x) + t * l.F, ld(r, op->x), dz, l.ldg, gradient(r, op->w), l.F, 0, l.F, r->B,
                           p0, p1, add || t, NULL, 0);
        if (trainable(r, op->b)) r->k->column_sums(dz, l.ldg, gradient(r, op->b), r->B, p0, p1, add || t);
        if (trainable(r, op->w2) && t) /* dw2 += h_prev^T dz */
            r->k->dense_dw(hidden(&l, r, t - 1), l.ldu, dz, l.ldg, gradient(r, op->w2), l.U, 0, l.U, r->B, p0, p1, 1,
                           NULL, 0);
    }
}

static void transpose_param(const run *r, uint32_t p) {
    const pn_param *q = &r->m->plan.params[p];
    r->k->transpose(weight(r, p), transposed(r, p), q->rows, q->cols, 0, pn_panels(q->rows));
}

static void lstm_backward(run *r, const pn_op *op) {
    const lstm l = lstm_of(r);
    const int64_t work = r->B * l.T * 4 * l.U * (l.F + l.U);
    if (r->part & TRANSPOSES) transpose_param(r, op->w2);
    if (r->part & TRANSPOSES && !(op->flags & PN_STOP_X)) transpose_param(r, op->w);
    if (r->part & ROWS) divide(r, lstm_back_task, work, r->B);
    if (r->part & SUMS) divide(r, lstm_sums_task, work, pn_panels((uint32_t)(4 * l.U)));
}
