/* kernel_checks_norm.h: part of kernel_checks.c: normalisation over the batch, with running statistics, over a row.
 *
 * Errors: a mean is off by eps |mean| and by what its sum of differences gathers, a variance by what that sum gathers
 * and by the square of the error of the mean.  Both follow into n = (x - mean) / sqrt(variance + epsilon). */

/* gamma, beta, mean, variance [pad(O)], the padding of gamma and beta 0 */
static pn_norm some_norm(int64_t O, double epsilon) {
    pn_norm norm = {.epsilon = epsilon};
    norm.gamma = matrix(1, O, pad(O), -2, 2, 0), norm.beta = matrix(1, O, pad(O), -2, 2, 0);
    norm.mean = filled(pad(O), -1, 1), norm.variance = filled(pad(O), 0, 2);
    return norm;
}
static double of_norm(const void *vector, int64_t o) { return (double)((const real *)vector)[o]; }
static double some_epsilon(int c) { return c % 2 ? 1e-5 : 1e-2; }

/* Weighted mean and variance of n numbers, `step` apart, and how far those of a kernel may be from them. */
typedef struct statistics {
    double mean, variance, mean_error, variance_error;
} statistics;

static statistics statistics_of(const real *x, int64_t step, int64_t n, const real *r, double r_sum) {
    statistics s = {.mean = (double)x[0]};
    double sum = 0, spread = 0;
    for (int64_t i = 0; i < n && r_sum > 0; i++) {
        const double difference = (r ? (double)r[i] : 1) * ((double)x[i * step] - (double)x[0]);
        sum += difference, spread += fabs(difference);
    }
    if (r_sum > 0) s.mean += sum / r_sum, spread /= r_sum;
    for (int64_t i = 0; i < n && r_sum > 0; i++)
        s.variance += (r ? (double)r[i] : 1) * pow((double)x[i * step] - s.mean, 2) / r_sum;
    s.mean_error = n > 1 && r_sum > 0 ? EPS * (fabs(s.mean) + (double)(n + 6) * spread) : 0;
    s.variance_error = (double)(n + 8) * EPS * s.variance + s.mean_error * s.mean_error;
    return s;
}

/* n = (x - mean) / deviation, 1 / deviation, and their errors where mean and variance have some */
typedef struct normalised {
    double n, inverse, error, inverse_error;
} normalised;

static normalised normalise(double x, const statistics *s, double epsilon) {
    normalised v = {.inverse = 1 / sqrt(s->variance + epsilon)};
    v.inverse_error = v.inverse * (4 * EPS + pow(v.inverse, 2) * s->variance_error / 2);
    v.n = (x - s->mean) * v.inverse;
    v.error = v.inverse * s->mean_error + fabs(x - s->mean) * v.inverse_error + 4 * EPS * fabs(v.n);
    return v;
}

/* ---- batch_norm ------------------------------------------------------------------------------------------ */

/* [B, pad(O)], columns around a centre of their own, which may be far from 0; one of them constant */
static real *batch_of(int c, int64_t B, int64_t O, int64_t ld) {
    static const double centres[] = {0, 1, -30, 1000};
    real *x = matrix(B, pad(O), ld, -1, 1, NAN);
    for (int64_t m = 0; m < B; m++)
        for (int64_t o = 0; o < pad(O); o++)
            x[m * ld + o] = o == 7 ? (real)-3.25 : x[m * ld + o] + (real)centres[(o + c) % 4];
    return x;
}
/* Weights of rows: all 1, any, all 0; their sum */
static real *some_weights(int c, int64_t B, double *sum) {
    real *r = filled(B, 0, 2);
    *sum = 0;
    for (int64_t m = 0; m < B; m++) {
        if (c % 3 != 1) r[m] = c % 3 == 0;
        *sum += (double)r[m];
    }
    return r;
}

