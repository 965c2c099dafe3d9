/* startup.c: what a bare Cortex-M needs before main, and semihosting: the processor's host prints and ends.
 * For the emulated board mps2-an386 (Cortex-M4 with single-precision FPU, 4 MB of RAM at 0 and at 0x20000000). */
#include <stdint.h>

int main(void);
void reset(void);
void print(const char *text);
extern uint32_t stack_top, bss_begin, bss_end;

/* The first word is the stack, the second where to begin; any fault ends there too. */
__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top, (void *)reset, 0, (void *)reset, (void *)reset, (void *)reset, (void *)reset};

static uint32_t ask_host(uint32_t what, const void *argument) {
    register uint32_t r0 __asm__("r0") = what;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void print(const char *text) { ask_host(0x04, text); } /* SYS_WRITE0 */

static void end(int failed) {
    const uint32_t why[2] = {0x20026, (uint32_t)failed}; /* ADP_Stopped_ApplicationExit */
    ask_host(0x20, why);                                 /* SYS_EXIT_EXTENDED */
    for (;;) {
    }
}

void reset(void) {
    static int begun;
    if (begun) end(99);                             /* a fault */
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: the FPU */
    __asm__ volatile("dsb\n\tisb");
    for (uint32_t *p = &bss_begin; p < &bss_end; p++) *p = 0;
    begun = 1;
    end(main());
}
