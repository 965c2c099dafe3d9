/* simd.h: the vocabulary in which every kernel is written; the only file that includes an intrinsics header.
 *
 *   vec    VLEN lanes of `real`;  mask: what a comparison returns
 *   vset vload vstore vadd vsub vmul vdiv vsqrt vfma(a,b,c)=ab+c vfnma(a,b,c)=c-ab
 *   vmax(a,b) = a > b ? a : b   vmin(a,b) = a < b ? a : b     (so a NaN in b comes out, everywhere alike)
 *   vabs vneg vcopysign(magnitude, sign) vlt vle veq vsel(mask,a,b) viota
 *   vpow2(n) = 2^n for integral n in the normal range;  vexponent, vmantissa: x = mantissa 2^exponent, in [1,2)
 *   vtranspose(r): VLEN vectors, rows of a square, become its columns
 *   vpick(sight, at): of the 32 numbers in sight, in each lane number at[lane] % 32, at bytes
 *   sight  32 numbers: their address, or the numbers in registers (SIGHT_IN_REGISTERS): vsee(p) those from p on,
 *          vslide(s, p, on) those from p on, which is 16 `on` further than what s sees, `on` 0 or 1
 *   wide   64-bit lanes: wset wload wxor whigh(a) = a >> 32, wmul(a,b) = product of the low halves;
 *          wjoin(even, odd): their low halves, one for each lane of a vec (f64: of `even` alone)
 *
 * Scalar has no fused multiply-add: its vfma rounds twice.  All others agree with each other bit for bit. */
#ifndef PN_SIMD_H
#define PN_SIMD_H

#include "../core.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define PN_INLINE static inline __attribute__((always_inline, unused))
#define PN_SHARED static __attribute__((noinline, unused)) /* long, and used in many places */
#define R(x)      ((real)(x))

#if defined(PN_DTYPE_f64)
#define REAL_MIN      DBL_MIN
#define REAL_MAX      DBL_MAX
#define REAL_BIAS     1023
#define REAL_MANTISSA 52
#define REAL_ROUND    6755399441055744.0 /* 1.5 * 2^52: x + it - it rounds x to the nearest integer */
typedef uint64_t bits;
#else
#define REAL_MIN      FLT_MIN
#define REAL_MAX      FLT_MAX
#define REAL_BIAS     127
#define REAL_MANTISSA 23
#define REAL_ROUND    12582912.0f /* 1.5 * 2^23 */
typedef uint32_t bits;
#endif