static void check_batch_norm_forward(const kernels *k) {
    EACH_PAIR(B, O) {
        AT("batch_norm_forward B %d O %d, case %d", B, O, c);
        const int64_t ldx = lead(c, O), ldy = lead(c + 1, O);
        double r_sum;
        const real *x = batch_of(c, B, O, ldx), *r = some_weights(c, B, &r_sum);
        pn_norm norm = some_norm(O, some_epsilon(c + c / 8));
        norm.mean = norm.variance = NULL; /* those of the batch are written */
        output *mean = output_of(pad(O)), *variance = output_of(pad(O)), *y = output_of(B * ldy);
        int64_t p0, p1;
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->batch_norm_forward(x, ldx, r, r_sum, &norm, mean->at, variance->at, y->at, ldy, B, p0, p1);
        for (int64_t o = p0 * 16; o < p1 * 16; o++) {
            const statistics s = statistics_of(x + o, ldx, B, r, r_sum);
            const double gamma = of_norm(norm.gamma, o), beta = of_norm(norm.beta, o);
            expect(mean, o, s.mean, s.mean_error);
            expect(variance, o, s.variance, s.variance_error);
            for (int64_t m = 0; m < B; m++) {
                const normalised v = normalise((double)x[m * ldx + o], &s, norm.epsilon);
                expect(y, m * ldy + o, v.n * gamma + beta,
                       fabs(gamma) * (v.error + EPS * fabs(v.n)) + EPS * fabs(beta));
            }
        }
        bits = finish(y, finish(variance, finish(mean, bits)));
    }
}

/* dgamma, dbeta and dx of a norm over columns.  r: weights of the rows whose statistics these are; NULL: constants. */
typedef struct norm_case {
    const real *x, *dy, *r;
    double r_sum;
    pn_norm norm;
    int64_t ldx, lddy, lddx, B;
    int add, add_w;
    output *dgamma, *dbeta, *dx; /* NULL: not wanted */
} norm_case;

static norm_case some_norm_case(int c, int64_t B, int64_t O) {
    norm_case n = {.ldx = lead(c, O), .lddy = lead(c + 1, O), .lddx = lead(c + 2, O), .B = B};
    n.add = c % 3 == 1, n.add_w = c % 5 < 2;
    n.x = matrix(B, pad(O), n.ldx, -2, 2, NAN), n.dy = matrix(B, O, n.lddy, -2, 2, 0);
    n.norm = some_norm(O, some_epsilon(c + c / 8));
    n.dgamma = c % 7 == 2 ? NULL : output_filled(pad(O), -1, 1);
    n.dbeta = c % 7 == 3 || c % 7 == 4 ? NULL : output_filled(pad(O), -1, 1);
    if (c % 7 == 4) n.dgamma = NULL; /* neither trains */
    n.dx = c % 7 == 5 ? NULL : output_filled(B * n.lddx, -1, 1);
    return n;
}
static real *written(output *o) { return o ? o->at : NULL; }

