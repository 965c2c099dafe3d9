/* plan_text.c: the plan of a network as it stands in the metadata of its file.  Its writer is src/pynet/plan_text.py.
 *
 *   1 float32  n_inputs
 *   n_values   width ...
 *   n_params   (name I O crc) ...
 *   n_ops      (kind act flags x x2 y z w b w2 slot at p0 p1 p2) ...
 *   n_outputs  value ...
 *   crc        of the text before it
 *
 * Words between single spaces: decimal numbers, "-" for PN_NONE, p as the 16 hexadecimal digits of an IEEE double or
 * "0", crc 8 hexadecimal digits.  Values and parameters stand one behind the other, so their places need not be told.
 */
#include "model.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TABLE = 1 << 14, MAX_WIDTH = 1 << 24, VERSION = 1 };

typedef struct words {
    const char *at, *end;
    int bad;
} words;

static pn_text word(words *w) {
    pn_text text = {w->at, 0};
    while (w->at < w->end && *w->at != ' ') w->at++;
    text.length = (size_t)(w->at - text.at);
    if (!text.length) w->bad = 1;
    if (w->at < w->end) w->at++;
    return text;
}

static uint64_t digits(words *w, unsigned base, uint64_t most) {
    const pn_text text = word(w);
    uint64_t n = 0;
    for (size_t i = 0; i < text.length; i++) {
        const char c = text.at[i];
        const unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                               : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                                      : 99;
        if (digit >= base || n > (most - digit) / base) {
            w->bad = 1;
            return 0;
        }
        n = n * base + digit;
    }
    return n;
}

static uint32_t number(words *w, uint32_t most) { return (uint32_t)digits(w, 10, most); }

static uint32_t index_or_none(words *w) {
    if (w->end - w->at >= 2 && w->at[0] == '-' && w->at[1] == ' ') {
        w->at += 2;
        return PN_NONE;
    }
    return number(w, PN_NONE - 1);
}

static double bits(words *w) {
    const uint64_t n = digits(w, 16, UINT64_MAX);
    double p;
    memcpy(&p, &n, sizeof p);
    return p;
}

/* A multiple of 16, and never of 512: see pn_value. */
static uint32_t leading_dimension(uint32_t width) {
    const uint32_t ld = (uint32_t)pn_pad(width);
    return ld % 512 ? ld : ld + PN_PANEL;
}

static void read_values(words *w, pn_value *values, pn_plan *plan) {
    uint64_t column = 0;
    for (uint32_t i = 0; i < plan->n_values && !w->bad; i++) {
        const uint32_t width = number(w, MAX_WIDTH);
        values[i] = (pn_value){width, leading_dimension(width), (uint32_t)column, 0};
        column += values[i].ld;
        if (column > UINT32_MAX) w->bad = 1;
    }
    plan->row_elems = (uint32_t)column;
}

static void read_params(words *w, pn_param *params, pn_source *sources, pn_plan *plan) {
    uint64_t offset = 0;
    for (uint32_t i = 0; i < plan->n_params && !w->bad; i++) {
        sources[i].name = word(w);
        const uint32_t rows = number(w, MAX_WIDTH), cols = number(w, MAX_WIDTH);
        sources[i].crc = (uint32_t)digits(w, 16, UINT32_MAX);
        params[i] = (pn_param){.offset = offset, .rows = rows, .cols = cols, .rate = 1};
        offset += pn_param_size(&params[i]); /* at most 2^48, and no more than 2^40 before it */
        if (offset > (uint64_t)1 << 40) w->bad = 1;
    }
    plan->param_elems = offset;
}

