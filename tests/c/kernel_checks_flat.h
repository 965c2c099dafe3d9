/* kernel_checks_flat.h: part of kernel_checks.c: moving rows, losses, and flat loops over an arena. */

/* ---- moving rows ----------------------------------------------------------------------------------------- */

static void check_add(const kernels *k) {
    EACH_PAIR(B, O) {
        AT("add B %d O %d, case %d", B, O, c);
        const int64_t lda = lead(c, O), ldb = lead(c + 1, O), ldy = lead(c + 2, O);
        const real *a = matrix(B, pad(O), lda, -1, 1, NAN), *b = matrix(B, pad(O), ldb, -1, 1, NAN);
        output *y = output_of(B * ldy);
        int64_t m0, m1, p0, p1;
        part(c / 4 % 4, B, &m0, &m1);
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->add(a, lda, b, ldb, y->at, ldy, m0, m1, p0, p1);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t i = p0 * 16; i < p1 * 16; i++) expect_bits(y, m * ldy + i, a[m * lda + i] + b[m * ldb + i]);
        bits = finish(y, bits);
    }
}

static void check_copy(const kernels *k) {
    EACH_PAIR(B, n) {
        AT("copy B %d n %d, case %d", B, n, c);
        const int64_t ldx = lead(c, n), ldy = lead(c + 1, n), cleared = c % 4 < 2 ? pad(n) : n;
        const int add = c % 2;
        const real *x = matrix(B, n, ldx, -1, 1, NAN);
        output *y = output_of(B * ldy);
        if (add)
            for (int64_t i = 0; i < B * ldy; i++) y->at[i] = (real)uniform(-1, 1);
        ready(y);
        int64_t m0, m1;
        part(c / 4 % 4, B, &m0, &m1);
        k->copy(x, ldx, y->at, ldy, m0, m1, n, cleared, add);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t i = 0; i < cleared; i++)
                expect_bits(y, m * ldy + i, i < n ? x[m * ldx + i] + (add ? was(y, m * ldy + i) : 0) : 0);
        bits = finish(y, bits);
    }
}

/* A random element of a type, extremes among them: stored at `to`, its value returned. */
static double random_element(int type, void *to) {
    const int shift = below(64);
    const uint64_t u = random_bits() >> shift;
    int64_t i = (int64_t)(random_bits() >> shift); /* one random number per statement: their order is the compiler's */
    i = below(2) ? i : -i;
    const double x = uniform(-1000, 1000);
    // clang-format off: one row each
    switch (type) {
#define ELEMENT(id, ctype, from)                                                                                       \
    case id: {                                                                                                         \
        const ctype e = (ctype)(from);                                                                                 \
        memcpy(to, &e, sizeof e);                                                                                      \
        return (double)e;                                                                                              \
    }
        ELEMENT(PN_FLOAT32, float, x)
        ELEMENT(PN_FLOAT64, double, x)
        ELEMENT(PN_INT8, int8_t, i)
        ELEMENT(PN_UINT8, uint8_t, u)
        ELEMENT(PN_INT16, int16_t, i)
        ELEMENT(PN_UINT16, uint16_t, u)
        ELEMENT(PN_INT32, int32_t, i)
        ELEMENT(PN_UINT32, uint32_t, u)
        ELEMENT(PN_INT64, int64_t, i)
        ELEMENT(PN_UINT64, uint64_t, u)
    case PN_FLOAT16: { /* finite ones, denormals among them */
        const uint16_t h = (uint16_t)(u % 0x7c00 | (below(2) ? 0x8000 : 0));
        memcpy(to, &h, sizeof h);
        const double size = h & 0x7c00 ? ldexp(1024 + (h & 0x3ff), (h >> 10 & 31) - 25) : ldexp(h & 0x3ff, -24);
        return h & 0x8000 ? -size : size;
    }
    default: abort();
    }
    // clang-format on
}