static void expect_norm_backward(const norm_case *n, int64_t p0, int64_t p1) {
    for (int64_t o = p0 * 16; o < p1 * 16; o++) {
        const statistics s = {of_norm(n->norm.mean, o), of_norm(n->norm.variance, o), 0, 0};
        const double gamma = of_norm(n->norm.gamma, o), terms = (double)(n->B + 10);
        double sum = 0, dot = 0, sum_size = 0, dot_size = 0;
        for (int64_t m = 0; m < n->B; m++) {
            const double dy = (double)n->dy[m * n->lddy + o];
            const normalised v = normalise((double)n->x[m * n->ldx + o], &s, n->norm.epsilon);
            sum += dy, sum_size += fabs(dy), dot += dy * v.n, dot_size += fabs(dy * v.n);
        }
        if (n->dgamma) {
            const double old = n->add_w ? (double)was(n->dgamma, o) : 0;
            expect(n->dgamma, o, old + dot, terms * EPS * dot_size + EPS * fabs(old));
        }
        if (n->dbeta) {
            const double old = n->add_w ? (double)was(n->dbeta, o) : 0;
            expect(n->dbeta, o, old + sum, terms * EPS * sum_size + EPS * fabs(old));
        }
        for (int64_t m = 0; m < n->B && n->dx; m++) {
            const double old = n->add ? (double)was(n->dx, m * n->lddx + o) : 0, dy = (double)n->dy[m * n->lddy + o];
            const double share = n->r && n->r_sum > 0 ? (double)n->r[m] / n->r_sum : 0;
            const normalised v = normalise((double)n->x[m * n->ldx + o], &s, n->norm.epsilon);
            const double size = fabs(dy) + share * (sum_size + fabs(v.n) * dot_size);
            expect(n->dx, m * n->lddx + o, old + gamma * v.inverse * (dy - share * (sum + v.n * dot)),
                   terms * EPS * fabs(gamma) * v.inverse * size + EPS * fabs(old));
        }
    }
    if (n->dgamma) bits = finish(n->dgamma, bits);
    if (n->dbeta) bits = finish(n->dbeta, bits);
    if (n->dx) bits = finish(n->dx, bits);
}

static void check_batch_norm_backward(const kernels *k) {
    EACH_PAIR(B, O) {
        AT("batch_norm_backward B %d O %d, case %d", B, O, c);
        norm_case n = some_norm_case(c, B, O);
        n.r = some_weights(c + c / 8, B, &n.r_sum);
        int64_t p0, p1;
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->batch_norm_backward(n.x, n.ldx, n.r, n.r_sum, &n.norm, n.dy, n.lddy, written(n.dgamma), written(n.dbeta),
                               n.add_w, written(n.dx), n.lddx, n.add, B, p0, p1);
        expect_norm_backward(&n, p0, p1);
    }
}

/* ---- running_norm ---------------------------------------------------------------------------------------- */

static void check_running_norm_forward(const kernels *k) {
    EACH_PAIR(B, O) {
        AT("running_norm_forward B %d O %d, case %d", B, O, c);
        const int64_t ldx = lead(c, O), ldy = lead(c + 1, O);
        const real *x = matrix(B, pad(O), ldx, -2, 2, NAN);
        const pn_norm norm = some_norm(O, some_epsilon(c + c / 8));
        output *y = output_of(B * ldy);
        int64_t m0, m1, p0, p1;
        part(c / 8 % 4, B, &m0, &m1);
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->running_norm_forward(x, ldx, &norm, y->at, ldy, m0, m1, p0, p1);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t o = p0 * 16; o < p1 * 16; o++) {
                const statistics s = {of_norm(norm.mean, o), of_norm(norm.variance, o), 0, 0};
                const normalised v = normalise((double)x[m * ldx + o], &s, norm.epsilon);
                const double gamma = of_norm(norm.gamma, o), beta = of_norm(norm.beta, o);
                expect(y, m * ldy + o, v.n * gamma + beta,
                       fabs(gamma) * (v.error + EPS * fabs(v.n)) + EPS * fabs(beta));
            }
        bits = finish(y, bits);
    }
}

static void check_running_norm_backward(const kernels *k) {
    EACH_PAIR(B, O) {
        AT("running_norm_backward B %d O %d, case %d", B, O, c);
        const norm_case n = some_norm_case(c, B, O);
        int64_t p0, p1;
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->running_norm_backward(n.x, n.ldx, &n.norm, n.dy, n.lddy, written(n.dgamma), written(n.dbeta), n.add_w,
                                 written(n.dx), n.lddx, n.add, B, p0, p1);
        expect_norm_backward(&n, p0, p1);
    }
}

