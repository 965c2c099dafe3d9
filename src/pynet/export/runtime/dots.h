/* dots.h: sums of products of weights of 8 bits and values of 8 or 16, with the vectors that the compiler may use, or
 * without: the integers are the same.  That sums fit 32 bits was proven when the network was made; parts may wrap. */

/* NET_BYTES values of 8 bits at a time, or NET_WORDS of 16; NET_END: where rows of n values end for the vectors */
#if defined(NET_NO_SIMD)
#define NET_SIMD 0
#elif defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>
#define NET_SIMD           1
#define NET_BYTES          64
#define NET_WORDS          32
#define NET_END(n, step)   (n)
#define NET_W8(p, n)       _mm512_maskz_loadu_epi8(net_mask(n), p)
#define NET_X8(p, n)       NET_W8(p, n)
#define NET_ADD8(s, w, x)  _mm512_dpbusd_epi32(s, _mm512_xor_si512(w, _mm512_set1_epi8(-128)), x)
#define NET_OFFSET(s, x)   _mm512_dpbusd_epi32(s, _mm512_set1_epi8(-128), x)
#define NET_W16(p, n)      _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8((__mmask32)net_mask(n), p))
#define NET_X16(p, n)      _mm512_maskz_loadu_epi16((__mmask32)net_mask(n), p)
#define NET_ADD16(s, w, x) _mm512_dpwssd_epi32(s, w, x)
typedef __m512i net_sums;
typedef __m512i net_bytes;
typedef __m512i net_words;
static net_sums net_zero(void) { return _mm512_setzero_si512(); }
static uint64_t net_mask(int32_t n) { return n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1U; }
static __m128i net_fold(net_sums s) {
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}
#elif defined(__AVX2__)
#include <immintrin.h>
#define NET_SIMD           1
#define NET_BYTES          16
#define NET_WORDS          16
#define NET_END(n, step)   ((n) - (n) % (step))
#define NET_W8(p, n)       _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define NET_X8(p, n)       NET_W8(p, n)
#define NET_ADD8(s, w, x)  _mm256_add_epi32(s, _mm256_madd_epi16(w, x))
#define NET_W16(p, n)      NET_W8(p, n)
#define NET_X16(p, n)      _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define NET_ADD16(s, w, x) NET_ADD8(s, w, x)
typedef __m256i net_sums;
typedef __m256i net_bytes;
typedef __m256i net_words;
static net_sums net_zero(void) { return _mm256_setzero_si256(); }
static __m128i net_fold(net_sums s) { return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)); }
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#define NET_SIMD           1
#define NET_WORDS          8
#define NET_END(n, step)   ((n) - (n) % (step))
#define NET_W16(p, n)      vmovl_s8(vld1_s8(p))
#define NET_X16(p, n)      vld1q_s16(p)
#define NET_ADD16(s, w, x) vmlal_s16(vmlal_s16(s, vget_low_s16(w), vget_low_s16(x)), vget_high_s16(w), vget_high_s16(x))
#if defined(__ARM_FEATURE_DOTPROD)
#define NET_BYTES         16
#define NET_W8(p, n)      vld1q_s8(p)
#define NET_ADD8(s, w, x) vdotq_s32(s, w, x)
typedef int8x16_t net_bytes;
#else
#define NET_BYTES         8
#define NET_W8(p, n)      NET_W16(p, n)
#define NET_ADD8(s, w, x) NET_ADD16(s, w, x)
typedef int16x8_t net_bytes;
#endif
#define NET_X8(p, n) NET_W8(p, n)
typedef int32x4_t net_sums;
typedef int16x8_t net_words;
static net_sums net_zero(void) { return vdupq_n_s32(0); }
static int32x2_t net_fold(net_sums s) { return vadd_s32(vget_low_s32(s), vget_high_s32(s)); }
#else
#define NET_SIMD 0
#endif
#if NET_SIMD
static void net_store(int32_t *y, net_sums a, net_sums b, net_sums c, net_sums d) {
#if defined(__ARM_NEON)
    vst1q_s32(y, vcombine_s32(vpadd_s32(net_fold(a), net_fold(b)), vpadd_s32(net_fold(c), net_fold(d))));
#else
    const __m128i ab = _mm_hadd_epi32(net_fold(a), net_fold(b));
    const __m128i cd = _mm_hadd_epi32(net_fold(c), net_fold(d));
    _mm_storeu_si128((__m128i *)(void *)y, _mm_hadd_epi32(ab, cd));
#endif
}
#endif

