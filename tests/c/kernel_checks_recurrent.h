/* kernel_checks_recurrent.h: part of kernel_checks.c: one step of an LSTM between its matrix products. */

/* A column of a mask with a stride: rows with this step, rows without, and what is neither 0 nor 1; or no mask. */
static const real *some_mask(int c, int64_t B, int64_t ld) {
    static const double marks[] = {1, 0, 0.5, 0.75, -1, 1, NAN, 1};
    if ((c + c / 8) % 4 == 0) return NULL;
    real *mask = input((B - 1) * ld + 1);
    for (int64_t m = 0; m < B; m++) mask[m * ld] = (real)marks[below(8)];
    return mask;
}
static int takes(const real *mask, int64_t ld, int64_t m) { return !mask || mask[m * ld] > (real)0.5; }

#define TINY (2 * (double)FLT_MIN) /* becomes 0 */
static double logistic(double x) { return 1 / (1 + exp(-x)); }
static double at_or_zero(const real *x, int64_t i) { return x ? (double)x[i] : 0; }

static void check_lstm_forward(const kernels *k) {
    EACH_PAIR(B, U) {
        AT("lstm_forward B %d U %d, case %d", B, U, c);
        const int64_t ldg = lead(c, 4 * U), ld = lead(c + 1, U), ldm = 1 + c % 3, first = c % 5 == 0;
        const double range = c % 7 == 3 ? 100 : 4; /* 100: gates that are shut, and others wide open */
        const real *c_prev = first ? NULL : matrix(B, U, ld, -2, 2, NAN), *mask = some_mask(c, B, ldm);
        const real *h_prev = first ? NULL : matrix(B, U, ld, -1, 1, NAN);
        output *g = output_of(B * ldg), *cell = output_of(B * ld), *h = output_of(B * ld);
        for (int64_t i = 0; i < B * ldg; i++)
            if (i % ldg < 4 * U) g->at[i] = (real)uniform(-range, range);
        ready(g);
        int64_t m0, m1;
        part(c / 8 % 4, B, &m0, &m1);
        k->lstm_forward(g->at, ldg, c_prev, h_prev, cell->at, h->at, ld, mask, ldm, m0, m1, U);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t u = 0; u < U; u++) {
                const int64_t at = m * ld + u, gate = m * ldg + u;
                const double before = at_or_zero(c_prev, at);
                if (!takes(mask, ldm, m)) { /* states pass by, sums stay */
                    expect_bits(cell, at, (real)before);
                    expect_bits(h, at, (real)at_or_zero(h_prev, at));
                    continue;
                }
                const double i = logistic((double)was(g, gate)), f = logistic((double)was(g, gate + U));
                const double a = tanh((double)was(g, gate + 2 * U)), q = logistic((double)was(g, gate + 3 * U));
                const double now = f * before + i * a, error = 12 * EPS * (fabs(f * before) + fabs(i * a));
                const double gates[4] = {i, f, a, q};
                for (int j = 0; j < 4; j++) expect(g, gate + j * U, gates[j], 8 * EPS * fabs(gates[j]) + TINY);
                expect(cell, at, now, error + TINY);
                expect(h, at, q * tanh(now), 12 * EPS * fabs(q * tanh(now)) + q * error + TINY);
            }
        bits = finish(h, finish(cell, finish(g, bits)));
    }
}

static void check_lstm_backward(const kernels *k) {
    EACH_PAIR(B, U) {
        AT("lstm_backward B %d U %d, case %d", B, U, c);
        const int64_t ldg = lead(c, 4 * U), ld = lead(c + 1, U), ldm = 1 + c % 3;
        const real *c_prev = c % 5 == 0 ? NULL : matrix(B, U, ld, -2, 2, NAN), *mask = some_mask(c, B, ldm);
        const real *cell = matrix(B, U, ld, -2, 2, NAN);
        real *g = input(B * ldg); /* gates are NaN where a row has not got this step: nobody reads them */
        output *dz = output_of(B * ldg), *dc = output_of(B * ld), *dh = output_of(B * ld);
        for (int64_t m = 0; m < B; m++)
            for (int64_t u = 0; u < 4 * U && takes(mask, ldm, m); u++)
                g[m * ldg + u] = (real)uniform(u / U == 2 ? -1 : 0, 1);
        for (int64_t i = 0; i < B * ld; i++)
            if (i % ld < U) dc->at[i] = (real)uniform(-1, 1), dh->at[i] = (real)uniform(-1, 1);
        ready(dc), ready(dh);
        int64_t m0, m1;
        part(c / 8 % 4, B, &m0, &m1);
        k->lstm_backward(g, ldg, c_prev, cell, dz->at, dc->at, dh->at, ld, mask, ldm, m0, m1, U);
        for (int64_t m = m0; m < m1; m++) {
            const int has = takes(mask, ldm, m);
            for (int64_t u = has ? 4 * U : 0; u < pad(4 * U); u++) expect(dz, m * ldg + u, 0, 0);
            for (int64_t u = 0; u < U && has; u++) {
                const int64_t at = m * ld + u, gate = m * ldg + u;
                const double i = (double)g[gate], f = (double)g[gate + U], a = (double)g[gate + 2 * U];
                const double q = (double)g[gate + 3 * U], before = at_or_zero(c_prev, at), t = tanh((double)cell[at]);
                const double up = (double)was(dh, at), s = (double)was(dc, at) + up * q * (1 - t * t);
                const double error = EPS * (10 * fabs(up * q) + 4 * fabs(s));
                /* through i a, f before, a i and q tanh c; each gate's own derivative beside it */
                const double way[4] = {s * a, s * before, s * i, up * t};
                const double own[4] = {i * (1 - i), f * (1 - f), 1 - a * a, q * (1 - q)};
                const double errors[4] = {fabs(a) * error, fabs(before) * error, i * error, 8 * EPS * fabs(up)};
                for (int j = 0; j < 4; j++)
                    expect(dz, gate + j * U, way[j] * own[j],
                           own[j] * (errors[j] + 8 * EPS * fabs(way[j])) + (j == 2 ? EPS * fabs(way[j]) : 0) + TINY);
                expect(dc, at, s * f, f * error + 4 * EPS * fabs(s * f) + TINY);
                expect(dh, at, 0, 0);
            }
        }
        bits = finish(dh, finish(dc, finish(dz, bits)));
    }
}
