/* recurrent.h: one step of an LSTM between its matrix products (Hochreiter, Schmidhuber 1997; forget gate: Gers,
 * Schmidhuber, Cummins 2000), rows [m0,m1), U units.
 *
 *   g_bo [B, 4U]  input, forget, cell and output gate side by side: their sums, then their activations
 *   c, h [B, U]   cell and hidden state;  c_prev, h_prev those of the step before, NULL: 0
 *   mask          mask[b ldm] > 1/2: row b has this step;  else its states stay as they are;  NULL: all rows have it */
#ifndef PN_RECURRENT_H
#define PN_RECURRENT_H
#include "vmath.h"

PN_INLINE int skips(const real *mask, int64_t ldm, int64_t m) { return mask && !(mask[m * ldm] > R(0.5)); }

static void lstm_forward(real *g_bo, int64_t ldg, const real *c_prev, const real *h_prev, real *c, real *h, int64_t ld,
                         const real *mask, int64_t ldm, int64_t m0, int64_t m1, int64_t U) {
    for (int64_t m = m0; m < m1; m++)
        for (int64_t o = 0; o < U; o += VLEN) {
            real *g = g_bo + m * ldg + o;
            const int64_t n = U - o, at = m * ld + o;
            const vec before = c_prev ? vload_head(c_prev + at, n, 0) : vset(0);
            if (skips(mask, ldm, m)) {
                vstore_head(c + at, before, n);
                vstore_head(h + at, h_prev ? vload_head(h_prev + at, n, 0) : vset(0), n);
                continue;
            }
            const vec i = vsigmoid(vload_only(g, n)), f = vsigmoid(vload_only(g + U, n));
            const vec a = vtanh(vload_only(g + 2 * U, n)), q = vsigmoid(vload_only(g + 3 * U, n));
            const vec now = vfma(f, before, vmul(i, a)); /* c = f c_prev + i a */
            vstore_head(g, i, n);
            vstore_head(g + U, f, n);
            vstore_head(g + 2 * U, a, n);
            vstore_head(g + 3 * U, q, n);
            vstore_head(c + at, now, n);
            vstore_head(h + at, vmul(q, vtanh(now)), n); /* h = q tanh c */
        }
}

/* dz_bo = gradient of the sums, 0 in the padding of 4U;  dc: of c, becomes that of c_prev;
 * dh: of h, becomes what reaches h_prev without the matrix product: all of it in rows without this step, else 0 */
static void lstm_backward(const real *g_bo, int64_t ldg, const real *c_prev, const real *c, real *dz_bo, real *dc,
                          real *dh, int64_t ld, const real *mask, int64_t ldm, int64_t m0, int64_t m1, int64_t U) {
    for (int64_t m = m0; m < m1; m++) {
        real *dz = dz_bo + m * ldg;
        for (int64_t o = 4 * U; o % PN_PANEL; o++) dz[o] = 0;
        if (skips(mask, ldm, m)) {
            for (int64_t o = 0; o < 4 * U; o++) dz[o] = 0;
            continue;
        }
        for (int64_t o = 0; o < U; o += VLEN) {
            const real *g = g_bo + m * ldg + o;
            const int64_t n = U - o, at = m * ld + o;
            const vec v1 = vset(1), i = vload_only(g, n), f = vload_only(g + U, n);
            const vec a = vload_only(g + 2 * U, n), q = vload_only(g + 3 * U, n);
            const vec before = c_prev ? vload_head(c_prev + at, n, 0) : vset(0);
            const vec t = vtanh(vload_head(c + at, n, 0)), d = vload_head(dh + at, n, 0);
            /* dc += dh q (1 - tanh^2 c) */
            const vec s = vflush(vfma(vmul(d, q), vfnma(t, t, v1), vload_head(dc + at, n, 0)));
            vstore_head(dz + o, vflush(vmul(vmul(s, a), vmul(i, vsub(v1, i)))), n);
            vstore_head(dz + U + o, vflush(vmul(vmul(s, before), vmul(f, vsub(v1, f)))), n);
            vstore_head(dz + 2 * U + o, vflush(vmul(vmul(s, i), vfnma(a, a, v1))), n);
            vstore_head(dz + 3 * U + o, vflush(vmul(vmul(d, t), vmul(q, vsub(v1, q)))), n);
            vstore_head(dc + at, vmul(s, f), n);
            vstore_head(dh + at, vset(0), n);
        }
    }
}
#endif