static void check_gather(const kernels *k) {
    static const int sizes[PN_N_TYPES] = {4, 8, 1, 1, 2, 2, 4, 4, 8, 8, 2};
    for (int type = 0; type < PN_N_TYPES; type++) EACH_PAIR(B, n) {
            AT("gather of type %d, B %d n %d, case %d", type, B, n, c);
            const int64_t rows = 120, row0 = c % 7, size = sizes[type], ldy = lead(c, n);
            const int64_t along = size * (c % 3 == 0 ? 1 : c % 3 == 1 ? 3 : -1), across = (llabs(along) * n + 2 * size);
            char *block = keep((size_t)(across * rows));
            double *value = keep((size_t)(rows * n) * sizeof *value);
            pn_array array = {block, across, along, (uint32_t)n, (uint32_t)type};
            if (along < 0) array.base = (char *)array.base - along * (n - 1);
            if (c % 2) array.base = (char *)array.base + across * (rows - 1), array.row_stride = -across;
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = 0; i < n; i++)
                    value[r * n + i] =
                        random_element(type, (char *)array.base + r * array.row_stride + i * array.col_stride);
            int64_t *order = c % 4 < 2 ? keep((size_t)rows * sizeof *order) : NULL;
            for (int64_t r = 0; order && r < rows; r++) order[r] = below((int)rows);
            const int plain = below(2);
            const real *scale = !plain && c % 5 > 1 ? filled(n, 0.5, 2) : NULL;
            const real *shift = !plain && c % 5 % 2 ? filled(n, -9, 9) : NULL;
            output *y = output_of(B * ldy);
            int64_t m0, m1;
            part(c / 4 % 4, B, &m0, &m1);
            k->gather(&array, order, row0, scale, shift, y->at, ldy, m0, m1);
            for (int64_t m = m0; m < m1; m++)
                for (int64_t i = 0; i < pad(n); i++) {
                    double v = 0, size_of_v = 0;
                    if (i < n) {
                        const double s = scale ? (double)scale[i] : 1, t = shift ? (double)shift[i] : 0;
                        v = value[(order ? order[row0 + m] : row0 + m) * n + i];
                        size_of_v = (fabs(v) + fabs(t)) * s;
                        v = (v - t) * s;
                    }
                    expect(y, m * ldy + i, v, 2 * EPS * size_of_v);
                }
            bits = finish(y, bits);
        }
}

/* ---- losses ---------------------------------------------------------------------------------------------- */

static double sign(double x) { return (x > 0) - (x < 0); }

/* Of one output: the loss, and its derivative by y in *g. */
static double loss_term(int loss, double y, double t, double c, double *g) {
    const double d = y - t;
    // clang-format off: one row each
    switch (loss) {
    case PN_LOSS_mse: *g = 2 * d; return d * d;
    case PN_LOSS_mae: *g = sign(d); return fabs(d);
    case PN_LOSS_huber: *g = fmax(-c, fmin(c, d)); return fabs(d) <= c ? d * d / 2 : c * (fabs(d) - c / 2);
    case PN_LOSS_log_cosh: *g = tanh(d); return log(cosh(d));
    case PN_LOSS_poisson: *g = 1 - t / (y + 1e-7); return y - t * log(y + 1e-7);
    case PN_LOSS_quantile: *g = d < 0 ? -c : d > 0 ? 1 - c : 0; return d < 0 ? -c * d : (1 - c) * d;
    case PN_LOSS_binary_cross_entropy:
        *g = 1 / (1 + exp(-y)) - t;
        return fmax(y, 0) - y * t + log1p(exp(-fabs(y)));
    default: FAIL("no formula for loss %d", loss); return NAN;
    }
    // clang-format on
}

/* A whole row in double; g[0..O) receives the derivatives. */
static double loss_row(int loss, const real *x, const real *t, int label, double c, int64_t O, double *g) {
    double top = -INFINITY, sum = 0, total = 0, mass = 0;
    if (loss != PN_LOSS_cross_entropy_index && loss != PN_LOSS_cross_entropy_dense) {
        for (int64_t o = 0; o < O; o++) {
            total += loss_term(loss, (double)x[o], (double)t[o], c, &g[o]) / (double)O;
            g[o] /= (double)O;
        }
        return total;
    }
    for (int64_t o = 0; o < O; o++) top = fmax(top, (double)x[o]);
    for (int64_t o = 0; o < O; o++) sum += exp((double)x[o] - top);
    for (int64_t o = 0; o < O; o++) {
        const double to = t ? (double)t[o] : o == label;
        mass += to;
        total += to * (top + log(sum) - (double)x[o]);
    }
    for (int64_t o = 0; o < O; o++) g[o] = mass * exp((double)x[o] - top) / sum - (t ? (double)t[o] : o == label);
    return total;
}

