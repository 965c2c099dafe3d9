/* guarded.h: arrays for kernels.  Inputs are NaN until filled, with NaN around them: a number read from outside
 * shows in every result.  Outputs are 0xA5 bytes, with more of them around, and each element that was not expected
 * to be written must still be what it was.  Under AddressSanitizer the bands of inputs may not even be read. */
#ifndef PN_GUARDED_H
#define PN_GUARDED_H

#include "check.h"
#include "core.h"

#include <math.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define POISON
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON
#endif
#endif
#ifdef POISON
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(from, size)   ((void)(from), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(from, size) ((void)(from), (void)(size))
#endif

enum { BAND = 48 };

static struct kept {
    void *block;
    size_t size;
} kept[128];
static int n_kept;

static void *keep(size_t size) { /* until drop_all() */
    void *block = n_kept < 128 ? malloc(size) : NULL;
    if (!block) abort();
    kept[n_kept++] = (struct kept){block, size};
    return block;
}
static void drop_all(void) {
    while (n_kept) {
        n_kept--;
        ASAN_UNPOISON_MEMORY_REGION(kept[n_kept].block, kept[n_kept].size);
        free(kept[n_kept].block);
    }
}

/* Elements never lie at a multiple of the vector length: arenas do, pieces of a concat do not. */
static int64_t skew(void) { return n_kept % 2 ? 3 : 0; }

static real *input(int64_t n) {
    const int64_t before = BAND + skew(), total = before + n + BAND;
    real *raw = keep((size_t)total * sizeof *raw);
    for (int64_t i = 0; i < total; i++) raw[i] = NAN;
    ASAN_POISON_MEMORY_REGION(raw, (size_t)before * sizeof *raw);
    ASAN_POISON_MEMORY_REGION(raw + before + n, BAND * sizeof *raw);
    return raw + before;
}
static real *filled(int64_t n, double low, double high) {
    real *x = input(n);
    for (int64_t i = 0; i < n; i++) x[i] = (real)uniform(low, high);
    return x;
}
/* [rows][ld], columns below `width` random, the rest `padding` */
static real *matrix(int64_t rows, int64_t width, int64_t ld, double low, double high, double padding) {
    real *x = input(rows * ld);
    for (int64_t m = 0; m < rows; m++)
        for (int64_t i = 0; i < ld; i++) x[m * ld + i] = (real)(i < width ? uniform(low, high) : padding);
    return x;
}

typedef struct output {
    real *at;           /* what the kernel gets */
    real *raw, *before; /* with the bands; as it was before the call */
    unsigned char *seen;
    int64_t first, total;
} output;

static void ready(output *o) { /* after filling, before the call */
    memcpy(o->before, o->raw, (size_t)o->total * sizeof(real));
    memset(o->seen, 0, (size_t)o->total);
}
static output *output_of(int64_t n) {
    output *o = keep(sizeof *o);
    o->first = BAND + skew();
    o->total = o->first + n + BAND;
    o->raw = keep((size_t)o->total * sizeof(real));
    o->before = keep((size_t)o->total * sizeof(real));
    o->seen = keep((size_t)o->total);
    o->at = o->raw + o->first;
    memset(o->raw, 0xA5, (size_t)o->total * sizeof(real));
    ready(o);
    return o;
}
static output *output_filled(int64_t n, double low, double high) { /* for kernels that add to it */
    output *o = output_of(n);
    for (int64_t i = 0; i < n; i++) o->at[i] = (real)uniform(low, high);
    ready(o);
    return o;
}
static real was(const output *o, int64_t i) { return o->before[o->first + i]; }

/* Element i was to be written, and to be `want` within `tolerance`. */
static void expect(output *o, int64_t i, double want, double tolerance) {
    const double got = (double)o->at[i];
    o->seen[o->first + i] = 1;
    checks++;
    if (!(fabs(got - want) <= tolerance))
        FAIL("[%lld] is %.17g, expected %.17g within %.3g", (long long)i, got, want, tolerance);
}
static void expect_bits(output *o, int64_t i, real want) {
    o->seen[o->first + i] = 1;
    checks++;
    if (memcmp(&o->at[i], &want, sizeof want) != 0)
        FAIL("[%lld] is %.17g, expected the bits of %.17g", (long long)i, (double)o->at[i], (double)want);
}
/* Padding is 0; whether it was written, and with which sign, is the kernel's business. */
static void expect_zero(output *o, int64_t i) {
    o->seen[o->first + i] = 2;
    checks++;
    if (o->at[i] != 0) FAIL("[%lld], padding, is %.17g", (long long)i, (double)o->at[i]);
}
/* All others are as before.  Returns `hash` with the bits of those that were written. */
static uint64_t finish(const output *o, uint64_t hash) {
    checks++;
    for (int64_t i = 0; i < o->total; i++) {
        if (o->seen[i] == 1)
            hash = add_bits(hash, &o->raw[i], sizeof(real));
        else if (!o->seen[i] && memcmp(&o->raw[i], &o->before[i], sizeof(real)) != 0) {
            FAIL("[%lld] was written", (long long)(i - o->first));
            break;
        }
    }
    return hash;
}
#endif
