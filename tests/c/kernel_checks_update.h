/* kernel_checks_update.h: part of kernel_checks.c: steps of the optimizers. */

static void some_hyper(int optimizer, double decay, double h[8]) {
    static const double rprop[8] = {0.5, 1.2, 1e-6, 0.05}, others[8] = {0.9, 0.999, 1e-8};
    memcpy(h, optimizer == PN_OPTIMIZER_rprop ? rprop : others, sizeof rprop);
    h[7] = decay;
}

/* One element in double: the textbook, with the names of kernels/update.h. */
static void textbook(int optimizer, const double *h, double rate, double step, double *p, double g, double *s0,
                     double *s1) {
    if (h[7] != 0 && optimizer != PN_OPTIMIZER_adamw) g += h[7] * *p;
    // clang-format off: one row each
    switch (optimizer) {
    case PN_OPTIMIZER_sgd: *p -= rate * g; break;
    case PN_OPTIMIZER_momentum: *s0 = h[0] * *s0 + g, *p -= rate * *s0; break;
    case PN_OPTIMIZER_nesterov: *s0 = h[0] * *s0 + g, *p -= rate * (g + h[0] * *s0); break;
    case PN_OPTIMIZER_adamw: *p -= rate * h[7] * *p; /* fall through */
    case PN_OPTIMIZER_adam:
        *s0 = h[0] * *s0 + (1 - h[0]) * g;
        *s1 = h[1] * *s1 + (1 - h[1]) * g * g;
        *p -= rate * (*s0 / (1 - pow(h[0], step))) / (sqrt(*s1 / (1 - pow(h[1], step))) + h[2]);
        break;
    case PN_OPTIMIZER_rmsprop: *s0 = h[0] * *s0 + (1 - h[0]) * g * g, *p -= rate * g / (sqrt(*s0) + h[2]); break;
    case PN_OPTIMIZER_adagrad: *s0 += g * g, *p -= rate * g / (sqrt(*s0) + h[2]); break;
    case PN_OPTIMIZER_rprop: {
        const double turn = sign(g) * sign(*s0), size = *s1 != 0 ? *s1 : rate;
        *s1 = turn > 0 ? fmin(size * h[1], h[3]) : turn < 0 ? fmax(size * h[0], h[2]) : size;
        *s0 = turn < 0 ? 0 : g;
        *p -= sign(*s0) * *s1;
        break;
    }
    default: FAIL("no formula for optimizer %d", optimizer);
    }
    // clang-format on
}

/* Of an update: what is too small for a normal number becomes 0, and so does -0; infinities and NaN stay. */
static void check_flush(const kernels *k) {
    const real least = sizeof(real) == 4 ? (real)FLT_MIN : (real)DBL_MIN;
    const real kinds[] = {0,      (real)-0.0, least / 2, -least / 2, least,          -least,          3 * least / 2,
                          -least, 1,          -1,        1000,       (real)INFINITY, (real)-INFINITY, (real)NAN};
    enum { KINDS = sizeof kinds / sizeof kinds[0], N = (KINDS * KINDS + 15) / 16 * 16 };
    AT("update of momentum, %d numbers of all kinds", KINDS);
    const double h[8] = {0.5};
    output *p = output_of(N), *v = output_of(N), *g = output_of(N);
    for (int64_t i = 0; i < N; i++) p->at[i] = 0, v->at[i] = kinds[i / KINDS % KINDS], g->at[i] = kinds[i % KINDS];
    ready(p), ready(v), ready(g);
    k->update(PN_OPTIMIZER_momentum, h, 0, (double[]){1, 1}, p->at, (const real *[]){g->at}, 1, v->at, NULL, N);
    for (int64_t i = 0; i < N; i++) {
        const real gi = was(g, i), half = (real)0.5 * was(v, i), sum = half + ((real)fabs((double)gi) < least ? 0 : gi);
        const real want = (real)fabs((double)sum) < least ? 0 : sum;
        expect_bits(v, i, isnan(want) && isnan(v->at[i]) ? v->at[i] : want);
        expect_bits(p, i, isfinite(want) ? 0 : p->at[i]); /* at a rate of 0 */
    }
    bits = finish(v, finish(p, finish(g, bits)));
    drop_all();
}