/* ---- AVX-512 ------------------------------------------------------------------------------------- */
#if defined(PN_ISA_avx512)
#include <immintrin.h>
#define TILE_ROWS 14
#define TILE_VECS 2
#if defined(PN_DTYPE_f64)
#define VLEN 8
typedef __m512d vec;
typedef __mmask8 mask;
typedef __m512i ivec;
#define W(op)           _mm512_##op##_pd
#define TO_BITS(x)      _mm512_castpd_si512(x)
#define TO_REAL(x)      _mm512_castsi512_pd(x)
#define SHL(x, n)       _mm512_slli_epi64(x, n)
#define SHR(x, n)       _mm512_srli_epi64(x, n)
#define SETBITS(x)      _mm512_set1_epi64((long long)(x))
#define VCMP(a, b, how) _mm512_cmp_pd_mask(a, b, how)
PN_INLINE vec viota(void) { return _mm512_set_pd(7, 6, 5, 4, 3, 2, 1, 0); }
PN_INLINE vec vpick(const real *p, const uint8_t *at) {
    const ivec i = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)at));
    const vec low = _mm512_permutex2var_pd(_mm512_loadu_pd(p), i, _mm512_loadu_pd(p + 8));
    const vec high = _mm512_permutex2var_pd(_mm512_loadu_pd(p + 16), i, _mm512_loadu_pd(p + 24));
    return _mm512_mask_blend_pd(_mm512_test_epi64_mask(i, SETBITS(16)), low, high);
}
#else
#define VLEN            16
typedef __m512 vec;
typedef __mmask16 mask;
typedef __m512i ivec;
#define W(op)           _mm512_##op##_ps
#define TO_BITS(x)      _mm512_castps_si512(x)
#define TO_REAL(x)      _mm512_castsi512_ps(x)
#define SHL(x, n)       _mm512_slli_epi32(x, n)
#define SHR(x, n)       _mm512_srli_epi32(x, n)
#define SETBITS(x)      _mm512_set1_epi32((int)(x))
#define VCMP(a, b, how) _mm512_cmp_ps_mask(a, b, how)
PN_INLINE vec viota(void) { return _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0); }
typedef struct sight {
    vec low, high;
} sight;
PN_INLINE sight vsee(const real *p) { return (sight){_mm512_loadu_ps(p), _mm512_loadu_ps(p + 16)}; }
PN_INLINE sight vslide(sight s, const real *p, uint32_t on) {
    return (sight){_mm512_mask_blend_ps((__mmask16)-on, s.low, s.high), _mm512_loadu_ps(p + 16)};
}
PN_INLINE vec vpick(sight s, const uint8_t *at) {
    const ivec i = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)at));
    return _mm512_permutex2var_ps(s.low, i, s.high);
}
#define SIGHT_IN_REGISTERS
#endif
#define IAND(a, b) _mm512_and_si512(a, b)
#define IOR(a, b)  _mm512_or_si512(a, b)
PN_INLINE mask vlt(vec a, vec b) { return VCMP(a, b, _CMP_LT_OQ); }
PN_INLINE mask vle(vec a, vec b) { return VCMP(a, b, _CMP_LE_OQ); }
PN_INLINE mask veq(vec a, vec b) { return VCMP(a, b, _CMP_EQ_OQ); }
PN_INLINE vec vsel(mask m, vec a, vec b) { return W(mask_blend)(m, b, a); }
typedef __m512i wide;
PN_INLINE wide wset(uint64_t x) { return _mm512_set1_epi64((long long)x); }
PN_INLINE wide wload(const uint64_t *p) { return _mm512_loadu_si512(p); }
PN_INLINE wide wxor(wide a, wide b) { return _mm512_xor_si512(a, b); }
PN_INLINE wide whigh(wide a) { return _mm512_srli_epi64(a, 32); }
PN_INLINE wide wmul(wide a, wide b) { return _mm512_mul_epu32(a, b); }
#if !defined(PN_DTYPE_f64)
PN_INLINE ivec wjoin(wide even, wide odd) { return _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32)); }
#endif
#define X86_WORDS

