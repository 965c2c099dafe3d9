"""The table of bad inputs: each is refused by name, with what came and what was expected, and changes nothing."""

import numpy as np
import pytest

import pynet as pn

BACKENDS = ("c", "numpy")
X = np.random.default_rng(0).normal(size=(12, 4))
LABELS = np.arange(12) % 3
ONE_HOT = np.eye(3)[LABELS]
NAN, INF = X.copy(), X.copy()
NAN[7, 2], INF[3, 0] = np.nan, -np.inf
LOCKED = np.zeros((12, 3), np.float32)
LOCKED.flags.writeable = False
MASKED = "x has masked values, which have no numbers"


def make(backend="c", head="softmax", loss="cross_entropy", **options):
    layers = [pn.Input(4, name="rows"), pn.Dense(5, "tanh", name="body"), pn.Dense(3, head, name="head")]
    return pn.Trainer(pn.Sequential(layers), loss, backend=backend, **options)


def spoilt(array, place, value, dtype=None):
    array = np.array(array, dtype)
    array[place] = value
    return array


def fit(x=X, y=LABELS, epochs=1, **options):
    return lambda t: t.fit(x, y, epochs=epochs, verbose=0, **options)


def predict(x=X, **options):
    return lambda t: t.model.predict(x, backend=t.backend, **options)


def new(head="softmax", loss="cross_entropy", **options):
    return lambda t: pn.Trainer(make(head=head, loss="mse" if head is None else "log_cosh").model, loss, **options)


class Bad:
    """A loss of one's own that returns what it is told to."""

    def __init__(self, result):
        self.result = result

    def value_and_gradient(self, prediction, target):
        return self.result


def own(result):
    return lambda t: pn.Trainer(t.model, Bad(result), backend=t.backend).train_on_batch(X, ONE_HOT)


