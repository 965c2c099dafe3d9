/* kernel_checks_random.h: part of kernel_checks.c: random numbers by position, and the ops that use them.
 * The numbers come from a Philox of our own, one block at a time. */

/* ---- Philox4x32-10, and what stands at a row and a column ------------------------------------------------ */

static void philox_block(const uint32_t counter[4], uint64_t seed, uint32_t word[4]) {
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    memcpy(word, counter, 4 * sizeof *word);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53 * word[0], p1 = (uint64_t)0xCD9E8D57 * word[2];
        const uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ word[1] ^ key[0], (uint32_t)p1,
                                  (uint32_t)(p0 >> 32) ^ word[3] ^ key[1], (uint32_t)p0};
        memcpy(word, next, sizeof next);
        key[0] += 0x9E3779B9, key[1] += 0xBB67AE85;
    }
}

/* The number that decides at a row (of the whole order) and a column: 16 bits for dropout, uniform in (0, 1) for
 * rrelu, else normal. */
static double drawn(int kind, const pn_position *at, int64_t row, int64_t column) {
    const int rows = kind == PN_RANDOM_dropout ? 8 : 4, place = (int)(row % rows), pair = place / 2 * 2;
    const uint32_t counter[4] = {(uint32_t)column, (uint32_t)(row / rows), at->step, at->stream | 0x80000000};
    uint32_t word[4];
    double u[4];
    philox_block(counter, at->seed, word);
    for (int i = 0; i < 4; i++) u[i] = ((word[i] >> 9) + 0.5) / 8388608;
    if (kind == PN_RANDOM_dropout) return place % 2 ? word[place / 2] >> 16 : word[place / 2] & 0xffff;
    if (kind == PN_RANDOM_rrelu) return u[place];
    const double radius = sqrt(-2 * log(u[pair])), angle = 2 * acos(-1) * u[pair + 1];
    return radius * (place % 2 ? sin(angle) : cos(angle));
}

