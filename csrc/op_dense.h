/* op_dense.h: dense, y = act(x w + b), with what may be folded into it: a batch norm, a dropout. */

/* Of few outputs: its tasks are divided by rows on the way up, and in dw and dx by panels of inputs. */
static int is_turned(const run *r, const pn_op *op) {
    return PN_TURNS(PN_DTYPE) && r->m->plan.params[op->w].flags & PN_TURNED;
}

/* What the next batch will gather for this op, piece i of n.  Memory rests while the sum over rows is computed: a step
 * of 784-128-10 @32 and @128 takes 4 to 7 % less with shuffled rows, and 64-64-64-10 @256 5 %, @64 8, @32 4,
 * 32-32-32-4 @32 11; with inputs of a kilobyte nothing (then end = row).
 * Targets as wide, asked for in the same way: 784-128-784 @128 0 to 3 %, refused.
 * Refused, with MNIST and 784-128-10 @128: half of them asked for in the forward product (dw 5 us less, it 6 more, and
 * the gather 16, because dw and the update drive them out of the cache); into the second level alone 0.99 to 1.0 of a
 * step, past it 1.07.  (All before find_pages.)  Labels, asked for before they are read: nothing.
 * Where there is no way down, the forward product asks: evaluating 784-128-10 @128 takes 0.98 of the time, @32 0.95,
 * 64-64-64-10 @256 0.92, 64-64-10 @64 0.91 (Zen 5; on Zen 4 64-64-64-10 0.95); but 32-32-32-4 @64 1.03 and
 * 16-32-3 1.10, whose rows are seen coming, and MNIST in pairs 1.01. */
static pn_wanted next_rows(const run *r, int i, int n) {
    enum { LARGE = 1 << 8, SEEN = 1536 }; /* numbers of a batch; bytes of one in order */
    const pn_op *op = r->op;
    const pn_job *job = r->job;
    const int64_t left = job->rows - r->whole1, rows = left < job->batch ? left : job->batch;
    pn_wanted w = {0};
    if (job->parts || !(job->stages & PN_FORWARD) || !(op->flags & PN_STOP_X)) return w;
    if (r->B * width(r, op->x) < LARGE) return w;
    for (const pn_op *from = r->m->plan.ops; from < op; from++) {
        if (from->kind != PN_OP_input || from->y != op->x) continue;
        const pn_array *array = &job->inputs[from->slot];
        const int64_t bytes = width(r, op->x) * array->col_stride;
        if (array->col_stride < 1 || array->col_stride > (int64_t)sizeof(double)) return w; /* no row in one piece */
        if (!job->order && r->B * bytes <= SEEN) return w; /* are seen coming: 8-8-8 @32 0.95; 15-15-15 @96 1.10 */
        w.base = array->base, w.row_stride = array->row_stride, w.bytes = bytes;
        w.order = job->order;
        share(rows, i, n, &w.row, &w.end);
        w.row += r->whole1 - 1, w.end += r->whole1; /* the first one comes next */
    }
    return w;
}

/* What follows a product, and what that points at. */
typedef struct following {
    pn_then then;
    pn_norm norm;
    pn_position at;
} following;
static const pn_then *followed_by(const run *r, const pn_op *op, following *f) { /* NULL: by nothing */
    if (op->w2 != PN_NONE) {
        f->norm = norm_of(r, op->p[2]);
        f->then = (pn_then){.norm = &f->norm};
    } else if (op->p[2] > 0) {
        f->at = position(r);
        f->then = (pn_then){.random = &f->at, .rate = op->p[2]};
    } else {
        return NULL;
    }
    return &f->then;
}

static void dense_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    int64_t m[2] = {r->m0, r->m1}, p[2];
    cut(r, panels(r, op->y), i, n, m, p);
    real *z = op->z == PN_NONE ? NULL : value(r, op->z);
    following f;
    const pn_then *then = followed_by(r, op, &f);
    if (is_turned(r, op)) {
        r->k->turned_forward(value(r, op->x), ld(r, op->x), weight(r, op->w), weight(r, op->b), value(r, op->y),
                             ld(r, op->y), z, z ? ld(r, op->z) : 0, m[0], m[1], width(r, op->x), width(r, op->y),
                             op->act, op->p, then);
        return;
    }
    enum { LEAST_ASKED = 64 }; /* inputs */
    pn_wanted wanted = {0};
    const int asks = r->B > 1 && !(r->job->stages & PN_BACKWARD) && width(r, op->x) >= LEAST_ASKED; /* else dw */
    if (asks) wanted = next_rows(r, i, n);
    r->k->dense_forward(value(r, op->x), ld(r, op->x), weight(r, op->w), weight(r, op->b), value(r, op->y),
                        ld(r, op->y), z, z ? ld(r, op->z) : 0, m[0], m[1], width(r, op->x), p[0], p[1], op->act, op->p,
                        then, wanted.end - wanted.row > 1 ? &wanted : NULL, r->zeros);
}

