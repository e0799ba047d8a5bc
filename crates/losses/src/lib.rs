//! Loss functions for Dendra.
