/* vmath.h: elementary functions in vector words: the same operations, so the same bits, on every FMA ISA.
 *
 * The series are Taylor's own (1/k!, 1/(2k+1)): anybody can check them, and the reduced arguments are small
 * enough that they need few terms more than minimax fits.  Errors in units of the last place, as measured against
 * 50 digits by tests/test_vmath.py over the working range, float32 and float64 alike:
 *   exp 2, expm1 2, log1p 3, tanh 3, sigmoid 3, atan 3; sin and cos 3 for |x| < 1e4 (float32: near their zeros 1e-9
 *   absolute); normcdf 1e-7 (float32), 1e-15 (float64) absolute.
 * Numbers below REAL_MIN become 0. */
#ifndef PN_VMATH_H
#define PN_VMATH_H
#include "simd.h"

#if defined(PN_DTYPE_f64)
#define EXP_TERMS  13
#define LOG_TERMS  11
#define TRIG_TERMS 9
#define ATAN_TERMS 21
#define EXP_MAX    R(709)
#define EXP_MIN    R(-708.39)
static const real ln2_hi = 6.93145751953125e-1, ln2_lo = 1.42860682030941723212e-6;
static const real half_pi[3] = {1.57079632673412561417, 6.07710050630396597660e-11, 2.02226624879595063154e-21};
#else
#define EXP_TERMS  7
#define LOG_TERMS  5
#define TRIG_TERMS 5
#define ATAN_TERMS 10
#define EXP_MAX    R(88)
#define EXP_MIN    R(-87.33)
static const real ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
static const real half_pi[3] = {1.5703125f, 4.837512969970703125e-4f, 7.54978995489188216e-8f};
#endif

/* clang-format off */
static const double inverse_factorial[] = {1, 1, 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320,
    1. / 362880, 1. / 3628800, 1. / 39916800, 1. / 479001600, 1. / 6227020800, 1. / 87178291200, 1. / 1307674368000,
    1. / 20922789888000, 1. / 355687428096000, 1. / 6402373705728000};
/* clang-format on */

/* ---- exponentials: x = n log 2 + r, |r| <= log(2)/2 ------------------------------------------------ */

typedef struct reduced {
    vec n, r, tail; /* exp(r) = 1 + r + r^2 tail */
} reduced;
PN_INLINE reduced exp_reduce(vec x) {
    reduced e;
    e.n = vround(vmul(x, vset(R(1.44269504088896340736))));
    e.r = vfnma(e.n, vset(ln2_lo), vfnma(e.n, vset(ln2_hi), x));
    e.tail = vset(R(inverse_factorial[EXP_TERMS]));
#pragma GCC unroll 16
    for (int k = EXP_TERMS - 1; k >= 2; k--) e.tail = vfma(e.tail, e.r, vset(R(inverse_factorial[k])));
    return e;
}
/* exp, saturating at exp(EXP_MAX) */
PN_INLINE vec vexp(vec x) {
    reduced e = exp_reduce(vmin(vset(EXP_MAX), x));
    vec y = vfma(vmul(e.r, e.r), e.tail, vadd(e.r, vset(1)));
    return vsel(vlt(x, vset(EXP_MIN)), vset(0), vmul(y, vpow2(e.n)));
}
/* exp(x) - 1 = 2^n (exp(r) - 1) + (2^n - 1) */
PN_INLINE vec vexpm1(vec x) {
    reduced e = exp_reduce(vmin(vset(EXP_MAX), vmax(vset(EXP_MIN), x)));
    vec p = vpow2(e.n), y = vfma(vmul(e.r, e.r), e.tail, e.r);
    return vfma(p, y, vsub(p, vset(1)));
}

