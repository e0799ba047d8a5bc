"""Written by stubs.py from the table of optimizers."""

from typing import Any

from ._table import Optimizer, Schedule

__all__ = [
    "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Lamb", "Lion", "RMSprop", "Adagrad",
    "Adadelta", "Adafactor", "ASGD", "Rprop",
]

def SGD(
    learning_rate: float = 0.001, *, momentum: Any = ..., dampening: Any = ...,
    nesterov: Any = ..., weight_decay: float = ..., clip_norm: float | None = None,
    clip_value: float | None = None, maximize: bool = False,
    allow_missing_gradients: bool = False, schedule: Schedule | None = None,
    epoch_schedule: Schedule | None = None, reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
def Adam(
    learning_rate: float = 0.001, *, betas: Any = ..., eps: Any = ..., amsgrad: Any = ...,
    weight_decay: float = ..., clip_norm: float | None = None, clip_value: float | None = None,
    maximize: bool = False, allow_missing_gradients: bool = False,
    schedule: Schedule | None = None, epoch_schedule: Schedule | None = None,
    reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
def AdamW(
    learning_rate: float = 0.001, *, betas: Any = ..., eps: Any = ..., amsgrad: Any = ...,
    weight_decay: float = ..., clip_norm: float | None = None, clip_value: float | None = None,
    maximize: bool = False, allow_missing_gradients: bool = False,
    schedule: Schedule | None = None, epoch_schedule: Schedule | None = None,
    reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
def NAdam(
    learning_rate: float = 0.002, *, betas: Any = ..., eps: Any = ...,
    momentum_decay: Any = ..., decoupled_weight_decay: Any = ..., weight_decay: float = ...,
    clip_norm: float | None = None, clip_value: float | None = None, maximize: bool = False,
    allow_missing_gradients: bool = False, schedule: Schedule | None = None,
    epoch_schedule: Schedule | None = None, reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
def RAdam(
    learning_rate: float = 0.001, *, betas: Any = ..., eps: Any = ...,
    decoupled_weight_decay: Any = ..., weight_decay: float = ...,
    clip_norm: float | None = None, clip_value: float | None = None, maximize: bool = False,
    allow_missing_gradients: bool = False, schedule: Schedule | None = None,
    epoch_schedule: Schedule | None = None, reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
def Adamax(
    learning_rate: float = 0.002, *, betas: Any = ..., eps: Any = ...,
    weight_decay: float = ..., clip_norm: float | None = None, clip_value: float | None = None,
    maximize: bool = False, allow_missing_gradients: bool = False,
    schedule: Schedule | None = None, epoch_schedule: Schedule | None = None,
    reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
def Lamb(
    learning_rate: float = 0.001, *, betas: Any = ..., eps: Any = ...,
    weight_decay: float = ..., clip_norm: float | None = None, clip_value: float | None = None,
    maximize: bool = False, allow_missing_gradients: bool = False,
    schedule: Schedule | None = None, epoch_schedule: Schedule | None = None,
    reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
def Lion(
    learning_rate: float = 0.0001, *, betas: Any = ..., weight_decay: float = ...,
    clip_norm: float | None = None, clip_value: float | None = None, maximize: bool = False,
    allow_missing_gradients: bool = False, schedule: Schedule | None = None,
    epoch_schedule: Schedule | None = None, reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
def RMSprop(
    learning_rate: float = 0.01, *, alpha: Any = ..., eps: Any = ..., momentum: Any = ...,
    centered: Any = ..., weight_decay: float = ..., clip_norm: float | None = None,
    clip_value: float | None = None, maximize: bool = False,
    allow_missing_gradients: bool = False, schedule: Schedule | None = None,
    epoch_schedule: Schedule | None = None, reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
def Adagrad(
    learning_rate: float = 0.01, *, lr_decay: Any = ..., initial_accumulator_value: Any = ...,
    eps: Any = ..., weight_decay: float = ..., clip_norm: float | None = None,
    clip_value: float | None = None, maximize: bool = False,
    allow_missing_gradients: bool = False, schedule: Schedule | None = None,
    epoch_schedule: Schedule | None = None, reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
def Adadelta(
    learning_rate: float = 1.0, *, rho: Any = ..., eps: Any = ..., weight_decay: float = ...,
    clip_norm: float | None = None, clip_value: float | None = None, maximize: bool = False,
    allow_missing_gradients: bool = False, schedule: Schedule | None = None,
    epoch_schedule: Schedule | None = None, reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
def Adafactor(
    learning_rate: float = 0.01, *, beta2_decay: Any = ..., clipping_threshold: Any = ...,
    weight_decay: float = ..., clip_norm: float | None = None, clip_value: float | None = None,
    maximize: bool = False, allow_missing_gradients: bool = False,
    schedule: Schedule | None = None, epoch_schedule: Schedule | None = None,
    reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
def ASGD(
    learning_rate: float = 0.01, *, lambd: Any = ..., alpha: Any = ..., t0: Any = ...,
    weight_decay: float = ..., clip_norm: float | None = None, clip_value: float | None = None,
    maximize: bool = False, allow_missing_gradients: bool = False,
    schedule: Schedule | None = None, epoch_schedule: Schedule | None = None,
    reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
def Rprop(
    learning_rate: float = 0.01, *, etas: Any = ..., step_sizes: Any = ...,
    weight_decay: float = ..., clip_norm: float | None = None, clip_value: float | None = None,
    maximize: bool = False, allow_missing_gradients: bool = False,
    schedule: Schedule | None = None, epoch_schedule: Schedule | None = None,
    reduce_on_plateau: Schedule | None = None,
) -> Optimizer: ...
