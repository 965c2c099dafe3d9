/* roll.c: the roll-calls as data: names and numbers of ops, losses, optimizers, activations, and what they need. */
#include "core.h"

#include <string.h>

enum { Y = 'Y', X = 'X' };
#define OP(id, NAME)               {"op", #NAME, id, 0},
#define LOSS(id, NAME)             {"loss", #NAME, id, 0},
#define METRIC(id, NAME)           {"metric", #NAME, id, 0},
#define OPTIMIZER(id, NAME, slots) {"optimizer", #NAME, id, slots},
#define CLIP(id, NAME)             {"clip", #NAME, id, 0},
#define RANDOM(id, NAME)           {"random", #NAME, id, 0},
const pn_entry pn_roll[] = {
#include "ops.def"
#define ACT(id, NAME, needs, forward, derivative) {"activation", #NAME, id, needs},
#define ACT_ROW(id, NAME, needs)                  {"activation", #NAME, id, needs},
#include "activations.def"
    {"", "", 0, 0}};
#undef ACT
#undef ACT_ROW

static const pn_entry *find(const char *list, int id) {
    for (const pn_entry *e = pn_roll; *e->list; e++)
        if (e->id == id && strcmp(e->list, list) == 0) return e;
    return NULL;
}

int pn_known(const char *list, int id) { return find(list, id) != NULL; }

/* Asked in every step: looking it up in the roll-call was 5 % of the instructions of a step of 4-32-32-1 @1. */
int pn_activation_needs_x(int id) {
#define ACT(id, NAME, needs, forward, derivative) [id] = needs == X,
#define ACT_ROW(id, NAME, needs)                  [id] = needs == X,
    static const uint8_t table[PN_N_ACTS] = {
#include "activations.def"
    };
#undef ACT
#undef ACT_ROW
    return table[id];
}
int pn_optimizer_slots(int id) { return find("optimizer", id) ? find("optimizer", id)->extra : -1; }

int pn_op_predicts(int kind) {
    switch (kind) {
    case PN_OP_loss:
    case PN_OP_metric:
    case PN_OP_random:
    case PN_OP_batch_norm: /* of the statistics of a batch */ return 0;
    default: return 1;
    }
}

const char *pn_version(void) { return PN_VERSION; }

const char *pn_status_text(pn_status status) {
    static const char *const text[] = {"ok",
                                       "the plan is not valid",
                                       "an argument is not valid",
                                       "out of memory",
                                       "no such instruction set on this CPU",
                                       "the loss became NaN or infinite",
                                       "a class label is out of range",
                                       "the machine is running in another thread",
                                       "the function of a python op failed, or there is none",
                                       "the file cannot be read, is damaged, or is no model"};
    return status >= PN_OK && status <= PN_BAD_FILE ? text[status] : "unknown status";
}