/* ---- logarithm of a normal x > 0: x = 2^e m, log m = 2 artanh s, s = (m-1)/(m+1), |s| <= 0.172 ------- */
PN_SHARED vec vlog(vec x) {
    vec e = vexponent(x), m = vmantissa(x);
    mask big = vlt(vset(R(1.41421356237309504880)), m);
    m = vsel(big, vmul(m, vset(R(0.5))), m);
    e = vsel(big, vadd(e, vset(1)), e);
    vec s = vdiv(vsub(m, vset(1)), vadd(m, vset(1))), z = vmul(s, s);
    vec t = vset(R(2) / R(2 * LOG_TERMS + 1));
#pragma GCC unroll 16
    for (int k = LOG_TERMS - 1; k >= 1; k--) t = vfma(t, z, vset(R(2) / R(2 * k + 1)));
    t = vfma(vmul(t, z), s, vmul(e, vset(ln2_lo))); /* small parts first */
    return vfma(e, vset(ln2_hi), vadd(vadd(s, s), t));
}
/* log(1 + x), x >= 0: the rounding of 1 + x is put back */
PN_INLINE vec vlog1p(vec x) {
    vec u = vadd(vset(1), x);
    return vadd(vlog(u), vdiv(vsub(x, vsub(u, vset(1))), u));
}

/* ---- the sigmoid family --------------------------------------------------------------------------- */
PN_INLINE vec vtanh(vec x) { /* -e/(2+e), e = expm1(-2|x|) */
    vec e = vexpm1(vmul(vset(-2), vabs(x)));
    return vcopysign(vdiv(e, vadd(vset(2), e)), x);
}
PN_INLINE vec vsigmoid(vec x) { /* e = exp(-|x|):  1/(1+e), or e/(1+e) left of 0 */
    vec e = vexp(vneg(vabs(x)));
    return vdiv(vsel(vlt(x, vset(0)), e, vset(1)), vadd(vset(1), e));
}
PN_INLINE vec vsoftplus(vec x) { return vadd(vmax(vset(0), x), vlog1p(vexp(vneg(vabs(x))))); }

/* Phi(x) = erfc(-x/sqrt 2)/2, with erfc(z) = exp(-z^2) P(u)/(1+z), u = (z-3)/(z+3): a Chebyshev fit of
 * (1+z) erfcx(z) on [0, inf), relative error 4e-9 (float32) and 2e-17 (float64). */
#if defined(PN_DTYPE_f64)
static const real erfcx_fit[] = {
    0.71600460472555980168,    -0.23092733308380916052,    0.099020753679439995566,     -0.010235388899012471069,
    -0.023803913108663481876,  0.021957764012783056911,    -0.0097506892929345546116,   0.0016185691256145799506,
    0.00064581420581202849091, -0.00036728847149003708384, -0.000020551626575237133893, 0.000056119350614181310265,
    -1.5143011984802884979e-6, -8.9900311341039701003e-6,  2.6042539175396707328e-7,    1.5887263315149600643e-6,
    6.1221587762322846754e-8,  -2.9342731506504447929e-7,  -4.7509319686612514546e-8,   5.0982190709594802682e-8,
    1.6580063772472425168e-8,  -7.0683803845486592084e-9,  -3.6160599174792616382e-9,   5.5748532572563973641e-10,
    3.9077439202435873067e-10};
#else
static const real erfcx_fit[] = {0.716004605f,    -0.2309273304f,    0.09902073074f,   -0.01023558319f,
                                 -0.02380363719f, 0.02196005858f,    -0.009751940432f, 0.001608528206f,
                                 0.000648502142f, -0.0003469597742f, -2.346834153e-5f, 3.60806463e-5f};
#endif
#define ERFCX_TERMS ((int)(sizeof erfcx_fit / sizeof erfcx_fit[0]))
PN_SHARED vec vgauss(vec x) { /* exp(-x^2/2), the rounding of x^2 put back; 0 from 40 on */
    x = vmin(vset(40), vabs(x));
    vec s = vmul(x, x), low = vfma(x, x, vneg(s));
    return vmul(vexp(vmul(vset(R(-0.5)), s)), vfnma(vset(R(0.5)), low, vset(1)));
}
PN_SHARED vec vnormcdf(vec x) {
    vec z = vmin(vset(40), vmul(vabs(x), vset(R(0.70710678118654752440))));
    vec u = vdiv(vsub(z, vset(3)), vadd(z, vset(3))), p = vset(erfcx_fit[ERFCX_TERMS - 1]);
#pragma GCC unroll 32
    for (int k = ERFCX_TERMS - 2; k >= 0; k--) p = vfma(p, u, vset(erfcx_fit[k]));
    vec q = vmul(vset(R(0.5)), vdiv(vmul(vgauss(x), p), vadd(vset(1), z)));
    return vsel(vlt(x, vset(0)), q, vsub(vset(1), q));
}

