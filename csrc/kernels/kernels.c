/* kernels.c: the flag boundary.  Compiled once per (ISA, dtype); exports one table and nothing else. */
#include "simd.h"

#include "data.h"
#include "dense.h"
#include "dense_dx.h"
#include "dense_step.h"
#include "loss.h"
#include "norm.h"
#include "random.h"
#include "recurrent.h"
#include "sparse.h"
#include "turned.h"
#include "update.h"

#if defined(PN_DTYPE_f64)
#define DTYPE_NAME(isa) pn_kernels_##isa##_f64
#else
#define DTYPE_NAME(isa) pn_kernels_##isa##_f32
#endif
#if defined(PN_ISA_avx512)
#define TABLE DTYPE_NAME(avx512)
#elif defined(PN_ISA_avx2)
#define TABLE DTYPE_NAME(avx2)
#elif defined(PN_ISA_neon)
#define TABLE DTYPE_NAME(neon)
#else
#define TABLE DTYPE_NAME(scalar)
#endif

#define PN_ENTRY(name, args)   .name = name,
#define PN_TRAINER(name, args) .name = PN_TRAINS(PN_DTYPE) ? name : NULL,
#define PN_LARGER(name, args)  .name = PN_TURNS(PN_DTYPE) ? name : NULL,
#define PN_SOLVER(name, args)  .name = PN_TRAINED ? name : NULL,
extern const struct pn_kernels TABLE;
const struct pn_kernels TABLE = {PN_KERNELS(PN_ENTRY, PN_TRAINER, PN_SOLVER, PN_LARGER)};
