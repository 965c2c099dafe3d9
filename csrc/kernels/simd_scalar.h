/* simd_scalar.h: the words of simd.h in plain C: one lane, no fused multiply-add; for any processor, and the slow exact
 * twin inside C. */
#ifndef PN_SIMD_SCALAR_H
#define PN_SIMD_SCALAR_H

#define TILE_ROWS 2
#define TILE_VECS 4
#define VLEN      1
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
PN_INLINE vec vpick(const real *p, const uint8_t *at, int k) { return p[at[k] & 31]; }
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
PN_INLINE uint32_t vbits(mask m) { return (uint32_t)m; }
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
