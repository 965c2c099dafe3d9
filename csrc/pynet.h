/* pynet.h: the public header of libpynet.
 *
 * A network is a plan: three tables of fixed-size records (values, params, ops) and one arena of
 * parameters.  A machine executes the plan.  The same tables stand in memory, in NumPy and in files.
 *
 * Letters, everywhere: B rows of a batch, I inputs, O outputs.
 *
 * Nothing here exits, prints or throws: every call returns a pn_status.
 *
 * A library built with PYNET_PREDICT_ONLY has no pn_obs, pn_order, pn_lbfgs and pn_lm, and refuses gradients and jobs
 * that train.  One made by the defaults trains machines of float32, while those of float64 predict (PYNET_TRAINED); one
 * without float64 refuses such machines, pn_obs and pn_lm.  To refuse is to return PN_BAD_ARGUMENT.
 */
#ifndef PYNET_H
#define PYNET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) || defined(PN_STATIC)
#define PN_API
#else
#define PN_API __attribute__((visibility("default")))
#endif

#define PN_NONE  0xffffffffu /* no such value, parameter or slot */
#define PN_PANEL 16u         /* columns of a weight panel; rows of values are padded to it */

/* ---- the plan ------------------------------------------------------------------------------ */

/* One value of the graph, [B, width]: stored [B][ld] at  base + column * B  (so one plan serves every
 * batch size).  Its gradient stands at the same place of a twin arena.
 * ld >= width, a multiple of 16, never a multiple of 512 (rows 2 or 4 KiB apart share an L1 set).   */
typedef struct pn_value {
    uint32_t width, ld, column, flags;
} pn_value;

/* One parameter: a matrix [I,O] or a vector [O] (I = 1), stored in panels [ceil(O/16)][I][16], with PN_TURNED in
 * [ceil(I/16)][O][16], padded with zeros, at the same offset (in elements) of every arena: parameters, gradients,
 * optimizer slots. */
typedef struct pn_param {
    uint64_t offset;
    uint32_t rows, cols; /* I, O */
    uint32_t flags;      /* PN_TRAINABLE */
    uint32_t reserved;
    double l1, l2;   /* loss += l1 sum|w| + l2 sum w^2 */
    double max_norm; /* after every update |w[:,o]| <= max_norm; 0: no bound */
    double rate;     /* its learning rate is this times that of the step */
} pn_param;

enum {
    PN_TRAINABLE = 1,
    PN_MASKED = 2, /* pruned: where pn_arenas.keep has a 0 bit, its gradient is 0 */
    PN_TURNED = 4  /* w of DENSE ops of 1 to 4 outputs: no room and no time for padding to 16; only where the dtype
                      trains, in a library with PYNET_LARGE (as in Python) */
};

/* One operation.  Forward reads the table from first to last (up), backward from last to first (down). */
typedef struct pn_op {
    uint8_t kind;   /* ops.def */
    uint8_t act;    /* activations.def; LOSS, METRIC, RANDOM, GRADIENT_CLIP: their lists in ops.def */
    uint16_t flags; /* PN_ADD_X ... */
    uint32_t x, x2; /* values read */
    uint32_t y;     /* value written */
    uint32_t z;     /* what the op keeps for itself.  DENSE: the pre-activation, where backward needs it */
    uint32_t w, b;  /* params.  INPUT: scale and shift; norms: gamma and beta; PRELU: w = slopes */
    uint32_t w2;    /* LSTM: recurrent kernel.  BATCH_NORM, RUNNING_NORM, and DENSE that has one folded into it:
                       first of gamma, beta, mean, variance, which are neighbours */
    uint32_t slot;  /* INPUT: which input array; LOSS, METRIC: which target array; RANDOM, DENSE: which random stream;
                       SPARSE: first of its outputs in ends */
    uint32_t at;    /* CONCAT: first column in y; LOSS, METRIC: index of the first sum; LSTM: steps;
                       SPARSE: first of its bytes in places */
    double p[3]; /* activation parameters; SPARSE: p[2] bits of a step, 8 or 4, or PN_LANES; LOSS: p[0] its parameter,
                    p[1] weight of the head; norms: p[0] epsilon, p[1] momentum; DENSE: p[2] rate of a dropout that
                    follows relu, or epsilon of a folded norm */
} pn_op;

