"""What `cargo xtask bench --peers` runs for PyTorch. Each result is one line of JSON.

    run_pytorch.py version
    run_pytorch.py classic CASE --threads N [--data DIR]
    run_pytorch.py kernels CASE [CASE ...] --threads N
    run_pytorch.py sequence CASE [CASE ...] --threads N
    run_pytorch.py networks CASE --threads N

The programs are written as PyTorch's tutorials write them: a TensorDataset, a DataLoader, a
Module, an optimizer, the loop. Kernels and layers of sequences are timed by
torch.utils.benchmark. Networks train a step at a time on a batch in memory, with a fused optimizer
and scaled_dot_product_attention.
"""

import argparse
import json
import resource
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import benchmark
from torch.utils.data import DataLoader, TensorDataset

import elementwise
import networks
import samples

EPOCHS = 3


def regression_head():
    network = nn.Sequential(
        nn.Linear(5, 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 1), nn.Sigmoid()
    )
    return network, nn.MSELoss()


def binary_classifier():
    network = nn.Sequential(
        nn.Linear(2, 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 2)
    )
    return network, nn.CrossEntropyLoss()


def mnist_mlp():
    network = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10),
    )
    return network, nn.CrossEntropyLoss()


def mnist_conv():
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 26 * 26, 10)
    )
    return network, nn.CrossEntropyLoss()


