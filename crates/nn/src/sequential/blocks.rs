//! Layers that contain layers: nested networks, residual blocks and parallel
//! branches.

use std::fmt;

use dendra_autograd::{Parameters, Var};
use dendra_tensor::{Error, Float, Ops, Result, Shape};
use serde::{Deserialize, Serialize};

use super::own::state_of;
use super::{Input, Sequential, SequentialBuilder};
use crate::init::Source;
use crate::module::Module;
use crate::settings::Settings;

/// A residual block, which adds the input of a module f to its output: x + f(x).
/// Gradients pass through the addition unchanged (He et al., "Deep residual
/// learning for image recognition", 2016). f must preserve the shape.
///
/// The parameters have the same names as those of f. In a [`Sequential`], f is a
/// block of layers:
///
/// ```
/// use dendra_nn::tensor::Rng;
/// use dendra_nn::{Conv2d, Residual, Sequential};
///
/// let block = Residual::new(|block| {
///     block
///         .layer(Conv2d::lazy(8, 3).padding(1))
///         .batch_norm2d()
///         .relu()
///         .layer(Conv2d::lazy(8, 3).padding(1))
/// });
/// let model = Sequential::input([8, 14, 14]).layer(block).relu().build(&mut Rng::seed(42))?;
/// assert_eq!(*model.output_shape(), [8, 14, 14]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Residual<M>(
    /// The module f.
    pub M,
);

/// Parallel branches: modules with the same input, whose outputs are joined. The
/// name of a parameter starts with the index of its branch.
///
/// ```
/// use dendra_nn::tensor::Rng;
/// use dendra_nn::{Conv2d, Padding, Parallel, Sequential};
///
/// let inception = Parallel::concatenate(1)
///     .branch(|branch| branch.conv2d(8, 1).relu())
///     .branch(|branch| branch.layer(Conv2d::lazy(16, 3).padding(Padding::Same)).relu());
/// let model = Sequential::input([3, 14, 14]).layer(inception).build(&mut Rng::seed(42))?;
/// assert_eq!(*model.output_shape(), [24, 14, 14]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Parallel<M> {
    /// The modules of the branches.
    pub branches: Vec<M>,
    /// The operation that joins their outputs.
    pub join: Join,
}

/// The operation that joins the outputs of a [`Parallel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// Concatenates the outputs along an axis. Axis 0 is the batch axis, −1 the
    /// last axis.
    Concatenate(isize),
    /// Adds the outputs, which must have the same shape.
    Sum,
}

state_of! { [T: Float, M: Parameters<T>] Residual<M>: 0 }
state_of! { [T: Float, M: Parameters<T>] Parallel<M>: branches }

impl<T: Float, M: Module<T>> Module<T> for Residual<M> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let y = self.0.forward(x)?;
        check_kept(x.shape(), y.shape())?;
        x.add(&y)
    }
}

fn check_kept(input: &Shape, output: &Shape) -> Result<()> {
    if input == output {
        return Ok(());
    }
    let message = format!("the block must preserve the shape, but maps {input} to {output}");
    Err(Error::shape("Residual", message))
}

impl<T: Float, M: Module<T>> Module<T> for Parallel<M> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let outputs: Vec<Var<T>> =
            self.branches.iter().map(|branch| branch.forward(x)).collect::<Result<_>>()?;
        self.join.output(outputs.iter().map(Var::shape))?;
        match (self.join, &outputs[..]) {
            (Join::Concatenate(axis), outputs) => {
                Var::cat(&outputs.iter().collect::<Vec<_>>(), axis)
            }
            (Join::Sum, [first, others @ ..]) => {
                others.iter().try_fold(first.clone(), |sum, output| sum.add(output))
            }
            (Join::Sum, []) => Err(no_branch()),
        }
    }
}

fn no_branch() -> Error {
    Error::argument("Parallel", "expected at least one branch")
}

impl Join {
    /// Returns the shape of the joined output. The shapes include the batch axis.
    fn output<'a>(self, mut shapes: impl Iterator<Item = &'a Shape>) -> Result<Shape> {
        let first = shapes.next().ok_or_else(no_branch)?;
        let mut sizes = first.to_vec();
        let axis = match self {
            Self::Concatenate(axis) => Some(first.axis("Parallel", axis)?),
            Self::Sum => None,
        };
        for shape in shapes {
            let fits = |(index, (a, b)): (usize, (&usize, &usize))| Some(index) == axis || a == b;
            if shape.len() != first.len() || !first.iter().zip(shape.iter()).enumerate().all(fits) {
                let message = format!("cannot join outputs of shapes {first} and {shape}");
                return Err(Error::shape("Parallel", message));
            }
            if let Some(axis) = axis {
                sizes[axis] = sizes[axis].saturating_add(shape[axis]);
            }
        }
        Ok(sizes.into())
    }
}

