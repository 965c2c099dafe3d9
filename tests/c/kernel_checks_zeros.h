/* kernel_checks_zeros.h: part of kernel_checks.c: products that leave zeros of x out. */

/* Of few numbers, forward and dw: the bits of all terms, whatever stands in w and dz. */
static real *few_of(int64_t rows, int64_t width, int64_t ld, double present) {
    real *x = matrix(rows, width, ld, -1, 1, NAN);
    for (int64_t m = 0; m < rows; m++)
        for (int64_t i = 0; i < width; i++)
            if (uniform(0, 1) > present) x[m * ld + i] = (real)(uniform(-1, 1) > 0 ? 0.0 : -0.0);
    return x;
}
/* Blocks of terms in the forward sums and in dw, strips of all widths, few rows, a row or an input that is alone. */
static const int sparse_shapes[][3] = {{16, 64, 128}, {9, 1100, 40}, {11, 200, 2100}, {33, 101, 300}, {300, 77, 17},
                                       {1, 90, 33},   {8, 17, 100},  {150, 41, 1100}, {64, 100, 240}};
enum { N_SPARSE = sizeof sparse_shapes / sizeof sparse_shapes[0], WAYS = 32, SPARSE_CASES = WAYS * N_SPARSE };
typedef struct sparse_case {
    int64_t B, I, O, n0, n1, p0, p1; /* rows or inputs, and panels, that are computed */
    int way;
    double share;
    real odd; /* 1, or what stands among w or dz that is not finite */
} sparse_case;
static sparse_case some_sparse(int c, int of_inputs) {
    const int *shape = sparse_shapes[c % N_SPARSE], way = c / N_SPARSE;
    sparse_case s = {.B = shape[0], .I = shape[1], .O = shape[2], .way = way, .share = way % 4 == 3 ? 0.9 : 0.1};
    s.odd = (real)(way % 8 == 5 ? INFINITY : way % 8 == 6 ? NAN : 1);
    part(way / 8 + c % 2, of_inputs ? s.I : s.B, &s.n0, &s.n1);
    part((way / 2 + c) % 4, pad(s.O) / 16, &s.p0, &s.p1);
    return s;
}

static void check_zeros_forward(const kernels *k) {
    for (int c = 0; c < SPARSE_CASES; c++, drop_all()) {
        const sparse_case s = some_sparse(c, 0);
        const int64_t B = s.B, I = s.I, O = s.O, ldx = lead(c, I), ldy = lead(c + 1, O);
        AT("dense_forward of few, B %d I %d O %d, case %d", (int)B, (int)I, (int)O, c);
        const pn_norm norm = some_norm((int)O, 0.1);
        const pn_position at = some_position(c);
        const pn_then then = {s.way % 3 == 1 ? &norm : NULL, s.way % 3 == 2 ? &at : NULL, some_rate(c)};
        const int act = then.random ? PN_ACT_relu : some_activation(c);
        real *x = few_of(B, I, ldx, s.share), *w = panels_of(I, O, 0);
        const real *b = s.way % 5 ? matrix(1, O, pad(O), -1, 1, 0) : NULL;
        PANEL(w, I, I / 2, O / 2) *= s.odd;
        output *y = output_of(B * ldy), *z = output_of(B * ldy);
        real *want = input(B * ldy), *sums = input(B * ldy), *keep_z = s.way % 2 ? z->at : NULL;
        pn_wanted rows = three_rows(x, ldx, I, NULL);
        k->dense_forward(x, ldx, w, b, want, ldy, sums, ldy, s.n0, s.n1, I, s.p0, s.p1, act, act_parameters, &then,
                         NULL, 0);
        k->dense_forward(x, ldx, w, b, y->at, ldy, keep_z, ldy, s.n0, s.n1, I, s.p0, s.p1, act, act_parameters, &then,
                         s.way % 7 ? &rows : NULL, 1 + s.way / 2 % 2);
        CHECK(rows.row <= rows.end);
        for (int64_t m = s.n0; m < s.n1; m++)
            for (int64_t o = s.p0 * 16; o < s.p1 * 16; o++) {
                if (keep_z) expect_bits(z, m * ldy + o, sums[m * ldy + o]);
                if (act != PN_ACT_softmax)
                    expect_bits(y, m * ldy + o, want[m * ldy + o]);
                else if (!keep_z)
                    expect_bits(y, m * ldy + o, sums[m * ldy + o]);
            }
        const uint64_t now = finish(y, finish(z, bits));
        if (s.odd == 1) bits = now; /* a NaN may have any */
    }
}

