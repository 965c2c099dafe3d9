# Pruning.  Part of _core.pyx.

def obs(const double[:, :, ::1] inverse, const double[:, ::1] w, Py_ssize_t steps):
    """Return (order, cost), each [N, steps], of the optimal brain surgeon on N quadratic forms of n weights.

    inverse: [N, n, n], or [1, n, n] for all; w: [N, n].  See csrc/obs.c.
    """
    cdef Py_ssize_t N = w.shape[0], n = w.shape[1]
    if inverse.shape[0] not in (1, N) or inverse.shape[1] != n or inverse.shape[2] != n or not 0 <= steps <= n:
        raise ValueError(f"inverse {[inverse.shape[i] for i in range(3)]}, w {[N, n]} and {steps} steps do not fit")
    order, cost = _np.empty((N, steps), _np.int32), _np.empty((N, steps))
    if not (N and steps):
        return order, cost
    cdef int32_t[:, ::1] order_ = order
    cdef double[:, ::1] cost_ = cost
    cdef pn_status status
    with nogil:
        status = pn_obs(&inverse[0, 0, 0], inverse.shape[0] == 1, &w[0, 0], N, n, steps, &order_[0, 0], &cost_[0, 0])
    if status == PN_NO_MEMORY:
        raise MemoryError(f"{steps} steps over {n} weights need more memory than there is")
    if status != PN_OK:
        raise ValueError(f"obs: {pn_status_text(status).decode()}")
    return order, cost
