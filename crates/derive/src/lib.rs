//! #[derive(Parameters)] for Dendra models.
