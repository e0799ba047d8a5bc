"""Compares networks of Python packages with ONNX Runtime.

    real_networks.py RUNNER

RUNNER is the program conformance-onnx. The networks are those of the packages silero-vad,
basic-pitch, magika and rapidocr-onnxruntime; their inputs are random. For each, the table shows the
smallest power of ten that is at least the largest difference of an output.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
from onnx import numpy_helper

TOLERANCES = [1e-6, 1e-5, 1e-4, 1e-3]
rng = np.random.default_rng(1)


def floats(*shape):
    return rng.uniform(-1, 1, shape).astype("f4")


def speech(samples, rate=16000):
    return {"input": 0.3 * floats(1, samples), "state": floats(2, 1, 128), "sr": np.int64(rate)}


def first(*shape):
    return lambda model: {model.get_inputs()[0].name: floats(*shape)}


def tokens(model):
    it = model.get_inputs()[0]
    return {it.name: rng.integers(0, 256, [2, it.shape[1]]).astype("i4")}


NETWORKS = [
    ("silero_vad", "data/silero_vad.onnx", lambda _: speech(576)),
    ("silero_vad", "data/silero_vad.onnx", lambda _: speech(288, 8000)),
    ("silero_vad", "data/silero_vad_16k_op15.onnx", lambda _: speech(576)),
    ("silero_vad", "data/silero_vad_half.onnx", lambda _: speech(576)),
    ("silero_vad", "data/silero_vad_op18_ifless.onnx", lambda _: speech(576)),
    ("basic_pitch", "saved_models/icassp_2022/nmp.onnx", first(1, 43844, 1)),
    ("magika", "models/standard_v3_3/model.onnx", tokens),
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx", first(1, 3, 96, 160)),
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx", first(1, 3, 48, 160)),
    ("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", first(1, 3, 48, 192)),
]


def main():
    onnxruntime.set_default_logger_severity(3)
    for package, file, make in NETWORKS:
        path = pathlib.Path(importlib.util.find_spec(package).origin).parent / file
        print(f"| `{package}` | `{path.name}` | {difference(path, make)} |", flush=True)


def difference(path, make):
    """The smallest tolerance within which the runner passes the network."""
    with tempfile.TemporaryDirectory() as folder:
        test = pathlib.Path(folder, "node", "network")
        write(test, path, make)
        for tolerance in TOLERANCES:
            (test / "data.json").write_text(json.dumps({"rtol": 0.0, "atol": tolerance}))
            line = subprocess.check_output([sys.argv[1], folder], text=True).strip("\n")
            _, _, status, message = line.split("\t")
            if status == "passed":
                return f"{tolerance:.0e}"
            if status != "differs":
                break
    return f"{status}: {message}"


def write(test, path, make):
    """The network as a test with inputs and the outputs of ONNX Runtime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [it.name for it in session.get_inputs()]
    inputs = make(session)
    given = {name: np.asarray(inputs[name]) for name in names}
    outputs = session.run(None, given)
    values = test / "test_data_set_0"
    values.mkdir(parents=True)
    (test / "model.onnx").symlink_to(path)
    for kind, arrays in [("input", given.values()), ("output", outputs)]:
        for number, array in enumerate(arrays):
            tensor = numpy_helper.from_array(np.asarray(array))
            (values / f"{kind}_{number}.pb").write_bytes(tensor.SerializeToString())


main()
