"""Functions for layers, optimizers, schedules, losses and metrics, generated from the native table.

The table comes from the sources of the native part, so that additions there appear here.
"""

from __future__ import annotations

import inspect
import json
import keyword
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import _dendra

__all__ = ["Layer", "Loss", "Metric", "Named", "Optimizer", "Schedule", "functions", "table"]


_groups: dict[str, list[dict[str, Any]]] = json.loads(_dendra.table())


def table() -> dict[str, list[dict[str, Any]]]:
    """The named objects by group; see ``_dendra.table``."""
    return _groups


def unreserved(name: str) -> str:
    """The name, for a keyword of Python without its last letter, like PyTorch's `lambd`."""
    return name[:-1] if keyword.iskeyword(name) else name


def plain(value: Any) -> Any:
    """A value for JSON: layers and other named objects by their settings."""
    if isinstance(value, Named):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # A NumPy array or number.
        return value.tolist()
    return value


class Named:
    """A layer, an optimizer, a schedule, a loss or a metric: its name and its settings."""

    __slots__ = ("kind", "settings")

    group = ""
    kind: str
    settings: dict[str, Any]

    def __init__(self, kind: str, settings: Mapping[str, Any]) -> None:
        self.kind = kind
        self.settings = dict(settings)
        self._check()

    def _check(self) -> None:
        _dendra.check(self.group, self.kind, dumps(self.settings))

    def to_json(self) -> dict[str, Any]:
        """The name and the settings in the format of the native part."""
        return {"name": self.kind, **plain(self.settings)}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{self.kind}({settings})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, self.settings)


class Layer(Named):
    """A planned layer, created by a function such as `dendra.Linear`."""

    __slots__ = ("name", "_layer")

    group = "layers"
    name: str | None

    def __init__(self, kind: str, settings: Mapping[str, Any]) -> None:
        settings = dict(settings)
        self.name = settings.pop("name", None)
        super().__init__(kind, settings)

    def _check(self) -> None:
        self._layer = json.loads(_dendra.layer(self.kind, dumps(self.settings)))

    def to_json(self) -> dict[str, Any]:
        """The planned layer, as stored in files."""
        name = {} if self.name is None else {"name": self.name}
        return {**name, "layer": self._layer}

    def __repr__(self) -> str:
        if self.name is None:
            return super().__repr__()
        return f"{super().__repr__()[:-1]}{', ' if self.settings else ''}name={self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        name = {} if self.name is None else {"name": self.name}
        return type(self), (self.kind, {**self.settings, **name})


class Optimizer(Named):
    """An optimizer, created by a function such as `dendra.Adam`."""

    __slots__ = ()
    group = "optimizers"


class Schedule(Named):
    """A learning rate schedule, created by a function such as `dendra.StepLR`."""

    __slots__ = ()
    group = "schedules"


class Loss(Named):
    """A loss, created by a function such as `dendra.CrossEntropy`."""

    __slots__ = ()
    group = "losses"


class Metric(Named):
    """A metric, created by a function such as `dendra.Accuracy`."""

    __slots__ = ()
    group = "metrics"


GROUPS: dict[str, type[Named]] = {
    kind.group: kind for kind in (Layer, Optimizer, Schedule, Loss, Metric)
}


def dumps(value: Any) -> str:
    """Converts to JSON, which has no infinities."""
    try:
        return json.dumps(plain(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"invalid setting: {error}") from None


def bind(entry: Mapping[str, Any], args: Iterable[Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, including the positional arguments by name."""
    names = [unreserved(argument["name"]) for argument in entry["arguments"]]
    args = list(args)
    if len(args) > len(names):
        expected = f"{len(names)} positional argument{'' if len(names) == 1 else 's'}"
        raise TypeError(f"{entry['name']} takes {expected}, got {len(args)}")
    bound = dict(zip(names, args))
    twice = bound.keys() & settings.keys()
    if twice:
        raise TypeError(f"{entry['name']} got {', '.join(sorted(twice))} twice")
    reserved = {unreserved(argument["name"]): argument["name"] for argument in entry["arguments"]}
    return {reserved.get(name, name): value for name, value in {**bound, **settings}.items()}


def parameters(entry: Mapping[str, Any]) -> list[inspect.Parameter]:
    """The parameters of an entry's function; an unknown default is an ellipsis."""
    found = [
        inspect.Parameter(
            unreserved(argument["name"]),
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=argument.get("default", inspect.Parameter.empty),
        )
        for argument in entry["arguments"]
    ]
    for setting in entry["settings"]:
        default = setting.get("default", ...)
        only = inspect.Parameter.KEYWORD_ONLY
        found.append(inspect.Parameter(setting["name"], only, default=default))
    if "method" in entry:
        found.append(inspect.Parameter("name", inspect.Parameter.KEYWORD_ONLY, default=None))
    return found


def docstring(entry: Mapping[str, Any]) -> str:
    """The documentation of an entry and its settings."""
    parts = [entry["doc"]]
    documented = [s for s in entry["arguments"] + entry["settings"] if s["doc"]]
    if documented:
        lines = ["Settings:", ""]
        for setting in documented:
            text = setting["doc"].replace("\n", "\n    ")
            lines.append(f"{setting['name']}\n    {text}")
        parts.append("\n".join(lines))
    return "\n\n".join(part for part in parts if part)


def spelled(entry: Mapping[str, Any]) -> str:
    """The name of an entry's function. `Sequential` itself is the class of a whole network."""
    name: str = entry["name"]
    return "SequentialBlock" if name == "Sequential" else name


def function(group: str, entry: Mapping[str, Any]) -> Callable[..., Any]:
    """The function that creates the object of an entry."""
    kind = GROUPS[group]

    def make(*args: Any, **settings: Any) -> Named:
        return kind(entry["name"], bind(entry, args, settings))

    make.__name__ = make.__qualname__ = spelled(entry)
    make.__module__ = f"dendra.{group}"
    make.__doc__ = docstring(entry)
    make.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        parameters(entry), return_annotation=kind.__name__
    )
    return make


def functions(group: str) -> dict[str, Callable[..., Any]]:
    """The functions of a group by name."""
    return {spelled(entry): function(group, entry) for entry in table()[group]}
