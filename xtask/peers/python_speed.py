"""Training from Python: Dendra's package and PyTorch in turn, as a table.

    python_speed.py [CASE ...] [--rounds 3] [--threads N] [--data DIR]
                    [--dendra PYTHON] [--pytorch PYTHON]

Each round runs `run_dendra.py` and `run_pytorch.py` once for each program of the group `classic`.
The table has the medians of the rounds, and the median of the ratios of the rounds.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

CASES = ["regression_head", "binary_classifier", "mnist_mlp", "mnist_conv", "mnist_cnn"]
FOLDER = pathlib.Path(__file__).parent


def measure(python, script, case, arguments):
    """The line of a program, with the seconds and the processor time of an epoch."""
    command = [python, FOLDER / script, "classic", case, "--threads", str(arguments.threads)]
    command += ["--data", arguments.data] if arguments.data else []
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def shown(seconds):
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--data", help="the folder of MNIST; without it, both train on noise")
    parser.add_argument("--dendra", default=sys.executable, help="the Python that has dendra")
    parser.add_argument("--pytorch", default=sys.executable, help="the Python that has torch")
    arguments = parser.parse_args()

    print("| case | dendra | PyTorch | ratio | processor time, dendra | PyTorch | ratio |")
    print("|---|---|---|---|---|---|---|")
    for case in arguments.cases:
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(measure(arguments.dendra, "run_dendra.py", case, arguments))
            theirs.append(measure(arguments.pytorch, "run_pytorch.py", case, arguments))
        cells = [case]
        for figure in ["seconds", "processor"]:
            left, right = ([run[figure] for run in runs] for runs in (ours, theirs))
            ratio = statistics.median(b / a for a, b in zip(left, right))
            cells += [shown(statistics.median(left)), shown(statistics.median(right))]
            cells.append(f"{ratio:.2f}")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
