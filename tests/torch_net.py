"""A model of pynet's made again of PyTorch's own layers, in float64, with the same numbers in it.

PyTorch is handed in, for only the tests marked `oracle` have it.
"""

import helpers
import numpy as np

import pynet as pn

ACTIVATIONS = {
    "identity": lambda t, x: x,
    "sigmoid": lambda t, x: t.sigmoid(x),
    "tanh": lambda t, x: t.tanh(x),
    "relu": lambda t, x: t.relu(x),
    "leaky_relu": lambda t, x: t.nn.functional.leaky_relu(x, 0.01),
    "elu": lambda t, x: t.nn.functional.elu(x),
    "selu": lambda t, x: t.nn.functional.selu(x),
    "gelu": lambda t, x: t.nn.functional.gelu(x),
    "silu": lambda t, x: t.nn.functional.silu(x),
    "mish": lambda t, x: t.nn.functional.mish(x),
    "softplus": lambda t, x: t.nn.functional.softplus(x, threshold=1e9),
    "softsign": lambda t, x: t.nn.functional.softsign(x),
    "arctan": lambda t, x: t.atan(x),
    "hard_sigmoid": lambda t, x: t.nn.functional.relu6(x + 3) / 6,  # hardsigmoid has a slope of float32(1/6)
    "hard_tanh": lambda t, x: t.nn.functional.hardtanh(x),
    "hard_swish": lambda t, x: t.nn.functional.hardswish(x),
    "sinusoid": lambda t, x: t.sin(x),
    "sinc": lambda t, x: t.sinc(x / t.pi),
    "gaussian": lambda t, x: t.exp(-x * x),
    "softmax": lambda t, x: t.softmax(x, dim=1),
    # by formula, so that at least the derivative is PyTorch's
    "lecun_tanh": lambda t, x: t.tanh(x) + 0.1 * x,
    "scaled_tanh": lambda t, x: 1.7159 * t.tanh(2 * x / 3),
    "bent_identity": lambda t, x: (t.sqrt(x * x + 1) - 1) / 2 + x,
    "isru": lambda t, x: x * t.rsqrt(1 + x * x),
    "epanechnikov": lambda t, x: t.where(x.abs() <= 1, 0.75 * (1 - x**2), 0),
    "triangular": lambda t, x: t.relu(1 - x.abs()),
    "quartic": lambda t, x: t.where(x.abs() <= 1, 15 / 16 * (1 - x**2) ** 2, 0),
    "tricube": lambda t, x: t.where(x.abs() <= 1, 70 / 81 * (1 - x.abs() ** 3) ** 3, 0),
}

# ---- layers: kind -> function(torch, layer) that returns a torch module and {suffix: (tensor, whether transposed)} ---


def dense(torch, layer):
    module = torch.nn.Linear(layer.input_width, layer.units, bias=layer.use_bias, dtype=torch.float64)
    bias = {"bias": (module.bias, False)} if layer.use_bias else {}
    return module, {"kernel": (module.weight, True)} | bias


def batch_norm(torch, layer):
    """PyTorch's momentum is the share of the new value; gamma and beta are there together, so one is kept constant."""
    module = torch.nn.BatchNorm1d(layer.width, layer.epsilon, 1 - layer.momentum, dtype=torch.float64)
    module.weight.requires_grad_(layer.scale)
    module.bias.requires_grad_(layer.center)
    names = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
    return module, {ours: (getattr(module, theirs), False) for ours, theirs in names.items()}


def layer_norm(torch, layer):
    module = torch.nn.LayerNorm(layer.width, layer.epsilon, dtype=torch.float64)
    module.weight.requires_grad_(layer.scale)
    module.bias.requires_grad_(layer.center)
    there = {"gamma": (module.weight, layer.scale), "beta": (module.bias, layer.center)}
    return module, {suffix: (tensor, False) for suffix, (tensor, learned) in there.items() if learned}


def instance_norm(torch, layer):
    """The row is the one channel of an instance."""
    channel = torch.nn.Unflatten(1, (1, layer.width))
    return torch.nn.Sequential(channel, torch.nn.InstanceNorm1d(1, layer.epsilon), torch.nn.Flatten()), {}


def prelu(torch, layer):
    module = torch.nn.PReLU(1 if layer.shared else layer.width, dtype=torch.float64)
    return module, {"alpha": (module.weight, False)}


