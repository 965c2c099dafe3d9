"""The command line: `pynet train digits` and what follows from it.

Here stand the options, their help and the way errors are told; the work is done in cli_train.py and cli_use.py.
"""

from __future__ import annotations

import argparse
import os
import sys

from .summary import printable

__all__ = ["main"]

DESCRIPTION = """\
Train small neural networks on a CPU, and use them.

  pynet train digits                     a first network in a few seconds: reads handwritten digits
  pynet train table.csv --target price   your own table: numbers, texts, dates
  pynet evaluate digits.safetensors digits
  pynet predict model.safetensors new.csv --output answers.csv
  pynet prune digits.safetensors digits  a smaller and faster copy
  pynet export digits.safetensors --c digits.c
"""

TRAIN = """\
Train a network on a table and save it.

DATA is one of
  digits       1797 handwritten digits of 8x8 pixels that come with pynet (UCI, CC BY 4.0)
  FILE.csv     a line of column names, then lines of numbers, texts, dates (2024-02-29); empty cells, ? and NA are
               missing values (.tsv and .txt as well)
  FILE.parquet the same; needs pyarrow or polars, pip install "pynet[tables]"
  FILE.npz     NumPy arrays X [rows, features] and y [rows], or one array for each column

The rows are split at random (but the same way for the same --seed): one part is never trained on and tells at the
end how good the network is (--test), another one decides when to stop and which epoch to keep (--validation).
How columns are scaled, the levels of texts and the names of classes are learned from the rows trained on and saved
inside the model. Of a table, a page about the result is written beside the model (needs matplotlib).
"""

TRAIN_EXAMPLES = """\
examples:
  pynet train digits
  pynet train table.csv --target price
  pynet train table.csv --target income --category zip,year --hidden 64,64 --report page.html
  pynet train data.npz --task classes --optimizer adamw --learning-rate 0.002 --epochs 500 --output net.safetensors
  pynet train big.csv --resume           after a crash or Ctrl-C: the same command, and --resume
"""

PRUNE = """\
Prune a saved model and save the result.

The rows that were not held out in training say which weights go; those held out tell what that costs.  The file becomes
smaller, and `pn.load(FILE).compact()` smaller and faster in memory.
"""

PRUNE_EXAMPLES = """\
examples:
  pynet prune digits.safetensors digits
  pynet prune digits.safetensors digits --sparsity 0.95 --epochs 5 --plot curve.png
"""

EXPORT = """\
Write a saved model for other programs, in one form or several.

--c FILE.c    one C99 file and its header FILE.h, which need nothing but math.h: docs/c-export.md
--int8 FILE.c the same of the integer network that `quantize` makes of the model, with the rows of --data that it was
              trained on; those held out tell what that costs: docs/integers.md
--onnx FILE   an ONNX file (needs onnx, pip install "pynet[onnx]"), which ONNX Runtime and others run: docs/onnx.md
"""

EXPORT_EXAMPLES = """\
examples:
  pynet export digits.safetensors --c digits.c
  pynet export digits.safetensors --int8 digits.c --data digits
  pynet export digits.safetensors --onnx digits.onnx
"""

EVALUATE = """\
Measure a saved model on data whose target is known.

On the very data that the model was trained on, only the rows are used that `train` held out for testing
(--all uses all of them); on any other data, all rows.
"""

PREDICT = """\
Apply a saved model to every row of a table; the answers are CSV.

Columns are found by the names that the model was trained with, in any order; further columns, such as the target,
do no harm. Raw values are expected: the scaling is inside the model. In tables values may be missing, and texts may be
unknown.
"""

CPU = """\
Show what pynet found on this machine: instruction sets, threads.

PYNET_ISA=scalar|avx2|avx512|neon in the environment chooses an instruction set, PYNET_NUM_THREADS the threads.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        Default: the arguments of the process.

    Returns
    -------
    int
        0: done.  2: an error, told in one line on stderr.  130: interrupted.
    """
    try:
        parser = _parser()
        arguments = parser.parse_args(argv)
        arguments.run(arguments) if "run" in arguments else parser.print_help()
        sys.stdout.flush()
        return 0
    except SystemExit as end:  # of argparse: --help, --version, a wrong option
        return int(end.code or 0)
    except KeyboardInterrupt as interrupt:
        print(f"\npynet: interrupted{''.join(f'; {text}' for text in interrupt.args)}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # pynet predict ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ArithmeticError, ImportError, MemoryError, OSError, TypeError, ValueError) as error:
        if os.environ.get("PYNET_TRACEBACK"):
            raise
        print(f"pynet: error: {_one_line(error)}", file=sys.stderr)
        return 2


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, MemoryError):
        text = f"not enough memory {error}"
    else:
        text = str(error) or type(error).__name__
    return printable(" ".join(text.split()))


