/* own_math.h: elementary functions without math.h.  The series are Taylor's own; a NaN stays a NaN. */

/* 2^n */
static net_real net_power_of_2(int32_t n) {
    net_real factor = (n < 0) ? NET_R(0.5) : NET_R(2.0);
    net_real power = NET_R(1.0);
    uint32_t left = (uint32_t)((n < 0) ? -n : n);
    while (left > 0U) {
        if ((left & 1U) != 0U) {
            power *= factor;
        }
        left >>= 1U;
        factor = (left > 0U) ? (factor * factor) : factor;
    }
    return power;
}

/* the whole number next to x, |x| < 2^31 */
static int32_t net_nearest(net_real x) { return (int32_t)((x < NET_R(0.0)) ? (x - NET_R(0.5)) : (x + NET_R(0.5))); }

/* (exp(r) - 1 - r) / r^2, |r| <= log(2) / 2 */
static net_real net_exp_tail(net_real r) {
    net_real sum = NET_R(1.0);
    uint32_t k;
    for (k = NET_EXP_TERMS; k > 2U; k--) {
        sum = NET_R(1.0) + ((sum * r) / (net_real)k);
    }
    return NET_R(0.5) * sum;
}

/* exp(x): x = n log 2 + r; 0 where it would be denormal */
static net_real net_exp(net_real x) {
    net_real y = x;
    if (x < NET_EXP_MIN) {
        y = NET_R(0.0);
    } else if (x <= NET_EXP_MAX) {
        const int32_t n = net_nearest(x * NET_R(1.44269504088896340736));
        const net_real r = (x - ((net_real)n * NET_LN2_HIGH)) - ((net_real)n * NET_LN2_LOW);
        y = NET_R(1.0) + (r + ((r * r) * net_exp_tail(r)));
        y = (y * net_power_of_2(n / 2)) * net_power_of_2(n - (n / 2)); /* 2^n alone may be too large */
    } else if (x > NET_EXP_MAX) {
        y = net_power_of_2(1024); /* infinite */
    } else {
        /* NaN */
    }
    return y;
}

/* exp(x) - 1 = 2^n (exp(r) - 1) + (2^n - 1), x <= 0 */
static net_real net_expm1(net_real x) {
    net_real y = x;
    if (x < NET_EXP_MIN) {
        y = NET_R(-1.0);
    } else if (x <= NET_R(0.0)) {
        const int32_t n = net_nearest(x * NET_R(1.44269504088896340736));
        const net_real r = (x - ((net_real)n * NET_LN2_HIGH)) - ((net_real)n * NET_LN2_LOW);
        const net_real p = net_power_of_2(n);
        y = (p * (r + ((r * r) * net_exp_tail(r)))) + (p - NET_R(1.0));
    } else {
        /* NaN */
    }
    return y;
}

/* log(1 + x) = 2 artanh(x / (2 + x)), 0 <= x <= 1 */
static net_real net_log1p(net_real x) {
    const net_real s = x / (NET_R(2.0) + x);
    const net_real z = s * s;
    net_real sum = NET_R(0.0);
    uint32_t k;
    for (k = NET_LOG_TERMS; k > 0U; k--) {
        sum = z * ((NET_R(1.0) / (net_real)((2U * k) + 1U)) + sum);
    }
    return NET_R(2.0) * (s + (s * sum));
}

/* tanh |x| = -e / (2 + e), e = exp(-2 |x|) - 1 */
static net_real net_tanh(net_real x) {
    const net_real e = net_expm1((x < NET_R(0.0)) ? (NET_R(2.0) * x) : (NET_R(-2.0) * x));
    const net_real y = e / (NET_R(2.0) + e);
    return (x < NET_R(0.0)) ? y : -y;
}

/* sin(x): x = n pi/2 + r, |r| <= pi/4; 0 where that is not exact enough, NaN of an infinite x */
static net_real net_sin(net_real x) {
    net_real y = x - x;
    if ((x > -NET_SIN_MAX) && (x < NET_SIN_MAX)) {
        const int32_t n = net_nearest(x * NET_R(0.63661977236758134308));
        const net_real m = (net_real)n;
        const net_real r = ((x - (m * NET_HALF_PI_1)) - (m * NET_HALF_PI_2)) - (m * NET_HALF_PI_3);
        const net_real z = r * r;
        const uint32_t quadrant = (uint32_t)n & 3U;
        const uint32_t odd = (quadrant & 1U) ^ 1U; /* of a sine the powers 1, 3, 5 ... of r, of a cosine 0, 2, 4 ... */
        net_real sum = NET_R(1.0);
        uint32_t k;
        for (k = NET_SIN_TERMS; k > 0U; k--) {
            sum = NET_R(1.0) - ((sum * z) / (net_real)((2U * k) * ((2U * k) + odd + odd - 1U)));
        }
        y = (odd != 0U) ? (r * sum) : sum;
        y = (quadrant > 1U) ? -y : y;
    }
    return y;
}

/* atan(x): |x| folded into 0..tan(pi/8) */
static net_real net_atan(net_real x) {
    const net_real size = (x < NET_R(0.0)) ? -x : x;
    net_real t = (size > NET_R(1.0)) ? (NET_R(1.0) / size) : size;
    net_real base = NET_R(0.0);
    net_real sum = NET_R(0.0);
    net_real z;
    uint32_t k;
    if (t > NET_R(0.41421356237309504880)) {
        base = NET_R(0.78539816339744830962);
        t = (t - NET_R(1.0)) / (t + NET_R(1.0));
    }
    z = t * t;
    for (k = NET_ATAN_TERMS; k > 0U; k--) {
        sum = -z * ((NET_R(1.0) / (net_real)((2U * k) + 1U)) + sum);
    }
    t = base + (t + (t * sum));
    t = (size > NET_R(1.0)) ? (NET_R(1.57079632679489661923) - t) : t;
    return (x < NET_R(0.0)) ? -t : t;
}

/* the square root of x >= 0: brought to 1/4..1 by powers of 4, then Heron's method */
static net_real net_sqrt(net_real x) {
    net_real y = x;
    if ((x > NET_R(0.0)) && ((x - x) <= NET_R(0.0))) {
        net_real m = x;
        net_real factor = NET_R(1.0);
        uint32_t k;
        while (m > NET_R(1.0)) {
            m *= NET_R(0.25);
            factor *= NET_R(2.0);
        }
        while (m < NET_R(0.25)) {
            m *= NET_R(4.0);
            factor *= NET_R(0.5);
        }
        y = NET_R(0.5) + (NET_R(0.5) * m);
        for (k = 0U; k < 5U; k++) {
            y = NET_R(0.5) * (y + (m / y));
        }
        y *= factor;
    }
    return y;
}

/* Phi(x) = 1/2 + phi(x) (x + x^3/3 + x^5/(3 5) + ...) (Marsaglia 2004, Evaluating the normal distribution) */
static net_real net_normal_cdf(net_real x) {
    net_real y = x;
    if (x <= -NET_NORMAL_END) {
        y = NET_R(0.0);
    } else if (x >= NET_NORMAL_END) {
        y = NET_R(1.0);
    } else {
        net_real term = x;
        net_real sum = x;
        uint32_t k;
        for (k = 1U; k < NET_NORMAL_TERMS; k++) {
            term *= (x * x) / (net_real)((2U * k) + 1U);
            sum += term;
        }
        y = NET_R(0.5) + ((NET_R(0.39894228040143267794) * net_exp(NET_R(-0.5) * (x * x))) * sum);
    }
    return y;
}