# label, what is done with a trainer, error, what the message says
DATA = [
    ("X too wide", fit(np.zeros((12, 5))), ValueError, r"X must have shape \[N, 4\], got \(12, 5\)"),
    ("X too narrow in predict", predict(np.zeros((12, 3))), ValueError, r"X must have shape \[N, 4\], got \(12, 3\)"),
    ("X one row", predict(np.zeros(4)), ValueError, r"X must have shape .*got \(4,\); one row: use predict_one"),
    ("X 0-d", predict(np.float32(1)), ValueError, r"X must have shape \[N, 4\], got \(\)"),
    ("X None", fit(None), TypeError, r"X must be real numbers.* got dtype object"),
    ("X images", predict(np.zeros((5, 2, 2))), ValueError, r"got \(5, 2, 2\); use X.reshape\(-1, 4\)"),
    ("X empty list", fit([]), ValueError, r"X must have shape \[N, 4\], got \(0,\)"),
    ("X without rows", fit(X[:0], LABELS[:0]), ValueError, r"X has no rows"),
    ("X ragged", predict([[1, 2, 3, 4], [1, 2]]), ValueError, r"X cannot be made an array.*inhomogeneous"),
    ("X complex", fit(X + 1j), TypeError, r"X must be real numbers of at most 64 bits, got dtype complex128"),
    ("X objects", predict(X.astype(object)), TypeError, r"X must be real .*dtype object; convert it"),
    ("X text", fit(X.astype(str)), TypeError, r"X must be real numbers.*got dtype <U"),
    ("X structured", predict(np.zeros(12, [("a", "f4"), ("b", "f4")])), TypeError, r"X must be real.*\('a', '<f4'\)"),
    ("X dates", fit(np.zeros((12, 4), "M8[s]")), TypeError, r"X must be real numbers.*datetime64"),
    ("X long double", predict(X.astype(np.longdouble)), TypeError, r"X must be real numbers of at most 64 bits"),
    ("X NaN", fit(NAN), ValueError, r"X must be finite, got nan in row 7, column 2"),
    ("X infinite", fit(INF), ValueError, r"X must be finite, got -inf in row 3, column 0"),
    ("X NaN in evaluate", lambda t: t.evaluate(NAN, LABELS), ValueError, r"X must be finite, got nan in row 7"),
    ("X NaN, big endian", fit(NAN.astype(">f4")), ValueError, r"X must be finite, got nan in row 7, column 2"),
    ("X NaN, half", fit(NAN.astype("f2")), ValueError, r"X must be finite, got nan in row 7, column 2"),
    ("X for another input", fit({"row": X}), ValueError, r"unknown input 'row', did you mean 'rows'\?"),
    ("y missing", fit(y=None), ValueError, r"y is missing"),
    ("y shorter", fit(y=LABELS[:11]), ValueError, r"y has 11 rows, expected 12, as many as X"),
    ("y wrong width", fit(y=ONE_HOT[:, :2]), ValueError, r"y must be class numbers \[N\] or rows \[N, 3\], got"),
    ("y label too large", fit(y=spoilt(LABELS, 5, 3)), ValueError, r"y: class numbers must be in 0..2, got 3 in row 5"),
    ("y label negative", fit(y=spoilt(LABELS, 5, -1)), ValueError, r"y: class numbers.*0..2, got -1 in row 5"),
    ("y label huge", fit(y=spoilt(LABELS, 5, 2**63, "u8")), ValueError, r"y: class numbers.*got 9223372036854775808"),
    ("y label fraction", fit(y=spoilt(LABELS, 5, 0.5, float)), ValueError, r"must be integers, got 0.5 in row 5"),
    ("y label NaN", fit(y=spoilt(LABELS, 5, np.nan, float)), ValueError, r"y: class numbers.*got nan in row 5"),
    ("y text", fit(y=LABELS.astype(str)), TypeError, r"y must be class numbers 0..2, got dtype <U.*np.unique"),
    ("y ragged", fit(y=[[1], [1, 2]]), ValueError, r"y cannot be made an array"),
    ("y complex", fit(y=ONE_HOT + 0j), TypeError, r"y must be real numbers.*complex128"),
    ("y one-hot negative", fit(y=-ONE_HOT), ValueError, r"y: loss 'cross_entropy' needs rows of weights >= 0, got -1"),
    ("y for another output", fit(y={"haed": LABELS}), ValueError, r"unknown output in y 'haed', did you mean 'head'"),
    ("weights shape", fit(sample_weight=np.ones(11)), ValueError, r"sample_weight must have shape \(12,\).*\(11,\)"),
    ("weights NaN", fit(sample_weight=NAN[:, 2]), ValueError, r"sample_weight must be finite and >= 0, got "),
    ("weights negative", fit(sample_weight=-np.ones(12)), ValueError, r"sample_weight .*>= 0, got -1.0 in row 0"),
    ("weights all 0", fit(sample_weight=np.zeros(12)), ValueError, r"sample_weight is 0 in every row"),
    ("weights complex", fit(sample_weight=np.ones(12, complex)), TypeError, r"sample_weight must be real .*complex128"),
    ("weights text", fit(sample_weight=["1"] * 12), TypeError, r"sample_weight must be real numbers, got dtype <U1"),
    ("class_weight name", fit(class_weight="balance"), ValueError, r"class_weight 'balance', did you mean 'balanced'"),
    ("class_weight negative", fit(class_weight={1: -2}), ValueError, r"class_weight\[1\] must be .*>= 0, got -2"),
    ("class_weight by text", fit(class_weight={"a": 1}), ValueError, r"class_weight: classes are .* >= 0, got 'a'"),
    ("class_weight list", fit(class_weight=[1, 2, 3]), TypeError, r"class_weight must be a dict .*, got list"),
    ("validation without y", fit(validation_data=(X,)), TypeError, r"validation_data must be \(X, y\)"),
    ("validation X", fit(validation_data=(NAN, LABELS)), ValueError, r"validation X must be finite, got nan"),
    ("validation y", fit(validation_data=(X, LABELS + 1)), ValueError, r"validation y: class numbers.*got 3 in row 2"),
    ("validation twice", fit(validation_data=(X, LABELS), validation_split=0.1), ValueError, r"not both"),
    ("validation_split 1", fit(validation_split=1.0), ValueError, r"validation_split must be >= 0 and < 1, got 1.0"),
    ("validation_split all", fit(X[:1], LABELS[:1], validation_split=0.5), ValueError, r"leaves no rows to train on"),
    ("batch_size 0", fit(batch_size=0), ValueError, r"batch_size must be in 1..1073741824, got 0"),
    ("batch_size fraction", fit(batch_size=2.5), TypeError, r"batch_size must be an integer, got float 2.5"),
    ("batch_size of predict", predict(batch_size=-1), ValueError, r"batch_size must be >= 1, got -1"),
    ("epochs negative", fit(epochs=-1), ValueError, r"epochs must be >= 0, got -1"),
    ("callback class", fit(callbacks=[pn.EarlyStopping]), TypeError, r"callbacks: .*has none of the methods"),
    ("callbacks no list", fit(callbacks=pn.Callback()), TypeError, r"callbacks must be a list, got Callback"),
    ("monitor", fit(callbacks=[pn.EarlyStopping("los")]), ValueError, r"watches 'los'.*did you mean 'loss'"),
    ("out shape", predict(out=np.zeros((11, 3), "f4")), ValueError, r"out must have shape \(12, 3\) .*got \(11, 3\)"),
    ("out dtype", predict(out=np.zeros((12, 3))), ValueError, r"out must have .* dtype float32, got .*float64"),
    ("out strided", predict(out=np.zeros((12, 6), "f4")[:, ::2]), ValueError, r"out must be C-contiguous"),
    ("out Fortran", predict(out=np.zeros((3, 12), "f4").T), ValueError, r"out must be C-contiguous"),
    ("out read-only", predict(out=LOCKED), ValueError, r"out must be C-contiguous, aligned and writeable"),
    ("out big endian", predict(out=np.zeros((12, 3), ">f4")), ValueError, r"out must have .* dtype float32"),
    ("out list", predict(out=[[0.0] * 3] * 12), (TypeError, ValueError), r"out must be"),
    ("own loss: no pair", own(1.0), TypeError, r"Bad.value_and_gradient must return \(value, gradient\), got float"),
    ("own loss: shape", own((1.0, np.zeros(3))), ValueError, r"gradient must have shape \(12, 3\), got \(3,\)"),
    ("own loss: NaN", own((np.nan, np.zeros((12, 3)))), FloatingPointError, r"NaN or infinite in .*batch 0"),
    ("rate turns negative", lambda t: fit()(make(t.backend, optimizer=pn.SGD(lambda s: -0.1))), ValueError,
        r"learning_rate must be finite and >= 0, got -0.1 at step 0"),
    ("predict_one out read-only", lambda t: t.model.predict_one(X[0], out=LOCKED[0]), ValueError, r"out.*writ"),
    ("predict_one out list", lambda t: t.model.predict_one(X[0], out=[0.0] * 3), TypeError, r"out"),
]  # fmt: skip