enum { PN_LANES = 16 }; /* p[2] of a SPARSE op whose places are in lanes */

/* pn_op.flags, all set by the planner and all about the way down */
enum {
    PN_ADD_X = 1, /* dx += instead of dx =  : a later op has already written it */
    PN_ADD_X2 = 2,
    PN_STOP_X = 4, /* nobody needs dx */
    PN_STOP_X2 = 8,
    PN_NO_BACKWARD = 16, /* no loss depends on this op */
    PN_ADD_W = 32        /* dw, db += : the layer is called more than once */
};

typedef struct pn_plan {
    const pn_value *values;
    const pn_param *params;
    const pn_op *ops;
    const uint32_t *outputs; /* values that are the outputs of the network */
    uint32_t n_values, n_params, n_ops, n_outputs;
    uint32_t n_inputs, n_targets, n_sums;
    uint32_t row_elems;   /* sum of ld: scratch elements per row */
    uint64_t param_elems; /* length of the parameter arena */
    /* Of SPARSE ops.  Machines do not copy these two: they must stay where they are.
     * An op's values stand output by output, inputs ascending.  ends[o] of them belong to the outputs up to o.  Each
     * has a step in places, of eight bits or of four (the even one in the lower half): the distance from its input to
     * that of the next, the first of an output counted from input -1.  A longer distance has values 0 on the way; an
     * output has an even number of steps of four bits, the last perhaps 0 with a value 0.
     * In lanes (PN_LANES) 16 outputs stand side by side and step together: ends[q] steps, a multiple of 4, belong to
     * the panels of 16 outputs up to q, and each has 16 values.  In places each output has of every four steps four
     * bytes j < 32, whose value then belongs to input 8 k + j; or 32, and the value is 0.  Behind all these follows k
     * of every two steps, in two bytes, the lower first. */
    const uint8_t *places;
    const uint32_t *ends;
    uint64_t n_places;
    uint32_t n_ends;
} pn_plan;

/* ---- status -------------------------------------------------------------------------------- */

typedef enum pn_status {
    PN_OK = 0,
    PN_BAD_PLAN, /* the text names table, row, what came and what was expected */
    PN_BAD_ARGUMENT,
    PN_NO_MEMORY,
    PN_NO_ISA,      /* unknown instruction set, or this CPU has not got it */
    PN_NOT_FINITE,  /* the loss became NaN or infinite; parameters are those before that batch */
    PN_BAD_LABEL,   /* a class label outside 0..classes-1; parameters are those before that batch */
    PN_BUSY,        /* the machine is running in another thread */
    PN_CALL_FAILED, /* the caller's function of a PYTHON op failed, or there is none */
    PN_BAD_FILE     /* it cannot be read, or is damaged, or is no model; the text says which */
} pn_status;

PN_API const char *pn_status_text(pn_status status);
PN_API const char *pn_version(void);

/* Looks at every number of the three tables once; the kernels then believe them.
 * text receives one line about the first fault found. */
PN_API pn_status pn_plan_check(const pn_plan *plan, char *text, size_t size);

/* ---- instruction sets ---------------------------------------------------------------------- */

/* "scalar", "avx2", "avx512", "neon".  NULL: the best of this CPU, or the one that PYNET_ISA names. */
PN_API const char *pn_isa_name(int index); /* built ones, NULL past the end */
PN_API int pn_isa_usable(const char *name);
PN_API pn_status pn_isa_default(const char **name); /* PN_NO_ISA if PYNET_ISA asks for the impossible */

/* ---- the machine --------------------------------------------------------------------------- */

typedef enum pn_dtype { PN_F32 = 0, PN_F64 = 1 } pn_dtype;

