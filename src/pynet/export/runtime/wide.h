/* wide.h: dense layers, for a compiler that makes vectors of loops. */

/* 32 outputs side by side */
static void net_panel_32(const net_real *x, const net_real *w, const net_real *b, net_real *y, uint32_t inputs) {
    net_real sum[32];
    uint32_t i;
    uint32_t k;
    for (k = 0U; k < 32U; k++) {
        sum[k] = b[k];
    }
    for (i = 0U; i < inputs; i++) {
        const net_real *const row = &w[(size_t)i * 32U];
        const net_real xi = x[i];
        for (k = 0U; k < 32U; k++) {
            sum[k] += xi * row[k];
        }
    }
    for (k = 0U; k < 32U; k++) {
        y[k] = sum[k];
    }
}

static void net_dense(const net_real *x, const net_real *w, const net_real *b, net_real *y, uint32_t inputs,
                      uint32_t outputs) {
    const uint32_t wide = outputs - (outputs % 32U);
    uint32_t o;
    for (o = 0U; o < wide; o += 32U) {
        net_panel_32(x, &w[(size_t)o * inputs], &b[o], &y[o], inputs);
    }
    net_panels_4_1(x, &w[(size_t)wide * inputs], &b[wide], &y[wide], inputs, outputs - wide);
}
