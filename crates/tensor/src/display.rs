//! Printing: `{}` shows the values as ndarray does; `{:?}` adds element type
//! and shape.

use std::fmt;

use crate::element::Element;
use crate::tensor::Tensor;

impl<T: Element> fmt::Display for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.view(), f)
    }
}

impl<T: Element> fmt::Debug for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor<{}> {} ", T::NAME, self.shape())?;
        fmt::Display::fmt(&self.view(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_print_their_values() {
        let x = Tensor::from([[1.0, 2.5], [3.0, -4.0_f32]]);
        assert_eq!(x.to_string(), "[[1, 2.5],\n [3, -4]]");
        assert_eq!(format!("{:?}", Tensor::scalar(7_i64)), "Tensor<i64> [] 7");
        assert_eq!(format!("{x:.1}"), "[[1.0, 2.5],\n [3.0, -4.0]]");
    }
}
