"""Compares Dendra with PyTorch on the samples that PyTorch tests itself with.

Draws the samples of PyTorch's tables of operations, modules and optimizers, has Dendra's runner
compute those that it has a counterpart for, forward and backward, and prints what agrees. Called
by `cargo xtask conformance`.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import warnings

import numpy
import torch

import cases
import report
import training

# Relative and absolute tolerances, as in torch.testing; single precision is allowed a little
# more, since sums are in another order.
TOLERANCES = {torch.float64: (1e-7, 1e-7), torch.float32: (1e-5, 1e-5)}


class Row:
    """A row of Dendra's runner."""

    def __init__(self, about):
        self.family = about["family"]
        self.parameters = [parameter["name"] for parameter in about["parameters"]]
        self.names = set(self.parameters)
        self.constants = {p["name"] for p in about["parameters"] if p["constant"]}
        self.state = {p["name"] for p in about["parameters"] if p["state"]}
        self.required = [p["name"] for p in about["parameters"] if p["required"]]


def rows_of(runner):
    listed = subprocess.run([runner, "list"], check=True, capture_output=True, text=True).stdout
    rows = {}
    for line in listed.splitlines():
        about = json.loads(line)
        for entry in about["entries"]:
            rows[entry] = Row(about)
    return rows


def answers(runner, written):
    """The runner's result for each case; a case that ends the process is a crash."""
    results = []
    while len(results) < len(written):
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as got:
            given.writelines(written[len(results) :])
            given.seek(0)
            done = subprocess.run([runner, "run"], stdin=given, stdout=got, stderr=subprocess.PIPE)
            got.seek(0)
            while line := got.readline():
                results.append(answer(json.loads(line), got))
        if done.returncode == 0:
            break
        message = done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"
        if len(results) < len(written):
            results.append({"status": "crashed", "message": message.splitlines()[-1]})
    return results


def answer(header, stream):
    if header["status"] != "ok":
        return header

    def tensor(about):
        kind = {"f32": "float32", "f64": "float64", "i64": "int64"}.get(about["type"], "bool")
        count = int(numpy.prod(about["shape"], dtype=numpy.int64))
        size = numpy.dtype(kind).itemsize
        values = numpy.frombuffer(stream.read(count * size), dtype=kind)
        return torch.from_numpy(values.copy()).reshape(about["shape"])

    header["outputs"] = [tensor(about) for about in header["outputs"]]
    header["gradients"] = {
        name: None if about is None else tensor(about) for name, about in header["gradients"]
    }
    header["buffers"] = {name: tensor(about) for name, about in header["buffers"]}
    return header


def difference(found, expected, dtype):
    """The problem of a tensor, or None."""
    if list(found.shape) != list(expected.shape):
        return f"shape {list(found.shape)} for {list(expected.shape)}"
    kinds = [x.dtype.is_floating_point for x in (found, expected)]
    if kinds[0] != kinds[1] or (found.dtype == torch.bool) != (expected.dtype == torch.bool):
        return f"elements of type {found.dtype} for {expected.dtype}"
    if not kinds[0]:
        wrong = found.to(torch.int64) != expected.to(torch.int64)
    else:
        relative, absolute = TOLERANCES[dtype]
        found, expected = found.to(torch.float64), expected.to(torch.float64)
        finite = expected[expected.isfinite()]
        # A sum of large numbers that cancel is as exact as they are large.
        scale = 1.0
        if dtype == torch.float32 and finite.numel():
            scale = max(1.0, finite.abs().max().item())
        near = (found - expected).abs() <= absolute * scale + relative * expected.abs()
        wrong = ~(near | (found == expected) | (found.isnan() & expected.isnan()))
    if not wrong.any():
        return None
    at = wrong.nonzero()[0].tolist()
    number = int(wrong.sum())
    return f"{found[tuple(at)].item()} for {expected[tuple(at)].item()} at {at} ({number} of them)"


def problem(result, case, dtype):
    """The first difference between a result and PyTorch's, or None."""
    if len(result["outputs"]) != len(case.outputs):
        return f"value: {len(result['outputs'])} outputs for {len(case.outputs)}"
    for i, (found, expected) in enumerate(zip(result["outputs"], case.outputs)):
        if wrong := difference(found, expected, dtype):
            return f"value {i}: {wrong}"
    for name, expected in case.gradients.items():
        found = result["gradients"].get(name)
        if found is None:
            found = torch.zeros_like(expected)
        if wrong := difference(found, expected, dtype):
            return f"gradient of {name}: {wrong}"
    for name, expected in case.buffers.items():
        found = result["buffers"].get(name)
        wrong = "missing" if found is None else difference(found, expected, dtype)
        if wrong:
            return f"buffer {name}: {wrong}"
    return None


def judged(case, result):
    """The kind of a result, and a message about it."""
    if result["status"] != "ok":
        return result["status"], result["message"]
    wrong = problem(result, case, case.dtype)
    if wrong and case.again:
        # Where rounding is large, double precision says what is right.
        try:
            wrong = problem(result, case.again(), case.dtype) and wrong
        except Exception:
            pass
    return ("wrong", wrong) if wrong else ("equal", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["version", "compare"])
    parser.add_argument("--runner", help="Dendra's runner")
    parser.add_argument("--only", default="", help="entries whose names contain this expression")
    parser.add_argument("--limit", type=int, default=400, help="samples of an entry, at most")
    parser.add_argument("--page", help="the page to write")
    parser.add_argument("--findings", type=int, default=3, help="findings shown for an entry")
    arguments = parser.parse_args()
    if arguments.command == "version":
        print(json.dumps({"version": torch.__version__.split("+")[0]}))
        return
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    rows = rows_of(arguments.runner)
    wants = re.compile(arguments.only).search
    tally, missing = report.Tally(), []
    for dtype in (torch.float64, torch.float32):
        waiting = []
        for name, case in drawn(rows, dtype, wants, arguments.limit):
            if case is None:
                missing.append(name)
            elif isinstance(case, str):
                tally.note(name, "", "crashed", case, "")
            elif isinstance(case, tuple):
                case, why = case
                tally.note(name, rows[case.entry].family, "not expressible", why, case.about)
            else:
                waiting.append((name, case))
        print(f"{str(dtype)[6:]}: {len(waiting)} samples", file=sys.stderr)
        written = [case.written(strided) for _, case in waiting for strided in (False, True)]
        results = answers(arguments.runner, written)
        pairs = [(*item, strided) for item in waiting for strided in (False, True)]
        for (name, case, strided), result in zip(pairs, results, strict=True):
            kind, message = judged(case, result)
            about = f"{str(dtype)[6:]}{', strided' if strided else ''}: {case.about}"
            tally.note(name, rows[case.entry].family, kind, message, about)
    missing = list(dict.fromkeys(missing))
    report.shown(tally, missing, arguments.findings)
    if arguments.page:
        with open(arguments.page, "w", encoding="utf-8") as page:
            page.writelines(line + "\n" for line in report.page(tally, missing))


def drawn(rows, dtype, wants, limit):
    for family in (cases.operations, training.modules, training.optimizers, training.schedules):
        yield from family(rows, dtype, wants, limit)


if __name__ == "__main__":
    sys.exit(main())