/* ---- AVX2 + FMA ---------------------------------------------------------------------------------- */
#elif defined(PN_ISA_avx2)
#include <immintrin.h>
#define TILE_ROWS 6
#define TILE_VECS 2
#if defined(PN_DTYPE_f64)
#define VLEN       4
typedef __m256d vec;
typedef __m256d mask;
typedef __m256i ivec;
#define W(op)      _mm256_##op##_pd
#define TO_BITS(x) _mm256_castpd_si256(x)
#define TO_REAL(x) _mm256_castsi256_pd(x)
#define SHL(x, n)  _mm256_slli_epi64(x, n)
#define SHR(x, n)  _mm256_srli_epi64(x, n)
#define SETBITS(x) _mm256_set1_epi64x((long long)(x))
PN_INLINE vec viota(void) { return _mm256_set_pd(3, 2, 1, 0); }
PN_INLINE vec vpick(const real *p, const uint8_t *at) {
    return _mm256_set_pd(p[at[3] & 31], p[at[2] & 31], p[at[1] & 31], p[at[0] & 31]);
}
#else
#define VLEN       8
typedef __m256 vec;
typedef __m256 mask;
typedef __m256i ivec;
#define W(op)      _mm256_##op##_ps
#define TO_BITS(x) _mm256_castps_si256(x)
#define TO_REAL(x) _mm256_castsi256_ps(x)
#define SHL(x, n)  _mm256_slli_epi32(x, n)
#define SHR(x, n)  _mm256_srli_epi32(x, n)
#define SETBITS(x) _mm256_set1_epi32((int)(x))
PN_INLINE vec viota(void) { return _mm256_set_ps(7, 6, 5, 4, 3, 2, 1, 0); }
PN_INLINE vec vpick(const real *p, const uint8_t *at) { /* bits 3 and 4 of an index say which eight of the 32 */
    const ivec i = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)at));
    const vec bit3 = TO_REAL(SHL(i, 28)), bit4 = TO_REAL(SHL(i, 27));
    const vec a = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p), i);
    const vec b = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p + 8), i);
    const vec c = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p + 16), i);
    const vec d = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p + 24), i);
    return _mm256_blendv_ps(_mm256_blendv_ps(a, b, bit3), _mm256_blendv_ps(c, d, bit3), bit4);
}
#endif
#define IAND(a, b) _mm256_and_si256(a, b)
#define IOR(a, b)  _mm256_or_si256(a, b)
PN_INLINE mask vlt(vec a, vec b) { return W(cmp)(a, b, _CMP_LT_OQ); }
PN_INLINE mask vle(vec a, vec b) { return W(cmp)(a, b, _CMP_LE_OQ); }
PN_INLINE mask veq(vec a, vec b) { return W(cmp)(a, b, _CMP_EQ_OQ); }
PN_INLINE vec vsel(mask m, vec a, vec b) { return W(blendv)(b, a, m); }
typedef __m256i wide;
PN_INLINE wide wset(uint64_t x) { return _mm256_set1_epi64x((long long)x); }
PN_INLINE wide wload(const uint64_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
PN_INLINE wide wxor(wide a, wide b) { return _mm256_xor_si256(a, b); }
PN_INLINE wide whigh(wide a) { return _mm256_srli_epi64(a, 32); }
PN_INLINE wide wmul(wide a, wide b) { return _mm256_mul_epu32(a, b); }
#if !defined(PN_DTYPE_f64)
PN_INLINE ivec wjoin(wide even, wide odd) { return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa); }
#endif
#define X86_WORDS