/// The settings of a [`Sequential`] inside another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequentialSettings {
    layers: SequentialBuilder,
}

/// The settings of a [`Residual`] block of a [`Sequential`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidualSettings {
    block: SequentialBuilder,
}

/// The settings of [`Parallel`] branches of a [`Sequential`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParallelSettings {
    branches: Vec<SequentialBuilder>,
    join: Join,
}

/// Returns the layers that a closure adds to an empty network.
fn layers(add: impl FnOnce(SequentialBuilder) -> SequentialBuilder) -> SequentialBuilder {
    add(SequentialBuilder::new(Input::floats(Shape::scalar())))
}

/// Converts an error of an inner layer to an error of the block.
fn inside(kind: &str) -> impl Fn(Error) -> Error + '_ {
    move |error| Error::argument(kind, error.to_string())
}

impl SequentialSettings {
    /// Creates the settings from the layers that `block` adds to an empty network.
    pub(super) fn new(block: impl FnOnce(SequentialBuilder) -> SequentialBuilder) -> Self {
        Self { layers: layers(block) }
    }
}

impl From<SequentialBuilder> for SequentialSettings {
    fn from(layers: SequentialBuilder) -> Self {
        Self { layers }
    }
}

impl Residual<Sequential> {
    /// Creates the settings of a residual block. `block` adds the layers of f to an
    /// empty network.
    pub fn new(block: impl FnOnce(SequentialBuilder) -> SequentialBuilder) -> ResidualSettings {
        ResidualSettings { block: layers(block) }
    }
}

impl Parallel<Sequential> {
    /// Creates settings without branches, whose outputs are concatenated along an
    /// axis. The channels of images are axis 1.
    pub fn concatenate(axis: isize) -> ParallelSettings {
        ParallelSettings { branches: Vec::new(), join: Join::Concatenate(axis) }
    }

    /// Creates settings without branches, whose outputs are added.
    pub fn sum() -> ParallelSettings {
        ParallelSettings { branches: Vec::new(), join: Join::Sum }
    }
}

impl ParallelSettings {
    /// Adds a branch. `branch` adds its layers to an empty network. A branch
    /// without layers returns its input.
    #[must_use]
    pub fn branch(mut self, branch: impl FnOnce(SequentialBuilder) -> SequentialBuilder) -> Self {
        self.branches.push(layers(branch));
        self
    }
}

impl Settings for SequentialSettings {
    type Layer<T: Float> = Sequential<T>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        self.layers.infer(input).map_err(inside("Sequential"))
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Sequential<T>> {
        self.layers.clone().build_from(source).map_err(inside("Sequential"))
    }
}

impl Settings for ResidualSettings {
    type Layer<T: Float> = Residual<Sequential<T>>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        let output = self.block.infer(input).map_err(inside("Residual"))?;
        check_kept(input, &output)?;
        Ok(output)
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Residual<Sequential<T>>> {
        self.block.clone().build_from(source).map(Residual).map_err(inside("Residual"))
    }
}

impl Settings for ParallelSettings {
    type Layer<T: Float> = Parallel<Sequential<T>>;

    fn infer(&mut self, input: &Shape) -> Result<Shape> {
        let mut outputs: Vec<Shape> = Vec::new();
        for (index, branch) in self.branches.iter_mut().enumerate() {
            let output = branch
                .infer(input)
                .map_err(|error| Error::argument("Parallel", format!("branch {index}: {error}")))?;
            outputs.push([1].into_iter().chain(output.iter().copied()).collect());
        }
        if let (Join::Concatenate(axis), Some(first)) = (self.join, outputs.first())
            && first.axis("Parallel", axis)? == 0
        {
            return Err(Error::argument("Parallel", "cannot concatenate along the batch axis"));
        }
        Ok(self.join.output(outputs.iter())?[1..].into())
    }

    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Parallel<Sequential<T>>> {
        let mut build = |branch: &SequentialBuilder| branch.clone().build_from(source);
        let branches = self.branches.iter().map(&mut build).collect::<Result<_>>();
        Ok(Parallel { branches: branches.map_err(inside("Parallel"))?, join: self.join })
    }
}

impl<T: Float> fmt::Display for Sequential<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sequential of {}", counted(self.len(), "layer", "layers"))
    }
}

impl<T: Float> fmt::Display for Residual<Sequential<T>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Residual of {}", counted(self.0.len(), "layer", "layers"))
    }
}

impl<T: Float> fmt::Display for Parallel<Sequential<T>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parallel of {}", counted(self.branches.len(), "branch", "branches"))?;
        match self.join {
            Join::Concatenate(axis) => write!(f, ", joined along axis {axis}"),
            Join::Sum => f.write_str(", added"),
        }
    }
}

fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use dendra_tensor::{Rng, Tensor};

    use super::*;
    use crate::layers::{Linear, Padding};
    use crate::{Conv2d, load};

    fn build(builder: SequentialBuilder) -> Result<Sequential> {
        builder.build(&mut Rng::seed(1))
    }

    #[test]
    fn a_block_is_added_to_its_input() {
        let input = || Sequential::input([4]);
        let block = build(input().layer(Residual::new(|b| b.dense(4).tanh().dense(4)))).unwrap();
        let plain = build(input().dense(4).tanh().dense(4)).unwrap();
        let x = Tensor::normal([3, 4], 0.0, 1.0, &mut Rng::seed(2));
        let expected = plain.forward(&Var::new(x.clone())).unwrap().into_value() + &x;
        assert_eq!(block.forward(&Var::new(x)).unwrap().value(), &expected);
        let names: Vec<String> =
            block.named_parameters().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["0.0.weight", "0.0.bias", "0.2.weight", "0.2.bias"]);
        assert_eq!(format!("{block:?}"), "Sequential [N, 4] {\n    0: Residual of 3 layers\n}");
    }

    #[test]
    fn branches_see_the_same_input_and_are_joined() {
        let branches = |settings: ParallelSettings| {
            let settings = settings.branch(|b| b.dense(2).named("fc")).branch(|b| b);
            build(Sequential::input([2]).layer(settings))
        };
        let x = Var::new(Tensor::from([[1.0, 2.0]]));
        let joined = branches(Parallel::concatenate(1)).unwrap();
        assert_eq!(*joined.output_shape(), [4]);
        let joined = joined.forward(&x).unwrap().into_value().to_vec();
        assert_eq!(joined[2..], [1.0, 2.0]);
        let added = branches(Parallel::sum()).unwrap();
        let expected = [joined[0] + 1.0, joined[1] + 2.0];
        assert_eq!(added.forward(&x).unwrap().value().to_vec(), expected);
        assert_eq!(added.named_parameters()[0].0, "0.0.fc.weight");
    }

    #[test]
    fn they_hold_modules_of_any_kind() {
        let mut rng = Rng::seed(3);
        let mut linear = || Linear::new(3, 3).init(&mut rng).unwrap();
        let deep = Residual(Residual(linear()));
        let wide = Parallel { branches: vec![linear(), linear()], join: Join::Sum };
        let x = Var::new(Tensor::ones([2, 3]));
        assert_eq!(*deep.forward(&x).unwrap().shape(), [2, 3]);
        assert_eq!(*wide.forward(&x).unwrap().shape(), [2, 3]);
        assert_eq!(Parameters::<f32>::named_parameters(&wide)[3].0, "1.bias");
        let narrow = Residual(Linear::new(3, 1).init(&mut Rng::seed(0)).unwrap());
        let error = narrow.forward(&x).unwrap_err().to_string();
        assert_eq!(error, "Residual: the block must preserve the shape, but maps [2, 3] to [2, 1]");
    }

    #[test]
    fn they_are_saved_and_loaded() {
        let same = || Conv2d::lazy(2, 3).padding(Padding::Same);
        let branch = |b: SequentialBuilder| b.layer(Residual::new(|b| b.layer(same()).relu()));
        let sides = Parallel::concatenate(-3).branch(branch).branch(|b| b.conv2d(3, 1));
        let model = build(Sequential::input([2, 5, 4]).layer(sides).named("sides")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        model.save(&path).unwrap();
        let again = Sequential::load(&path).unwrap();
        assert_eq!(again.state_dict(), model.state_dict());
        assert_eq!(format!("{again:?}"), format!("{model:?}"));
        let mut other = again.clone();
        load(&mut other, &path).unwrap();
    }

    #[test]
    fn mistakes_are_told() {
        let message = |builder: SequentialBuilder| build(builder).unwrap_err().to_string();
        let input = || Sequential::input([4]);
        assert_eq!(
            message(input().layer(Residual::new(|b| b.dense(3)))),
            "layer 0 (Residual): the block must preserve the shape, but maps [4] to [3]"
        );
        assert_eq!(
            message(input().relu().layer(Residual::new(|b| b.conv2d(3, 1)))),
            "layer 1 (Residual): layer 0 (Conv2d): expected [C, H, W], got [4]"
        );
        assert!(message(input().layer(Residual::new(|b| b.named("x")))).contains("named(\"x\")"));
        assert!(message(input().layer(Parallel::sum())).contains("expected at least one branch"));
        let apart = Parallel::sum().branch(|b| b.dense(3)).branch(|b| b);
        assert!(message(input().layer(apart)).contains("outputs of shapes [1, 3] and [1, 4]"));
        let batch = Parallel::concatenate(0).branch(|b| b).branch(|b| b);
        assert!(message(input().layer(batch)).contains("along the batch axis"));
        let inner = Parallel::sum().branch(|b| b.dropout(2.0));
        assert!(message(input().layer(inner)).contains("branch 0: layer 0 (Dropout): expected a"));
    }
}
