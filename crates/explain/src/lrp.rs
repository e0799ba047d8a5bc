//! Layer-wise relevance propagation.

use std::collections::BTreeMap;

use dendra_autograd::{RuleCall, RuleGradients, Tape, Var};
use dendra_nn::Module;
use dendra_tensor::{Error, Float, Ops, Result, Tensor};

use crate::attribution::Attribution;
use crate::batch::{for_each_sample, gradient_by};
use crate::method::Method;
use crate::target::Target;

/// How a layer distributes the relevance of its outputs among its inputs. With
/// the output z, the input x and the weight w of the layer, the relevance of
/// output k goes to input j in proportion to its contribution to z.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LrpRule {
    /// In proportion to x·w. The number, with the sign of z, is added to z
    /// (Bach et al., 2015).
    Epsilon(f64),
    /// Like epsilon with 1e-9, with the weight w + gamma · max(w, 0) (Montavon
    /// et al., 2019).
    Gamma(f64),
    /// Alpha times the positive contributions minus beta times the negative
    /// ones; alpha minus beta is 1 (Bach et al., 2015).
    AlphaBeta {
        /// The weight of the positive contributions.
        alpha: f64,
        /// The weight of the negative contributions.
        beta: f64,
    },
    /// In proportion to x·max(w, 0): Captum's `Alpha1_Beta0_Rule`. For inputs
    /// that are not negative, such as after a ReLU, and without a bias it is
    /// equal to alpha 1 and beta 0.
    ZPlus,
    /// For the first layer: inputs between `low` and `high`, such as 0 and 1 for
    /// pixels (Montavon et al., 2017).
    ZB {
        /// The smallest value of an input.
        low: f64,
        /// The largest value of an input.
        high: f64,
    },
}

/// Layer-wise relevance propagation: the score is distributed among the inputs,
/// layer by layer (Bach et al., 2015). Without biases and epsilon the sum is
/// conserved; [`completeness_gap`](Attribution::completeness_gap) is the part
/// that biases absorb.
///
/// The rules depend on the kind of operation. Linear layers, convolutions and
/// products with a constant matrix use the rule of their layer. Activations,
/// other element-wise functions and operations that only move elements pass the
/// relevance on. Sums, pooling and other linear operations distribute it in
/// proportion, and a product of two values that depend on the input distributes
/// it in halves.
///
/// ```
/// use dendra_explain::{Lrp, LrpRule, Method};
/// use dendra_nn::Sequential;
/// use dendra_nn::tensor::{Rng, Tensor};
///
/// let model = Sequential::input([4]).dense(8).relu().dense(3).build(&mut Rng::seed(0))?;
/// // The rule of layer `0`, and that of all others.
/// let lrp = Lrp::new(LrpRule::Epsilon(1e-6)).layer("0", LrpRule::Gamma(0.25));
/// let why = lrp.of(&model, &Tensor::<f32>::ones([1, 4]), 2)?;
/// assert_eq!(*why.values().shape(), [1, 4]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lrp {
    rule: LrpRule,
    layers: BTreeMap<String, LrpRule>,
}

impl Default for Lrp {
    fn default() -> Self {
        Self::new(LrpRule::Epsilon(STABLE))
    }
}

/// The number that keeps quotients finite.
const STABLE: f64 = 1e-9;

impl Lrp {
    /// Uses one rule for all layers.
    pub fn new(rule: LrpRule) -> Self {
        Self { rule, layers: BTreeMap::new() }
    }

    /// Sets the rule of a layer, or of all layers in a part of the model, by
    /// the path in front of the names of its parameters: `conv1` for
    /// `conv1.weight`.
    #[must_use]
    pub fn layer(mut self, path: impl Into<String>, rule: LrpRule) -> Self {
        self.layers.insert(path.into(), rule);
        self
    }

    /// The rule of the layer of a parameter, which is the rule with the longest
    /// matching path.
    fn rule_for(&self, parameter: &str) -> LrpRule {
        let is_of = |path: &str| parameter.strip_prefix(path).is_some_and(|r| r.starts_with('.'));
        let found = self.layers.iter().filter(|(path, _)| is_of(path));
        found.max_by_key(|(path, _)| path.len()).map_or(self.rule, |(_, rule)| *rule)
    }

    fn check(&self, parameters: &[&str]) -> Result<()> {
        for (path, rule) in &self.layers {
            let is_of =
                |name: &&str| name.strip_prefix(path.as_str()).is_some_and(|r| r.starts_with('.'));
            if !parameters.iter().any(is_of) {
                let known = parameters.join(", ");
                let message =
                    format!("no layer {path:?} has parameters; the parameters are {known}");
                return Err(Error::argument("Lrp", message));
            }
            rule.check()?;
        }
        self.rule.check()
    }
}