/* ---- NEON (aarch64) ------------------------------------------------------------------------------ */
#elif defined(PN_ISA_neon)
#include <arm_neon.h>
#define TILE_ROWS 6
#define TILE_VECS 4
#if defined(PN_DTYPE_f64)
#define VLEN       2
typedef float64x2_t vec;
typedef uint64x2_t mask;
typedef uint64x2_t ivec;
#define W(op)      op##q_f64
#define TO_BITS(x) vreinterpretq_u64_f64(x)
#define TO_REAL(x) vreinterpretq_f64_u64(x)
#define SHL(x, n)  vshlq_n_u64(x, n)
#define SHR(x, n)  vshrq_n_u64(x, n)
#define SETBITS(x) vdupq_n_u64(x)
#define IAND(a, b) vandq_u64(a, b)
#define IOR(a, b)  vorrq_u64(a, b)
PN_INLINE vec vset(real x) { return vdupq_n_f64(x); }
PN_INLINE vec viota(void) { return (vec){0, 1}; }
PN_INLINE vec vpick(const real *p, const uint8_t *at) { return (vec){p[at[0] & 31], p[at[1] & 31]}; }
#else
#define VLEN       4
typedef float32x4_t vec;
typedef uint32x4_t mask;
typedef uint32x4_t ivec;
#define W(op)      op##q_f32
#define TO_BITS(x) vreinterpretq_u32_f32(x)
#define TO_REAL(x) vreinterpretq_f32_u32(x)
#define SHL(x, n)  vshlq_n_u32(x, n)
#define SHR(x, n)  vshrq_n_u32(x, n)
#define SETBITS(x) vdupq_n_u32(x)
#define IAND(a, b) vandq_u32(a, b)
#define IOR(a, b)  vorrq_u32(a, b)
PN_INLINE vec vset(real x) { return vdupq_n_f32(x); }
PN_INLINE vec viota(void) { return (vec){0, 1, 2, 3}; }
PN_INLINE vec vpick(const real *p, const uint8_t *at) {
    return (vec){p[at[0] & 31], p[at[1] & 31], p[at[2] & 31], p[at[3] & 31]};
}
#endif
PN_INLINE vec vload(const real *p) { return W(vld1)(p); }
PN_INLINE void vstore(real *p, vec a) { W(vst1)(p, a); }
PN_INLINE vec vadd(vec a, vec b) { return W(vadd)(a, b); }
PN_INLINE vec vsub(vec a, vec b) { return W(vsub)(a, b); }
PN_INLINE vec vmul(vec a, vec b) { return W(vmul)(a, b); }
PN_INLINE vec vdiv(vec a, vec b) { return W(vdiv)(a, b); }
PN_INLINE vec vsqrt(vec a) { return W(vsqrt)(a); }
PN_INLINE vec vfma(vec a, vec b, vec c) { return W(vfma)(c, a, b); }
PN_INLINE vec vfnma(vec a, vec b, vec c) { return W(vfms)(c, a, b); }
PN_INLINE mask vlt(vec a, vec b) { return W(vclt)(a, b); }
PN_INLINE mask vle(vec a, vec b) { return W(vcle)(a, b); }
PN_INLINE mask veq(vec a, vec b) { return W(vceq)(a, b); }
PN_INLINE vec vsel(mask m, vec a, vec b) { return W(vbsl)(m, a, b); }
PN_INLINE vec vmax(vec a, vec b) { return vsel(vlt(b, a), a, b); }
PN_INLINE vec vmin(vec a, vec b) { return vsel(vlt(a, b), a, b); }
typedef uint64x2_t wide;
PN_INLINE wide wset(uint64_t x) { return vdupq_n_u64(x); }
PN_INLINE wide wload(const uint64_t *p) { return vld1q_u64(p); }
PN_INLINE wide wxor(wide a, wide b) { return veorq_u64(a, b); }
PN_INLINE wide whigh(wide a) { return vshrq_n_u64(a, 32); }
PN_INLINE wide wmul(wide a, wide b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); }
#if !defined(PN_DTYPE_f64)
PN_INLINE ivec wjoin(wide even, wide odd) {
    return vtrn1q_u32(vreinterpretq_u32_u64(even), vreinterpretq_u32_u64(odd));
}
#endif

/* ---- scalar: one lane, no fma; the fallback, and the slow exact twin inside C -------------------- */
#else
#define TILE_ROWS  2
#define TILE_VECS  4
#define VLEN       1
typedef real vec;
typedef int mask;
typedef bits ivec;
PN_INLINE bits TO_BITS(real x) {
    bits b;
    memcpy(&b, &x, sizeof b);
    return b;
}
PN_INLINE real TO_REAL(bits b) {
    real x;
    memcpy(&x, &b, sizeof x);
    return x;
}
#define SHL(x, n)  ((x) << (n))
#define SHR(x, n)  ((x) >> (n))
#define SETBITS(x) ((bits)(x))
#define IAND(a, b) ((a) & (b))
#define IOR(a, b)  ((a) | (b))
PN_INLINE vec vset(real x) { return x; }
PN_INLINE vec viota(void) { return 0; }
PN_INLINE vec vpick(const real *p, const uint8_t *at) { return p[at[0] & 31]; }
PN_INLINE vec vload(const real *p) { return *p; }
PN_INLINE void vstore(real *p, vec a) { *p = a; }
PN_INLINE vec vadd(vec a, vec b) { return a + b; }
PN_INLINE vec vsub(vec a, vec b) { return a - b; }
PN_INLINE vec vmul(vec a, vec b) { return a * b; }
PN_INLINE vec vdiv(vec a, vec b) { return a / b; }
PN_INLINE vec vsqrt(vec a) { return sizeof a == 4 ? R(sqrtf((float)a)) : R(sqrt((double)a)); }
PN_INLINE vec vfma(vec a, vec b, vec c) { return a * b + c; }
PN_INLINE vec vfnma(vec a, vec b, vec c) { return c - a * b; }
PN_INLINE mask vlt(vec a, vec b) { return a < b; }
PN_INLINE mask vle(vec a, vec b) { return a <= b; }
PN_INLINE mask veq(vec a, vec b) { return a == b; }
PN_INLINE vec vsel(mask m, vec a, vec b) { return m ? a : b; }
PN_INLINE vec vmax(vec a, vec b) { return a > b ? a : b; }
PN_INLINE vec vmin(vec a, vec b) { return a < b ? a : b; }
typedef uint64_t wide;
PN_INLINE wide wset(uint64_t x) { return x; }
PN_INLINE wide wload(const uint64_t *p) { return *p; }
PN_INLINE wide wxor(wide a, wide b) { return a ^ b; }
PN_INLINE wide whigh(wide a) { return a >> 32; }
PN_INLINE wide wmul(wide a, wide b) { return (a & 0xffffffff) * (b & 0xffffffff); }
#if !defined(PN_DTYPE_f64)
PN_INLINE ivec wjoin(wide even, wide odd) { return (void)odd, (ivec)even; }
#endif
#endif

