/* op_basic.h: the ops without weights of their own: input, activation, add, concat, gradient_clip, python; and prelu.
 */

/* ---- input: y = (data[slot] - b) * w ----------------------------------------------------------------------- */

static void input_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    pn_array array = r->job->inputs[op->slot];
    array.width = (uint32_t)width(r, op->y);
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    r->k->gather(&array, r->job->order, r->row0, weight(r, op->w), weight(r, op->b), value(r, op->y), ld(r, op->y), m0,
                 m1);
}
/* Rows that lie anywhere in memory take much longer than multiply-adds: 784-128-10 @128 60 us, 15 where dw has asked
 * for them (20 with two threads: what one of them writes the other has read). Refused: a second copy of x, gathered by
 * and for the second thread: 784-128-10 @128, rows in order, 342 us instead of 353, shuffled, @32 and @256 nothing; and
 * float32 rows in order read where they lie, never copied: 0 to 1 % with one thread and with two; lines of
 * x asked for to be written, during the update (gathering 1 us less, it 4 more) or, of a second x, during dw (0.99). */
static void input_forward(run *r, const pn_op *op) { divide(r, input_task, r->B * width(r, op->y) * 32, r->B); }
static void input_backward(run *r, const pn_op *op) { (void)r, (void)op; }

/* ---- activation: y = act(x) --------------------------------------------------------------------------------- */

static void activation_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const uint32_t x = op->kind == PN_OP_activation ? op->x : op->y; /* of dense and sparse: softmax, in place */
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    if (op->act == PN_ACT_softmax)
        r->k->softmax_forward(value(r, x), ld(r, x), value(r, op->y), ld(r, op->y), m0, m1, width(r, op->y));
    else
        r->k->act_forward(op->act, op->p, value(r, x), ld(r, x), value(r, op->y), ld(r, op->y), m0, m1, 0,
                          panels(r, op->y));
}
static void activation_forward(run *r, const pn_op *op) {
    divide(r, activation_task, r->B * width(r, op->y) * 16, r->B);
}

static void act_back_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const int dense = op->kind != PN_OP_activation; /* dense, sparse: in place on dy, which becomes dz */
    const uint32_t to = dense ? op->y : op->x;
    const int add = !dense && op->flags & PN_ADD_X;
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    if (op->act == PN_ACT_softmax) {
        r->k->softmax_backward(value(r, op->y), ld(r, op->y), dvalue(r, op->y), ld(r, op->y), dvalue(r, to), ld(r, to),
                               m0, m1, width(r, op->y), add);
        return;
    }
    const uint32_t v = !pn_activation_needs_x(op->act) ? op->y : dense ? op->z : op->x;
    r->k->act_backward(op->act, op->p, value(r, v), ld(r, v), dvalue(r, op->y), ld(r, op->y), dvalue(r, to), ld(r, to),
                       m0, m1, 0, panels(r, op->y), add);
}
static void activation_backward(run *r, const pn_op *op) {
    if (!(op->flags & PN_STOP_X)) divide(r, act_back_task, r->B * width(r, op->y) * 8, r->B);
}

/* ---- add: y = x + x2 ------------------------------------------------------------------------------------------ */

static void add_forward(run *r, const pn_op *op) {
    r->k->add(value(r, op->x), ld(r, op->x), value(r, op->x2), ld(r, op->x2), value(r, op->y), ld(r, op->y), r->m0,
              r->m1, 0, panels(r, op->y));
}
static void add_backward(run *r, const pn_op *op) { /* dx = dy, dx2 = dy */
    const real *dy = dvalue(r, op->y);
    if (!(op->flags & PN_STOP_X)) pass_down(r, op->x, dy, ld(r, op->y), width(r, op->y), op->flags & PN_ADD_X);
    if (!(op->flags & PN_STOP_X2)) pass_down(r, op->x2, dy, ld(r, op->y), width(r, op->y), op->flags & PN_ADD_X2);
}

/* ---- concat: y[:, at : at + width(x)] = x ---------------------------------------------------------------------- */

static void concat_forward(run *r, const pn_op *op) {
    const int64_t w = width(r, op->x), end = op->at + w; /* the last piece clears the padding */
    const int64_t pad = end == width(r, op->y) ? (int64_t)pn_pad((uint64_t)end) - op->at : w;
    r->k->copy(value(r, op->x), ld(r, op->x), value(r, op->y) + op->at, ld(r, op->y), r->m0, r->m1, w, pad, 0);
}
static void concat_backward(run *r, const pn_op *op) {
    if (!(op->flags & PN_STOP_X))
        pass_down(r, op->x, dvalue(r, op->y) + op->at, ld(r, op->y), width(r, op->x), op->flags & PN_ADD_X);
}

