"""Schedules: learning rates that change with steps or epochs.

The functions are made of the native table; their types are in the stub beside this file.
"""

from ._table import functions

_functions = functions("schedules")
globals().update(_functions)
__all__ = list(_functions)
