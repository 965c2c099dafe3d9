# The searches of second order.  Part of _core.pyx.

SEARCH_NUMBERS = PN_SEARCH_NUMBERS


@_cython.final
cdef class Search:
    """L-BFGS or Levenberg-Marquardt on a C machine.  Same interface as those of ``pynet.reference_search``.

    Parameters
    ----------
    kind : "lbfgs" or "levenberg_marquardt"
    machine : Machine
    places : int64 array [n]
        Elements of the parameter arena that are searched, ascending.
    arrays : dict of float64 arrays
        What outlives a call: "numbers", "x", "gradient", "sums", and "pairs" of L-BFGS; see ``csrc/pynet.h``.
    settings : dict
        The fields of pn_search that are numbers.
    """
    cdef pn_search c
    cdef Machine machine
    cdef _Buffers buffers
    cdef object scratch
    cdef bint is_lm

    def __init__(self, kind, Machine machine, places, arrays, settings):
        memset(&self.c, 0, sizeof(self.c))
        self.machine, self.buffers, self.is_lm = machine, _Buffers(), kind == "levenberg_marquardt"
        cdef Py_ssize_t n = len(places)
        self.c.places, self.c.n = <const int64_t *>self.buffers.vector(places, 8, n, 0, "places"), n
        self.c.gradient_tolerance = settings["gradient_tolerance"]
        self.c.loss_tolerance = settings["loss_tolerance"]
        self.c.most_evaluations = settings["most_evaluations"]
        self.c.numbers = <double *>self.buffers.vector(arrays["numbers"], 8, PN_SEARCH_NUMBERS, 1, "numbers")
        self.c.x = <double *>self.buffers.vector(arrays["x"], 8, n, 1, "x")
        self.c.gradient = <double *>self.buffers.vector(arrays["gradient"], 8, n, 1, "gradient")
        self.c.sums = <double *>self.buffers.vector(arrays["sums"], 8, machine.plan.c.n_sums, 1, "sums")
        if self.is_lm:
            self.c.damping = settings["damping"]
            self.c.damping_min, self.c.damping_max = settings["damping_min"], settings["damping_max"]
        else:
            self.c.memory = settings["memory"]
            pairs = arrays["pairs"].reshape(-1)
            self.c.pairs = <double *>self.buffers.vector(pairs, 8, self.c.memory * (2 * n + 1), 1, "pairs")
        need = pn_lm_scratch(&machine.plan.c, &self.c) if self.is_lm else pn_lbfgs_scratch(&machine.plan.c, &self.c)
        if not need:
            raise ValueError(f"search: {n} elements are none, or too many")
        self.scratch = aligned(need, _np.float64)
        self.c.scratch = <double *>self.buffers.vector(self.scratch, 8, need, 1, "scratch")

    def run(self, job, double seconds=INFINITY):
        """Work for about `seconds`; return (whether an iteration ended, "ok" | "not_finite" | "bad_label")."""
        cdef _Buffers held = _Buffers()
        cdef _Arrays arrays
        cdef pn_job c
        cdef int done = 0
        cdef pn_status status
        job.stages = PN_FORWARD | PN_LOSS | PN_METRIC | PN_BACKWARD
        self.machine.fill(job, 0, held, &arrays, &c)
        with nogil:
            if self.is_lm:
                status = pn_lm(&self.c, self.machine.m, &c, seconds, &done)
            else:
                status = pn_lbfgs(&self.c, self.machine.m, &c, seconds, &done)
        if status == PN_OK:
            return bool(done), "ok"
        if status == PN_NOT_FINITE:
            return False, "not_finite"
        if status == PN_BAD_LABEL:
            return False, "bad_label"
        self.machine.reraise(status)
        raise ValueError(f"search: {pn_status_text(status).decode()} ({self.c.n} elements, {c.rows} rows)")
