/* op_random.h: random, y = f(x, numbers by position); nothing is kept for the way down, the numbers are drawn again. */

static void random_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const pn_position at = position(r);
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    r->k->random_forward(op->act, op->p, &at, value(r, op->x), ld(r, op->x), value(r, op->y), ld(r, op->y), m0, m1, 0,
                         panels(r, op->y));
}
static void random_forward(run *r, const pn_op *op) { divide(r, random_task, r->B * width(r, op->y) * 16, r->B); }

static void random_back_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const pn_position at = position(r);
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    r->k->random_backward(op->act, op->p, &at, value(r, op->x), ld(r, op->x), dvalue(r, op->y), ld(r, op->y),
                          dvalue(r, op->x), ld(r, op->x), m0, m1, 0, panels(r, op->y), op->flags & PN_ADD_X);
}
static void random_backward(run *r, const pn_op *op) {
    if (!(op->flags & PN_STOP_X)) divide(r, random_back_task, r->B * width(r, op->y) * 16, r->B);
}
