/* test_ahead.c: rows of a file that were asked for come into memory, and only those of a call. */
#define _GNU_SOURCE
#include "check.h"
#include "core.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

CHECK_PROGRAM

enum { ROWS = 600, WIDTH = 8192, ASKED = 100 }; /* two pages a row, or less */

static int there(const char *base, int64_t row) {
    const long page = sysconf(_SC_PAGESIZE);
    const char *first = base + row * WIDTH, *last = first + WIDTH - 1;
    int all = 1;
    for (const char *at = first; all && at <= last; at += page) {
#if defined(__APPLE__)
        char resident = 0;
#else
        unsigned char resident = 0;
#endif
        all &= mincore((char *)((uintptr_t)at / (uintptr_t)page * (uintptr_t)page), 1, &resident) == 0 && resident & 1;
    }
    return all;
}

int main(void) {
    char name[] = "test_ahead_XXXXXX";
    const int file = mkstemp(name);
    static char row[WIDTH];
    CHECK(file >= 0);
    unlink(name);
    for (int i = 0; i < ROWS; i++) CHECK(write(file, row, sizeof row) == (ssize_t)sizeof row);
    fsync(file);
#if defined(POSIX_FADV_DONTNEED)
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
#endif
    char *base = mmap(NULL, (size_t)ROWS * WIDTH, PROT_READ, MAP_SHARED, file, 0);
    CHECK(base != MAP_FAILED);
    static int64_t order[ROWS];
    for (int64_t i = 0; i < ROWS; i++) order[i] = i * 7 % ROWS;
    int before = 0;
    for (int64_t i = 0; i < ROWS; i++) before += there(base, i);

    AT("rows in one piece");
    pn_array a = {base, WIDTH, 1, WIDTH, PN_UINT8};
    pn_ahead(&a, order, 50, ASKED);
    const struct timespec pause = {0, 1000000};
    int missing = ASKED;
    for (int tries = 0; missing && tries < 5000; tries++) {
        nanosleep(&pause, NULL);
        missing = 0;
        for (int64_t m = 50; m < 50 + ASKED; m++) missing += !there(base, order[m]);
    }
#if !defined(EMULATED) /* qemu does not hand advice on to the system */
    CHECK(missing == 0);
#endif
    int after = 0;
    for (int64_t i = 0; i < ROWS; i++) after += there(base, i);
    CHECK(before == ROWS || after <= before + 2 * ASKED + 20);
    printf("rows in memory: %d, asked for %d, then %d\n", before, (int)ASKED, after);

    AT("backwards, and by columns");
    a = (pn_array){base + (int64_t)(ROWS - 1) * WIDTH, -WIDTH, 1, WIDTH, PN_UINT8};
    pn_ahead(&a, order, 0, ROWS);
    a = (pn_array){base, 1, ROWS, WIDTH, PN_UINT8};
    pn_ahead(&a, order, 0, ROWS);
    munmap(base, (size_t)ROWS * WIDTH);
    close(file);
    return verdict("test_ahead", ROWS);
}
