//! Trainer, metrics and progress for Dendra.
