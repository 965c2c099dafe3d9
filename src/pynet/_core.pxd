# What the binding uses of libpynet: csrc/pynet.h, and core.h for the roll-calls and the machine's own fields.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "core.h":
    ctypedef struct pn_value:
        uint32_t width, ld, column, flags
    ctypedef struct pn_param:
        uint64_t offset
        uint32_t rows, cols, flags, reserved
        double l1, l2, max_norm, rate
    ctypedef struct pn_op:
        uint8_t kind, act
        uint16_t flags
        uint32_t x, x2, y, z, w, b, w2, slot, at
        double p[3]
    ctypedef struct pn_plan:
        const pn_value *values
        const pn_param *params
        const pn_op *ops
        const uint32_t *outputs
        uint32_t n_values, n_params, n_ops, n_outputs, n_inputs, n_targets, n_sums, row_elems
        uint64_t param_elems
        const uint8_t *places
        const uint32_t *ends
        uint64_t n_places
        uint32_t n_ends
    ctypedef struct pn_array:
        void *base
        int64_t row_stride, col_stride
        uint32_t width, type
    ctypedef struct pn_clip:
        int32_t kind
        double c
    ctypedef enum pn_status:
        PN_OK, PN_BAD_PLAN, PN_BAD_ARGUMENT, PN_NO_MEMORY, PN_NO_ISA, PN_NOT_FINITE, PN_BAD_LABEL, PN_BUSY
        PN_CALL_FAILED
    ctypedef pn_status pn_reduce(void *, int64_t, pn_status, int *) noexcept nogil
    ctypedef pn_status pn_updated(void *) noexcept nogil
    ctypedef struct pn_job:
        const pn_array *inputs
        const pn_array *targets
        pn_array *outputs
        const double *weight
        const int64_t *order
        int64_t rows, batch, ahead
        uint32_t stages
        int32_t optimizer
        double hyper[8]
        const double *rate
        const pn_clip *clips
        int64_t n_clips, step
        uint64_t seed
        double *sums
        int64_t parts, part0, part1
        pn_reduce *reduce
        int64_t n_terms
        const void **terms
        pn_updated *updated
        void *context
    ctypedef struct pn_arenas:
        void *params
        void *grads
        void *slots[2]
        const uint16_t *keep
    ctypedef struct pn_machine:
        const char *isa
        int n_threads
    ctypedef struct pn_entry:
        const char *list
        const char *name
        int id, extra
    ctypedef enum pn_dtype:
        PN_F32, PN_F64
    enum:
        PN_FLOAT32, PN_FLOAT64, PN_INT8, PN_UINT8, PN_INT16, PN_UINT16, PN_INT32, PN_UINT32, PN_INT64, PN_UINT64
        PN_FLOAT16
        PN_FORWARD, PN_LOSS, PN_METRIC, PN_BACKWARD, PN_UPDATE, PN_OUTPUT, PN_BARE
        PN_SEARCH_NUMBERS, PN_MOST_TERMS
        PN_ADD_X, PN_ADD_X2, PN_STOP_X, PN_STOP_X2, PN_NO_BACKWARD, PN_ADD_W, PN_TRAINABLE, PN_MASKED
        PN_TURNED, PN_MOST_TURNED
    const pn_entry pn_roll[]
    const char *pn_status_text(pn_status)
    const char *pn_version()
    pn_status pn_plan_check(const pn_plan *, char *, size_t)
    const char *pn_isa_name(int)
    int pn_isa_usable(const char *)
    pn_status pn_isa_default(const char **)
    size_t pn_machine_bytes(const pn_plan *, pn_dtype, int64_t, int)
    pn_status pn_machine_open(pn_machine **, const pn_plan *, pn_dtype, int64_t, const pn_arenas *, const char *, int)
    void pn_machine_close(pn_machine *)
    pn_status pn_run(pn_machine *, const pn_job *, int64_t, int64_t, double, int64_t *) nogil
    pn_status pn_predict_one(pn_machine *, const void *, void *) nogil
    ctypedef int pn_call(void *, uint32_t, int) noexcept nogil
    void pn_machine_on_call(pn_machine *, pn_call *, void *)
    void *pn_machine_value(pn_machine *, uint32_t, int, int64_t *, uint32_t *)
    ctypedef struct pn_seat:
        int64_t meetings
    void pn_arrive(pn_seat *)
    int pn_all_here(const pn_seat *, int, int, double) nogil
    void pn_set_num_threads(int)
    int pn_get_num_threads()
    int pn_available_cpus()
    pn_status pn_obs(const double *, int, const double *, int64_t, int64_t, int64_t, int32_t *, double *) nogil
    void pn_order(uint64_t, uint32_t, uint32_t, int64_t, int64_t *, uint64_t *) nogil
    ctypedef struct pn_search:
        const int64_t *places
        int64_t n, most_evaluations, memory
        double gradient_tolerance, loss_tolerance, damping, damping_min, damping_max
        double *numbers
        double *x
        double *gradient
        double *pairs
        double *sums
        double *scratch
    size_t pn_lbfgs_scratch(const pn_plan *, const pn_search *)
    size_t pn_lm_scratch(const pn_plan *, const pn_search *)
    pn_status pn_lbfgs(pn_search *, pn_machine *, const pn_job *, double, int *) nogil
    pn_status pn_lm(pn_search *, pn_machine *, const pn_job *, double, int *) nogil