#ifdef X86_WORDS
PN_INLINE vec vset(real x) { return W(set1)(x); }
PN_INLINE vec vload(const real *p) { return W(loadu)(p); }
PN_INLINE void vstore(real *p, vec a) { W(storeu)(p, a); }
PN_INLINE vec vadd(vec a, vec b) { return W(add)(a, b); }
PN_INLINE vec vsub(vec a, vec b) { return W(sub)(a, b); }
PN_INLINE vec vmul(vec a, vec b) { return W(mul)(a, b); }
PN_INLINE vec vdiv(vec a, vec b) { return W(div)(a, b); }
PN_INLINE vec vsqrt(vec a) { return W(sqrt)(a); }
PN_INLINE vec vfma(vec a, vec b, vec c) { return W(fmadd)(a, b, c); }
PN_INLINE vec vfnma(vec a, vec b, vec c) { return W(fnmadd)(a, b, c); }
PN_INLINE vec vmax(vec a, vec b) { return W(max)(a, b); }
PN_INLINE vec vmin(vec a, vec b) { return W(min)(a, b); }
#endif

/* ---- words made of words -------------------------------------------------------------------------- */

#define SIGN_BIT ((bits)1 << (8 * sizeof(bits) - 1))
PN_INLINE vec vabs(vec a) { return TO_REAL(IAND(TO_BITS(a), SETBITS(~SIGN_BIT))); }
PN_INLINE vec vneg(vec a) { return vsub(vset(R(-0.0)), a); }
PN_INLINE vec vcopysign(vec a, vec sign) {
    return TO_REAL(IOR(IAND(TO_BITS(a), SETBITS(~SIGN_BIT)), IAND(TO_BITS(sign), SETBITS(SIGN_BIT))));
}
PN_INLINE vec vround(vec a) { return vsub(vadd(a, vset(REAL_ROUND)), vset(REAL_ROUND)); }
PN_INLINE vec vpow2(vec n) { /* the low bits of n + bias + 1.5 2^m are the exponent field */
    return TO_REAL(SHL(TO_BITS(vadd(n, vset(REAL_ROUND + REAL_BIAS))), REAL_MANTISSA));
}
PN_INLINE vec vexponent(vec a) { /* of a normal a > 0: its exponent field as the low bits of 2^m, less 2^m and bias */
    const vec two_m = vset(REAL_ROUND / R(1.5));
    return vsub(TO_REAL(IOR(SHR(TO_BITS(a), REAL_MANTISSA), TO_BITS(two_m))), vset(REAL_ROUND / R(1.5) + REAL_BIAS));
}
PN_INLINE vec vmantissa(vec a) {
    return TO_REAL(IOR(IAND(TO_BITS(a), SETBITS(((bits)1 << REAL_MANTISSA) - 1)), TO_BITS(vset(1))));
}
PN_INLINE vec vsquare(vec a) { return vmul(a, a); }
PN_INLINE vec vsign(vec a) { /* -1, 0, 1 */
    return vsel(vlt(vset(0), a), vset(1), vsel(vlt(a, vset(0)), vset(-1), vset(0)));
}
/* Results too small for a normal number become 0: arithmetic on them costs a hundred cycles on some CPUs. */
PN_INLINE vec vflush(vec a) { return vsel(vlt(vabs(a), vset(REAL_MIN)), vset(0), a); }
/* Lanes whose bit of `word` is 0 become 0.  2^m + word and 2^m + 2^j have a digit in common if bit j is set. */
PN_INLINE vec vkeep(vec a, uint32_t word) {
    const vec two_m = vset(REAL_ROUND / R(1.5)), digit = vadd(vpow2(viota()), two_m);
    const vec common = TO_REAL(IAND(IOR(TO_BITS(two_m), SETBITS(word)), TO_BITS(digit)));
    return vsel(veq(common, digit), a, vset(0));
}
/* Lanes of a row beyond `n` columns (counted from p) read as `fill`; storage is padded, so loading is safe. */
PN_INLINE vec vload_head(const real *p, int64_t n, real fill) {
    return n >= VLEN ? vload(p) : vsel(vlt(viota(), vset((real)(n > 0 ? n : 0))), vload(p), vset(fill));
}

