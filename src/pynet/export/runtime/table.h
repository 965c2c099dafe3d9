/* table.h: what becomes of the raw values of a row. */

/* 1 where there is no number: NaN, and infinite ones */
static int net_is_missing(double x) { return !((x - x) == 0.0); }

/* 1 for a blank, as far as it is ASCII */
static int net_is_blank(char c) { return ((c >= '\t') && (c <= '\r')) || ((c >= '\034') && (c <= ' ')); }

/* the order of a text and the first n bytes of another: < 0, 0 or > 0 */
static int net_order(const char *a, const char *b, size_t n) {
    size_t i = 0U;
    while ((i < n) && (a[i] != '\0') && (a[i] == b[i])) {
        i++;
    }
    return (int)(unsigned char)a[i] - ((i < n) ? (int)(unsigned char)b[i] : 0);
}

/* where a text of so many bytes stands among n that rise; n if it is none of them */
static uint32_t net_level(const char *text, size_t bytes, const char *const *levels, uint32_t n) {
    uint32_t low = 0U;
    uint32_t high = n;
    while (low < high) {
        const uint32_t middle = low + ((high - low) / 2U);
        if (net_order(levels[middle], text, bytes) < 0) {
            low = middle + 1U;
        } else {
            high = middle;
        }
    }
    return ((low < n) && (net_order(levels[low], text, bytes) == 0)) ? low : n;
}

/* y = 0 but for a 1 at the place of the text, around which blanks do not count; places of what is missing (NULL, and
 * the texts that mean it) or unknown: n where there is none */
static void net_one_hot(const char *text, const char *const *levels, uint32_t n_levels, uint32_t missing,
                        uint32_t unknown, net_real *y, uint32_t n) {
    uint32_t place = missing;
    uint32_t i;
    if (text != NULL) {
        const char *from = text;
        size_t bytes = 0U;
        while (net_is_blank(*from)) {
            from++;
        }
        while (from[bytes] != '\0') {
            bytes++;
        }
        while ((bytes > 0U) && net_is_blank(from[bytes - 1U])) {
            bytes--;
        }
        if (net_level(from, bytes, net_no_texts, NET_NO_TEXTS) == NET_NO_TEXTS) {
            place = net_level(from, bytes, levels, n_levels);
            place = (place < n_levels) ? place : unknown;
        }
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