static void check_update(const kernels *k) {
    check_flush(k);
    static const int64_t lengths[] = {16, 32, 48, 112, 1600};
    for (int id = 0; id < 32; id++)
        for (int c = 0; c < 10 && pn_optimizer_slots(id) >= 0; c++, drop_all()) {
            const int64_t n = lengths[c % 5];
            const int slots = pn_optimizer_slots(id);
            double h[8];
            some_hyper(id, c < 5 ? 0 : 0.1, h);
            const int terms = 1 + c % 3; /* of the gradient; several are multiples of 1/64, so that any sum is exact */
            output *p = output_of(n), *s[2] = {output_of(n), output_of(n)};
            output *g[3] = {output_of(n), output_of(n), output_of(n)};
            const real *from[3] = {g[0]->at, g[1]->at, g[2]->at};
            for (int64_t i = 0; i < n; i++) p->at[i] = (real)uniform(-1, 1), s[0]->at[i] = s[1]->at[i] = 0;
            for (int step = 1; step <= 4; step++) { /* the next one starts from what the kernel left */
                AT("update of optimizer %d, n %d, %d terms, decay %g, step %d", id, (int)n, terms, h[7], step);
                for (int t = 0; t < 3; t++)
                    for (int64_t i = 0; i < n; i++) {
                        const double x = i % 7 == 3 ? 0 : uniform(-1, 1);
                        g[t]->at[i] = (real)(terms > 1 ? rint(64 * x) / 64 : x);
                    }
                ready(p), ready(g[0]), ready(g[1]), ready(g[2]), ready(s[0]), ready(s[1]);
                k->update(id, h, 0.01, (double[]){1 - pow(h[0], step), 1 - pow(h[1], step)}, p->at, from, terms,
                          slots > 0 ? s[0]->at : NULL, slots > 1 ? s[1]->at : NULL, n);
                for (int64_t i = 0; i < n; i++) {
                    double x = (double)was(p, i), s0 = (double)was(s[0], i), s1 = (double)was(s[1], i);
                    const double x_old = fabs(x), s0_old = fabs(s0);
                    double gi = 0;
                    for (int t = 0; t < terms; t++) gi += (double)was(g[t], i);
                    textbook(id, h, 0.01, step, &x, gi, &s0, &s1);
                    expect(p, i, x, 8 * EPS * (x_old + 0.2));
                    if (slots > 0) expect(s[0], i, s0, 8 * EPS * (s0_old + fabs(gi) + h[7]));
                    const double cancelled = h[7] > 0 ? 0.001 * (fabs(gi) + h[7]) * (fabs(gi) + h[7]) : 0;
                    if (slots > 1) expect(s[1], i, s1, 8 * EPS * (fabs(s1) + cancelled));
                }
                for (int t = 0; t < 3; t++) bits = finish(g[t], bits);
                bits = finish(s[1], finish(s[0], finish(p, bits)));
            }
        }
}

/* The same bits as from a gradient in memory. */
static void check_update_of_rows(const kernels *k) {
    int known[32], n_known = 0;
    for (int id = 0; id < 32; id++)
        if (pn_optimizer_slots(id) >= 0) known[n_known++] = id;
    EACH_TRIPLE(B, I, O) {
        B = c % 3 ? 1 + B % 16 : 1, I += c % 5 ? 0 : 200; /* more than a block */
        const int id = known[(c + c / 64) % n_known], slots = pn_optimizer_slots(id);
        AT("update_of_rows B %d I %d O %d, optimizer %d, case %d", B, I, O, id, c);
        double h[8];
        some_hyper(id, c % 2 ? 0 : 0.1, h);
        const double bias[2] = {1 - h[0] * h[0], 1 - h[1] * h[1]};
        const int64_t n = pad(O) * I, ldx = lead(c, I), lddz = lead(c + 1, O);
        const real *x = matrix(B, I, ldx, -1, 1, NAN), *dz = matrix(B, O, lddz, -1, 1, 0);
        output *w = output_of(n), *s[2] = {output_of(n), output_of(n)}, *dw = output_of(n);
        real *want = input(n), *slot[2] = {input(n), input(n)};
        for (int64_t i = 0; i < n; i++) {
            want[i] = w->at[i] = (real)uniform(-1, 1);
            for (int j = 0; j < 2; j++) slot[j][i] = s[j]->at[i] = (real)uniform(0, 0.1);
        }
        ready(w), ready(s[0]), ready(s[1]);
        int64_t i0, i1, p0, p1;
        part(c / 4 % 4, I, &i0, &i1);
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->dense_dw(x, ldx, dz, lddz, dw->at, I, 0, I, B, 0, pad(O) / 16, 0, NULL, 0);
        k->update(id, h, 0.01, bias, want, (const real *[]){dw->at}, 1, slot[0], slot[1], n);
        k->update_of_rows(id, h, 0.01, bias, w->at, slots > 0 ? s[0]->at : NULL, slots > 1 ? s[1]->at : NULL, x, ldx,
                          dz, lddz, I, i0, i1, B, p0, p1);
        for (int64_t p = p0; p < p1; p++)
            for (int64_t e = (p * I + i0) * 16; e < (p * I + i1) * 16; e++) {
                expect_bits(w, e, want[e]);
                for (int j = 0; j < slots; j++) expect_bits(s[j], e, slot[j][e]);
            }
        bits = finish(s[1], finish(s[0], finish(w, bits)));
    }
}
