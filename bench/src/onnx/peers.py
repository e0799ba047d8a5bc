"""Runs ONNX models with Dendra, ONNX Runtime and tract in turn and prints a table.

    peers.py RUNNER [--rounds N] [--filter TEXT] [--prepare FOLDER]

RUNNER is the program `onnx` of this folder. The networks are those of the packages silero-vad,
basic-pitch, magika and rapidocr-onnxruntime, and four that torch exports, with random weights.
Each figure is the median of the rounds, in milliseconds: the median time of a run, and in brackets
the processor time of a run. The Python package tract computes with one thread.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

SECONDS = 1.0
rng = np.random.default_rng(1)


def floats(*shape):
    return rng.uniform(-1, 1, shape).astype("f4")


def speech():
    state = np.zeros((2, 1, 128), "f4")
    return {"input": 0.3 * floats(1, 576), "state": state, "sr": np.int64(16000)}


def stored(package, file):
    path = pathlib.Path(importlib.util.find_spec(package).origin).parent / file
    return lambda target: target.symlink_to(path)


def exported(make):
    """A network of torch, as a file."""

    def write(target):
        import torch

        torch.manual_seed(0)
        net, shape = make()
        torch.onnx.export(net.eval(), torch.zeros(shape), target, dynamo=False)

    return write


def torchvision(name):
    def make():
        import torchvision

        return getattr(torchvision.models, name)(), [1, 3, 224, 224]

    return exported(make)


def bert():
    """Two layers of the size of BERT-base."""
    import transformers

    config = transformers.BertConfig(num_hidden_layers=2, attn_implementation="eager")
    return transformers.models.bert.modeling_bert.BertEncoder(config), [1, 128, 768]


def minilm():
    """The layers of MiniLM."""
    import transformers

    config = transformers.BertConfig(
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        attn_implementation="eager",
    )
    return transformers.models.bert.modeling_bert.BertEncoder(config), [2, 16, 384]


OCR = "rapidocr_onnxruntime"
NETWORKS = {
    "silero_vad": (stored("silero_vad", "data/silero_vad.onnx"), speech),
    "silero_vad_16k_op15": (stored("silero_vad", "data/silero_vad_16k_op15.onnx"), speech),
    "silero_vad_half": (stored("silero_vad", "data/silero_vad_half.onnx"), speech),
    "silero_vad_op18_ifless": (stored("silero_vad", "data/silero_vad_op18_ifless.onnx"), speech),
    "basic_pitch": (
        stored("basic_pitch", "saved_models/icassp_2022/nmp.onnx"),
        lambda: [floats(1, 43844, 1)],
    ),
    "magika": (
        stored("magika", "models/standard_v3_3/model.onnx"),
        lambda: [rng.integers(0, 256, [1, 2048]).astype("i4")],
    ),
    "ocr_det": (stored(OCR, "models/ch_PP-OCRv4_det_infer.onnx"), lambda: [floats(1, 3, 320, 320)]),
    "ocr_rec": (stored(OCR, "models/ch_PP-OCRv4_rec_infer.onnx"), lambda: [floats(1, 3, 48, 320)]),
    "ocr_cls": (
        stored(OCR, "models/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
        lambda: [floats(1, 3, 48, 192)],
    ),
    "resnet18": (torchvision("resnet18"), lambda: [floats(1, 3, 224, 224)]),
    "mobilenet_v2": (torchvision("mobilenet_v2"), lambda: [floats(1, 3, 224, 224)]),
    "bert_2_layers": (exported(bert), lambda: [floats(1, 128, 768)]),
    "minilm": (exported(minilm), lambda: [floats(2, 16, 384)]),
}


def prepare(folder, name):
    """The model and its inputs as files."""
    import onnx
    from onnx import numpy_helper

    folder.mkdir(parents=True, exist_ok=True)
    write, inputs = NETWORKS[name]
    if not (folder / "model.onnx").exists():
        write(folder / "model.onnx")
    arrays = inputs()
    if isinstance(arrays, dict):
        graph = onnx.load(folder / "model.onnx").graph
        arrays = [arrays[it.name] for it in graph.input]
    for index, array in enumerate(arrays):
        tensor = numpy_helper.from_array(np.asarray(array))
        (folder / f"input_{index}.pb").write_bytes(tensor.SerializeToString())
    return folder


def inputs_of(folder):
    import onnx
    from onnx import numpy_helper

    paths = sorted(folder.glob("input_*.pb"))
    return [numpy_helper.to_array(onnx.load_tensor(path)) for path in paths]


def onnxruntime_run(folder, threads):
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", options, providers=["CPUExecutionProvider"]
    )
    names = [it.name for it in session.get_inputs()]
    given = dict(zip(names, inputs_of(folder)))
    return lambda: session.run(None, given)


def tract_run(folder, _):
    import tract

    model = tract.onnx().load(folder / "model.onnx")
    inputs = [np.ascontiguousarray(x) for x in inputs_of(folder)]
    for index, x in enumerate(inputs):
        kind = {"float32": "f32", "int64": "i64", "int32": "i32"}[str(x.dtype)]
        model.set_input_fact(index, ",".join([*map(str, x.shape), kind]))
    for index in range(model.output_count()):
        model.set_output_fact(index, None)
    runnable = model.into_model().into_runnable()
    return lambda: runnable.run(inputs)


def measure(run):
    """The milliseconds of a run: median, and processor time."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < 0.3:
        run()
    times, processor, begin = [], time.process_time(), time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < SECONDS:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    processor = (time.process_time() - processor) / len(times)
    return {"wall": 1e3 * statistics.median(times), "processor": 1e3 * processor}


PEERS = {"onnxruntime": onnxruntime_run, "tract": tract_run}


def one(runner, peer, folder, threads):
    """The figures of one process; `None` if the model cannot be run."""
    if peer == "dendra":
        command = [runner, folder / "model.onnx", folder, "--seconds", str(SECONDS)]
    else:
        command = [sys.executable, __file__, peer, folder, str(threads)]
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or [str(done.returncode)]
        print(f"{peer}: {lines[-1][:200]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def shown(figures):
    if not figures:
        return "–"
    wall, processor = (statistics.median(it[key] for it in figures) for key in figures[0])
    return f"{wall:.3g} ({processor:.3g})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("runner")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--filter", default="")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--prepare", type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.prepare or pathlib.Path(temporary)
        print("| network | threads | Dendra | ONNX Runtime | tract |\n|---|--:|--:|--:|--:|")
        for name in NETWORKS:
            if arguments.filter not in name:
                continue
            folder = prepare(root / name, name)
            for threads in arguments.threads:
                peers = ["dendra", "onnxruntime"] + ["tract"] * (threads == 1)
                figures = {peer: [] for peer in [*peers, "tract"]}
                for _ in range(arguments.rounds):
                    for peer in list(peers):
                        found = one(arguments.runner, peer, folder, threads)
                        if found is None:
                            peers.remove(peer)
                        else:
                            figures[peer].append(found)
                cells = " | ".join(shown(it) for it in figures.values())
                print(f"| `{name}` | {threads} | {cells} |", flush=True)


if len(sys.argv) == 4 and sys.argv[1] in PEERS:
    run = PEERS[sys.argv[1]](pathlib.Path(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps(measure(run)))
else:
    main()