/* Element types that input and target arrays may have; converted while rows are gathered. */
typedef enum pn_type {
    PN_FLOAT32 = 0,
    PN_FLOAT64,
    PN_INT8,
    PN_UINT8,
    PN_INT16,
    PN_UINT16,
    PN_INT32,
    PN_UINT32,
    PN_INT64,
    PN_UINT64,
    PN_FLOAT16, /* of IEEE 754, as an array's storage only */
    PN_N_TYPES
} pn_type;

typedef struct pn_array { /* [rows, width] of any layout; strides in bytes, may be negative */
    void *base;
    int64_t row_stride, col_stride;
    uint32_t width;
    uint32_t type; /* pn_type */
} pn_array;

/* pn_job.stages */
enum {
    PN_FORWARD = 1,
    PN_LOSS = 2,
    PN_METRIC = 4,
    PN_BACKWARD = 8,
    PN_UPDATE = 16,
    PN_OUTPUT = 32,
    PN_BARE = 64 /* PN_BACKWARD without the gradients of penalties */
};

typedef struct pn_clip {
    int32_t kind;
    int32_t reserved;
    double c;
} pn_clip; /* kinds in ops.def */

/* Of batches that several processes (or one, in turn) compute in parts: called after the way down of a part of a batch
 * that will be updated, in the thread that called pn_run.  `part`: its number; its gradient stands in pn_arenas.grads.
 * `status`: PN_OK, or why there is no gradient.  After the last part of its own that call leaves the sum of all parts'
 * gradients there, the same in every process, and answers how all of them fared: not PN_OK: pn_run returns that,
 * without an update.  *last not 0: this batch is the last of pn_run, which then does not look at the clock. */
typedef pn_status pn_reduce(void *context, int64_t part, pn_status status, int *last);

/* Called after every update that read `terms`; returns when all who read them have. Not PN_OK: pn_run fails. */
typedef pn_status pn_updated(void *context);
enum { PN_MOST_TERMS = 8 };

/* What to run over which rows.  Batch k is rows k*batch .. of order (or of the arrays themselves).
 *
 * A batch of B rows may be cut into `parts`, of which part p is its rows B*p/parts .. B*(p+1)/parts.  Gradients and
 * sums are then shares: those of all parts add up to those of the batch, whose weights and random numbers they follow.
 * (Of penalties and of the number of batches all is part 0's.)  What looks at a whole batch cannot be cut: batch norms
 * that train, and a gradient clip by norm inside the network.  Every part goes all the way: PN_FORWARD too. */
typedef struct pn_job {
    const pn_array *inputs, *targets;
    pn_array *outputs;    /* written by PN_OUTPUT: model dtype, row by row in order */
    const double *weight; /* one per row of the arrays, or NULL: 1 */
    const int64_t *order; /* row numbers, or NULL: 0, 1, 2 ... */
    int64_t rows;         /* length of order, or of the arrays */
    int64_t batch;
    int64_t ahead; /* rows of `order` to have the system read early, of inputs in mapped files; 0: none */
    uint32_t stages;
    int32_t optimizer;  /* optimizers in ops.def */
    double hyper[8];    /* its constants, meaning in kernels/update.h */
    const double *rate; /* learning rate of each batch, counted from `first` of pn_run */
    const pn_clip *clips;
    int64_t n_clips;
    int64_t step;  /* updates done before batch `first`; without updates, any number: random numbers depend on it */
    uint64_t seed; /* key of all random numbers */
    double *sums;  /* [n_sums], added to: [0] penalties, [1] batches, then losses and metrics */
    /* 0: whole batches.  Else this run does parts part0 .. part1-1, each of which adds to n_sums sums of its own; for
     * updates it needs `reduce`. */
    int64_t parts, part0, part1;
    pn_reduce *reduce;
    /* 0: reduce leaves the sum in pn_arenas.grads.  Else it leaves there what it found, and an update follows the sum
     * of these n_terms gradients, in their order: one of each process, in memory that they share.  Without clips. */
    int64_t n_terms;
    const void *const *terms; /* as pn_arenas.grads, which is among them */
    pn_updated *updated;
    void *context; /* the first argument of reduce and updated */
} pn_job;

