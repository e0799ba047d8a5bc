//! Networks in eight bits: faster, and in a quarter of the size.
//!
//! [`Quantizer`] looks at a trained network and at data, and makes a [`Quantised`]
//! network of it:
//!
//! ```
//! use dendra_nn::Sequential;
//! use dendra_quant::{Observer, Quantizer, Scheme};
//! use dendra_tensor::{Rng, Tensor};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("digits-int8.safetensors");
//! let rng = &mut Rng::seed(1);
//! let model = Sequential::input([1, 8, 8])
//!     .conv2d(8, 3)
//!     .batch_norm2d()
//!     .relu()
//!     .flatten()
//!     .dense(10)
//!     .named("head")
//!     .build(rng)?;
//! let data = Tensor::<f32>::uniform([100, 1, 8, 8], 0.0, 1.0, rng);
//!
//! let mut quantizer = Quantizer::of(&model, &data)?;
//! quantizer.observe(&data)?;
//! quantizer.set_observer(Observer::Percentile(99.99));
//! println!("{}", quantizer.sensitivity(&data)?);
//! quantizer.keep_float(["head"])?;
//! let quantised = quantizer.finish(Scheme::Static)?;
//! quantised.save(&path)?;
//! assert_eq!(*quantised.predict(&data)?.shape(), [100, 10]);
//! # Ok(())
//! # }
//! ```
//!
//! - [`Scheme`] says what becomes integers: weights and activations with fixed
//!   ranges or with those of each sample, or weights alone in 8 or 4 bits.
//! - [`Observer`] says how ranges follow from data.
//! - [`aware`] trains networks that know of the rounding.
//! - [`kernels`] has the loops over bytes for AVX2, AVX-512 VNNI, NEON and any
//!   CPU, which give the same bits.
//!
//! `dendra-onnx` writes quantised networks for other runtimes, `dendra-deploy`
//! opens their files, and the command `dendra quantize` makes them.
//!
//! # How bytes mean numbers
//!
//! An activation is `(byte − zero) · scale`, a weight `integer · scale`, with a
//! unit for each filter. A layer sums products exactly in 32 bits, adds its bias as
//! an integer in units of the product, multiplies by one `f32` and rounds, halves
//! to the even number. ONNX Runtime does the same operations in the same order.
//!
//! Weights have seven bits by default (−63 ..= 63): then AVX2 can sum several
//! products in 16 bits. [`Quantizer::use_all_bits_of_weights`] makes them finer.

mod affine;
pub mod aware;
mod engine;
mod few_bits;
mod file;
pub mod kernels;
mod layers;
mod observe;
mod plan;
mod quantised;
mod quantizer;
mod sensitivity;
mod values;
mod weights;
mod work;

pub use affine::Affine;
pub use few_bits::FewBits;
pub use observe::Observer;
pub use quantised::{IntegerLayer, Quantised};
pub use quantizer::{Quantizer, Scheme};
pub use sensitivity::{LayerSensitivity, Sensitivity};
pub use weights::LayerWeights;
