//! The bilinear layer.

use std::fmt;

use dendra_autograd::{Param, Var};
use dendra_derive::{Parameters, Setters};
use dendra_tensor::{Error, Float, Ops, Result, Rng};

use crate::context;
use crate::init::{Fans, Init, Source};

/// The bilinear map `y[o] = x₁ᵀ·W[o]·x₂ + b[o]` of two inputs.
///
/// | | shape |
/// |---|---|
/// | first input | `[…, in1_features]` |
/// | second input | `[…, in2_features]` |
/// | output | `[…, out_features]` |
/// | `weight` | `[out_features, in1_features, in2_features]` |
/// | `bias` | `[out_features]` |
///
/// Both are initialised with U(±1/√in1_features). Because the layer has two
/// inputs, it is not a [`Module`](crate::Module) and cannot be part of a
/// [`Sequential`](crate::Sequential).
///
/// ```
/// use dendra_nn::Bilinear;
/// use dendra_nn::autograd::Var;
/// use dendra_nn::tensor::{Rng, Tensor};
///
/// let layer = Bilinear::new(20, 30, 40).init(&mut Rng::seed(42))?;
/// let (a, b) = (Var::new(Tensor::ones([8, 20])), Var::new(Tensor::ones([8, 30])));
/// assert_eq!(*layer.forward(&a, &b)?.shape(), [8, 40]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct Bilinear<T: Float = f32> {
    /// W, of shape `[out_features, in1_features, in2_features]`.
    pub weight: Param<T>,
    /// b, of shape `[out_features]`.
    pub bias: Option<Param<T>>,
}

impl Bilinear {
    /// Settings of a layer from two inputs to `out_features` values.
    pub fn new(in1_features: usize, in2_features: usize, out_features: usize) -> BilinearSettings {
        BilinearSettings::with_defaults([out_features, in1_features, in2_features])
    }
}

/// The settings of a [`Bilinear`] layer.
#[derive(Clone, Debug, PartialEq, Setters)]
pub struct BilinearSettings {
    shape: [usize; 3],
    /// Whether the layer has a bias.
    #[set(default = true)]
    bias: bool,
}

impl BilinearSettings {
    /// Makes the layer with parameters drawn from `rng`.
    ///
    /// # Errors
    ///
    /// When the weight does not fit into memory.
    pub fn init(&self, rng: &mut Rng) -> Result<Bilinear> {
        self.init_as(rng)
    }

    /// Like [`init`](Self::init), for any number type.
    ///
    /// # Errors
    ///
    /// Like [`init`](Self::init).
    pub fn init_as<T: Float>(&self, rng: &mut Rng) -> Result<Bilinear<T>> {
        let [out_features, in1_features, _] = self.shape;
        let fans = Fans { fan_in: in1_features, fan_out: out_features };
        let mut source = Source::Random(rng);
        let weight = source.param(Init::pytorch(), self.shape, fans, &"Bilinear")?;
        let bias = match self.bias {
            true => Some(source.param(Init::pytorch(), [out_features], fans, &"Bilinear")?),
            false => None,
        };
        Ok(Bilinear { weight, bias })
    }
}

impl<T: Float> Bilinear<T> {
    /// The output for a pair of inputs.
    ///
    /// # Errors
    ///
    /// When an input does not have the number of features of the layer, or the
    /// inputs differ in another axis.
    pub fn forward(&self, a: &Var<T>, b: &Var<T>) -> Result<Var<T>> {
        let explain = |error| context::in_layer(error, context::path(&self.weight), self);
        let fits = |x: &Var<T>, features| x.shape().last() == Some(&features);
        let &[outputs, in1, in2] = &self.weight.value().shape()[..] else {
            return Err(explain(Error::shape("Bilinear", "the weight has no three axes")));
        };
        let rows = |x: &Var<T>| x.shape().split_last().map(|(_, rows)| rows.to_vec());
        if !fits(a, in1) || !fits(b, in2) || rows(a) != rows(b) {
            let (a, b) = (a.shape(), b.shape());
            let message = format!("expected […, {in1}] and […, {in2}], got {a} and {b}");
            return Err(explain(Error::shape("Bilinear", message)));
        }
        let mut shape = rows(a).unwrap_or_default();
        let count: usize = shape.iter().product();
        shape.push(outputs);
        let bilinear = || {
            let weight = self.weight.on(a).permute(&[1, 0, 2])?.reshape([in1, outputs * in2])?;
            let left = a.reshape([count, in1])?.matmul(&weight)?.reshape([count, outputs, in2])?;
            let y = left.matmul(&b.reshape([count, in2, 1])?)?.reshape(shape)?;
            match &self.bias {
                Some(bias) => y.add(&bias.on(a)),
                None => Ok(y),
            }
        };
        bilinear().map_err(explain)
    }
}

impl<T: Float> fmt::Display for Bilinear<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weight.value().shape()[..] {
            [outputs, in1, in2] => write!(f, "Bilinear {in1}, {in2} → {outputs}"),
            _ => f.write_str("Bilinear"),
        }
    }
}

#[cfg(test)]
mod tests {
    use dendra_autograd::{Parameters, check_gradient};
    use dendra_tensor::Tensor;

    use super::*;

    #[test]
    fn the_gradients_of_inputs_and_shape_are_right() {
        let mut rng = Rng::seed(1);
        let layer = Bilinear::new(3, 2, 4).init_as::<f64>(&mut rng).unwrap();
        let a = Tensor::normal([5, 2, 3], 0.0, 1.0, &mut rng);
        let b = Tensor::normal([5, 2, 2], 0.0, 1.0, &mut rng);
        check_gradient(|v| layer.forward(&v[0], &v[1]), &[a, b]).unwrap();
        assert_eq!(layer.parameter_count(), 4 * 3 * 2 + 4);
        assert_eq!(layer.to_string(), "Bilinear 3, 2 → 4");
    }

    #[test]
    fn inputs_that_do_not_fit_are_told() {
        let layer = Bilinear::new(3, 2, 4).bias(false).init(&mut Rng::seed(0)).unwrap();
        let message = |a: &[usize], b: &[usize]| {
            let [a, b] = [a, b].map(|shape| Var::new(Tensor::zeros(shape)));
            layer.forward(&a, &b).unwrap_err().to_string()
        };
        assert_eq!(
            message(&[5, 3], &[4, 2]),
            "Bilinear 3, 2 → 4: expected […, 3] and […, 2], got [5, 3] and [4, 2]"
        );
        message(&[5, 2], &[5, 2]);
        message(&[], &[5, 2]);
    }
}