typedef struct pn_machine pn_machine;

typedef struct pn_arenas { /* each [param_elems] of the machine's dtype, 64-byte aligned, the caller's */
    void *params;
    void *grads;          /* NULL: this machine only predicts.  After an update: what it left */
    void *slots[2];       /* optimizer state; NULL where the optimizer has none */
    const uint16_t *keep; /* [param_elems / 16], a bit for each element, the first the lowest; read where a parameter is
                             PN_MASKED, may be NULL where none is */
} pn_arenas;

/* Bytes that a machine for batches of up to `rows` takes; 0 if that overflows. */
PN_API size_t pn_machine_bytes(const pn_plan *plan, pn_dtype dtype, int64_t rows, int training);
/* The machine copies the plan's tables and allocates once; nothing is allocated afterwards. */
PN_API pn_status pn_machine_open(pn_machine **machine, const pn_plan *plan, pn_dtype dtype, int64_t rows,
                                 const pn_arenas *arenas, const char *isa, int n_threads);
/* The same inside `memory` of the caller's, of at least pn_machine_bytes: nothing is allocated at all. */
PN_API pn_status pn_machine_open_in(pn_machine **machine, void *memory, size_t size, const pn_plan *plan,
                                    pn_dtype dtype, int64_t rows, const pn_arenas *arenas, const char *isa,
                                    int n_threads);
PN_API void pn_machine_close(pn_machine *machine); /* of one in memory of the caller's it frees nothing */

/* Runs batches first .. first+count-1, stops early after `seconds`; *done batches are complete. */
PN_API pn_status pn_run(pn_machine *machine, const pn_job *job, int64_t first, int64_t count, double seconds,
                        int64_t *done);
/* One row in, one out, of a network with one input and one output, in the machine's dtype, contiguous. */
PN_API pn_status pn_predict_one(pn_machine *machine, const void *x, void *y);
/* Any number of rows, up to PN_MOST_ENDS inputs and outputs: x[slot] is [rows, width], y[k] likewise, in the machine's
 * dtype, contiguous, aligned as such numbers are. */
enum { PN_MOST_ENDS = 16 };
PN_API pn_status pn_predict(pn_machine *machine, int64_t rows, const void *const *x, void *const *y);
/* What computes the PYTHON ops: called in the thread that called pn_run, with the number of the op; it reads and writes
 * values through pn_machine_value, with 0 in the columns from width to ld; backward: it adds to dx where the op says
 * PN_ADD_X.  Not 0: pn_run stops at once. */
typedef int pn_call(void *context, uint32_t op, int backward);
PN_API void pn_machine_on_call(pn_machine *machine, pn_call *call, void *context);

/* The rows of a value (or of its gradient) as the last batch left them: base and leading dimension. */
PN_API void *pn_machine_value(pn_machine *machine, uint32_t value, int gradient, int64_t *rows, uint32_t *ld);

/* ---- models: networks out of files --------------------------------------------------------------------------- *
 *
 *   pn_model *model;
 *   char why[200];
 *   if (pn_model_open(&model, "net.safetensors", why, sizeof why) != PN_OK) ...
 *   void *scratch = malloc(pn_model_scratch(model, 1));           any memory of yours
 *   pn_machine *machine;
 *   pn_model_machine(&machine, model, 1, scratch, pn_model_scratch(model, 1));
 *   pn_predict_one(machine, x, y);                                 as often as you like
 *
 * A model is never written after it was opened: threads share it, each with a machine (and scratch) of its own, which
 * uses no other thread.  Predicting allocates nothing, waits for nobody and takes no lock.  A machine takes the best
 * instruction set of the CPU, or the one that PYNET_ISA names in the environment when it is made. */

typedef struct pn_model pn_model;

/* Opens a file of Model.save.  It holds everything in memory of its own; `data` may go.  Its parameters take at most
 * PN_MODEL_BYTES, and PN_MODEL_BYTES_PER_BYTE for each byte of the file: what is pruned away is short in files.  text
 * receives one line about what is wrong. */
