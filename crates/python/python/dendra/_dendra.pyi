"""The native part of the package."""

from collections.abc import Callable
from os import PathLike
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Network", "Onnx", "Training", "__version__", "check", "layer", "num_threads",
    "set_num_threads", "table",
]

__version__: str

_Path = str | PathLike[str]
_Port = tuple[str, str | None, list[int | str | None] | None]
_Array = NDArray[Any]

def table() -> str: ...
def layer(kind: str, settings: str) -> str: ...
def check(group: str, name: str, settings: str) -> None: ...
def num_threads() -> int:
    """The number of threads for computations."""

def set_num_threads(threads: int) -> None:
    """Sets the number of threads for computations."""

@final
class Training:
    """The state of training, passed to callbacks."""

    @property
    def epoch(self) -> int:
        """The number of the epoch, counted from 1; 0 before the first."""
    @property
    def batch(self) -> int:
        """The number of batches of the epoch that have been processed."""
    @property
    def step(self) -> int:
        """The number of steps of the run so far."""
    @property
    def figures(self) -> dict[str, float]:
        """Loss and metrics by name, of the epoch or of the step."""
    @property
    def line(self) -> str:
        """The metrics of an epoch as a line of text."""
    learning_rate: float
    """The learning rate before schedules; it can be set."""
    def stop(self, reason: str | None = None) -> None:
        """Stops training after this step; the history records the reason."""

@final
class Network:
    def __new__(cls, shape: list[int], tokens: bool, layers: str, seed: int) -> Network: ...
    @staticmethod
    def load(path: _Path) -> Network: ...
    @staticmethod
    def restore(metadata: dict[str, str], state: dict[str, _Array]) -> Network: ...
    def metadata(self) -> dict[str, str]: ...
    def save(self, path: _Path) -> None: ...
    def export(self, path: _Path) -> None: ...
    def summary(self) -> str: ...
    @property
    def input_shape(self) -> list[int]: ...
    @property
    def output_shape(self) -> list[int]: ...
    @property
    def takes_tokens(self) -> bool: ...
    @property
    def parameter_count(self) -> int: ...
    def state_dict(self) -> dict[str, _Array]: ...
    def load_state_dict(self, state: dict[str, _Array]) -> None: ...
    def set_trainable(self, trainable: bool, names: list[str]) -> None: ...
    def predict(self, x: _Array, batch_size: int) -> NDArray[np.float32]: ...
    def evaluate(self, x: _Array, y: _Array, objective: str) -> list[tuple[str, float]]: ...
    def fit(
        self,
        x: _Array,
        y: _Array,
        settings: str,
        validation: tuple[_Array, _Array] | None = None,
        callback: Callable[[str, Training], None] | None = None,
    ) -> tuple[list[list[tuple[str, float]]], list[str], str | None]: ...

@final
class Onnx:
    @staticmethod
    def load(path: _Path) -> Onnx: ...
    @staticmethod
    def parse(file: bytes) -> Onnx: ...
    @property
    def inputs(self) -> list[_Port]: ...
    @property
    def outputs(self) -> list[_Port]: ...
    @property
    def producer(self) -> str: ...
    def run(self, inputs: dict[str, _Array]) -> dict[str, Any]: ...
