/* test_model.c: models out of files.  Three files (models/make.py) predict what Python predicted; every truncation and
 * every change of a byte (17 values; all 255 with --all-values) is refused or does no harm; memory that runs out is
 * survived; threads share a model. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "allocator.h"
#include "check.h"
#include "model.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

CHECK_PROGRAM

enum { THREADS = 4 };
#ifdef EMULATED
enum { EVERY = 16 }; /* of the bytes are changed: an emulated processor is slow */
#else
enum { EVERY = 1 };
#endif

typedef struct file {
    uint8_t *data; /* exactly as long as it is: what is read beyond is found by sanitizers */
    size_t size;
} file;

static file read_model(const char *name) {
    char path[500];
    snprintf(path, sizeof path, "%s/%s.safetensors", MODELS, name);
    FILE *f = fopen(path, "rb");
    if (!f) fprintf(stderr, "%s is not there\n", path), exit(2);
    fseek(f, 0, SEEK_END);
    file whole = {NULL, (size_t)ftell(f)};
    rewind(f);
    whole.data = malloc(whole.size);
    if (!whole.data || fread(whole.data, 1, whole.size, f) != whole.size) exit(2);
    fclose(f);
    return whole;
}

static const uint8_t *tensor(const file *f, const char *name, size_t *size) { /* of the file's own bytes */
    pn_container c;
    CHECK(!pn_container_read(&c, f->data, f->size));
    const pn_tensor *t = pn_container_find(&c, (pn_text){name, strlen(name)}, "");
    if (!t) exit(2);
    const uint8_t *at = t->bytes;
    *size = t->size;
    pn_container_drop(&c);
    return at;
}

/* ---- predictions ------------------------------------------------------------------------------------------- */

typedef struct rows { /* of a file: inputs and outputs one after the other, [n][features], [n][answers] */
    size_t size, features, answers, n;
    char *x, *y; /* aligned copies */
} rows;

static rows rows_of(const file *f, const pn_model *m) {
    rows r = {pn_model_dtype(m) == PN_F64 ? 8 : 4, 0, 0, 3, NULL, NULL};
    for (uint32_t i = 0; i < pn_model_inputs(m); i++) r.features += pn_model_input_width(m, i);
    for (uint32_t k = 0; k < pn_model_outputs(m); k++) r.answers += pn_model_output_width(m, k);
    const size_t sizes[] = {r.n * r.features, r.n * r.answers};
    char **to[] = {&r.x, &r.y};
    for (int k = 0; k < 2; k++) {
        size_t size;
        const uint8_t *from = tensor(f, k ? "rows.y" : "rows.x", &size);
        CHECK(size == sizes[k] * r.size);
        *to[k] = malloc(sizes[k] * r.size);
        for (size_t i = 0; i < sizes[k]; i++) { /* from little-endian */
            uint64_t n = 0;
            for (size_t b = r.size; b > 0; b--) n = n << 8 | from[i * r.size + b - 1];
            const uint32_t half = (uint32_t)n;
            memcpy(*to[k] + i * r.size, r.size == 8 ? (const void *)&n : (const void *)&half, r.size);
        }
    }
    return r;
}
static void drop_rows(rows r) { free(r.x), free(r.y); }

static double element(const rows *r, const void *at, size_t i) {
    return r->size == 8 ? ((const double *)at)[i] : (double)((const float *)at)[i];
}

/* Predicts row by row and compares; returns whether all answers have the bits of the file's. */
static int predicts(const pn_model *m, const rows *r, void *scratch, const char *isa) {
    char *answer = malloc(r->answers * r->size);
    const void *x[PN_MOST_ENDS];
    void *y[PN_MOST_ENDS];
    pn_machine *machine;
    int same = 1;
    const pn_arenas arenas = {.params = m->params};
    const size_t bytes = pn_model_scratch(m, 1);
    const pn_status status = isa ? pn_machine_open_in(&machine, scratch, bytes, &m->plan, m->dtype, 1, &arenas, isa, 1)
                                 : pn_model_machine(&machine, m, 1, scratch, bytes);
    if (status != PN_OK) return 0;
    for (size_t row = 0; row < r->n; row++) {
        size_t at = row * r->features * r->size, to = 0;
        for (uint32_t i = 0; i < pn_model_inputs(m); i++) x[i] = r->x + at, at += pn_model_input_width(m, i) * r->size;
        for (uint32_t k = 0; k < pn_model_outputs(m); k++)
            y[k] = answer + to, to += pn_model_output_width(m, k) * r->size;
        same &= pn_predict(machine, 1, x, y) == PN_OK;
        const char *want = r->y + row * r->answers * r->size;
        same &= memcmp(answer, want, to) == 0;
        for (size_t k = 0; k < r->answers && !(isa && !same); k++)
            same &= fabs(element(r, answer, k) - element(r, want, k)) < 1e-5;
        for (size_t k = 0; k < r->answers && isa; k++)
            if (!(fabs(element(r, answer, k) - element(r, want, k)) < 1e-5))
                FAIL("answer %d of row %d", (int)k, (int)row);
    }
    free(answer);
    return same;
}

