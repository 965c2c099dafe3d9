# What the C machine calls: the functions of jobs and of Python ops.  Part of _core.pyx.

_status_names = {PN_OK: "ok", PN_NOT_FINITE: "not_finite", PN_BAD_LABEL: "bad_label"}
_statuses = {name: status for status, name in _status_names.items()}


cdef pn_status _reduce(void *context, int64_t part, pn_status status, int *last) noexcept with gil:
    """What the C machine calls after the way down of a part of a batch."""
    machine = <Machine>context
    try:
        answer, stop = machine.reducer(part, _status_names.get(status, "failed"))
        last[0] = bool(stop)
        return _statuses.get(answer, PN_CALL_FAILED)
    except BaseException as error:
        machine.error = error
        return PN_CALL_FAILED


cdef pn_status _updated(void *context) noexcept with gil:
    """What the C machine calls after an update that read the terms of a job."""
    machine = <Machine>context
    try:
        machine.updated()
        return PN_OK
    except BaseException as error:
        machine.error = error
        return PN_CALL_FAILED


cdef int _step_out(void *context, uint32_t op, int backward) noexcept with gil:
    """What the C machine calls at a python op."""
    machine = <Machine>context
    machine.caller = _get_ident()
    try:
        machine.call(op, backward)
        return 0
    except BaseException as error:
        machine.error = error
        return 1
    finally:
        machine.caller = None
