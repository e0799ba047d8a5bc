"""The programs of the group `classic` with Dendra's Python package, beside `run_pytorch.py`.

    run_dendra.py version
    run_dendra.py classic CASE [CASE ...] --threads N [--data DIR]

Each result is one line of JSON: the seconds of the fastest of three epochs, with everything that a
call of `fit` does, and the least processor time of an epoch.
"""

import argparse
import json
import time

import dendra

import samples

EPOCHS = 3


def regression_head():
    layers = dendra.Sequential.input([5]).dense(10).relu().dense(10).relu().dense(1).sigmoid()
    return layers, "mse"


def binary_classifier():
    layers = dendra.Sequential.input([2]).dense(10).relu().dense(10).relu().dense(2)
    return layers, "cross_entropy"


def mnist_mlp():
    layers = dendra.Sequential.input([1, 28, 28]).flatten()
    return layers.dense(64).relu().dense(64).relu().dense(10), "cross_entropy"


def mnist_conv():
    layers = dendra.Sequential.input([1, 28, 28]).conv2d(32, 3).relu().flatten().dense(10)
    return layers, "cross_entropy"


def mnist_cnn():
    layers = dendra.Sequential.input([1, 28, 28]).conv2d(32, 3).relu().max_pool2d(2).flatten()
    return layers.dense(128).relu().dense(10), "cross_entropy"


PROGRAMS = {
    "regression_head": regression_head,
    "binary_classifier": binary_classifier,
    "mnist_mlp": mnist_mlp,
    "mnist_loop": mnist_mlp,
    "mnist_conv": mnist_conv,
    "mnist_cnn": mnist_cnn,
}


def classic(case, data):
    """Seconds and processor time for an epoch, the least of three."""
    if case.startswith("mnist"):
        images, targets = samples.mnist(data)
        inputs = images[:, None]
    else:
        inputs, targets = getattr(samples, case)()
    layers, loss = PROGRAMS[case]()
    model = layers.build(seed=42)
    model.compile(dendra.Adam(1e-3), loss)
    times = []
    for epoch in range(EPOCHS):
        start = time.perf_counter(), time.process_time()
        model.fit(inputs, targets, batch_size=32, seed=epoch, verbose=0)
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    seconds, processor = map(min, zip(*times))
    return {"seconds": seconds, "processor": processor}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("group", choices=["version", "classic"])
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--threads", type=int, default=dendra.num_threads())
    parser.add_argument("--data")
    arguments = parser.parse_args()
    dendra.set_num_threads(arguments.threads)
    if arguments.group == "version":
        print(json.dumps({"version": dendra.__version__}))
    for case in arguments.cases:
        print(json.dumps({"case": case, **classic(case, arguments.data)}), flush=True)


if __name__ == "__main__":
    main()
