/* table.h: what becomes of the raw values of a row. */

/* 1 where there is no number: NaN, and infinite ones */
static int net_is_missing(double x) { return !((x - x) == 0.0); }

/* the order of two texts, byte by byte: < 0, 0 or > 0 */
static int net_order(const char *a, const char *b) {
    while ((*a != '\0') && (*a == *b)) {
        a++;
        b++;
    }
    return (int)(unsigned char)*a - (int)(unsigned char)*b;
}

/* where a text stands among n that rise; n if it is none of them */
static uint32_t net_level(const char *text, const char *const *levels, uint32_t n) {
    uint32_t low = 0U;
    uint32_t high = n;
    while (low < high) {
        const uint32_t middle = low + ((high - low) / 2U);
        if (net_order(levels[middle], text) < 0) {
            low = middle + 1U;
        } else {
            high = middle;
        }
    }
    return ((low < n) && (net_order(levels[low], text) == 0)) ? low : n;
}

/* 1 where there is no text: NULL, and the texts that mean it */
static int net_is_no_text(const char *text) {
    return (text == NULL) || (net_level(text, net_no_texts, NET_NO_TEXTS) < NET_NO_TEXTS);
}

/* y = 0 but for a 1 at the place of the text; places of what is missing or unknown: n where there is none */
static void net_one_hot(const char *text, const char *const *levels, uint32_t n_levels, uint32_t missing,
                        uint32_t unknown, net_real *y, uint32_t n) {
    uint32_t place = missing;
    uint32_t i;
    if (!net_is_no_text(text)) {
        place = net_level(text, levels, n_levels);
        place = (place < n_levels) ? place : unknown;
    }
    for (i = 0U; i < n; i++) {
        y[i] = (i == place) ? NET_R(1.0) : NET_R(0.0);
    }
}

/* how far x is from the first to the second of two knots, 0 to 1, for n pairs of neighbours */
static void net_pieces(double x, const double *knots, net_real *y, uint32_t n) {
    uint32_t i;
    for (i = 0U; i < n; i++) {
        const double d = (x - knots[i]) * (1.0 / (knots[i + 1U] - knots[i]));
        y[i] = (d <= 0.0) ? NET_R(0.0) : ((d >= 1.0) ? NET_R(1.0) : (net_real)d);
    }
}

/* linear between n points (knots, z), constant outside */
static net_real net_interpolated(double x, const double *knots, const double *z, uint32_t n) {
    uint32_t i = 0U;
    double y = z[n - 1U];
    while ((i < n) && (knots[i] < x)) {
        i++;
    }
    if (i == 0U) {
        y = z[0];
    } else if (i < n) {
        y = (((z[i] - z[i - 1U]) / (knots[i] - knots[i - 1U])) * (x - knots[i - 1U])) + z[i - 1U];
    } else {
        /* beyond the last one */
    }
    return (net_real)y;
}

/* sine and cosine of the place of a day in a period */
static void net_turn(double day, double period, net_real *y) {
    double turns = day / period;
    net_real angle;
    if ((turns > -1e15) && (turns < 1e15)) {
        turns -= (double)(int64_t)turns;
    } else {
        turns = 0.0;
    }
    angle = (net_real)(6.283185307179586477 * turns);
    y[0] = net_sin(angle);
    y[1] = net_sin(angle + NET_R(1.57079632679489661923));
}
