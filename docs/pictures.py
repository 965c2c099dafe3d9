"""Draw the pictures of the pages: run the python blocks of a page, then plot, or just save, what they left.

python docs/pictures.py      (needs matplotlib:  pip install "pynet[plot]")
"""

import os
import re
import tempfile

import matplotlib

matplotlib.use("Agg")

HERE = os.path.dirname(os.path.abspath(__file__))
PICTURES = {  # page: {name of a result, an Axes or a Figure in its blocks: file}
    "analysis.md": {
        "flow": "analysis-gradient-flow.png",
        "variances": "analysis-variance-flow.png",
        "idle": "analysis-dead-units.png",
        "surface": "analysis-loss-surface.png",
    },
    "symmetry.md": {"along": "symmetry-path.png"},
    "plots.md": {
        "curves": "plots-history.png",
        "plane": "plots-plane.png",
        "network": "plots-network.png",
        "inside": "plots-inside.png",
    },
}


def main() -> None:
    os.chdir(tempfile.mkdtemp())  # examples write files
    for page, pictures in PICTURES.items():
        with open(os.path.join(HERE, page)) as file:
            blocks = re.findall(r"^```python\n(.*?)^```", file.read(), re.MULTILINE | re.DOTALL)
        names: dict = {}
        for block in blocks:
            exec(block, names)
        for name, picture in pictures.items():
            found = names[name]
            drawn = found.plot() if hasattr(found, "plot") and not hasattr(found, "figure") else found
            drawn.figure.savefig(os.path.join(HERE, picture), dpi=90)
            print(picture)


if __name__ == "__main__":
    main()
