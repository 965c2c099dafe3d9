/* simd_x86.h: the words of simd.h with AVX-512, and with AVX2 and FMA. */
#ifndef PN_SIMD_X86_H
#define PN_SIMD_X86_H
#include <immintrin.h>

#define HOLD(a) __asm__("" : "+v"(a)) /* in a register: gcc would load it again for each of its uses */

#if defined(PN_ISA_avx512)
/* ---- AVX-512 ------------------------------------------------------------------------------------- */
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
#define VCLASS(a, kind) _mm512_fpclass_pd_mask(a, kind)
PN_INLINE vec viota(void) { return _mm512_set_pd(7, 6, 5, 4, 3, 2, 1, 0); }
#define PLACES_IN_REGISTERS
typedef ivec places;
PN_INLINE places vplaces(const uint8_t *p) { return _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)p)); }
PN_INLINE vec vpick(const real *p, places at, int k) {
    const ivec i = (ivec)((__v8du)at >> 8 * k);
    const vec low = _mm512_permutex2var_pd(_mm512_loadu_pd(p), i, _mm512_loadu_pd(p + 8));
    const vec high = _mm512_permutex2var_pd(_mm512_loadu_pd(p + 16), i, _mm512_loadu_pd(p + 24));
    return _mm512_mask_blend_pd(_mm512_test_epi64_mask(i, SETBITS(16)), low, high);
}
PN_INLINE vec vquarters(const real *p, int64_t ld) {
    const vec two = _mm512_insertf64x2(_mm512_castpd128_pd512(_mm_loadu_pd(p)), _mm_loadu_pd(p + 2 * ld), 1);
    return _mm512_insertf64x2(_mm512_insertf64x2(two, _mm_loadu_pd(p + 4 * ld), 2), _mm_loadu_pd(p + 6 * ld), 3);
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
#define VCLASS(a, kind) _mm512_fpclass_ps_mask(a, kind)
PN_INLINE vec viota(void) { return _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0); }
typedef struct sight {
    vec low, high;
} sight;
PN_INLINE sight vsee(const real *p) { return (sight){_mm512_loadu_ps(p), _mm512_loadu_ps(p + 16)}; }
PN_INLINE vec vquarters(const real *p, int64_t ld) {
    const vec two = _mm512_insertf32x4(_mm512_castps128_ps512(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * ld), 1);
    return _mm512_insertf32x4(_mm512_insertf32x4(two, _mm_loadu_ps(p + 8 * ld), 2), _mm_loadu_ps(p + 12 * ld), 3);
}
#define SIGHT_IN_REGISTERS
#define PLACES_IN_REGISTERS
typedef ivec places;
PN_INLINE places vplaces(const uint8_t *p) {
    places at = _mm512_loadu_si512(p);
    HOLD(at);
    return at;
}
PN_INLINE vec vpick(sight s, places at, int k) {
    return _mm512_permutex2var_ps(s.low, (ivec)((__v16su)at >> 8 * k), s.high);
}
#endif
PN_INLINE mask vfirst(int64_t n) { return n >= VLEN ? (mask)-1 : n > 0 ? (mask)((1 << n) - 1) : 0; }
PN_INLINE vec vload_only(const real *p, int64_t n) { return W(maskz_loadu)(vfirst(n), p); }
PN_INLINE void vstore_head(real *p, vec a, int64_t n) { W(mask_storeu)(p, vfirst(n), a); }
PN_INLINE uint32_t vbits(mask m) { return m; }
PN_INLINE int vnumbers(uint16_t *to, uint32_t m, int from) {
    const ivec l = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const ivec k = _mm512_maskz_compress_epi32((__mmask16)m, _mm512_add_epi32(l, _mm512_set1_epi32(from)));
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtepi32_epi16(k));
    return __builtin_popcount(m);
}
PN_INLINE uint32_t vtest16(const uint16_t *words, uint32_t bits) {
    const ivec w = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)words));
    return _mm512_test_epi32_mask(w, _mm512_set1_epi32((int)bits));
}
#define NUMBERS
#define LOADS_ONLY
#define STORES_HEAD
#define IAND(a, b) _mm512_and_si512(a, b)
#define IOR(a, b)  _mm512_or_si512(a, b)
PN_INLINE mask vlt(vec a, vec b) { return VCMP(a, b, _CMP_LT_OQ); }
PN_INLINE mask vle(vec a, vec b) { return VCMP(a, b, _CMP_LE_OQ); }
PN_INLINE mask veq(vec a, vec b) { return VCMP(a, b, _CMP_EQ_OQ); }
PN_INLINE vec vsel(mask m, vec a, vec b) { return W(mask_blend)(m, b, a); }
/* Two operations, where compare and select take three: on Zen 5 an update of Adam in the second-level cache takes 7.6
 * cycles for 16 numbers instead of 8.3, of a single row 8.1 instead of 9.3; root and division alone 7.0. */