enum { PN_MODEL_BYTES = 1 << 24, PN_MODEL_BYTES_PER_BYTE = 1024 };
PN_API pn_status pn_model_open(pn_model **model, const char *path, char *text, size_t size);
PN_API pn_status pn_model_open_memory(pn_model **model, const void *data, size_t n, char *text, size_t size);
PN_API void pn_model_close(pn_model *model); /* its machines first */

PN_API pn_dtype pn_model_dtype(const pn_model *model);
PN_API uint32_t pn_model_inputs(const pn_model *model);
PN_API uint32_t pn_model_outputs(const pn_model *model);
PN_API uint32_t pn_model_input_width(const pn_model *model, uint32_t slot); /* 0: there is no such input */
PN_API uint32_t pn_model_output_width(const pn_model *model, uint32_t k);

/* Bytes that a machine takes that predicts up to `rows` rows at a time; 0 if that overflows.  The file says how wide
 * its layers are: of a file from anybody, compare this with what you can spare. */
PN_API size_t pn_model_scratch(const pn_model *model, int64_t rows);
/* In scratch of any alignment.  It goes with its scratch: pn_machine_close has nothing to do, and must not come later.
 */
PN_API pn_status pn_model_machine(pn_machine **machine, const pn_model *model, int64_t rows, void *scratch,
                                  size_t size);

/* ---- threads, the surgeon, shuffling --------------------------------------------------------------------------- */

/* Threads of the process-wide pool that a machine may use when opened with n_threads = 0. */
PN_API void pn_set_num_threads(int n);
PN_API int pn_get_num_threads(void);

/* The order in which an optimal brain surgeon takes weights away, and what each costs: of N quadratic forms of n
 * weights w [N][n], whose inverse Hessians [N][n][n] are symmetric and positive definite (`shared`: one for all), the
 * first `steps`, into order and cost, [N][steps].  Where a Hessian is used up before: -1 and infinity. */
PN_API pn_status pn_obs(const double *inverse, int shared, const double *w, int64_t N, int64_t n, int64_t steps,
                        int32_t *order, double *cost);

/* A random order of rows 0..n-1, n < 2^33: that of an epoch of Trainer.fit with random_state = seed and purpose = 2.
 * scratch: n numbers. */
PN_API void pn_order(uint64_t seed, uint32_t purpose, uint32_t epoch, int64_t n, int64_t *order, uint64_t *scratch);

/* ---- second order: L-BFGS and Levenberg-Marquardt ------------------------------------------------------------- *
 *
 * Searches for a minimum of the loss over all rows of a job, penalties included: the loss that pn_run reports in sums,
 * as a function of some elements of the parameter arena.  All vectors are of double, whatever the machine's dtype is.
 *
 *   pn_search s = {.places = places, .n = n, .gradient_tolerance = 1e-8, .most_evaluations = 20, .memory = 10};
 *   s.numbers = ..., s.x = ..., s.scratch = ...;             memory of yours, pn_lbfgs_scratch(&plan, &s) doubles ...
 *   while ((status = pn_lbfgs(&s, machine, &job, 0.05, &done)) == PN_OK && !(done && s.numbers[PN_SEARCH_END])) ...
 *
 * A call goes on for about `seconds`; *done says whether an iteration ended.  Nothing is allocated.  Batches of the job
 * only bound the memory of the machine.  Whenever a call returns, the arena holds the point of the last iteration that
 * ended (or the first point), and all that is not in `places` has its bits.  Written then, arena and arrays are enough
 * to go on elsewhere with the same bits: a new pn_search begins that iteration again.
 */

