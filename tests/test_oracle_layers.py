"""PyTorch in float64 as oracle: norms, PReLU, LSTM and dropout, in whole training runs.

Run with  pytest -m oracle  (pip install .[oracle]).
"""

import helpers
import numpy as np
import pytest
from torch_net import RULES, Pair, TorchNet, bare, chain, data, given, loss_of, sequence, stirred

import pynet as pn

pytestmark = pytest.mark.oracle


# ---- nets ------------------------------------------------------------------------------------------------------------


def batch_norm():
    """Behind the input; folded into a dense layer with and without an activation behind it; alone behind one."""
    return chain(
        pn.BatchNorm(), pn.Activation("tanh"), bare(9), pn.BatchNorm(), pn.Activation("relu"), pn.Dense(8, "tanh"),
        pn.BatchNorm(momentum=0.6, epsilon=1e-2), pn.Activation("tanh"), bare(7), pn.BatchNorm(0.0),
    )  # fmt: skip


def batch_norm_constants():
    """A norm may learn nothing, or only one of both; a momentum of 1 keeps the first statistics."""
    return chain(
        bare(7), pn.BatchNorm(scale=False), pn.Activation("tanh"), bare(6), pn.BatchNorm(center=False),
        pn.Activation("tanh"), bare(6), pn.BatchNorm(1.0, center=False, scale=False), pn.Activation("tanh"),
    )  # fmt: skip


def batch_norm_frozen():
    return chain(
        bare(7), pn.BatchNorm(trainable=False), pn.Activation("tanh"), pn.Dense(6), pn.BatchNorm(trainable=False)
    )


def batch_norm_shared():
    """One norm, called twice: two batches for its running statistics."""
    x, norm = pn.Input(5), pn.BatchNorm()
    a, b = (norm(bare(6, "tanh")(x)) for _ in range(2))
    return pn.Model(x, pn.Dense(3, "softmax")(pn.Concat()([a, b, pn.Add()([a, b])])), dtype="float64")


def residual():
    block = pn.Residual([bare(8), pn.BatchNorm(), pn.Activation("relu"), bare(8), pn.BatchNorm()])
    return chain(bare(8), pn.BatchNorm(), block, pn.Activation("relu"))


def layer_norm():
    return chain(
        pn.LayerNorm(), pn.Dense(9), pn.LayerNorm(1e-2), pn.Activation("gelu"), pn.Dense(8, "tanh"),
        pn.LayerNorm(center=False), pn.Dense(7), pn.LayerNorm(scale=False), pn.Dense(17),
        pn.LayerNorm(center=False, scale=False),
    )  # fmt: skip


def instance_norm():
    return chain(pn.InstanceNorm(), pn.Dense(9, "tanh"), pn.InstanceNorm(1e-2))


def prelu():
    return chain(pn.PReLU(-0.1), pn.Dense(9), pn.PReLU(), pn.Dense(8), pn.PReLU(0.5, shared=True))


def lstm(masked):
    return sequence(pn.LSTM(6), masked=masked)


def lstm_sequences(masked):
    return sequence(pn.LSTM(5, return_sequences=True), pn.Flatten(), masked=masked)


def lstm_stacked(masked):
    layers = pn.LSTM(6, return_sequences=True), pn.LSTM(5, return_sequences=True), pn.LSTM(17)
    return sequence(*layers, pn.LayerNorm(), pn.Dense(6), pn.PReLU(), masked=masked)


def lstm_shared(masked):
    """One LSTM reads two sequences; below a batch norm, above a frozen LSTM."""
    x, mask = pn.Input((7, 4), name="x"), pn.Input(7, name="mask")
    below, shared = pn.LSTM(4, return_sequences=True, trainable=False), pn.LSTM(5)
    both = [[h, mask] if masked else h for h in (x, below([x, mask] if masked else x))]
    h = pn.BatchNorm()(pn.Concat()([shared(values) for values in both]))
    return pn.Model([x, mask] if masked else x, pn.Dense(3, "softmax")(h), dtype="float64")


ROWS = (
    batch_norm, batch_norm_constants, batch_norm_frozen, batch_norm_shared, residual, layer_norm, instance_norm, prelu
)  # fmt: skip
SEQUENCES = (lstm, lstm_sequences, lstm_stacked, lstm_shared)
NETS = {make.__name__: make for make in ROWS}
for make in SEQUENCES:
    NETS |= {make.__name__: lambda make=make: make(False), f"{make.__name__}, masked": lambda make=make: make(True)}


# ---- training, gradients, predictions --------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NETS)
def test_fifty_steps(torch, backend, name, rule):
    """All losses, all weights, all running statistics; at the end the predictions, where norms are folded."""
    pair = Pair(torch, stirred(NETS[name]()), backend, rule)
    start = pair.model.parameters()
    inputs, y = data(pair.model, 90)
    for k in range(50):
        rows = np.arange(17 * k, 17 * k + 17) % 90
        batch = [x[rows] for x in inputs]
        expected = pair.step(batch, y[rows])
        assert pair.trainer.train_on_batch(given(batch), y[rows])["loss"] == pytest.approx(expected, rel=1e-9), (
            f"step {k}"
        )
    pair.net.assert_equal(1e-9)
    pair.assert_learned(start)
    expected = pair.net.eval()(inputs)[0].detach().numpy()
    helpers.assert_close(pair.model.predict(given(inputs), backend=pair.trainer.backend), expected, 1e-9)


