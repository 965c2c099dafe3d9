/* fuzz_model.c: what libFuzzer calls with files that nobody wrote (tests/c/fuzz.sh), and, without it (test_corpus),
 * what calls itself with those that are kept in corpus/.
 *
 * The first byte of an input says what the others are: 0, 1, 2 the plan of the model plain, rich or pruned; else a
 * whole file.  Checksums are not looked at (FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION): no input would get past them. */
#define _FILE_OFFSET_BITS 64 /* readdir, for programs of 32 bits */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_SEEDS = 3, MOST_BYTES = 1 << 24 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *read_whole(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (!f) fprintf(stderr, "%s is not there\n", path), exit(2);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    void *data = malloc(*size + 1);
    if (!data || fread(data, 1, *size, f) != *size) exit(2);
    fclose(f);
    return data;
}

/* Model k with another plan. */
static uint8_t *with_plan(int k, const uint8_t *plan, size_t length, size_t *size) {
    static const char *const names[] = {"plain", "rich", "pruned"};
    static uint8_t *seeds[N_SEEDS];
    static size_t sizes[N_SEEDS];
    char path[500];
    snprintf(path, sizeof path, "%s/%s.safetensors", MODELS, names[k]);
    if (!seeds[k]) seeds[k] = read_whole(path, &sizes[k]);
    pn_container c;
    if (pn_container_read(&c, seeds[k], sizes[k])) abort();
    const size_t before = (size_t)((const uint8_t *)c.plan.at - seeds[k]), behind = before + c.plan.length;
    uint64_t header = 0;
    for (int i = 7; i >= 0; i--) header = header << 8 | seeds[k][i];
    header = header + length - c.plan.length;
    pn_container_drop(&c);
    *size = sizes[k] - (behind - before) + length;
    uint8_t *file = malloc(*size);
    if (!file) exit(2);
    memcpy(file, seeds[k], before);
    memcpy(file + before, plan, length);
    memcpy(file + before + length, seeds[k] + behind, sizes[k] - behind);
    for (int i = 0; i < 8; i++) file[i] = (uint8_t)(header >> 8 * i);
    return file;
}

static void use(const pn_model *m) {
    const void *x[PN_MOST_ENDS];
    void *y[PN_MOST_ENDS];
    const size_t bytes = pn_model_scratch(m, 2);
    if (bytes > MOST_BYTES) return;
    void *scratch = malloc(bytes);
    pn_machine *machine;
    for (uint32_t i = 0; i < pn_model_inputs(m); i++) x[i] = calloc(pn_model_input_width(m, i), 16);
    for (uint32_t k = 0; k < pn_model_outputs(m); k++) y[k] = calloc(pn_model_output_width(m, k), 16);
    if (pn_model_machine(&machine, m, 2, scratch, bytes) == PN_OK && pn_predict(machine, 2, x, y) != PN_OK) abort();
    for (uint32_t i = 0; i < pn_model_inputs(m); i++) free((void *)(uintptr_t)x[i]);
    for (uint32_t k = 0; k < pn_model_outputs(m); k++) free(y[k]);
    free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *file;
    if (size < 1) return 0;
    if (data[0] < N_SEEDS) {
        file = with_plan(data[0], data + 1, size - 1, &size);
    } else {
        size--;
        file = malloc(size ? size : 1); /* exactly so long, for what is read beyond */
        if (!file) exit(2);
        memcpy(file, data + 1, size);
    }
    char text[100];
    pn_model *m;
    if ((pn_model_open_memory(&m, file, size, text, sizeof text) == PN_OK) != (m != NULL)) abort();
    free(file);
    if (m) use(m);
    pn_model_close(m);
    return 0;
}

#ifdef REPLAY
#include <dirent.h>

int main(int n, char **words) {
    DIR *folder = opendir(CORPUS);
    long files = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char path[1000];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", CORPUS, entry->d_name);
        if (n > 1) printf("%s: %s\n", words[0], path); /* any word: which one it is */
        size_t size;
        uint8_t *data = read_whole(path, &size);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
        files++;
    }
    if (folder) closedir(folder);
    printf("test_corpus: %ld checks, 0 failed\n", files);
    return files >= 100 ? 0 : 1;
}
#endif
