//! Gradients of each sample of a batch.
//!
//! Where axis 0 of a value holds the samples, its cotangent already holds the
//! cotangent of each sample. Samples are summed only where such a value is
//! combined with one that all samples share, such as a weight. There,
//! `rules.rs` computes one gradient for each sample instead.

mod rules;

use std::collections::HashMap;

use dendra_tensor::ops::{Cotangents, Ops, Recorded, SampleGradient, squared_norms};
use dendra_tensor::{Error, Float, Result, Shape, Tensor};
use smallvec::SmallVec;

use crate::backward::{Borrowed, Passing, Restored};
use crate::gradients::{Gradients, Update};
use crate::param::{Param, ParamId};
use crate::tape::{Node, Tape};
use crate::var::Var;

/// The gradients of each sample of a batch with respect to all parameters.
#[derive(Debug)]
pub struct SampleGradients<T: Float = f32> {
    tape: Tape<T>,
    loss: T,
    samples: usize,
    parameters: Vec<(ParamId, Tensor<T>)>,
    updates: Vec<Update<T>>,
}

impl<T: Float> SampleGradients<T> {
    /// The number of samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The gradients with respect to a parameter, `[samples, …parameter]`;
    /// `None` when the loss does not depend on it.
    pub fn get(&self, param: &Param<T>) -> Option<&Tensor<T>> {
        self.parameters.iter().find(|(id, _)| *id == param.id()).map(|(_, gradient)| gradient)
    }

    /// The Euclidean norm of each sample's gradient with respect to all
    /// parameters together, `[samples]`.
    pub fn norms(&self) -> Tensor<T> {
        let mut squared = Tensor::zeros([self.samples]);
        for (_, gradient) in &self.parameters {
            squared += &squared_norms(gradient);
        }
        squared.sqrt()
    }

    /// The sum of the samples' gradients, each first scaled down to a norm of
    /// at most `max_norm`, as in differentially private training (Abadi et al.,
    /// "Deep learning with differential privacy", 2016).
    ///
    /// # Errors
    ///
    /// Returns an error if `max_norm` is not a positive number.
    pub fn clipped_sum(self, max_norm: f64) -> Result<Gradients<T>> {
        let weights = clip_weights(&self.norms(), max_norm)?.reshape([1, self.samples])?;
        let sum = |(id, each): (ParamId, Tensor<T>)| {
            let shape: Shape = each.shape()[1..].into();
            let rows = each.reshape([self.samples, shape.elements()])?;
            Ok((id, weights.matmul(&rows)?.reshape(shape)?))
        };
        let parameters = self.parameters.into_iter().map(sum).collect::<Result<_>>()?;
        Ok(Gradients::new(self.tape, self.loss, parameters, Vec::new(), self.updates))
    }
}

