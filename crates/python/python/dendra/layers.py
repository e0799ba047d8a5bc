"""Layers: functions that create a planned layer from its settings.

The functions are generated from the native table; their types are in the stub file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ._table import Layer, bind, docstring, functions, parameters, table

if TYPE_CHECKING:
    from typing_extensions import Self

_functions = functions("layers")
globals().update(_functions)
__all__ = list(_functions)


def method(entry: Mapping[str, Any]) -> Callable[..., Any]:
    """The method that adds a layer of a kind."""

    def add(self: Any, *args: Any, **settings: Any) -> Any:
        return self.add(Layer(entry["name"], bind(entry, args, settings)))

    add.__name__ = entry["method"]
    add.__qualname__ = f"LayerMethods.{entry['method']}"
    add.__doc__ = docstring(entry)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    add.__signature__ = inspect.Signature([own, *parameters(entry)])  # type: ignore[attr-defined]
    return add


class LayerMethods:
    """A method for each kind of layer, which adds the layer and returns the builder."""

    def add(self, layer: Layer) -> Self:
        """Adds a layer."""
        raise NotImplementedError


for _entry in table()["layers"]:
    setattr(LayerMethods, _entry["method"], method(_entry))
__all__.append("LayerMethods")
