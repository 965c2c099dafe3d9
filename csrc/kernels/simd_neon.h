/* simd_neon.h: the words of simd.h with NEON, on aarch64. */
#ifndef PN_SIMD_NEON_H
#define PN_SIMD_NEON_H
#include <arm_neon.h>

#define TILE_ROWS 6
#define TILE_VECS 4
#if defined(PN_DTYPE_f64)
#define VLEN 2
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
PN_INLINE vec vpick(const real *p, const uint8_t *at, int k) { return (vec){p[at[k] & 31], p[at[k + 4] & 31]}; }
PN_INLINE uint32_t vbits(mask m) { return (uint32_t)vaddvq_u64(vandq_u64(m, (mask){1, 2})); }
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
PN_INLINE vec vpick(const real *p, const uint8_t *at, int k) {
    return (vec){p[at[k] & 31], p[at[k + 4] & 31], p[at[k + 8] & 31], p[at[k + 12] & 31]};
}
PN_INLINE uint32_t vbits(mask m) { return vaddvq_u32(vandq_u32(m, (mask){1, 2, 4, 8})); }
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
#endif
