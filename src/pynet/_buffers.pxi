# How arrays enter: buffers, held for the length of a call.  Part of _core.pyx.

cdef int _type(Py_buffer *view) except -1:
    cdef const char *f = view.format
    if f == NULL:
        return PN_UINT8
    if f[0] == b"@" or f[0] == b"=" or f[0] == b"<":
        f += 1
    if f[0] != 0 and f[1] == 0:
        c, size = f[0], view.itemsize
        if c == b"e" and size == 2:
            return PN_FLOAT16
        if c == b"f" and size == 4:
            return PN_FLOAT32
        if c == b"d" and size == 8:
            return PN_FLOAT64
        if c == b"?":
            return PN_UINT8
        if c in b"bhilq":
            return {1: PN_INT8, 2: PN_INT16, 4: PN_INT32, 8: PN_INT64}[size]
        if c in b"BHILQ":
            return {1: PN_UINT8, 2: PN_UINT16, 4: PN_UINT32, 8: PN_UINT64}[size]
    raise TypeError(f"element type {view.format.decode()!r} cannot be used by the machine")


cdef class _Buffers:
    """Buffers held for the length of one call."""
    cdef Py_buffer views[64]
    cdef int n

    def __dealloc__(self):
        cdef int i
        for i in range(self.n):
            PyBuffer_Release(&self.views[i])

    cdef Py_buffer *get(self, array, int flags=PyBUF_FORMAT | PyBUF_STRIDES) except NULL:
        if self.n == 64:
            raise ValueError("more than 64 arrays in one job")
        PyObject_GetBuffer(array, &self.views[self.n], flags)
        self.n += 1
        return &self.views[self.n - 1]

    cdef void *vector(self, array, Py_ssize_t itemsize, Py_ssize_t least, int writable, name) except? NULL:
        """The base of a contiguous 1-D array of at least `least` elements."""
        if array is None:
            return NULL
        cdef Py_buffer *v = self.get(array, PyBUF_FORMAT | PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
        if v.ndim != 1 or v.itemsize != itemsize or v.shape[0] < least or (v.shape[0] > 1 and v.strides[0] != itemsize):
            raise ValueError(f"{name}: expected a contiguous vector of {least} elements of {itemsize} bytes")
        return v.buf

    cdef pn_array rows(self, array, int writable, int64_t least, name) except *:
        cdef Py_buffer *v = self.get(array, PyBUF_FORMAT | PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
        cdef pn_array a
        if v.ndim < 1 or v.ndim > 2 or v.shape[0] < least:
            raise ValueError(f"{name}: expected {least} rows, got shape {[v.shape[i] for i in range(v.ndim)]}")
        a.base = v.buf
        a.row_stride = v.strides[0]
        a.col_stride = v.strides[1] if v.ndim == 2 else v.itemsize
        a.width = v.shape[1] if v.ndim == 2 else 1
        a.type = _type(v)
        return a


def permutation(uint64_t seed, uint32_t epoch, Py_ssize_t n, uint32_t purpose=2, memory=None):
    """Return a random order of 0..n-1, int64 [n]: that of philox.permutation, many times as fast.  See csrc/order.c.

    It is the first row of `memory`, int64 [2, n], where that is given.
    """
    memory = _np.empty((2, n), _np.int64) if memory is None else memory
    cdef int64_t[:, ::1] rows = memory
    if rows.shape[0] != 2 or rows.shape[1] != n:
        raise ValueError(f"memory: expected shape (2, {n}), got {memory.shape}")
    if n:
        with nogil:
            pn_order(seed, purpose, epoch, n, &rows[0, 0], <uint64_t *> &rows[1, 0])
    return memory[0]
