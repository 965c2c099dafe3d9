/* kernel_checks.c: every kernel of the roll-call against naive loops in double.  Compiled once per dtype.
 * Tolerances are the op's own: a multiple of eps times the sum of the magnitudes that entered it. */
#include "guarded.h"
#include "kernel_checks.h"

#include <float.h>

#if defined(PN_DTYPE_f64)
#define EPS DBL_EPSILON
#else
#define EPS ((double)FLT_EPSILON)
#endif

typedef PN_SUFFIX(pn_kernels) kernels;
static uint64_t bits; /* of everything that the kernel now checked has written */

static const int shapes[] = {1, 15, 16, 17, 31, 33, 47, 100}; /* around one, two and three panels */
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], N_TRIPLES = N_SHAPES * N_SHAPES * N_SHAPES };
#define EACH_TRIPLE(B, I, O)                                                                                           \
    for (int B, I, O, c = 0; c < N_TRIPLES && (B = shapes[c % 8], I = shapes[c / 8 % 8], O = shapes[c / 64]);          \
         c++, drop_all())
#define EACH_PAIR(B, O)                                                                                                \
    for (int B, O, c = 0; c < N_SHAPES * N_SHAPES && (B = shapes[c % 8], O = shapes[c / 8]); c++, drop_all())

/* Part of [0,n): all of it, all but the first or the last third, the middle. */
static void part(int way, int64_t n, int64_t *from, int64_t *to) {
    *from = way & 1 ? n / 3 : 0;
    *to = way & 2 ? n - n / 3 : n;
}
static int64_t pad(int64_t n) { return (int64_t)pn_pad((uint64_t)n); }
static int64_t lead(int c, int64_t n) { return pad(n) + (c % 3 ? 16 : 0); } /* a leading dimension */

/* Element [i,o] of a matrix with I rows in panels. */
#define PANEL(w, I, i, o) (w)[((o) / 16 * (I) + (i)) * 16 + (o) % 16]

static real *panels_of(int64_t I, int64_t O, double padding) {
    real *w = input(pad(O) * I);
    for (int64_t i = 0; i < I; i++)
        for (int64_t o = 0; o < pad(O); o++) PANEL(w, I, i, o) = (real)(o < O ? uniform(-1, 1) : padding);
    return w;
}

/* ---- dense ----------------------------------------------------------------------------------------------- */

static const double act_parameters[3] = {0.25, 0, 0};

static int some_activation(int c) { /* in turn, softmax among them */
    for (int id = c % PN_N_ACTS;; id = (id + 1) % PN_N_ACTS)
        if (pn_activation_known(id)) return id;
}

static void check_dense_forward(const kernels *k) {
    EACH_TRIPLE(B, I, O) {
        AT("dense_forward B %d I %d O %d, case %d", B, I, O, c);
        const int act = some_activation(c);
        const int64_t ldx = lead(c, I), ldy = lead(c + 1, O), ldz = lead(c + 2, O);
        const real *x = matrix(B, I, ldx, -1, 1, NAN), *w = panels_of(I, O, 0);
        const real *b = c % 2 ? matrix(1, O, pad(O), -1, 1, 0) : NULL;
        output *z = output_of(B * ldz), *y = output_of(B * ldy), *alone = output_of(B * ldy);
        real *reference = input(B * ldy);
        int64_t m0, m1, p0, p1;
        part(c / 4 % 4, B, &m0, &m1);
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->dense_forward(x, ldx, w, b, y->at, ldy, z->at, ldz, m0, m1, I, p0, p1, act, act_parameters, NULL);
        k->dense_forward(x, ldx, w, b, alone->at, ldy, NULL, 0, m0, m1, I, p0, p1, act, act_parameters, NULL);
        if (act != PN_ACT_softmax) k->act_forward(act, act_parameters, z->at, ldz, reference, ldy, m0, m1, p0, p1);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t o = p0 * 16; o < p1 * 16; o++) {
                double sum = b ? (double)b[o] : 0, size = fabs(sum);
                for (int64_t i = 0; i < I; i++) {
                    const double product = (double)x[m * ldx + i] * (double)PANEL(w, I, i, o);
                    sum += product;
                    size += fabs(product);
                }
                expect(z, m * ldz + o, sum, 2 * (I + 2) * EPS * size);
                if (act == PN_ACT_softmax) { /* a row's business: the sum is left for softmax_forward */
                    expect_bits(alone, m * ldy + o, z->at[m * ldz + o]);
                } else {
                    expect_bits(y, m * ldy + o, reference[m * ldy + o]);
                    expect_bits(alone, m * ldy + o, reference[m * ldy + o]);
                }
            }
        bits = finish(alone, finish(y, finish(z, bits)));
    }
}

static void check_dense_dx(const kernels *k) {
    EACH_TRIPLE(B, I, O) {
        AT("dense_dx B %d I %d O %d, case %d", B, I, O, c);
        const int64_t lddz = lead(c, O), lddx = lead(c + 1, I);
        const int add = c % 2;
        const real *dz = matrix(B, O, lddz, -1, 1, NAN), *wt = panels_of(O, I, 0);
        output *dx = output_of(B * lddx);
        if (add)
            for (int64_t i = 0; i < B * lddx; i++) dx->at[i] = (real)uniform(-1, 1);
        ready(dx);
        int64_t m0, m1, p0, p1;
        part(c / 4 % 4, B, &m0, &m1);
        part(c % 4, pad(I) / 16, &p0, &p1);
        k->dense_dx(dz, lddz, wt, dx->at, lddx, m0, m1, O, p0, p1, add);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t i = p0 * 16; i < p1 * 16; i++) {
                double sum = add ? (double)was(dx, m * lddx + i) : 0, size = fabs(sum);
                for (int64_t o = 0; o < O; o++) {
                    const double product = (double)dz[m * lddz + o] * (double)PANEL(wt, O, o, i);
                    sum += product;
                    size += fabs(product);
                }
                expect(dx, m * lddx + i, sum, 2 * (O + 2) * EPS * size);
            }
        bits = finish(dx, bits);
    }
}