def mnist_cnn():
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(32 * 13 * 13, 128), nn.ReLU(), nn.Linear(128, 10),
    )
    return network, nn.CrossEntropyLoss()


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
        images, digits = samples.mnist(data)
        dataset = TensorDataset(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(digits))
    else:
        dataset = TensorDataset(*map(torch.from_numpy, getattr(samples, case)()))
    loader = DataLoader(dataset, batch_size=32, shuffle=True)
    torch.manual_seed(0)
    network, loss_function = PROGRAMS[case]()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    network.train()

    times = []
    for _ in range(EPOCHS):
        start = time.perf_counter(), time.process_time()
        for inputs, targets in loader:
            loss = loss_function(network(inputs), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    seconds, processor = map(min, zip(*times))
    return {"seconds": seconds, "processor": processor}


def numbers(text):
    """`32x1x28x28` as a list."""
    return [int(number) for number in text.split("x")]


def settings(text):
    """`32x1x28x28,out=8,kernel=3` as the shape and a dictionary."""
    shape, *pairs = text.split(",")
    return numbers(shape), {name: int(value) for name, value in (p.split("=") for p in pairs)}


def matmul(text):
    m, k, n = numbers(text)
    a, b = torch.randn(m, k), torch.randn(k, n)
    return lambda: a @ b


def linear(text):
    samples, inputs, outputs = numbers(text)
    x = torch.randn(samples, inputs)
    weight, bias = torch.randn(outputs, inputs), torch.randn(outputs)
    return lambda: F.linear(x, weight, bias)


def convolution(text):
    shape, given = settings(text)
    kernel, groups = given["kernel"], given.get("groups", 1)
    options = {"stride": given["stride"], "padding": given["padding"], "groups": groups}
    inputs = torch.randn(shape)
    weight = torch.randn(given["out"], shape[1] // groups, kernel, kernel)
    gradient = torch.randn_like(F.conv2d(inputs, weight, **options))
    return inputs, weight, gradient, options


def conv2d(text):
    inputs, weight, _, options = convolution(text)
    bias = torch.randn(weight.shape[0])
    return lambda: F.conv2d(inputs, weight, bias, **options)


def conv2d_input_gradient(text):
    inputs, weight, gradient, options = convolution(text)
    return lambda: torch.nn.grad.conv2d_input(inputs.shape, weight, gradient, **options)


def conv2d_weight_gradient(text):
    inputs, weight, gradient, options = convolution(text)
    return lambda: torch.nn.grad.conv2d_weight(inputs, weight.shape, gradient, **options)


def pooling(function):
    def case(text):
        shape, given = settings(text)
        inputs = torch.randn(shape)
        return lambda: function(inputs, given["kernel"], given["stride"])

    return case


def batch_norm(text):
    inputs = torch.randn(numbers(text))
    scale, shift = torch.rand(inputs.shape[1]), torch.rand(inputs.shape[1])
    mean, variance = torch.zeros(inputs.shape[1]), torch.ones(inputs.shape[1])
    return lambda: F.batch_norm(inputs, mean, variance, scale, shift, training=True)


def batch_norm_gradient(text):
    inputs = torch.randn(numbers(text), requires_grad=True)
    scale, shift = (torch.rand(inputs.shape[1], requires_grad=True) for _ in range(2))
    with torch.enable_grad():
        output = F.batch_norm(inputs, None, None, scale, shift, training=True)
    given, cotangent = (inputs, scale, shift), torch.randn_like(inputs)
    return lambda: torch.autograd.grad(output, given, cotangent, retain_graph=True)


def unary(function):
    def case(text):
        inputs = torch.randn(numbers(text))
        return lambda: function(inputs)

    return case


KERNELS = {
    "matmul": matmul,
    "linear": linear,
    "conv2d": conv2d,
    "conv2d_input_gradient": conv2d_input_gradient,
    "conv2d_weight_gradient": conv2d_weight_gradient,
    "max_pool2d": pooling(F.max_pool2d),
    "avg_pool2d": pooling(F.avg_pool2d),
    "batch_norm": batch_norm,
    "batch_norm_gradient": batch_norm_gradient,
    "softmax": unary(lambda x: torch.softmax(x, -1)),
    "log_softmax": unary(lambda x: torch.log_softmax(x, -1)),
    "sum": unary(torch.sum),
    "sum_rows": unary(lambda x: torch.sum(x, 1)),
    "sum_columns": unary(lambda x: torch.sum(x, 0)),
    "max_rows": unary(lambda x: torch.amax(x, 1)),
}


def recurrent(kind):
    def make(width):
        layer = kind(width, width, batch_first=True)
        return layer, lambda x: layer(x)[0]

    return make


def attention(width):
    layer = nn.MultiheadAttention(width, HEADS, batch_first=True)

    def forward(x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return layer(x, x, x, attn_mask=mask, need_weights=False, is_causal=True)[0]

    return layer, forward


def transformer_layer(width):
    layer = nn.TransformerEncoderLayer(
        width, HEADS, 4 * width, dropout=0.0, batch_first=True, norm_first=True
    )

    def forward(x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return layer(x, src_mask=mask, is_causal=True)

    return layer, forward


def layer_norm(width):
    layer = nn.LayerNorm(width)
    return layer, layer


def embedding(width):
    layer = nn.Embedding(WORDS, width)
    return layer, layer


HEADS = 4
WORDS = 10_000

LAYERS = {
    "rnn": recurrent(nn.RNN),
    "lstm": recurrent(nn.LSTM),
    "gru": recurrent(nn.GRU),
    "attention": attention,
    "transformer_layer": transformer_layer,
    "layer_norm": layer_norm,
    "embedding": embedding,
}


def training_step(name, text):
    """The forward pass and all gradients, for the sum of the outputs."""
    samples, steps, width = numbers(text)
    layer, forward = LAYERS[name](width)
    if name == "embedding":
        inputs = torch.randint(WORDS, (samples, steps))
    else:
        inputs = torch.randn(samples, steps, width, requires_grad=True)

    def call():
        layer.zero_grad()
        inputs.grad = None
        forward(inputs).sum().backward()

    return call


def median(call, threads):
    """Seconds for a call, the median of half a second of runs."""
    timer = benchmark.Timer("call()", globals={"call": call}, num_threads=threads)
    return timer.blocked_autorange(min_run_time=0.5).median


def kernel(case, threads):
    name, text = case.split("/", 1)
    with torch.no_grad():
        if name in KERNELS:
            return median(KERNELS[name](text), threads)
        return median(elementwise.call(name, numbers(text)), threads)


def is_kernel(case):
    name = case.split("/", 1)[0]
    return name in KERNELS or name.removesuffix("_gradient") in elementwise.ROWS


def report(case, seconds, **figures):
    print(json.dumps({"case": case, "seconds": seconds, **figures}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("group", choices=["version", "classic", "kernels", "sequence", "networks"])
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--data")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.group == "version":
        print(json.dumps({"version": torch.__version__}))
    for case in arguments.cases:
        if arguments.group == "classic" and case in PROGRAMS:
            report(case, **classic(case, arguments.data))
        elif arguments.group == "kernels" and is_kernel(case):
            report(case, kernel(case, arguments.threads))
        elif arguments.group == "sequence" and case.split("/")[0] in LAYERS:
            report(case, median(training_step(*case.split("/", 1)), arguments.threads))
        elif arguments.group == "networks" and case.split("/")[0] in networks.NETWORKS:
            seconds = networks.fastest_step(case)
            memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            report(case, seconds, memory=memory)


if __name__ == "__main__":
    main()
