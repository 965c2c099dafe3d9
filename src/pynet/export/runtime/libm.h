/* libm.h: elementary functions, from math.h. */

static net_real net_exp(net_real x) { return NET_M(exp)(x); }

static net_real net_expm1(net_real x) { return NET_M(expm1)(x); }

static net_real net_log1p(net_real x) { return NET_M(log1p)(x); }

static net_real net_tanh(net_real x) { return NET_M(tanh)(x); }

static net_real net_sin(net_real x) { return NET_M(sin)(x); }

static net_real net_atan(net_real x) { return NET_M(atan)(x); }

static net_real net_sqrt(net_real x) { return NET_M(sqrt)(x); }

static net_real net_normal_cdf(net_real x) { return NET_R(0.5) * NET_M(erfc)(NET_R(-0.70710678118654752440) * x); }