#define VFLUSH
PN_INLINE vec vflush(vec a) {
    enum { MINUS_ZERO = 0x04, DENORMAL = 0x20 };
    return W(mask_mov)(a, VCLASS(a, MINUS_ZERO | DENORMAL), W(setzero)());
}
typedef __m512i wide;
PN_INLINE wide wset(uint64_t x) { return _mm512_set1_epi64((long long)x); }
PN_INLINE wide wload(const uint64_t *p) { return _mm512_loadu_si512(p); }
PN_INLINE wide wxor(wide a, wide b) { return _mm512_xor_si512(a, b); }
PN_INLINE wide whigh(wide a) { return _mm512_srli_epi64(a, 32); }
PN_INLINE wide wmul(wide a, wide b) { return _mm512_mul_epu32(a, b); }
#if !defined(PN_DTYPE_f64)
PN_INLINE ivec wjoin(wide even, wide odd) { return _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32)); }
#endif

#else
/* ---- AVX2 + FMA ---------------------------------------------------------------------------------- */
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
PN_INLINE vec vquarters(const real *p, int64_t ld) {
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + 2 * ld), 1);
}
PN_INLINE vec vpick(const real *p, const uint8_t *at, int k) {
    return _mm256_set_pd(p[at[k + 12] & 31], p[at[k + 8] & 31], p[at[k + 4] & 31], p[at[k] & 31]);
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
PN_INLINE vec vquarters(const real *p, int64_t ld) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * ld), 1);
}
#define PLACES_IN_REGISTERS
typedef ivec places;
PN_INLINE places vplaces(const uint8_t *p) {
    places at = _mm256_loadu_si256((const __m256i *)p);
    HOLD(at);
    return at;
}
PN_INLINE vec vpick(const real *p, places at, int k) { /* bits 3 and 4 of an index say which eight of the 32 */
    const ivec i = (ivec)((__v8su)at >> 8 * k);
    const vec bit3 = TO_REAL(SHL(i, 28)), bit4 = TO_REAL(SHL(i, 27));
    const vec a = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p), i);
    const vec b = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p + 8), i);
    const vec c = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p + 16), i);
    const vec d = _mm256_permutevar8x32_ps(_mm256_loadu_ps(p + 24), i);
    return _mm256_blendv_ps(_mm256_blendv_ps(a, b, bit3), _mm256_blendv_ps(c, d, bit3), bit4);
}
#endif
PN_INLINE vec vload_only(const real *p, int64_t n) { /* masked stores take dozens of cycles on some processors */
#if defined(PN_DTYPE_f64)
    return _mm256_maskload_pd(p, _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_set_epi64x(3, 2, 1, 0)));
#else
    const int k = n < VLEN ? (int)n : VLEN;
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(k), _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0)));
#endif
}
PN_INLINE uint32_t vbits(mask m) { return (uint32_t)W(movemask)(m); }
#define LOADS_ONLY
#define IAND(a, b) _mm256_and_si256(a, b)
#define IOR(a, b)  _mm256_or_si256(a, b)
PN_INLINE mask vlt(vec a, vec b) { return W(cmp)(a, b, _CMP_LT_OQ); }
PN_INLINE mask vle(vec a, vec b) { return W(cmp)(a, b, _CMP_LE_OQ); }
PN_INLINE mask veq(vec a, vec b) { return W(cmp)(a, b, _CMP_EQ_OQ); }
PN_INLINE vec vsel(mask m, vec a, vec b) { return W(blendv)(b, a, m); }
/* A step of 64-64-64-10 @1 takes 0.90 of the time that it took with a select, of 784-128-10 @1 0.88 (Zen 5). */
#define VFLUSH
PN_INLINE vec vflush(vec a) {
    const vec sign = W(set1)(R(-0.0));
    return W(and)(a, W(cmp)(W(andnot)(sign, a), W(set1)(REAL_MIN), _CMP_NLT_UQ));
}
typedef __m256i wide;
PN_INLINE wide wset(uint64_t x) { return _mm256_set1_epi64x((long long)x); }
PN_INLINE wide wload(const uint64_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
PN_INLINE wide wxor(wide a, wide b) { return _mm256_xor_si256(a, b); }
PN_INLINE wide whigh(wide a) { return _mm256_srli_epi64(a, 32); }
PN_INLINE wide wmul(wide a, wide b) { return _mm256_mul_epu32(a, b); }
#if !defined(PN_DTYPE_f64)
PN_INLINE ivec wjoin(wide even, wide odd) { return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa); }
#endif
#endif

