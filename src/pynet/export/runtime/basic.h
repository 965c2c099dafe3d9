/* basic.h: copies, sums, scales, slopes. */

/* y = x; volatile, or a compiler would call memcpy, which a bare machine may not have */
static void net_copy(const net_real *x, net_real *y, uint32_t n) {
    volatile net_real *const to = y;
    uint32_t i;
    for (i = 0U; i < n; i++) {
        to[i] = x[i];
    }
}

/* y = 0; volatile: likewise memset */
static void net_clear(net_real *y, uint32_t n) {
    volatile net_real *const to = y;
    uint32_t i;
    for (i = 0U; i < n; i++) {
        to[i] = NET_R(0.0);
    }
}

static void net_add(const net_real *x, const net_real *x2, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = x[i] + x2[i];
    }
}

/* y = x - shift; step 0: one shift for all */
static void net_shift(const net_real *x, const net_real *shift, net_real *y, uint32_t n, uint32_t step) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = x[i] - shift[i * step];
    }
}

/* y = x scale; step 0: one scale for all */
static void net_scale(const net_real *x, const net_real *scale, net_real *y, uint32_t n, uint32_t step) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = x[i] * scale[i * step];
    }
}

/* y = (x - mean) factor + beta */
static void net_running_norm(const net_real *x, const net_real *mean, const net_real *factor, const net_real *beta,
                             net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = ((x[i] - mean[i]) * factor[i]) + beta[i];
    }
}

/* y = (x - mean of x) / sqrt(variance of x + epsilon) */
static void net_row_norm(const net_real *x, net_real *y, uint32_t n, net_real epsilon) {
    net_real mean = NET_R(0.0);
    net_real variance = NET_R(0.0);
    net_real inverse;
    uint32_t i;
    for (i = 0U; i < n; i++) {
        mean += x[i];
    }
    mean /= (net_real)n;
    for (i = 0U; i < n; i++) {
        const net_real d = x[i] - mean;
        variance += d * d;
    }
    inverse = NET_R(1.0) / net_sqrt((variance / (net_real)n) + epsilon);
    for (i = 0U; i < n; i++) {
        y[i] = (x[i] - mean) * inverse;
    }
}

/* y = x > 0 ? x : alpha x; step 0: one alpha for all */
static void net_prelu(const net_real *x, const net_real *alpha, net_real *y, uint32_t n, uint32_t step) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = (x[i] > NET_R(0.0)) ? x[i] : (alpha[i * step] * x[i]);
    }
}