/* Vectors that the authors of Philox publish with Random123 (kat_vectors), and the moments of what we make of it. */
static void check_philox(void) {
    static const struct {
        uint32_t counter[4];
        uint64_t seed;
        uint32_t word[4];
    } known[] = {
        {{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
         UINT64_MAX,
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         0x299f31d0a4093822,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    AT("Philox4x32-10");
    for (int i = 0; i < 3; i++) {
        uint32_t word[4];
        philox_block(known[i].counter, known[i].seed, word);
        CHECK(memcmp(word, known[i].word, sizeof word) == 0);
    }
    const pn_position at = {1, 2, 3, 0};
    double dropped = 0, uniforms = 0, normals = 0, squares = 0;
    enum { DRAWS = 65536 };
    for (int i = 0; i < DRAWS; i++) {
        const double n = drawn(PN_RANDOM_gaussian_noise, &at, i / 16, i % 16);
        dropped += drawn(PN_RANDOM_dropout, &at, i / 16, i % 16) < 0.25 * 65536;
        uniforms += drawn(PN_RANDOM_rrelu, &at, i / 16, i % 16);
        normals += n, squares += n * n;
    }
    /* within four of their own deviations: sqrt(p (1 - p) n), sqrt(n / 12), sqrt(n), sqrt(2 n) */
    CHECK(fabs(dropped - 0.25 * DRAWS) < 4 * sqrt(0.1875 * DRAWS));
    CHECK(fabs(uniforms - 0.5 * DRAWS) < 4 * sqrt(DRAWS / 12.));
    CHECK(fabs(normals) < 4 * sqrt(DRAWS));
    CHECK(fabs(squares - DRAWS) < 4 * sqrt(2. * DRAWS));
}

static pn_position some_position(int c) { /* first rows inside and at the edge of blocks, and beyond 32 bits */
    static const int64_t rows[] = {0, 8, 3, 64, 1001, 7, ((int64_t)1 << 37) + 5, 12};
    const uint64_t seed = random_bits();
    return (pn_position){seed, (uint32_t)(c % 5 ? c : -1), (uint32_t)(c % 3 ? 1000 + c : -1), rows[c / 3 % 8]};
}
static double some_rate(int c) {
    static const double rates[] = {0.5, 0, 0.2, 0.999999999, 1e-6, 0.75, 1. / 3};
    return rates[c % 7];
}
static double share_of(double rate) { return fmin(65535, floor(rate * 65536 + 0.5)); } /* of 65536 */

/* ---- random: y = f(x, r) and dy/dx ----------------------------------------------------------------------- */

typedef struct formula {
    double y, slope, z; /* z: how far from the kink of a relu */
} formula;

static formula random_formula(int kind, const double *p, double x, double r) {
    const double s = sqrt(1 / (1 + exp(-x))), z = x + (kind == PN_RANDOM_noisy_relu_sigmoid ? s : p[0]) * r;
    const double kept = r < share_of(p[0]) ? 0 : 65536 / (65536 - share_of(p[0])), a = p[0] + (p[1] - p[0]) * r;
    // clang-format off: one row each
    switch (kind) {
    case PN_RANDOM_dropout: return (formula){kept * x, kept, INFINITY};
    case PN_RANDOM_gaussian_noise: return (formula){z, 1, INFINITY};
    case PN_RANDOM_noisy_relu: return (formula){fmax(0, z), z > 0, z};
    case PN_RANDOM_noisy_relu_sigmoid: return (formula){fmax(0, z), z > 0 ? 1 + s * (1 - s * s) / 2 * r : 0, z};
    case PN_RANDOM_rrelu: return x < 0 ? (formula){a * x, a, INFINITY} : (formula){x, 1, INFINITY};
    default: FAIL("no formula for random %d", kind); return (formula){NAN, NAN, NAN};
    }
    // clang-format on
}

/* Of x + s r, s up to |p0| or 1: radii are below 5.8, angles below 2 pi. */
static double noise_error(int kind, const double *p, double x) {
    if (kind == PN_RANDOM_dropout) return 0;
    if (kind == PN_RANDOM_rrelu) return 4 * EPS * (fabs(p[0]) + fabs(p[1])) * fabs(x);
    return EPS * (4 * fabs(x) + 64 * (kind == PN_RANDOM_noisy_relu_sigmoid ? 1 : fabs(p[0])));
}

#define EACH_RANDOM(kind) for (int kind = PN_RANDOM_dropout; kind <= PN_RANDOM_rrelu; kind++)

/* p[0], p[1].  A dropout in two keeps row `row` of column 0 only just: the share is the number drawn there. */
static const double *some_constants(int kind, int c, const pn_position *at, int64_t row) {
    static double p[3];
    static const double others[][2] = {{0.3, 0}, {2, 0}, {0.125, 1. / 3}, {0, 0.9}};
    p[0] = others[kind == PN_RANDOM_rrelu ? 2 + c % 2 : c % 2][0];
    p[1] = kind == PN_RANDOM_rrelu ? others[2 + c % 2][1] : 0;
    if (kind == PN_RANDOM_dropout) p[0] = c % 2 ? drawn(kind, at, row, 0) / 65536 : some_rate(c / 2);
    return p;
}

static void check_random_forward(const kernels *k) {
    check_philox();
    EACH_RANDOM(kind) EACH_PAIR(B, O) {
        AT("random_forward of kind %d, B %d O %d, case %d", kind, B, O, c);
        const pn_position at = some_position(c);
        const double *p = some_constants(kind, c, &at, at.row0 + B / 2);
        const int64_t ldx = lead(c, O), ldy = lead(c + 1, O);
        real *x = matrix(B, pad(O), ldx, -3, 3, NAN);
        x[0] = 0;
        output *y = output_of(B * ldy);
        int64_t m0, m1, p0, p1;
        part(c / 8 % 4, B, &m0, &m1);
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->random_forward(kind, p, &at, x, ldx, y->at, ldy, m0, m1, p0, p1);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t o = p0 * 16; o < p1 * 16; o++) {
                const double v = (double)x[m * ldx + o];
                const formula f = random_formula(kind, p, v, drawn(kind, &at, at.row0 + m, o));
                if (kind == PN_RANDOM_dropout) /* one product, or a zero without a sign */
                    expect_bits(y, m * ldy + o, f.slope != 0 ? (real)f.slope * x[m * ldx + o] : 0);
                else
                    expect(y, m * ldy + o, f.y, noise_error(kind, p, v));
            }
        bits = finish(y, bits);
    }
}

static void check_random_backward(const kernels *k) {
    EACH_RANDOM(kind) EACH_PAIR(B, O) {
        AT("random_backward of kind %d, B %d O %d, case %d", kind, B, O, c);
        const pn_position at = some_position(c);
        const double *p = some_constants(kind, c, &at, at.row0 + B / 2);
        const int in_place = c % 3 == 1, add = c % 3 == 2, linear = kind <= PN_RANDOM_gaussian_noise;
        const int64_t ldx = lead(c, O), lddx = lead(c + 1, O), lddy = in_place ? lddx : lead(c + 2, O);
        const real *x = linear ? input(B * ldx) : matrix(B, pad(O), ldx, -3, 3, NAN); /* NaN: nobody reads it */
        const real *dy = matrix(B, pad(O), lddy, -2, 2, NAN);
        output *dx = add ? output_filled(B * lddx, -1, 1) : output_of(B * lddx);
        if (in_place) memcpy(dx->at, dy, (size_t)(B * lddx) * sizeof *dy), ready(dx);
        int64_t m0, m1, p0, p1;
        part(c / 8 % 4, B, &m0, &m1);
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->random_backward(kind, p, &at, x, ldx, in_place ? dx->at : dy, lddy, dx->at, lddx, m0, m1, p0, p1, add);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t o = p0 * 16; o < p1 * 16; o++) {
                const double v = linear ? 1 : (double)x[m * ldx + o];
                const formula f = random_formula(kind, p, v, drawn(kind, &at, at.row0 + m, o));
                const double d = (double)dy[m * lddy + o], old = add ? (double)was(dx, m * lddx + o) : 0;
                const double either = fabs(f.z) <= noise_error(kind, p, v) ? 4 * fabs(d) : 0; /* side of the kink */
                expect(dx, m * lddx + o, old + d * f.slope,
                       EPS * (2 * fabs(old) + (80 + 4 * f.slope) * fabs(d)) + either);
            }
        bits = finish(dx, bits);
    }
}

static void check_dropped_relu_backward(const kernels *k) {
    EACH_PAIR(B, O) {
        AT("dropped_relu_backward B %d O %d, case %d", B, O, c);
        const double rate = some_rate(c);
        const real scale = (real)(65536 / (65536 - share_of(rate)));
        const int64_t ldy = lead(c, O), lddy = lead(c + 1, O);
        real *y = matrix(B, pad(O), ldy, -1, 1, NAN); /* of a relu: 0 where it is not positive */
        for (int64_t i = 0; i < B * ldy; i++) y[i] = y[i] < 0 ? 0 : y[i];
        output *dy = output_filled(B * lddy, -1, 1);
        int64_t m0, m1, p0, p1;
        part(c / 8 % 4, B, &m0, &m1);
        part(c % 4, pad(O) / 16, &p0, &p1);
        k->dropped_relu_backward(rate, y, ldy, dy->at, lddy, m0, m1, p0, p1);
        for (int64_t m = m0; m < m1; m++)
            for (int64_t o = p0 * 16; o < p1 * 16; o++)
                expect_bits(dy, m * lddy + o, y[m * ldy + o] > 0 ? was(dy, m * lddy + o) * scale : 0);
        bits = finish(dy, bits);
    }
}

static void check_row_keys(const kernels *k) {
    enum { MOST = 320, GUARD = 16 };
    const uint64_t seeds[] = {0, 1ull << 32 | 5, UINT64_MAX}, guard = 0x5a5a5a5a5a5a5a5a;
    for (int c = 0; c < 3; c++)
        for (int64_t n = 0; n <= MOST; n += 32) {
            AT("row_keys n %d, seed %d", (int)n, c);
            const uint32_t purpose = c == 2 ? UINT32_MAX : 2, epoch = c == 2 ? UINT32_MAX : (uint32_t)c;
            const uint64_t rows = c == 1 ? 0xfffff : 511;
            uint64_t keys[MOST + GUARD];
            for (int i = 0; i < MOST + GUARD; i++) keys[i] = guard;
            k->row_keys(seeds[c], purpose, epoch, n, rows, keys);
            for (int64_t i = 0; i < n; i++) {
                const uint32_t counter[4] = {(uint32_t)(i / 2), purpose, epoch, 0};
                uint32_t word[4];
                philox_block(counter, seeds[c], word);
                const uint64_t number = (uint64_t)word[i % 2 * 2] << 32 | word[i % 2 * 2 + 1];
                CHECK(keys[i] == ((number & ~rows) | (uint64_t)i));
            }
            for (int64_t i = n; i < MOST + GUARD; i++) CHECK(keys[i] == guard);
        }
}