/* ---- both ---------------------------------------------------------------------------------------- */
PN_INLINE vec vset(real x) { return W(set1)(x); }
PN_INLINE vec vload(const real *p) { return W(loadu)(p); }
PN_INLINE void vstore(real *p, vec a) { W(storeu)(p, a); }
PN_INLINE vec vheld(vec a) {
    HOLD(a);
    return a;
}
#define HELD
PN_INLINE vec vadd(vec a, vec b) { return W(add)(a, b); }
PN_INLINE vec vsub(vec a, vec b) { return W(sub)(a, b); }
PN_INLINE vec vmul(vec a, vec b) { return W(mul)(a, b); }
PN_INLINE vec vdiv(vec a, vec b) { return W(div)(a, b); }
PN_INLINE vec vsqrt(vec a) { return W(sqrt)(a); }
PN_INLINE vec vfma(vec a, vec b, vec c) { return W(fmadd)(a, b, c); }
PN_INLINE vec vfnma(vec a, vec b, vec c) { return W(fnmadd)(a, b, c); }
PN_INLINE vec vmax(vec a, vec b) { return W(max)(a, b); }
PN_INLINE vec vmin(vec a, vec b) { return W(min)(a, b); }
/* vquarters(p, ld): the 16 bytes at p, those as many rows of ld below as they are numbers, and so on.  What moves
 * between 16 bytes is so done by loads, and half of the permutations are left, within 16 bytes. */
PN_INLINE void turn_quarters(vec *r, const vec *a) { /* r[j], quarter q, lane i = a[i], quarter q, lane j */
#if defined(PN_DTYPE_f64)
    r[0] = W(unpacklo)(a[0], a[1]), r[1] = W(unpackhi)(a[0], a[1]);
#else
    const vec low = W(unpacklo)(a[0], a[1]), high = W(unpackhi)(a[0], a[1]);
    const vec low2 = W(unpacklo)(a[2], a[3]), high2 = W(unpackhi)(a[2], a[3]);
    r[0] = W(shuffle)(low, low2, 0x44), r[1] = W(shuffle)(low, low2, 0xee);
    r[2] = W(shuffle)(high, high2, 0x44), r[3] = W(shuffle)(high, high2, 0xee);
#endif
}
PN_INLINE void vcolumns(vec *r, const real *from, int64_t ld) {
    vec a[VCOLUMNS];
#pragma GCC unroll 4
    for (int i = 0; i < VCOLUMNS; i++) a[i] = vquarters(from + i * ld, ld);
    turn_quarters(r, a);
}
#define COLUMNS
#if PN_LARGE && defined(PN_ISA_avx512) && !defined(PN_DTYPE_f64)
/* Rows 8 apart meet in halves, by loads.  A square in the first-level cache takes 34 cycles, by quarters 45, by whole
 * rows and twice the permutations 21 (Zen 5); but on Zen 4, which begins one of them a cycle, those should take
 * longest.  Pruned layers, whose squares come from the second level, are 1.03 to 1.06 times as fast as by quarters,
 * by halves and by whole rows alike. */
#define VTURN 8
PN_INLINE void vturn(vec *r, const real *from, int64_t ld) {
    const ivec low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
    const ivec high = _mm512_or_si512(low, _mm512_set1_epi32(4));
    vec a[2][4]; /* [n][k]: columns k and k + 4 of rows 4 n to 4 n + 3, and those of rows 8 more */
#pragma GCC unroll 2
    for (int n = 0; n < 2; n++) {
        vec b[4];
        const real *row = from + 4 * n * ld;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++, row += ld) {
            const __m512 first = _mm512_castps256_ps512(_mm256_loadu_ps(row));
            b[i] = _mm512_insertf32x8(first, _mm256_loadu_ps(row + 8 * ld), 1);
        }
        turn_quarters(a[n], b);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        r[k] = _mm512_permutex2var_ps(a[0][k], low, a[1][k]);
        r[k + 4] = _mm512_permutex2var_ps(a[0][k], high, a[1][k]);
    }
}
#endif
#endif
