# The tables of a plan, checked.  Part of _core.pyx.

cdef class _Plan:
    """pn_plan over the arrays of a pynet.plan.Plan, which it keeps alive."""
    cdef pn_plan c
    cdef _Buffers buffers
    cdef object plan

    def __init__(self, plan):
        self.plan = plan
        self.buffers = _Buffers()
        for name, dtype in (("values", VALUE), ("params", PARAM), ("ops", OP), ("outputs", _np.dtype("u4"))):
            table = getattr(plan, name)
            if table.dtype != dtype or table.ndim != 1 or not table.flags.c_contiguous:
                raise TypeError(f"plan.{name}: expected a 1-D table of {dtype}")
        self.c.values = <const pn_value *>self.buffers.get(plan.values.view("u1")).buf
        self.c.params = <const pn_param *>self.buffers.get(plan.params.view("u1")).buf
        self.c.ops = <const pn_op *>self.buffers.get(plan.ops.view("u1")).buf
        self.c.outputs = <const uint32_t *>self.buffers.get(plan.outputs.view("u1")).buf
        self.c.n_values, self.c.n_params = len(plan.values), len(plan.params)
        self.c.n_ops, self.c.n_outputs = len(plan.ops), len(plan.outputs)
        self.c.n_inputs, self.c.n_targets, self.c.n_sums = plan.n_inputs, plan.n_targets, plan.n_sums
        self.c.row_elems, self.c.param_elems = plan.row_elems, plan.param_elems
        for name, size in (("places", 1), ("ends", 4)):
            table = getattr(plan, name)
            if table.dtype.kind != "u" or table.itemsize != size or table.ndim != 1 or not table.flags.c_contiguous:
                raise TypeError(f"plan.{name}: expected a vector of {size}-byte unsigned integers")
        self.c.places = <const uint8_t *>self.buffers.get(plan.places).buf
        self.c.ends = <const uint32_t *>self.buffers.get(plan.ends.view("u1")).buf
        self.c.n_places, self.c.n_ends = len(plan.places), len(plan.ends)

    cdef check(self):
        cdef char text[256]
        if pn_plan_check(&self.c, text, sizeof(text)) != PN_OK:
            raise ValueError(f"invalid plan: {text.decode()}")


def check_plan(plan):
    """Raise ValueError, naming table, row and number, if `plan` is not one that a machine may run."""
    (<_Plan>_Plan(plan)).check()


def _target_widths(plan):
    """Return {target slot: columns}, without those slots that only an external loss reads."""
    labels = [(OPS["loss"], LOSSES["cross_entropy_index"]), (OPS["metric"], METRICS["accuracy_index"]),
              (OPS["metric"], METRICS["top_k_index"])]
    return {int(op["slot"]): 1 if (op["kind"], op["act"]) in labels else int(plan.values["width"][op["x"]])
            for op in plan.ops if op["kind"] in (OPS["loss"], OPS["metric"])
            and (op["kind"], op["act"]) != (OPS["loss"], LOSSES["external"])}
