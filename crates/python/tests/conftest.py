"""Data and networks that several tests use."""

import numpy as np
import pytest

import dendra


@pytest.fixture
def spirals():
    """Points of two classes, which one line cannot separate."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(400, 2)).astype("float32")
    return x, (x[:, 0] * x[:, 1] > 0).astype("int64")


def classifier(seed=1):
    layers = [dendra.Linear(16), dendra.ReLU(), dendra.Linear(2)]
    return dendra.Sequential([2], layers, seed=seed)


@pytest.fixture
def model():
    return classifier()


QUIET = {"optimizer": "adam", "loss": "cross_entropy", "verbose": 0}
