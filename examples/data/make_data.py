"""Makes up the data of the examples: `python examples/data/make_data.py`."""

import itertools
import pathlib
import random
import struct
import zlib

import numpy

HERE = pathlib.Path(__file__).parent
SIDE = 24


def flowers():
    """Measures in centimetres, with a mean and a deviation for each kind."""
    kinds = {
        "daisy": ([(1.8, 0.3), (0.5, 0.1), (18, 5)], ["white", "white", "pink"]),
        "poppy": ([(4.0, 0.6), (3.4, 0.6), (42, 8)], ["red", "red", "red", "pink"]),
        "tulip": ([(5.6, 0.7), (3.0, 0.5), (38, 7)], ["red", "yellow", "white", "pink"]),
    }
    rng = random.Random(2)
    rows = []
    for kind, (measures, colours) in kinds.items():
        for _ in range(50):
            values = [f"{max(rng.gauss(*measure), 0.1):.1f}" for measure in measures]
            rows.append(",".join([*values, rng.choice(colours), kind]))
    rng.shuffle(rows)
    header = "petal_length,petal_width,stem_length,colour,kind"
    (HERE / "flowers.csv").write_text("\n".join([header, *rows]) + "\n")


def png(pixels):
    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    image = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + image + chunk(b"IEND", b"")


def inside(kind, x, y):
    """How far within a shape of size 1 around the middle points lie."""
    if kind == "circle":
        return 1 - numpy.hypot(x, y)
    corners = {"square": 4, "triangle": 3}[kind]
    angles = numpy.pi / 2 + 2 * numpy.pi * numpy.arange(corners) / corners
    sides = [numpy.cos(angle) * x + numpy.sin(angle) * y for angle in angles]
    return numpy.cos(numpy.pi / corners) - numpy.max(sides, axis=0)


def pictures(each):
    rng = numpy.random.default_rng(1)
    y, x = numpy.mgrid[0:SIDE, 0:SIDE] + 0.5
    for kind in ["circle", "square", "triangle"]:
        folder = HERE / "shapes" / kind
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(each):
            size, angle = rng.uniform(6, 9), rng.uniform(-0.25, 0.25)
            middle = rng.uniform(size + 1, SIDE - size - 1, 2)
            u, v = (x - middle[0]) / size, (y - middle[1]) / size
            u, v = (
                numpy.cos(angle) * u + numpy.sin(angle) * v,
                numpy.cos(angle) * v - numpy.sin(angle) * u,
            )
            ink = numpy.clip(0.5 + size * inside(kind, u, v), 0, 1)
            # Few shades of grey make small files.
            pixels = (numpy.round(ink * 5) * 51).astype(numpy.uint8)
            (folder / f"{number:02}.png").write_bytes(png(pixels))


def reviews():
    rng = random.Random(1)
    things = ["film", "plot", "acting", "music", "ending", "dialogue", "camera work"]
    praise = ["wonderful", "great", "moving", "brilliant", "charming", "good"]
    blame = ["boring", "dreadful", "weak", "silly", "awful", "bad"]
    rows = []
    for thing, good, other in itertools.product(things, [True, False], range(12)):
        mine, theirs = (praise, blame) if good else (blame, praise)
        form = rng.choice(
            [
                "The {thing} was {mine}.",
                "What a {mine} {thing}!",
                "The {thing} was not {theirs} at all.",
                "Not a {theirs} {thing}, I found it {mine}.",
                "I thought it would be {theirs}, but the {thing} was {mine}.",
                "A {mine} and {mine2} {thing}.",
                "{mine}, above all the {thing}.",
            ]
        )
        words = {"mine2": rng.choice(mine), "mine": rng.choice(mine), "theirs": rng.choice(theirs)}
        text = form.format(thing=thing, **words)
        rows.append((text[0].upper() + text[1:], "good" if good else "bad"))
    rng.shuffle(rows)
    lines = ["review,verdict"] + [f'"{text}",{verdict}' for text, verdict in rows]
    (HERE / "reviews.csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    flowers()
    pictures(40)
    reviews()
