"""Callbacks of training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from ._dendra import Training

__all__ = ["Callback", "CallbackLike", "EarlyStopping", "Training"]


class Callback:
    """The base class of callbacks of training; its methods do nothing by default.

    An exception stops training. `training` has the epoch, the step and the metrics, a learning rate
    that can be set, and `training.stop()`. The network itself can be used and has the present
    weights.
    """

    def on_start(self, training: Training) -> None:
        """Called before the first step."""

    def on_batch(self, training: Training) -> None:
        """Called after each step. `training.figures` has the loss of the step."""

    def on_epoch(self, training: Training) -> None:
        """Called after each epoch and its validation."""

    def on_end(self, training: Training) -> None:
        """Called after the last step, unless an error ended the training."""


CallbackLike = Callback | Callable[[Training], object]
"""A callback, or a function that is called after each epoch."""


class EarlyStopping:
    """Stops training when a metric has not improved for some epochs.

    It monitors the validation loss, or the training loss without validation data, and
    restores the weights of the best epoch.

    patience
        The number of consecutive epochs without an improvement.
    monitor
        Another metric: `loss` or the name of a metric, alone or with the prefix `validation `.
    mode
        `min` or `max`; by default chosen by the name of the metric.
    min_delta
        The smallest change that counts as an improvement.
    restore_best
        Whether to restore the weights of the best epoch.
    """

    def __init__(
        self,
        patience: int = 5,
        *,
        monitor: str | None = None,
        mode: str | None = None,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        self.patience = patience
        self.monitor = monitor
        self.mode = mode
        self.min_delta = min_delta
        self.restore_best = restore_best

    def to_json(self) -> dict[str, Any]:
        """The settings in the format of the native part."""
        return dict(vars(self))


def is_notebook() -> bool:
    """Whether the output is shown in a notebook."""
    return "ipykernel" in sys.modules and not sys.stderr.isatty()


def has_bar() -> bool:
    """Whether the native part can draw its progress bar on the standard error of the process."""
    try:
        return sys.stderr.isatty() and sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):
        return False


class Progress(Callback):
    """Prints a line for each epoch, and in notebooks also the progress within the epoch."""

    def __init__(self, epochs: int, batches: int, *, live: bool) -> None:
        self.epochs = epochs
        self.batches = batches
        self.live = live
        self.width = 0

    def write(self, text: str, end: str) -> None:
        stream = sys.stdout if self.live else sys.stderr
        rest = " " * (self.width - len(text))
        self.width = len(text) if end == "" else 0
        stream.write(f"\r{text}{rest}{end}" if self.live else f"{text}{end}")
        stream.flush()

    def on_progress(self, training: Training) -> None:
        done = f"epoch {training.epoch}/{self.epochs}  batch {training.batch}/{self.batches}"
        self.write(f"{done}  loss {training.figures['loss']:.4f}", "")

    def on_epoch(self, training: Training) -> None:
        self.write(training.line, "\n")


class Dispatch:
    """The function that the native part calls; it calls all callbacks."""

    def __init__(self, callbacks: Sequence[CallbackLike], progress: Progress | None) -> None:
        self.progress = progress
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            named = any(hasattr(callback, f"on_{event}") for event in ("batch", "epoch", "end"))
            if not named and not callable(callback):
                raise TypeError(f"expected a Callback or a function, got {callback!r}")

    @property
    def wants_batches(self) -> bool:
        """Whether a callback is called after each step."""
        quiet = Callback.on_batch
        found = (getattr(type(callback), "on_batch", None) for callback in self.callbacks)
        return any(method is not None and method is not quiet for method in found)

    @property
    def is_needed(self) -> bool:
        """Whether there are any callbacks."""
        return bool(self.callbacks) or self.progress is not None

    def __call__(self, event: str, training: Training) -> None:
        if self.progress is not None:
            method = getattr(self.progress, f"on_{event}")
            method(training)
        if event == "progress":
            return
        for callback in self.callbacks:
            method = getattr(callback, f"on_{event}", None)
            if method is not None:
                method(training)
            elif event == "epoch" and callable(callback):
                callback(training)
