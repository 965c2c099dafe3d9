/* allocator.h: malloc and its family, counted, and failing when told.  Linked with --wrap, where there is that: then
 * COUNT_ALLOCATIONS is defined. */
#ifndef PN_ALLOCATOR_H
#define PN_ALLOCATOR_H

#include <stdatomic.h>
#include <stdlib.h>

static atomic_long allocations, frees, fail_at; /* fail_at: the how-manieth allocation from now; 0: none */
static atomic_size_t largest;                   /* allocation, in bytes; set back by whoever asks */
#ifdef COUNT_ALLOCATIONS
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);
static int granted(size_t size) {
    allocations++;
    if (size > atomic_load(&largest)) atomic_store(&largest, size); /* where it matters, one thread allocates */
    return atomic_load(&fail_at) == 0 || atomic_fetch_sub(&fail_at, 1) != 1;
}
static void *counted(void *block) {
    if (!block) allocations--;
    return block;
}
void *__wrap_malloc(size_t size) { return counted(granted(size) ? __real_malloc(size) : NULL); }
void *__wrap_calloc(size_t n, size_t size) { return counted(granted(n * size) ? __real_calloc(n, size) : NULL); }
void *__wrap_realloc(void *block, size_t size) { return counted(granted(size) ? __real_realloc(block, size) : NULL); }
void __wrap_free(void *block) {
    frees += block != NULL;
    __real_free(block);
}
#endif
#endif