class _Parser(argparse.ArgumentParser):
    """Tells an error in one line, and uses the width of the terminal."""

    def __init__(self, **options) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **options)

    def error(self, message: str):
        self.exit(2, f"pynet: error: {' '.join(message.split())} (see {self.prog} --help)\n")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = _Parser(prog="pynet", description=DESCRIPTION, epilog="pynet COMMAND --help tells more about each command")
    parser.add_argument("--version", action="version", version=f"pynet {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)

    def command(name: str, summary: str, description: str, run, epilog: str = "") -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=summary, description=description, epilog=epilog)
        made.set_defaults(run=run)
        return made

    _add_train(command("train", "train a network and save it", TRAIN, _run_train, _train_epilog()))

    evaluate = command("evaluate", "measure a saved model on data", EVALUATE, _run_evaluate)
    evaluate.add_argument("model", help="a file written by train, or by model.save")
    evaluate.add_argument("data", metavar="DATA", help="digits, FILE.csv, .parquet or .npz, with the target")
    evaluate.add_argument("--target", metavar="COLUMN", help="name of the target (default: as in training)")
    evaluate.add_argument("--all", action="store_true", help="all rows, also those the model was trained on")

    predict = command("predict", "apply a saved model to data", PREDICT, _run_predict)
    predict.add_argument("model", help="a file written by train, or by model.save")
    predict.add_argument("data", metavar="DATA", help="digits, FILE.csv, .parquet or .npz, with or without the target")
    predict.add_argument("--output", "-o", metavar="FILE", help="write the CSV there (default: to the terminal)")
    predict.add_argument("--probabilities", action="store_true", help="a column for each class")

    _add_prune(command("prune", "make a smaller, faster copy of a saved model", PRUNE, _run_prune, PRUNE_EXAMPLES))

    _add_export(command("export", "write a saved model for other programs", EXPORT, _run_export, EXPORT_EXAMPLES))

    info = command("info", "show what is in a model file", "Show what is in a model file.", _run_info)
    info.add_argument("model", help="a model, a checkpoint, or any .safetensors file")

    command("cpu", "show instruction sets and threads", CPU, _run_cpu)
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="digits, FILE.csv, .parquet or .npz")

    group = parser.add_argument_group("what to learn")
    group.add_argument("--target", metavar="COLUMN", help="column to predict (default: the last one; y in .npz)")
    group.add_argument(
        "--task",
        choices=("auto", "classes", "numbers"),
        default="auto",
        help="the target is a class or a quantity (default: auto, classes for texts and for up to 20 whole numbers)",
    )
    group.add_argument("--test", type=float, default=0.2, metavar="SHARE", help="rows held out (default: 0.2; 0: none)")
    group.add_argument(
        "--validation", type=float, default=0.1, metavar="SHARE", help="of the rest, rows to choose by (default: 0.1)"
    )
    group.add_argument("--seed", type=int, default=0, help="of the split, the first weights, the order (default: 0)")

    group = parser.add_argument_group("the columns of a table")
    group.add_argument(
        "--category", type=_names, metavar="NAME,NAME,...", help="columns of numbers that are names of something"
    )
    group.add_argument(
        "--scaling",
        choices=("piecewise", "standard", "quantile"),
        help="of numbers (default: piecewise: standardised and linear between quantiles; of linear models standard)",
    )
    group.add_argument(
        "--embed", type=int, metavar="N", help="learn vectors for texts of more than N levels (default: 0, none)"
    )

    group = parser.add_argument_group("the network")
    group.add_argument(
        "--hidden",
        type=_widths,
        metavar="N,N,...",
        help="widths of the hidden layers, none for a linear model (default: 256,256 for tables; of arrays 256 for "
        "classes, 64,64 for numbers)",
    )
    group.add_argument(
        "--activation", metavar="NAME", help="of the hidden layers (default: silu for tables, relu for arrays)"
    )
    group.add_argument(
        "--dropout", type=float, metavar="X", help="behind hidden layers (default: 0.1 for tables, 0 for arrays)"
    )
    group.add_argument("--l2", type=float, default=0.0, metavar="X", help="penalty on squared weights (default: 0)")
    group.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="default: float32")

    group = parser.add_argument_group("the training")
    group.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="passes at most (default: 20 to 200 for tables, by rows; 200 for arrays)",
    )
    group.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="stop after N epochs without improvement (default: a quarter of the epochs for tables, 15 for arrays; "
        "0: never)",
    )
    group.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="rows a step (default: 32 to 256 for tables, by rows; 32 for arrays)",
    )
    group.add_argument("--optimizer", metavar="NAME", help="default: adamw for tables, adam for arrays")
    group.add_argument(
        "--learning-rate", type=float, metavar="X", help="default: the optimizer's own; for tables it falls to 0"
    )
    group.add_argument("--loss", metavar="NAME", help="default: cross_entropy for classes, mse for numbers")

    group = parser.add_argument_group("the run")
    group.add_argument("--output", "-o", metavar="FILE", help="the model (default: DATA's name .safetensors)")
    group.add_argument(
        "--report",
        metavar="FILE",
        help="a page about the result (default: of tables, the model's name .html; none: no)",
    )
    group.add_argument("--resume", action="store_true", help="continue an interrupted run of the same command")
    group.add_argument(
        "--checkpoint-every", type=float, default=2.0, metavar="S", help="seconds between checkpoints (default: 2)"
    )
    group.add_argument("--threads", type=int, metavar="N", help="default: as many as pay off")
    group.add_argument("--backend", choices=("c", "numpy"), default="c", help="numpy: slow, same numbers (default: c)")
    group.add_argument("--quiet", "-q", action="store_true", help="no progress, only the results")