NAMES = [
    ("activation", lambda t: pn.Dense(3, "rellu"), ValueError, r"unknown activation 'rellu', did you mean 'relu'\?"),
    ("activation kind", lambda t: pn.Dense(3, 7), TypeError, r"activation must be a name or an object.*got int 7"),
    ("initializer", lambda t: pn.Dense(3, kernel_initializer="he_unifrom"), ValueError, r"initializer.*'he_uniform'"),
    ("loss", new(loss="cross_entrpy"), ValueError, r"unknown loss 'cross_entrpy', did you mean 'cross_entropy'"),
    ("loss kind", new(loss=3), TypeError, r"loss must be a name .*got int 3"),
    ("loss for no output", new(loss={"haed": "mse"}), ValueError, r"output in loss 'haed', did you mean 'head'"),
    ("metric", new(metrics=["acuracy"]), ValueError, r"unknown metric 'acuracy', did you mean 'accuracy'"),
    ("optimizer", new(optimizer="adma"), ValueError, r"unknown optimizer 'adma', did you mean 'adam'"),
    ("optimizer class", new(optimizer=int), TypeError, r"optimizer must be a name .*got type"),
    ("clip", new(clip="clipnorm"), ValueError, r"unknown clip 'clipnorm', did you mean 'clip_norm'"),
    ("backend", new(backend="C"), ValueError, r"unknown backend 'C', did you mean 'c'"),
    ("backend of predict", lambda t: t.model.predict(X, backend="cuda"), ValueError, r"unknown backend 'cuda'"),
    ("layer", lambda t: t.model.get_layer("hade"), ValueError, r"unknown layer 'hade', did you mean 'head'"),
    ("freeze", lambda t: t.model.freeze("bdoy"), ValueError, r"unknown layer 'bdoy', did you mean 'body'"),
    ("name in the package", lambda t: pn.Dens, AttributeError, r"no attribute 'Dens', did you mean 'Dense'"),
    ("softmax with bce", new(loss="binary_cross_entropy"), ValueError, r"does not go with a softmax head"),
    ("sigmoid with ce", new("sigmoid"), ValueError, r"'cross_entropy' does not go with a sigmoid head"),
    ("poisson on a line", new(None, "poisson"), ValueError, r"'poisson' needs a head that is never negative.*softplus"),
    ("top_k of all", lambda t: make(metrics=[pn.metrics.TopK(3)]).evaluate(X, LABELS), ValueError, r"k = 3 needs more"),
    ("model", lambda t: pn.Trainer(None, "mse"), TypeError, r"model must be a pynet Model, got NoneType"),
    ("random_state", new(random_state=-1), ValueError, r"random_state.*-1"),
    ("random_state text", new(random_state="0"), TypeError, r"random_state.*str"),
    ("n_threads", new(n_threads=0), ValueError, r"n_threads must be in 1..255, got 0"),
    ("set_num_threads", lambda t: pn.set_num_threads(0), ValueError, r"n must be in 1..255, got 0"),
    ("loss_weights", new(loss_weights={"head": -1}), ValueError, r"loss_weights\['head'\] must be .*>= 0, got -1"),
    ("learning rate", lambda t: pn.Adam(-1e-3), ValueError, r"learning_rate must be finite and >= 0, got -0.001"),
    ("learning rate NaN", lambda t: pn.SGD(float("nan")), ValueError, r"learning_rate must be finite"),
    ("learning rate set", lambda t: setattr(t.optimizer, "learning_rate", "x"), TypeError, r"learning_rate must be"),
    ("momentum", lambda t: pn.SGD(0.1, momentum=1.0), ValueError, r"momentum must be >= 0 and < 1, got 1.0"),
    ("beta", lambda t: pn.Adam(beta_1=-0.1), ValueError, r"beta_1 must be .*got -0.1"),
    ("schedule", lambda t: pn.schedules.Cosine(0.1, 0), ValueError, r"steps must be >= 1, got 0"),
    ("clip range", lambda t: pn.ClipNorm(0), ValueError, r"c must be finite and > 0, got 0"),
    ("tau", lambda t: pn.losses.Quantile(1.5), ValueError, r"tau must be .*<= 1, got 1.5"),
    ("patience", lambda t: pn.EarlyStopping(patience=-1), ValueError, r"patience must be >= 0, got -1"),
    ("units", lambda t: pn.Dense(0), ValueError, r"units of Dense must be in 1..16777216, got 0"),
    ("l2", lambda t: pn.Dense(3, l2=-1), ValueError, r"l2 must be finite and >= 0, got -1"),
    ("constant kernel", lambda t: pn.Sequential([pn.Input(2), pn.Dense(2, kernel_initializer="zeros")]), ValueError,
        r"'dense_1.kernel': .*would fill a weight matrix \(2, 2\) with the single value 0"),
    ("width too great", lambda t: pn.Dense(2**24 + 1), ValueError, r"units of Dense must be in .*, got 16777217"),
    ("model too great", lambda t: pn.Sequential([pn.Input(2**24), pn.Dense(2**24)]), ValueError, r"model is too large"),
    ("dtype", lambda t: pn.Sequential([pn.Input(2), pn.Dense(2)], dtype="float16"), ValueError, r"dtype.*float16"),
    ("predict_one shape", lambda t: t.model.predict_one(np.zeros(3)), ValueError, r"x: expected .*\(4,\), got \(3,\)"),
    ("predict_one matrix", lambda t: t.model.predict_one(X), ValueError, r"x: expected one row .*got \(12, 4\)"),
    ("predict_one complex", lambda t: t.model.predict_one(X[0] + 0j), TypeError, r"x: expected real .*complex128"),
    ("predict_one text", lambda t: t.model.predict_one("abcd"), TypeError, r"x: expected real numbers, got dtype <U4"),
    ("predict_one dates", lambda t: t.model.predict_one(np.zeros(4, "M8[s]")), TypeError, r"x: expected real numbers"),
    ("predict_one masked", lambda t: t.model.predict_one(np.ma.array(X[0], "f4", mask=[1] * 4)), ValueError, MASKED),
    ("predict_one masked f8", lambda t: t.model.predict_one(np.ma.array(X[0], mask=[0, 0, 0, 1])), ValueError, MASKED),
    ("predict_one out", lambda t: t.model.predict_one(X[0], out=np.zeros(3)), ValueError, r"out: expected .*float32"),
    ("epsilon of nothing", lambda t: pn.Trainer(t.model, "mse", pn.Adam(epsilon=1e-50)), ValueError,
        r"the optimizer's epsilon=1e-50 is 0 in float32"),
    ("weights name", lambda t: t.model.load_state_dict({"haed.kernel": 0}), ValueError, r"'haed.kernel', did you"),
    ("last weight NaN", lambda t: t.model.set_weights([*(w + 1 for w in t.model.get_weights()[:3]), NAN[7, :3]]),
        ValueError, r"'head.bias' must be finite"),
    ("weights number", lambda t: t.model.set_weights([]), ValueError, r"has 4 parameters, got 0 arrays"),
    ("weights shape", lambda t: t.model.set_weights([w.T for w in t.model.get_weights()]), ValueError,
        r"'body.kernel' has shape \(4, 5\), got \(5, 4\)"),
]  # fmt: skip


