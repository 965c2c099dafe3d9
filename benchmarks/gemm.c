/* gemm.c: the three matrix products of a dense layer alone, for gemm.py: seconds of one call, float32, one thread. */
#include "numbers.h"

#include <stdlib.h>
#include <string.h>

/* which: 0 forward with bias and ReLU, 1 dx, 2 dw; B x I x O.  -1: no such ISA, or no memory. */
__attribute__((visibility("default"))) double gemm_seconds(const char *name, int which, int64_t B, int64_t I, int64_t O,
                                                           int64_t rounds) {
    const pn_isa *isa = pn_isa_find(name);
    if (!isa) return -1;
    const pn_kernels_f32 *k = isa->kernels[0];
    const int64_t ldx = leading(I), ldy = leading(O);
    float *x = numbers((size_t)(B * ldx)), *y = numbers((size_t)(B * ldy)), *w = numbers((size_t)((I + 16) * (O + 16)));
    float *b = numbers((size_t)pn_pad((uint64_t)O));
    const double p[4] = {0};
    double seconds = -1;
    if (x && y && w && b) {
        for (int64_t r = -1; r < rounds; r++) {
            if (r == 0) seconds = pn_now();
            if (which == 0)
                k->dense_forward(x, ldx, w, b, y, ldy, NULL, 0, 0, B, I, 0, pn_panels((uint32_t)O), PN_ACT_relu, p,
                                 NULL, NULL, 0);
            if (which == 1) k->dense_dx(y, ldy, w, x, ldx, 0, B, O, 0, pn_panels((uint32_t)I), 0);
            if (which == 2) k->dense_dw(x, ldx, y, ldy, w, I, 0, I, B, 0, pn_panels((uint32_t)O), 0, NULL, 0);
        }
        seconds = (pn_now() - seconds) / (double)rounds;
    }
    free(x), free(y), free(w), free(b);
    return seconds;
}
