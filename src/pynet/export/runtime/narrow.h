/* narrow.h: dense layers, for a processor that takes one number at a time. */

static void net_dense(const net_real *x, const net_real *w, const net_real *b, net_real *y, uint32_t inputs,
                      uint32_t outputs) {
    net_panels_4_1(x, w, b, y, inputs, outputs);
}