static void check_dense_dw(const kernels *k) {
    EACH_TRIPLE(B, I, O) {
        AT("dense_dw B %d I %d O %d, case %d", B, I, O, c);
        const int64_t ldx = lead(c, I), lddz = lead(c + 1, O);
        const int add = c % 2;
        const real *x = matrix(B, I, ldx, -1, 1, NAN), *dz = matrix(B, O, lddz, -1, 1, 0);
        output *dw = output_of(I * pad(O));
        if (add)
            for (int64_t i = 0; i < I * pad(O); i++) dw->at[i] = (real)uniform(-1, 1);
        ready(dw);
        int64_t i0, i1, p0, p1;
        part(c / 4 % 4, I, &i0, &i1);
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->dense_dw(x, ldx, dz, lddz, dw->at, I, i0, i1, B, p0, p1, add);
        for (int64_t i = i0; i < i1; i++)
            for (int64_t o = p0 * 16; o < p1 * 16; o++) {
                const int64_t at = (o / 16 * I + i) * 16 + o % 16;
                double sum = add ? (double)was(dw, at) : 0, size = fabs(sum);
                for (int64_t m = 0; m < B; m++) {
                    const double product = (double)x[m * ldx + i] * (double)dz[m * lddz + o];
                    sum += product;
                    size += fabs(product);
                }
                expect(dw, at, sum, 2 * (B + 2) * EPS * size);
            }
        bits = finish(dw, bits);
    }
}

static void check_column_sums(const kernels *k) {
    EACH_PAIR(B, O) {
        AT("column_sums B %d O %d, case %d", B, O, c);
        const int64_t ld = lead(c, O);
        const int add = c % 2;
        const real *dz = matrix(B, O, ld, -1, 1, 0);
        output *db = output_of(pad(O));
        if (add)
            for (int64_t o = 0; o < pad(O); o++) db->at[o] = (real)uniform(-1, 1);
        ready(db);
        int64_t p0, p1;
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->column_sums(dz, ld, db->at, B, p0, p1, add);
        for (int64_t o = p0 * 16; o < p1 * 16; o++) {
            double sum = add ? (double)was(db, o) : 0, size = fabs(sum);
            for (int64_t m = 0; m < B; m++) sum += (double)dz[m * ld + o], size += fabs((double)dz[m * ld + o]);
            expect(db, o, sum, (B + 2) * EPS * size);
        }
        bits = finish(db, bits);
    }
}

static void check_transpose(const kernels *k) {
    EACH_PAIR(I, O) {
        AT("transpose I %d O %d, case %d", I, O, c);
        const real *w = panels_of(I, O, NAN); /* the padding of w is not wanted in wt */
        output *wt = output_of(pad(I) * O);
        int64_t p0, p1;
        part(c % 4, pad(I) / 16, &p0, &p1);
        k->transpose(w, wt->at, I, O, p0, p1);
        for (int64_t i = p0 * 16; i < p1 * 16; i++)
            for (int64_t o = 0; o < O; o++)
                expect_bits(wt, (i / 16 * O + o) * 16 + i % 16, i < I ? PANEL(w, I, i, o) : 0);
        bits = finish(wt, bits);
    }
}

/* ---- activations ----------------------------------------------------------------------------------------- */

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
        for (int c = 0; c < 8 && act != PN_ACT_softmax && pn_activation_known(act); c++, drop_all()) {
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
        for (int c = 0; c < 12 && act != PN_ACT_softmax && pn_activation_known(act); c++, drop_all()) {
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
        output *dx = output_of(B * lddx);
        for (int64_t i = 0; i < B * lddx; i++) dx->at[i] = (real)(i % lddx < O ? uniform(-1, 1) : 0);
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

#include "kernel_checks_flat.h"

/* ---- the roll-call: a kernel without a check does not compile -------------------------------------------- */

typedef void check_function(const kernels *k);
#define ENTRY(name, arguments) {#name, check_##name},
static const struct {
    const char *name;
    check_function *check;
} roll[] = {PN_KERNELS(ENTRY)};

int PN_SUFFIX(check_kernels)(const void *table, int index, int fused, kernel_report *report) {
    if (index >= (int)(sizeof roll / sizeof roll[0])) return 0;
    const long before = checks;
    bits = NO_BITS;
    if (index == 0) check_fusion(table, fused);
    roll[index].check(table);
    *report = (kernel_report){roll[index].name, checks - before, bits};
    return 1;
}

/* The helpers can fail: a wrong number, a write beside the output, and nothing else. */
void PN_SUFFIX(check_helpers)(void) {
    output *o = output_of(16);
    o->at[0] = 1, o->at[1] = (real)NAN, o->at[2] = 1;
    AT("provoked on purpose");
    const long before = failures;
    failures += MAX_REPORTS; /* silently */
    expect(o, 0, 1 + 3 * EPS, 2 * EPS);
    expect(o, 1, 1, 1e9);
    expect_bits(o, 2, (real)1 + (real)EPS);
    finish(o, NO_BITS);
    o->at[16] = 0;
    finish(o, NO_BITS);
    const long found = failures - before - MAX_REPORTS;
    failures = before;
    CHECK(found == 4);
    drop_all();
}
