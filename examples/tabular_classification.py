"""Classes from a table with numbers, a category and missing values: will a customer leave?

The table is made by a formula, so that the best there can be is known: in the long run no classifier beats one
that knows the formula.  Numbers are standardised inside the model, which is saved with all that a row needs.

    python examples/tabular_classification.py

prints (the numbers may differ in the last digit on another machine)

    best possible  accuracy 0.795  log loss 0.435
    network        accuracy 0.788  log loss 0.447
    always "stays" accuracy 0.592
    after loading  the same predictions: True
"""

import numpy as np

import pynet as pn

CITIES = ["north", "south", "east", "west"]


def make_table(rows: int, seed: int):
    """Return age, spending (NaN: unknown), visits, city of each customer, and how likely each is to leave."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(18, 80, rows)
    spending = rng.lognormal(3, 0.8, rows)
    visits = rng.poisson(4, rows).astype(float)
    city = rng.integers(4, size=rows)
    unknown = rng.random(rows) < 0.15  # who does not tell has more often decided already
    score = 2.2 * np.sin(age / 8) + 1.5 * np.log(spending / 20) * (city < 2) - 0.5 * (visits - 4) + 1.5 * unknown - 1
    spending[unknown] = np.nan
    return age, spending, visits, city, 1 / (1 + np.exp(-score))


def features(age, spending, visits, city) -> np.ndarray:
    """Return the rows of the network [N, 8]: numbers, whether one is unknown, the city one-hot."""
    unknown = np.isnan(spending)
    log_spending = np.log(np.where(unknown, 20.0, spending))
    return np.column_stack([age, log_spending, visits, unknown, np.eye(len(CITIES))[city]])


def log_loss(p, y) -> float:
    return float(-np.mean(np.log(np.where(y == 1, p, 1 - p))))


*columns, p = make_table(20_000, seed=0)
y = (np.random.default_rng(1).random(len(p)) < p).astype(int)  # 1: leaves
X = features(*columns)
X_train, X_test, y_train, y_test, p_train, p_test = (
    X[:15_000],
    X[15_000:],
    y[:15_000],
    y[15_000:],
    p[:15_000],
    p[15_000:],
)

shift, scale = X_train.mean(axis=0), 1 / X_train.std(axis=0)
model = pn.Sequential([
    pn.Input(X.shape[1], shift=shift, scale=scale),
    pn.Dense(32, activation="tanh"),
    pn.Dense(32, activation="tanh"),
    pn.Dense(1, activation="sigmoid"),
])  # fmt: skip
trainer = pn.Trainer(model, "binary_cross_entropy", pn.Adam(3e-3), metrics=["accuracy"])
stop = pn.EarlyStopping(patience=10, restore_best_weights=True)
trainer.fit(X_train, y_train, epochs=200, batch_size=64, validation_split=0.2, callbacks=[stop], verbose=0)

leaves = model.predict(X_test)[:, 0]
print(f"best possible  accuracy {np.mean((p_test > 0.5) == y_test):.3f}  log loss {log_loss(p_test, y_test):.3f}")
print(f"network        accuracy {np.mean((leaves > 0.5) == y_test):.3f}  log loss {log_loss(leaves, y_test):.3f}")
print(f'always "stays" accuracy {np.mean(y_test == 0):.3f}')

model.metadata["classes"] = ["stays", "leaves"]
model.metadata["cities"] = CITIES
model.save("customers.safetensors")
again = pn.load("customers.safetensors")
print("after loading  the same predictions:", np.array_equal(again.predict(X_test)[:, 0], leaves))