impl LrpRule {
    /// The number that is added to the output where weights are not changed,
    /// such as for normalisation.
    fn epsilon(self) -> f64 {
        match self {
            Self::Epsilon(epsilon) => epsilon,
            _ => STABLE,
        }
    }

    fn check(self) -> Result<()> {
        let is_valid = match self {
            Self::Epsilon(epsilon) => epsilon >= 0.0 && epsilon.is_finite(),
            Self::Gamma(gamma) => gamma >= 0.0 && gamma.is_finite(),
            Self::AlphaBeta { alpha, beta } => {
                beta >= 0.0 && (alpha - beta - 1.0).abs() < 1e-9 && alpha.is_finite()
            }
            Self::ZPlus => true,
            Self::ZB { low, high } => low < high && low.is_finite() && high.is_finite(),
        };
        match is_valid {
            true => Ok(()),
            false => Err(Error::argument("Lrp", format!("the settings of {self:?} are invalid"))),
        }
    }
}

impl<T: Float> Method<T> for Lrp {
    fn attribute(
        &self,
        model: &dyn Module<T>,
        x: &Tensor<T>,
        target: &Target,
    ) -> Result<Attribution<T>> {
        let parameters = model.named_parameters();
        self.check(&parameters.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())?;
        let rules: Vec<(Tensor<T>, LrpRule)> = parameters
            .iter()
            .map(|(name, param)| (param.value().clone(), self.rule_for(name)))
            .collect();
        let default = self.rule;
        let rule = move |call: &RuleCall<'_, T>| {
            let is_of = |parameter: &Tensor<T>| {
                call.inputs().iter().any(|input| input.value().shares_memory_with(parameter))
            };
            let found = rules.iter().find(|(parameter, _)| is_of(parameter));
            propagate(call, found.map(|(_, rule)| *rule), default)
        };
        // The pass starts with relevance 1; the result is linear in the
        // relevance.
        let (prediction, shares) = gradient_by(model, x, target, Some(Box::new(rule)))?;
        let values = shares * for_each_sample(&prediction, x.rank())?;
        let total = Some(prediction.clone());
        Ok(Attribution { values, prediction, baseline: None, total })
    }
}

/// The relevance of the inputs of an operation. `of_layer` is the rule of the
/// layer whose parameters it uses.
fn propagate<T: Float>(
    call: &RuleCall<'_, T>,
    of_layer: Option<LrpRule>,
    default: LrpRule,
) -> Result<Option<RuleGradients<T>>> {
    let inputs = call.inputs();
    match call.name() {
        // The relevance moves with the elements.
        "reshape" | "permute" | "slice" | "cat" | "gather" | "index_select" | "pad"
        | "diagonal" | "diag_embed" | "unfold_axis" | "scatter" | "index_add" | "where_mask" => {
            Ok(None)
        }
        "linear" | "conv2d" | "conv_transpose2d" | "matmul" if NEEDS.starts_with(call.needs()) => {
            weighted(call, of_layer.unwrap_or(default)).map(Some)
        }
        _ if call.is_elementwise() && inputs.len() == 1 => {
            Ok(Some(vec![Some(call.cotangent().clone())]))
        }
        _ => in_proportion(call, of_layer.map_or(STABLE, LrpRule::epsilon)).map(Some),
    }
}

/// The input depends on the sample; weight and bias do not.
const NEEDS: [bool; 3] = [true, false, false];

/// relevance / (z + epsilon · sign of z), where the sign of 0 is 1.
fn quotient<T: Float>(relevance: &Tensor<T>, z: &Tensor<T>, epsilon: f64) -> Result<Tensor<T>> {
    let plus = z.add_scalar(epsilon);
    let minus = z.add_scalar(-epsilon);
    relevance.div(&minus.where_mask(&z.lt_scalar(T::ZERO), &plus)?)
}

