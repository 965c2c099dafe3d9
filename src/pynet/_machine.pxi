# A plan over arenas, run by C.  Part of _core.pyx.


cdef struct _Arrays:   # of a pn_job
    pn_array inputs[16]
    pn_array targets[16]
    pn_array outputs[16]
    pn_clip clips[16]
    const void *terms[PN_MOST_TERMS]


@_cython.final
cdef class Machine:
    """The C machine: executes a plan over arenas.  Same interface as ``pynet.reference.Machine``.

    Parameters
    ----------
    plan : pynet.plan.Plan
    params : ndarray, [param_elems], 64-byte aligned, of ``plan.dtype``; read and, by UPDATE, written in place
    rows : int
        Largest batch.
    grads : ndarray, the same shape, optional
        With it the machine can train.
    slots : sequence of ndarray
        Optimizer state.
    keep : uint16 ndarray [param_elems / 16], optional
        Bits of the elements of ``params`` that are not pruned; needed where a parameter of the plan is MASKED.
    n_threads : int
        0: the process-wide number.
    isa : str, optional
        Instruction set; default: the best of this CPU or what ``PYNET_ISA`` names.
    """
    cdef pn_machine *m
    cdef object held        # the arenas
    cdef object dtype
    cdef dict target_widths
    cdef Py_ssize_t itemsize
    cdef Py_ssize_t width_in, width_out
    cdef char code          # of the dtype, in buffer formats
    cdef bint small
    cdef _Plan plan
    cdef object error       # raised by a function of Python's, on its way through C
    cdef object reducer, updated     # reduce and updated of the job under way
    cdef object caller      # the thread in which such a function runs now

    def __init__(self, plan, params, *, rows, grads=None, slots=(), keep=None, n_threads=0, isa=None):
        if self.m != NULL:
            raise RuntimeError("a machine is made once")
        self.plan = _Plan(plan)
        self.plan.check()
        self.dtype = _np.dtype(plan.dtype)
        self.itemsize = self.dtype.itemsize
        self.code = ord("d") if self.itemsize == 8 else ord("f")
        if len(slots) > 2:
            raise ValueError(f"slots: at most 2 arenas, got {len(slots)}")
        isa = default_isa() if isa is None else isa
        if not isas().get(isa):
            raise ValueError(f"isa {isa!r} is not available here (usable: {_usable()})")
        cdef pn_arenas arenas
        memset(&arenas, 0, sizeof(arenas))
        arenas.params = self.arena(params, "params")
        arenas.grads = self.arena(grads, "grads")
        for i, slot in enumerate(slots):
            arenas.slots[i] = self.arena(slot, f"slots[{i}]")
        if keep is not None and (keep.dtype != _np.uint16 or keep.shape != (self.plan.c.param_elems // 16,)
                                 or not keep.flags.c_contiguous):
            raise ValueError(f"keep: expected a vector of {self.plan.c.param_elems // 16} uint16")
        if keep is not None:
            arenas.keep = <const uint16_t *><uintptr_t>keep.ctypes.data
        elif grads is not None and any(plan.params["flags"] & PN_MASKED):
            raise ValueError("the plan has pruned parameters: keep, their bits, is missing")
        self.held = (params, grads, tuple(slots), keep)
        cdef pn_dtype dtype = PN_F64 if self.itemsize == 8 else PN_F32
        name = isa.encode()
        cdef pn_status status = pn_machine_open(&self.m, &self.plan.c, dtype, rows, &arenas, name, n_threads)
        if status == PN_NO_MEMORY:
            need = pn_machine_bytes(&self.plan.c, dtype, rows, grads is not None)
            raise MemoryError(f"a batch of {rows} rows needs {need or 'more than can be counted'} bytes of scratch")
        if status != PN_OK:
            raise ValueError(f"machine: {pn_status_text(status).decode()} (rows={rows}, n_threads={n_threads})")
        self.width_in = int(plan.values["width"][plan.input_values[0]]) if plan.n_inputs == 1 else -1
        self.width_out = int(plan.values["width"][plan.outputs[0]]) if len(plan.outputs) == 1 else -1
        self.target_widths = _target_widths(plan)
        self.small = plan.param_elems < 100_000   # microseconds of work: giving up the GIL would cost more
        if plan.functions:
            pn_machine_on_call(self.m, _step_out, <void *>self)

    def __dealloc__(self):
        pn_machine_close(self.m)

    cdef void *arena(self, array, name) except? NULL:
        if array is None:
            return NULL
        if array.dtype != self.dtype or array.ndim != 1 or array.size != self.plan.c.param_elems \
                or not array.flags.c_contiguous or not array.flags.writeable or (array.size and array.ctypes.data % 64):
            raise ValueError(f"{name}: expected an aligned vector of {self.plan.c.param_elems} {self.dtype}")
        return <void *><uintptr_t>array.ctypes.data

    @property
    def isa(self):
        return self.m.isa.decode()

    @property
    def n_threads(self):
        return self.m.n_threads

    def run(self, job, int64_t first, int64_t count, double seconds=INFINITY):
        """Run batches first .. first+count-1 of `job`; return (batches done, "ok" | "not_finite" | "bad_label")."""
        cdef _Buffers held = _Buffers()
        cdef _Arrays arrays
        cdef pn_job c
        cdef int64_t done = 0
        cdef pn_status status
        self.fill(job, count, held, &arrays, &c)
        if job.reduce is not None:
            self.reducer, self.updated = job.reduce, job.updated
        while True:
            with nogil:
                status = pn_run(self.m, &c, first, count, seconds, &done)
            if status != PN_BUSY:
                break
            self.wait()
        if status in _status_names:
            return done, _status_names[status]
        self.reraise(status)
        if status == PN_CALL_FAILED and job.reduce is not None:
            raise RuntimeError("a function of a Python layer or activation failed in another process")
        raise ValueError(f"machine: {pn_status_text(status).decode()} (batches {first}..{first + count - 1} of "
                         f"{c.batch} rows out of {c.rows}, stages {c.stages})")

    cdef int fill(self, job, int64_t count, _Buffers held, _Arrays *arrays, pn_job *c) except -1:
        """Make `c` of a job; `held` and `arrays` are what it points to."""
        cdef pn_plan *p = &self.plan.c
        memset(c, 0, sizeof(pn_job))
        if p.n_inputs > 16 or p.n_targets > 16 or p.n_outputs > 16 or len(job.clips) > 16:
            raise ValueError("at most 16 inputs, outputs, targets and clips")
        c.rows, c.batch, c.ahead, c.stages, c.step, c.seed = \
            job.rows, job.batch, job.ahead, job.stages, job.step, job.seed
        if c.stages & (PN_LOSS | PN_BACKWARD | PN_UPDATE) and self.held[1] is None:
            raise ValueError("this machine was made to predict: it has no gradient arena")
        c.parts, c.part0, c.part1 = job.parts or (0, 0, 0)
        if job.reduce is not None:
            c.reduce, c.context = _reduce, <void *>self
        if job.terms:
            if len(job.terms) > PN_MOST_TERMS or job.updated is None:
                raise ValueError(f"job.terms: expected at most {PN_MOST_TERMS} arrays, and job.updated")
            for i, term in enumerate(job.terms):
                arrays.terms[i] = self.arena(term, f"term {i}")
            c.terms, c.n_terms, c.updated = arrays.terms, len(job.terms), _updated
        cdef int64_t least = 0 if job.order is not None else c.rows
        if c.stages & PN_FORWARD:
            if len(job.inputs) != p.n_inputs:
                raise ValueError(f"job.inputs: expected {p.n_inputs} arrays, got {len(job.inputs)}")
            for i in range(p.n_inputs):
                arrays.inputs[i] = held.rows(job.inputs[i], 0, least, f"input {i}")
                width = int(self.plan.plan.values["width"][self.plan.plan.input_values[i]])
                if arrays.inputs[i].width != width:
                    raise ValueError(f"input {i}: expected {width} columns, got {arrays.inputs[i].width}")
            c.inputs = arrays.inputs
        if c.stages & (PN_LOSS | PN_METRIC):
            if len(job.targets) != p.n_targets:
                raise ValueError(f"job.targets: expected {p.n_targets} arrays, got {len(job.targets)}")
            for i, want in self.target_widths.items():
                arrays.targets[i] = held.rows(job.targets[i], 0, least, f"target {i}")
                if arrays.targets[i].width != <uint32_t>want:
                    raise ValueError(f"target {i}: expected {want} columns, got {arrays.targets[i].width}")
            c.targets = arrays.targets
            c.sums = <double *>held.vector(job.sums, 8, p.n_sums * max(1, c.part1 - c.part0), 1, "job.sums")
        if c.stages & PN_OUTPUT:
            for i in range(p.n_outputs):
                arrays.outputs[i] = held.rows(job.outputs[i], 1, c.rows, f"output {i}")
                width = self.plan.plan.values["width"][p.outputs[i]]
                real = PN_FLOAT64 if self.itemsize == 8 else PN_FLOAT32
                if arrays.outputs[i].width != width or arrays.outputs[i].type != real \
                        or arrays.outputs[i].col_stride != self.itemsize:
                    raise ValueError(f"output {i}: expected rows of {width} contiguous {self.dtype}")
            c.outputs = arrays.outputs
        c.weight = <const double *>held.vector(job.weight, 8, least, 0, "job.weight")
        c.order = <const int64_t *>held.vector(job.order, 8, c.rows, 0, "job.order")
        if c.stages & PN_UPDATE:
            c.optimizer = job.optimizer
            memcpy(c.hyper, held.vector(job.hyper, 8, 8, 0, "job.hyper"), sizeof(c.hyper))
            c.rate = <const double *>held.vector(job.rate, 8, count, 0, "job.rate")
            for i, (kind, limit) in enumerate(job.clips):
                arrays.clips[i].kind, arrays.clips[i].c = kind, limit
            c.clips, c.n_clips = arrays.clips, len(job.clips)
        return 0

    @_cython.binding(False)   # a plain method: 200 instructions less a call
    @_cython.embedsignature.format("clinic")
    def predict_one(self, x, out=None):
        """Predict one row: x [I] -> [O], both of the model's dtype; `out` is filled and returned if given."""
        cdef Py_buffer vx, vy
        cdef pn_status status
        if type(x) is not _ndarray and isinstance(x, _np.ma.MaskedArray):   # whose buffer knows nothing of its mask
            return self._convert_one(x, out)
        try:
            PyObject_GetBuffer(x, &vx, PyBUF_FORMAT | PyBUF_STRIDES)
        except (TypeError, ValueError, BufferError):   # a list, or an array of objects
            return self._convert_one(x, out)
        try:
            if vx.ndim != 1 or vx.shape[0] != self.width_in or vx.itemsize != self.itemsize \
                    or vx.strides[0] != self.itemsize or vx.format[0] != self.code or vx.format[1] != 0:
                return self._convert_one(x, out)
            if out is None:
                out = _empty(self.width_out, self.dtype)
            try:
                PyObject_GetBuffer(out, &vy, PyBUF_FORMAT | PyBUF_STRIDES | PyBUF_WRITABLE)
            except (TypeError, ValueError, BufferError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"out: expected a writeable vector of {self.width_out} {self.dtype}: {error}") from None
            try:
                if vy.ndim != 1 or vy.shape[0] != self.width_out or vy.itemsize != self.itemsize \
                        or vy.strides[0] != self.itemsize or vy.format[0] != self.code or vy.format[1] != 0:
                    raise ValueError(f"out: expected a contiguous vector of {self.width_out} {self.dtype}, "
                                     f"got {type(out).__name__} of rank {vy.ndim} and {vy.itemsize}-byte elements")
                while True:
                    if self.small:
                        status = pn_predict_one(self.m, vx.buf, vy.buf)
                    else:
                        with nogil:
                            status = pn_predict_one(self.m, vx.buf, vy.buf)
                    if status != PN_BUSY:
                        break
                    self.wait()
            finally:
                PyBuffer_Release(&vy)
        finally:
            PyBuffer_Release(&vx)
        if status != PN_OK:
            self.reraise(status)
            raise ValueError(f"predict_one: {pn_status_text(status).decode()}")
        return out

    cdef wait(self):
        """Give way to the thread that runs this machine."""
        if self.caller == _get_ident():   # it waits for us
            raise RuntimeError("the functions of Python layers and activations may not use the model or trainer that "
                               "is computing them")
        _time.sleep(0)

    cdef reraise(self, pn_status status):
        error, self.error = self.error, None
        if status == PN_CALL_FAILED and error is not None:
            raise error

    cdef call(self, uint32_t index, bint backward):
        """Compute a python op: from values to its value, or from their gradients to that of x."""
        op = self.plan.plan.ops[index]
        function = self.plan.plan.functions[index]
        x, y = int(op["x"]), int(op["y"])
        if not backward:
            self.store(y, 0, function.forward(self.value(x), int(self.plan.plan.values["width"][y])), False)
            return
        dx = function.backward(self.value(x), self.value(y), self.value(y, gradient=True))
        self.store(x, 1, dx, bool(op["flags"] & PN_ADD_X))

    def _convert_one(self, x, out):
        if _np.ma.is_masked(x):
            raise ValueError("x has masked values, which have no numbers: fill them in, e.g. x.filled(0)")
        row = _np.asarray(x)
        if self.width_in < 0 or self.width_out < 0:
            raise ValueError("predict_one needs a model with one input and one output; use predict")
        if row.dtype.kind not in "biuf":
            raise TypeError(f"x: expected real numbers, got dtype {row.dtype}")
        if row.shape != (self.width_in,):
            raise ValueError(f"x: expected one row of shape ({self.width_in},), got {row.shape}")
        return self.predict_one(_np.require(row, self.dtype, "CA"), out)

    def value(self, uint32_t index, gradient=False):
        """Return a copy, [B, width], of a value (or of its gradient) as the last batch left it."""
        cdef int64_t rows = 0
        cdef uint32_t ld = 0
        cdef char *base = <char *>pn_machine_value(self.m, index, bool(gradient), &rows, &ld)
        if base == NULL:
            raise ValueError(f"no value {index}" + (" with a gradient" if gradient else ""))
        width = int(self.plan.plan.values["width"][index])
        out = _np.empty((rows, width), self.dtype)
        cdef char[:, ::1] bytes_out
        cdef int64_t b
        if rows:
            bytes_out = out.view("i1")
            for b in range(rows):
                memcpy(&bytes_out[b, 0], base + b * ld * self.itemsize, width * self.itemsize)
        return out

    def set_gradient(self, uint32_t index, gradient):
        """Set the gradient of a value, [B, width]: what an external loss does between LOSS and BACKWARD."""
        self.store(index, 1, gradient, False)

    cdef store(self, uint32_t index, int is_gradient, array, bint add):
        cdef int64_t rows = 0
        cdef uint32_t ld = 0
        cdef char *base = <char *>pn_machine_value(self.m, index, is_gradient, &rows, &ld)
        if base == NULL:
            raise ValueError(f"no value {index} with a gradient")
        width = int(self.plan.plan.values["width"][index])
        given = _np.ascontiguousarray(array, self.dtype)
        if given.shape != (rows, width):
            raise ValueError(f"gradient: expected shape {(rows, width)}, got {given.shape}")
        if add:
            given = given + self.value(index, gradient=True)
        cdef const char[:, ::1] bytes_in = given.view("i1")
        cdef int64_t b
        for b in range(rows):
            memset(base + b * ld * self.itemsize, 0, ld * self.itemsize)
            memcpy(base + b * ld * self.itemsize, &bytes_in[b, 0], width * self.itemsize)
