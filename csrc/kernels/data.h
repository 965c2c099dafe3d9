/* data.h: moving rows: gather with conversion and scaling, sums of values, copies of columns. */
#ifndef PN_DATA_H
#define PN_DATA_H
#include "simd.h"

/* IEEE half precision, exactly: its exponent and fraction in the places of a float's, then times 2^(127 - 15), which
 * makes numbers of denormals too; what comes out beyond 2^15 (2 - 2^-10) was infinite or NaN. */
PN_INLINE float from_half(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } x = {(uint32_t)(h & 0x7fff) << 13}, sign = {(uint32_t)(h & 0x8000) << 16};
    const uint32_t special = x.u >= 0x7c00u << 13 ? 0xffu << 23 : 0;
    x.f *= 0x1p112f;
    x.u |= special | sign.u;
    return x.f;
}

/* n elements of `size` bytes that lie `step` bytes apart, put side by side */
#define PACK(type)                                                                                                     \
    case sizeof(type):                                                                                                 \
        for (int64_t i = 0; i < n; i++) ((type *)to)[i] = *(const type *)(from + i * step);                            \
        break;
static void pack(const char *from, int64_t step, int64_t size, int64_t n, void *to) {
    switch (size) {
        PACK(uint8_t)
        PACK(uint16_t)
        PACK(uint32_t)
        PACK(uint64_t)
    default: break;
    }
}

/* n elements side by side, of any type, to real: loops that vectorise */
#define EACH_TYPE(T)                                                                                                   \
    T(PN_FLOAT32, float, SAME)                                                                                         \
    T(PN_FLOAT64, double, SAME)                                                                                        \
    T(PN_INT8, int8_t, SAME)                                                                                           \
    T(PN_UINT8, uint8_t, SAME)                                                                                         \
    T(PN_INT16, int16_t, SAME)                                                                                         \
    T(PN_UINT16, uint16_t, SAME)                                                                                       \
    T(PN_INT32, int32_t, SAME)                                                                                         \
    T(PN_UINT32, uint32_t, SAME)                                                                                       \
    T(PN_INT64, int64_t, SAME)                                                                                         \
    T(PN_UINT64, uint64_t, SAME)                                                                                       \
    T(PN_FLOAT16, uint16_t, from_half)
#define SAME(x) (x)
#define CONVERT(id, type, number)                                                                                      \
    case id:                                                                                                           \
        for (int64_t i = 0; i < n; i++) y[i] = (real)number(((const type *)from)[i]);                                  \
        break;
/* Short rows: which type it is, is asked once.  Steps of 4-32-32-1 @32 with rows and targets of float64 0.95, of uint8
 * and int64 0.93, of 8-32-1 @32 0.82 and 0.86. */
#define SHORT_ROWS(id, type, number)                                                                                   \
    case id:                                                                                                           \
        for (int64_t m = m0; m < m1; m++) {                                                                            \
            const int64_t at = order ? order[row0 + m] : row0 + m;                                                     \
            const type *const x = (const type *)((const char *)array->base + at * array->row_stride);                  \
            real *const y = y_bi + m * ldy;                                                                            \
            for (int64_t i = 0; i < PN_PANEL; i += VLEN) vstore(y + i, vset(0));                                       \
            for (int64_t i = 0; i < n; i++) y[i] = (real)number(x[i]);                                                 \
        }                                                                                                              \
        return;
#define SIZE(id, type, number) [id] = sizeof(type),
static void convert(int type, const void *from, int64_t n, real *y) {
    switch (type) {
        EACH_TYPE(CONVERT)
    default: break;
    }
}

