"""Learning rate schedules, by step or by epoch.

The functions are generated from the native table; their types are in the stub file.
"""

from ._table import functions

_functions = functions("schedules")
globals().update(_functions)
__all__ = list(_functions)