static void check_predictions(const char *name, const file *f, const pn_model *m) {
    const rows r = rows_of(f, m);
    void *scratch = malloc(pn_model_scratch(m, 1));
    for (int i = 0; pn_isa_name(i); i++) {
        if (!pn_isa_usable(pn_isa_name(i))) continue;
        AT("%s, %s", name, pn_isa_name(i));
        const int same = predicts(m, &r, scratch, pn_isa_name(i));
        CHECK(same || strcmp(pn_isa_name(i), "scalar") == 0); /* which has no fused multiply-add */
    }
    free(scratch);
    drop_rows(r);
}

static void check_batches(const char *name, const file *f,
                          const pn_model *m) { /* 3 rows at once, by machines for 1, 2, 3 */
    const rows r = rows_of(f, m);
    char *x[PN_MOST_ENDS], *y[PN_MOST_ENDS];
    const size_t size = r.size;
    for (int64_t most = 1; most <= 3; most++) {
        AT("%s, batches of %d", name, (int)most);
        void *scratch = malloc(pn_model_scratch(m, most));
        pn_machine *machine;
        CHECK(pn_model_machine(&machine, m, most, scratch, pn_model_scratch(m, most) - 1) == PN_BAD_ARGUMENT &&
              !machine);
        CHECK(pn_model_machine(&machine, m, most, NULL, SIZE_MAX) == PN_BAD_ARGUMENT);
        CHECK(pn_model_machine(&machine, m, most, scratch, pn_model_scratch(m, most)) == PN_OK);
        size_t before = 0; /* columns of the inputs before this one */
        for (uint32_t i = 0; i < pn_model_inputs(m); i++) {
            const size_t width = pn_model_input_width(m, i);
            x[i] = malloc(3 * width * size);
            for (size_t row = 0; row < 3; row++)
                memcpy(x[i] + row * width * size, r.x + (row * r.features + before) * size, width * size);
            before += width;
        }
        for (uint32_t k = 0; k < pn_model_outputs(m); k++) y[k] = malloc(3 * pn_model_output_width(m, k) * size);
        const long held = allocations;
        CHECK(pn_predict(machine, 3, (const void *const *)x, (void *const *)y) == PN_OK);
        CHECK(pn_predict(machine, 0, (const void *const *)x, (void *const *)y) == PN_OK);
        CHECK(pn_predict(machine, -1, (const void *const *)x, (void *const *)y) == PN_BAD_ARGUMENT);
        CHECK(allocations == held);
        before = 0;
        for (uint32_t k = 0; k < pn_model_outputs(m); k++) {
            const size_t width = pn_model_output_width(m, k);
            for (size_t i = 0; i < 3 * width; i++) {
                const size_t to = i / width * r.answers + before + i % width;
                CHECK(fabs(element(&r, y[k], i) - element(&r, r.y, to)) < 1e-5);
            }
            before += width;
        }
        for (uint32_t i = 0; i < pn_model_inputs(m); i++) free(x[i]);
        for (uint32_t k = 0; k < pn_model_outputs(m); k++) free(y[k]);
        pn_machine_close(machine); /* frees nothing */
        free(scratch);
    }
    CHECK(pn_model_scratch(m, 0) == 0 && pn_model_scratch(m, INT64_MAX) == 0);
    CHECK(pn_model_input_width(m, pn_model_inputs(m)) == 0 && pn_model_output_width(m, pn_model_outputs(m)) == 0);
    drop_rows(r);
}

/* ---- threads share a model, each with scratch of its own ---------------------------------------------------- */

typedef struct user {
    pthread_t thread;
    const pn_model *m;
    const rows *r;
    int same;
} user;

static void *use(void *argument) {
    user *u = argument;
    void *scratch = malloc(pn_model_scratch(u->m, 1));
    u->same = 1;
    for (int i = 0; i < 50; i++) u->same &= predicts(u->m, u->r, scratch, NULL);
    free(scratch);
    return NULL;
}

