//! Hooks: functions that a backward pass calls and that may change gradients.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use dendra_tensor::ops::{Attributes, Ops, Recorded, Term, TermCotangents};
use dendra_tensor::{Error, Float, Result, Tensor};

use crate::backward::USED;
use crate::tape::Tape;
use crate::var::Var;

type ValueHook<T> = Arc<dyn Fn(&Var<T>) -> Result<Option<Var<T>>> + Send + Sync>;

type RuleHook<T> = Arc<dyn Fn(&RuleCall<'_, T>) -> Result<Option<RuleGradients<T>>> + Send + Sync>;

/// The gradient of each input; `None` where none is needed.
pub type RuleGradients<T> = Vec<Option<Var<T>>>;

/// The hooks and retained gradients of a backward pass.
#[derive(Clone)]
pub(crate) struct Watch<T: Float> {
    /// Nodes that are not leaves but whose gradients are kept.
    pub(crate) retained: BTreeSet<usize>,
    values: BTreeMap<usize, Vec<ValueHook<T>>>,
    pub(crate) rules: Vec<RuleHook<T>>,
}

impl<T: Float> Default for Watch<T> {
    fn default() -> Self {
        Self { retained: BTreeSet::new(), values: BTreeMap::new(), rules: Vec::new() }
    }
}

impl<T: Float> Var<T> {
    /// Makes [`backward`](Self::backward) keep the gradient of this value
    /// although it is not a leaf; get it with
    /// [`Gradients::wrt`](crate::Gradients::wrt).
    ///
    /// # Errors
    ///
    /// Returns an error if the value needs no gradient, or its tape was already
    /// used.
    ///
    /// ```
    /// use dendra_autograd::Tape;
    /// use dendra_tensor::{Ops, Tensor};
    ///
    /// let x = Tape::training(0, 0).leaf(Tensor::from([1.0, -2.0]));
    /// let h = x.square();
    /// h.retain_grad()?;
    /// let gradients = (&h * &h).sum().backward()?;
    /// assert_eq!(gradients.wrt(&h).unwrap().to_vec(), [2.0, 8.0]);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    pub fn retain_grad(&self) -> Result<()> {
        self.watched("retain_grad", |watch, node| {
            watch.retained.insert(node);
        })
    }

    /// Registers a function that every pass calls with the gradient of this
    /// value. If the function returns a value, that replaces the gradient, also
    /// for [`retain_grad`](Self::retain_grad); with `None` the gradient is
    /// unchanged. Several hooks are called in the order of registration.
    ///
    /// # Errors
    ///
    /// Returns an error if the value needs no gradient, or its tape was already
    /// used. A pass returns the errors of the function, and an error if a new
    /// gradient does not have the shape of the value.
    ///
    /// ```
    /// use dendra_autograd::Tape;
    /// use dendra_tensor::{Ops, Tensor};
    ///
    /// let x = Tape::training(0, 0).leaf(Tensor::from([3.0, 0.1]));
    /// let h = x.mul_scalar(2.0);
    /// h.register_hook(|gradient| Ok(Some(gradient.clamp(-1.0, 1.0))))?;
    /// let gradients = h.square().sum().backward()?;
    /// assert_eq!(gradients.wrt(&x).unwrap().to_vec(), [2.0, 0.8]);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    pub fn register_hook(
        &self,
        hook: impl Fn(&Self) -> Result<Option<Self>> + Send + Sync + 'static,
    ) -> Result<()> {
        self.watched("register_hook", |watch, node| {
            watch.values.entry(node).or_default().push(Arc::new(hook));
        })
    }

    fn watched(&self, context: &str, change: impl FnOnce(&mut Watch<T>, usize)) -> Result<()> {
        let (Some(tape), Some(node)) = (self.tape(), self.node()) else {
            let message = format!("{context}: the value needs no gradient, so none is computed");
            return Err(Error::tape(message));
        };
        tape.refuse_if_tracing()?;
        let mut record = tape.shared.record();
        if record.finished {
            return Err(Error::tape(USED));
        }
        change(record.watch.get_or_insert_default(), node);
        Ok(())
    }
}