static void check_track(const kernels *k) {
    for (int c = 0; c < 4 * N_SHAPES; c++, drop_all()) {
        const int64_t n = shapes[c % N_SHAPES];
        const double momentum = c % 3 ? 0.9 : c / 3 % 2, factor = c % 2 ? 1 : 100. / 99;
        AT("track %d numbers with momentum %g, case %d", (int)n, momentum, c);
        real *now = matrix(1, n, pad(n), -2, 2, 1);
        output *running = output_filled(pad(n), -2, 2);
        if (n > 1) now[1] = 0, running->at[1] = 2 * (sizeof(real) == 8 ? (real)DBL_MIN : (real)FLT_MIN), ready(running);
        k->track(running->at, now, momentum, factor, n);
        for (int64_t i = 0; i < n; i++) {
            const double old = momentum * (double)was(running, i), take = (1 - momentum) * factor * (double)now[i];
            expect(running, i, old + take, 4 * EPS * (fabs(old) + fabs(take)));
        }
        bits = finish(running, bits);
        if (n > 1) { /* what has decayed to nearly nothing becomes nothing */
            running->at[1] /= 2;
            k->track(running->at, now, 0.5, 1, n);
            CHECK(running->at[1] == 0);
        }
    }
}

/* ---- row_norm -------------------------------------------------------------------------------------------- */

static void check_row_norm_forward(const kernels *k) {
    EACH_PAIR(B, O) {
        AT("row_norm_forward B %d O %d, case %d", B, O, c);
        const int64_t ldx = lead(c, O), ldy = lead(c + 1, O), lds = 16 + c % 2;
        real *x = matrix(B, O, ldx, -2, 2, NAN);
        for (int64_t m = 0; m < B; m++) /* rows around 0 and far from it */
            for (int64_t o = 0; o < O && m % 3; o++) x[m * ldx + o] += (real)(m % 3 == 1 ? 40 : -1000);
        pn_norm norm = some_norm(O, some_epsilon(c + c / 8));
        if (c % 3 == 0) norm.gamma = NULL;
        if (c % 5 < 2) norm.beta = NULL;
        norm.mean = norm.variance = NULL;
        output *stats = output_of(B * lds), *y = output_of(B * ldy);
        int64_t m0, m1;
        part(c / 8 % 4, B, &m0, &m1);
        k->row_norm_forward(x, ldx, &norm, stats->at, lds, y->at, ldy, m0, m1, O);
        for (int64_t m = m0; m < m1; m++) {
            const statistics s = statistics_of(x + m * ldx, 1, O, NULL, (double)O);
            const normalised first = normalise((double)x[m * ldx], &s, norm.epsilon);
            expect(stats, m * lds, s.mean, s.mean_error);
            expect(stats, m * lds + 1, first.inverse, first.inverse_error);
            for (int64_t o = O; o < pad(O); o++) expect(y, m * ldy + o, 0, 0);
            for (int64_t o = 0; o < O; o++) {
                const normalised v = normalise((double)x[m * ldx + o], &s, norm.epsilon);
                const double gamma = norm.gamma ? of_norm(norm.gamma, o) : 1,
                             beta = norm.beta ? of_norm(norm.beta, o) : 0;
                expect(y, m * ldy + o, v.n * gamma + beta,
                       fabs(gamma) * (v.error + EPS * fabs(v.n)) + EPS * fabs(beta));
            }
        }
        bits = finish(y, finish(stats, bits));
    }
}

/* mean and 1 / deviation of each row, neighbours at the head of a row of z */
static real *some_row_statistics(int64_t B, int64_t lds) {
    real *stats = input(B * lds);
    for (int64_t m = 0; m < B; m++) stats[m * lds] = (real)uniform(-1, 1), stats[m * lds + 1] = (real)uniform(0.5, 3);
    return stats;
}

