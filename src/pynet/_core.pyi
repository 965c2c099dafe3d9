from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np

VALUE: np.dtype
PARAM: np.dtype
OP: np.dtype
NONE: int
PANEL: int
FORWARD: int
LOSS: int
METRIC: int
BACKWARD: int
UPDATE: int
OUTPUT: int
BARE: int
ADD_X: int
ADD_X2: int
STOP_X: int
STOP_X2: int
NO_BACKWARD: int
ADD_W: int
TRAINABLE: int
MASKED: int
TURNED: int
MOST_TURNED: int
OPS: dict[str, int]
LOSSES: dict[str, int]
METRICS: dict[str, int]
OPTIMIZERS: dict[str, tuple[int, int]]
CLIPS: dict[str, int]
ACTIVATIONS: dict[str, tuple[int, str]]
RANDOM: dict[str, int]
SEARCH_NUMBERS: int
SEAT: int
version: str
__test__: dict[str, str]

def isas() -> dict[str, bool]: ...
def default_isa() -> str: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def available_cpus() -> int: ...

HUGE: int

def huge_pages(size: int) -> np.ndarray | None: ...
def aligned(n: int, dtype: Any) -> np.ndarray: ...
def obs(inverse: np.ndarray, w: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]: ...
def permutation(seed: int, epoch: int, n: int, purpose: int = ..., memory: Any = ...) -> np.ndarray: ...
def check_plan(plan: Any) -> None: ...
@final
class Machine:
    def __init__(
        self,
        plan: Any,
        params: np.ndarray,
        *,
        rows: int,
        grads: np.ndarray | None = None,
        slots: Sequence[np.ndarray] = (),
        keep: np.ndarray | None = None,
        n_threads: int = 0,
        isa: str | None = None,
    ) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def n_threads(self) -> int: ...
    def run(self, job: Any, first: int, count: int, seconds: float = ...) -> tuple[int, str]: ...
    def predict_one(self, x: Any, out: np.ndarray | None = None) -> np.ndarray: ...
    def value(self, index: int, gradient: bool = False) -> np.ndarray: ...
    def set_gradient(self, index: int, gradient: Any) -> None: ...

@final
class Meeting:
    def __init__(self, seats: np.ndarray, own: int, meanwhile: Callable[[], object] | None = None) -> None: ...
    def wait(self) -> None: ...
    @property
    def count(self) -> int: ...

@final
class Search:
    def __init__(
        self, kind: str, machine: Machine, places: np.ndarray, arrays: dict[str, np.ndarray], settings: dict[str, Any]
    ) -> None: ...
    def run(self, job: Any, seconds: float = ...) -> tuple[bool, str]: ...
