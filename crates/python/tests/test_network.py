"""Networks: building, running, state, files, pickles."""

import copy
import pickle

import numpy as np
import pytest
from conftest import QUIET, classifier

import dendra


def test_layers_by_list_and_by_methods_are_the_same():
    layers = [dendra.Conv2d(4, 3, padding=1, name="conv"), dendra.ReLU(), dendra.MaxPool2d(2),
              dendra.Flatten(), dendra.Linear(10)]
    one = dendra.Sequential([1, 8, 8], layers, seed=3)
    builder = dendra.Sequential.input([1, 8, 8]).conv2d(4, 3, padding=1, name="conv").relu()
    other = builder.max_pool2d(2).flatten().dense(10).build(seed=3)
    assert repr(one) == repr(other)
    assert one.output_shape == (10,) and one.parameter_count == 40 + 650
    states = one.state_dict(), other.state_dict()
    assert list(states[0]) == ["4.bias", "4.weight", "conv.bias", "conv.weight"]
    for name, value in states[0].items():
        assert np.array_equal(value, states[1][name])
    assert "Conv2d 1 → 4, 3×3, padding 1" in one.summary()


def test_forward_is_what_numpy_computes(model):
    x = np.random.default_rng(0).normal(size=(300, 2)).astype("float32")
    state = model.state_dict()
    hidden = np.maximum(x @ state["0.weight"].T + state["0.bias"], 0)
    expected = hidden @ state["2.weight"].T + state["2.bias"]
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5, atol=1e-6)
    assert np.array_equal(model(x), model.predict(x, batch_size=7))


NUMBERS = ["float32", "float64", "float16", "int32", "uint8", ">f4", "bool"]


@pytest.mark.parametrize("dtype", NUMBERS)
def test_inputs_of_any_number_type_and_layout(model, dtype):
    x = (np.arange(12).reshape(6, 2) % 3).astype(dtype)
    expected = model.predict(x.astype("float32"))
    for form in [x, np.asfortranarray(x), x[::-1][::-1], np.repeat(x, 2, axis=1)[:, ::2]]:
        assert np.array_equal(model.predict(form), expected)
    assert np.array_equal(model.predict(x.tolist()), expected)


def test_an_output_is_memory_of_its_own(model):
    x = np.zeros((3, 2), "float32")
    first = model.predict(x)
    first[:] = 5
    assert not np.array_equal(model.predict(x), first)
    assert first.flags.writeable and first.flags.aligned and first.flags.c_contiguous
    del model
    assert (first == 5).all()


def test_empty_inputs(model):
    assert model.predict(np.zeros((0, 2), "float32")).shape == (0, 2)


def test_state_is_read_only_and_keeps_its_values(model, spirals):
    before = model.state_dict()
    weight = before["0.weight"]
    kept = weight.copy()
    with pytest.raises(ValueError, match="read-only"):
        weight[0] = 1
    model.fit(*spirals, **QUIET)
    assert np.array_equal(weight, kept)
    assert not np.array_equal(model.state_dict()["0.weight"], kept)
    model.load_state_dict(before)
    assert np.array_equal(model.state_dict()["0.weight"], kept)


def test_a_state_that_does_not_fit_is_refused_whole(model):
    state = dict(model.state_dict())
    state["0.weight"] = np.zeros((3, 3), "float32")
    del state["2.bias"]
    with pytest.raises(ValueError, match=r"2\.bias") as caught:
        model.load_state_dict(state)
    assert "0.weight" in str(caught.value)


def test_files(tmp_path, model):
    path = tmp_path / "net.safetensors"
    model.save(path)
    x = np.random.default_rng(1).normal(size=(5, 2))
    for again in [dendra.Sequential.load(path), dendra.load(str(path))]:
        assert np.array_equal(again.predict(x), model.predict(x))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"net\.safetensors"):
        dendra.load(path)
    with pytest.raises(FileNotFoundError) as caught:
        dendra.load(tmp_path / "none")
    assert caught.value.filename.endswith("none")
    with pytest.raises(OSError):
        model.save(tmp_path / "no" / "folder")


def test_pickles_and_copies(model, spirals):
    model.compile("sgd", "cross_entropy", ["accuracy"])
    x, y = spirals
    for again in [pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]:
        assert np.array_equal(again.predict(x), model.predict(x))
        assert again.evaluate(x, y) == model.evaluate(x, y)
        again.fit(x, y, verbose=0)
        assert not np.array_equal(again.predict(x), model.predict(x))


def test_settings_are_values():
    layer = dendra.Conv2d(8, (3, 5), stride=2, name="c")
    assert repr(layer) == "Conv2d(out_channels=8, kernel_size=(3, 5), stride=2, name='c')"
    assert pickle.loads(pickle.dumps(layer)) == layer
    assert dendra.Adam(1e-3) == dendra.Adam(learning_rate=1e-3) != dendra.Adam(1e-2)
    assert dendra.Linear(np.int64(3)).to_json() == dendra.Linear(3).to_json()


