/* kernel_checks_dense.h: part of kernel_checks.c: products, and what follows them while they are in the cache. */

/* What a product may ask for meanwhile. */
static pn_wanted three_rows(const real *x, int64_t ldx, int64_t I, const int64_t *order) {
    const int64_t bytes = (int64_t)sizeof(real);
    return (pn_wanted){(const char *)x, ldx * bytes, I * bytes, order, .row = -1, .end = 3};
}

/* A norm before the activation, a dropout after it: the same bits as from the kernels of their own. */
static void check_dense_then(const kernels *k) {
    EACH_TRIPLE(B, I, O) {
        AT("dense_forward and then, B %d I %d O %d, case %d", B, I, O, c);
        const pn_norm norm = some_norm(O, 0.1);
        const pn_position at = some_position(c);
        const double rate = some_rate(c), *p = act_parameters;
        const pn_then then = {c % 3 < 2 ? &norm : NULL, c % 3 && k->random_forward ? &at : NULL, rate};
        const int act = then.random ? PN_ACT_relu : some_activation(c), softmax = act == PN_ACT_softmax;
        const int64_t ldx = lead(c, I), ldy = lead(c + 1, O), ldz = lead(c + 2, O);
        const real *x = matrix(B, I, ldx, -1, 1, NAN), *w = panels_of(I, O, 0), *b = matrix(1, O, pad(O), -1, 1, 0);
        output *z = output_of(B * ldz), *y = output_of(B * ldy), *alone = output_of(B * ldy);
        real *sum = input(B * ldy), *want = input(B * ldy);
        int64_t m0, m1, p0, p1;
        part(c / 8 % 4, B, &m0, &m1);
        part(c / 2 % 4, pad(O) / 16, &p0, &p1);
        k->dense_forward(x, ldx, w, b, y->at, ldy, z->at, ldz, m0, m1, I, p0, p1, act, p, &then, NULL, 0);
        pn_wanted rows = three_rows(x, ldx, I, NULL);
        k->dense_forward(x, ldx, w, b, alone->at, ldy, NULL, 0, m0, m1, I, p0, p1, act, p, &then, &rows, 0);
        CHECK(rows.row <= rows.end);
        if (PN_LARGE && PN_TRAINS(PN_DTYPE) && m1 - m0 > 8 && p1 - p0 > 1 && I > 8) CHECK(rows.row >= 0);
        k->dense_forward(x, ldx, w, b, sum, ldy, NULL, 0, m0, m1, I, p0, p1, PN_ACT_identity, p, NULL, NULL, 0);
        if (then.norm) k->running_norm_forward(sum, ldy, &norm, sum, ldy, m0, m1, p0, p1);
        k->act_forward(softmax ? PN_ACT_identity : act, p, sum, ldy, want, ldy, m0, m1, p0, p1);
        if (then.random) k->random_forward(PN_RANDOM_dropout, &rate, &at, want, ldy, want, ldy, m0, m1, p0, p1);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t o = p0 * 16; o < p1 * 16; o++) {
                expect_bits(z, m * ldz + o, sum[m * ldy + o]);
                if (!softmax) expect_bits(y, m * ldy + o, want[m * ldy + o]); /* softmax: left for softmax_forward */
                expect_bits(alone, m * ldy + o, want[m * ldy + o]);
            }
        bits = finish(alone, finish(y, finish(z, bits)));
    }
}

/* NaN comes out in all of its row, a ReLU behind it or not, and in no other row; so does that of dx and dw. */
static void check_nan(const kernels *k) {
    enum { B = 33, I = 48, O = 48, BAD = 20, FIRST = 2 };
    AT("NaN in row %d", BAD);
    real *x = input(B * I), *w = input(I * O), *y = input(B * O);
    for (int64_t i = 0; i < B * I; i++) x[i] = i == BAD * I + FIRST ? (real)NAN : (real)uniform(-1, 1);
    for (int64_t i = 0; i < I * O; i++) w[i] = (real)uniform(-1, 1);
    for (int relu = 0; relu < 2; relu++) {
        const int act = relu ? PN_ACT_relu : PN_ACT_identity;
        k->dense_forward(x, I, w, NULL, y, O, NULL, 0, 0, B, I, 0, O / 16, act, act_parameters, NULL, NULL, 0);
        for (int64_t i = 0; i < B * O; i++) CHECK(!isnan(y[i]) == (i / O != BAD));
    }
    k->dense_dx(x, I, w, y, O, 0, B, I, 0, O / 16, 0);
    for (int64_t i = 0; i < B * O; i++) CHECK(!isnan(y[i]) == (i / O != BAD));
    for (int64_t i = 0; i < B * O; i++) y[i] = 1;
    k->dense_dw(x, I, y, O, w, I, 0, I, B, 0, O / 16, 0, NULL, 0);
    for (int64_t i = 0; i < I * O; i++) CHECK(!isnan(w[i]) == (i / 16 % I != FIRST));
    drop_all();
}