# The binding lets the buffer protocol speak for itself here: "a bytes-like object is required, not 'list'".
def run_row(call, trainer, error, text):
    """The row, and that weights, optimizer state and counters are as they were."""

    def all_of_it():
        arrays = [trainer.model.arena, *trainer._slots]
        return [a.tobytes() for a in arrays], trainer.step, trainer.epoch, repr(trainer.history.history)

    before = all_of_it()
    with pytest.raises(error, match=text) as caught:
        call(trainer)
    assert isinstance(caught.value, error)
    assert all_of_it() == before
    assert trainer.model.predict(X).shape == (12, 3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("call", "error", "text"), [row[1:] for row in DATA], ids=[row[0] for row in DATA])
def test_data(call, error, text, backend):
    trainer = make(backend)
    trainer.fit(X, LABELS, epochs=1, verbose=0)
    run_row(call, trainer, error, text)
    trainer.fit(X, LABELS, epochs=1, verbose=0)


@pytest.mark.parametrize(("call", "error", "text"), [row[1:] for row in NAMES], ids=[row[0] for row in NAMES])
def test_names_and_numbers(call, error, text):
    run_row(call, make(), error, text)


def test_the_tables_are_as_long_as_promised():
    assert len(DATA) + len(NAMES) >= 110
    assert len({row[0] for row in DATA}) == len(DATA)
    assert len({row[0] for row in NAMES}) == len(NAMES)
