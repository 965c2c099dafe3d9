/* numbers.h: matrices for gemm.c and sparse.c. */
#include "core.h"

#include <stdlib.h>

static float *numbers(size_t n) { /* aligned; no denormals, nothing that grows */
    float *a = aligned_alloc(64, (n * sizeof *a + 63) / 64 * 64);
    for (size_t i = 0; a && i < n; i++) a[i] = (float)((i * 2654435761u >> 16 & 255) / 256.0 - 0.5);
    return a;
}

static int64_t leading(int64_t n) { /* as the planner: padded, never a multiple of 4 KiB */
    n = (int64_t)pn_pad((uint64_t)n);
    return n % 1024 ? n : n + PN_PANEL;
}