/* ---- gradient_clip: y = x; dx = clip(dy), in place on dy: nobody reads it after ---------------------------------- */

static void gradient_clip_forward(run *r, const pn_op *op) {
    r->k->copy(value(r, op->x), ld(r, op->x), value(r, op->y), ld(r, op->y), 0, r->B, width(r, op->y),
               (int64_t)pn_pad((uint64_t)width(r, op->y)), 0);
}
static void gradient_clip_backward(run *r, const pn_op *op) {
    const int64_t n = panels(r, op->y) * PN_PANEL, lddy = ld(r, op->y);
    real *dy = dvalue(r, op->y);
    double factor = 1;
    if (op->flags & PN_STOP_X) return;
    if (op->act == PN_CLIP_norm) { /* of the whole batch; dx = dy min(1, c / |dy|) */
        double sum = 0;
        for (int64_t b = 0; b < r->B; b++) r->k->sum_squares(dy + b * lddy, n, &sum);
        if (sqrt(sum) > op->p[0]) factor = op->p[0] / sqrt(sum);
    }
    for (int64_t b = 0; b < r->B; b++) {
        if (op->act == PN_CLIP_value) r->k->clip_value(dy + b * lddy, op->p[0], n);
        if (op->act == PN_CLIP_sign) r->k->clip_sign(dy + b * lddy, n);
        if (factor < 1) r->k->scale(dy + b * lddy, factor, n);
    }
    pass_down(r, op->x, dy, lddy, width(r, op->y), op->flags & PN_ADD_X);
}

/* ---- python: the plan steps out of C ----------------------------------------------------------------------------- */

static void python(run *r, const pn_op *op, int backward) {
    pn_machine *m = r->m;
    if (!m->call || m->call(m->context, (uint32_t)(op - m->plan.ops), backward)) r->status = PN_CALL_FAILED;
}
static void python_forward(run *r, const pn_op *op) { python(r, op, 0); }
static void python_backward(run *r, const pn_op *op) {
    if (!(op->flags & PN_STOP_X)) python(r, op, 1);
}

/* ---- prelu: y = x > 0 ? x : w x, w one slope for each unit, or one for all ------------------------------------------
 */

static int one_slope(const run *r, const pn_op *op) {
    return r->m->plan.params[op->w].cols != r->m->plan.values[op->x].width;
}

static void prelu_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    r->k->prelu_forward(value(r, op->x), ld(r, op->x), weight(r, op->w), one_slope(r, op), value(r, op->y),
                        ld(r, op->y), m0, m1, 0, panels(r, op->y));
}
static void prelu_forward(run *r, const pn_op *op) { divide(r, prelu_task, r->B * width(r, op->y) * 4, r->B); }

static void prelu_back_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    r->k->prelu_backward(value(r, op->x), ld(r, op->x), weight(r, op->w), one_slope(r, op), dvalue(r, op->y),
                         ld(r, op->y), dvalue(r, op->x), ld(r, op->x), m0, m1, 0, panels(r, op->y),
                         op->flags & PN_ADD_X);
}

static void prelu_sums_task(void *argument, int i, int n) { /* one slope: one sum, which cannot be divided */
    const run *r = argument;
    const pn_op *op = r->op;
    int64_t p0 = 0, p1 = i ? 0 : panels(r, op->y);
    if (!one_slope(r, op)) share(panels(r, op->y), i, n, &p0, &p1);
    if (p0 < p1)
        r->k->prelu_sums(value(r, op->x), ld(r, op->x), one_slope(r, op), dvalue(r, op->y), ld(r, op->y),
                         gradient(r, op->w), r->B, p0, p1, op->flags & PN_ADD_W);
}
static void prelu_backward(run *r, const pn_op *op) {
    const int64_t work = r->B * width(r, op->y) * 4;
    if (r->part & SUMS && trainable(r, op->w))
        divide(r, prelu_sums_task, work, one_slope(r, op) ? 1 : panels(r, op->y));
    if (r->part & ROWS && !(op->flags & PN_STOP_X)) divide(r, prelu_back_task, work, r->B);
}
