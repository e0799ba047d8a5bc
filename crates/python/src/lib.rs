//! Dendra in Python.
