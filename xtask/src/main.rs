//! The project's own tool: `cargo xtask check`, `cargo xtask bench`.
fn main() {}
