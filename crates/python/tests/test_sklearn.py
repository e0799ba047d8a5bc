"""The estimators, by scikit-learn's own checks and in its tools."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import dendra
from dendra.sklearn import DendraClassifier, DendraRegressor


@parametrize_with_checks([DendraClassifier(), DendraRegressor()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_a_pipeline_in_a_grid_search():
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    pipeline = make_pipeline(StandardScaler(), DendraClassifier(epochs=120, random_state=0))
    grid = {"dendraclassifier__hidden_layer_sizes": [(4,), (32, 16)]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(x, names)
    assert search.best_score_ > 0.9
    assert set(search.predict(x)) == set(names)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert np.array_equal(again.predict_proba(x), search.predict_proba(x))


def test_a_regression_is_cross_validated():
    x, y = load_diabetes(return_X_y=True)
    model = make_pipeline(StandardScaler(), DendraRegressor((16,), epochs=40, random_state=1))
    model = TransformedTargetRegressor(model, transformer=StandardScaler())
    assert cross_val_score(model, x, y, cv=3).mean() > 0.35


def test_layers_for_images():
    x, y = load_digits(return_X_y=True)
    layers = [dendra.Conv2d(8, 3), dendra.ReLU(), dendra.MaxPool2d(2), dendra.Flatten()]
    model = DendraClassifier(
        layers=layers, input_shape=(1, 8, 8), optimizer=dendra.AdamW(3e-3), epochs=20,
        early_stopping=5, random_state=0,
    )
    copy = clone(model)
    assert copy.get_params()["optimizer"] == dendra.AdamW(3e-3)
    copy.fit(x[:1200] / 16, y[:1200])
    assert copy.score(x[1200:] / 16, y[1200:]) > 0.9
    assert "validation loss" in copy.history_.names


def test_the_seed_decides():
    x, y = load_iris(return_X_y=True)
    fit = lambda seed: DendraClassifier(epochs=3, random_state=seed).fit(x, y).predict_proba(x)
    assert np.array_equal(fit(1), fit(1)) and not np.array_equal(fit(1), fit(2))
