"""Exported C files on a bare Cortex-M4, emulated: the same answers as in Python, and as much memory as was said.

    python tests/cortex_m/run.py [--mnist FOLDER]

Needs arm-none-eabi-gcc and qemu-system-arm (Debian: gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm).  The
digits network as float32 and as integers; with --mnist, the folder of the four original files, 784-128-10 too.
Measures flash and memory with the compiler's map; exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

import pynet as pn

HERE = pathlib.Path(__file__).resolve().parent
ROWS = 200
BOARD = ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]
FLAGS = [*BOARD, "-std=c99", "-O2", "-ffunction-sections", "-fdata-sections", "-Wall", "-Wextra", "-Werror"]

MAIN = """
#include "net.h"
#include "rows.h"
void print(const char *text);
#if INTEGERS
static int8_t q[NET_INPUT];
static int16_t y[NET_OUTPUT];
static int16_t memory[NET_MEMORY];
#else
static float q[NET_X_SIZE], y[NET_Y_SIZE], memory[NET_SCRATCH];
#endif
int main(void) {
    for (int row = 0; row < ROWS; row++) {
        char text[3] = {0, '\\n', 0};
        int best = 0;
#if INTEGERS
        net_quantize_u8(rows[row], q);
        net_predict_q(q, y, memory);
#else
        for (unsigned i = 0; i < NET_X_SIZE; i++) q[i] = (float)rows[row][i];
        net_predict(q, y, memory);
#endif
        for (int k = 1; k < (int)(sizeof y / sizeof *y); k++) best = y[k] > y[best] ? k : best;
        text[0] = (char)('0' + best);
        print(text);
    }
    return net_selftest();
}
"""


def run(*command) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-500:]}\n{done.stderr[-3000:]}")
    return done.stdout + done.stderr  # where the board prints depends on the emulator


def sections(map_file: str) -> dict[str, int]:
    """Return, from a linker's map, bytes of the constants and of the code of net.c without its self-test, and of the
    working memory in main.c."""
    sizes = {"constants": 0, "code": 0, "memory": 0}
    kinds = {("net", ".rodata"): "constants", ("net", ".text"): "code", ("main", ".bss.memory"): "memory"}
    name = ""
    for line in map_file.split("memory map")[1].splitlines():
        words = line.split()
        if words and words[0].startswith("."):
            name = words.pop(0)
        if len(words) < 3 or not words[0].startswith("0x") or "test" in name or ".str" in name:
            continue
        for (source, section), kind in kinds.items():
            if words[2].endswith(f"/{source}.o") and name.startswith(section):
                sizes[kind] += int(words[1], 16)
    return sizes


def on_board(folder: pathlib.Path, X: np.ndarray, integers: bool):
    """Compile net.c of a folder with rows, emulate it; return the answers and the sizes of its parts."""
    text = ",\n".join("{" + ",".join(map(str, row)) + "}" for row in X.tolist())
    (folder / "rows.h").write_text(
        f"enum {{ ROWS = {len(X)} }};\nstatic const unsigned char rows[ROWS][{X.shape[1]}] = {{\n{text}\n}};\n"
    )
    (folder / "main.c").write_text(MAIN)
    gcc = "arm-none-eabi-gcc"
    define = f"-DINTEGERS={int(integers)}"
    for source in (folder / "net.c", folder / "main.c", HERE / "startup.c"):
        run(gcc, *FLAGS, define, "-c", source, "-o", folder / f"{source.stem}.o")
    objects = [folder / f"{name}.o" for name in ("net", "main", "startup")]
    target, mapped = folder / "net.elf", folder / "net.map"
    run(gcc, *BOARD, "-nostartfiles", "-Wl,--gc-sections", "-T", HERE / "link.ld", f"-Wl,-Map={mapped}", *objects,
        "-lm", "-lc", "-lgcc", "-o", target)  # fmt: skip
    out = run("qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none",
              "-semihosting-config", "enable=on,target=native", "-kernel", target)  # fmt: skip
    return np.array([int(line) for line in out.split()]), sections(mapped.read_text())


def check(name: str, model, X: np.ndarray, y: np.ndarray, integers: bool) -> bool:
    """Print how the board and Python agree; return whether they do."""
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        pn.export.to_c(model, folder / "net.c", prefix="net", **({} if integers else {"wide": False}))
        found, sizes = on_board(folder, X, integers)
    answers = (model.predict_integers(X) if integers else model.predict(X)).argmax(axis=1)
    same = len(found) == len(answers) and bool((found == answers).all())
    need = model.footprint()
    shares = {"constants": sizes["constants"] / need.flash, "memory": sizes["memory"] / need.ram}
    right = f"{(found == y).mean():.2%} of {len(y)} rows right" if same else f"OTHER answers: {found}"
    print(f"{name:24s} {right}, constants {sizes['constants']} bytes, memory {sizes['memory']}, code {sizes['code']}")
    for what, share in shares.items():
        print(f"{'':24s} {what}: {share:.3f} of what footprint() said")
    return same and all(abs(share - 1) <= 0.02 for share in shares.values())


def trained(X, y, hidden, scale):
    layers = [pn.Dense(units, activation="relu") for units in hidden]
    model = pn.Sequential([pn.Input(X.shape[1], scale=scale), *layers, pn.Dense(10, activation="softmax")])
    pn.Trainer(model, "cross_entropy", pn.Adam(2e-3)).fit(X, y, epochs=5 if len(X) > 10000 else 30, verbose=0)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mnist", metavar="FOLDER")
    chosen = parser.parse_args()
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is needed")
    X, y = pn.datasets.load_digits()
    X_train, X_test, y_train, y_test = pn.datasets.split(X.astype(np.uint8), y, test=0.2)
    nets = [("digits 64-64-64-10", trained(X_train, y_train, (64, 64), 1 / 16), X_train, X_test, y_test)]
    if chosen.mnist:
        sys.path.insert(0, str(HERE.parents[1] / "benchmarks"))
        from mnist_files import load

        X_train, y_train, X_test, y_test = load(chosen.mnist)
        nets.append(("MNIST 784-128-10", trained(X_train, y_train, (128,), 1 / 255), X_train, X_test, y_test))
    good = True
    for name, model, X_train, X_test, y_test in nets:
        rows = X_test[:ROWS], y_test[:ROWS]
        good &= check(f"{name} float32", model, *rows, integers=False)
        good &= check(f"{name} int8", model.quantize(X_train[:5000]), *rows, integers=True)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
