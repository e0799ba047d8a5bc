//! Layers, initialisers, Sequential and state dicts for Dendra.
