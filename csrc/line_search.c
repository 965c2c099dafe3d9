/* line_search.c: the line search of J. J. More and D. J. Thuente, "Line search algorithms with guaranteed sufficient
 * decrease", ACM TOMS 20 (1994), as in MINPACK-2's dcsrch and dcstep.  It finds a step t with
 *
 *   loss(t) <= loss(0) + DECREASE t slope(0)   and   |slope(t)| <= CURVATURE |slope(0)|
 *
 * the strong Wolfe conditions.  Two steps are kept: the best so far, and another end of an interval that holds such a
 * step once it is bracketed.  Its twin is src/pynet/reference_lbfgs.py. */
#include "search.h"

#include <math.h>

static const double DECREASE = 1e-4, CURVATURE = 0.9; /* Nocedal, Wright 2006, section 3.1 */
static const double NARROW = 1e-14;                   /* relative width of an interval that holds nothing any more */

void pn_line_begin(pn_line *l, double loss, double slope, double step, double most) {
    *l = (pn_line){.start_loss = loss, .start_slope = slope, .most = most};
    l->best_loss = l->other_loss = loss;
    l->best_slope = l->other_slope = slope;
    l->high = 5 * step; /* a first step is not made longer than this at once */
    l->width = most, l->width_before = 2 * most;
}

static double larger(double a, double b, double c) { return fmax(fabs(a), fmax(fabs(b), fabs(c))); }

/* The minimum of the cubic through losses f and slopes d at the steps a and b, as seen from a.  `beyond`: of steps on
 * the other side of a than b; infinite where there is none. */
static double cubic(double a, double fa, double da, double b, double fb, double db, int beyond) {
    const double theta = 3 * (fa - fb) / (b - a) + da + db, s = larger(theta, da, db);
    const double gamma = s * sqrt(fmax(0, theta / s * (theta / s) - da / s * (db / s))) * (b < a ? -1 : 1);
    const double r = (gamma - da + theta) / (beyond ? gamma + (db - da) + gamma : gamma - da + gamma + db);
    if (beyond && !(r < 0 && gamma != 0)) return INFINITY;
    return a + r * (b - a);
}
static double secant(double a, double da, double b, double db) { return a + da / (da - db) * (b - a); }
static double parabola(double a, double fa, double da, double b, double fb) {
    return a + da / ((fa - fb) / (b - a) + da) / 2 * (b - a);
}

/* The next step, from the best one x, the other end y, and the new one t; x and y become the new interval. */
static double safeguarded(pn_line *l, double t, double f, double d) {
    const double x = l->best, fx = l->best_loss, dx = l->best_slope, turned = d * (dx < 0 ? -1 : 1);
    double next;
    if (f > fx) { /* higher: a minimum lies between */
        const double c = cubic(x, fx, dx, t, f, d, 0), q = parabola(x, fx, dx, t, f);
        next = fabs(c - x) <= fabs(q - x) ? c : c + (q - c) / 2;
        l->bracketed = 1;
    } else if (turned < 0) { /* lower, but uphill now: a minimum lies between */
        const double c = cubic(t, f, d, x, fx, dx, 0), q = secant(t, d, x, dx);
        next = fabs(c - t) > fabs(q - t) ? c : q;
        l->bracketed = 1;
    } else if (fabs(d) < fabs(dx)) { /* lower, and less steep */
        double c = cubic(t, f, d, x, fx, dx, 1);
        const double q = secant(t, d, x, dx);
        if (isinf(c)) c = t > x ? l->high : l->low;
        if (l->bracketed) {
            next = fabs(c - t) < fabs(q - t) ? c : q;
            const double limit = t + 0.66 * (l->other - t);
            next = t > x ? fmin(limit, next) : fmax(limit, next);
        } else {
            next = fabs(c - t) > fabs(q - t) ? c : q;
            next = fmax(l->low, fmin(l->high, next));
        }
    } else { /* lower, and as steep */
        if (l->bracketed)
            next = cubic(t, f, d, l->other, l->other_loss, l->other_slope, 0);
        else
            next = t > x ? l->high : l->low;
    }
    if (f > fx) {
        l->other = t, l->other_loss = f, l->other_slope = d;
    } else {
        if (turned < 0) l->other = x, l->other_loss = fx, l->other_slope = dx;
        l->best = t, l->best_loss = f, l->best_slope = d;
    }
    return next;
}

pn_line_answer pn_line_next(pn_line *l, double loss, double slope, double *step) {
    const double t = *step, gain = DECREASE * l->start_slope, wanted = l->start_loss + t * gain;
    if (!l->sufficient && loss <= wanted && slope >= 0) l->sufficient = 1;
    if (loss <= wanted && fabs(slope) <= CURVATURE * -l->start_slope) return PN_LINE_DONE;
    const int narrow = l->bracketed && (t <= l->low || t >= l->high || l->high - l->low <= NARROW * l->high);
    if (narrow || (t >= l->most && loss <= wanted && slope <= gain)) return PN_LINE_STUCK;
    double next;
    if (!l->sufficient && loss <= l->best_loss && loss > wanted) { /* look at loss(t) - t gain until it is negative */
        l->best_loss -= l->best * gain, l->best_slope -= gain;
        l->other_loss -= l->other * gain, l->other_slope -= gain;
        next = safeguarded(l, t, loss - t * gain, slope - gain);
        l->best_loss += l->best * gain, l->best_slope += gain;
        l->other_loss += l->other * gain, l->other_slope += gain;
    } else {
        next = safeguarded(l, t, loss, slope);
    }
    if (l->bracketed) {
        const double width = fabs(l->other - l->best);
        if (width >= 0.66 * l->width_before) next = l->best + (l->other - l->best) / 2;
        l->width_before = l->width, l->width = width;
        l->low = fmin(l->best, l->other), l->high = fmax(l->best, l->other);
    } else {
        l->low = next + 1.1 * (next - l->best), l->high = next + 4 * (next - l->best);
    }
    if (isnan(next)) return PN_LINE_STUCK;
    next = fmin(fmax(next, 0), l->most);
    if (l->bracketed && (next <= l->low || next >= l->high || l->high - l->low <= NARROW * l->high)) next = l->best;
    *step = next;
    return PN_LINE_GOES_ON;
}
