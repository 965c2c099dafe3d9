/* dense_step.h: the update of a dense layer's weights from few rows, whose gradient goes through no memory: of a single
 * row it is made number by number, of more in blocks that stay in the first-level cache.  The same sums in the same
 * order as in dense_dw, the same rules as in update. */
#ifndef PN_DENSE_STEP_H
#define PN_DENSE_STEP_H
#include "dense.h"
#include "update.h"

static void update_of_rows(int optimizer, const double *h, double rate, const double *bias, real *w_io, real *s0_io,
                           real *s1_io, const real *x_bi, int64_t ldx, const real *dz_bo, int64_t lddz, int64_t I,
                           int64_t i0, int64_t i1, int64_t B, int64_t p0, int64_t p1) {
    enum { INPUTS = 128 };
    const int l2 = decays(optimizer, h);
    const rule r = rule_of(h, rate, bias);
    real g[INPUTS * PN_PANEL];
    for (int64_t p = p0; p < p1; p++)
        for (int64_t i = i0, n; i < i1; i += n) {
            const real *x = x_bi + i, *dz = dz_bo + p * PN_PANEL;
            const int64_t at = (p * I + i) * PN_PANEL;
            real *s0 = s0_io ? s0_io + at : NULL, *s1 = s1_io ? s1_io + at : NULL;
            n = B == 1 || i1 - i < INPUTS ? i1 - i : INPUTS;
            if (B > 1) few_rows(B, x, ldx, dz, lddz, g, n, 0, n, 0, 1, 0);
            /* one call for both: -funswitch-loops makes two loops of it */
            follow(optimizer, &r, l2, w_io + at, B > 1 ? g : dz, B > 1 ? NULL : x, s0, s1, n * PN_PANEL);
        }
}
#endif
