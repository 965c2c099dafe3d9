/* ahead.c: rows of a data set in a mapped file are asked for before their batch comes.
 *
 * A row that is not in memory costs a page fault, some 100 us in which nothing happens, and shuffled rows are all not
 * there.  Asked for a thousand rows ahead, the disk serves many at once.  Nothing is copied or kept here: the pages are
 * the system's, which drops them when it likes.  (Numbers: docs/performance.md, benchmarks/mapped.py.) */
#if !defined(_WIN32)
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
#endif
#include "core.h"

#if defined(_WIN32)
void pn_ahead(const pn_array *a, const int64_t *order, int64_t row0, int64_t rows) {
    (void)a, (void)order, (void)row0, (void)rows;
}
#else
#include <sys/mman.h>
#include <unistd.h>

typedef struct pages {
    char *at;
    size_t bytes;
} pages;

static pages pages_of(const pn_array *a, int64_t row, size_t page) {
    const uintptr_t from = (uintptr_t)a->base + (uintptr_t)(row * a->row_stride);
    const uintptr_t start = from / page * page;
    return (pages){(char *)start, from + (uintptr_t)(a->width * a->col_stride) - start};
}

/* By the first page of a row.  Where the system does not tell (files of others), it says yes. */
static int in_memory(const pn_array *a, int64_t row, size_t page) {
#if defined(__APPLE__)
    char there = 0;
#else
    unsigned char there = 0;
#endif
    return mincore(pages_of(a, row, page).at, 1, &there) != 0 || there & 1;
}

void pn_ahead(const pn_array *a, const int64_t *order, int64_t row0, int64_t rows) {
    enum { SAMPLES = 4 }; /* to ask for a row costs 0.6 us, even if it is there */
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (a->col_stride < 1 || a->col_stride > 8) return; /* a row is not in one piece */
    int all = 1;
    for (int k = 0; k < SAMPLES && all; k++) all = in_memory(a, order[row0 + rows * k / SAMPLES], page);
    for (int64_t m = 0; m < rows && !all; m++) {
        const pages p = pages_of(a, order[row0 + m], page);
        madvise(p.at, p.bytes, MADV_WILLNEED);
    }
}
#endif
