/* activations.h: the rows of csrc/activations.def, each as a loop; y may be x.  A NaN stays a NaN. */

static net_real net_abs(net_real x) { return (x < NET_R(0.0)) ? -x : x; }

static net_real net_cut(net_real x, net_real low, net_real high) { return (x < low) ? low : ((x > high) ? high : x); }

/* e = exp(-|x|), in 0..1:  1 / (1 + e), or e / (1 + e) left of 0 */
static net_real net_sigmoid(net_real x) {
    const net_real e = net_exp(-net_abs(x));
    return ((x < NET_R(0.0)) ? e : NET_R(1.0)) / (NET_R(1.0) + e);
}

/* log(1 + exp(x)) = max(0, x) + log(1 + exp(-|x|)) */
static net_real net_softplus(net_real x) {
    return ((x < NET_R(0.0)) ? NET_R(0.0) : x) + net_log1p(net_exp(-net_abs(x)));
}

/* 1 where x > 0, else 0 */
static void net_act_step(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = (x[i] > NET_R(0.0)) ? NET_R(1.0) : ((x[i] <= NET_R(0.0)) ? NET_R(0.0) : x[i]);
    }
}

/* 1 / (1 + exp(-x)) */
static void net_act_sigmoid(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = net_sigmoid(x[i]);
    }
}

static void net_act_tanh(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = net_tanh(x[i]);
    }
}

/* tanh x + a x */
static void net_act_lecun_tanh(const net_real *x, net_real *y, uint32_t n, net_real a) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = net_tanh(x[i]) + (a * x[i]);
    }
}

/* 1.7159 tanh(2x/3) */
static void net_act_scaled_tanh(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = NET_R(1.7159) * net_tanh((NET_R(2.0) / NET_R(3.0)) * x[i]);
    }
}

/* max(0, x) */
static void net_act_relu(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = (x[i] < NET_R(0.0)) ? NET_R(0.0) : x[i];
    }
}

/* x where x >= 0, else alpha x */
static void net_act_leaky_relu(const net_real *x, net_real *y, uint32_t n, net_real alpha) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = (x[i] < NET_R(0.0)) ? (alpha * x[i]) : x[i];
    }
}

/* x where x >= 0, else alpha (exp(x) - 1) */
static void net_act_elu(const net_real *x, net_real *y, uint32_t n, net_real alpha) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = (x[i] < NET_R(0.0)) ? (alpha * net_expm1(x[i])) : x[i];
    }
}

/* 1.0507 elu(x, 1.6733) */
static void net_act_selu(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = NET_R(1.0507009873554805) * ((x[i] < NET_R(0.0)) ? (NET_R(1.6732632423543772) * net_expm1(x[i])) : x[i]);
    }
}

/* x Phi(x) */
static void net_act_gelu(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = x[i] * net_normal_cdf(x[i]);
    }
}

/* x sigmoid(x) */
static void net_act_silu(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = x[i] * net_sigmoid(x[i]);
    }
}

/* x tanh(softplus x) */
static void net_act_mish(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = x[i] * net_tanh(net_softplus(x[i]));
    }
}

/* log(1 + exp(x)) */
static void net_act_softplus(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = net_softplus(x[i]);
    }
}

/* x / (1 + |x|) */
static void net_act_softsign(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = x[i] / (NET_R(1.0) + net_abs(x[i]));
    }
}

static void net_act_arctan(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = net_atan(x[i]);
    }
}

/* (sqrt(x^2 + 1) - 1) / 2 + x */
static void net_act_bent_identity(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = (NET_R(0.5) * (net_sqrt((x[i] * x[i]) + NET_R(1.0)) - NET_R(1.0))) + x[i];
    }
}

/* x/6 + 1/2, cut to 0..1 */
static void net_act_hard_sigmoid(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = net_cut((x[i] / NET_R(6.0)) + NET_R(0.5), NET_R(0.0), NET_R(1.0));
    }
}

/* x, cut to -1..1 */
static void net_act_hard_tanh(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = net_cut(x[i], NET_R(-1.0), NET_R(1.0));
    }
}

/* x relu6(x + 3) / 6 */
static void net_act_hard_swish(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = x[i] * (net_cut(x[i] + NET_R(3.0), NET_R(0.0), NET_R(6.0)) / NET_R(6.0));
    }
}

static void net_act_sinusoid(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = net_sin(x[i]);
    }
}

/* sin(x) / x, 1 at 0 */
static void net_act_sinc(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = ((x[i] < NET_R(0.0)) || (x[i] > NET_R(0.0))) ? (net_sin(x[i]) / x[i]) : (x[i] + NET_R(1.0));
    }
}

/* exp(-x^2) */
static void net_act_gaussian(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = net_exp(-(x[i] * x[i]));
    }
}

/* x / sqrt(1 + alpha x^2) */
static void net_act_isru(const net_real *x, net_real *y, uint32_t n, net_real alpha) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = x[i] / net_sqrt(NET_R(1.0) + (alpha * (x[i] * x[i])));
    }
}

/* 3/4 (1 - x^2) where |x| <= 1, else 0 */
static void net_act_epanechnikov(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = (net_abs(x[i]) > NET_R(1.0)) ? NET_R(0.0) : (NET_R(0.75) * (NET_R(1.0) - (x[i] * x[i])));
    }
}

/* 1 - |x| where |x| <= 1, else 0 */
static void net_act_triangular(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = (net_abs(x[i]) > NET_R(1.0)) ? NET_R(0.0) : (NET_R(1.0) - net_abs(x[i]));
    }
}

/* 15/16 (1 - x^2)^2 where |x| <= 1, else 0 */
static void net_act_quartic(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        const net_real t = NET_R(1.0) - (x[i] * x[i]);
        y[i] = (net_abs(x[i]) > NET_R(1.0)) ? NET_R(0.0) : (NET_R(0.9375) * (t * t));
    }
}

/* 70/81 (1 - |x|^3)^3 where |x| <= 1, else 0 */
static void net_act_tricube(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        const net_real size = net_abs(x[i]);
        const net_real t = NET_R(1.0) - ((size * size) * size);
        y[i] = (size > NET_R(1.0)) ? NET_R(0.0) : ((NET_R(70.0) / NET_R(81.0)) * ((t * t) * t));
    }
}

/* 1/2 where |x| <= 1, else 0 */
static void net_act_rectangular(const net_real *x, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        y[i] = (net_abs(x[i]) > NET_R(1.0)) ? NET_R(0.0) : (NET_R(0.5) + (NET_R(0.0) * x[i]));
    }
}

/* exp(x) / sum of exp(x), both over exp(greatest x) */
static void net_act_softmax(const net_real *x, net_real *y, uint32_t n) {
    net_real greatest = x[0];
    net_real sum = NET_R(0.0);
    uint32_t i;
    for (i = 1U; i < n; i++) {
        greatest = (x[i] > greatest) ? x[i] : greatest;
    }
    for (i = 0U; i < n; i++) {
        y[i] = net_exp(x[i] - greatest);
        sum += y[i];
    }
    for (i = 0U; i < n; i++) {
        y[i] /= sum;
    }
}
