/* integers.h: what the ops of integer networks compute with. */

/* floor(v / 2^s); a right shift of a negative number would be the compiler's choice */
static int64_t net_shift(int64_t v, int s) { return v >= 0 ? v >> s : ~(~v >> s); }

static int32_t net_clip(int64_t v, int32_t lo, int32_t hi) { return v < lo ? lo : (v > hi ? hi : (int32_t)v); }

/* acc + sum of w[i] x[i], where 32 bits could overflow */
static int64_t net_wide_dot8(const int8_t *w, const int8_t *x, int32_t n, int64_t acc) {
    int32_t i;
    for (i = 0; i < n; ++i) {
        acc += (int32_t)w[i] * x[i];
    }
    return acc;
}

static int64_t net_wide_dot16(const int8_t *w, const int16_t *x, int32_t n, int64_t acc) {
    int32_t i;
    for (i = 0; i < n; ++i) {
        acc += (int32_t)w[i] * x[i];
    }
    return acc;
}

/* zero + acc m / 2^s, rounded to the nearest, halves upwards, in lo..hi */
static int32_t net_rescale(int64_t acc, int32_t m, int s, int32_t zero, int32_t lo, int32_t hi) {
    const int64_t half = (INT64_C(1) << s) >> 1;
    return net_clip(zero + net_shift(acc * m + half, s), lo, hi);
}

/* the point f / 128 of the way from a to b */
static int32_t net_between(int32_t a, int32_t b, int32_t f) { return a + (int32_t)net_shift((b - a) * f + 64, 7); }

/* 2^(30 - d m / 2^s), d m / 2^s having 21 bits behind the point; t: 65 powers 2^(15 - i/64) */
static uint32_t net_power(int32_t d, int32_t m, int s, const uint16_t *t) {
    const int64_t v = ((int64_t)d * m) >> s;
    const int32_t i = (int32_t)((v >> 15) & 63);
    const uint32_t f = (uint32_t)(v & 32767);
    const uint32_t e = ((uint32_t)t[i] << 15) - ((uint32_t)t[i] - t[i + 1]) * f;
    return (v >> 21) > 30 ? 0U : e >> (int)(v >> 21);
}

/* y = 32767 softmax(x); y may be x */
static void net_softmax(const int16_t *x, int16_t *y, int32_t n, int32_t m, int s, const uint16_t *t) {
    int32_t o;
    int32_t largest = x[0];
    uint64_t total = 0;
    for (o = 1; o < n; ++o) {
        largest = x[o] > largest ? x[o] : largest;
    }
    for (o = 0; o < n; ++o) {
        total += net_power(largest - x[o], m, s, t);
    }
    for (o = 0; o < n; ++o) {
        const uint64_t e = net_power(largest - x[o], m, s, t);
        y[o] = (int16_t)((e * 32767U + total / 2U) / total);
    }
}

/* an entry of a table for each 128th integer of 16 bits, and lines between them */
static int32_t net_line(const int16_t *t, int32_t q) {
    const int32_t u = q + 32768;
    return net_between(t[u >> 7], t[(u >> 7) + 1], u & 127);
}

/* floor(sqrt(v)) of 0 <= v < 2^62 */
static int64_t net_root(int64_t v) {
    int64_t r = 0;
    int64_t bit = INT64_C(1) << 60;
    while (bit != 0) {
        if (v >= r + bit) {
            v -= r + bit;
            r = (r >> 1) + bit;
        } else {
            r >>= 1;
        }
        bit >>= 2;
    }
    return r;
}

/* mean of x + 128, 8 bits behind the point, and 2^47 / (2^10 times the deviation of 2^8 x) */
static void net_moments8(const int8_t *x, int32_t n, int64_t epsilon, int64_t *mean, int64_t *inverse) {
    int32_t i;
    int64_t sum = 0;
    int64_t squares = 0;
    for (i = 0; i < n; ++i) {
        sum += ((int64_t)x[i] + 128) * 256;
    }
    *mean = (sum + n / 2) / n;
    for (i = 0; i < n; ++i) {
        const int64_t d = ((int64_t)x[i] + 128) * 256 - *mean;
        squares += d * d;
    }
    *inverse = (INT64_C(1) << 47) / net_root((squares / n + epsilon) * 1048576);
}

/* mean of x + 32768, 4 bits behind the point, and 2^47 / (2^10 times the deviation of 2^4 x) */
static void net_moments16(const int16_t *x, int32_t n, int64_t epsilon, int64_t *mean, int64_t *inverse) {
    int32_t i;
    int64_t sum = 0;
    int64_t squares = 0;
    for (i = 0; i < n; ++i) {
        sum += ((int64_t)x[i] + 32768) * 16;
    }
    *mean = (sum + n / 2) / n;
    for (i = 0; i < n; ++i) {
        const int64_t d = ((int64_t)x[i] + 32768) * 16 - *mean;
        squares += d * d;
    }
    *inverse = (INT64_C(1) << 47) / net_root((squares / n + epsilon) * 1048576);
}

/* zero + t / 2, rounded to the nearest, halves away from 0, in lo..hi; of a NaN: zero */
static int32_t net_nearest(float t, int32_t zero, int32_t lo, int32_t hi) {
    int32_t i;
    if (t >= (float)(2 * (hi - zero))) {
        return hi;
    }
    if (t <= (float)(2 * (lo - zero))) {
        return lo;
    }
    i = t == t ? (int32_t)t : 0;
    return net_clip(zero + (i >= 0 ? (i + 1) / 2 : (i - 1) / 2), lo, hi);
}
