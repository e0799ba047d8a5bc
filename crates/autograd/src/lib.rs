//! Reverse-mode automatic differentiation for Dendra: tape, variables, parameters, gradients.