def lstm(torch, layer):
    """Gates i, f, g, o, as pynet's i, f, a, q; the second bias, that of h R, stays 0."""
    module = torch.nn.LSTM(layer.features, layer.units, batch_first=True, dtype=torch.float64)
    module.bias_hh_l0.requires_grad_(False).zero_()
    kernels = {"kernel": (module.weight_ih_l0, True), "recurrent_kernel": (module.weight_hh_l0, True)}
    return module, kernels | {"bias": (module.bias_ih_l0, False)}


LAYERS = {make.__name__: make for make in (dense, batch_norm, layer_norm, instance_norm, prelu, lstm)}


def masked_lstm(torch, module, x, mask):
    """All hidden states of a packed sequence, [B, T, U]; at a step that is masked stands the state before it."""
    takes = mask > 0.5
    done = takes.cumsum(dim=1)  # steps taken so far
    order = (~takes).to(torch.int64).argsort(dim=1, stable=True)  # those that are taken come first
    x = torch.gather(x, 1, order[:, :, None].expand_as(x))
    lengths = done[:, -1].clamp(min=1).cpu()  # nothing to pack is refused; what comes of such a row is not read
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    states, _ = torch.nn.utils.rnn.pad_packed_sequence(module(packed)[0], batch_first=True, total_length=x.shape[1])
    states = torch.cat([torch.zeros_like(states[:, :1]), states], dim=1)  # before the first step
    return torch.gather(states, 1, done[:, :, None].expand(-1, -1, states.shape[2]))


# ---- the net ---------------------------------------------------------------------------------------------------------


class TorchNet:
    """The same graph of torch modules.

    Attributes
    ----------
    tensors : dict
        {name of the parameter in pynet: (tensor, whether it is the transpose)}.
    """

    def __init__(self, torch, model):
        self.torch, self.model = torch, model
        self.modules, self.tensors = {}, {}
        for layer, name in model.names.items():
            if layer.kind in LAYERS:
                self.modules[layer], tensors = LAYERS[layer.kind](torch, layer)
                self.tensors |= {f"{name}.{suffix}": pair for suffix, pair in tensors.items()}
                if not layer.trainable:
                    self.modules[layer].requires_grad_(False)
        self.train()
        self.load()

    def load(self) -> None:
        """Copy the present numbers of the model."""
        state = self.model.parameters()
        assert state.keys() == self.tensors.keys(), "a parameter has no counterpart"
        with self.torch.no_grad():
            for name, (tensor, transposed) in self.tensors.items():
                tensor.copy_(self.torch.as_tensor(state[name].T if transposed else state[name]))

    def train(self, training: bool = True):
        """Batch norms use the batch (but not those that are frozen), or their running statistics."""
        for layer, module in self.modules.items():
            module.train(training and layer.trainable)
        return self

    def eval(self):
        return self.train(False)

    def learned(self) -> dict:
        """{name: (tensor, transposed)} of what an optimizer changes."""
        return {name: pair for name, pair in self.tensors.items() if pair[0].requires_grad}

    def __call__(self, X, drawn=None):
        """Return the outputs, a list.

        Parameters
        ----------
        X : array or tensor, or a list of them
        drawn : dict, optional
            {layer: what each element is multiplied with} of dropouts, {layer: what is added} of noise; without it they
            do nothing.
        """
        inputs = X if isinstance(X, list) else [X]
        values = {node: self.torch.as_tensor(x) for node, x in zip(self.model.inputs, inputs, strict=True)}
        for node in self.model.nodes:
            if node not in values:
                values[node] = self._value(node, [values[v] for v in node.inputs], drawn or {})
        return [values[node] for node in self.model.outputs]

    def _value(self, node, x, drawn):
        layer, module = node.layer, self.modules.get(node.layer)
        if layer in drawn:
            numbers = self.torch.as_tensor(drawn[layer])
            return x[0] * numbers if layer.kind == "dropout" else x[0] + numbers
        if layer.kind == "lstm":
            states = module(x[0])[0] if len(x) == 1 else masked_lstm(self.torch, module, *x)
            return states if layer.return_sequences else states[:, -1]
        if layer.kind == "flatten":
            return x[0].flatten(1)
        if layer.kind == "add":
            return sum(x)
        if layer.kind == "concat":
            return self.torch.cat(x, dim=1)
        y = module(x[0]) if module else x[0]
        return ACTIVATIONS[layer.activation.name](self.torch, y) if layer.activation else y

    # ---- comparisons ---------------------------------------------------------------------------------------------

    def numbers(self) -> dict:
        """{name in pynet: array}"""
        return {name: plain(pair) for name, pair in self.tensors.items()}

    def gradients(self) -> dict:
        """{name in pynet: array} after a call of backward."""
        return {name: plain((tensor.grad, turned)) for name, (tensor, turned) in self.learned().items()}

    def assert_equal(self, tolerance: float) -> None:
        """All parameters and running statistics of the model are the tensors'."""
        numbers = self.numbers()
        for name, ours in self.model.parameters().items():
            helpers.assert_close(ours, numbers[name], tolerance, name)