/* A tile for each number of rows, of a panel and of two: each row by itself has the same bits. */
static void check_rows_of_tiles(const kernels *k) {
    enum { I = 5, MOST = 30 };
    for (int c = 0; c < 2 * MOST; c++, drop_all()) {
        const int B = 1 + c / 2, O = c % 2 ? 32 : 16;
        AT("dense_forward of %d rows, %d outputs", B, O);
        const real *x = matrix(B, I, I, -1, 1, NAN), *w = panels_of(I, O, 0), *b = matrix(1, O, O, -1, 1, 0);
        output *y = output_of(B * O);
        real *row = input(O);
        k->dense_forward(x, I, w, b, y->at, O, NULL, 0, 0, B, I, 0, O / 16, PN_ACT_identity, act_parameters, NULL, NULL,
                         0);
        for (int64_t m = 0; m < B; m++) {
            k->dense_forward(x + m * I, I, w, b, row, O, NULL, 0, 0, 1, I, 0, O / 16, PN_ACT_identity, act_parameters,
                             NULL, NULL, 0);
            for (int64_t o = 0; o < O; o++) expect_bits(y, m * O + o, row[o]);
        }
        bits = finish(y, bits);
    }
}

static void check_dense_forward(const kernels *k) {
    EACH_TRIPLE(B, I, O) {
        if (B == 1) B += c / 8 % 8; /* a tile for each number of rows */
        AT("dense_forward B %d I %d O %d, case %d", B, I, O, c);
        const int act = some_activation(c);
        const int64_t ldx = lead(c, I), ldy = lead(c + 1, O), ldz = lead(c + 2, O);
        const real *x = matrix(B, I, ldx, -1, 1, NAN), *w = panels_of(I, O, 0);
        const real *b = c % 2 ? matrix(1, O, pad(O), -1, 1, 0) : NULL;
        output *z = output_of(B * ldz), *y = output_of(B * ldy), *alone = output_of(B * ldy);
        output *one_by_one = output_of(B * ldy);
        real *reference = input(B * ldy);
        int64_t m0, m1, p0, p1;
        part(c / 4 % 4, B, &m0, &m1);
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->dense_forward(x, ldx, w, b, y->at, ldy, z->at, ldz, m0, m1, I, p0, p1, act, act_parameters, NULL, NULL, 0);
        k->dense_forward(x, ldx, w, b, alone->at, ldy, NULL, 0, m0, m1, I, p0, p1, act, act_parameters, NULL, NULL, 0);
        for (int64_t m = m0; m < m1; m++)
            k->dense_forward(x, ldx, w, b, one_by_one->at, ldy, NULL, 0, m, m + 1, I, p0, p1, act, act_parameters, NULL,
                             NULL, 0);
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
                expect_bits(one_by_one, m * ldy + o, alone->at[m * ldy + o]);
                if (act == PN_ACT_softmax) { /* a row's business: the sum is left for softmax_forward */
                    expect_bits(alone, m * ldy + o, z->at[m * ldz + o]);
                } else {
                    expect_bits(y, m * ldy + o, reference[m * ldy + o]);
                    expect_bits(alone, m * ldy + o, reference[m * ldy + o]);
                }
            }
        bits = finish(one_by_one, finish(alone, finish(y, finish(z, bits))));
    }
    check_nan(k);
    check_rows_of_tiles(k);
    check_dense_then(k);
}

