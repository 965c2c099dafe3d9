# Processes that wait for each other.  Part of _core.pyx.

SEAT = sizeof(pn_seat)   # bytes


@_cython.final
cdef class Meeting:
    """The place where the processes of one machine wait for each other.  See csrc/meeting.c.

    Parameters
    ----------
    seats : uint8 ndarray [n * SEAT], 64-byte aligned, 0 at first
        In memory that all of them share.
    own : int
        Which of them is this process's.
    meanwhile : callable, optional
        What is called every 50 ms while others are late.
    """
    cdef object held, meanwhile
    cdef pn_seat *seats
    cdef int n, own

    def __init__(self, seats, int own, meanwhile=None):
        if seats.dtype != _np.uint8 or seats.ndim != 1 or not seats.flags.c_contiguous or not seats.flags.writeable \
                or seats.ctypes.data % 64 or seats.size % SEAT or not 0 <= own < seats.size // SEAT:
            raise ValueError(f"seats: expected aligned memory of n * {SEAT} bytes, n > {own}")
        self.held, self.meanwhile, self.own, self.n = seats, meanwhile, own, seats.size // SEAT
        self.seats = <pn_seat *><uintptr_t>seats.ctypes.data

    def wait(self):
        """Wait until all are here; what they wrote before can be read then.  Signals are heard."""
        cdef int here = 0
        pn_arrive(&self.seats[self.own])
        while not here:
            with nogil:
                here = pn_all_here(self.seats, self.n, self.own, 0.05)
            if not here:
                PyErr_CheckSignals()
                if self.meanwhile is not None:
                    self.meanwhile()

    @property
    def count(self):
        """How often this process has come."""
        return self.seats[self.own].meetings
