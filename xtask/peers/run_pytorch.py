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
import math
import resource
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import benchmark
from torch.utils.data import DataLoader, TensorDataset

import elementwise
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
    """Seconds for an epoch, the least of three."""
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
        start = time.perf_counter()
        for inputs, targets in loader:
            loss = loss_function(network(inputs), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return min(times)


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


WORDS_OF_TEXT = 65


def conv_norm(inputs, outputs, kernel, activation=None, **options):
    layers = [
        nn.Conv2d(inputs, outputs, kernel, bias=False, **options), nn.BatchNorm2d(outputs)
    ]
    return nn.Sequential(*layers, *([activation(inplace=True)] if activation else []))


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = conv_norm(inputs, outputs, 1, stride=stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


def resnet18_network():
    layers, width = [conv_norm(3, 64, 3, nn.ReLU, padding=1)], 64
    for channels, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            layers.append(BasicBlock(width, channels, stride))
            width = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        layers = [conv_norm(inputs, hidden, 1, nn.ReLU6)] if expansion > 1 else []
        depthwise = {"stride": stride, "padding": 1, "groups": hidden}
        layers.append(conv_norm(hidden, hidden, 3, nn.ReLU6, **depthwise))
        layers.append(conv_norm(hidden, outputs, 1))
        self.layers = nn.Sequential(*layers)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.layers(x) if self.is_residual else self.layers(x)


def mobilenet_v2_network():
    layers, width = [conv_norm(3, 32, 3, nn.ReLU6, stride=2, padding=1)], 32
    for expansion, channels, blocks, first in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
        (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):
        for index in range(blocks):
            stride = first if index == 0 else 1
            layers.append(InvertedResidual(width, channels, stride, expansion))
            width = channels
    layers += [conv_norm(320, 1280, 1, nn.ReLU6), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(1280, 10))


def perceptron_network():
    return nn.Sequential(
        nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True),
        nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True),
        nn.Linear(256, 1),
    )


class Reader(nn.Module):
    def __init__(self, width, layers):
        super().__init__()
        self.embedding = nn.Embedding(WORDS_OF_TEXT, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, WORDS_OF_TEXT)

    def forward(self, words):
        return self.head(self.lstm(self.embedding(words))[0])


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        samples, steps, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(samples, steps, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.projection(y.transpose(1, 2).reshape(samples, steps, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self, layers, heads, width, context):
        super().__init__()
        self.tokens = nn.Embedding(WORDS_OF_TEXT, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, WORDS_OF_TEXT, bias=False)
        for weight in (self.tokens.weight, self.positions.weight, self.head.weight):
            nn.init.normal_(weight, std=0.02)

    def forward(self, words):
        places = torch.arange(words.shape[1])
        x = self.tokens(words) + self.positions(places)
        return self.head(self.norm(self.blocks(x)))


def sgd(network):
    return torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)


def adam(network):
    return torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)


def adamw(network):
    return torch.optim.AdamW(network.parameters(), lr=3e-4, weight_decay=0.1, fused=True)


def images(network):
    def case(shape):
        return network(), sgd, torch.randn(shape), torch.randint(10, shape[:1]), F.cross_entropy

    return case


def text(network, optimizer):
    def case(shape):
        def loss(logits, targets):
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

        words, targets = torch.randint(WORDS_OF_TEXT, (2, *shape))
        return network(shape[1]), optimizer, words, targets, loss

    return case


def perceptron(shape):
    return perceptron_network(), adam, torch.randn(shape), torch.randn(shape[0], 1), F.mse_loss


NETWORKS = {
    "mobilenet_v2": images(mobilenet_v2_network),
    "lstm": text(lambda _: Reader(256, 2), adam),
    "gpt_6x384": text(lambda context: Gpt(6, 6, 384, context), adamw),
    "resnet18": images(resnet18_network),
    "resnet18_inference": images(resnet18_network),
    "gpt_4x128": text(lambda context: Gpt(4, 4, 128, context), adamw),
    "perceptron": perceptron,
}


def network_step(name, text):
    """A step on a batch in memory, of training or of inference."""
    network, optimizer, inputs, targets, loss_function = NETWORKS[name](numbers(text))
    if name.endswith("_inference"):
        network.eval()

        def infer():
            with torch.inference_mode():
                return network(inputs).sum().item()

        return infer
    network.train()
    optimizer = optimizer(network)

    def train():
        optimizer.zero_grad()
        loss = loss_function(network(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return train


def fastest_step(case):
    """Seconds of the fastest step; the loss of a network that trains must fall."""
    torch.manual_seed(0)
    name, text = case.split("/", 1)
    step = network_step(name, text)
    first = step()
    start, seconds = time.perf_counter(), []
    while len(seconds) < 6 or time.perf_counter() - start < 1.8:
        began = time.perf_counter()
        last = step()
        seconds.append(time.perf_counter() - began)
        assert math.isfinite(last), last
    assert name.endswith("_inference") or last < first, (first, last)
    return min(seconds[1:])


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
            report(case, classic(case, arguments.data))
        elif arguments.group == "kernels" and is_kernel(case):
            report(case, kernel(case, arguments.threads))
        elif arguments.group == "sequence" and case.split("/")[0] in LAYERS:
            report(case, median(training_step(*case.split("/", 1)), arguments.threads))
        elif arguments.group == "networks" and case.split("/")[0] in NETWORKS:
            seconds = fastest_step(case)
            memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            report(case, seconds, memory=memory)


if __name__ == "__main__":
    main()
