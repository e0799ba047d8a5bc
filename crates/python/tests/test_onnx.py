"""ONNX models: export, running, errors."""

import threading

import numpy as np
import pytest

import dendra


@pytest.fixture
def exported(tmp_path):
    layers = [dendra.Conv2d(4, 3), dendra.ReLU(), dendra.Flatten(), dendra.Linear(3)]
    model = dendra.Sequential([1, 6, 6], layers, seed=2)
    path = tmp_path / "net.onnx"
    model.export_onnx(path)
    return model, path


def test_an_exported_network_computes_the_same(exported):
    model, path = exported
    again = dendra.load(path)
    assert isinstance(again, dendra.OnnxModel)
    [given], [output] = again.inputs, again.outputs
    assert given.dtype == "float32" and given.shape == ("N", 1, 6, 6) and output.shape[1] == 3
    x = np.random.default_rng(3).normal(size=(5, 1, 6, 6)).astype("float32")
    assert np.array_equal(again.predict(x), model.predict(x))
    named = again.run({given.name: np.asfortranarray(x)})
    assert list(named) == [output.name] and np.array_equal(named[output.name], model.predict(x))
    other = dendra.OnnxModel.parse(path.read_bytes())
    assert np.array_equal(other(x), again(x)) and repr(other) == repr(again)


def test_onnx_runtime_agrees(exported):
    runtime = pytest.importorskip("onnxruntime")
    model, path = exported
    x = np.random.default_rng(4).normal(size=(7, 1, 6, 6)).astype("float32")
    session = runtime.InferenceSession(str(path))
    [expected] = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4, atol=1e-6)


def test_threads_share_a_model(exported):
    model, path = exported
    again = dendra.load(path)
    x = np.random.default_rng(5).normal(size=(64, 1, 6, 6)).astype("float32")
    expected, found = model.predict(x), []
    run = lambda: found.append(np.array_equal(again.predict(x), expected))
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4


def test_mistakes_are_exceptions(exported, tmp_path):
    _, path = exported
    model = dendra.load(path)
    name = model.inputs[0].name
    with pytest.raises(ValueError, match=name):
        model.run({"other": np.zeros((1, 1, 6, 6), "float32")})
    with pytest.raises(ValueError):
        model.run({name: np.zeros((1, 1, 6, 6), "float64")})
    with pytest.raises(ValueError):
        model.run({name: np.zeros((1, 1, 7, 6), "float32")})
    with pytest.raises(TypeError):
        model.run({name: np.array(["a"])})
    with pytest.raises(ValueError):
        dendra.OnnxModel.parse(b"\x08\x01no model")
    with pytest.raises(FileNotFoundError):
        dendra.load(tmp_path / "none.onnx")
