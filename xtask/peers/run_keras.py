"""What `cargo xtask bench --peers` runs for Keras. Each result is one line of JSON.

    run_keras.py version
    run_keras.py classic CASE --threads N [--data DIR]

The programs are written as Keras's guides write them: a Sequential, `compile`, `fit`, on the
back end that Keras itself is set to (KERAS_BACKEND or keras.json), or on the first one that is
installed.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import time

parser = argparse.ArgumentParser()
parser.add_argument("group", choices=["version", "classic"])
parser.add_argument("cases", nargs="*")
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--data")
arguments = parser.parse_args()

# No back end is told its number of threads in the same way, but all of them count the cores they
# may run on, and do it when they are imported.
if arguments.threads < os.cpu_count() and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
# Keras writes `tensorflow` into its keras.json by itself, whether that is installed or not.
if "KERAS_BACKEND" not in os.environ:
    settings = pathlib.Path("~/.keras/keras.json").expanduser()
    chosen = json.loads(settings.read_text()).get("backend") if settings.exists() else None
    for backend in filter(None, (chosen, "tensorflow", "jax", "torch")):
        if importlib.util.find_spec(backend):
            os.environ["KERAS_BACKEND"] = backend
            break
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
from keras import layers  # noqa: E402

import samples  # noqa: E402

EPOCHS = 3


def regression_head():
    network = keras.Sequential([
        keras.Input((5,)),
        layers.Dense(10, activation="relu"),
        layers.Dense(10, activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    ])
    return network, "mean_squared_error"


def binary_classifier():
    network = keras.Sequential([
        keras.Input((2,)),
        layers.Dense(10, activation="relu"),
        layers.Dense(10, activation="relu"),
        layers.Dense(2, activation="softmax"),
    ])
    return network, "sparse_categorical_crossentropy"


def mnist_mlp():
    network = keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(64, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ])
    return network, "sparse_categorical_crossentropy"


def mnist_conv():
    network = keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ])
    return network, "sparse_categorical_crossentropy"


def mnist_cnn():
    network = keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ])
    return network, "sparse_categorical_crossentropy"


PROGRAMS = {
    "regression_head": regression_head,
    "binary_classifier": binary_classifier,
    "mnist_mlp": mnist_mlp,
    "mnist_conv": mnist_conv,
    "mnist_cnn": mnist_cnn,
}


class EpochTimes(keras.callbacks.Callback):
    """Seconds of each epoch of `fit`."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.start)


def classic(case, data):
    """Seconds for an epoch, the least of three; the first holds the compilation."""
    if case.startswith("mnist"):
        images, targets = samples.mnist(data)
        inputs = images[..., None]
    else:
        inputs, targets = getattr(samples, case)()
    keras.utils.set_random_seed(0)
    network, loss = PROGRAMS[case]()
    network.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)
    times = EpochTimes()
    network.fit(inputs, targets, batch_size=32, epochs=EPOCHS, verbose=0, callbacks=[times])
    return min(times.seconds)


if arguments.group == "version":
    print(json.dumps({"version": f"{keras.__version__} on {keras.backend.backend()}"}))
for case in arguments.cases:
    if case in PROGRAMS:
        print(json.dumps({"case": case, "seconds": classic(case, arguments.data)}), flush=True)
