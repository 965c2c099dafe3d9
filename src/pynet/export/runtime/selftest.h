/* selftest.h: what net_selftest compares with. */

/* how many of y are further than the tolerance from what they should be; a NaN is */
static int net_wrong(const net_real *y, const net_real *expected, net_real tolerance, uint32_t n) {
    int wrong = 0;
    uint32_t i;
    for (i = 0U; i < n; i++) {
        const net_real d = y[i] - expected[i];
        if (!((d <= tolerance) && (d >= -tolerance))) {
            wrong++;
        }
    }
    return wrong;
}
