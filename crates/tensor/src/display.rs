//! Printing: `{}` shows the values in nested brackets, and long axes without
//! their middle, as ndarray does; `{:?}` adds element type and shape. `{:#}`
//! leaves out nothing.

use std::fmt;

use crate::element::Element;
use crate::tensor::Tensor;

/// Tensors of fewer elements are shown whole.
const MANY: usize = 500;

impl<T: Element> fmt::Display for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(f, "{}{}", "[".repeat(self.rank()), "]".repeat(self.rank()));
        }
        let (buffer, offset) = self.storage();
        let strides = self.strides();
        let whole = f.alternate() || self.len() < MANY;
        let show = &mut |f: &mut fmt::Formatter<'_>, index: isize| {
            fmt::Display::fmt(&buffer[index as usize], f)
        };
        brackets(f, self.shape(), &strides, whole, offset as isize, 0, show)
    }
}

/// Shows the elements below one index of the first `depth` axes, whose first
/// element has this offset.
fn brackets(
    f: &mut fmt::Formatter<'_>,
    shape: &[usize],
    strides: &[isize],
    whole: bool,
    offset: isize,
    depth: usize,
    show: &mut dyn FnMut(&mut fmt::Formatter<'_>, isize) -> fmt::Result,
) -> fmt::Result {
    let Some(&length) = shape.get(depth) else { return show(f, offset) };
    let below = shape.len() - depth - 1;
    // Rows and columns are cut to ten elements, other axes to six.
    let edge = if below < 2 { 5 } else { 3 };
    let most = if below < 2 { 11 } else { 6 };
    let cut = if whole || length <= most { length } else { edge };
    f.write_str("[")?;
    let mut index = 0;
    while index < length {
        if index > 0 {
            match below {
                0 => f.write_str(", ")?,
                _ => write!(f, ",\n{}{}", "\n".repeat(below - 1), " ".repeat(depth + 1))?,
            }
        }
        if index == cut {
            f.write_str("...")?;
            index = length - edge;
            continue;
        }
        let offset = offset + index as isize * strides[depth];
        brackets(f, shape, strides, whole, offset, depth + 1, show)?;
        index += 1;
    }
    f.write_str("]")
}

impl<T: Element> fmt::Debug for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor<{}> {} ", T::NAME, self.shape())?;
        fmt::Display::fmt(self, f)
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

    #[cfg(feature = "ndarray")]
    #[test]
    fn tensors_print_as_arrays_of_ndarray_do() {
        let shapes: [&[usize]; 10] = [
            &[],
            &[3],
            &[0],
            &[2, 0, 3],
            &[2, 3, 2],
            &[600],
            &[12, 50],
            &[11, 60],
            &[7, 12, 12],
            &[8, 7, 2, 13],
        ];
        for shape in shapes {
            let x = Tensor::<i64>::arange(shape.iter().product()).reshape(shape.to_vec()).unwrap();
            let turned = x.permute(&(0..x.rank() as isize).rev().collect::<Vec<_>>()).unwrap();
            for x in [x, turned] {
                assert_eq!(x.to_string(), x.view().to_string());
                assert_eq!(format!("{x:#}"), format!("{:#}", x.view()));
                assert_eq!(format!("{x:4}"), format!("{:4}", x.view()));
            }
        }
    }
}
