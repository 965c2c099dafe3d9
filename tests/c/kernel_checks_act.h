/* kernel_checks_act.h: part of kernel_checks.c: activations, softmax, prelu. */

/* ---- activations ----------------------------------------------------------------------------------------- */

static const double act_parameters[3] = {0.25, 0, 0};

static int some_activation(int c) { /* in turn, softmax among them */
    for (int id = c % PN_N_ACTS;; id = (id + 1) % PN_N_ACTS)
        if (pn_known("activation", id)) return id;
}

static double inside(double x, double y) { return fabs(x) <= 1 ? y : 0; }

static double activation(int id, double x, double a) {
    const double sigmoid = 1 / (1 + exp(-x)), softplus = x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    // clang-format off: one row each
    switch (id) {
    case PN_ACT_identity: return x;
    case PN_ACT_step: return x > 0;
    case PN_ACT_sigmoid: return sigmoid;
    case PN_ACT_tanh: return tanh(x);
    case PN_ACT_lecun_tanh: return tanh(x) + a * x;
    case PN_ACT_scaled_tanh: return 1.7159 * tanh(2 * x / 3);
    case PN_ACT_relu: return fmax(0, x);
    case PN_ACT_leaky_relu: return x < 0 ? a * x : x;
    case PN_ACT_elu: return x < 0 ? a * expm1(x) : x;
    case PN_ACT_selu: return 1.0507009873554804934 * (x < 0 ? 1.6732632423543772848 * expm1(x) : x);
    case PN_ACT_gelu: return 0.5 * x * erfc(-x / sqrt(2));
    case PN_ACT_silu: return x * sigmoid;
    case PN_ACT_mish: return x * tanh(softplus);
    case PN_ACT_softplus: return softplus;
    case PN_ACT_softsign: return x / (1 + fabs(x));
    case PN_ACT_arctan: return atan(x);
    case PN_ACT_bent_identity: return (sqrt(x * x + 1) - 1) / 2 + x;
    case PN_ACT_hard_sigmoid: return fmin(1, fmax(0, x / 6 + 0.5));
    case PN_ACT_hard_tanh: return fmin(1, fmax(-1, x));
    case PN_ACT_hard_swish: return x * fmin(1, fmax(0, (x + 3) / 6));
    case PN_ACT_sinusoid: return sin(x);
    case PN_ACT_sinc: return x != 0 ? sin(x) / x : 1;
    case PN_ACT_gaussian: return exp(-x * x);
    case PN_ACT_isru: return x / sqrt(1 + a * x * x);
    case PN_ACT_epanechnikov: return inside(x, 0.75 * (1 - x * x));
    case PN_ACT_triangular: return inside(x, 1 - fabs(x));
    case PN_ACT_quartic: return inside(x, 15. / 16 * pow(1 - x * x, 2));
    case PN_ACT_tricube: return inside(x, 70. / 81 * pow(1 - pow(fabs(x), 3), 3));
    case PN_ACT_rectangular: return inside(x, 0.5);
    default: FAIL("no formula for activation %d", id); return NAN;
    }
    // clang-format on
}

static double slope(int id, double x, double a) { /* central difference of the fourth order */
    const double h = 1e-3;
    return (8 * (activation(id, x + h, a) - activation(id, x - h, a)) -
            (activation(id, x + 2 * h, a) - activation(id, x - 2 * h, a))) /
           (12 * h);
}

/* Odd multiples of 1/32, exact in float: never near an integer, where the kinks are. */
static real *points(int64_t rows, int64_t ld) {
    real *x = input(rows * ld);
    for (int64_t i = 0; i < rows * ld; i++) {
        const int near = below(2) ? 64 : 960;
        x[i] = (real)((below(2 * near) - near + 0.5) / 16);
    }
    return x;
}

static void check_act_forward(const kernels *k) {
    static const double kinks[] = {0, -0.0, 1, -1, 3, -3, 1e-6, -1e-6, 90, -90, 700, -700};
    for (int act = 0; act < PN_N_ACTS; act++)
        for (int c = 0; c < 8 && act != PN_ACT_softmax && pn_known("activation", act); c++, drop_all()) {
            AT("act_forward of activation %d, case %d", act, c);
            const int64_t B = shapes[c], ldx = 48, ldy = 64, P = 3;
            real *x = points(B, ldx);
            for (int i = 0; i < 12; i++) x[i] = (real)kinks[i];
            output *y = output_of(B * ldy);
            int64_t m0, m1, p0, p1;
            part(c / 4 % 4, B, &m0, &m1);
            part(c % 4, P, &p0, &p1);
            k->act_forward(act, act_parameters, x, ldx, y->at, ldy, m0, m1, p0, p1);
            for (int64_t m = m0; m < m1; m++)
                for (int64_t i = p0 * 16; i < p1 * 16; i++) {
                    const double want = activation(act, (double)x[m * ldx + i], act_parameters[0]);
                    expect(y, m * ldy + i, want, 8 * EPS * fmax(1, fabs(want)));
                }
            bits = finish(y, bits);
        }
}