/* y[k] += sum of w[k stride + i] x[i], k < rows */
static void net_rest8(const int8_t *w, int32_t stride, int32_t rows, const int8_t *x, int32_t n, int32_t *y) {
    int32_t k;
    for (k = 0; k < rows; ++k) {
        int32_t sum = 0;
        int32_t i;
        for (i = 0; i < n; ++i) {
            sum += (int32_t)w[i] * x[i];
        }
        y[k] += sum;
        w += stride;
    }
}

/* y[k] = sum of w[k stride + i] x[i], k < rows <= 4; y has room for 4 */
static void net_dots8(const int8_t *w, int32_t stride, int32_t rows, const int8_t *x, int32_t n, int32_t *y) {
#if NET_SIMD
    const int32_t end = NET_END(n, NET_BYTES);
    const int8_t *w1 = rows > 1 ? w + stride : w;
    const int8_t *w2 = rows > 2 ? w1 + stride : w;
    const int8_t *w3 = rows > 3 ? w2 + stride : w;
    net_sums s0 = net_zero();
    net_sums s1;
    net_sums s2;
    net_sums s3;
    int32_t i;
#if defined(NET_OFFSET) /* the products are those of w + 128 */
    for (i = 0; i < end; i += NET_BYTES) {
        s0 = NET_OFFSET(s0, NET_X8(x + i, n - i));
    }
    s0 = _mm512_sub_epi32(net_zero(), s0);
#endif
    s1 = s0;
    s2 = s0;
    s3 = s0;
    for (i = 0; i < end; i += NET_BYTES) {
        const net_bytes xi = NET_X8(x + i, n - i);
        s0 = NET_ADD8(s0, NET_W8(w + i, n - i), xi);
        s1 = NET_ADD8(s1, NET_W8(w1 + i, n - i), xi);
        s2 = NET_ADD8(s2, NET_W8(w2 + i, n - i), xi);
        s3 = NET_ADD8(s3, NET_W8(w3 + i, n - i), xi);
    }
    net_store(y, s0, s1, s2, s3);
#else
    const int32_t end = 0;
    int32_t k;
    for (k = 0; k < rows; ++k) {
        y[k] = 0;
    }
#endif
    net_rest8(w + end, stride, rows, x + end, n - end, y);
}

/* y[k] += sum of w[k stride + i] x[i], k < rows */
static void net_rest16(const int8_t *w, int32_t stride, int32_t rows, const int16_t *x, int32_t n, int32_t *y) {
    int32_t k;
    for (k = 0; k < rows; ++k) {
        int32_t sum = 0;
        int32_t i;
        for (i = 0; i < n; ++i) {
            sum += (int32_t)w[i] * x[i];
        }
        y[k] += sum;
        w += stride;
    }
}

/* y[k] = sum of w[k stride + i] x[i], k < rows <= 4; y has room for 4 */
static void net_dots16(const int8_t *w, int32_t stride, int32_t rows, const int16_t *x, int32_t n, int32_t *y) {
#if NET_SIMD
    const int32_t end = NET_END(n, NET_WORDS);
    const int8_t *w1 = rows > 1 ? w + stride : w;
    const int8_t *w2 = rows > 2 ? w1 + stride : w;
    const int8_t *w3 = rows > 3 ? w2 + stride : w;
    net_sums s0 = net_zero();
    net_sums s1;
    net_sums s2;
    net_sums s3;
    int32_t i;
    s1 = s0;
    s2 = s0;
    s3 = s0;
    for (i = 0; i < end; i += NET_WORDS) {
        const net_words xi = NET_X16(x + i, n - i);
        s0 = NET_ADD16(s0, NET_W16(w + i, n - i), xi);
        s1 = NET_ADD16(s1, NET_W16(w1 + i, n - i), xi);
        s2 = NET_ADD16(s2, NET_W16(w2 + i, n - i), xi);
        s3 = NET_ADD16(s3, NET_W16(w3 + i, n - i), xi);
    }
    net_store(y, s0, s1, s2, s3);
#else
    const int32_t end = 0;
    int32_t k;
    for (k = 0; k < rows; ++k) {
        y[k] = 0;
    }
#endif
    net_rest16(w + end, stride, rows, x + end, n - end, y);
}