/// Gradients of each sample. Axis 0 of the inputs holds the samples, each as
/// one row or as several adjacent rows, such as sequences. The loss is a vector
/// with one element for each sample, or a scalar that is the sum or mean of the
/// samples over axis 0 or a fused loss. For a mean of N samples, each sample's
/// part is 1/N of the gradient of its own loss, so that the parts always sum up
/// to the gradient.
impl<T: Float> Var<T> {
    /// The gradients of each sample's loss with respect to all parameters.
    /// Consumes the record of the tape.
    ///
    /// It needs memory for N gradients, and the time to write them. Linear
    /// layers, convolutions, embeddings, normalisation and element-wise
    /// operations compute the gradients of all samples at once. Any other
    /// operation on a shared value is computed once more for each sample or, if
    /// it cannot be divided into samples, N times for the whole batch; this is
    /// the case for recurrent layers.
    ///
    /// Measured on two busy cores for 64 samples, including the forward pass:
    /// for a perceptron 784–128–128–10, all gradients take 97 ms, a loop over
    /// the samples 195 ms, a plain gradient 3 ms, and the norms alone 2 ms. For a
    /// network of two convolutions it is 101, 189, 88 and 105 ms.
    ///
    /// # Errors
    ///
    /// Returns an error if the loss has another form, a parameter influences it
    /// in another way than through the samples, an operation mixes samples (batch
    /// normalisation in training mode), or hooks are registered. Also returns the
    /// errors of `backward`.
    ///
    /// ```
    /// use dendra_autograd::{Param, Tape};
    /// use dendra_tensor::{Ops, Tensor};
    ///
    /// let weight = Param::new(Tensor::from([[1.0, -1.0_f32]]));
    /// let x = Tape::training(0, 0).input(Tensor::from([[1.0, 2.0], [3.0, 4.0], [0.0, 0.5]]));
    /// let losses = x.linear(&weight.on(&x), None)?.flatten(0, -1)?.mul_scalar(2.0);
    /// let gradients = losses.backward_per_sample()?;
    /// let each = Tensor::from([[[2.0, 4.0]], [[6.0, 8.0]], [[0.0, 1.0]]]);
    /// assert_eq!(gradients.get(&weight), Some(&each));
    /// assert_eq!(gradients.norms().to_vec()[1..], [10.0, 1.0]);
    /// let sum = gradients.clipped_sum(1.0)?;
    /// assert!((sum.get(&weight).unwrap().to_vec()[1] - 2.694).abs() < 1e-3);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    pub fn backward_per_sample(&self) -> Result<SampleGradients<T>> {
        let tape = self.sampled_tape()?;
        let passing = tape.begin_unwatched_pass()?;
        let batch = tape.batch(self)?;
        let found = tape.pass_samples(&batch, Wanted::Gradients)?;
        drop(passing);
        let (_, updates) = tape.take_record();
        Ok(SampleGradients {
            tape: tape.clone(),
            loss: self.value().sum().item()?,
            samples: batch.samples,
            parameters: found.gradients,
            updates,
        })
    }

    /// The Euclidean norm of each sample's gradient with respect to all
    /// parameters together, `[samples]`. The tape keeps its record.
    ///
    /// The gradients of the weights of linear layers, convolutions and
    /// embeddings are not stored. For a parameter that is used several times,
    /// the gradients are stored until all are known.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`backward_per_sample`](Self::backward_per_sample).
    pub fn per_sample_norms(&self) -> Result<Tensor<T>> {
        let tape = self.sampled_tape()?;
        let _passing = tape.begin_unwatched_pass()?;
        let batch = tape.batch(self)?;
        Ok(tape.pass_samples(&batch, Wanted::Norms)?.squared.sqrt())
    }

    /// The sum of the samples' gradients, each first scaled down to a norm of
    /// at most `max_norm`. The result is that of
    /// [`SampleGradients::clipped_sum`]; see
    /// [`backward_weighted`](Self::backward_weighted) for how it is computed.
    /// Consumes the record of the tape.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`backward_per_sample`](Self::backward_per_sample),
    /// and an error if `max_norm` is not a positive number.
    pub fn backward_clipped(&self, max_norm: f64) -> Result<Gradients<T>> {
        self.backward_weighted(&mut |norms| clip_weights(norms, max_norm))
    }

    /// The sum of the samples' gradients, each multiplied by a weight.
    /// `weights` computes the weights `[samples]` from the norms of the samples'
    /// gradients, `[samples]`. Consumes the record of the tape.
    ///
    /// One pass computes the norms, and keeps the gradients of the values that
    /// operations compute from parameters; with these, the operations then
    /// compute the weighted gradients of the parameters (Bu et al.,
    /// "Differentially private optimization on large foundation models", 2023).
    /// The gradients of single samples are not stored. Where a parameter is used
    /// several times, is inside a checkpoint, or is changed before it meets the
    /// samples, a second pass computes the gradient of the weighted sum of the
    /// losses instead (Lee and Kifer, "Scaling up differentially private deep
    /// learning with fast per-example gradient clipping", 2021).
    ///
    /// # Errors
    ///
    /// Returns the errors of [`backward_per_sample`](Self::backward_per_sample)
    /// and of `weights`, and an error if `weights` returns another shape. The
    /// tape keeps its record if `weights` fails.
    ///
    /// ```
    /// use dendra_autograd::{Param, Tape};
    /// use dendra_tensor::{Ops, Tensor};
    ///
    /// let weight = Param::new(Tensor::from([[1.0, -1.0_f32]]));
    /// let x = Tape::training(0, 0).input(Tensor::from([[3.0, 4.0], [0.0, 0.5]]));
    /// let losses = x.linear(&weight.on(&x), None)?.flatten(0, -1)?;
    /// // Gradients of unit length.
    /// let gradients = losses.backward_weighted(&mut |norms| Ok(norms.reciprocal()))?;
    /// let sum = gradients.get(&weight).unwrap().to_vec();
    /// assert!((sum[0] - 0.6).abs() < 1e-6 && (sum[1] - 1.8).abs() < 1e-6);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    pub fn backward_weighted(
        &self,
        weights: &mut dyn FnMut(&Tensor<T>) -> Result<Tensor<T>>,
    ) -> Result<Gradients<T>> {
        let tape = self.sampled_tape()?;
        let passing = tape.begin_unwatched_pass()?;
        let batch = tape.batch(self)?;
        let found = tape.pass_samples(&batch, Wanted::WeightedSum)?;
        drop(passing);
        let weights = weights(&found.squared.sqrt())?;
        if weights.shape()[..] != [batch.samples] {
            let (expected, got) = (batch.samples, weights.shape());
            let message = format!("expected weights of shape [{expected}], got {got}");
            return Err(Error::shape("backward_weighted", message));
        }
        let loss = self.value().sum().item()?;
        let Some(kept) = found.kept else {
            let cotangent = weigh(batch.cotangent, &weights)?;
            let record = tape.shared.record();
            record.check_idle()?;
            return tape.consume(record, loss, batch.node, cotangent);
        };
        let (nodes, updates) = tape.take_record();
        let mut parameters = Vec::new();
        for Kept { node, parameters: of, cotangent } in kept {
            let Node::Operation(call) = &nodes[node] else { continue };
            let needs: SmallVec<[bool; 3]> = of.iter().map(Option::is_some).collect();
            let gradients = call.vjp(&needs, weigh(cotangent, &weights)?);
            parameters.extend(of.into_iter().zip(gradients).filter_map(|(id, g)| Some((id?, g?))));
        }
        Ok(Gradients::new(tape.clone(), loss, parameters, Vec::new(), updates))
    }

    fn sampled_tape(&self) -> Result<&Tape<T>> {
        let tape = self.tape().filter(|_| self.node().is_some());
        let tape = tape.ok_or_else(|| {
            Error::tape("the loss depends on no parameter of a tape, so there is no gradient")
        })?;
        tape.refuse_if_tracing().map(|()| tape)
    }
}