static void check_act_backward(const kernels *k) {
    for (int act = 0; act < PN_N_ACTS; act++)
        for (int c = 0; c < 12 && act != PN_ACT_softmax && pn_known("activation", act); c++, drop_all()) {
            AT("act_backward of activation %d, case %d", act, c);
            const int in_place = c % 3 == 1, add = c % 3 == 2;
            const int64_t B = shapes[c % 8], ldx = 48, ldv = 64, lddx = 80;
            const real *x = points(B, ldx), *dy = filled(B * lddx, -2, 2), *v = x;
            output *dx = output_of(B * lddx);
            if (add || in_place)
                for (int64_t i = 0; i < B * lddx; i++) dx->at[i] = dy[B * lddx - 1 - i];
            ready(dx);
            if (!pn_activation_needs_x(act)) { /* the derivative is had from y */
                real *y = input(B * ldv);
                k->act_forward(act, act_parameters, x, ldx, y, ldv, 0, B, 0, 3);
                v = y;
            }
            int64_t m0, m1, p0, p1;
            part(c / 4 % 4, B, &m0, &m1);
            part(c % 4, 3, &p0, &p1);
            k->act_backward(act, act_parameters, v, v == x ? ldx : ldv, in_place ? dx->at : dy, lddx, dx->at, lddx, m0,
                            m1, p0, p1, add);
            for (int64_t m = m0; m < m1; m++)
                for (int64_t i = p0 * 16; i < p1 * 16; i++) {
                    const int64_t at = m * lddx + i;
                    const double up = (double)(in_place ? was(dx, at) : dy[at]), old = add ? (double)was(dx, at) : 0;
                    const double d = slope(act, (double)x[m * ldx + i], act_parameters[0]);
                    expect(dx, at, old + up * d, fmax(16 * EPS, 1e-9) * (fabs(old) + fabs(up) * fmax(1, fabs(d))));
                }
            bits = finish(dx, bits);
        }
}

/* ---- softmax --------------------------------------------------------------------------------------------- */

static void check_softmax_forward(const kernels *k) {
    EACH_PAIR(B, O) {
        AT("softmax_forward B %d O %d, case %d", B, O, c);
        const int64_t ldx = lead(c, O), ldy = lead(c + 1, O);
        const double range = c % 2 ? 100 : 3; /* 100: most exponentials vanish, none overflows */
        const real *x = matrix(B, O, ldx, -range, range, NAN);
        output *y = output_of(B * ldy), *in_place = output_of(B * ldx);
        for (int64_t i = 0; i < B * ldx; i++) in_place->at[i] = x[i];
        ready(in_place);
        int64_t m0, m1;
        part(c % 4, B, &m0, &m1);
        k->softmax_forward(x, ldx, y->at, ldy, m0, m1, O);
        k->softmax_forward(in_place->at, ldx, in_place->at, ldx, m0, m1, O);
        for (int64_t m = m0; m < m1; m++) {
            double top = -INFINITY, sum = 0;
            for (int64_t o = 0; o < O; o++) top = fmax(top, (double)x[m * ldx + o]);
            for (int64_t o = 0; o < O; o++) sum += exp((double)x[m * ldx + o] - top);
            for (int64_t o = 0; o < pad(O); o++) { /* the rounding of x - top is in the exponent */
                const double p = o < O ? exp((double)x[m * ldx + o] - top) / sum : 0;
                expect(y, m * ldy + o, p, p * EPS * (16 + 2 * range) + 2 * (double)FLT_MIN);
                expect_bits(in_place, m * ldx + o, y->at[m * ldy + o]);
            }
        }
        bits = finish(in_place, finish(y, bits));
    }
}

static void check_softmax_backward(const kernels *k) {
    EACH_PAIR(B, O) {
        AT("softmax_backward B %d O %d, case %d", B, O, c);
        const int64_t ldy = lead(c, O), lddy = lead(c + 1, O), lddx = lead(c + 2, O);
        const int add = c % 2;
        const real *y = matrix(B, O, ldy, 0, 2. / O, 0), *dy = matrix(B, O, lddy, -2, 2, 0);
        output *dx = output_filled(B * lddx, -1, 1);
        for (int64_t i = 0; add && i < B * lddx; i++) dx->at[i] = i % lddx < O ? dx->at[i] : 0;
        ready(dx);
        int64_t m0, m1;
        part(c % 4, B, &m0, &m1);
        k->softmax_backward(y, ldy, dy, lddy, dx->at, lddx, m0, m1, O, add);
        for (int64_t m = m0; m < m1; m++) {
            double dot = 0, size = 0;
            for (int64_t o = 0; o < O; o++) {
                const double product = (double)y[m * ldy + o] * (double)dy[m * lddy + o];
                dot += product;
                size += fabs(product);
            }
            for (int64_t o = O; o < pad(O); o++) expect_zero(dx, m * lddx + o);
            for (int64_t o = 0; o < O; o++) {
                const double p = (double)y[m * ldy + o], d = (double)dy[m * lddy + o];
                const double old = add ? (double)was(dx, m * lddx + o) : 0;
                expect(dx, m * lddx + o, old + p * (d - dot),
                       EPS * (2 * fabs(old) + p * (4 * fabs(d) + (O + 4) * size)));
            }
        }
        bits = finish(dx, bits);
    }
}