/// Input times the gradient of relevance / output: for a linear operation, the
/// relevance in proportion to each input's contribution to the output.
fn in_proportion<T: Float>(call: &RuleCall<'_, T>, epsilon: f64) -> Result<RuleGradients<T>> {
    let inputs = call.inputs();
    let quotient = quotient(call.cotangent().value(), call.output().value(), epsilon)?;
    let gradients = call.gradients_for(&Var::new(quotient))?;
    // Each factor of a product gets a part of the whole output.
    let is_product = matches!(call.name(), "mul" | "matmul" | "div");
    let factors = call.needs().iter().filter(|&&needed| needed && is_product).count().max(1);
    let relevance = |(gradient, input): (Option<Var<T>>, &Var<T>)| {
        let gradient = gradient?.into_value();
        Some(Var::new((gradient * input.value()).mul_scalar(1.0 / factors as f64)))
    };
    Ok(gradients.into_iter().zip(&inputs).map(relevance).collect())
}

/// The rule for an operation with inputs x, weight and optional bias.
fn weighted<T: Float>(call: &RuleCall<'_, T>, rule: LrpRule) -> Result<RuleGradients<T>> {
    let inputs = call.inputs();
    let x = inputs[0].value();
    let weight = inputs[1].value();
    let bias = inputs.get(2).map(Var::value);
    let relevance = call.cotangent().value();
    let (positive, negative) = (weight.clamp_min(0.0), weight.clamp_max(0.0));
    let part = |x: &Tensor<T>, weight: &Tensor<T>, bias: Option<&Tensor<T>>| {
        Part::of(call, x, weight, bias)
    };
    let no_bias = bias.map(|bias| Tensor::zeros(bias.shape()));
    let no_bias = no_bias.as_ref();
    let value = match rule {
        LrpRule::Epsilon(epsilon) => return in_proportion(call, epsilon),
        LrpRule::Gamma(gamma) => {
            let part = part(x, &(weight + &positive.mul_scalar(gamma)), bias)?;
            part.relevance(&quotient(relevance, part.z(), STABLE)?)?
        }
        LrpRule::ZPlus => {
            let part = part(x, &positive, bias)?;
            part.relevance(&quotient(relevance, part.z(), STABLE)?)?
        }
        LrpRule::AlphaBeta { alpha, beta } => {
            let (above, below) = (x.clamp_min(0.0), x.clamp_max(0.0));
            let side = |with_above: &Tensor<T>,
                        with_below: &Tensor<T>,
                        bias: Option<&Tensor<T>>| {
                let parts = [part(&above, with_above, bias)?, part(&below, with_below, no_bias)?];
                let quotient = quotient(relevance, &(parts[0].z() + parts[1].z()), STABLE)?;
                let [above, below] = parts.map(|part| part.relevance(&quotient));
                above?.add(&below?)
            };
            let up = bias.map(|bias| bias.clamp_min(0.0));
            let down = bias.map(|bias| bias.clamp_max(0.0));
            let gain = side(&positive, &negative, up.as_ref())?.mul_scalar(alpha);
            match beta > 0.0 {
                true => gain - side(&negative, &positive, down.as_ref())?.mul_scalar(beta),
                false => gain,
            }
        }
        LrpRule::ZB { low, high } => {
            let constant = |value: f64| Tensor::full(x.shape(), T::from_f64(value));
            let whole = part(x, weight, no_bias)?;
            let low = part(&constant(low), &positive, no_bias)?;
            let high = part(&constant(high), &negative, no_bias)?;
            let z = whole.z() - low.z() - high.z();
            let quotient = quotient(relevance, &z, STABLE)?;
            whole.relevance(&quotient)? - low.relevance(&quotient)? - high.relevance(&quotient)?
        }
    };
    Ok(vec![Some(Var::new(value)), None, None].into_iter().take(inputs.len()).collect())
}

/// The operation on other values, and the relevance of its input.
struct Part<T: Float> {
    x: Var<T>,
    z: Var<T>,
}

impl<T: Float> Part<T> {
    fn of(
        call: &RuleCall<'_, T>,
        x: &Tensor<T>,
        weight: &Tensor<T>,
        bias: Option<&Tensor<T>>,
    ) -> Result<Self> {
        let x = Tape::evaluation().leaf(x.clone());
        let weight = Var::new(weight.clone());
        let bias = bias.map(|bias| Var::new(bias.clone()));
        let inputs: Vec<&Var<T>> = [&x, &weight].into_iter().chain(&bias).collect();
        let z = call.apply(&inputs)?;
        Ok(Self { x, z })
    }

    fn z(&self) -> &Tensor<T> {
        self.z.value()
    }

    /// x times the gradient of ⟨quotient, z⟩.
    fn relevance(&self, quotient: &Tensor<T>) -> Result<Tensor<T>> {
        let gradient = self.z.vjp(quotient, &self.x)?;
        Ok(gradient * self.x.value())
    }
}