static void check_loss(const kernels *k) {
    static const int ids[] = {PN_LOSS_mse,
                              PN_LOSS_mae,
                              PN_LOSS_huber,
                              PN_LOSS_log_cosh,
                              PN_LOSS_poisson,
                              PN_LOSS_quantile,
                              PN_LOSS_cross_entropy_index,
                              PN_LOSS_cross_entropy_dense,
                              PN_LOSS_binary_cross_entropy};
    for (int l = 0; l < (int)(sizeof ids / sizeof ids[0]); l++) EACH_PAIR(B, O) {
            if (O == 1) O += (c + l + 7) % 8; /* few outputs go their own ways */
            const int loss = ids[l], positive = loss == PN_LOSS_poisson, index = loss == PN_LOSS_cross_entropy_index;
            const int shares = loss == PN_LOSS_cross_entropy_dense || loss == PN_LOSS_binary_cross_entropy;
            AT("loss %d, B %d O %d, case %d", loss, B, O, c);
            const int64_t ldx = lead(c, O), lddx = lead(c + 1, O), ldt = pad(O);
            const double c0 = 0.3, factor = 0.7, low = positive ? 0.1 : -4;
            const real *x = matrix(B, O, ldx, low, 4, 0), *weight = filled(B, 0, 2);
            const double high = loss == PN_LOSS_cross_entropy_dense ? 2. / O : shares ? 1 : 4; /* rows sum to about 1 */
            real *t = index ? NULL : matrix(B, O, ldt, positive || shares ? 0 : -4, high, 0);
            for (int64_t m = 0; t && !shares && m < B; m++) /* no error at all, of one output or of a row */
                for (int64_t o = m % 5 ? O / 2 : 0; o < (m % 5 ? O / 2 + 1 : O); o++) t[m * ldt + o] = x[m * ldx + o];
            int32_t *label = keep((size_t)B * sizeof *label);
            for (int64_t m = 0; m < B; m++) label[m] = below(O);
            output *rows = output_of(B), *dx = output_of(B * lddx);
            output *row = output_of(B), *row_dx = output_of(B * lddx); /* one by one */
            double g[128];
            int64_t m0, m1;
            part(c % 4, B, &m0, &m1);
            k->loss(loss, c0, x, ldx, t, ldt, index ? label : NULL, weight, factor, rows->at, dx->at, lddx, m0, m1, O);
            for (int64_t m = m0; m < m1; m++) {
                k->loss(loss, c0, x, ldx, t, ldt, index ? label : NULL, weight, factor, row->at, row_dx->at, lddx, m,
                        m + 1, O);
                expect_bits(row, m, rows->at[m]);
                for (int64_t o = 0; o < pad(O); o++) expect_bits(row_dx, m * lddx + o, dx->at[m * lddx + o]);
                const double w = factor * (double)weight[m];
                const double value = loss_row(loss, x + m * ldx, t ? t + m * ldt : NULL, label[m], c0, O, g);
                expect(rows, m, value, (shares ? O + 4 : 64) * 8 * EPS * (1 + fabs(value)));
                for (int64_t o = 0; o < pad(O); o++)
                    expect(dx, m * lddx + o, o < O ? w * g[o] : 0, o < O ? 64 * EPS * w * (1. / O + fabs(g[o])) : 0);
            }
            bits = finish(row_dx, finish(row, finish(dx, finish(rows, bits))));
        }
    AT("loss of one output with a gradient that is denormal");
    const real *x = filled(41 * 16, -1, 1), *weight = filled(40, 0, 1);
    output *rows = output_of(40), *dx = output_of(40 * 16);
    const double factor = sizeof(real) == sizeof(float) ? 1e-39 : 1e-309;
    k->loss(PN_LOSS_mse, 0, x, 16, x + 1, 16, NULL, weight, factor, rows->at, dx->at, 16, 0, 40, 1);
    for (int m = 0; m < 40; m++) {
        const double d = (double)x[16 * m] - (double)x[16 * m + 1];
        expect(rows, m, d * d, 8 * EPS);
        for (int o = 0; o < 16; o++) expect(dx, 16 * m + o, 0, 0);
    }
    bits = finish(dx, finish(rows, bits));
    drop_all();
    AT("loss external"); /* the caller supplies dx */
    x = filled(4 * 16, -1, 1), weight = filled(4, 0, 2);
    rows = output_of(4), dx = output_of(4 * 16);
    k->loss(PN_LOSS_external, 0, x, 16, x, 16, NULL, weight, 1, rows->at, dx->at, 16, 0, 4, 10);
    for (int m = 0; m < 4; m++) expect_bits(rows, m, 0);
    bits = finish(dx, finish(rows, bits));
    drop_all();
}

