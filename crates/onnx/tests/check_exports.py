"""Checks the files that Dendra exports with onnx and with ONNX Runtime.

    check_exports.py FOLDER
    check_exports.py            exports the models of the tests first

Each folder in FOLDER has a model.onnx with inputs and the outputs that Dendra
computes. onnx has to accept the file with all shapes, and ONNX Runtime has to
compute the outputs up to 10^-5 of the largest one.
"""

import glob
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

MOST = 1e-5


def tensors(folder, kind):
    count = len(glob.glob(os.path.join(folder, f"{kind}_*.pb")))
    for index in range(count):
        with open(os.path.join(folder, f"{kind}_{index}.pb"), "rb") as file:
            yield numpy_helper.to_array(onnx.TensorProto.FromString(file.read()))


def difference(folder):
    """The largest difference from the outputs, relative to the largest element."""
    path = os.path.join(folder, "model.onnx")
    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    found = session.run(None, dict(zip(names, tensors(folder, "input"))))
    largest = 0.0
    for found, expected in zip(found, tensors(folder, "output"), strict=True):
        assert found.shape == expected.shape, f"shape {found.shape} for {expected.shape}"
        assert found.dtype == expected.dtype, f"type {found.dtype} for {expected.dtype}"
        scale = max(1e-3, float(np.abs(expected).max(initial=0)))
        gap = float(np.abs(found - expected).max(initial=0)) / scale
        assert gap <= MOST, f"differs by {gap:.1e}"
        largest = max(largest, gap)
    return largest


def export(folder):
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
    command = ["cargo", "test", "--quiet", "--package", "dendra-onnx", "--lib", "export::"]
    environment = {**os.environ, "DENDRA_ONNX_EXPORTS": folder}
    subprocess.run(command, cwd=root, env=environment, check=True)


def check(folder):
    folders = sorted(glob.glob(os.path.join(folder, "*", "")))
    failures, largest = 0, 0.0
    for folder in folders:
        name = os.path.basename(os.path.dirname(folder))
        try:
            gap = difference(folder)
        except Exception as error:  # of onnx, of ONNX Runtime, or of an assertion
            failures += 1
            print(f"{name}: {error}")
        else:
            largest = max(largest, gap)
    versions = f"onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}"
    print(f"{versions}: {len(folders) - failures} of {len(folders)} models agree, ", end="")
    print(f"with differences of at most {largest:.1e}")
    sys.exit(failures > 0 or not folders)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        check(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        export(folder)
        check(folder)