def test_nested_layers():
    block = dendra.Residual([dendra.Linear(4), dendra.Tanh()])
    join = dendra.Parallel(branches=[[dendra.Linear(3)], []], join={"concatenate": 1})
    model = dendra.Sequential([4], [block, join, dendra.SequentialBlock([dendra.Linear(2)])])
    assert model.output_shape == (2,)
    assert "0.0.weight" in model.state_dict()


def test_token_ids():
    layers = [dendra.Embedding(20, 8), dendra.GRU(6), dendra.LastStep(), dendra.Linear(3)]
    model = dendra.Sequential([5], layers, tokens=True)
    ids = np.arange(10).reshape(2, 5)
    assert model.predict(ids).shape == (2, 3)
    with pytest.raises(ValueError, match="expected integers, got floats"):
        model.predict(ids.astype("float32"))
    with pytest.raises(ValueError):
        model.predict(ids + 100)
    assert model.fit(ids, [0, 1], epochs=2, **QUIET)["loss"][1] > 0


def test_every_layer_can_be_made_by_name():
    from dendra._table import Layer, spelled, table

    assert len(table()["layers"]) > 100
    for entry in table()["layers"]:
        function = getattr(dendra, spelled(entry))
        assert function.__doc__, entry["name"]
        sizes = {"usize": 2, "f64": 0.5, "isize": 1, "SequentialBuilder": []}
        given = [sizes.get(argument["type"], 2) for argument in entry["arguments"]]
        given = [[2] if a["type"].startswith("Vec") else g
                 for a, g in zip(entry["arguments"], given)]
        # The branches and how they are joined must be given.
        needed = {"branches": [], "join": "sum"} if entry["name"] == "Parallel" else {}
        layer = function(*given, **needed)
        # The settings that the table shows are those of the layer.
        for setting in entry["settings"]:
            if setting.get("default") is not None:
                settings = {**layer.settings, setting["name"]: setting["default"]}
                again = Layer(entry["name"], settings)
                assert again.to_json() == layer.to_json(), (entry["name"], setting)


@pytest.mark.parametrize("group", ["optimizers", "schedules", "losses", "metrics"])
def test_everything_can_be_made_by_name(group):
    from dendra._table import GROUPS, table

    for entry in table()[group]:
        function = getattr(dendra, entry["name"])
        sizes = {"milestones": [2, 3], "gamma": 0.5, "max_lr": 0.5}
        needed = [a for a in entry["arguments"] if "default" not in a]
        made = function(*[sizes.get(argument["name"], 4) for argument in needed])
        assert isinstance(made, GROUPS[group]) and function.__doc__, entry["name"]
        for setting in entry["settings"]:
            if setting.get("default") is not None:
                function(**made.settings, **{setting["name"]: setting["default"]})


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: dendra.Linear(), TypeError, "`out_features` is missing"),
        (lambda: dendra.Linear(3, 4), TypeError, "1 positional argument, got 2"),
        (lambda: dendra.Linear(3, out_features=4), TypeError, "twice"),
        (lambda: dendra.Linear(3, biass=True), TypeError, "unknown field `biass`"),
        (lambda: dendra.ReLU(x=1), TypeError, "no setting `x`"),
        (lambda: dendra.Linear("three"), ValueError, "Linear: out_features"),
        (lambda: dendra.Linear(-3), ValueError, "Linear: out_features"),
        (lambda: dendra.Conv2d(3, (1, 2, 3)), ValueError, "expected 2 sizes"),
        (lambda: dendra.Adam(-1.0), ValueError, "learning rate"),
        (lambda: dendra.Adam(float("nan")), ValueError, "setting"),
        (lambda: dendra.Adam(momentum=0.9), TypeError, "no setting `momentum`, only"),
        (lambda: dendra.MSELoss(reduction="max"), ValueError, "expected \"mean\" or \"sum\""),
        (lambda: dendra.SGD(schedule=dendra.ReduceLROnPlateau()), ValueError, "plateau"),
        (lambda: dendra.Sequential([4], [dendra.Linear(3, in_features=5)]), ValueError,
         r"layer 0 \(Linear\): expected \[…, 5\], got \[4\]"),
        (lambda: dendra.Sequential([4], ["dense"]), TypeError, "expected a layer"),
        (lambda: dendra.Sequential([1 << 31, 1 << 31]), ValueError, "more than"),
        (lambda: classifier().predict(np.zeros((2, 3))), ValueError, r"\[N, 2\]"),
        (lambda: classifier().predict(np.float32(1)), ValueError, "an axis over the samples"),
        (lambda: classifier().predict(["a"]), TypeError, "x: expected an array of numbers"),
        (lambda: classifier().set_trainable(False, "none"), ValueError, "no parameter"),
        (lambda: dendra.set_num_threads(0), ValueError, "from 1 to 1024"),
    ],
)
def test_mistakes_are_exceptions_with_a_reason(make, error, message):
    with pytest.raises(error, match=message):
        make()
