"""Deep learning on the CPU: build, train, save and run networks on NumPy arrays.

>>> import dendra
>>> model = dendra.Sequential([2], [dendra.Linear(16), dendra.ReLU(), dendra.Linear(2)], seed=42)
>>> model.output_shape
(2,)

`Sequential` is a network. Layers, optimizers, schedules, losses and metrics are created by
functions of their names: `Linear`, `Adam`, `StepLR`, `CrossEntropy`, `Accuracy`. `OnnxModel` runs
models of other frameworks, and `dendra.sklearn` has estimators for scikit-learn.
"""

from ._dendra import __version__, num_threads, set_num_threads
from ._network import History, Sequential, SequentialBuilder, load
from ._onnx import OnnxModel
from ._table import Layer, Loss, Metric, Optimizer, Schedule
from .callbacks import Callback, EarlyStopping, Training
from .layers import *
from .losses import *
from .metrics import *
from .optimizers import *
from .schedules import *
