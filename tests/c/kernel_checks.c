/* kernel_checks.c: every kernel of the roll-call against naive loops in double.  Compiled once per dtype.
 * Tolerances are the op's own: a multiple of eps times the sum of the magnitudes that entered it. */
#include "guarded.h"
#include "kernel_checks.h"

#include <float.h>

#if defined(PN_DTYPE_f64)
#define EPS DBL_EPSILON
#else
#define EPS ((double)FLT_EPSILON)
#endif

typedef PN_SUFFIX(pn_kernels) kernels;
static uint64_t bits; /* of everything that the kernel now checked has written */

static const int shapes[] = {1, 15, 16, 17, 31, 33, 47, 100}; /* around one, two and three panels */
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], N_TRIPLES = N_SHAPES * N_SHAPES * N_SHAPES };
#define EACH_TRIPLE(B, I, O)                                                                                           \
    for (int B, I, O, c = 0; c < N_TRIPLES && (B = shapes[c % 8], I = shapes[c / 8 % 8], O = shapes[c / 64]);          \
         c++, drop_all())
#define EACH_PAIR(B, O)                                                                                                \
    for (int B, O, c = 0; c < N_SHAPES * N_SHAPES && (B = shapes[c % 8], O = shapes[c / 8]); c++, drop_all())

/* Part of [0,n): all of it, all but the first or the last third, the middle. */
static void part(int way, int64_t n, int64_t *from, int64_t *to) {
    *from = way & 1 ? n / 3 : 0;
    *to = way & 2 ? n - n / 3 : n;
}
static int64_t pad(int64_t n) { return (int64_t)pn_pad((uint64_t)n); }
static int64_t lead(int c, int64_t n) { return pad(n) + (c % 3 ? 16 : 0); } /* a leading dimension */

/* Element [i,o] of a matrix with I rows in panels. */
#define PANEL(w, I, i, o) (w)[((o) / 16 * (I) + (i)) * 16 + (o) % 16]

static real *panels_of(int64_t I, int64_t O, double padding) {
    real *w = input(pad(O) * I);
    for (int64_t i = 0; i < I; i++)
        for (int64_t o = 0; o < pad(O); o++) PANEL(w, I, i, o) = (real)(o < O ? uniform(-1, 1) : padding);
    return w;
}

#include "kernel_checks_act.h"
#include "kernel_checks_random.h"
#include "kernel_checks_norm.h"
#include "kernel_checks_dense.h"
#include "kernel_checks_zeros.h"
#include "kernel_checks_recurrent.h"
#include "kernel_checks_sparse.h"
#include "kernel_checks_flat.h"
#include "kernel_checks_update.h"
#include "kernel_checks_turned.h"

/* ---- the roll-call: a kernel without a check does not compile -------------------------------------------- */

typedef void check_function(const kernels *k);
#define ENTRY(name, arguments) {#name, offsetof(kernels, name), check_##name},
static const struct {
    const char *name;
    size_t place;
    check_function *check;
} roll[] = {PN_KERNELS(ENTRY, ENTRY, ENTRY, ENTRY)};

int PN_SUFFIX(check_kernels)(const void *table, int index, int fused, kernel_report *report) {
    if (index >= (int)(sizeof roll / sizeof roll[0])) return 0;
    const long before = checks;
    void (*kernel)(void);
    memcpy(&kernel, (const char *)table + roll[index].place, sizeof kernel);
    *report = (kernel_report){roll[index].name, 0, NO_BITS};
    if (!kernel) return !PN_TRAINS(PN_DTYPE); /* what only trains */
    bits = NO_BITS;
    if (index == 0) check_fusion(table, fused);
    roll[index].check(table);
    *report = (kernel_report){roll[index].name, checks - before, bits};
    return 1;
}

/* The helpers can fail: a wrong number, a write beside the output, and nothing else. */
void PN_SUFFIX(check_helpers)(void) {
    output *o = output_of(16);
    o->at[0] = 1, o->at[1] = (real)NAN, o->at[2] = 1;
    AT("provoked on purpose");
    const long before = failures;
    failures += MAX_REPORTS; /* silently */
    expect(o, 0, 1 + 3 * EPS, 2 * EPS);
    expect(o, 1, 1, 1e9);
    expect_bits(o, 2, (real)1 + (real)EPS);
    finish(o, NO_BITS);
    o->at[16] = 0;
    finish(o, NO_BITS);
    const long found = failures - before - MAX_REPORTS;
    failures = before;
    CHECK(found == 4);
    drop_all();
}
