/* kernel_checks_sparse.h: part of kernel_checks.c: pruned weights.  The truth is the dense form, a matrix with zeros.
 */

typedef struct pruned {
    pn_sparse form;
    real *dense;  /* [I,O] in panels */
    int64_t n;    /* values, those in long gaps included */
    int32_t *at;  /* [n] input of each value */
    int32_t *of;  /* [n] its output */
    uint8_t *gap; /* [n] whether it is a 0 on the way, or in a lane that takes nothing */
} pruned;

/* The next input from i on that output o has kept; I: none. */
static int64_t next_of(const pruned *w, int64_t I, int64_t O, int64_t i, int64_t o) {
    while (i < I && (o >= O || PANEL(w->dense, I, i, o) == 0)) i++;
    return i;
}

/* What is left of w->dense, in lanes; now and then a sight begins earlier than it has to, and a block takes nothing. */
static void put_into_lanes(pruned *w, int64_t I, int64_t O) {
    enum { BLOCK = PN_LANES_BLOCK * 16 };
    const int64_t P = pad(O) / 16, most = 8 * P * (I + 17), last = (pad(I) - PN_LANES_SIGHT) / PN_LANES_UNIT;
    real *values = input(most * 16);
    uint32_t *ends = keep((size_t)P * sizeof *ends);
    uint8_t *places = keep((size_t)(most * 16)), *sights = keep((size_t)most);
    w->at = keep((size_t)(most * 16) * sizeof *w->at), w->of = keep((size_t)(most * 16) * sizeof *w->of);
    w->gap = keep((size_t)(most * 16));
    int64_t s = 0;
    for (int64_t q = 0; q < P; q++) {
        int64_t next[16], least = I, first = 0;
        for (int j = 0; j < 16; j++)
            next[j] = next_of(w, I, O, 0, q * 16 + j), least = next[j] < least ? next[j] : least;
        int idle = q == 0 || below(3) == 0;
        for (; least < I || idle || s % PN_LANES_BLOCK; s++) {
            if (s % PN_LANES_BLOCK == 0 && s && least < I) idle = below(9) == 0 && !idle;
            if (s % 2 == 0) {
                first = idle || least == I ? below((int)last + 1) : least / PN_LANES_UNIT;
                first -= first && below(3) == 0;
                first = first < last ? first : last;
                sights[s] = (uint8_t)(first & 255), sights[s + 1] = (uint8_t)(first >> 8);
            }
            least = I;
            for (int j = 0; j < 16; j++) {
                const int64_t e = s * 16 + j, o = q * 16 + j, place = next[j] - first * PN_LANES_UNIT;
                const int taken = !idle && next[j] < I && place >= 0 && place < PN_LANES_SIGHT;
                places[s / 4 * BLOCK + 4 * j + s % 4] = taken ? (uint8_t)place : PN_NO_PLACE;
                values[e] = taken ? PANEL(w->dense, I, next[j], o) : 0;
                w->at[e] = taken ? (int32_t)next[j] : 0, w->of[e] = (int32_t)o, w->gap[e] = !taken;
                if (taken) next[j] = next_of(w, I, O, next[j] + 1, o);
                least = next[j] < least ? next[j] : least;
            }
            if (s % PN_LANES_BLOCK == 3 && least == I) idle = 0;
        }
        ends[q] = (uint32_t)s;
    }
    w->n = s * 16;
    uint8_t *own = keep((size_t)(s * PN_LANES_BYTES)); /* no longer than it has to be */
    real *tight = input(w->n);
    memcpy(own, places, (size_t)(s * 16)), memcpy(own + s * 16, sights, (size_t)s);
    memcpy(tight, values, (size_t)w->n * sizeof *tight);
    w->form = (pn_sparse){tight, own, ends, 0, 1, own + s * 16};
}

