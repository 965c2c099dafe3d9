/* simd.h: the vocabulary in which every kernel is written; only the files behind it include an intrinsics header.
 *
 *   vec    VLEN lanes of `real`;  mask: what a comparison returns
 *   vset vload vstore vadd vsub vmul vdiv vsqrt vfma(a,b,c)=ab+c vfnma(a,b,c)=c-ab
 *   vmax(a,b) = a > b ? a : b   vmin(a,b) = a < b ? a : b     (so a NaN in b comes out, everywhere alike)
 *   vabs vneg vcopysign(magnitude, sign) vlt vle veq vsel(mask,a,b) viota
 *   vload_only(p, n): the first n lanes, 0 in the others; vstore_head(p, a, n): the first n.  They touch nothing else:
 *          where rows end inside a vector, others may be writing
 *   vflush(a): 0 where |a| is too small for a normal number (also for -0), else a, NaN as well: arithmetic on such
 *          numbers costs a hundred cycles on some CPUs
 *   vpow2(n) = 2^n for integral n in the normal range;  vexponent, vmantissa: x = mantissa 2^exponent, in [1,2)
 *   vcolumns(r, p, ld): r[j][i] = p[i ld + j], of VLEN rows the first VCOLUMNS columns: 16 bytes of each
 *   vturn(r, p, ld): the same of VTURN columns, for whole squares
 *   vpick(s, a, k): of the 32 numbers in sight, in each lane that of the place in its byte k, modulo 32
 *   sight  32 numbers from p on, vsee(p): their address, or the numbers in registers (SIGHT_IN_REGISTERS)
 *   places four bytes of each lane, vplaces(p): their address, or what stands there (PLACES_IN_REGISTERS)
 *   vbits(mask): its lanes as bits;  vnumbers(to, bits, from): from + the number of each bit that is set, ascending, in
 *          to[0..], of which 16 may be written; returns how many.  vtest16(words, bits): which of 16 words have one of
 *          the bits.  vheld(a) = a, in a register: gcc would load it again for each of its uses
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

#define VCOLUMNS (VLEN > 1 ? (int)(16 / sizeof(real)) : 1)

#if defined(PN_ISA_avx512) || defined(PN_ISA_avx2)
#include "simd_x86.h"
#elif defined(PN_ISA_neon)
#include "simd_neon.h"
#else
#include "simd_scalar.h"
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
#ifndef SIGHT_IN_REGISTERS
typedef const real *sight;
PN_INLINE sight vsee(const real *p) { return p; }
#endif
#ifndef PLACES_IN_REGISTERS
typedef const uint8_t *places;
PN_INLINE places vplaces(const uint8_t *p) { return p; }
#endif
PN_INLINE vec vsquare(vec a) { return vmul(a, a); }
PN_INLINE vec vsign(vec a) { /* -1, 0, 1 */
    return vsel(vlt(vset(0), a), vset(1), vsel(vlt(a, vset(0)), vset(-1), vset(0)));
}
#ifndef VFLUSH
PN_INLINE vec vflush(vec a) { return vsel(vlt(vabs(a), vset(REAL_MIN)), vset(0), a); }
#endif
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

