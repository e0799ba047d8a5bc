"""Writes the stubs of the functions that are generated from the native table.

    python stubs.py            writes python/dendra/{layers,optimizers,…}.pyi
    python stubs.py --check    compares them with the installed package

`cargo xtask python` does this.
"""

import sys
import textwrap
from pathlib import Path

from dendra._table import GROUPS, spelled, table, unreserved

FOLDER = Path(__file__).parent / "python" / "dendra"

TYPES = {
    "usize": "int",
    "isize": "int",
    "u32": "int",
    "u64": "int",
    "i64": "int",
    "f32": "float",
    "f64": "float",
    "bool": "bool",
    "String": "str",
    "Pair": "int | Sequence[int]",
    "SequentialBuilder": "Sequence[Layer]",
    "Schedule": "Schedule",
}


def annotation(rust, default):
    """The type of a setting in Python, by its type in Rust and its default."""
    if rust.startswith("Option<"):
        return f"{annotation(rust[len('Option<') : -1], None)} | None"
    if rust.startswith("Vec<"):
        return f"Sequence[{annotation(rust[len('Vec<') : -1], None)}]"
    if rust.startswith("["):
        return f"Sequence[{annotation(rust[1:].split(';')[0], None)}]"
    if rust.startswith("Sizes"):
        return "int | Sequence[int]"
    if rust.startswith("Margins"):
        return "int | Sequence[int] | Sequence[Sequence[int]]"
    if rust.startswith("Padding<"):
        return "int | Sequence[int] | str"
    if rust in TYPES:
        return TYPES[rust]
    if isinstance(default, str):
        return "str"
    if isinstance(default, bool):
        return "bool"
    if isinstance(default, (int, float)):
        return "float" if isinstance(default, float) else "int"
    return "Any"


def parameter(setting):
    text = f"{unreserved(setting['name'])}: {annotation(setting['type'], setting.get('default'))}"
    return f"{text} = {setting['default']!r}" if "default" in setting else text


def parameters(entry):
    """The parameters of a function, and whether there are any."""
    found = [parameter(argument) for argument in entry["arguments"]]
    keywords = [parameter({"default": ..., **setting}) for setting in entry["settings"]]
    keywords = [keyword.replace("= Ellipsis", "= ...") for keyword in keywords]
    if "method" in entry:
        keywords.append("name: str | None = None")
    return found + (["*", *keywords] if keywords else [])


def definition(name, parts, result, indent=""):
    line = f"{indent}def {name}({', '.join(parts)}) -> {result}: ..."
    if len(line) <= 96:
        return line
    body = textwrap.fill(
        ", ".join(part.replace(" ", "\0") for part in parts),
        width=96,
        initial_indent=indent + "    ",
        subsequent_indent=indent + "    ",
        break_long_words=False,
    ).replace("\0", " ")
    return f"{indent}def {name}(\n{body},\n{indent}) -> {result}: ..."


def stub(group):
    kind = GROUPS[group].__name__
    entries = table()[group]
    lines = []
    for entry in entries:
        lines.append(definition(spelled(entry), parameters(entry), kind))
    if group == "layers":
        lines += ["", "class LayerMethods:", "    def add(self, layer: Layer) -> Self: ..."]
        for entry in entries:
            parts = ["self", *parameters(entry)]
            lines.append(definition(entry["method"], parts, "Self", "    "))
    body = "\n".join(lines)
    used = sorted(
        name for name in {kind, "Layer", "Schedule"} if name in body and name != "Self"
    )
    head = [f'"""Written by stubs.py from the table of {group}."""', ""]
    if "Sequence" in body:
        head.append("from collections.abc import Sequence")
    typing = [name for name in ("Any", "Self") if name in body.replace("SelfNorm", "")]
    if "Any" in typing:
        head.append("from typing import Any")
    if group == "layers":
        head += ["", "from typing_extensions import Self"]
    head += ["", f"from ._table import {', '.join(used)}", ""]
    names = [spelled(entry) for entry in entries] + (["LayerMethods"] if group == "layers" else [])
    exported = textwrap.fill(
        ", ".join(f'"{name}"' for name in names), width=96, initial_indent="    ",
        subsequent_indent="    ",
    )
    return "\n".join([*head, f"__all__ = [\n{exported},\n]", "", body, ""])


def main():
    check = sys.argv[1:] == ["--check"]
    stale = []
    for group in GROUPS:
        path, text = FOLDER / f"{group}.pyi", stub(group)
        if check and (not path.exists() or path.read_text("utf-8") != text):
            stale.append(path.name)
        if not check:
            path.write_text(text, "utf-8")
    if stale:
        sys.exit(f"out of date: {', '.join(stale)}; `cargo xtask python --write-stubs` writes them")


if __name__ == "__main__":
    main()
