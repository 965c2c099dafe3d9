/* dispatch.c: which instruction sets were built, which of them this CPU has, and which one is used. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

/* PN_BUILT_ISAS is a list ISA(scalar, scalar)ISA(avx2, avx2)ISA(avx512, avx2)..., worst first, from the build: the
 * second is the one whose kernels of float64 serve it. */
#define ISA(name, doubles) extern const struct pn_kernels pn_kernels_##name##_f32, pn_kernels_##doubles##_f64;
PN_BUILT_ISAS
#undef ISA
#ifdef PN_ONLY_f32
#define DOUBLES(name) NULL
#else
#define DOUBLES(name) &pn_kernels_##name##_f64
#endif

enum { NEEDS_scalar, NEEDS_neon, NEEDS_avx2, NEEDS_avx512 }; /* NEON is part of the aarch64 baseline */

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <cpuid.h>
/* A processor may have what its system does not save: XGETBV tells what it does. (__builtin_cpu_supports asks for all
 * processors there are: 4.3 kB of libgcc.) */
static int supports(int needs) {
    enum { AVX_SAVED = 6, AVX512_SAVED = 0xe6 }; /* of XCR0: xmm and ymm; masks and both parts of zmm as well */
    const unsigned avx512 = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    unsigned a, b, c, d, saved, high;
    if (needs == NEEDS_scalar) return 1;
    if (!__get_cpuid(1, &a, &b, &c, &d) || ~c & (bit_OSXSAVE | bit_AVX | bit_FMA)) return 0;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if (~saved & AVX_SAVED || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || ~b & bit_AVX2) return 0;
    if (needs == NEEDS_avx2) return 1;
#if !defined(__APPLE__) /* where the system begins to save zmm when a thread first uses it */
    if (~saved & AVX512_SAVED) return 0;
#endif
    return !(~b & avx512);
}
#else
static int supports(int needs) { return needs >= NEEDS_scalar; }
#endif
/* Asked once: on a virtual machine the answer takes 20 us. */
static int has(int needs) {
    static signed char known[NEEDS_avx512 + 1]; /* 0: not asked, else -1 or 1 */
    signed char answer = __atomic_load_n(&known[needs], __ATOMIC_RELAXED);
    if (!answer) {
        answer = supports(needs) ? 1 : -1;
        __atomic_store_n(&known[needs], answer, __ATOMIC_RELAXED);
    }
    return answer > 0;
}

#define ISA(name, doubles) {#name, NEEDS_##name, {&pn_kernels_##name##_f32, DOUBLES(doubles)}},
static const pn_isa isas[] = {PN_BUILT_ISAS};
#undef ISA
enum { N_ISAS = sizeof isas / sizeof isas[0] };

const union pn_zeros pn_zeros;

const char *pn_isa_name(int index) { return index >= 0 && index < N_ISAS ? isas[index].name : NULL; }

const pn_isa *pn_isa_find(const char *name) {
    for (int i = 0; i < N_ISAS; i++)
        if (strcmp(isas[i].name, name) == 0) return has(isas[i].needs) ? &isas[i] : NULL;
    return NULL;
}

int pn_dtype_built(pn_dtype dtype) { return isas[0].kernels[dtype] != NULL; }

int pn_isa_usable(const char *name) { return pn_isa_find(name) != NULL; }

pn_status pn_isa_default(const char **name) {
    const char *forced = getenv("PYNET_ISA");
    if (forced && *forced) {
        const pn_isa *isa = pn_isa_find(forced);
        if (!isa) return PN_NO_ISA;
        *name = isa->name;
        return PN_OK;
    }
    *name = NULL;
    for (int i = 0; i < N_ISAS; i++)
        if (has(isas[i].needs)) *name = isas[i].name;
    return *name ? PN_OK : PN_NO_ISA; /* a build without "scalar", on a lesser CPU */
}