def _add_prune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a file written by train, or by model.save")
    parser.add_argument("data", metavar="DATA", help="digits, FILE.csv, .parquet or .npz, with the target")
    parser.add_argument("--target", metavar="COLUMN", help="name of the target (default: as in training)")
    parser.add_argument("--sparsity", type=float, default=0.9, metavar="SHARE", help="weights that go (default: 0.9)")
    parser.add_argument(
        "--method",
        choices=("obs", "obd", "magnitude"),
        default="obs",
        help="which ones: optimal brain surgeon, whose other weights make up for them, optimal brain damage, or the "
        "smallest (default: obs)",
    )
    parser.add_argument(
        "--scope", choices=("global", "layer"), default="global", help="share of all together or of each layer"
    )
    parser.add_argument("--epochs", type=int, default=0, metavar="N", help="then train what is left (default: 0)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="rows a step of that (default: 32)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, metavar="X", help="at its start (default: 1e-3)")
    parser.add_argument("--output", "-o", metavar="FILE", help="the pruned model (default: MODEL-pruned.safetensors)")
    parser.add_argument("--plot", metavar="FILE", help="draw the score over the share pruned (needs matplotlib)")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a file written by train, by model.save, or by save of an integer network")
    group = parser.add_argument_group("what to write, at least one")
    group.add_argument("--c", metavar="FILE.c", help="one C99 file, and its header FILE.h")
    group.add_argument("--int8", metavar="FILE.c", help="the same with integers alone; needs --data")
    group.add_argument("--onnx", metavar="FILE", help="an ONNX file")
    group = parser.add_argument_group("integers")
    group.add_argument("--data", metavar="DATA", help="digits, FILE.csv, .parquet or .npz, with the target")
    group.add_argument("--target", metavar="COLUMN", help="name of the target (default: as in training)")
    group = parser.add_argument_group("C")
    group.add_argument("--prefix", metavar="NAME", help="of all names in the file (default: the file's own)")
    group.add_argument("--static", action="store_true", help="working memory in the file, not from the caller")
    group.add_argument("--stream", action="store_true", help="of an LSTM: step by step, not a sequence at once")
    group.add_argument("--no-math", action="store_true", help="without math.h")
    group.add_argument("--narrow", action="store_true", help="for small processors without vectors")


def _train_epilog() -> str:
    import textwrap

    from . import _core
    from .cli_train import LOSSES

    def names(title: str, known) -> str:
        return textwrap.fill(
            f"{title}: {', '.join(sorted(known))}", 110, subsequent_indent="  ", break_on_hyphens=False
        )

    return "\n".join(
        [
            TRAIN_EXAMPLES,
            names("activations", _core.ACTIVATIONS.keys() - {"softmax"}),
            names("optimizers", _optimizer_names()),
            names("losses", [name for group in LOSSES.values() for name in group]),
        ]
    )


def _optimizer_names():
    from . import optimizers

    return optimizers.TABLE


def _widths(text: str) -> list[int]:
    if text.strip().lower() in ("", "none", "0"):
        return []
    try:
        widths = [int(part) for part in text.split(",")]
    except ValueError:
        widths = [0]
    if min(widths) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of widths, expected for example 64,64 or none")
    return widths


def _names(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of names of columns, expected for example zip,year")
    return names


def _run_train(arguments) -> None:
    from .cli_train import train

    train(arguments)


def _run_evaluate(arguments) -> None:
    from .cli_use import evaluate

    evaluate(arguments)


def _run_predict(arguments) -> None:
    from .cli_use import predict

    predict(arguments)


def _run_prune(arguments) -> None:
    from .cli_prune import prune

    prune(arguments)


def _run_export(arguments) -> None:
    from .cli_export import export

    export(arguments)


def _run_info(arguments) -> None:
    from .cli_use import info

    info(arguments)


def _run_cpu(arguments) -> None:
    from .cli_use import cpu

    cpu(arguments)