impl<T: Float> Tape<T> {
    /// Registers a function that is called for every operation whose gradients
    /// a pass computes. If it returns gradients, these replace the operation's
    /// own: one for each input, `None` where [`RuleCall::needs`] says that none
    /// is needed. With `Ok(None)` the operation's own gradients are used. Of
    /// several functions, the first that returns gradients decides.
    ///
    /// Methods such as guided backpropagation and layer-wise relevance
    /// propagation replace the gradient of each kind of operation by another
    /// rule. They are one such function:
    ///
    /// ```
    /// use dendra_autograd::Tape;
    /// use dendra_tensor::{Ops, Tensor};
    ///
    /// let tape = Tape::evaluation();
    /// // Guided backpropagation: a ReLU passes back only positive gradients.
    /// tape.register_rule_hook(|call| match call.name() {
    ///     "relu" => call.gradients_for(&call.cotangent().relu()).map(Some),
    ///     _ => Ok(None),
    /// });
    /// let x = tape.leaf(Tensor::from([1.0, 2.0, -3.0]));
    /// let y = x.relu().mul(&Tensor::from([1.0, -1.0, 1.0]).into())?.sum();
    /// assert_eq!(y.grad(&x)?.to_vec(), [1.0, 0.0, 0.0]);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// Register the hook before the forward pass, so that it is called for each
    /// layer of a `Sequential`. Without a hook, some layers are fused into one
    /// operation, such as `conv2d_relu`.
    ///
    /// A pass returns the errors of the function, and an error if a gradient is
    /// missing or does not have the shape of its input. On a tape that was already
    /// used, the function is never called.
    pub fn register_rule_hook(
        &self,
        hook: impl Fn(&RuleCall<'_, T>) -> Result<Option<RuleGradients<T>>> + Send + Sync + 'static,
    ) {
        self.shared.record().watch.get_or_insert_default().rules.push(Arc::new(hook));
    }
}

/// One call of an operation whose gradients are computed; the argument of a rule
/// hook.
///
/// If the pass records gradients, the values are on the tape, so that results that
/// a hook computes from them have gradients too.
pub struct RuleCall<'a, T: Float = f32> {
    tape: &'a Tape<T>,
    call: &'a dyn Recorded<T>,
    node: usize,
    needs: &'a [bool],
    cotangent: Var<T>,
    again: bool,
    own: &'a Own<'a, T>,
}

/// The operation's own gradients.
type Own<'a, T> = dyn Fn(&Term<T>) -> Result<TermCotangents<T>> + 'a;

impl<T: Float> RuleCall<'_, T> {
    /// The name of the operation.
    pub fn name(&self) -> &'static str {
        self.call.name()
    }

    /// The settings of the operation.
    pub fn attributes(&self) -> Attributes {
        self.call.attributes()
    }

    /// Whether each element of the output depends on one element of each input.
    pub fn is_elementwise(&self) -> bool {
        self.call.is_elementwise()
    }

    /// The same operation, with its settings, applied to other inputs: to
    /// values that are constants, or that are on a tape other than that of this
    /// pass.
    ///
    /// # Errors
    ///
    /// Returns an error if the operation does not accept the inputs.
    pub fn apply(&self, inputs: &[&Var<T>]) -> Result<Var<T>> {
        Var::replay(self.call, &[], inputs)
    }

    /// The inputs.
    pub fn inputs(&self) -> Vec<Var<T>> {
        let inputs = self.call.inputs().iter().zip(self.call.parents());
        inputs.map(|(input, &node)| self.var(input.clone(), node)).collect()
    }

    /// The output.
    pub fn output(&self) -> Var<T> {
        self.var(self.call.output().clone(), Some(self.node))
    }

    /// Which inputs need a gradient.
    pub fn needs(&self) -> &[bool] {
        self.needs
    }

    /// The gradient of the result with respect to the output.
    pub fn cotangent(&self) -> &Var<T> {
        &self.cotangent
    }

    /// The operation's own gradients of the inputs that need one.
    ///
    /// # Errors
    ///
    /// Returns an error if the pass records gradients and those of this operation
    /// cannot be differentiated again.
    pub fn gradients(&self) -> Result<RuleGradients<T>> {
        self.gradients_for(&self.cotangent)
    }

    /// The same for another cotangent of the output.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`gradients`](Self::gradients), and an error if the
    /// cotangent does not have the shape of the output.
    pub fn gradients_for(&self, cotangent: &Var<T>) -> Result<RuleGradients<T>> {
        let output = self.call.output();
        if cotangent.shape() != output.shape() {
            let (expected, found) = (output.shape(), cotangent.shape());
            let message = format!("expected a cotangent of shape {expected}, got {found}");
            return Err(Error::shape(self.name(), message));
        }
        let cotangent = self.tape.term(cotangent).ok_or_else(other_tape)?;
        let gradients = (self.own)(&cotangent)?;
        let var = |term: Term<T>| {
            let node = term.node();
            self.var(term.into_value(), node)
        };
        Ok(gradients.into_iter().map(|found| found.map(var)).collect())
    }

    fn var(&self, value: Tensor<T>, node: Option<usize>) -> Var<T> {
        match self.again {
            true => Var::on_tape(value, self.tape.clone(), node),
            false => Var::new(value),
        }
    }
}