/* ---- prelu: y = x > 0 ? x : a x -------------------------------------------------------------------------- */

static real slope_at(const real *a, int shared, int64_t o) { return a[shared ? 0 : o]; }
static real *prelu_points(int64_t B, int64_t O, int64_t ld) { /* with zeros of both signs */
    real *x = matrix(B, pad(O), ld, -2, 2, NAN);
    x[0] = 0, x[(B - 1) * ld + O / 2] = (real)-0.0;
    return x;
}

static void check_prelu_forward(const kernels *k) {
    EACH_PAIR(B, O) {
        const int shared = (c + c / 8) % 2;
        AT("prelu_forward B %d O %d, case %d", B, O, c);
        const int64_t ldx = lead(c, O), ldy = lead(c + 1, O);
        const real *x = prelu_points(B, O, ldx), *a = shared ? filled(1, -1, 1) : filled(pad(O), -1, 1);
        output *y = output_of(B * ldy);
        int64_t m0, m1, p0, p1;
        part(c / 8 % 4, B, &m0, &m1);
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->prelu_forward(x, ldx, a, shared, y->at, ldy, m0, m1, p0, p1);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t o = p0 * 16; o < p1 * 16; o++) {
                const real v = x[m * ldx + o];
                expect_bits(y, m * ldy + o, v > 0 ? v : slope_at(a, shared, o) * v);
            }
        bits = finish(y, bits);
    }
}

static void check_prelu_backward(const kernels *k) {
    EACH_PAIR(B, O) {
        const int shared = (c + c / 8) % 2, in_place = c % 3 == 1, add = c % 3 == 2;
        AT("prelu_backward B %d O %d, case %d", B, O, c);
        const int64_t ldx = lead(c, O), lddx = lead(c + 1, O), lddy = in_place ? lddx : lead(c + 2, O);
        const real *x = prelu_points(B, O, ldx), *a = shared ? filled(1, -1, 1) : filled(pad(O), -1, 1);
        const real *dy = matrix(B, pad(O), lddy, -2, 2, NAN);
        output *dx = output_filled(B * lddx, -1, 1);
        if (in_place) memcpy(dx->at, dy, (size_t)(B * lddx) * sizeof *dy), ready(dx);
        int64_t m0, m1, p0, p1;
        part(c / 8 % 4, B, &m0, &m1);
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->prelu_backward(x, ldx, a, shared, in_place ? dx->at : dy, lddy, dx->at, lddx, m0, m1, p0, p1, add);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t o = p0 * 16; o < p1 * 16; o++) {
                const real d = dy[m * lddy + o] * (x[m * ldx + o] > 0 ? 1 : slope_at(a, shared, o));
                expect_bits(dx, m * lddx + o, add ? was(dx, m * lddx + o) + d : d);
            }
        bits = finish(dx, bits);
    }
}

static void check_prelu_sums(const kernels *k) {
    EACH_PAIR(B, O) {
        const int shared = (c + c / 8) % 2, add = c % 3 == 2;
        AT("prelu_sums B %d O %d, case %d", B, O, c);
        const int64_t ldx = lead(c, O), lddy = lead(c + 1, O), n = shared ? 1 : pad(O);
        const real *x = prelu_points(B, O, ldx), *dy = matrix(B, O, lddy, -2, 2, 0);
        output *da = output_filled(n, -1, 1);
        double sum[128] = {0}, size[128] = {0};
        int64_t p0, p1;
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->prelu_sums(x, ldx, shared, dy, lddy, da->at, B, p0, p1, add);
        for (int64_t o = p0 * 16; o < p1 * 16; o++)
            for (int64_t m = 0; m < B; m++) {
                const double product = fmin(0, (double)x[m * ldx + o]) * (double)dy[m * lddy + o];
                sum[shared ? 0 : o] += product, size[shared ? 0 : o] += fabs(product);
            }
        for (int64_t o = shared ? 0 : p0 * 16; o < (shared ? 1 : p1 * 16); o++) {
            const double old = add ? (double)was(da, o) : 0;
            expect(da, o, old + sum[o], (B + 12) * EPS * (fabs(old) + size[o]));
        }
        bits = finish(da, bits);
    }
}