/* ---- penalties, norms and clipping ----------------------------------------------------------------------- */

#define EACH_LENGTH(n) for (int64_t n = 16; n <= 1600; n = n < 112 ? n + 16 : n * 5 / 80 * 16 + 16, drop_all())

static void check_penalty(const kernels *k) {
    EACH_LENGTH(n) {
        AT("penalty n %d", (int)n);
        real *w = filled(n, -1, 1);
        output *g = output_of(n);
        w[1] = 0;
        for (int64_t i = 0; i < n; i++) g->at[i] = (real)uniform(-1, 1);
        ready(g);
        k->penalty(0.1, 0.2, w, g->at, n);
        for (int64_t i = 0; i < n; i++)
            expect(g, i, (double)was(g, i) + 0.1 * sign((double)w[i]) + 2 * 0.2 * (double)w[i], 8 * EPS);
        bits = finish(g, bits);
    }
}

static void near_sum(double got, double want) { /* sums are double in both dtypes */
    checks++;
    if (!(fabs(got - want) <= 1e-13 * fabs(want))) FAIL("the sum is %.17g, expected %.17g", got, want);
    bits = add_bits(bits, &got, sizeof got);
}
static void check_penalty_value(const kernels *k) {
    EACH_LENGTH(n) {
        AT("penalty_value n %d", (int)n);
        const real *w = filled(n, -1, 1);
        double sum = 0.5, want = 0.5;
        for (int64_t i = 0; i < n; i++) want += 0.1 * fabs((double)w[i]) + 0.2 * (double)w[i] * (double)w[i];
        k->penalty_value(0.1, 0.2, w, n, &sum);
        near_sum(sum, want);
    }
}
static void check_sum_squares(const kernels *k) {
    EACH_LENGTH(n) {
        AT("sum_squares n %d", (int)n);
        real *g = filled(n, -1, 1);
        g[3] = (real)1e25; /* its square is no float */
        double sum = 0.5, want = 0.5;
        for (int64_t i = 0; i < n; i++) want += (double)g[i] * (double)g[i];
        k->sum_squares(g, n, &sum);
        near_sum(sum, want);
    }
}

/* g before and after one of the clippings, which differ only in what they make of an element */
#define CLIPPING(NAME, call, formula)                                                                                  \
    static void check_##NAME(const kernels *k) {                                                                       \
        EACH_LENGTH(n) {                                                                                               \
            AT(#NAME " n %d", (int)n);                                                                                 \
            output *g = output_of(n);                                                                                  \
            for (int64_t i = 0; i < n; i++) g->at[i] = (real)(i % 9 == 4 ? 0 : uniform(-1, 1));                        \
            ready(g);                                                                                                  \
            call;                                                                                                      \
            for (int64_t i = 0; i < n; i++) {                                                                          \
                const double x = (double)was(g, i);                                                                    \
                expect(g, i, formula, EPS);                                                                            \
            }                                                                                                          \
            bits = finish(g, bits);                                                                                    \
        }                                                                                                              \
    }