/* The first n lanes, 0 in the others; nothing else is read: where rows end inside a vector, others may be writing. */
PN_INLINE vec vload_only(const real *p, int64_t n) {
    real lane[VLEN + 1]; /* from 1 on, so that gcc takes none of it for aligned: ASan's stack is not */
    if (n >= VLEN) return vload(p);
    for (int64_t i = 0; i < VLEN; i++) lane[i + 1] = i < n ? p[i] : 0;
    return vload(lane + 1);
}
PN_INLINE void vstore_head(real *p, vec a, int64_t n) { /* the first n lanes, nothing else */
    real lane[VLEN + 1];                                /* as above */
    if (n >= VLEN) {
        vstore(p, a);
        return;
    }
    vstore(lane + 1, a);
    for (int64_t i = 0; i < n; i++) p[i] = lane[i + 1];
}
#if VLEN > 1
#define UNROLL_VECS _Pragma("GCC unroll 64") /* so that an array of vectors is registers */
#else
#define UNROLL_VECS /* it would not fit: 16 and more */
#endif
/* r[i][j] becomes r[j][i]: lanes whose index has the bit `s` change places with lanes s before them, s rows below. */
#if VLEN == 16
#define LANES(F, s)                                                                                                    \
    F(s, 0), F(s, 1), F(s, 2), F(s, 3), F(s, 4), F(s, 5), F(s, 6), F(s, 7), F(s, 8), F(s, 9), F(s, 10), F(s, 11),      \
        F(s, 12), F(s, 13), F(s, 14), F(s, 15)
#elif VLEN == 8
#define LANES(F, s) F(s, 0), F(s, 1), F(s, 2), F(s, 3), F(s, 4), F(s, 5), F(s, 6), F(s, 7)
#elif VLEN == 4
#define LANES(F, s) F(s, 0), F(s, 1), F(s, 2), F(s, 3)
#elif VLEN == 2
#define LANES(F, s) F(s, 0), F(s, 1)
#endif
#define UPPER(s, l) ((l) & (s) ? VLEN + (l) - (s) : (l))
#define LOWER(s, l) ((l) & (s) ? VLEN + (l) : (l) + (s))
#define SWAP(s)                                                                                                        \
    _Pragma("GCC unroll 16") for (int i = 0; i < VLEN; i++) if (!(i & (s))) {                                          \
        const vec a = r[i], b = r[i + (s)];                                                                            \
        r[i] = __builtin_shufflevector(a, b, LANES(UPPER, s));                                                         \
        r[i + (s)] = __builtin_shufflevector(a, b, LANES(LOWER, s));                                                   \
    }
