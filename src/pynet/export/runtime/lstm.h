/* lstm.h: long short-term memory cells (Hochreiter, Schmidhuber 1997). */

/* the gates of all cells, input, forget, cell and output side by side, become c and h; begun 0: c was 0 before */
static void net_lstm_cells(const net_real *gates, net_real *c, net_real *h, uint32_t units, uint32_t begun) {
    uint32_t u;
    for (u = 0U; u < units; u++) {
        const net_real input = net_sigmoid(gates[u]);
        const net_real forget = net_sigmoid(gates[units + u]);
        const net_real cell = net_tanh(gates[(2U * units) + u]);
        const net_real output = net_sigmoid(gates[(3U * units) + u]);
        const net_real before = (begun != 0U) ? c[u] : NET_R(0.0);
        c[u] = (forget * before) + (input * cell);
        h[u] = output * net_tanh(c[u]);
    }
}

/* one step: state is h and behind it c, both 0 before the first; gates is memory for [4 units]; mask as below */
static void net_lstm_step(const net_real *x, const net_real *mask, const net_real *w, const net_real *r,
                          const net_real *b, net_real *state, net_real *gates, uint32_t features, uint32_t units) {
    if ((mask == NULL) || (mask[0] > NET_R(0.5))) {
        net_dense(x, w, b, gates, features, 4U * units);
        net_dense(state, r, gates, gates, units, 4U * units);
        net_lstm_cells(gates, &state[units], state, units, 1U);
    }
}

/* x [steps][features], work [5 units]; y: the last h, or with `all` the h of each step; where mask (may be NULL) is not
 * above 1/2, a step is left out */
static void net_lstm(const net_real *x, const net_real *mask, const net_real *w, const net_real *r, const net_real *b,
                     net_real *y, net_real *work, uint32_t steps, uint32_t features, uint32_t units, uint32_t all) {
    net_real *const gates = work;
    net_real *const c = &work[(size_t)units * 4U];
    net_real *h = y;
    uint32_t begun = 0U;
    uint32_t t;
    for (t = 0U; t < steps; t++) {
        net_real *const next = (all != 0U) ? &y[(size_t)t * units] : y;
        if ((mask == NULL) || (mask[t] > NET_R(0.5))) {
            net_dense(&x[(size_t)t * features], w, b, gates, features, 4U * units);
            if (begun != 0U) {
                net_dense(h, r, gates, gates, units, 4U * units);
            }
            net_lstm_cells(gates, c, next, units, begun);
            begun = 1U;
        } else if (begun == 0U) {
            net_clear(next, units);
        } else if (all != 0U) {
            net_copy(h, next, units);
        } else {
            /* h stays as it is */
        }
        h = next;
    }
}