static void read_ops(words *w, pn_op *ops, const pn_plan *plan) {
    for (uint32_t i = 0; i < plan->n_ops && !w->bad; i++) {
        pn_op *op = &ops[i];
        op->kind = (uint8_t)number(w, UINT8_MAX), op->act = (uint8_t)number(w, UINT8_MAX);
        op->flags = (uint16_t)number(w, UINT16_MAX);
        uint32_t *fields[] = {&op->x, &op->x2, &op->y, &op->z, &op->w, &op->b, &op->w2};
        for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) *fields[k] = index_or_none(w);
        op->slot = number(w, UINT32_MAX), op->at = number(w, UINT32_MAX);
        for (int k = 0; k < 3; k++) op->p[k] = bits(w);
    }
}

/* The tables in one block, in order of alignment. */
static const char *allot(pn_model *m, pn_param **params, pn_op **ops, pn_value **values, uint32_t **outputs) {
    const pn_plan *plan = &m->plan;
    const size_t sizes[] = {plan->n_params * sizeof(pn_param), plan->n_ops * sizeof(pn_op),
                            plan->n_values * sizeof(pn_value), plan->n_outputs * sizeof(uint32_t)};
    char *block = m->tables = calloc(1, sizes[0] + sizes[1] + sizes[2] + sizes[3] + 1);
    m->sources = calloc(plan->n_params + 1, sizeof *m->sources);
    if (!block || !m->sources) return PN_OUT_OF_MEMORY;
    *params = (pn_param *)block, *ops = (pn_op *)(block + sizes[0]);
    *values = (pn_value *)(block + sizes[0] + sizes[1]),
    *outputs = (uint32_t *)(block + sizes[0] + sizes[1] + sizes[2]);
    return NULL;
}

/* Steps over n entries of `each` words, for the count behind them. */
static uint32_t count_behind(words *w, uint32_t n, int each) {
    for (uint32_t i = 0; i < n * (uint32_t)each && !w->bad; i++) word(w);
    return number(w, MAX_TABLE);
}

const char *pn_plan_text_read(pn_model *m, pn_text text) {
    const char *wrong = "the entry 'pynet.plan' of the metadata is not a plan";
    pn_plan *plan = &m->plan;
    if (text.length < 9) return wrong;
    words last = {text.at + text.length - 8, text.at + text.length, 0};
    const uint32_t crc = (uint32_t)digits(&last, 16, UINT32_MAX);
    if (last.bad || PN_CRC_DIFFERS(pn_crc32(0, text.at, text.length - 8), crc))
        return "the entry 'pynet.plan' of the metadata does not match its checksum: the file is damaged";

    words w = {text.at, text.at + text.length - 9, 0};
    if (number(&w, UINT32_MAX) != VERSION) return "a plan of another version of the format";
    const pn_text dtype = word(&w);
    m->dtype = pn_text_is(dtype, "float64") ? PN_F64 : PN_F32;
    if (m->dtype == PN_F32 && !pn_text_is(dtype, "float32")) return wrong;
    plan->n_inputs = number(&w, MAX_TABLE);

    words ahead = w; /* all counts first, then the tables */
    plan->n_values = number(&ahead, MAX_TABLE);
    plan->n_params = count_behind(&ahead, plan->n_values, 1);
    plan->n_ops = count_behind(&ahead, plan->n_params, 4);
    plan->n_outputs = count_behind(&ahead, plan->n_ops, 15);
    if (ahead.bad || !plan->n_ops || !plan->n_outputs) return wrong;
    pn_param *params;
    pn_op *ops;
    pn_value *values;
    uint32_t *outputs;
    const char *fault = allot(m, &params, &ops, &values, &outputs);
    if (fault) return fault;
    plan->params = params, plan->ops = ops, plan->values = values, plan->outputs = outputs;

    number(&w, MAX_TABLE), read_values(&w, values, plan);
    number(&w, MAX_TABLE), read_params(&w, params, m->sources, plan);
    number(&w, MAX_TABLE), read_ops(&w, ops, plan);
    number(&w, MAX_TABLE);
    for (uint32_t i = 0; i < plan->n_outputs; i++) outputs[i] = number(&w, MAX_TABLE);
    return w.bad || w.at != w.end ? wrong : NULL;
}
