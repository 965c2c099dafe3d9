/* test_kernels.c: every kernel, for every instruction set of this CPU and both dtypes, against naive loops.
 *
 *   test_kernels [seed]
 *
 * Instruction sets with fused multiply-add must agree bit for bit; the lines "bits ..." name their results, so that two
 * machines (an x86 and an ARM one) can be compared:  diff <(ssh a test_kernels | grep ^bits) <(ssh b ...) */
#include "check.h"
#include "core.h"
#include "kernel_checks.h"

#include <string.h>

CHECK_PROGRAM

enum { SCALAR_CHECKS = 3000000, MOST_KERNELS = 64 }; /* checks of one dtype, at least */

static const struct {
    const char *name;
    int (*check)(const void *table, int index, int fused, kernel_report *report);
    void (*check_helpers)(void);
} dtypes[] = {{"f32", check_kernels_f32, check_helpers_f32}, {"f64", check_kernels_f64, check_helpers_f64}};

int main(int argc, char **argv) {
    const uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    int runs = 0;
    printf("test_kernels: seed %llu\n", (unsigned long long)seed);
    for (int d = 0; d < 2; d++) {
        kernel_report first[MOST_KERNELS] = {{0}}; /* of the first instruction set with fma */
        const char *first_isa = NULL;
        dtypes[d].check_helpers();
        for (int i = 0; pn_isa_name(i); i++) {
            const pn_isa *isa = pn_isa_find(pn_isa_name(i));
            if (!isa) {
                printf("%s %s: SKIPPED, this CPU has not got it\n", dtypes[d].name, pn_isa_name(i));
                continue;
            }
            const int fma = strcmp(isa->name, "scalar") != 0;
            const long before = checks;
            kernel_report r;
            random_state = seed; /* all see the same numbers */
            for (int k = 0; k < MOST_KERNELS && dtypes[d].check(isa->kernels[d], k, fma, &r); k++) {
                if (!r.checks) continue; /* left out of this build */
                if (r.checks < 10) FAIL("%s %s: only %ld checks ran", isa->name, r.name, r.checks);
                if (!fma) continue;
                if (!first_isa)
                    printf("bits %s %-16s %016llx\n", dtypes[d].name, r.name, (unsigned long long)r.bits);
                else if (r.bits != first[k].bits || r.checks != first[k].checks)
                    FAIL("%s %s: %s and %s differ in their bits", dtypes[d].name, r.name, first_isa, isa->name);
                if (!first_isa) first[k] = r;
            }
            if (fma && !first_isa) first_isa = isa->name;
            printf("%s %s: %ld checks\n", dtypes[d].name, isa->name, checks - before);
            runs += PN_TRAINS(d);
        }
    }
    return verdict("test_kernels", (long)runs * SCALAR_CHECKS);
}