enum { /* pn_search.numbers */
       PN_SEARCH_LOSS = 0,
       PN_SEARCH_ITERATIONS,  /* that ended */
       PN_SEARCH_EVALUATIONS, /* of the loss at points tried, in the last iteration */
       PN_SEARCH_GRADIENT,    /* largest |element|: L-BFGS after the iteration, Levenberg-Marquardt before its step */
       PN_SEARCH_STEP,        /* of the last step: L-BFGS its length as a multiple of the direction, else its damping */
       PN_SEARCH_END,         /* pn_search_end */
       PN_SEARCH_STARTED,     /* loss, sums and (L-BFGS) gradient are those of the arena */
       PN_SEARCH_PAIRS,       /* L-BFGS: pairs that are there */
       PN_SEARCH_NEXT,        /* L-BFGS: where the next pair goes */
       PN_SEARCH_DAMPING,     /* Levenberg-Marquardt: of the next try; 0: not known yet */
       PN_SEARCH_NUMBERS
};

typedef enum pn_search_end {
    PN_GOES_ON = 0,
    PN_END_GRADIENT, /* no element of the gradient is larger than gradient_tolerance */
    PN_END_LOSS,     /* the loss fell by no more than loss_tolerance times itself */
    PN_END_LINE,     /* L-BFGS: no lower point was found along the gradient: as low as rounding lets it be */
    PN_END_DAMPING   /* Levenberg-Marquardt: no lower point was found up to damping_max, or most_evaluations */
} pn_search_end;

/* The line search of More and Thuente 1994, between two evaluations: line_search.c */
typedef struct pn_line {
    double start_loss, start_slope, most;
    double best, best_loss, best_slope, other, other_loss, other_slope;
    double low, high, width, width_before;
    int bracketed, sufficient;
} pn_line;

typedef struct pn_search {
    const int64_t *places; /* [n] elements of the arena that are searched, ascending, each of a trainable parameter */
    int64_t n;
    double gradient_tolerance, loss_tolerance; /* where it ends: see pn_search_end */
    int64_t most_evaluations;                  /* of the loss in one line search, or one iteration of pn_lm */
    int64_t memory;                            /* L-BFGS: pairs, >= 1 */
    double damping;                            /* Levenberg-Marquardt: the first, times the largest diagonal element */
    double damping_min, damping_max;           /* bounds of what is added to the diagonal */
    /* Memory of the caller's that lives on from call to call and may be written to a file; 0 at first. */
    double *numbers;  /* [PN_SEARCH_NUMBERS] */
    double *x;        /* [n] the point */
    double *gradient; /* [n] there */
    double *pairs;    /* L-BFGS: [memory][2 n + 1], each a difference of points, one of gradients, and their product */
    double *sums;     /* [n_sums] of a run over all rows at the point */
    double *scratch;  /* pn_lbfgs_scratch or pn_lm_scratch elements, 64-byte aligned */
    /* Its own; 0 before the first call. */
    int32_t phase, anew;
    int64_t chunk, row, tries;
    double weight, step, factor, predicted;
    pn_line line;
} pn_search;

/* Elements of scratch; 0 if that overflows. */
PN_API size_t pn_lbfgs_scratch(const pn_plan *plan, const pn_search *search);
PN_API size_t pn_lm_scratch(const pn_plan *plan, const pn_search *search);

/* One iteration: a direction by the two-loop recursion over the last `memory` pairs (Nocedal 1980; Nocedal, Wright
 * 2006, algorithm 7.4), and a step along it that meets the strong Wolfe conditions.  The machine must be able to train.
 * No parameter may have l1; no op may be RANDOM, BATCH_NORM or GRADIENT_CLIP, no dense op drop outputs, no loss be
 * external, no pairs be counted that are not in memory: PN_BAD_ARGUMENT.  PN_NOT_FINITE: the loss is not finite at the
 * first point. */
PN_API pn_status pn_lbfgs(pn_search *search, pn_machine *machine, const pn_job *job, double seconds, int *done);
/* One iteration: the Jacobian of all residuals, row by row, and steps with more and more damping until one lowers the
 * loss (Levenberg 1944, Marquardt 1963; the damping after Nielsen 1999).  Besides, every loss must be mse. */
PN_API pn_status pn_lm(pn_search *search, pn_machine *machine, const pn_job *job, double seconds, int *done);

#ifdef __cplusplus
}
#endif
#endif
