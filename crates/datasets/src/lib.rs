//! Data sets, loaders and generators for Dendra.
