"""Classes from a table with numbers, a category and missing values: will a customer leave?

The table is made by a formula, so that the best there can be is known: in the long run no classifier beats one
that knows the formula.  The model takes the columns as they are, and says how much each of them matters to it.

    python examples/tabular_classification.py

prints (the numbers may differ in the last digit on another machine)

    best possible  accuracy 0.788  log loss 0.452
    network        accuracy 0.784  log loss 0.461
    always "stays" accuracy 0.609
    after loading  the same predictions: True
    two more        leaves stays
    log loss gets worse without
        age        0.31
        visits     0.14
        spending   0.11
        city       0.03
    a page about it in customers.html: 5 pictures
"""

from pathlib import Path

import numpy as np

import pynet as pn


def make_table(rows: int, seed: int):
    """Return the columns of a table of customers (spending NaN: unknown), and how likely each of them is to leave."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(18, 80, rows)
    spending = rng.lognormal(3, 0.8, rows)
    visits = rng.poisson(4, rows)
    city = rng.choice(["north", "south", "east", "west"], rows)
    unknown = rng.random(rows) < 0.15  # who does not tell has more often decided already
    rich = 1.5 * np.log(spending / 20) * np.isin(city, ["north", "south"])
    p = 1 / (1 + np.exp(1 - 2.2 * np.sin(age / 8) - rich + 0.5 * (visits - 4) - 1.5 * unknown))
    spending[unknown] = np.nan
    answer = np.where(rng.random(rows) < p, "leaves", "stays")
    return {"age": age, "spending": spending, "visits": visits, "city": city, "answer": answer}, p


table, _ = make_table(15_000, seed=0)
test, p = make_table(5_000, seed=1)
model = pn.tabular.TableModel(hidden=[32, 32], random_state=0).fit(table, target="answer", verbose=0)

stays = test["answer"] == "stays"
best = {"accuracy": np.mean((p < 0.5) == stays), "loss": -np.mean(np.log(np.where(stays, 1 - p, p)))}
for name, scores in (("best possible", best), ("network", model.evaluate(test))):
    print(f"{name:<14} accuracy {scores['accuracy']:.3f}  log loss {scores['loss']:.3f}")
print(f'always "stays" accuracy {np.mean(stays):.3f}')

model.save("customers.safetensors")
again = pn.load("customers.safetensors")
print("after loading  the same predictions:", np.array_equal(again.predict_proba(test), model.predict_proba(test)))
new = {"age": [30, 30], "spending": [None, 12.5], "visits": [0, 9], "city": ["east", "a town not in the table"]}
print("two more       ", *model.predict(new))

importance = model.permutation_importance(test)
print("log loss gets worse without")
for name, worse, _ in importance:
    print(f"    {name:<10} {worse:.2f}")

pn.report.write_html(  # needs matplotlib: pip install "pynet[plot]"
    "customers.html", title="Will a customer leave?", model=model.network, history=model.history, task="classes",
    y_true=1 * stays, prediction=model.predict_proba(test), classes=model.classes, importance=importance,
)  # fmt: skip
print("a page about it in customers.html:", Path("customers.html").read_text().count("<svg"), "pictures")