impl<T: Float> fmt::Debug for RuleCall<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RuleCall {}", self.name())
    }
}

fn other_tape() -> Error {
    Error::tape("a hook returned a value of another tape")
}

impl<T: Float> Watch<T> {
    /// The gradient of a node after its hooks.
    pub(crate) fn hooked(&self, tape: &Tape<T>, node: usize, gradient: Term<T>) -> Result<Term<T>> {
        let Some(hooks) = self.values.get(&node) else { return Ok(gradient) };
        let mut gradient = match gradient.node() {
            Some(_) => tape.var(gradient),
            None => Var::new(gradient.into_value()),
        };
        for hook in hooks {
            let Some(changed) = hook(&gradient)? else { continue };
            if changed.shape() != gradient.shape() {
                let (expected, found) = (gradient.shape(), changed.shape());
                let message =
                    format!("expected a gradient of shape {expected} from a hook, got {found}");
                return Err(Error::shape("register_hook", message));
            }
            gradient = changed;
        }
        tape.term(&gradient).ok_or_else(other_tape)
    }

    /// The gradients of a call, by the first hook that returns some, or by the
    /// operation.
    #[expect(clippy::too_many_arguments, reason = "all parts of a call")]
    pub(crate) fn ruled(
        &self,
        tape: &Tape<T>,
        call: &dyn Recorded<T>,
        node: usize,
        needs: &[bool],
        cotangent: &Term<T>,
        again: bool,
        own: &Own<'_, T>,
    ) -> Result<TermCotangents<T>> {
        let seen = match again {
            true => tape.var(cotangent.clone()),
            false => Var::new(cotangent.value().clone()),
        };
        let call = RuleCall { tape, call, node, needs, cotangent: seen, again, own };
        for rule in &self.rules {
            let Some(gradients) = rule(&call)? else { continue };
            return check(&call, gradients);
        }
        own(cotangent)
    }
}

/// The gradients that a hook returned, checked against the inputs.
fn check<T: Float>(
    call: &RuleCall<'_, T>,
    gradients: RuleGradients<T>,
) -> Result<TermCotangents<T>> {
    let inputs = call.call.inputs();
    if gradients.len() != inputs.len() {
        let (expected, found) = (inputs.len(), gradients.len());
        let message =
            format!("expected {expected} gradients from a hook, one for each input, got {found}");
        return Err(Error::argument(call.name(), message));
    }
    let mut terms = TermCotangents::new();
    for (index, (gradient, input)) in gradients.into_iter().zip(inputs).enumerate() {
        let gradient = gradient.filter(|_| call.needs[index]);
        let shape = gradient.as_ref().map(|gradient| gradient.shape().clone());
        if call.needs[index] && shape.as_ref() != Some(input.shape()) {
            let found = shape.map_or("none".into(), |shape| format!("one of shape {shape}"));
            let message = format!(
                "input {index} needs a gradient of shape {}, but a hook returned {found}",
                input.shape()
            );
            return Err(Error::shape(call.name(), message));
        }
        terms.push(gradient.map(|g| call.tape.term(&g).ok_or_else(other_tape)).transpose()?);
    }
    Ok(terms)
}

#[cfg(test)]
mod tests;
