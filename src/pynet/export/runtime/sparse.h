/* sparse.h: y = x w + b, of w only what pruning has left.  Output by output its values, and the steps from the input
 * of one to that of the next, the first from input -1; counts: values of each output. */

static void net_sparse_bytes(const net_real *x, const net_real *w, const uint8_t *steps, const uint32_t *counts,
                             const net_real *b, net_real *y, uint32_t outputs) {
    uint32_t at = 0U;
    uint32_t o;
    for (o = 0U; o < outputs; o++) {
        const uint32_t end = at + counts[o];
        net_real sum = b[o];
        uint32_t i = 0U; /* input + 1 */
        while (at < end) {
            i += steps[at];
            sum += x[i - 1U] * w[at];
            at++;
        }
        y[o] = sum;
    }
}

/* steps of four bits, two in a byte, the first in the lower half; counts are even */
static void net_sparse_nibbles(const net_real *x, const net_real *w, const uint8_t *steps, const uint32_t *counts,
                               const net_real *b, net_real *y, uint32_t outputs) {
    uint32_t at = 0U;
    uint32_t o;
    for (o = 0U; o < outputs; o++) {
        const uint32_t end = at + counts[o];
        net_real sum = b[o];
        uint32_t i = 0U; /* input + 1 */
        while (at < end) {
            const uint32_t pair = steps[at / 2U];
            i += pair & 15U;
            sum += x[i - 1U] * w[at];
            i += pair >> 4U;
            sum += x[i - 1U] * w[at + 1U];
            at += 2U;
        }
        y[o] = sum;
    }
}
