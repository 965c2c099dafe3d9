/* container.c: the safetensors container, read with suspicion.
 *
 * An 8-byte little-endian length, a JSON header of that length, then the tensors.  The header is an object of
 *   "__metadata__": {"text": "text", ...}
 *   "name": {"dtype": "F32", "shape": [784, 128], "data_offsets": [0, 401408]}, ...
 * and nothing else: what is stranger is refused, as src/pynet/_safetensors.py does.  No number is believed before it
 * was compared with the true length of the file.  Nothing is decoded: names and texts are pointers into the file. */
#include "model.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 1 << 22, MAX_TENSORS = 4096, MAX_DIM = 1 << 24, MAX_NAME = 256 };

typedef struct scanner {
    const char *at, *end;
} scanner;

static void skip_space(scanner *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r')) s->at++;
}

/* Whether `c` comes next; then it is behind us. */
static int take(scanner *s, char c) {
    skip_space(s);
    if (s->at == s->end || *s->at != c) return 0;
    s->at++;
    return 1;
}

static int take_string(scanner *s, pn_text *text) {
    if (!take(s, '"')) return 0;
    text->at = s->at;
    while (s->at < s->end && *s->at != '"') {
        if (*s->at == '\\' && ++s->at == s->end) return 0;
        if ((unsigned char)*s->at < 0x20) return 0;
        s->at++;
    }
    text->length = (size_t)(s->at - text->at);
    return take(s, '"');
}

static int take_number(scanner *s, uint64_t *n) {
    skip_space(s);
    const char *first = s->at;
    for (*n = 0; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++) {
        if (*n > (UINT64_MAX - 9) / 10) return 0;
        *n = *n * 10 + (uint64_t)(*s->at - '0');
    }
    return s->at > first && (*first != '0' || s->at == first + 1);
}

/* Up to `most` numbers in brackets; returns how many, -1 if it is something else. */
static int take_list(scanner *s, uint64_t *n, int most) {
    int count = 0;
    if (!take(s, '[')) return -1;
    if (take(s, ']')) return 0;
    do
        if (count == most || !take_number(s, &n[count++])) return -1;
    while (take(s, ','));
    return take(s, ']') ? count : -1;
}

int pn_text_is(pn_text text, const char *other) {
    return text.length == strlen(other) && memcmp(text.at, other, text.length) == 0;
}

static int is_name(pn_text text) {
    for (size_t i = 0; i < text.length; i++) {
        const char c = text.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("._-", c))) return 0;
    }
    return text.length >= 1 && text.length <= MAX_NAME;
}

static int take_metadata(scanner *s, pn_container *c) {
    if (!take(s, '{')) return 0;
    if (take(s, '}')) return 1;
    do {
        pn_text key, value;
        if (!take_string(s, &key) || !take(s, ':') || !take_string(s, &value)) return 0;
        if (!pn_text_is(key, "pynet.plan")) continue;
        if (c->plan.at) return 0; /* twice */
        c->plan = value;
    } while (take(s, ','));
    return take(s, '}');
}

static size_t item_size(pn_text dtype) {
    return pn_text_is(dtype, "F64")                               ? 8
           : pn_text_is(dtype, "F32") || pn_text_is(dtype, "U32") ? 4
           : pn_text_is(dtype, "U8")                              ? 1
                                                                  : 0;
}

/* {"dtype": ..., "shape": [...], "data_offsets": [...]}, in any order */
static int take_tensor(scanner *s, pn_tensor *t, const uint8_t *data, uint64_t size) {
    uint64_t shape[2] = {1, 1}, offsets[2];
    unsigned seen = 0;
    if (!take(s, '{')) return 0;
    do {
        pn_text key;
        if (!take_string(s, &key) || !take(s, ':')) return 0;
        const unsigned which = pn_text_is(key, "dtype") ? 1 : pn_text_is(key, "shape") ? 2 : 4;
        if (seen & which) return 0;
        seen |= which;
        if (which == 1 && !take_string(s, &t->dtype)) return 0;
        if (which == 2 && (t->rank = take_list(s, shape, 2)) < 0) return 0;
        if (which == 4 && (!pn_text_is(key, "data_offsets") || take_list(s, offsets, 2) != 2)) return 0;
    } while (take(s, ','));
    if (!take(s, '}') || seen != 7 || shape[0] < 1 || shape[0] > MAX_DIM || shape[1] < 1 || shape[1] > MAX_DIM ||
        offsets[0] > offsets[1] || offsets[1] > size)
        return 0;
    t->shape[0] = (uint32_t)shape[0], t->shape[1] = (uint32_t)shape[1];
    t->bytes = data + offsets[0], t->size = offsets[1] - offsets[0];
    t->count = shape[0] * shape[1];
    const size_t item = item_size(t->dtype); /* 0: of a type that no plan reads */
    return !item || t->size == t->count * item;
}

const char *pn_container_read(pn_container *c, const void *file, size_t size) {
    const uint8_t *bytes = file;
    *c = (pn_container){0};
    uint64_t length = 0;
    if (size < 8) return "not a safetensors file: shorter than 8 bytes";
    for (int i = 7; i >= 0; i--) length = length << 8 | bytes[i];
    if (length > size - 8 || length > MAX_HEADER)
        return "not a safetensors file, or cut short: its header is longer than the file or than 4 MiB";
    scanner s = {(const char *)bytes + 8, (const char *)bytes + 8 + length};
    const uint8_t *data = bytes + 8 + length;

    uint32_t most = 0; /* every tensor has two '[' of its own */
    for (const char *p = s.at; p < s.end; p++) most += *p == '[';
    most = most / 2 < MAX_TENSORS ? most / 2 : MAX_TENSORS;
    c->tensors = calloc(most ? most : 1, sizeof *c->tensors);
    if (!c->tensors) return PN_OUT_OF_MEMORY;

    const char *wrong = "the header is not that of a safetensors file as pynet writes them";
    if (!take(&s, '{')) return wrong;
    do {
        pn_text name;
        if (!take_string(&s, &name) || !take(&s, ':')) return wrong;
        if (pn_text_is(name, "__metadata__")) {
            if (!take_metadata(&s, c)) return "the metadata in the header are not texts";
            continue;
        }
        if (c->n_tensors == most || !is_name(name)) return wrong;
        pn_tensor *t = &c->tensors[c->n_tensors++];
        t->name = name;
        if (!take_tensor(&s, t, data, size - 8 - length))
            return "a tensor in the header contradicts itself or the file";
    } while (take(&s, ','));
    skip_space(&s);
    if (!take(&s, '}')) return wrong;
    skip_space(&s);
    return s.at == s.end ? NULL : wrong;
}

const pn_tensor *pn_container_find(const pn_container *c, pn_text name, const char *suffix) {
    const size_t more = strlen(suffix);
    const pn_tensor *found = NULL;
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        const pn_text t = c->tensors[i].name;
        if (t.length != name.length + more || memcmp(t.at, name.at, name.length) != 0 ||
            memcmp(t.at + name.length, suffix, more) != 0)
            continue;
        if (found) return NULL; /* twice: neither is believed */
        found = &c->tensors[i];
    }
    return found;
}

void pn_container_drop(pn_container *c) { free(c->tensors); }

uint32_t pn_crc32(uint32_t crc, const void *data, size_t n) {
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    const uint8_t *p = data;
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}