/* The inputs of a net, and hidden layers where nothing is trained. */
static void look_for_zeros(run *r, const pn_op *op) {
    enum { LEAST_ROWS = 8, LEAST_INPUTS = 64 };
    const int64_t I = width(r, op->x);
    if (PN_ZEROS(PN_DTYPE) && r->m1 - r->m0 >= LEAST_ROWS && op->flags & PN_STOP_X && I >= LEAST_INPUTS &&
        !is_turned(r, op))
        r->k->few_numbers(value(r, op->x), ld(r, op->x), r->m0, r->m1, I, panels(r, op->y), &r->zeros);
}

static void dense_forward(run *r, const pn_op *op) {
    look_for_zeros(r, op);
    r->by_rows = is_turned(r, op) || prefer_rows(r, r->m1 - r->m0, panels(r, op->y));
    divide(r, dense_task, r->B * width(r, op->x) * width(r, op->y), r->by_rows ? r->B : panels(r, op->y));
    r->zeros = 0;
    if (op->act == PN_ACT_softmax) divide(r, activation_task, r->B * width(r, op->y) * 16, r->B);
}

static void dropped_relu_task(void *argument, int i, int n) { /* dz = y > 0 ? dy / (1 - rate) : 0: no mask is kept */
    const run *r = argument;
    const pn_op *op = r->op;
    int64_t m0, m1;
    share_rows(r, i, n, &m0, &m1);
    r->k->dropped_relu_backward(op->p[2], value(r, op->y), ld(r, op->y), dvalue(r, op->y), ld(r, op->y), m0, m1, 0,
                                panels(r, op->y));
}

static void dw_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    int64_t in[2] = {0, width(r, op->x)}, p[2];
    cut(r, panels(r, op->y), i, n, in, p);
    pn_wanted wanted = {0};
    if (r->B > 1) wanted = next_rows(r, i, n); /* a single row has no sum to ask in */
    r->k->dense_dw(value(r, op->x), ld(r, op->x), dvalue(r, op->y), ld(r, op->y), gradient(r, op->w), width(r, op->x),
                   in[0], in[1], r->B, p[0], p[1], op->flags & PN_ADD_W, wanted.end - wanted.row > 1 ? &wanted : NULL,
                   r->zeros);
}

/* Whether the gradient of weights p, of few rows, is only made in the update (kernels/dense_step.h).  A step takes,
 * times as long as with a gradient in memory (Zen 5, Adam), 1024-1024-1024-1024 @1 0.63, 784-128-10 @1 0.86, @2 0.91,
 * @8 0.95, 256-256-256-256 @2 0.89, 176-176-176 @2 0.93, @8 0.95, 128-128-128 @2 to @8 0.98 to 0.99, 784-32-10 @8 on
 * MNIST 0.87, 64-64-64-10 @1 0.99, @2 1.01.  Up to 16 rows 784-128-10 @16 took 0.95 on full rows, but 1.14 on MNIST,
 * whose zeros are not left out here: refused.  Refused: the gradient of 2 to 8 rows made number by number, as that of
 * one is: 784-128-10 @2 1.09, @8 1.27, 528-528-528 @2 1.06 (1024-1024-1024 @4 0.86); up to 128 rows in blocks of 64
 * inputs and two panels, summed in tiles: 784-128-10 @32 1.00, @128 0.98, 784-512-256-10 @64 1.01, with weights asked
 * for ahead 1.03.  (On Zen 4 blocks of 64 or 256 inputs, of a single row in memory, each followed by its update, gained
 * nothing: that waits for its exact roots and divisions.) */
static int goes_late(const run *r, uint32_t p) {
    enum { MOST_ROWS = 8, LEAST = 1 << 13 }; /* weights, of more than one row */
    const pn_job *job = r->job;
    const uint32_t needed = PN_BACKWARD | PN_UPDATE;
    if (!PN_TURNS(PN_DTYPE) || r->B > MOST_ROWS || !r->m->late[p]) return 0;
    if ((job->stages & needed) != needed || job->n_clips || job->parts) return 0;
    return r->B == 1 || pn_param_size(&r->m->plan.params[p]) >= LEAST;
}

static void late_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const pn_arenas *a = &r->m->arenas;
    int64_t in[2] = {0, width(r, op->x)}, p[2];
    cut(r, panels(r, op->y), i, n, in, p);
    r->k->update_of_rows(r->job->optimizer, r->job->hyper, r->rate, r->bias, weight(r, op->w),
                         a->slots[0] ? param(r, a->slots[0], op->w) : NULL,
                         a->slots[1] ? param(r, a->slots[1], op->w) : NULL, value(r, op->x), ld(r, op->x),
                         dvalue(r, op->y), ld(r, op->y), width(r, op->x), in[0], in[1], r->B, p[0], p[1]);
}
static void late_update(run *r, uint32_t p) {
    const pn_op *op = r->op = r->m->late[p];
    const int64_t I = width(r, op->x), P = panels(r, op->y);
    r->by_rows = prefer_rows(r, I, P);
    divide(r, late_task, 16 * I * P * PN_PANEL, r->by_rows ? I : P);
}

