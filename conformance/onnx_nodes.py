"""Runs the tests that the package `onnx` carries with Dendra and with ONNX Runtime.

    onnx_nodes.py version
    onnx_nodes.py compare --runner RUNNER [--only PART] [--page PAGE]

Each test is a model with stored inputs and outputs. They must agree as in ONNX's own
runner: |found − expected| ≤ 10⁻⁷ + 10⁻³ · |expected|, with the same types and shapes.
"""

import argparse
import collections
import glob
import json
import os
import subprocess

import numpy as np
import onnx
from onnx import numpy_helper

KINDS = ["node", "simple", "pytorch-converted", "pytorch-operator"]

# What the tests whose names begin so show, where Dendra does not pass.
REASONS = {
    "test_bernoulli": "random numbers of NumPy's generator are expected",
    "test_training_dropout": "random numbers of NumPy's generator are expected",
    "test_dft": "rounding errors of NumPy below 2·10⁻⁷ are expected where 0 is right",
    "test_image_decoder": "pictures are not decoded",
    "test_regex": "regular expressions are not supported",
    "test_ai_onnx_ml_tree": "trees are not supported",
    "test_gradient": "the preview operator `Gradient` is not supported",
}


def data():
    return os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")


def tests(only):
    for kind in KINDS:
        for path in sorted(glob.glob(os.path.join(data(), kind, "*", "model.onnx"))):
            name = os.path.basename(os.path.dirname(path))
            if only in name:
                yield kind, name, path


def read(path, kind):
    """The value of a file."""
    with open(path, "rb") as file:
        content = file.read()
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return numpy_helper.to_array(onnx.TensorProto.FromString(content))


def check(found, expected):
    """Fails where two values differ."""
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected):
            check(a, b)
        return
    if expected is None:
        assert found is None
        return
    a, b = np.asarray(found), np.asarray(expected)
    assert a.shape == b.shape
    if b.dtype == object or b.dtype.kind in "US":
        np.testing.assert_array_equal(a.astype(object), b.astype(object))
    else:
        # NumPy has no types of its own for narrow floats and integers.
        assert a.dtype == b.dtype or b.dtype.isbuiltin != 1
        np.testing.assert_allclose(
            a.astype(np.float64), b.astype(np.float64), rtol=1e-3, atol=1e-7
        )


def runtime(path):
    """Whether ONNX Runtime passes a test."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    try:
        model = onnx.load(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        stored = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in stored]
        for folder in sorted(glob.glob(os.path.join(os.path.dirname(path), "test_data_set_*"))):
            given = {}
            for index, value in enumerate(inputs):
                file = os.path.join(folder, f"input_{index}.pb")
                if os.path.exists(file):
                    given[value.name] = read(file, value.type)
            outputs = session.run(None, given)
            for index, value in enumerate(model.graph.output):
                file = os.path.join(folder, f"output_{index}.pb")
                if os.path.exists(file):
                    check(outputs[index], read(file, value.type))
    except Exception:  # Whatever it is, the test is not passed.
        return False
    return True


def operator(path, name):
    """What a test is about: its operator, or the one of a test that is expanded."""
    if name.endswith("_expanded"):
        whole = os.path.join(os.path.dirname(os.path.dirname(path)), name[: -len("_expanded")])
        path = os.path.join(whole, "model.onnx")
        if not os.path.exists(path):
            return "functions of other operators"
    nodes = onnx.load(path, load_external_data=False).graph.node
    kinds = {(f"{node.domain}." if node.domain else "") + node.op_type for node in nodes}
    kinds -= {"Constant"} if len(kinds) > 1 else set()
    return kinds.pop() if len(kinds) == 1 else "several operators"


def compare(arguments):
    output = subprocess.run(
        [arguments.runner, data(), arguments.only], stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    ours = {}
    for line in output.splitlines():
        kind, name, status, message = line.split("\t")
        ours[kind, name] = status, message
    counts = collections.defaultdict(lambda: np.zeros(3, int))
    failed = []
    for kind, name, path in tests(arguments.only):
        status, message = ours.get((kind, name), ("crashed", ""))
        passed = [1, status == "passed", runtime(path)]
        counts[operator(path, name)] += passed
        if status != "passed":
            failed.append((name, status, message))
            print(f"{name}: {status}: {message}")
    total = sum(counts.values(), np.zeros(3, int))
    print(f"{total[1]} of {total[0]} passed, {total[2]} by ONNX Runtime")
    if arguments.page:
        with open(arguments.page, "w", encoding="utf-8") as page:
            page.write(written(counts, total, failed))


def written(counts, total, failed):
    """The page."""
    import onnxruntime

    share = [f"{100 * count / total[0]:.1f} %" for count in total[1:]]
    reasons = collections.Counter()
    for name, status, _ in failed:
        known = [why for start, why in REASONS.items() if name.startswith(start)]
        reasons[known[0] if known else f"{name}: {status}"] += 1
    lines = [
        "# Conformance with ONNX",
        "",
        f"The tests of the Python package `onnx` {onnx.__version__} that have stored inputs and",
        f"outputs, run by Dendra and by ONNX Runtime {onnxruntime.__version__}. Types, shapes and",
        "values must agree: |found − expected| ≤ 10⁻⁷ + 10⁻³ · |expected|, as in ONNX's own",
        "runner. This page is generated by `cargo xtask conformance onnx`, which needs a Python",
        "with `onnx` and `onnxruntime`.",
        "",
        "| | tests | Dendra | ONNX Runtime |",
        "| --- | ---: | ---: | ---: |",
        f"| passed | {total[0]:,} | {total[1]:,} | {total[2]:,} |",
        f"| share | | {share[0]} | {share[1]} |",
        "",
        "## What does not pass",
        "",
        "| tests | reason |",
        "| ---: | --- |",
        *[f"| {count} | {why} |" for why, count in reasons.most_common()],
        "",
        "## By operator",
        "",
        "| operator | tests | Dendra | ONNX Runtime |",
        "| --- | ---: | ---: | ---: |",
        *[f"| {name} | {a} | {b} | {c} |" for name, (a, b, c) in sorted(counts.items())],
    ]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version")
    command = commands.add_parser("compare")
    command.add_argument("--runner", required=True)
    command.add_argument("--only", default="")
    command.add_argument("--page")
    arguments = parser.parse_args()
    if arguments.command == "version":
        print(json.dumps({"version": onnx.__version__}))
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
