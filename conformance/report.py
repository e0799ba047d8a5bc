"""What the comparison found, as a table and as a page."""

import collections

import torch

import scope

KINDS = ["equal", "on purpose", "wrong", "refused", "not expressible", "crashed"]


class Tally:
    """The results of all samples, by entry."""

    def __init__(self):
        self.counts = collections.defaultdict(collections.Counter)
        self.families = {}
        self.found = collections.defaultdict(list)
        self.purposes = collections.defaultdict(collections.Counter)

    def note(self, entry, family, kind, message, about):
        if kind != "equal" and (why := scope.purpose(entry, kind, message)):
            kind = "on purpose"
            self.purposes[why][entry] += 1
        self.counts[entry][kind] += 1
        self.families.setdefault(entry, family)
        if kind not in ("equal", "on purpose"):
            self.found[entry].append((kind, message, about))


def findings(tally, limit):
    """The first few different findings of each entry."""
    for entry, found in tally.found.items():
        kinds = collections.Counter(kind for kind, _, _ in found)
        total = sum(tally.counts[entry].values())
        yield f"{entry}: {', '.join(f'{n} {kind}' for kind, n in kinds.items())} of {total}"
        seen = set()
        for kind, message, about in sorted(found, key=lambda item: KINDS.index(item[0])):
            if (kind, message[:30]) not in seen and len(seen) < limit:
                seen.add((kind, message[:30]))
                yield f"    {kind}: {message[:200]}  [{about[:160]}]"


def shown(tally, missing, limit):
    for line in [*findings(tally, limit), "", *table(tally)]:
        print(line)
    missing = [entry for entry in missing if scope.reason(entry) is None]
    if missing:
        print("without a counterpart:", " ".join(missing))


def table(tally):
    families = collections.defaultdict(list)
    for entry in tally.counts:
        families[tally.families[entry]].append(entry)
    yield f"| family | entries | samples | {' | '.join(KINDS)} |"
    yield "| --- |" + " ---: |" * (len(KINDS) + 2)
    for family, entries in families.items():
        yield line(tally, family, entries)
    yield line(tally, "all", list(tally.counts))


def line(tally, name, entries):
    counts = sum((tally.counts[entry] for entry in entries), collections.Counter())
    cells = [len(entries), counts.total(), *(counts[kind] for kind in KINDS)]
    return f"| {name} | " + " | ".join(f"{cell:,}" for cell in cells) + " |"


def page(tally, missing):
    """The page docs/conformance.md."""
    version = torch.__version__.split("+")[0]
    yield from [
        "# Conformance with PyTorch",
        "",
        f"How Dendra's values and gradients compare with those of PyTorch {version} on the samples",
        "that PyTorch tests itself with: its tables of operations (`op_db`), modules (`module_db`)",
        "and optimizers (`optim_db`), and settings of all its schedules. This page is what",
        "`cargo xtask conformance` found, which needs a Python with PyTorch.",
        "",
        "Every sample is computed in double and in single precision, and both with contiguous",
        "tensors and with views that have gaps and another order of axes. Its outputs, the",
        "gradients of all inputs and parameters from random cotangents, and a module's buffers",
        "after a step must agree: to 10⁻⁷ in double precision, relative and absolute, and to",
        "10⁻⁵ in single precision, where a value that near to PyTorch's in double precision counts",
        "too. Infinities and NaN must be at the same places.",
        "",
        "- **on purpose**: differs for a reason given below.",
        "- **wrong**: a value, gradient or buffer is another.",
        "- **refused**: Dendra returns an error where PyTorch computes.",
        "- **not expressible**: the entry's counterpart has no such setting.",
        "- **crashed**: a panic or the end of the process.",
        "",
        *table(tally),
        "",
        "## What differs on purpose",
        "",
        *(purposes(tally) or ["Nothing."]),
        "",
        "## What is left",
        "",
    ]
    left = collections.defaultdict(collections.Counter)
    for entry, found in tally.found.items():
        for kind, message, _ in found:
            left[entry][(kind, general(message))] += 1
    for entry, kinds in sorted(left.items()):
        for (kind, message), count in sorted(kinds.items()):
            yield f"- `{entry}`, {count} {kind}: {message}"
    yield from ["", "## Entries without a counterpart", ""]
    by_reason = collections.defaultdict(list)
    for entry in missing:
        by_reason[scope.reason(entry)].append(f"`{entry}`")
    open_entries = by_reason.pop(None, [])
    yield from wrapped("- Missing", open_entries or ["none"])
    for why, entries in sorted(by_reason.items()):
        yield from wrapped(f"- Out of scope: {why}", entries)


def purposes(tally):
    lines = []
    for why, entries in sorted(tally.purposes.items()):
        counts = [f"`{entry}` ({n})" for entry, n in sorted(entries.items())]
        lines += wrapped(f"- {why.rstrip('.')}", counts)
    return lines


def general(message):
    """A message without its numbers, so that like findings are counted together."""
    import re

    message = re.sub(r"\[[^\]]*\]", "[…]", message.replace("\n", " "))
    message = re.sub(r"-?\d+(\.\d+)?(e[-+]?\d+)?", "…", message)
    return message[:120].replace("|", "\\|").replace("<", "\\<")


def wrapped(head, entries):
    lines, text = [], f"{head}:"
    for index, entry in enumerate(entries):
        word = entry + ("," if index + 1 < len(entries) else ".")
        if len(text) + len(word) + 1 > 100:
            lines.append(text)
            text = " " + " " + word
        else:
            text += " " + word
    return [*lines, text]
