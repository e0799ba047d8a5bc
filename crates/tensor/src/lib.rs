//! Tensors, kernels and differentiable operations of the Dendra deep-learning framework.
