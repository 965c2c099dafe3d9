/* dense.h: y = x w + b.  w stands in panels of P outputs, each row by row [I][P]: first those of wide.h, if it is used,
 * then of 4, then of 1. */

/* four outputs side by side */
static void net_panel_4(const net_real *x, const net_real *w, const net_real *b, net_real *y, uint32_t inputs) {
    net_real y0 = b[0];
    net_real y1 = b[1];
    net_real y2 = b[2];
    net_real y3 = b[3];
    uint32_t i;
    for (i = 0U; i < inputs; i++) {
        const net_real *const row = &w[(size_t)i * 4U];
        y0 += x[i] * row[0];
        y1 += x[i] * row[1];
        y2 += x[i] * row[2];
        y3 += x[i] * row[3];
    }
    y[0] = y0;
    y[1] = y1;
    y[2] = y2;
    y[3] = y3;
}

/* one output, in four sums side by side */
static net_real net_dot(const net_real *x, const net_real *w, uint32_t inputs) {
    net_real s0 = NET_R(0.0);
    net_real s1 = NET_R(0.0);
    net_real s2 = NET_R(0.0);
    net_real s3 = NET_R(0.0);
    const uint32_t fours = inputs - (inputs % 4U);
    uint32_t i;
    for (i = 0U; i < fours; i += 4U) {
        s0 += x[i] * w[i];
        s1 += x[i + 1U] * w[i + 1U];
        s2 += x[i + 2U] * w[i + 2U];
        s3 += x[i + 3U] * w[i + 3U];
    }
    for (i = fours; i < inputs; i++) {
        s0 += x[i] * w[i];
    }
    return (s0 + s1) + (s2 + s3);
}

/* b may be y itself */
static void net_panels_4_1(const net_real *x, const net_real *w, const net_real *b, net_real *y, uint32_t inputs,
                           uint32_t outputs) {
    const uint32_t fours = outputs - (outputs % 4U);
    uint32_t o;
    for (o = 0U; o < fours; o += 4U) {
        net_panel_4(x, &w[(size_t)o * inputs], &b[o], &y[o], inputs);
    }
    for (o = fours; o < outputs; o++) {
        y[o] = b[o] + net_dot(x, &w[(size_t)o * inputs], inputs);
    }
}