#ifndef __has_builtin
#define __has_builtin(x) 0
#endif
PN_INLINE void vtranspose(vec *r) {
#if VLEN > 1 && __has_builtin(__builtin_shufflevector)
    SWAP(1)
#if VLEN > 2
    SWAP(2)
#endif
#if VLEN > 4
    SWAP(4)
#endif
#if VLEN > 8
    SWAP(8)
#endif
#else
    real from[VLEN][VLEN], to[VLEN][VLEN];
    for (int i = 0; i < VLEN; i++) vstore(from[i], r[i]);
    for (int i = 0; i < VLEN; i++)
        for (int j = 0; j < VLEN; j++) to[i][j] = from[j][i];
    for (int i = 0; i < VLEN; i++) r[i] = vload(to[i]);
#endif
}
/* to[j][i] = from[i][j], 0 for i from n on, of j those below m; a square of VLEN rows and columns */
PN_SHARED void transpose_square(const real *from, int64_t ldfrom, int64_t n, real *to, int64_t ldto, int64_t m) {
    vec r[VLEN];
    if (n >= VLEN) {
#pragma GCC unroll 16
        for (int i = 0; i < VLEN; i++) r[i] = vload(from + i * ldfrom);
    } else {
        for (int i = 0; i < VLEN; i++) r[i] = i < n ? vload(from + i * ldfrom) : vset(0);
    }
    vtranspose(r);
    if (m >= VLEN) {
#pragma GCC unroll 16
        for (int j = 0; j < VLEN; j++) vstore(to + j * ldto, r[j]);
    } else {
        for (int j = 0; j < m; j++) vstore(to + j * ldto, r[j]);
    }
}
/* Integers below 2^REAL_MANTISSA as numbers: put under the exponent of 2^m, they are the low digits of 2^m + i. */
#define TWO_M (REAL_ROUND / R(1.5))
PN_INLINE vec vbiased(ivec i) { return TO_REAL(IOR(i, TO_BITS(vset(TWO_M)))); } /* 2^m + i */
#if defined(PN_DTYPE_f64)
PN_INLINE ivec wjoin(wide even, wide odd) { return (void)odd, IAND(even, SETBITS(0xffffffff)); }
#endif
#define WIDES (VLEN > 1 && sizeof(real) == 4 ? 2 : 1) /* that hold the columns of a vec */

#define PANEL_VECS ((int)PN_PANEL / VLEN)

/* Sums along a row use 16 virtual lanes and one tree, whatever VLEN is: ((0+8)+(4+12)) + ... */
PN_INLINE real tree16(const real *l, real (*f)(real, real)) {
    real s[8];
    for (int i = 0; i < 8; i++) s[i] = f(l[i], l[i + 8]);
    for (int i = 0; i < 4; i++) s[i] = f(s[i], s[i + 4]);
    for (int i = 0; i < 2; i++) s[i] = f(s[i], s[i + 2]);
    return f(s[0], s[1]);
}
PN_INLINE real real_add(real a, real b) { return a + b; }
PN_INLINE real real_max(real a, real b) { return a > b ? a : b; }

typedef struct lanes16 {
    vec v[PANEL_VECS];
} lanes16;
PN_INLINE lanes16 lanes_set(real x) {
    lanes16 a;
    for (int j = 0; j < PANEL_VECS; j++) a.v[j] = vset(x);
    return a;
}
PN_SHARED real lanes_sum(const lanes16 *a) {
    real l[PN_PANEL];
    for (int j = 0; j < PANEL_VECS; j++) vstore(l + j * VLEN, a->v[j]);
    return tree16(l, real_add);
}
PN_SHARED real lanes_max(const lanes16 *a) {
    real l[PN_PANEL];
    for (int j = 0; j < PANEL_VECS; j++) vstore(l + j * VLEN, a->v[j]);
    return tree16(l, real_max);
}
#endif