static void check_dense_dx(const kernels *k) {
    EACH_TRIPLE(B, I, O) {
        if (B == 1) B += c / 8 % 8;
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

/* What a kernel adds to, if it adds, and the same for the one it is compared with. */
static void begin(output *y, real *want, int64_t n, int add) {
    for (int64_t i = 0; add && i < n; i++) y->at[i] = (real)uniform(-1, 1);
    memcpy(want, y->at, (size_t)n * sizeof(real));
    ready(y);
}

/* From w itself, the same bits as from w^T: what rows and panels there are decides how, so each way gets both. */
static void check_dense_dx_from_w(const kernels *k) {
    EACH_TRIPLE(B, I, O) {
        if (B == 1) B += c / 8 % 8;
        if (c % 5 == 4) B += 64;            /* tiles, everywhere */
        if (c % 100 == 4) I = 1100, O = 90; /* and some panels at a time */
        AT("dense_dx_from_w B %d I %d O %d, case %d", B, I, O, c);
        const int64_t lddz = lead(c, O), lddx = lead(c + 1, I), square = O * 16;
        const int add = c / 3 % 2;
        const real *dz = matrix(B, O, lddz, -1, 1, NAN), *w = panels_of(I, O, NAN);
        real *wt = input(pad(I) * O), *want = input(B * lddx);
        for (int64_t i = 0; i < pad(I); i++)
            for (int64_t o = 0; o < O; o++) PANEL(wt, O, o, i) = i < I ? PANEL(w, I, i, o) : 0;
        output *dx = output_of(B * lddx);
        begin(dx, want, B * lddx, add);
        int64_t m0, m1, p0, p1;
        part(c / 4 % 4, B, &m0, &m1);
        part(c % 4, pad(I) / 16, &p0, &p1);
        output *room = output_of((p1 - p0) * square);
        memset(room->seen + room->first, 2, (size_t)((p1 - p0) * square)); /* the kernel's business */
        k->dense_dx(dz, lddz, wt, want, lddx, m0, m1, O, p0, p1, add);
        const int below = c / 2 % 3; /* 1: with a bias */
        const real *y = matrix(B, I, lddx, -1, 1, 0);
        output *db = output_of(pad(I));
        k->dense_dx_from_w(dz, lddz, w, room->at, dx->at, lddx, m0, m1, I, O, p0, p1, add, below ? y : NULL,
                           below == 1 ? db->at : NULL);
        if (below) k->act_backward(PN_ACT_relu, act_parameters, y, lddx, want, lddx, want, lddx, m0, m1, p0, p1, 0);
        if (below == 1) {
            real *sums = input(pad(I));
            k->column_sums(want + m0 * lddx, lddx, sums, m1 - m0, p0, p1, 0);
            for (int64_t i = p0 * 16; i < p1 * 16; i++) expect_bits(db, i, sums[i]);
        }
        finish(db, 0);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t i = p0 * 16; i < p1 * 16; i++) expect_bits(dx, m * lddx + i, want[m * lddx + i]);
        finish(room, 0);
        bits = finish(dx, bits);
    }
}

static void check_dense_dw(const kernels *k) {
    EACH_TRIPLE(B, I, O) {
        if (B == 1) B += c / 8 % 14; /* without a tile: four at a time, and the rest */
        AT("dense_dw B %d I %d O %d, case %d", B, I, O, c);
        const int64_t ldx = lead(c, I), lddz = lead(c + 1, O);
        const int add = (c + c / 64) % 2;
        const real *x = matrix(B, I, ldx, -1, 1, NAN), *dz = matrix(B, O, lddz, -1, 1, 0);
        output *dw = output_of(I * pad(O));
        if (add)
            for (int64_t i = 0; i < I * pad(O); i++) dw->at[i] = (real)uniform(-1, 1);
        ready(dw);
        int64_t i0, i1, p0, p1;
        part(c / 4 % 4, I, &i0, &i1);
        part(c % 4, pad(O) / 16, &p0, &p1);
        const int64_t order[3] = {B - 1, 0, B / 2};
        pn_wanted rows = three_rows(x, ldx, I, c % 2 ? order : NULL);
        k->dense_dw(x, ldx, dz, lddz, dw->at, I, i0, i1, B, p0, p1, add, c % 3 ? &rows : NULL, 0);
        CHECK(rows.row <= rows.end);
        if (PN_TRAINS(PN_DTYPE) && c % 3 && B > 16 && i1 - i0 > 16 && p1 - p0 > 1) CHECK(rows.row >= 0);
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
        k->transpose(w, wt->at + p0 * O * 16, I, O, p0, p1);
        for (int64_t i = p0 * 16; i < p1 * 16; i++)
            for (int64_t o = 0; o < O; o++)
                expect_bits(wt, (i / 16 * O + o) * 16 + i % 16, i < I ? PANEL(w, I, i, o) : 0);
        bits = finish(wt, bits);
    }
}
