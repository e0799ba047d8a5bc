//! Deep learning in pure Rust: train, evaluate, save and deploy neural networks on the CPU.
