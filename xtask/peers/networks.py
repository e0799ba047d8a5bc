"""The networks of `cargo xtask bench networks --peers`, as users of PyTorch write them."""

import math
import time

import torch
import torch.nn.functional as F
from torch import nn

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
    sizes = [int(size) for size in text.split("x")]
    network, optimizer, inputs, targets, loss_function = NETWORKS[name](sizes)
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
