"""Losses.

The functions are made of the native table; their types are in the stub beside this file.
"""

from ._table import functions

_functions = functions("losses")
globals().update(_functions)
__all__ = list(_functions)
