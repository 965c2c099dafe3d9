/* check.h: what the C tests share: counted checks, failures with a name, numbers from a seed. */
#ifndef PN_CHECK_H
#define PN_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Defined by each test program, with CHECK_PROGRAM. */
extern long checks, failures; /* counted by the main thread only */
extern uint64_t random_state;
extern char where[256]; /* what is being checked: printed with every failure */
#define CHECK_PROGRAM                                                                                                  \
    long checks, failures;                                                                                             \
    uint64_t random_state = 1;                                                                                         \
    char where[256] = "";

enum { MAX_REPORTS = 20 };

#define FAIL(...)                                                                                                      \
    do {                                                                                                               \
        if (failures++ < MAX_REPORTS) {                                                                                \
            fprintf(stderr, "FAIL %s: ", where);                                                                       \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fprintf(stderr, "\n");                                                                                     \
        }                                                                                                              \
    } while (0)

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        checks++;                                                                                                      \
        if (!(condition)) FAIL("%s:%d: %s", __FILE__, __LINE__, #condition);                                           \
    } while (0)

#define AT(...) snprintf(where, sizeof where, __VA_ARGS__)

/* splitmix64: the same numbers on every machine */
static inline uint64_t random_bits(void) {
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
/* In [low, high), with 24 random bits: 0.5 is as exact in float as in double. */
static inline double uniform(double low, double high) {
    return low + (high - low) * (double)(random_bits() >> 40) / 16777216;
}
static inline int below(int n) { return (int)(random_bits() % (uint64_t)n); }

/* FNV-1a over whole bytes: a name for the bits of a result. */
static const uint64_t NO_BITS = 0xcbf29ce484222325u;
static inline uint64_t add_bits(uint64_t hash, const void *data, size_t size) {
    const unsigned char *p = data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}

/* The last line of every test program: how much was checked; fewer than `least` is a failure. */
static inline int verdict(const char *program, long least) {
    printf("%s: %ld checks, %ld failed\n", program, checks, failures);
    if (checks < least) fprintf(stderr, "FAIL %s: %ld checks ran, at least %ld expected\n", program, checks, least);
    return failures == 0 && checks >= least ? EXIT_SUCCESS : EXIT_FAILURE;
}
#endif