static void check_threads(const char *name, const file *f, const pn_model *m) {
    const char *isa = "scalar";
    if (pn_isa_default(&isa) != PN_OK || strcmp(isa, "scalar") == 0) return; /* other bits than the file's */
    AT("%s, threads", name);
    const rows r = rows_of(f, m);
    user users[THREADS];
    for (int i = 0; i < THREADS; i++) {
        users[i] = (user){.m = m, .r = &r};
        CHECK(pthread_create(&users[i].thread, NULL, use, &users[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(users[i].thread, NULL);
        CHECK(users[i].same);
    }
    drop_rows(r);
}

/* ---- files that are damaged, or made to do harm ----------------------------------------------------------------- */

/* Opens, and predicts a row if that was possible; whether it was. */
static int harmless(const uint8_t *data, size_t size) {
    char text[100];
    memset(text, 'x', sizeof text);
    pn_model *m;
    const long held = allocations - frees;
    largest = 0;
    const pn_status status = pn_model_open_memory(&m, data, size, text, sizeof text);
    CHECK(largest <= PN_MODEL_BYTES + PN_MODEL_BYTES_PER_BYTE * (size + 1));
    CHECK((status == PN_OK) == (m != NULL));
    CHECK(memchr(text, 0, sizeof text) && (status == PN_OK) == (text[0] == 0));
    if (m && pn_model_scratch(m, 1) < 1 << 26) {
        const void *x[PN_MOST_ENDS];
        void *y[PN_MOST_ENDS], *scratch = malloc(pn_model_scratch(m, 1));
        pn_machine *machine;
        for (uint32_t i = 0; i < pn_model_inputs(m); i++) x[i] = calloc(pn_model_input_width(m, i) + 1, 8);
        for (uint32_t k = 0; k < pn_model_outputs(m); k++) y[k] = calloc(pn_model_output_width(m, k), 8);
        if (pn_model_machine(&machine, m, 1, scratch, pn_model_scratch(m, 1)) == PN_OK)
            CHECK(pn_predict(machine, 1, x, y) == PN_OK);
        for (uint32_t i = 0; i < pn_model_inputs(m); i++) free((void *)(uintptr_t)x[i]);
        for (uint32_t k = 0; k < pn_model_outputs(m); k++) free(y[k]);
        free(scratch);
    }
    pn_model_close(m);
    CHECK(allocations - frees == held);
    return status == PN_OK;
}

static void check_truncations(const char *name, const file *f) {
    AT("%s, cut short", name);
    for (size_t size = 0; size < f->size; size += size < 4000 ? 1 : EVERY) {
        uint8_t *data = malloc(size ? size : 1); /* so that the end of the memory is that of the file */
        memcpy(data, f->data, size);
        CHECK(!harmless(data, size));
        free(data);
    }
}

static int inside(const file *f, size_t i, const char *name) {
    size_t size;
    const uint8_t *at = tensor(f, name, &size);
    return f->data + i >= at && f->data + i < at + size;
}

static int all_values; /* each of the 255 others, not 17 */

/* Every byte takes other values.  What a number of the network says is not believed without its checksum. */
static void check_changes(const char *name, const file *f) {
    const char values[] = {'0', '9', '"', ',', '-', ' ', '\\', '}', 0};
    const size_t header = 8 + (size_t)f->data[0] + 256 * (size_t)f->data[1] + 65536 * (size_t)f->data[2];
    for (size_t i = 0; i < f->size; i += EVERY) {
        const uint8_t old = f->data[i];
        const int counts = i >= header && !inside(f, i, "rows.x") && !inside(f, i, "rows.y");
        AT("%s, byte %d", name, (int)i);
        for (int k = 0; k < (all_values ? 256 : 8 + (int)sizeof values); k++) {
            const uint8_t changed = all_values ? (uint8_t)k : k < 8 ? (uint8_t)(old ^ 1 << k) : (uint8_t)values[k - 8];
            if (changed == old) continue;
            f->data[i] = changed;
            const int accepted = harmless(f->data, f->size);
            CHECK(!(counts && accepted));
        }
        f->data[i] = old;
    }
    AT("%s, unchanged", name);
    CHECK(harmless(f->data, f->size));
}

/* The plan with a byte changed and its checksum put right: what a file that means harm would say. */
static void check_plans(const char *name, const file *f) {
    const char values[] = "0123456789af- ";
    pn_container c;
    CHECK(!pn_container_read(&c, f->data, f->size));
    char *plan = (char *)f->data + (c.plan.at - (const char *)f->data);
    const size_t n = c.plan.length - 8;
    long accepted = 0;
    pn_container_drop(&c);
    for (size_t i = 0; i < n; i += EVERY)
        for (const char *v = values; *v; v++) {
            const char old = plan[i];
            char crc[9];
            AT("%s, plan, character %d is %c", name, (int)i, *v);
            plan[i] = *v;
            snprintf(crc, sizeof crc, "%08x", (unsigned)pn_crc32(0, plan, n));
            memcpy(plan + n, crc, 8);
            accepted += harmless(f->data, f->size);
            plan[i] = old;
        }
    char crc[9];
    snprintf(crc, sizeof crc, "%08x", (unsigned)pn_crc32(0, plan, n));
    memcpy(plan + n, crc, 8);
    AT("%s, plan", name);
    CHECK(accepted > 0); /* e.g. another activation: the checksum was right */
}

/* ---- memory that runs out -----------------------------------------------------------------------------------------
 */

static void check_out_of_memory(const char *name, const file *f) {
#ifdef COUNT_ALLOCATIONS
    pn_model *m = NULL;
    char text[100];
    const long held = allocations - frees;
    int failed = 0;
    for (;; failed++) {
        AT("%s, allocation %d fails", name, failed + 1);
        fail_at = failed + 1;
        const pn_status status = pn_model_open_memory(&m, f->data, f->size, text, sizeof text);
        if (atomic_exchange(&fail_at, 0) > 0) {
            CHECK(status == PN_OK && m);
            break;
        }
        CHECK(status == PN_NO_MEMORY && !m && allocations - frees == held);
    }
    CHECK(failed == 5); /* the model, the tensors' list, the tables, the sources, the parameters */
    pn_model_close(m);
    CHECK(allocations - frees == held);
#else
    (void)name, (void)f;
#endif
}

static void check_paths(void) {
    pn_model *m;
    char text[100];
#ifdef COUNT_ALLOCATIONS
    const long held = allocations - frees;
    pn_status status = PN_NO_MEMORY;
    for (int n = 1; status == PN_NO_MEMORY && n < 100; n++) { /* the file's block, that of fopen, the model's */
        AT("path, allocation %d fails", n);
        fail_at = n;
        status = pn_model_open(&m, MODELS "/rich.safetensors", text, sizeof text);
        if (atomic_exchange(&fail_at, 0) > 0) break;
        CHECK(status == PN_NO_MEMORY && !m && allocations - frees == held);
    }
    CHECK(status == PN_OK && m);
    pn_model_close(m);
#endif
    AT("paths");
    CHECK(pn_model_open(&m, MODELS "/rich.safetensors", text, sizeof text) == PN_OK && m && !text[0]);
    pn_model_close(m);
    CHECK(pn_model_open(&m, MODELS "/nowhere", text, sizeof text) == PN_BAD_FILE && !m && text[0]);
    CHECK(pn_model_open(&m, MODELS, text, sizeof text) != PN_OK && !m);
    CHECK(pn_model_open(&m, MODELS "/nowhere", NULL, 0) == PN_BAD_FILE && !m);
    pn_model_close(NULL);
}

int main(int n, char **words) {
    all_values = n > 1 && strcmp(words[1], "--all-values") == 0;
    static const char *const names[] = {"plain", "rich", "pruned", "lanes"};
    check_paths();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const file f = read_model(names[i]);
        char text[100];
        pn_model *m;
        AT("%s", names[i]);
        const pn_status status = pn_model_open_memory(&m, f.data, f.size, text, sizeof text);
        if (!pn_dtype_built(PN_F64) && strcmp(names[i], "plain") == 0) {
            CHECK(status == PN_BAD_FILE && !m && strstr(text, "float64"));
            free(f.data);
            continue;
        }
        if (status != PN_OK) FAIL("%s", text);
        CHECK(status == PN_OK);
        if (m) {
            check_predictions(names[i], &f, m);
            check_batches(names[i], &f, m);
            check_threads(names[i], &f, m);
        }
        pn_model_close(m);
        check_out_of_memory(names[i], &f);
        check_truncations(names[i], &f);
        check_changes(names[i], &f);
        check_plans(names[i], &f);
        free(f.data);
    }
    return verdict("test_model", 10000);
}