static void turned_dw_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    int64_t p0, p1;
    share(panels(r, op->x), i, n, &p0, &p1);
    r->k->turned_dw(value(r, op->x), ld(r, op->x), dvalue(r, op->y), ld(r, op->y), gradient(r, op->w), width(r, op->x),
                    r->B, width(r, op->y), p0, p1, op->flags & PN_ADD_W);
}

static void db_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    int64_t p0, p1;
    share(panels(r, op->y), i, n, &p0, &p1);
    r->k->column_sums(dvalue(r, op->y), ld(r, op->y), gradient(r, op->b), r->B, p0, p1, op->flags & PN_ADD_W);
}

static void transpose_task(void *argument, int i, int n) {
    const run *r = argument;
    int64_t p0, p1;
    share(panels(r, r->op->x), i, n, &p0, &p1);
    const int64_t I = width(r, r->op->x), O = width(r, r->op->y);
    r->k->transpose(weight(r, r->op->w), transposed(r, r->op->w) + p0 * O * PN_PANEL, I, O, p0, p1);
}

/* The layer below, if a ReLU of it made x: then dx, to which who else reads x has added before, goes on to its dz and
 * db, in registers or in the cache.  (Each pass says so anew before it comes there.)  Steps with it over those without
 * (Zen 4, one thread): 4-32-32-1 @32 0.97, 64-64-64-10 @32 0.99, @256 0.98.  Refused: with many rows tile by tile, not
 * after all rows of some panels (784-512-256-10 @128 and @1024 1.01, 1024-1024-1024-1024 @256 1.00). */
static const pn_op *below_of(const run *r, const pn_op *op) {
    const pn_op *below = op - 1; /* some op has made x */
    if (r->by_rows || below->kind != PN_OP_dense || below->y != op->x) return NULL;
    if (below->act != PN_ACT_relu || below->p[2] != 0 || below->flags & (PN_ADD_W | PN_NO_BACKWARD)) return NULL;
    return below;
}

/* A task that has panels of dx to itself takes them from w; tasks by rows share a transpose. */
static void dx_task(void *argument, int i, int n) {
    const run *r = argument;
    const pn_op *op = r->op;
    const int64_t I = width(r, op->x), O = width(r, op->y);
    const int add = op->flags & PN_ADD_X;
    int64_t m[2] = {r->m0, r->m1}, p[2];
    cut(r, panels(r, op->x), i, n, m, p);
    const real *dz = dvalue(r, op->y);
    real *dx = dvalue(r, op->x), *wt = is_turned(r, op) ? NULL : transposed(r, op->w);
    const pn_op *next = r->gone_on;
    const real *relu = next ? value(r, op->x) : NULL;
    real *db = next && trainable(r, next->b) ? gradient(r, next->b) : NULL;
    if (is_turned(r, op))
        r->k->turned_dx(dz, ld(r, op->y), weight(r, op->w), dx, ld(r, op->x), m[0], m[1], O, p[0], p[1], add, relu, db);
    else if (r->by_rows)
        r->k->dense_dx(dz, ld(r, op->y), wt, dx, ld(r, op->x), m[0], m[1], O, p[0], p[1], add);
    else
        r->k->dense_dx_from_w(dz, ld(r, op->y), weight(r, op->w), wt + p[0] * O * PN_PANEL, dx, ld(r, op->x), m[0],
                              m[1], I, O, p[0], p[1], add, relu, db);
}

static void dense_backward(run *r, const pn_op *op) {
    const int64_t I = width(r, op->x), O = width(r, op->y), P = panels(r, op->y);
    if (r->gone_on != op) { /* else dy is dz, and db is done */
        if (r->part & ROWS && op->p[2] > 0)
            divide(r, dropped_relu_task, r->B * O * 8, r->B);
        else if (r->part & ROWS && op->act != PN_ACT_identity)
            divide(r, act_back_task, r->B * O * 8, r->B);
        if (r->part & SUMS && trainable(r, op->b)) divide(r, db_task, r->B * O, P);
    }
    if (r->part & SUMS && trainable(r, op->w) && is_turned(r, op)) {
        divide(r, turned_dw_task, r->B * I * O, panels(r, op->x));
    } else if (r->part & SUMS && trainable(r, op->w) && !goes_late(r, op->w)) {
        r->by_rows = prefer_rows(r, I, P);
        look_for_zeros(r, op);
        divide(r, dw_task, r->B * I * O, r->by_rows ? I : P);
        r->zeros = 0;
    }
    if (op->flags & PN_STOP_X) return;
    r->by_rows = r->part != (ROWS | SUMS | TRANSPOSES) ||
                 (threads_for(r, r->B * I * O, r->B) > 1 && prefer_rows(r, r->B, panels(r, op->x)));
    if (r->part & TRANSPOSES && r->by_rows && !is_turned(r, op)) divide(r, transpose_task, I * O * 2, panels(r, op->x));
    r->gone_on = below_of(r, op);
    if (r->part & ROWS) divide(r, dx_task, r->B * I * O, r->by_rows ? r->B : panels(r, op->x));
}