/// The factors that limit the samples' gradients to this norm.
fn clip_weights<T: Float>(norms: &Tensor<T>, max_norm: f64) -> Result<Tensor<T>> {
    if !(max_norm > 0.0 && max_norm.is_finite()) {
        let message = format!("max_norm must be a positive number, got {max_norm}");
        return Err(Error::argument("clipped_sum", message));
    }
    let max_norm = T::from_f64(max_norm);
    Ok(norms.map(|norm| if norm > max_norm { max_norm / norm } else { T::ONE }))
}

/// The rows of each sample multiplied by its weight.
fn weigh<T: Float>(mut x: Tensor<T>, weights: &Tensor<T>) -> Result<Tensor<T>> {
    let length = rules::by_sample(&x, weights.len())?.len() / weights.len();
    if length > 0 {
        for (rows, weight) in x.make_mut().chunks_exact_mut(length).zip(weights.to_vec()) {
            rows.iter_mut().for_each(|x| *x *= weight);
        }
    }
    Ok(x)
}

/// The value at which the samples of a loss are summed.
struct Batch<T: Float> {
    node: usize,
    /// The gradient of the loss, with the samples along axis 0.
    cotangent: Tensor<T>,
    samples: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Gradients,
    Norms,
    /// The norms, and what the weighted sum of the gradients needs.
    WeightedSum,
}

