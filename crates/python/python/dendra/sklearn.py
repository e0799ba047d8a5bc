"""Estimators for scikit-learn: `DendraClassifier` and `DendraRegressor`.

>>> from sklearn.datasets import load_iris
>>> from sklearn.pipeline import make_pipeline
>>> from sklearn.preprocessing import StandardScaler
>>> from dendra.sklearn import DendraClassifier
>>> x, y = load_iris(return_X_y=True)
>>> model = make_pipeline(StandardScaler(), DendraClassifier((32,), random_state=0)).fit(x, y)
>>> bool(model.score(x, y) > 0.9)
True
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as _error:
    _message = "dendra.sklearn needs scikit-learn from 1.6 on: pip install dendra[sklearn]"
    raise ImportError(_message) from _error

from ._network import Sequential, find
from ._table import Layer, Loss, Optimizer
from .callbacks import CallbackLike, EarlyStopping

__all__ = ["DendraClassifier", "DendraRegressor"]


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """The settings of both estimators.

    hidden_layer_sizes
        The sizes of the hidden layers, each followed by the activation.
    activation
        The name of the activation's layer, such as `ReLU`.
    layers
        The layers before the last one, instead of the two settings above.
    input_shape
        The shape of a sample for `layers` that expect images or sequences; a row of X then has the
        elements of a sample in row-major order.
    optimizer
        An optimizer, or its name.
    learning_rate
        The learning rate of an optimizer given by name.
    loss
        A loss, or its name.
    epochs, batch_size
        The number of epochs and the batch size of training.
    early_stopping
        None, or the number of epochs without an improvement after which training stops. It monitors
        the fraction `validation_fraction` of the samples.
    random_state
        The seed of the initial parameters and of the shuffling.
    callbacks, verbose
        As in `Sequential.fit`.
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (100,),
        *,
        activation: str = "ReLU",
        layers: Sequence[Layer] | None = None,
        input_shape: Sequence[int] | None = None,
        optimizer: Optimizer | str = "adam",
        learning_rate: float = 1e-3,
        loss: Loss | str | None = None,
        epochs: int = 200,
        batch_size: int = 32,
        early_stopping: EarlyStopping | int | None = None,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        callbacks: CallbackLike | Sequence[CallbackLike] = (),
        verbose: int = 0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.layers = layers
        self.input_shape = input_shape
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.loss = loss
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.callbacks = callbacks
        self.verbose = verbose

    def _layers(self, outputs: int) -> list[Layer]:
        last = Layer("Linear", {"out_features": outputs})
        if self.layers is not None:
            return [*self.layers, last]
        hidden: list[Layer] = []
        for size in self.hidden_layer_sizes:
            hidden.append(Layer("Linear", {"out_features": int(size)}))
            hidden.append(Layer(self.activation, {}))
        return [*hidden, last]

    def _fit(self, x: NDArray[Any], y: NDArray[Any], outputs: int, loss: str) -> None:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        shape = [x.shape[1]] if self.input_shape is None else list(self.input_shape)
        optimizer = self.optimizer
        if isinstance(optimizer, str):
            settings = {"learning_rate": self.learning_rate}
            optimizer = Optimizer(find("optimizers", optimizer), settings)
        self.model_ = Sequential(shape, self._layers(outputs), seed=seed)
        self.history_ = self.model_.fit(
            x.reshape(-1, *shape),
            y,
            optimizer=optimizer,
            loss=loss if self.loss is None else self.loss,
            epochs=self.epochs,
            batch_size=self.batch_size,
            early_stopping=self.early_stopping,
            validation_split=None if self.early_stopping is None else self.validation_fraction,
            seed=seed,
            callbacks=self.callbacks,
            verbose=self.verbose,
        )

    def _outputs(self, x: ArrayLike) -> NDArray[np.float64]:
        check_is_fitted(self)
        rows = validate_data(self, x, dtype=[np.float64, np.float32], reset=False)
        outputs = self.model_.predict(rows.reshape(-1, *self.model_.input_shape))
        return outputs.astype(np.float64)


class DendraClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    __doc__ = f"""A network for classification.

    Its last layer returns a logit for each class; the default loss is the cross-entropy.
    {(_Estimator.__doc__ or "").split("estimators.", 1)[1]}
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> DendraClassifier:
        """Trains a new network on samples and their classes."""
        rows, classes = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(classes)
        self.classes_, labels = np.unique(column_or_1d(classes, warn=True), return_inverse=True)
        self._fit(rows, labels.astype(np.int64), len(self.classes_), "cross_entropy")
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """The probability of each class, in the order of `classes_`."""
        logits = self._outputs(X)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
        return probabilities

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class with the largest probability."""
        best = self._outputs(X).argmax(axis=1)
        classes: NDArray[Any] = self.classes_[best]
        return classes


class DendraRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    __doc__ = f"""A network for regression of one or several quantities.

    The default loss is the mean squared error.
    {(_Estimator.__doc__ or "").split("estimators.", 1)[1]}
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> DendraRegressor:
        """Trains a new network on samples and their targets."""
        rows, given = validate_data(
            self, X, y, dtype=[np.float64, np.float32], multi_output=True, y_numeric=True
        )
        targets = np.asarray(given, dtype=np.float64)
        self.n_outputs_ = 1 if targets.ndim == 1 else targets.shape[1]
        self._flat = targets.ndim == 1
        self._fit(rows, targets.reshape(-1, self.n_outputs_), self.n_outputs_, "mse")
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """The predicted quantities, in the shape of the targets of `fit`."""
        outputs = self._outputs(X)
        return outputs.ravel() if self._flat else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