CLIPPING(scale, k->scale(g->at, 0.3, n), 0.3 * x)
CLIPPING(clip_value, k->clip_value(g->at, 0.25, n), fmin(0.25, fmax(-0.25, x)))
CLIPPING(clip_sign, k->clip_sign(g->at, n), sign(x))

/* w[:,o] *= min(1, c / |w[:,o]|).  Columns: 0 nothing, 1 as long as c to the last bit, 2 of huge numbers, 3 of numbers
 * whose squares are infinite: what is left of them is at least not longer than c; others short and long by chance. */
static void check_max_norm(const kernels *k) {
    EACH_PAIR(I, O) {
        AT("max_norm I %d O %d, case %d", I, O, c);
        const double limit = 5, huge = 1e15, vast = sizeof(real) == 8 ? 1e200 : 1e30;
        const double reach = 1.5 * limit / sqrt(I / 3.); /* norms of about 1.5 times the limit, times 0 to 1.3 */
        output *w = output_of(I * pad(O));
        for (int64_t o = 0; o < pad(O); o++) {
            const double size = o >= O || o == 0 ? 0 : o == 2 ? huge : o == 3 ? vast : reach * uniform(0, 1.3);
            for (int64_t i = 0; i < I; i++) {
                const double part = uniform(-1, 1) * size, exact = i == 0 ? I > 1 ? 3 : 5 : i == I - 1 ? -4 : 0;
                PANEL(w->at, I, i, o) = (real)(o == 1 && O > 1 ? exact : part);
            }
        }
        ready(w);
        int64_t p0, p1;
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->max_norm(limit, w->at, I, p0, p1);
        for (int64_t o = p0 * 16; o < p1 * 16; o++) {
            double sum = 0;
            for (int64_t i = 0; i < I; i++) sum += pow((double)was(w, &PANEL(w->at, I, i, o) - w->at), 2);
            const double norm = sqrt(sum), error = (double)(I + 8) * EPS;
            for (int64_t i = 0; i < I; i++) {
                const int64_t at = &PANEL(w->at, I, i, o) - w->at;
                const double before = (double)was(w, at), factor = norm > limit ? limit / norm : 1;
                if (o == 3 && O > 3)
                    expect(w, at, 0, limit * (1 + error));
                else if ((o == 1 && O > 1) || norm < limit * (1 - error))
                    expect_bits(w, at, was(w, at));
                else
                    expect(w, at, before * factor, error * fabs(before * factor));
            }
        }
        bits = finish(w, bits);
    }
}

/* ---- is a multiply-add one rounding, or two? ------------------------------------------------------------- */

/* (1 + e)(1 + e) - 1 = 2e + e^2, where the product alone would lose e^2: through vfma, and with other signs vfnma. */
static void check_fusion(const kernels *k, int fused) {
    AT("a fused multiply-add");
    const double e = sizeof(real) == 8 ? ldexp(1, -27) : ldexp(1, -13), want = fused ? 2 * e + e * e : 2 * e;
    const double h[8] = {0}, one[2] = {1, 1};
    real *x = filled(16, 0, 1), *w = filled(16, 0, 1), *b = filled(16, 0, 1);
    output *y = output_of(16), *p = output_of(16);
    for (int i = 0; i < 16; i++) x[i] = w[i] = (real)(1 + e), b[i] = -1, p->at[i] = 1;
    k->dense_forward(x, 16, w, b, y->at, 16, NULL, 0, 0, 1, 1, 0, 1, PN_ACT_identity, act_parameters, NULL, NULL, 0);
    for (int i = 0; i < 16; i++) expect_bits(y, i, (real)want);
    if (k->update)
        k->update(PN_OPTIMIZER_sgd, h, 1 + e, one, p->at, (const real *[]){x}, 1, NULL, NULL, 16); /* p -= rate g */
    for (int i = 0; i < 16 && k->update; i++) expect_bits(p, i, (real)-want);
    drop_all();
}
