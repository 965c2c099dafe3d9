"""Draw the pictures of the pages about pn.analysis: run the python blocks of a page, then plot what they left.

python docs/pictures.py      (needs matplotlib:  pip install "pynet[plot]")
"""

import os
import re

import matplotlib

matplotlib.use("Agg")

HERE = os.path.dirname(os.path.abspath(__file__))
PICTURES = {  # page: {name of a result in its blocks: file}
    "analysis.md": {
        "flow": "analysis-gradient-flow.png",
        "variances": "analysis-variance-flow.png",
        "idle": "analysis-dead-units.png",
        "surface": "analysis-loss-surface.png",
    },
    "symmetry.md": {"along": "symmetry-path.png"},
}


def main() -> None:
    for page, pictures in PICTURES.items():
        with open(os.path.join(HERE, page)) as file:
            blocks = re.findall(r"^```python\n(.*?)^```", file.read(), re.MULTILINE | re.DOTALL)
        names: dict = {}
        for block in blocks:
            exec(block, names)
        for name, picture in pictures.items():
            names[name].plot().figure.savefig(os.path.join(HERE, picture), dpi=90)
            print(picture)


if __name__ == "__main__":
    main()
