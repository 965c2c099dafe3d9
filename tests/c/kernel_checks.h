/* kernel_checks.h: what test_kernels.c asks of kernel_checks.c, which is compiled once per dtype. */
#ifndef PN_KERNEL_CHECKS_H
#define PN_KERNEL_CHECKS_H

#include <stdint.h>

typedef struct kernel_report {
    const char *name;
    long checks;
    uint64_t bits; /* a name for all that the kernel wrote */
} kernel_report;

/* Checks kernel `index` of a table; 0: the roll-call is shorter.  fused: its multiply-add rounds once. */
int check_kernels_f32(const void *table, int index, int fused, kernel_report *report);
int check_kernels_f64(const void *table, int index, int fused, kernel_report *report);
void check_helpers_f32(void);
void check_helpers_f64(void);
#endif