static void gather(const pn_array *array, const int64_t *order, int64_t row0, const real *scale, const real *shift,
                   real *y_bi, int64_t ldy, int64_t m0, int64_t m1) {
    static const uint8_t sizes[] = {EACH_TYPE(SIZE)};
    enum { AT_ONCE = 256 };
    const int64_t n = array->width, step = array->col_stride, size = sizes[array->type];
    const int64_t wide = (int64_t)pn_pad((uint64_t)n);
    /* numbers that are none to convert: rows of 4 took 16 ns each by way of `convert` and memset, a tenth of a step of
     * 4-32-32-1 @32 */
    const int same = array->type == (PN_DTYPE == PN_F64 ? PN_FLOAT64 : PN_FLOAT32) && step == size;
    if (PN_LARGE && same && n <= VLEN && !shift && !scale) { /* rows of 4: 2.3 ns each, by the loop below 4.5 */
        for (int64_t m = m0; m < m1; m++) {
            const int64_t at = order ? order[row0 + m] : row0 + m;
            const vec x = vload_only((const real *)((const char *)array->base + at * array->row_stride), n);
            for (int j = 0; j < PANEL_VECS; j++) vstore(y_bi + m * ldy + j * VLEN, j ? vset(0) : x);
        }
        return;
    }
    if (PN_LARGE && step == size && wide == PN_PANEL && !shift && !scale) {
        switch (array->type) {
            EACH_TYPE(SHORT_ROWS)
        default: break;
        }
    }
    for (int64_t m = m0; m < m1; m++) {
        const char *from = (const char *)array->base + (order ? order[row0 + m] : row0 + m) * array->row_stride;
        real *y = y_bi + m * ldy;
        /* shuffled rows lie anywhere: ask for the next while this one is converted (MNIST as uint8, 784-128-10 @128: an
         * epoch 4 % shorter, as float32 the same) */
        if (order && m + 1 < m1 && step <= 8) {
            const char *next = (const char *)array->base + order[row0 + m + 1] * array->row_stride;
            for (int64_t i = 0; i < n * step; i += 64) __builtin_prefetch(next + i);
        }
        for (int64_t i = n - n % PN_PANEL; !same && i < wide; i += VLEN) vstore(y + i, vset(0)); /* the rest stays */
        if (same) {
            const real *x = (const real *)from;
            int64_t i = 0;
            for (; i + VLEN <= n; i += VLEN) vstore(y + i, vload(x + i));
            for (; i < wide; i += VLEN) vstore(y + i, vload_only(x + i, n - i));
        } else if (step == size) {
            convert(array->type, from, n, y);
        } else {
            for (int64_t i = 0; i < n; i += AT_ONCE) {
                uint64_t side_by_side[AT_ONCE];
                const int64_t k = n - i < AT_ONCE ? n - i : AT_ONCE;
                pack(from + i * step, step, size, k, side_by_side);
                convert(array->type, side_by_side, k, y + i);
            }
        }
        if (shift)
            for (int64_t i = 0; i < n; i++) y[i] = y[i] - shift[i];
        if (scale)
            for (int64_t i = 0; i < n; i++) y[i] = y[i] * scale[i];
    }
}

static void add(const real *a, int64_t lda, const real *b, int64_t ldb, real *y, int64_t ldy, int64_t m0, int64_t m1,
                int64_t p0, int64_t p1) {
    for (int64_t m = m0; m < m1; m++)
        for (int64_t i = p0 * PN_PANEL; i < p1 * PN_PANEL; i += VLEN)
            vstore(y + m * ldy + i, vadd(vload(a + m * lda + i), vload(b + m * ldb + i)));
}

static void copy(const real *x, int64_t ldx, real *y, int64_t ldy, int64_t m0, int64_t m1, int64_t n, int64_t pad,
                 int add) {
    for (int64_t m = m0; m < m1; m++) {
        const real *from = x + m * ldx;
        real *to = y + m * ldy;
        for (int64_t i = 0; add && i < n; i++) to[i] = to[i] + from[i];
        if (!add) memcpy(to, from, (size_t)n * sizeof(real));
        for (int64_t i = n; i < pad; i++) to[i] = 0;
    }
}
#endif
