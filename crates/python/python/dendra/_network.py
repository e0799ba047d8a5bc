"""`Sequential`: a network of layers, its training and its files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _dendra
from ._table import Layer, Loss, Metric, Named, Optimizer, dumps, table
from .callbacks import CallbackLike, Dispatch, EarlyStopping, Progress, has_bar, is_notebook
from .layers import LayerMethods

__all__ = ["History", "Sequential", "SequentialBuilder", "load"]

Path = str | os.PathLike[str]

# Common names in addition to those of the table.
ALIASES = {
    "losses": {"mae": "L1Loss", "bce": "BCELoss", "kl_div": "KLDivLoss"},
    "metrics": {
        "mae": "MeanAbsoluteError",
        "mse": "MeanSquaredError",
        "rmse": "RootMeanSquaredError",
        "r2": "R2Score",
        "auc": "RocAuc",
    },
}


def normal(name: str) -> str:
    """The normalised name, the same for `cross_entropy` and `CrossEntropy`."""
    name = name.replace("_", "").replace("-", "").lower()
    return name.removesuffix("loss") or name


def find(group: str, name: str) -> str:
    """The name in the table for a name or an alias."""
    alias = ALIASES.get(group, {}).get(name.lower())
    names = [entry["name"] for entry in table()[group]]
    for known in names:
        if known == alias or normal(known) == normal(name):
            return str(known)
    raise ValueError(f"{name!r} is not one of the {group}: {', '.join(names)}")


def array(name: str, value: ArrayLike) -> NDArray[Any]:
    """The value as an array for the native part, copied only if its layout or type requires it."""
    given = np.asarray(value)
    dtype = given.dtype.newbyteorder("=")
    if dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected an array of numbers, got one of {given.dtype}")
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        dtype = np.dtype("float32" if dtype.itemsize < 4 else "float64")
    return np.require(given, dtype, ["C_CONTIGUOUS", "ALIGNED"])


class History:
    """The metrics of each epoch of a training.

    `history["loss"]` is the list of a metric's values, NaN for epochs without it. The names are
    `epoch`, `loss`, the names of the metrics, these with the prefix `validation `, `learning rate`,
    `seconds` and `samples per second`.
    """

    epochs: list[dict[str, float]]
    """The metrics of each epoch by name."""
    incidents: list[str]
    """The steps that were skipped because they were not finite."""
    stopped: str | None
    """The reason, if training was stopped early."""

    def __init__(
        self,
        epochs: Iterable[Iterable[tuple[str, float]]],
        incidents: list[str],
        stopped: str | None,
    ) -> None:
        self.epochs = [dict(figures) for figures in epochs]
        self.incidents = incidents
        self.stopped = stopped

    @property
    def names(self) -> list[str]:
        """The names of all metrics."""
        return list(dict.fromkeys(name for epoch in self.epochs for name in epoch))

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.names:
            raise KeyError(f"there is no metric {name!r}, only {', '.join(self.names)}")
        return [epoch.get(name, math.nan) for epoch in self.epochs]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.epochs)

    def __repr__(self) -> str:
        last = self.epochs[-1] if self.epochs else {}
        figures = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
        return f"History({len(self.epochs)} epochs{'; last: ' if last else ''}{figures})"


class SequentialBuilder(LayerMethods):
    """Builds a network: each kind of layer has a method; `build` creates the network."""

    def __init__(self, shape: Sequence[int], *, tokens: bool) -> None:
        self._shape = list(shape)
        self._tokens = tokens
        self._layers: list[Layer] = []

    def add(self, layer: Layer) -> SequentialBuilder:
        """Adds a layer."""
        self._layers.append(layer)
        return self

    def build(self, *, seed: int = 0) -> Sequential:
        """Creates the network; the seed determines its initial parameters."""
        return Sequential(self._shape, self._layers, tokens=self._tokens, seed=seed)


class Sequential:
    """A network of consecutive layers.

    input_shape
        The shape of one sample, without the batch axis: `[784]`, or `[1, 28, 28]` for images.
    layers
        The layers, whose input sizes are inferred: `[Linear(128), ReLU(), Linear(10)]`.
    tokens
        Whether the inputs are token ids instead of floats; the first layer must be an embedding.
    seed
        The seed of the initial parameters. The same seed gives the same bits.

    NumPy arrays are read without a copy if they are in row-major order and aligned: batches are
    gathered from their memory and converted to 32-bit floats (or, for token ids and class labels,
    to 64-bit integers). Other arrays are copied first. Outputs and `state_dict` share the memory
    of the results. Computations release the GIL. Ctrl-C stops a computation within a step, and the
    network keeps its present weights.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        layers: Iterable[Layer] = (),
        *,
        tokens: bool = False,
        seed: int = 0,
    ) -> None:
        layers = list(layers)
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(f"expected a layer such as Linear(10), got {layer!r}")
        shape = [int(length) for length in input_shape]
        self._begin(_dendra.Network(shape, tokens, dumps(layers), seed))

    def _begin(self, network: _dendra.Network) -> None:
        self._network = network
        self._optimizer: Optimizer | None = None
        self._loss: Loss | None = None
        self._metrics: list[Metric | str] = []

    @classmethod
    def _of(cls, network: _dendra.Network) -> Sequential:
        model = cls.__new__(cls)
        model._begin(network)
        return model

    @staticmethod
    def input(shape: Sequence[int]) -> SequentialBuilder:
        """Starts a network of floats: `Sequential.input([784]).dense(128).relu().build()`."""
        return SequentialBuilder(shape, tokens=False)

    @staticmethod
    def tokens(shape: Sequence[int]) -> SequentialBuilder:
        """Starts a network of token ids."""
        return SequentialBuilder(shape, tokens=True)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of a sample."""
        return tuple(self._network.input_shape)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the output for a sample."""
        return tuple(self._network.output_shape)

    @property
    def parameter_count(self) -> int:
        """The number of trainable values."""
        return self._network.parameter_count

    def summary(self) -> str:
        """A table of the layers, their output shapes and their parameters."""
        return self._network.summary()

    def __repr__(self) -> str:
        return repr(self._network)

    def compile(
        self,
        optimizer: Optimizer | str = "adam",
        loss: Loss | str | None = None,
        metrics: Iterable[Metric | str] = (),
    ) -> None:
        """Sets optimizer, loss and metrics for `fit` and `evaluate`, as in Keras."""
        self._compile(optimizer, loss, metrics)

    def _compile(
        self,
        optimizer: Optimizer | str | None,
        loss: Loss | str | None,
        metrics: Iterable[Metric | str] | None,
    ) -> None:
        if isinstance(optimizer, str):
            optimizer = Optimizer(find("optimizers", optimizer), {})
        if isinstance(loss, str):
            loss = Loss(find("losses", loss), {})
        if optimizer is not None:
            expect(optimizer, Optimizer)
            self._optimizer = optimizer
        if loss is not None:
            expect(loss, Loss)
            self._loss = loss
        if metrics is not None:
            metrics = [metrics] if isinstance(metrics, (str, Metric)) else list(metrics)
            for metric in metrics:
                if isinstance(metric, str):
                    if normal(metric) != "accuracy":
                        find("metrics", metric)
                else:
                    expect(metric, Metric)
            self._metrics = metrics

    def _objective(self, y: NDArray[Any]) -> dict[str, Any]:
        if self._loss is None:
            raise ValueError("expected a loss: pass loss=…, such as 'cross_entropy' or 'mse'")
        return {
            "loss": self._loss.to_json(),
            "metrics": [self._metric(metric, y).to_json() for metric in self._metrics],
        }

    def _metric(self, metric: Metric | str, y: NDArray[Any]) -> Metric:
        if not isinstance(metric, str):
            return metric
        loss = self._loss.kind if self._loss is not None else ""
        if normal(metric) == "accuracy":
            if loss in ("BCELoss", "BCEWithLogitsLoss"):
                threshold = 0.5 if loss == "BCELoss" else 0.0
                return Metric("BinaryAccuracy", {"threshold": threshold})
            if y.dtype.kind == "f":
                return Metric("CategoricalAccuracy", {})
        return Metric(find("metrics", metric), {})

    def _targets(self, y: ArrayLike) -> NDArray[Any]:
        targets = array("y", y)
        # One quantity for each sample may have no axis of its own.
        if targets.ndim == 1 and self.output_shape == (1,) and self._takes_floats():
            targets = targets.reshape(-1, 1)
        return targets

    def _takes_floats(self) -> bool:
        labels = ("CrossEntropy", "NLLLoss", "FocalLoss", "MultiMarginLoss")
        return self._loss is not None and self._loss.kind not in labels

    def fit(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        optimizer: Optimizer | str | None = None,
        loss: Loss | str | None = None,
        metrics: Iterable[Metric | str] | None = None,
        epochs: int = 1,
        batch_size: int = 32,
        validation_split: float | None = None,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        validate_every: int = 1,
        early_stopping: EarlyStopping | int | None = None,
        callbacks: CallbackLike | Sequence[CallbackLike] = (),
        class_weights: Sequence[float] | None = None,
        seed: int = 0,
        shuffle: bool = True,
        accumulate: int = 1,
        drop_last: bool = False,
        max_steps: int | None = None,
        skip_not_finite: int = 0,
        verbose: int = 1,
    ) -> History:
        """Trains the network and returns the metrics of the epochs.

        optimizer, loss, metrics
            Objects or names, such as `Adam(1e-3)`, `"cross_entropy"`, `["accuracy"]`. The default
            is that of the previous call; the optimizer then continues with its state.
        validation_split, validation_data
            A fraction of the samples, or other samples, that are evaluated after each epoch.
        validate_every
            The number of epochs between two validations.
        early_stopping
            An `EarlyStopping`, or its patience.
        callbacks
            `Callback`s, or functions that are called after each epoch.
        class_weights
            The weight of each class in the training loss.
        seed
            The seed for shuffling the samples and for dropout.
        accumulate
            The number of batches whose gradients are accumulated for one step.
        drop_last
            Whether to drop the last batch of an epoch if it is not full.
        max_steps
            The largest number of steps.
        skip_not_finite
            The largest number of consecutive steps that may be skipped because their loss or
            gradient is not finite.
        verbose
            0: silent; 1: progress, and a line for each epoch; 2: only the lines.

        After an error or Ctrl-C the network has the weights of the last complete step.
        """
        self._compile(optimizer, loss, metrics)
        inputs, targets = array("x", x), self._targets(y)
        validation = None
        if validation_data is not None:
            validation = (array("x", validation_data[0]), self._targets(validation_data[1]))
        if isinstance(early_stopping, int):
            early_stopping = EarlyStopping(early_stopping)
        if not isinstance(callbacks, Sequence):
            callbacks = [callbacks]
        bar = verbose == 1 and has_bar()
        progress = None
        if verbose > 0 and not bar:
            live = verbose == 1 and is_notebook()
            trained = len(inputs) * (1 - (validation_split or 0)) if inputs.ndim else 0
            batches = math.ceil(trained / max(batch_size, 1))
            progress = Progress(epochs, batches, live=live)
        dispatch = Dispatch(callbacks, progress)
        begun, self._optimizer = self._optimizer, None
        settings = {
            "optimizer": None if begun is None else begun.to_json(),
            "objective": self._objective(targets),
            "epochs": epochs,
            "max_steps": max_steps,
            "batch_size": batch_size,
            "accumulate": accumulate,
            "seed": seed,
            "shuffle": shuffle,
            "drop_last": drop_last,
            "validation_split": validation_split,
            "validate_every": validate_every,
            "class_weights": None if class_weights is None else list(class_weights),
            "skip_not_finite": skip_not_finite,
            "early_stopping": None if early_stopping is None else early_stopping.to_json(),
            "bar": bar,
            "on_batch": dispatch.wants_batches,
            "progress": progress is not None and progress.live,
        }
        called = dispatch if dispatch.is_needed else None
        figures = self._network.fit(inputs, targets, dumps(settings), validation, called)
        return History(*figures)

    def evaluate(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        loss: Loss | str | None = None,
        metrics: Iterable[Metric | str] | None = None,
    ) -> dict[str, float]:
        """The loss and the metrics on some samples; by default those of `fit`."""
        self._compile(None, loss, metrics)
        inputs, targets = array("x", x), self._targets(y)
        objective = dumps(self._objective(targets))
        return dict(self._network.evaluate(inputs, targets, objective))

    def predict(self, x: ArrayLike, *, batch_size: int = 128) -> NDArray[np.float32]:
        """The outputs for some samples, of shape `[samples, *output_shape]`."""
        return self._network.predict(array("x", x), batch_size)

    __call__ = predict

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """The parameters and buffers by name, as in PyTorch: read-only arrays that share the memory
        of the network until it is trained further, and keep their values then."""
        return self._network.state_dict()

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Loads parameters and buffers, which are copied. All names must match."""
        self._network.load_state_dict({name: np.asarray(value) for name, value in state.items()})

    def set_trainable(self, trainable: bool, *names: str) -> None:
        """Freezes or unfreezes the parameters whose names start with one of `names`, or all if no
        names are given."""
        self._network.set_trainable(trainable, list(names) or [""])

    def save(self, path: Path) -> None:
        """Writes architecture and state to a safetensors file, which PyTorch can read."""
        self._network.save(path)

    @classmethod
    def load(cls, path: Path) -> Sequential:
        """Loads a network from a file that `save` has written, in Python or Rust."""
        return cls._of(_dendra.Network.load(path))

    def export_onnx(self, path: Path) -> None:
        """Writes the network in evaluation mode as an ONNX file."""
        self._network.export(path)

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies of the arrays can be pickled independently of the network.
        state = {name: value.copy() for name, value in self.state_dict().items()}
        rest = {"_loss": self._loss, "_metrics": self._metrics, "_optimizer": self._optimizer}
        return _restored, (type(self), self._network.metadata(), state, rest)


def _restored(
    cls: type[Sequential],
    metadata: dict[str, str],
    state: dict[str, NDArray[Any]],
    rest: dict[str, Any],
) -> Sequential:
    model = cls._of(_dendra.Network.restore(metadata, state))
    vars(model).update(rest)
    return model


def expect(value: Named, kind: type[Named]) -> None:
    """Raises a TypeError for a value of another kind."""
    if not isinstance(value, kind):
        name = kind.__name__.lower()
        raise TypeError(f"expected {name} as an object or by name, got {value!r}")


def load(path: Path) -> Any:
    """Loads a model: an `OnnxModel` from an `.onnx` file, a `Sequential` from any other file."""
    from ._onnx import OnnxModel

    if os.fspath(path).endswith(".onnx"):
        return OnnxModel.load(path)
    return Sequential.load(path)