/* By turns nothing, little, a half and everything of an output is left; or nothing of all but one. */
static pruned some_pruned(int64_t I, int64_t O, int c, int lanes) {
    pruned w = {.dense = panels_of(I, O, 0)};
    uint32_t *ends = keep((size_t)O * sizeof *ends);
    real *values = input((I + 1) * O);
    uint8_t *steps = keep((size_t)((I + 1) * O));
    w.at = keep((size_t)((I + 1) * O) * sizeof *w.at), w.of = keep((size_t)((I + 1) * O) * sizeof *w.of);
    w.gap = keep((size_t)((I + 1) * O));
    w.form.nibbles = c / 2 % 2;
    const int longest = w.form.nibbles ? 15 : 255;
    for (int64_t o = 0; o < O; o++) {
        int64_t last = -1;
        const int share = c % 5 == 4 && o ? 0 : (c + (int)o) % 4; /* of three */
        for (int64_t i = 0; i < I; i++) {
            const int left = below(3) < share || (o == 0 && i == I - 1), gap = !left && i - last == longest;
            if (!left) PANEL(w.dense, I, i, o) = 0;
            if (!left && !gap) continue;
            values[w.n] = PANEL(w.dense, I, i, o), steps[w.n] = (uint8_t)(i - last), w.at[w.n] = (int32_t)i;
            w.of[w.n] = (int32_t)o, w.gap[w.n] = (uint8_t)gap;
            w.n++, last = i;
        }
        if (w.form.nibbles && w.n % 2) { /* a 0 that fills up */
            values[w.n] = 0, steps[w.n] = 0, w.at[w.n] = (int32_t)last, w.of[w.n] = (int32_t)o, w.gap[w.n] = 1;
            w.n++;
        }
        ends[o] = (uint32_t)w.n;
    }
    const size_t bytes = (size_t)(w.form.nibbles ? (w.n + 1) / 2 : w.n);
    uint8_t *places = keep(bytes ? bytes : 1); /* no longer than it has to be */
    memset(places, 0, bytes ? bytes : 1);
    for (int64_t e = 0; e < w.n; e++)
        if (w.form.nibbles)
            places[e / 2] |= (uint8_t)(steps[e] << (e % 2 * 4));
        else
            places[e] = steps[e];
    w.form.values = values, w.form.steps = places, w.form.ends = ends;
    if (lanes && I > 16) put_into_lanes(&w, I, O);
    return w;
}

static int64_t some_tile(int c) { return c / 3 % 2 ? PN_SPARSE_TILE : PN_SPARSE_TILE / 2; }
static int64_t tiles_of(int64_t B, int64_t R) { return (B + R - 1) / R; }

static real *columns_of(const kernels *k, const real *x, int64_t ldx, int64_t R, int64_t B, int64_t I) {
    real *to = input(tiles_of(B, R) * R * I);
    k->columns(x, ldx, to, R, B, I, 0, tiles_of(B, R));
    return to;
}

static void check_columns(const kernels *k) {
    EACH_PAIR(B, I) {
        AT("columns B %d I %d, case %d", B, I, c);
        const int64_t ldx = lead(c, I), R = some_tile(c);
        const real *x = matrix(B, I, ldx, -1, 1, NAN);
        output *y = output_of(tiles_of(B, R) * R * I);
        int64_t t0, t1;
        part(c % 4, tiles_of(B, R), &t0, &t1);
        k->columns(x, ldx, y->at, R, B, I, t0, t1);
        for (int64_t m = t0 * R; m < t1 * R; m++)
            for (int64_t i = 0; i < I; i++) expect_bits(y, (m / R * I + i) * R + m % R, m < B ? x[m * ldx + i] : 0);
        bits = finish(y, bits);
    }
}

/* Both ways up give the bits of the dense form. */
static void sparse_forward(const kernels *k, int by_columns, int lanes) {
    EACH_TRIPLE(B, I, O) {
        AT("sparse %s B %d I %d O %d, case %d", by_columns ? "columns" : lanes ? "lanes" : "rows", B, I, O, c);
        int act = some_activation(c);
        if (act == PN_ACT_softmax) act = PN_ACT_identity;
        const int64_t ldx = lead(c, I), ldy = lead(c + 1, O), P = pad(O) / 16, R = some_tile(c);
        const real *x = matrix(B, I, ldx, -1, 1, NAN), *b = c % 2 ? matrix(1, O, pad(O), -1, 1, 0) : NULL;
        const pruned w = some_pruned(I, O, c, lanes);
        output *y = output_of(B * ldy);
        real *want = input(B * ldy);
        int64_t m0, m1, t0, t1, p0, p1;
        part(c / 4 % 4, B, &m0, &m1);
        part(c / 4 % 4, tiles_of(B, R), &t0, &t1);
        part(c % 4, P, &p0, &p1);
        if (by_columns) m0 = t0 * R, m1 = t1 * R < B ? t1 * R : B;
        k->dense_forward(x, ldx, w.dense, b, want, ldy, NULL, 0, 0, B, I, 0, P, act, act_parameters, NULL, NULL, 0);
        if (by_columns)
            k->sparse_columns(columns_of(k, x, ldx, R, B, I), R, &w.form, b, y->at, ldy, B, I, O, t0, t1, p0, p1, act,
                              act_parameters);
        else
            k->sparse_rows(x, ldx, &w.form, b, y->at, ldy, m0, m1, O, p0, p1, act, act_parameters);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t o = p0 * 16; o < p1 * 16; o++) expect_bits(y, m * ldy + o, want[m * ldy + o]);
        bits = finish(y, bits);
    }
}
static void check_sparse_rows(const kernels *k) { sparse_forward(k, 0, 0), sparse_forward(k, 0, 1); }
static void check_sparse_columns(const kernels *k) { sparse_forward(k, 1, 0); }