/* ---- sine and cosine: x = n pi/2 + r, |r| <= pi/4; beyond |x| ~ 1e6 (1e15) the reduction loses its meaning - */
typedef struct trig {
    vec sine, cosine, k; /* of r; quadrant k in -2..2 */
} trig;
PN_INLINE trig trig_reduce(vec x) {
    vec n = vround(vmul(x, vset(R(0.63661977236758134308))));
    vec r = vfnma(n, vset(half_pi[2]), vfnma(n, vset(half_pi[1]), vfnma(n, vset(half_pi[0]), x)));
    r = vmin(vset(R(0.8)), vmax(vset(R(-0.8)), r));
    vec z = vneg(vmul(r, r)), s = vset(R(inverse_factorial[2 * TRIG_TERMS - 1])),
        c = vset(R(inverse_factorial[2 * TRIG_TERMS]));
#pragma GCC unroll 16
    for (int k = TRIG_TERMS - 2; k >= 1; k--) s = vfma(s, z, vset(R(inverse_factorial[2 * k + 1])));
#pragma GCC unroll 16
    for (int k = TRIG_TERMS - 1; k >= 1; k--) c = vfma(c, z, vset(R(inverse_factorial[2 * k])));
    trig t = {vfma(vmul(r, z), s, r), vfma(z, c, vset(1)), vfnma(vset(4), vround(vmul(n, vset(R(0.25)))), n)};
    return t;
}
PN_SHARED vec vsin(vec x) { /* k: 0 sin r, 1 cos r, 2 -sin r, -1 -cos r */
    trig t = trig_reduce(x);
    vec y = vsel(veq(vabs(t.k), vset(1)), t.cosine, t.sine);
    return vsel(veq(vabs(t.k), vset(2)), vneg(y), vsel(veq(t.k, vset(-1)), vneg(y), y));
}
PN_SHARED vec vcos(vec x) { /* k: 0 cos r, 1 -sin r, 2 -cos r, -1 sin r */
    trig t = trig_reduce(x);
    vec y = vsel(veq(vabs(t.k), vset(1)), t.sine, t.cosine);
    return vsel(veq(vabs(t.k), vset(2)), vneg(y), vsel(veq(t.k, vset(1)), vneg(y), y));
}

/* ---- arctangent: |x| folded into [0, tan pi/8] ------------------------------------------------------ */
PN_SHARED vec vatan(vec x) {
    vec t = vabs(x), base = vset(0), sign = vset(1);
    mask big = vlt(vset(1), t); /* atan t = pi/2 - atan 1/t */
    t = vsel(big, vdiv(vset(1), t), t);
    base = vsel(big, vset(R(1.57079632679489661923)), base);
    sign = vsel(big, vset(-1), sign);
    mask mid = vlt(vset(R(0.41421356237309504880)), t); /* atan t = pi/4 + atan (t-1)/(t+1) */
    base = vsel(mid, vfma(sign, vset(R(0.78539816339744830962)), base), base);
    t = vsel(mid, vdiv(vsub(t, vset(1)), vadd(t, vset(1))), t);
    vec z = vneg(vmul(t, t)), s = vset(R(1) / R(2 * ATAN_TERMS + 1));
#pragma GCC unroll 32
    for (int k = ATAN_TERMS - 1; k >= 1; k--) s = vfma(s, z, vset(R(1) / R(2 * k + 1)));
    return vcopysign(vfma(sign, vfma(vmul(t, z), s, t), base), x);
}
#endif