struct Found<T: Float> {
    gradients: Vec<(ParamId, Tensor<T>)>,
    squared: Tensor<T>,
    /// `None` when these operations do not give the gradients of all parameters.
    kept: Option<Vec<Kept<T>>>,
}

/// An operation on parameters that are used only there.
struct Kept<T: Float> {
    node: usize,
    /// The parameter that each input is, if any.
    parameters: SmallVec<[Option<ParamId>; 3]>,
    /// The gradient of the output, with the samples along axis 0.
    cotangent: Tensor<T>,
}

impl<T: Float> Tape<T> {
    fn begin_unwatched_pass(&self) -> Result<Passing<'_, T>> {
        match self.begin_pass()? {
            (passing, None) => Ok(passing),
            _ => {
                Err(Error::tape("per-sample gradients do not support hooks and retained gradients"))
            }
        }
    }

    fn batch(&self, loss: &Var<T>) -> Result<Batch<T>> {
        let fail = |what: &str| {
            Err(Error::tape(format!(
                "per-sample gradients need a loss for each sample, of shape [N], or a scalar that \
                 is a sum or mean of the samples; {what}"
            )))
        };
        let Some(mut node) = loss.node() else { return fail("got a constant") };
        let mut cotangent = Tensor::ones(loss.shape());
        if loss.value().rank() > 1 || loss.value().is_empty() {
            return fail(&format!("got shape {}", loss.shape()));
        }
        let record = self.shared.record();
        while cotangent.rank() == 0 {
            let Node::Operation(call) = &record.nodes[node] else {
                return fail("this scalar is not, or is inside a checkpoint");
            };
            let needs: SmallVec<[bool; 3]> = call.parents().iter().map(Option::is_some).collect();
            let mut inputs = call.parents().iter().enumerate();
            let parent = inputs.find_map(|(index, parent)| Some((index, (*parent)?)));
            let (Some((index, parent)), 1) = (parent, needs.iter().filter(|need| **need).count())
            else {
                return fail("this scalar depends on several values, such as a penalty");
            };
            let Some(gradient) = call.vjp(&needs, cotangent).swap_remove(index) else {
                return fail("this scalar has no gradient");
            };
            (node, cotangent) = (parent, gradient);
        }
        let samples = cotangent.shape()[0];
        match samples {
            0 => fail("got no samples"),
            _ => Ok(Batch { node, cotangent, samples }),
        }
    }

    /// Ends the record, and returns its nodes and updates.
    fn take_record(&self) -> (Vec<Node<T>>, Vec<Update<T>>) {
        let mut record = self.shared.record();
        record.finished = true;
        (std::mem::take(&mut record.nodes), std::mem::take(&mut record.updates))
    }

    fn pass_samples(&self, batch: &Batch<T>, wanted: Wanted) -> Result<Found<T>> {
        let (samples, shared) = (batch.samples, &self.shared);
        let mut found = Found {
            gradients: Vec::new(),
            squared: Tensor::zeros([samples]),
            kept: (wanted == Wanted::WeightedSum).then(Vec::new),
        };
        let mut parameters: HashMap<usize, ParamId> = HashMap::new();
        for (node, kind) in shared.record().nodes.iter().enumerate() {
            if let Node::Param(id) = kind {
                parameters.insert(node, *id);
            }
        }
        let wrt: Vec<usize> = parameters.keys().copied().collect();
        let Some(&first) = wrt.iter().min().filter(|&&first| first <= batch.node) else {
            return Ok(found);
        };
        let (end, path, uses) = {
            let record = shared.record();
            let end = record.end_of_part(batch.node);
            let path = record.depend_on(&wrt, first, end);
            (end, path, record.uses(first, end))
        };
        let needed = |node: usize| node.checked_sub(first).filter(|&index| path[index]);
        let is_single = |node: usize| parameters.contains_key(&node) && uses.get(&node) == Some(&1);
        let mut cotangents: Vec<Option<SampleGradient<T>>> = vec![None; path.len()];
        cotangents[batch.node - first] = Some(SampleGradient::Rows(batch.cotangent.clone()));
        let mut restored = Restored::default();
        for node in (first..=end).rev() {
            let own = restored.0.remove(&node);
            let Some(cotangent) = cotangents[node - first].take() else {
                restored.reach(shared, node, own, |start| {
                    cotangents[start.max(first) - first..].iter().any(Option::is_some)
                });
                continue;
            };
            if let Some(&id) = parameters.get(&node) {
                let each = rules::each(cotangent, samples)?;
                match wanted {
                    Wanted::Gradients => found.gradients.push((id, each)),
                    _ => found.squared += &squared_norms(&each),
                }
                found.kept = None;
                continue;
            }
            let is_restored = own.is_some();
            let lent = Borrowed::new(shared, node, own);
            let gradients = match &lent.node {
                Node::Alias(of) => vec![(*of, cotangent)],
                Node::Operation(call) => {
                    let parents = call.parents();
                    let mut needs: SmallVec<[bool; 3]> =
                        parents.iter().map(|parent| parent.and_then(needed).is_some()).collect();
                    if wanted != Wanted::Gradients {
                        let single = |parent: &Option<usize>| parent.is_some_and(is_single);
                        let single: SmallVec<[bool; 3]> = parents.iter().map(single).collect();
                        if single.contains(&true) {
                            let parameter = |parent: &Option<usize>| {
                                parent.filter(|&parent| is_single(parent)).map(|p| parameters[&p])
                            };
                            found.kept = match (found.kept.take(), &cotangent) {
                                (Some(mut kept), SampleGradient::Rows(g)) if !is_restored => {
                                    let parameters = parents.iter().map(parameter).collect();
                                    kept.push(Kept { node, parameters, cotangent: g.clone() });
                                    Some(kept)
                                }
                                _ => None,
                            };
                        }
                        for norms in norms_alone(&**call, &mut needs, &single, &cotangent, samples)
                        {
                            found.squared += &norms;
                        }
                    }
                    let is_parameter = |node| parameters.contains_key(&node);
                    let gradients =
                        rules::gradients(&**call, &needs, cotangent, samples, &is_parameter)?;
                    let pairs = parents.iter().zip(gradients);
                    pairs.filter_map(|(parent, gradient)| Some(((*parent)?, gradient?))).collect()
                }
                _ => Vec::new(),
            };
            for (parent, gradient) in gradients {
                let Some(index) = needed(parent) else { continue };
                if wanted != Wanted::Gradients && is_single(parent) {
                    let each = rules::each(gradient, samples)?;
                    found.squared += &squared_norms(&each);
                    continue;
                }
                let sum = cotangents[index].take();
                cotangents[index] = Some(match sum {
                    Some(sum) => rules::sum(sum, gradient, samples)?,
                    None => gradient,
                });
            }
        }
        Ok(found)
    }
}

/// The squared norms with respect to inputs that are used only here, if the
/// operation can compute them without the gradients, which are then not needed
/// any more.
fn norms_alone<T: Float>(
    call: &dyn Recorded<T>,
    needs: &mut [bool],
    single: &[bool],
    cotangent: &SampleGradient<T>,
    samples: usize,
) -> impl Iterator<Item = Tensor<T>> + use<T> {
    let norms: Option<Cotangents<T>> = match cotangent {
        SampleGradient::Rows(g) if single.contains(&true) => {
            call.sample_norms(single, g.clone(), samples)
        }
        _ => None,
    };
    if norms.is_some() {
        needs.iter_mut().zip(single).for_each(|(need, single)| *need &= !single);
    }
    norms.into_iter().flatten().flatten()
}

#[cfg(test)]
mod tests;
