/* kernel_checks_turned.h: part of kernel_checks.c: layers of one to four outputs, whose weights are kept turned: the
 * same bits as from panels along the outputs, which kernel_checks_dense.h compares with sums in double. */

/* w of O outputs and its transpose, 0 beyond the inputs */
static real *turned_of(const real *w, int64_t I, int64_t O) {
    real *wt = input(pad(I) * O);
    for (int64_t i = 0; i < pad(I); i++)
        for (int64_t o = 0; o < O; o++) PANEL(wt, O, o, i) = i < I ? PANEL(w, I, i, o) : 0;
    return wt;
}

static void check_turned_forward(const kernels *k) {
    EACH_TRIPLE(B, I, O) {
        if (B == 1) B += c / 8 % 20; /* one after the other, or some at once */
        O = 1 + (O + c) % 4;
        AT("turned_forward B %d I %d O %d, case %d", B, I, O, c);
        const pn_norm norm = some_norm(O, 0.1);
        const pn_position at = some_position(c);
        const pn_then then = {c % 5 == 1 ? &norm : NULL, c % 5 == 2 && k->random_forward ? &at : NULL, some_rate(c)};
        const int act = then.random ? PN_ACT_relu : some_activation(c);
        const int64_t ldx = lead(c, I), ldy = lead(c + 1, O), ldz = lead(c + 2, O);
        const real *x = matrix(B, I, ldx, -1, 1, NAN), *w = panels_of(I, O, 0), *wt = turned_of(w, I, O);
        const real *b = c / 2 % 2 ? matrix(1, O, pad(O), -1, 1, 0) : NULL;
        output *z = output_of(B * ldz), *y = output_of(B * ldy), *alone = output_of(B * ldy);
        output *one_by_one = output_of(B * ldy);
        real *sums = input(B * ldz), *want = input(B * ldy);
        int64_t m0, m1;
        part(c / 4 % 4, B, &m0, &m1);
        k->dense_forward(x, ldx, w, b, want, ldy, sums, ldz, m0, m1, I, 0, 1, act, act_parameters, &then, NULL, 0);
        k->turned_forward(x, ldx, wt, b, y->at, ldy, z->at, ldz, m0, m1, I, O, act, act_parameters, &then);
        k->turned_forward(x, ldx, wt, b, alone->at, ldy, NULL, 0, m0, m1, I, O, act, act_parameters, &then);
        for (int64_t m = m0; m < m1 && !then.random; m++) /* a random number is that of the batch's row */
            k->turned_forward(x, ldx, wt, b, one_by_one->at, ldy, NULL, 0, m, m + 1, I, O, act, act_parameters, &then);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t o = 0; o < 16; o++) {
                const real alone_is = act == PN_ACT_softmax ? sums[m * ldz + o] : want[m * ldy + o];
                expect_bits(z, m * ldz + o, sums[m * ldz + o]);
                if (act != PN_ACT_softmax) expect_bits(y, m * ldy + o, want[m * ldy + o]);
                expect_bits(alone, m * ldy + o, alone_is);
                if (!then.random) expect_bits(one_by_one, m * ldy + o, alone_is);
            }
        bits = finish(one_by_one, finish(alone, finish(y, finish(z, bits))));
    }
}

static void check_turned_dx(const kernels *k) {
    EACH_TRIPLE(B, I, O) {
        O = 1 + (O + c) % 4;
        AT("turned_dx B %d I %d O %d, case %d", B, I, O, c);
        const int64_t lddz = lead(c, O), lddx = lead(c + 1, I);
        const int add = c / 3 % 2, below = c / 2 % 3; /* 1: with a bias */
        const real *dz = matrix(B, O, lddz, -1, 1, NAN), *wt = turned_of(panels_of(I, O, 0), I, O);
        const real *y = matrix(B, I, lddx, -1, 1, 0);
        real *want = input(B * lddx), *sums = input(pad(I));
        output *dx = output_of(B * lddx), *db = output_of(pad(I));
        begin(dx, want, B * lddx, add);
        int64_t m0, m1, p0, p1;
        part(c / 4 % 4, B, &m0, &m1);
        part(c % 4, pad(I) / 16, &p0, &p1);
        k->dense_dx(dz, lddz, wt, want, lddx, m0, m1, O, p0, p1, add);
        if (below) k->act_backward(PN_ACT_relu, act_parameters, y, lddx, want, lddx, want, lddx, m0, m1, p0, p1, 0);
        k->column_sums(want + m0 * lddx, lddx, sums, m1 - m0, p0, p1, 0);
        k->turned_dx(dz, lddz, wt, dx->at, lddx, m0, m1, O, p0, p1, add, below ? y : NULL, below == 1 ? db->at : NULL);
        for (int64_t i = p0 * 16; i < p1 * 16; i++) {
            for (int64_t m = m0; m < m1; m++) expect_bits(dx, m * lddx + i, want[m * lddx + i]);
            if (below == 1) expect_bits(db, i, sums[i]);
        }
        finish(db, 0);
        bits = finish(dx, bits);
    }
}

static void check_turned_dw(const kernels *k) {
    EACH_TRIPLE(B, I, O) {
        O = 1 + (O + c) % 4;
        AT("turned_dw B %d I %d O %d, case %d", B, I, O, c);
        const int64_t ldx = lead(c, I), lddz = lead(c + 1, O);
        const int add = (c + c / 64) % 2;
        const real *x = matrix(B, I, ldx, -1, 1, NAN), *dz = matrix(B, O, lddz, -1, 1, 0);
        real *want = input(I * 16);
        output *dw = output_of(pad(I) * O);
        for (int64_t i = 0; i < pad(I); i++)
            for (int64_t o = 0; o < O; o++) PANEL(dw->at, O, o, i) = (real)(i < I ? uniform(-1, 1) : 0);
        for (int64_t i = 0; i < I * 16; i++) want[i] = i % 16 < O ? PANEL(dw->at, O, i % 16, i / 16) : 0;
        ready(dw);
        int64_t p0, p1;
        part(c % 4, pad(I) / 16, &p0, &p1);
        k->dense_dw(x, ldx, dz, lddz, want, I, 0, I, B, 0, 1, add, NULL, 0);
        k->turned_dw(x, ldx, dz, lddz, dw->at, I, B, O, p0, p1, add);
        for (int64_t i = p0 * 16; i < p1 * 16; i++) /* x has NaN in its padding, dw 0 */
            for (int64_t o = 0; o < O; o++)
                expect_bits(dw, &PANEL(dw->at, O, o, i) - dw->at, i < I ? want[i * 16 + o] : 0);
        bits = finish(dw, bits);
    }
}