/* The bits of the dense form; in lanes sums have another order. */
static void sparse_dx(const kernels *k, int lanes) {
    EACH_TRIPLE(B, I, O) {
        AT("sparse_dx B %d I %d O %d, case %d", B, I, O, c);
        const int64_t lddz = lead(c, O), lddx = lead(c + 1, I), R = some_tile(c), P = pad(I) / 16;
        const int add = c % 2;
        const real *dz = matrix(B, O, lddz, -1, 1, 0);
        const pruned w = some_pruned(I, O, c, lanes);
        real *wt = input(pad(I) * O), *want = input(B * lddx), *room = input(tiles_of(B, R) * R * I);
        k->transpose(w.dense, wt, I, O, 0, P);
        output *dx = output_of(B * lddx);
        for (int64_t i = 0; i < B * lddx; i++) {
            if (add) dx->at[i] = (real)(i % lddx < I ? uniform(-1, 1) : 0);
            want[i] = add ? dx->at[i] : 0;
        }
        ready(dx);
        int64_t t0, t1;
        part(c / 4 % 4, tiles_of(B, R), &t0, &t1);
        const real *dz_tor = columns_of(k, dz, lddz, R, B, O);
        k->sparse_dx(dz_tor, R, &w.form, room, dx->at, lddx, B, I, O, t0, t1, add);
        k->dense_dx(dz, lddz, wt, want, lddx, 0, B, O, 0, P, add);
        for (int64_t m = t0 * R; m < t1 * R && m < B; m++)
            for (int64_t i = 0; i < pad(I); i++)
                if (w.form.lanes)
                    expect(dx, m * lddx + i, (double)want[m * lddx + i], 2 * (O + 2) * EPS * (O + 1));
                else
                    expect_bits(dx, m * lddx + i, want[m * lddx + i]);
        bits = finish(dx, bits);
    }
}
static void check_sparse_dx(const kernels *k) { sparse_dx(k, 0), sparse_dx(k, 1); }

static void sparse_dw(const kernels *k, int lanes) {
    EACH_TRIPLE(B, I, O) {
        AT("sparse_dw B %d I %d O %d, case %d", B, I, O, c);
        const int64_t ldx = lead(c, I), lddz = lead(c + 1, O), R = some_tile(c);
        const int add = c % 2;
        const real *x = matrix(B, I, ldx, -1, 1, NAN), *dz = matrix(B, O, lddz, -1, 1, 0);
        const pruned w = some_pruned(I, O, c, lanes);
        output *dv = output_of(w.n);
        for (int64_t e = 0; add && e < w.n; e++) dv->at[e] = (real)uniform(-1, 1);
        ready(dv);
        int64_t o0, o1;
        part(c % 4, O, &o0, &o1);
        const real *x_tir = columns_of(k, x, ldx, R, B, I), *dz_tor = columns_of(k, dz, lddz, R, B, O);
        k->sparse_dw(x_tir, dz_tor, R, &w.form, dv->at, B, I, O, o0, o1, add);
        for (int64_t e = 0; e < w.n; e++) {
            const int64_t o = w.of[e];
            double sum = add ? (double)was(dv, e) : 0, size = fabs(sum);
            if (o < o0 || o >= (w.form.lanes && o1 == O ? pad(O) : o1)) continue;
            for (int64_t m = 0; m < B && !(w.form.lanes && w.gap[e]); m++) {
                const double product = (double)x[m * ldx + w.at[e]] * (double)dz[m * lddz + o];
                sum += product;
                size += fabs(product);
            }
            expect(dv, e, sum, 2 * (B + 2) * EPS * size);
        }
        bits = finish(dv, bits);
    }
}

static void check_sparse_dw(const kernels *k) { sparse_dw(k, 0), sparse_dw(k, 1); }

static void check_clear_pruned(const kernels *k) {
    for (int c = 0; c < 40; c++, drop_all()) {
        const int64_t n = 16 * (1 + below(9));
        AT("clear_pruned n %d", (int)n);
        uint16_t *word = keep((size_t)(n / 16) * sizeof *word);
        for (int64_t i = 0; i < n / 16; i++) word[i] = c == 0 ? 0 : c == 1 ? 0xffff : (uint16_t)below(1 << 16);
        output *g = output_filled(n, -1, 1);
        if (c > 30) g->at[below((int)n)] = (real)NAN, ready(g); /* what is pruned has no say */
        k->clear_pruned(word, g->at, n);
        for (int64_t i = 0; i < n; i++) {
            const real before = was(g, i);
            expect_bits(g, i, word[i / 16] >> i % 16 & 1 ? before : 0);
        }
        bits = finish(g, bits);
    }
}
