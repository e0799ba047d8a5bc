"""ONNX models of any framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _dendra
from ._network import Path

__all__ = ["OnnxModel", "Port"]


class Port(NamedTuple):
    """An input or output of a model."""

    name: str
    dtype: str | None
    """The element type, such as `float32`; None if the file does not declare it."""
    shape: tuple[int | str | None, ...] | None
    """The axis lengths: a number, a name, or None if any length is allowed."""


def port(found: tuple[str, str | None, list[int | str | None] | None]) -> Port:
    name, dtype, shape = found
    return Port(name, dtype, None if shape is None else tuple(shape))


class OnnxModel:
    """A model loaded from an ONNX file.

    Inputs are copied; outputs share the memory of the results. Running a model releases the GIL,
    so that several threads can run one model.
    """

    def __init__(self, native: _dendra.Onnx) -> None:
        self._model = native

    @classmethod
    def load(cls, path: Path) -> OnnxModel:
        """Loads a file and checks all of it."""
        return cls(_dendra.Onnx.load(path))

    @classmethod
    def parse(cls, file: bytes) -> OnnxModel:
        """Loads a model from the bytes of a file without external data."""
        return cls(_dendra.Onnx.parse(file))

    @property
    def inputs(self) -> list[Port]:
        """The required inputs."""
        return [port(found) for found in self._model.inputs]

    @property
    def outputs(self) -> list[Port]:
        """The outputs."""
        return [port(found) for found in self._model.outputs]

    @property
    def producer(self) -> str:
        """The framework that wrote the file."""
        return self._model.producer

    def run(self, inputs: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, Any]:
        """Returns the outputs by name, for inputs by name or for the only input.

        Inputs must have the element type that the model declares. An output is an array, or a list
        for a sequence.
        """
        if not isinstance(inputs, Mapping):
            names = [input.name for input in self.inputs]
            if len(names) != 1:
                raise TypeError(f"expected the inputs by name: {', '.join(names)}")
            inputs = {names[0]: inputs}
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        return self._model.run(arrays)

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """Returns the first output for the only input."""
        result: NDArray[Any] = next(iter(self.run(x).values()))
        return result

    __call__ = predict

    def __repr__(self) -> str:
        def named(ports: list[Port]) -> str:
            return ", ".join(f"{port.name} {port.dtype}{list(port.shape or ())}" for port in ports)

        return f"OnnxModel({named(self.inputs)} → {named(self.outputs)})"