static void check_row_norm_backward(const kernels *k) {
    EACH_PAIR(B, O) {
        AT("row_norm_backward B %d O %d, case %d", B, O, c);
        const int64_t ldx = lead(c, O), lddy = lead(c + 1, O), lddx = lead(c + 2, O), lds = 16 + c % 2;
        const int add = (c + c / 8) % 2;
        const real *x = matrix(B, O, ldx, -2, 2, NAN), *dy = matrix(B, O, lddy, -2, 2, 0);
        const real *gamma = c % 3 ? matrix(1, O, pad(O), -2, 2, 0) : NULL, *stats = some_row_statistics(B, lds);
        const pn_norm norm = {.gamma = gamma, .epsilon = NAN}; /* it is in 1 / deviation */
        output *dx = output_filled(B * lddx, -1, 1);
        for (int64_t i = 0; add && i < B * lddx; i++) dx->at[i] = i % lddx < O ? dx->at[i] : 0;
        ready(dx);
        int64_t m0, m1;
        part(c / 8 % 4, B, &m0, &m1);
        k->row_norm_backward(x, ldx, &norm, stats, lds, dy, lddy, dx->at, lddx, m0, m1, O, add);
        for (int64_t m = m0; m < m1; m++) {
            const double mean = (double)stats[m * lds], inverse = (double)stats[m * lds + 1];
            double sum = 0, dot = 0, sum_size = 0, dot_size = 0;
            for (int64_t o = 0; o < O; o++) {
                const double g = (double)dy[m * lddy + o] * (gamma ? (double)gamma[o] : 1) / (double)O;
                const double n = ((double)x[m * ldx + o] - mean) * inverse;
                sum += g, sum_size += fabs(g), dot += g * n, dot_size += fabs(g * n);
            }
            for (int64_t o = O; o < pad(O); o++) expect(dx, m * lddx + o, 0, 0);
            for (int64_t o = 0; o < O; o++) {
                const double g = (double)dy[m * lddy + o] * (gamma ? (double)gamma[o] : 1);
                const double n = ((double)x[m * ldx + o] - mean) * inverse;
                const double old = add ? (double)was(dx, m * lddx + o) : 0;
                expect(dx, m * lddx + o, old + (g - sum - n * dot) * inverse,
                       (double)(O + 10) * EPS * inverse * (fabs(g) + sum_size + fabs(n) * dot_size) + EPS * fabs(old));
            }
        }
        bits = finish(dx, bits);
    }
}

static void check_row_norm_sums(const kernels *k) {
    EACH_PAIR(B, O) {
        AT("row_norm_sums B %d O %d, case %d", B, O, c);
        const int64_t ldx = lead(c, O), lddy = lead(c + 1, O), lds = 16 + c % 2;
        const int add = c % 3 == 1;
        const real *x = matrix(B, pad(O), ldx, -2, 2, NAN), *dy = matrix(B, O, lddy, -2, 2, 0);
        const real *stats = some_row_statistics(B, lds);
        output *dgamma = c % 5 == 2 ? NULL : output_filled(pad(O), -1, 1);
        output *dbeta = c % 5 == 3 ? NULL : output_filled(pad(O), -1, 1);
        int64_t p0, p1;
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->row_norm_sums(x, ldx, stats, lds, dy, lddy, written(dgamma), written(dbeta), B, p0, p1, add);
        for (int64_t o = p0 * 16; o < p1 * 16; o++) {
            double sum = dbeta && add ? (double)was(dbeta, o) : 0, dot = dgamma && add ? (double)was(dgamma, o) : 0;
            double sum_size = fabs(sum), dot_size = fabs(dot);
            for (int64_t m = 0; m < B; m++) {
                const double d = (double)dy[m * lddy + o];
                const double n = ((double)x[m * ldx + o] - (double)stats[m * lds]) * (double)stats[m * lds + 1];
                sum += d, sum_size += fabs(d), dot += d * n, dot_size += fabs(d * n);
            }
            if (dgamma) expect(dgamma, o, dot, (double)(B + 10) * EPS * dot_size);
            if (dbeta) expect(dbeta, o, sum, (double)(B + 10) * EPS * sum_size);
        }
        if (dgamma) bits = finish(dgamma, bits);
        if (dbeta) bits = finish(dbeta, bits);
    }
}
