/* order.c: a random order of rows, bit for bit that of permutation() in src/pynet/philox.py.
 *
 * n random numbers of 64 bits are sorted, equal ones in the order in which they were drawn: two numbers from each block
 * of Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011), counter (block, stream 0..2).  Two passes of a radix sort put
 * the 22 highest bits in order; what is left out of place lies close by, and moves by insertion.
 *
 * What is sorted, a key, is a number with that of its row in its lowest bits: half the memory of both.  Two keys that
 * are equal above them are rare, and their numbers are drawn again. */
#include "core.h"

static void philox(uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint64_t number[2]) {
    for (uint32_t i = 0; i < 10; i++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ ((uint32_t)seed + i * 0x9E3779B9u);
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ ((uint32_t)(seed >> 32) + i * 0xBB67AE85u);
        c1 = (uint32_t)p1, c3 = (uint32_t)p0;
    }
    number[0] = (uint64_t)c0 << 32 | c1, number[1] = (uint64_t)c2 << 32 | c3;
}

typedef struct stream {
    uint64_t seed;
    uint32_t purpose, epoch;
} stream;

static void numbers_of(const stream *s, uint64_t block, uint64_t number[2]) {
    philox(s->seed, (uint32_t)block, s->purpose, s->epoch, 0, number);
}
static uint64_t number_of(const stream *s, uint64_t row) {
    uint64_t number[2];
    numbers_of(s, row / 2, number);
    return number[row % 2];
}

/* In vectors where the library is large: 60 000 rows are in order after 0.19 ms, with AVX2 0.24, else 0.37 (Zen 5). */
static void draw_keys(const stream *s, int64_t n, uint64_t rows, uint64_t *keys) {
    const char *name;
    const pn_isa *isa = pn_isa_default(&name) == PN_OK ? pn_isa_find(name) : NULL;
    const pn_kernels_f32 *k = isa ? isa->kernels[PN_F32] : NULL;
    const int64_t drawn = k && k->row_keys ? n / 32 * 32 : 0;
    if (drawn) k->row_keys(s->seed, s->purpose, s->epoch, drawn, rows, keys);
    for (int64_t i = drawn; i < n; i += 2) {
        uint64_t number[2];
        numbers_of(s, (uint64_t)i / 2, number);
        keys[i] = (number[0] & ~rows) | (uint64_t)i;
        if (i + 1 < n) keys[i + 1] = (number[1] & ~rows) | (uint64_t)(i + 1);
    }
}

enum { BITS = 11, BUCKETS = 1 << BITS };

static void pass(const uint64_t *from, uint64_t *to, int64_t n, int shift) {
    int64_t begin[BUCKETS + 1] = {0};
    for (int64_t i = 0; i < n; i++) begin[(from[i] >> shift) % BUCKETS + 1]++;
    for (int b = 0; b < BUCKETS; b++) begin[b + 1] += begin[b];
    for (int64_t i = 0; i < n; i++) to[begin[(from[i] >> shift) % BUCKETS]++] = from[i];
}

/* `rows` are the lowest bits, which hold a row. */
static void in_order(const stream *s, int64_t n, uint64_t rows, uint64_t *a, uint64_t *b) {
    draw_keys(s, n, rows, a);
    pass(a, b, n, 64 - 2 * BITS);
    pass(b, a, n, 64 - BITS);
    for (int64_t i = 1; i < n; i++) {
        const uint64_t d = a[i], most = d | rows; /* most: the last key with its bits above */
        int64_t k = i;
        for (; k > 0 && a[k - 1] > most; k--) a[k] = a[k - 1];
        if (k > 0 && (a[k - 1] | rows) == most) {
            const uint64_t own = number_of(s, d & rows);
            for (; k > 0 && (a[k - 1] | rows) == most && number_of(s, a[k - 1] & rows) > own; k--) a[k] = a[k - 1];
        }
        a[k] = d;
    }
    for (int64_t i = 0; i < n; i++) a[i] &= rows;
}

void pn_order(uint64_t seed, uint32_t purpose, uint32_t epoch, int64_t n, int64_t *order, uint64_t *scratch) {
    const stream s = {seed, purpose, epoch};
    uint64_t rows = 0;
    while (rows + 1 < (uint64_t)n) rows = 2 * rows + 1;
    in_order(&s, n, rows, (uint64_t *)order, scratch);
}
