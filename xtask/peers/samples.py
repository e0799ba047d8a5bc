"""The data that the peers train on: the same sizes and types as ours.

How long an epoch takes does not depend on what the samples show, so the generated sets are plain
noise, and noise stands in for MNIST where no folder is given.
"""

import gzip
import pathlib

import numpy


def regression_head():
    """1,000 samples of 5 features; the target is one number, 0 or 1."""
    generator = numpy.random.default_rng(0)
    inputs = generator.uniform(-1, 1, (1000, 5)).astype("float32")
    return inputs, (inputs.sum(axis=1, keepdims=True) > 0).astype("float32")


def binary_classifier():
    """3,000 samples of 2 features in two classes."""
    generator = numpy.random.default_rng(0)
    inputs = generator.normal(size=(3000, 2)).astype("float32")
    return inputs, (inputs.sum(axis=1) > 0).astype("int64")


def mnist(folder):
    """60,000 images of shape 28 x 28 in [0, 1], and their digits."""
    if folder is None:
        generator = numpy.random.default_rng(0)
        images = generator.integers(0, 256, (60000, 28, 28), dtype="uint8")
        labels = generator.integers(0, 10, 60000, dtype="uint8")
    else:
        images = _idx(folder, "train-images", 16).reshape(-1, 28, 28)
        labels = _idx(folder, "train-labels", 8)
    return images.astype("float32") / 255, labels.astype("int64")


def _idx(folder, name, header):
    """The bytes of an IDX file after its header, gzipped or not."""
    names = sorted(pathlib.Path(folder).glob(f"{name}*ubyte*"))
    if not names:
        raise SystemExit(f"{folder}: no file {name}*ubyte*")
    data = names[0].read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return numpy.frombuffer(data, dtype="uint8", offset=header)
