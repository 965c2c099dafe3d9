/* model.h: what container.c, plan_text.c and model.c share.
 *
 *   file --container.c--> texts and tensors --plan_text.c--> pn_plan --model.c: parameters in panels--> pn_model */
#ifndef PN_MODEL_H
#define PN_MODEL_H

#include "core.h"

#define PN_OUT_OF_MEMORY "out of memory"

typedef struct pn_text { /* inside a file: no zero at its end */
    const char *at;
    size_t length;
} pn_text;
int pn_text_is(pn_text text, const char *other);

typedef struct pn_tensor {
    pn_text name, dtype;
    int rank;
    uint32_t shape[2]; /* 1 where there is no such axis */
    uint64_t count, size;
    const uint8_t *bytes; /* little-endian, of any alignment */
} pn_tensor;

typedef struct pn_container {
    pn_text plan; /* the metadata entry "pynet.plan", .at NULL without one */
    pn_tensor *tensors;
    uint32_t n_tensors;
} pn_container;

/* NULL, or what is wrong.  Afterwards pn_container_drop, whatever came. */
const char *pn_container_read(pn_container *c, const void *file, size_t size);
void pn_container_drop(pn_container *c);
/* The tensor called name + suffix; NULL if there is none, or more than one. */
const pn_tensor *pn_container_find(const pn_container *c, pn_text name, const char *suffix);
uint32_t pn_crc32(uint32_t crc, const void *data, size_t n); /* of zlib; begins with 0 */
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION              /* no input that a fuzzer makes would have the right one */
#define PN_CRC_DIFFERS(crc, expected) ((void)(crc), (void)(expected), 0)
#else
#define PN_CRC_DIFFERS(crc, expected) ((crc) != (expected))
#endif

typedef struct pn_source { /* where the numbers of a parameter come from */
    pn_text name;
    uint32_t crc; /* of the bytes of its tensors */
} pn_source;

struct pn_model {
    pn_plan plan;
    pn_dtype dtype;
    void *params;       /* the arena, aligned inside `memory` */
    void *memory;       /* arena and places */
    void *tables;       /* values, params, ops, outputs */
    pn_source *sources; /* of each parameter, while it is being opened */
};

/* NULL, or what is wrong.  Fills plan (without places and ends), dtype, tables and sources. */
const char *pn_plan_text_read(pn_model *model, pn_text text);

#endif