def plain(pair) -> np.ndarray:
    tensor, transposed = pair
    array = tensor.detach().numpy()
    return array.T if transposed else array


# ---- nets and data to compare on -------------------------------------------------------------------------------------


def chain(*layers, inputs=5, outputs=3, last="softmax"):
    return pn.Sequential([pn.Input(inputs), *layers, pn.Dense(outputs, last)], dtype="float64")


def bare(units, activation=None):
    """Without bias: in front of a batch norm its gradient is 0, but for rounding that Adam makes steps of."""
    return pn.Dense(units, activation, use_bias=False)


def sequence(*layers, masked=True, steps=7, features=4):
    """LSTMs behind one another, all with the mask; then whatever else."""
    x, mask = pn.Input((steps, features), name="x"), pn.Input(steps, name="mask")
    h = x
    for layer in layers:
        h = layer([h, mask]) if masked and layer.kind == "lstm" else layer(h)
    return pn.Model([x, mask] if masked else x, pn.Dense(3, "softmax")(h), dtype="float64")


def stirred(model, seed=0):
    """The model with all its numbers moved: no bias is 0, no norm does nothing."""
    rng = np.random.default_rng(seed)
    state = {name: array + 0.2 * rng.normal(size=array.shape) for name, array in model.parameters().items()}
    model.load_state_dict({name: np.abs(a) if name.endswith("variance") else a for name, a in state.items()})
    return model


def data(model, rows, seed=0):
    """Inputs and class numbers.  Masks end early, have holes, are full, are empty; under them stands nonsense."""
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(size=(rows, *value.shape)) for value in model.inputs]
    if len(inputs) == 2:
        x, mask = inputs
        mask[:] = np.arange(mask.shape[1]) < rng.integers(1, mask.shape[1] + 1, rows)[:, None]
        mask[::5] = rng.random(mask[::5].shape) > 0.3
        mask[3::11], mask[4::11] = 1, 0
        x[mask == 0] = 1e3 * rng.normal(size=x[mask == 0].shape)
    return inputs, rng.integers(0, 3, rows)


def given(inputs):
    """As pynet takes them: a list only where there are several."""
    return inputs if len(inputs) > 1 else inputs[0]


def loss_of(torch, output, y):
    return torch.nn.functional.nll_loss(output.log(), torch.as_tensor(y))


RULES = {
    "momentum": (lambda: pn.SGD(0.05, momentum=0.9), lambda t, p: t.optim.SGD(p, lr=0.05, momentum=0.9)),
    "adam": (lambda: pn.Adam(0.01), lambda t, p: t.optim.Adam(p, lr=0.01)),
}


class Pair:
    """A model in training on both sides."""

    def __init__(self, torch, model, backend, rule, random_state=0):
        self.torch, self.model = torch, model
        self.trainer = pn.Trainer(
            model, "cross_entropy", RULES[rule][0](), backend=backend, n_threads=2, random_state=random_state
        )
        self.net = TorchNet(torch, model)
        self.optimizer = RULES[rule][1](torch, [tensor for tensor, _ in self.net.learned().values()])

    def step(self, inputs, y, drawn=None):
        """PyTorch's step; returns its loss."""
        self.optimizer.zero_grad()
        loss = loss_of(self.torch, self.net(inputs, drawn)[0], y)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def assert_learned(self, start):
        for name in self.net.learned():
            assert helpers.distance(self.model.parameters()[name], start[name]) > 1e-2, name