@pytest.mark.parametrize("name", ["batch_norm", "batch_norm_shared", "lstm_stacked, masked"])
def test_a_fit_whose_last_batch_is_smaller(torch, backend, name):
    pair = Pair(torch, stirred(NETS[name]()), backend, "momentum")
    inputs, y = data(pair.model, 61)
    history = pair.trainer.fit(given(inputs), y, epochs=3, batch_size=16, shuffle=False, verbose=0)
    for epoch in range(3):
        total = 0
        for rows in (slice(k, k + 16) for k in range(0, 61, 16)):
            total += len(y[rows]) * pair.step([x[rows] for x in inputs], y[rows])
        assert history.history["loss"][epoch] == pytest.approx(total / 61, rel=1e-9)
    pair.net.assert_equal(1e-9)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_gradients(torch, backend, name, training):
    """Of all weights and of the inputs; batch norms with the statistics of the batch, or with the running ones."""
    model = stirred(NETS[name]())
    inputs, y = data(model, 33)
    net = TorchNet(torch, model).train(training)
    tensors = [
        torch.tensor(x, requires_grad=value.layer.name != "mask") for x, value in zip(inputs, model.inputs, strict=True)
    ]
    loss = loss_of(torch, net(tensors)[0], y)
    loss.backward()
    gradients = pn.Trainer(model, "cross_entropy", backend=backend).gradients(given(inputs), y, training=training)
    expected = net.gradients()
    expected |= {v.layer.name: t.grad.numpy() for v, t in zip(model.inputs, tensors, strict=True) if t.requires_grad}
    assert gradients.keys() == expected.keys()
    for key, gradient in gradients.items():
        helpers.assert_close(gradient.reshape(expected[key].shape), expected[key], 1e-11, key)
        assert np.abs(gradient).max() > 1e-6, f"{key}: nothing to compare"


@pytest.mark.parametrize("name", NETS)
def test_predictions(torch, backend, name):
    model = stirred(NETS[name]())
    inputs, _ = data(model, 41)
    expected = TorchNet(torch, model).eval()(inputs)[0].detach().numpy()
    for batch_size in (None, 7):
        helpers.assert_close(model.predict(given(inputs), batch_size, backend=backend), expected, 1e-12)


def test_a_row_of_weight_two_is_two_rows_of_a_batch_norm(torch, backend):
    model, rng = stirred(batch_norm()), np.random.default_rng(0)
    (X,), y = data(model, 20)
    weight = rng.integers(0, 4, 20)
    rows = np.repeat(np.arange(20), weight)
    net, x = TorchNet(torch, model), torch.tensor(X, requires_grad=True)
    loss_of(torch, net(x[torch.as_tensor(rows)])[0], y[rows]).backward()
    trainer = pn.Trainer(model, "cross_entropy", backend=backend)
    gradients = trainer.gradients(X, y, sample_weight=weight.astype(float), training=True)
    for key, expected in (net.gradients() | {model.inputs[0].layer.name: x.grad.numpy()}).items():
        helpers.assert_close(gradients[key], expected, 1e-11, key)


def test_statistics_over_a_whole_set(torch):
    """recalibrate: PyTorch with momentum None averages, so one batch of everything gives the set's own."""
    model = stirred(chain(bare(9), pn.BatchNorm()))
    (X,), _ = data(model, 200)
    net = TorchNet(torch, model)
    norm = net.modules[model.layers[2]]
    norm.momentum = None
    net(X)
    model.recalibrate(X, batch_size=64)
    net.assert_equal(1e-12)


# ---- the LSTM against its own interface in PyTorch -------------------------------------------------------------------


def copy_lstm(torch, module, number, layer):
    """Write layer `number` of a torch.nn.LSTM into an LSTM of pynet: its one bias is the sum of two."""
    names = (f"weight_ih_l{number}", f"weight_hh_l{number}", f"bias_ih_l{number}", f"bias_hh_l{number}")
    w, r, b, c = (getattr(module, name).detach().numpy() for name in names)
    return {f"{layer}.kernel": w.T, f"{layer}.recurrent_kernel": r.T, f"{layer}.bias": b + c}


@pytest.mark.parametrize("packed", [False, True])
def test_two_layers_of_torch_lstm(torch, backend, packed):
    """A model of pynet takes the weights of a torch.nn.LSTM of two layers, both biases, lengths packed."""
    torch.manual_seed(0)
    module = torch.nn.LSTM(3, 5, num_layers=2, batch_first=True, dtype=torch.float64)
    x, mask = pn.Input((6, 3)), pn.Input(6)
    h = pn.LSTM(5, return_sequences=True, name="first")([x, mask])
    outputs = [pn.LSTM(5, return_sequences=True, name="second")([h, mask]), pn.Flatten()(h)]
    model = pn.Model([x, mask], outputs, dtype="float64")
    model.load_state_dict(copy_lstm(torch, module, 0, "first") | copy_lstm(torch, module, 1, "second"))
    lengths = np.array([6, 1, 4, 3, 6, 2]) if packed else np.full(6, 6)
    X, M = pn.datasets.pad_sequences([np.random.default_rng(n).normal(size=(n, 3)) for n in lengths], 6, "float64")
    ours = model.predict([X, M], backend=backend)[0]
    tensor = torch.as_tensor(X)
    if packed:
        tensor = torch.nn.utils.rnn.pack_padded_sequence(tensor, lengths, batch_first=True, enforce_sorted=False)
    states, (last, _) = module(tensor)
    if packed:
        states, _ = torch.nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=6)
    there = M.astype(bool)
    helpers.assert_close(ours[there], states.detach().numpy()[there], 1e-13, "states")
    helpers.assert_close(ours[:, -1], last[1].detach().numpy(), 1e-13, "last state")