#ifndef LOADS_ONLY
PN_INLINE vec vload_only(const real *p, int64_t n) {
    real lane[VLEN + 1]; /* from 1 on, so that gcc takes none of it for aligned: ASan's stack is not */
    if (n >= VLEN) return vload(p);
    for (int64_t i = 0; i < VLEN; i++) lane[i + 1] = i < n ? p[i] : 0;
    return vload(lane + 1);
}
#endif
#ifndef STORES_HEAD
PN_INLINE void vstore_head(real *p, vec a, int64_t n) {
    real lane[VLEN + 1]; /* as above */
    if (n >= VLEN) {
        vstore(p, a);
        return;
    }
    vstore(lane + 1, a);
    for (int64_t i = 0; i < n; i++) p[i] = lane[i + 1];
}
#endif
#ifndef HELD
PN_INLINE vec vheld(vec a) { return a; }
#endif
#ifndef NUMBERS
PN_INLINE int vnumbers(uint16_t *to, uint32_t m, int from) {
    int n = 0;
    for (; m; m &= m - 1) to[n++] = (uint16_t)(from + __builtin_ctz(m));
    return n;
}
PN_INLINE uint32_t vtest16(const uint16_t *words, uint32_t bits) {
    uint32_t m = 0;
    for (int l = 0; l < 16; l++) m |= (uint32_t)!!(words[l] & bits) << l;
    return m;
}
#endif
#if VLEN > 1
#define UNROLL_VECS _Pragma("GCC unroll 64") /* so that an array of vectors is registers */
#else
#define UNROLL_VECS /* it would not fit: 16 and more */
#endif
#ifndef COLUMNS
#ifndef __has_builtin
#define __has_builtin(x) 0
#endif
#if VLEN > 1 && __has_builtin(__builtin_shufflevector)
/* r[i][j] becomes r[j][i]: lanes whose index has the bit `s` change places with lanes s before them, s rows below. */
#if VLEN == 4
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
PN_INLINE void vcolumns(vec *r, const real *from, int64_t ld) {
    for (int i = 0; i < VLEN; i++) r[i] = vload(from + i * ld);
    SWAP(1)
#if VLEN > 2
    SWAP(2)
#endif
}
#else
PN_INLINE void vcolumns(vec *r, const real *from, int64_t ld) {
    real to[VLEN];
    for (int j = 0; j < VCOLUMNS; j++) {
        for (int i = 0; i < VLEN; i++) to[i] = from[i * ld + j];
        r[j] = vload(to);
    }
}
#endif
#endif
/* A square of VLEN rows and columns of which n rows are there: from itself, or a copy in which the others are 0. */
typedef struct square {
    real at[VLEN * PN_PANEL];
} square;
PN_INLINE const real *square_of(const real *from, int64_t *ld, int64_t n, square *copy) {
    if (n >= VLEN) return from;
    for (int i = 0; i < VLEN; i++) vstore(copy->at + i * PN_PANEL, i < n ? vload(from + i * *ld) : vset(0));
    *ld = PN_PANEL;
    return copy->at;
}
#if !defined(VTURN)
#define VTURN VCOLUMNS
PN_INLINE void vturn(vec *r, const real *from, int64_t ld) { vcolumns(r, from, ld); }
#endif
/* to[j][i] = from[i][j], of j those below m, or all: asking after each made pruned layers 256 wide 3 to 5 % slower. */
PN_INLINE void turn_square(const int all, const real *from, int64_t ldfrom, real *to, int64_t ldto, int64_t m) {
    for (int j = 0; j < VLEN && (all || j < m); j += VTURN) {
        vec r[VTURN];
        vturn(r, from + j, ldfrom);
#pragma GCC unroll 8
        for (int k = 0; k < VTURN; k++) {
            if (!all && j + k == m) return;
            vstore(to + (j + k) * ldto, r[k]);
        }
    }
}
/* The same, 0 for i from n on. */
PN_SHARED void transpose_square(const real *from, int64_t ldfrom, int64_t n, real *to, int64_t ldto, int64_t m) {
    square copy;
    from = square_of(from, &ldfrom, n, &copy);
    if (PN_LARGE && m >= VLEN)
        turn_square(1, from, ldfrom, to, ldto, m);
    else
        turn_square(0, from, ldfrom, to, ldto, m);
}
/* Integers below 2^REAL_MANTISSA as numbers: put under the exponent of 2^m, they are the low digits of 2^m + i. */
#define TWO_M (REAL_ROUND / R(1.5))
PN_INLINE vec vbiased(ivec i) { return TO_REAL(IOR(i, TO_BITS(vset(TWO_M)))); } /* 2^m + i */
#if defined(PN_DTYPE_f64)
PN_INLINE ivec wjoin(wide even, wide odd) { return (void)odd, IAND(even, SETBITS(0xffffffff)); }
#endif
#define WIDES (VLEN > 1 && sizeof(real) == 4 ? 2 : 1) /* that hold the columns of a vec */

#define PANEL_VECS ((int)PN_PANEL / VLEN)

/* A row of a panel, of which O outputs stand in columns of VLEN rows (`from`: its number in the first), the others in
 * `rest`. */
enum { FEW_OUTPUTS = PN_MOST_TURNED };
PN_INLINE vec vrow(const int O, const real *from, int j, vec rest) {
#pragma GCC unroll 4
    for (int o = 0; o < O; o++)
        if (o / VLEN == j) rest = vsel(veq(viota(), vset((real)(o % VLEN))), vset(from[o * VLEN]), rest);
    return rest;
}

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
