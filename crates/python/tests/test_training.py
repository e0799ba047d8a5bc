"""Training: results, callbacks, interruption, errors."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import QUIET, classifier

import dendra


def test_training_learns_and_reports(model, spirals):
    x, y = spirals
    settings = {**QUIET, "optimizer": dendra.Adam(0.01), "metrics": ["accuracy"]}
    history = model.fit(x, y, epochs=40, validation_split=0.2, **settings)
    assert len(history) == 40 and history.stopped is None
    assert history["loss"][-1] < 0.3 < history["loss"][0]
    assert history["validation accuracy"][-1] > 0.9
    assert "validation loss" in history.names and history.epochs[3]["epoch"] == 4
    figures = model.evaluate(x, y)
    assert list(figures) == ["loss", "accuracy"] and figures["accuracy"] > 0.9
    accuracy = (model.predict(x).argmax(axis=1) == y).mean()
    assert abs(figures["accuracy"] - accuracy) < 1e-12
    with pytest.raises(KeyError, match="only epoch, loss"):
        history["val_loss"]


def test_a_step_is_that_of_the_formula():
    model = dendra.Sequential([3], [dendra.Linear(1)], seed=5)
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(8, 3)).astype("float32"), rng.normal(size=8).astype("float32")
    before = {name: value.copy() for name, value in model.state_dict().items()}
    error = x @ before["0.weight"].T + before["0.bias"] - y[:, None]
    history = model.fit(x, y, optimizer=dendra.SGD(0.1), loss="mse", batch_size=8, verbose=0)
    assert history["loss"][0] == pytest.approx(float((error**2).mean()), rel=1e-5)
    after = model.state_dict()
    gradient = 2 * error.T @ x / 8
    np.testing.assert_allclose(after["0.weight"], before["0.weight"] - 0.1 * gradient, rtol=1e-4)
    bias = before["0.bias"] - 0.1 * 2 * error.mean(axis=0)
    np.testing.assert_allclose(after["0.bias"], bias, rtol=1e-4)


def test_the_seed_decides_every_bit(spirals):
    def trained(seed, threads):
        dendra.set_num_threads(threads)
        model = classifier()
        model.fit(*spirals, epochs=3, seed=seed, **QUIET)
        return model.state_dict()["0.weight"]

    one, other = trained(1, 1), trained(1, 2)
    assert np.array_equal(one, other) and not np.array_equal(one, trained(2, 1))


def test_epochs_continue_with_the_optimizer(spirals):
    whole, parts = classifier(), classifier()
    whole.fit(*spirals, epochs=4, **QUIET)
    parts.fit(*spirals, epochs=2, **QUIET)
    history = parts.fit(*spirals, epochs=2, verbose=0)
    assert [epoch["epoch"] for epoch in history.epochs] == [3, 4]
    assert np.array_equal(whole.predict(spirals[0]), parts.predict(spirals[0]))


def test_targets_of_other_types(spirals):
    x, y = spirals
    binary = dendra.Sequential([2], [dendra.Linear(1)])
    for targets in [y, y.astype("float64"), y.astype(bool), y.reshape(-1, 1)]:
        settings = {"optimizer": "sgd", "loss": "bce_with_logits", "metrics": ["accuracy"]}
        binary.fit(x, targets, verbose=0, **settings)
        assert 0 <= binary.evaluate(x, targets)["accuracy"] <= 1
    shares = np.eye(2, dtype="float32")[y]
    history = classifier().fit(x, shares, metrics="accuracy", **QUIET)
    labels = classifier().fit(x, y, metrics="accuracy", **QUIET)
    assert history["loss"] == pytest.approx(labels["loss"], rel=1e-5)
    assert history["accuracy"] == labels["accuracy"]


def test_early_stopping_restores_the_best(model, spirals):
    x, y = spirals
    rng = np.random.default_rng(0)
    history = model.fit(
        x, rng.integers(0, 2, len(y)), epochs=500, validation_data=(x, y), early_stopping=3,
        **{**QUIET, "optimizer": dendra.Adam(0.05)},
    )
    assert len(history) < 500 and "no improvement for 3 epochs" in history.stopped
    best = min(history["validation loss"])
    assert model.evaluate(x, y)["loss"] == pytest.approx(best, rel=1e-6)


def test_callbacks_see_and_change_the_training(model, spirals):
    x, y = spirals
    seen = []

    class Watch(dendra.Callback):
        def on_start(self, training):
            seen.append(("start", training.epoch))

        def on_batch(self, training):
            if training.step == 2:
                seen.append(("batch", training.batch, training.figures["loss"] > 0))

        def on_epoch(self, training):
            # The network has the weights of this moment, and is not to be changed.
            loss = model.evaluate(x, y)["loss"]
            seen.append(("epoch", training.epoch, loss == training.figures["validation loss"]))
            with pytest.raises(ValueError, match="being trained"):
                model.fit(x, y, **QUIET)
            training.learning_rate *= 0.5

        def on_end(self, training):
            seen.append(("end", training.learning_rate))

    def stop(training):
        if training.epoch == 2:
            training.stop("enough")

    history = model.fit(
        x, y, epochs=5, callbacks=[Watch(), stop], validation_data=(x, y),
        **{**QUIET, "optimizer": dendra.SGD(0.4)},
    )
    assert seen == [
        ("start", 0), ("batch", 2, True), ("epoch", 1, True), ("epoch", 2, True), ("end", 0.1)
    ]
    assert history.stopped == "enough" and history["learning rate"] == [0.4, 0.2]


def test_an_exception_of_a_callback_is_raised_and_the_weights_stay(model, spirals):
    def fail(training):
        raise LookupError("mine")

    before = model.predict(spirals[0])
    with pytest.raises(LookupError, match="mine"):
        model.fit(*spirals, callbacks=fail, epochs=3, **QUIET)
    assert not np.array_equal(model.predict(spirals[0]), before)
    assert len(model.fit(*spirals, verbose=0)) == 1


def test_ctrl_c_ends_a_training_and_keeps_the_model(model, spirals):
    # A shell that starts tests in the background makes them ignore the signal.
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupted(model, spirals)
    finally:
        signal.signal(signal.SIGINT, earlier)


def interrupted(model, spirals):
    def press():
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    before = model.predict(spirals[0])
    thread = threading.Thread(target=press)
    thread.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        model.fit(*spirals, epochs=10**7, **QUIET)
    assert time.monotonic() - start < 10
    thread.join()
    assert not np.array_equal(model.predict(spirals[0]), before)
    assert len(model.fit(*spirals, verbose=0)) == 1


def test_other_threads_run_meanwhile(model, spirals):
    done = threading.Event()
    counted = []

    def count():
        while not done.is_set():
            counted.append(model.predict(spirals[0][:2]).shape)
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    model.fit(*spirals, epochs=200, **QUIET)
    done.set()
    thread.join()
    assert len(counted) > 5 and set(counted) == {(2, 2)}


@pytest.mark.parametrize(
    "given, error, message",
    [
        ({"loss": None}, ValueError, "expected a loss"),
        ({"optimizer": None}, ValueError, "expected an optimizer"),
        ({"loss": "crossing"}, ValueError, "'crossing' is not one of the losses"),
        ({"metrics": ["acc"]}, ValueError, "'acc' is not one of the metrics"),
        ({"metrics": ["mae"]}, ValueError, "expected targets that are floats"),
        ({"loss": dendra.Adam()}, TypeError, "expected loss"),
        ({"y": np.zeros(3, int)}, ValueError, "3 for 400"),
        ({"y": np.full(400, 7)}, ValueError, "7"),
        ({"y": np.zeros(400)}, ValueError, "probability for each class"),
        ({"batch_size": 0}, ValueError, "batch"),
        ({"epochs": -1}, ValueError, "fit"),
        ({"validation_split": 2.0}, ValueError, "between 0 and 1"),
        ({"class_weights": [1.0, 2.0, 3.0]}, ValueError, "weights"),
        ({"callbacks": [3]}, TypeError, "expected a Callback"),
        ({"x": np.zeros((400, 3))}, ValueError, r"\[N, 2\]"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0, int)}, ValueError, "no samples"),
        ({"x": np.full((400, 2), np.nan)}, FloatingPointError, "not finite"),
        ({"x": np.full((400, 2), 1e300)}, FloatingPointError, "not finite"),
    ],
)
def test_mistakes_are_exceptions_and_change_nothing(model, spirals, given, error, message):
    x, y = spirals
    before = model.predict(x)
    given = {"x": x, "y": y, **QUIET, **given}
    with pytest.raises(error, match=message):
        model.fit(given.pop("x"), given.pop("y"), **given)
    assert np.array_equal(model.predict(x), before)


def test_steps_that_are_not_finite_can_be_skipped(model, spirals):
    x, y = spirals
    x = x.copy()
    x[17] = np.inf
    history = model.fit(x, y, skip_not_finite=2, **QUIET)
    assert len(history.incidents) == 1 and "not finite" in history.incidents[0]


def test_lines_are_printed_where_there_is_no_terminal(model, spirals, capsys):
    model.fit(*spirals, epochs=2, **{**QUIET, "verbose": 1})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[1].startswith("epoch 2  loss 0.")
    model.fit(*spirals, epochs=2, verbose=0)
    assert capsys.readouterr().err == ""


def test_a_notebook_shows_the_progress_in_place(model, spirals, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    model.fit(*spirals, epochs=400, **{**QUIET, "verbose": 1})
    out = capsys.readouterr().out
    assert out.count("\n") == 400 and "\repoch 1  loss" in out


def test_a_bar_is_drawn_on_a_terminal():
    pty = pytest.importorskip("pty")
    code = (
        "import dendra, numpy as np; x = np.zeros((10**7, 2), 'float32');"
        "model = dendra.Sequential([2], [dendra.Linear(64), dendra.ReLU(), dendra.Linear(2)]);"
        "model.fit(x, np.zeros(len(x), int), optimizer='sgd', loss='cross_entropy')"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs) as process:
        os.close(theirs)
        text = b""
        try:
            while chunk := os.read(ours, 4096):
                text += chunk
        except OSError:
            pass  # The terminal is closed when the program has ended.
    assert process.returncode == 0, text
    assert "━".encode() in text and b"samples/s" in text
