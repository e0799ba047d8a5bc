"""The time of Captum's integrated gradients, beside `main.rs`."""

import time

import torch
from captum.attr import IntegratedGradients
from torch import nn

NETWORKS = {
    "mnist_mlp": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(784, 128), nn.ReLU(),
        nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
    ),
    "mnist_cnn": lambda: nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(5408, 128), nn.ReLU(), nn.Linear(128, 10),
    ),
}

torch.set_num_threads(1)
for name, network in NETWORKS.items():
    method = IntegratedGradients(network().eval())
    for images in [1, 8]:
        x = torch.rand(images, 1, 28, 28)
        method.attribute(x, target=3, n_steps=50)
        times = []
        for _ in range(15):
            start = time.perf_counter()
            method.attribute(x, target=3, n_steps=50)
            times.append((time.perf_counter() - start) * 1e3)
        print(name, images, f"{sorted(times)[len(times) // 4]:.2f}")
