//! Activations as layers.

mod along_axis;
mod elementwise;
mod learned;

pub use along_axis::*;
pub use elementwise::*;
pub use learned::*;

/// Defines activations with settings and without state. `new` takes the
/// settings in the order of the fields.
macro_rules! with_settings {
    ($(
        $(#[$attribute:meta])*
        $name:ident {$(
            $(#[doc = $setting_doc:literal])*
            $setting:ident: $type:ty
        ),+}
        infer |$this:ident, $input:ident| $output:expr;
        forward |$x:ident| $result:expr;
    )*) => {$(
        #[derive(
            Clone, Copy, Debug, PartialEq, dendra_derive::Parameters, serde::Serialize,
            serde::Deserialize,
        )]
        #[parameters(skip)]
        #[serde(deny_unknown_fields)]
        $(#[$attribute])*
        pub struct $name {$(
            $setting: $type,
        )+}

        impl $name {
            /// Makes the layer from its settings:
            ///
            $(
                #[doc = concat!("- `", stringify!($setting), "`:")]
                $(#[doc = $setting_doc])*
            )+
            pub fn new($($setting: $type),+) -> Self {
                Self { $($setting),+ }
            }
        }

        own_settings!($name: |$this, $input| $output);

        impl<T: dendra_tensor::Float> crate::Module<T> for $name {
            fn forward(
                &self,
                $x: &dendra_autograd::Var<T>,
            ) -> dendra_tensor::Result<dendra_autograd::Var<T>> {
                let Self { $($setting),+ } = *self;
                let result: dendra_tensor::Result<dendra_autograd::Var<T>> = $result;
                result.map_err(|error| crate::context::in_layer(error, None, self))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let settings = [$(self.$setting.to_string()),+];
                write!(f, "{} {}", stringify!($name), settings.join(", "))
            }
        }
    )*};
}
use with_settings;

/// The default settings, which are PyTorch's.
macro_rules! defaults {
    ($($name:ident($($default:expr),+);)*) => {$(
        impl Default for $name {
            fn default() -> Self {
                Self::new($($default),+)
            }
        }
    )*};
}
use defaults;

#[cfg(test)]
mod tests {
    use dendra_autograd::Var;
    use dendra_tensor::{Shape, Tensor};

    use super::along_axis::axis_of;
    use super::*;
    use crate::Module;

    #[test]
    fn settings_reach_the_function() {
        let x = Var::new(Tensor::from([-2.0, 1.0]));
        let first = |layer: &dyn Module<f64>| layer.forward(&x).unwrap().value().to_vec()[0];
        assert_eq!(first(&LeakyReLU::new(0.5)), -1.0);
        assert_eq!(first(&ELU::new(3.0)), 3.0 * ((-2.0_f64).exp() - 1.0));
        let difference = first(&GELU::default()) - first(&GELU::new(Approximation::Tanh));
        assert!(difference != 0.0 && difference.abs() < 1e-3, "{difference}");
        assert!((first(&Softmax::default()) - 1.0 / (1.0 + 3.0_f64.exp())).abs() < 1e-15);
        assert_eq!(first(&LogSoftmax::new(0)), first(&LogSoftmax::default()));
        assert_eq!(first(&Identity), -2.0);
    }

    #[test]
    fn a_missing_axis_is_told() {
        let x = Var::new(Tensor::<f32>::zeros([2, 3]));
        let error = Softmax::new(2).forward(&x).unwrap_err().to_string();
        assert_eq!(error, "Softmax 2: there is no axis 2 in shape [2, 3]");
        assert!(axis_of("Softmax", 1, &Shape::from([3])).is_ok());
        assert!(axis_of("Softmax", 2, &Shape::from([3])).is_err());
        assert!(axis_of("Softmax", -3, &Shape::from([3])).is_err());
    }

    #[test]
    fn softplus_is_linear_above_its_threshold() {
        let x = Var::new(Tensor::from([1.0, 3.0_f64]));
        let y = Softplus::new(2.0, 5.0).forward(&x).unwrap().value().to_vec();
        assert!((y[0] - (2.0_f64.exp() + 1.0).ln() / 2.0).abs() < 1e-15);
        assert_eq!(y[1], 3.0);
        assert_eq!(Softplus::default().to_string(), "Softplus 1, 20");
    }
}