static void check_zeros_dw(const kernels *k) {
    for (int c = 0; c < SPARSE_CASES; c++, drop_all()) {
        const sparse_case s = some_sparse(c, 1);
        const int64_t B = s.B, I = s.I, O = s.O, ldx = lead(c, I), lddz = lead(c + 1, O);
        AT("dense_dw of few, B %d I %d O %d, case %d", (int)B, (int)I, (int)O, c);
        const int add = s.way / 4 % 2;
        const real *x = few_of(B, I, ldx, s.share);
        real *dz = matrix(B, O, lddz, -1, 1, 0), *want = input(I * pad(O));
        dz[B / 2 * lddz + O / 2] *= s.odd;
        output *dw = output_of(I * pad(O));
        begin(dw, want, I * pad(O), add);
        const int64_t order[3] = {B - 1, 0, B / 2};
        pn_wanted rows = three_rows(x, ldx, I, s.way % 2 ? order : NULL);
        k->dense_dw(x, ldx, dz, lddz, want, I, s.n0, s.n1, B, s.p0, s.p1, add, NULL, 0);
        k->dense_dw(x, ldx, dz, lddz, dw->at, I, s.n0, s.n1, B, s.p0, s.p1, add, s.way % 3 ? &rows : NULL,
                    1 + s.way / 2 % 2);
        CHECK(rows.row <= rows.end);
        if (PN_ZEROS(PN_DTYPE) && s.way % 3 && B > 1 && s.odd == 1) CHECK(rows.row >= (s.share > 0.5 && O < 128));
        for (int64_t i = s.n0; i < s.n1; i++)
            for (int64_t o = s.p0 * 16; o < s.p1 * 16; o++)
                expect_bits(dw, (o / 16 * I + i) * 16 + o % 16, want[(o / 16 * I + i) * 16 + o % 16]);
        const uint64_t now = finish(dw, bits);
        if (s.odd == 1) bits = now;
    }
}

/* When it pays; and that terms are left out at all: a sum of nothing keeps the sign of its bias. */
static void check_few_numbers(const kernels *k) {
    enum { I = 320, B = 40, O = 128 };
    const real *none = few_of(B, I, I, 0), *all = matrix(B, I, I, 0.5, 1, 0), *some = few_of(B, I, I, 0.1);
    const real *half = few_of(B, I, I, 0.5); /* three quarters of a pair */
    real *late = few_of(B, I, I, 0);         /* from row 7 on */
    for (int64_t i = 0; i < 7 * I; i++) late[i] = 1;
    for (int m1 = 2; m1 <= B; m1++) {
        AT("few_numbers, %d rows", m1);
        int few[6] = {3, 3, 3, 3, 3, 3};
        k->few_numbers(none, I, 0, m1, I, O / 16, &few[0]);
        k->few_numbers(some, I, 0, m1, I, O / 16, &few[1]);
        k->few_numbers(half, I, 0, m1, I, O / 16, &few[2]);
        k->few_numbers(all, I, 0, m1, I, O / 16, &few[3]);
        k->few_numbers(late, I, 0, m1 < 9 ? m1 : 9, I, O / 16, &few[4]);
        k->few_numbers(late, I, 7, m1 < 9 ? 9 : m1, I, O / 16, &few[5]);
        const int pays = PN_ZEROS(PN_DTYPE);
        CHECK(few[0] == 2 * pays && few[1] == pays && !few[2] && !few[3] && !few[4] && few[5] == 2 * pays);
    }
    real *w = panels_of(I, O, 0), *b = input(O), *y = input(B * O);
    for (int64_t i = 0; i < I * O; i++) w[i] = (real)fabs((double)w[i]);
    for (int64_t o = 0; o < O; o++) b[o] = (real)-0.0;
    for (int zeros = 0; zeros <= 2; zeros++) {
        k->dense_forward(none, I, w, b, y, O, NULL, 0, 0, B, I, 0, O / 16, PN_ACT_identity, NULL, NULL, NULL, zeros);
        for (int64_t i = 0; i < B * O; i++) CHECK(y[i] == 0 && !signbit(y[i]) == !(zeros && PN_ZEROS(PN_DTYPE)));
    }
    drop_all();
    check_zeros_forward(k);
    check_zeros_dw(k);
}
