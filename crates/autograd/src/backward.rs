//! The backward passes over a tape.
//!
//! [`Tape::backward`] is the pass of a training step: it traverses the record and
//! consumes it. [`Shared::pull_back`] is the pass for everything
//! else: it keeps the record, computes only the requested gradients, may record
//! how they are computed, and calls hooks.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use dendra_tensor::ops::{Recorded, Recorder, Term, TermCotangents};
use dendra_tensor::{Error, Float, Ops, Result, Tensor};
use smallvec::SmallVec;

use crate::gradients::Gradients;
use crate::hooks::Watch;
use crate::tape::{NODES, Node, Record, Shared, Tape};
use crate::var::Var;

/// The error of a second pass over a consumed tape.
pub(crate) const USED: &str = "this tape was already used: backward consumes its record; create a \
                               new tape for every step";

impl<T: Float> Tape<T> {
    /// The gradients of the value of a node, which must have one element.
    pub(crate) fn backward(&self, loss: &Tensor<T>, node: Option<usize>) -> Result<Gradients<T>> {
        self.refuse_if_tracing()?;
        let record = self.shared.record();
        record.check_idle()?;
        let Some(last) = node else {
            return Err(Error::tape(
                "the loss depends on no parameter and no leaf of its tape, so there is no gradient",
            ));
        };
        if loss.len() != 1 {
            let shape = loss.shape();
            return Err(Error::tape(format!(
                "backward needs a scalar loss, got shape {shape}; reduce it with sum() or mean()"
            )));
        }
        let cotangent = Tensor::ones(loss.shape());
        self.consume(record, loss.item()?, last, cotangent)
    }

    /// The gradients of ⟨cotangent, value of a node⟩; consumes the record.
    pub(crate) fn consume(
        &self,
        mut record: MutexGuard<'_, Record<T>>,
        loss: T,
        last: usize,
        cotangent: Tensor<T>,
    ) -> Result<Gradients<T>> {
        record.finished = true;
        if let Some(watch) = record.watch.take() {
            drop(record);
            return self.backward_watched(loss, last, cotangent, *watch);
        }
        let end = record.end_of_part(last);
        let mut nodes = std::mem::take(&mut record.nodes);
        let updates = std::mem::take(&mut record.updates);
        let mut parameters = Vec::with_capacity(record.parameters.len());
        drop(record);

        nodes.truncate(end + 1);
        let mut cotangents: SmallVec<[Option<Tensor<T>>; NODES]> =
            (0..nodes.len()).map(|_| None).collect();
        cotangents[last] = Some(cotangent);
        let mut leaves = Vec::new();
        // Nodes are in topological order, so one reverse loop is sufficient. The
        // memory of each node is released as soon as the node is processed.
        while let Some(node) = nodes.pop() {
            let Some(cotangent) = cotangents.pop().flatten() else {
                if let Node::Part(part) = node
                    && cotangents[part.start()..].iter().any(Option::is_some)
                {
                    part.restore().into_iter().for_each(|(index, node)| nodes[index] = node);
                }
                continue;
            };
            match node {
                Node::Leaf => leaves.push((nodes.len(), cotangent)),
                Node::Param(id) => parameters.push((id, cotangent)),
                Node::Alias(of) => add(&mut cotangents[of], cotangent),
                Node::Lent | Node::Dropped(_) | Node::Part(_) => {}
                Node::Operation(call) => {
                    let parents = call.parents();
                    if let &[Some(parent)] = parents
                        && let Some(sum) = &mut cotangents[parent]
                        && call.add_vjp(&cotangent, sum)
                    {
                        continue;
                    }
                    let needs: SmallVec<[bool; 3]> = parents.iter().map(Option::is_some).collect();
                    let gradients = call.vjp(&needs, cotangent);
                    for (&parent, gradient) in parents.iter().zip(gradients) {
                        let (Some(parent), Some(gradient)) = (parent, gradient) else { continue };
                        add(&mut cotangents[parent], gradient);
                    }
                }
            }
        }
        Ok(Gradients::new(self.clone(), loss, parameters, leaves, updates))
    }

    /// Like [`consume`](Self::consume), with hooks and with gradients of values
    /// that are not leaves.
    fn backward_watched(
        &self,
        loss: T,
        last: usize,
        cotangent: Tensor<T>,
        watch: Watch<T>,
    ) -> Result<Gradients<T>> {
        let mut wrt = Vec::new();
        for (node, kind) in self.shared.record().nodes[..=last].iter().enumerate() {
            if matches!(kind, Node::Leaf | Node::Param(_)) || watch.retained.contains(&node) {
                wrt.push(node);
            }
        }
        // Only the node of the output is used here, not its value.
        let output = Term::recorded(cotangent.clone(), self.recorder().clone(), last);
        let cotangent = Term::constant(cotangent);
        let pass = Pass { again: false, watch: Some((self, &watch)) };
        let found = self.shared.pull_back(&output, &cotangent, &wrt, &pass)?;
        let mut record = self.shared.record();
        let nodes = std::mem::take(&mut record.nodes);
        let updates = std::mem::take(&mut record.updates);
        drop(record);
        let (mut parameters, mut leaves) = (Vec::new(), Vec::new());
        for (node, gradient) in wrt.into_iter().zip(found) {
            let Some(gradient) = gradient.map(Term::into_value) else { continue };
            match nodes[node] {
                Node::Param(id) => {
                    if watch.retained.contains(&node) {
                        leaves.push((node, gradient.clone()));
                    }
                    parameters.push((id, gradient));
                }
                _ => leaves.push((node, gradient)),
            }
        }
        Ok(Gradients::new(self.clone(), loss, parameters, leaves, updates))
    }

    /// The value of a variable of this tape as a term; `None` for a variable of
    /// another tape.
    pub(crate) fn term(&self, var: &Var<T>) -> Option<Term<T>> {
        let value = var.value().clone();
        Some(match var.node() {
            None => Term::constant(value),
            Some(node) if var.tape().is_some_and(|tape| tape.is_same(self)) => {
                Term::recorded(value, self.recorder().clone(), node)
            }
            Some(_) => return None,
        })
    }

    /// A term of this tape as a variable.
    pub(crate) fn var(&self, term: Term<T>) -> Var<T> {
        let node = term.node();
        Var::on_tape(term.into_value(), self.clone(), node)
    }

    /// The gradients of ⟨cotangent, output⟩ with respect to values of this
    /// tape, which keeps its record; `None` where the output does not depend on
    /// a value. With `again`, the computation of the gradients is recorded, so
    /// that they can be differentiated.
    pub(crate) fn grad(
        &self,
        output: &Var<T>,
        cotangent: &Var<T>,
        wrt: &[&Var<T>],
        again: bool,
    ) -> Result<Vec<Option<Var<T>>>> {
        self.refuse_if_tracing()?;
        let other = || Error::tape("a value is on another tape than the result");
        let terms = [output, cotangent].map(|var| self.term(var));
        let [Some(output), Some(cotangent)] = terms else { return Err(other()) };
        let mut nodes = Vec::with_capacity(wrt.len());
        for (index, &var) in wrt.iter().enumerate() {
            match (self.term(var), var.node()) {
                (Some(_), Some(node)) => nodes.push(node),
                (None, _) => return Err(other()),
                _ => {
                    return Err(Error::tape(format!(
                        "value {index} has no gradient, since it is a constant; put it on the tape \
                         with leaf()"
                    )));
                }
            }
        }
        let (passing, watch) = self.begin_pass()?;
        let watch = watch.as_ref().map(|watch| (self, watch));
        let gradients =
            self.shared.pull_back(&output, &cotangent, &nodes, &Pass { again, watch })?;
        drop(passing);
        Ok(gradients.into_iter().map(|found| found.map(|term| self.var(term))).collect())
    }

    pub(crate) fn refuse_if_tracing(&self) -> Result<()> {
        match self.is_tracing() {
            true => Err(Error::tape("a tracing tape computes no gradients")),
            false => Ok(()),
        }
    }

    /// Marks that a pass that keeps the record is running, until the returned
    /// value is dropped.
    pub(crate) fn begin_pass(&self) -> Result<(Passing<'_, T>, Option<Watch<T>>)> {
        let mut record = self.shared.record();
        record.check_idle()?;
        record.passing = true;
        let watch = record.watch.as_deref().cloned();
        drop(record);
        Ok((Passing(&self.shared), watch))
    }
}

/// Marks that a pass that keeps the record is running.
pub(crate) struct Passing<'a, T: Float>(&'a Shared<T>);

impl<T: Float> Drop for Passing<'_, T> {
    fn drop(&mut self) {
        self.0.record().passing = false;
    }
}

/// The settings of a pass that keeps the record.
pub(crate) struct Pass<'a, T: Float> {
    /// Whether the gradients are recorded.
    pub(crate) again: bool,
    /// The hooks to call, and the tape that is passed to them.
    pub(crate) watch: Option<(&'a Tape<T>, &'a Watch<T>)>,
}

/// Adds to a sum, which is `None` before its first term.
pub(crate) fn add<V: std::ops::Add<Output = V>>(sum: &mut Option<V>, term: V) {
    *sum = Some(match sum.take() {
        Some(sum) => sum + term,
        None => term,
    });
}

impl<T: Float> Record<T> {
    /// An error if the record was consumed, or if another pass is running.
    pub(crate) fn check_idle(&self) -> Result<()> {
        match (self.finished, self.passing) {
            (true, _) => Err(Error::tape(USED)),
            (_, true) => Err(Error::tape(
                "a gradient was requested from a hook or another thread while another gradient of \
                 the same tape is computed",
            )),
            _ => Ok(()),
        }
    }

    /// Which of the nodes `first ..= last` depend on a node of `wrt`; none of
    /// these is before `first`.
    pub(crate) fn depend_on(&self, wrt: &[usize], first: usize, last: usize) -> Vec<bool> {
        let mut depends = vec![false; last - first + 1];
        for &node in wrt.iter().filter(|&&node| node <= last) {
            depends[node - first] = true;
        }
        for node in first..=last {
            let on = |parent: usize| parent.checked_sub(first).is_some_and(|i| depends[i]);
            let is = match &self.nodes[node] {
                Node::Alias(of) => on(*of),
                Node::Operation(call) => call.parents().iter().any(|parent| parent.is_some_and(on)),
                Node::Dropped(parents) => parents.iter().any(|parent| parent.is_some_and(on)),
                Node::Leaf | Node::Param(_) | Node::Lent | Node::Part(_) => false,
            };
            depends[node - first] |= is;
        }
        depends
    }

    /// How often the values of the nodes from `first` on are used up to `last`;
    /// a value with an alias counts twice.
    pub(crate) fn uses(&self, first: usize, last: usize) -> HashMap<usize, usize> {
        let mut uses = HashMap::new();
        let count = |uses: &mut HashMap<usize, usize>, parents: &[Option<usize>]| {
            for parent in parents.iter().flatten() {
                *uses.entry(*parent).or_default() += 1;
            }
        };
        for node in &self.nodes[first..=last] {
            match node {
                Node::Operation(call) => count(&mut uses, call.parents()),
                Node::Dropped(parents) => count(&mut uses, parents),
                Node::Alias(of) => *uses.entry(*of).or_default() += 2,
                Node::Leaf | Node::Param(_) | Node::Lent | Node::Part(_) => {}
            }
        }
        uses
    }
}

impl<T: Float> Shared<T> {
    /// [`Recorder::pull`] with the settings of `pass`.
    #[inline(never)]
    pub(crate) fn pull_back(
        &self,
        output: &Term<T>,
        cotangent: &Term<T>,
        wrt: &[usize],
        pass: &Pass<'_, T>,
    ) -> Result<Vec<Option<Term<T>>>> {
        let mut found: Vec<Option<Term<T>>> = vec![None; wrt.len()];
        let (Some(recorder), Some(last)) = (output.recorder(), output.node()) else {
            return Ok(found);
        };
        let Some(&first) = wrt.iter().min() else { return Ok(found) };
        if first > last {
            return Ok(found);
        }
        let end = self.record().end_of_part(last);
        let path = self.record().depend_on(wrt, first, end);
        let needed = |parent: usize| parent.checked_sub(first).filter(|&index| path[index]);
        let mut asked = vec![false; path.len()];
        for &node in wrt.iter().filter(|&&node| node <= last) {
            asked[node - first] = true;
        }
        let mut cotangents: Vec<Option<Term<T>>> = vec![None; path.len()];
        cotangents[last - first] = Some(cotangent.clone());
        let mut restored = Restored::default();
        for node in (first..=end).rev() {
            let own = restored.0.remove(&node);
            let Some(mut cotangent) = cotangents[node - first].take() else {
                restored.reach(self, node, own, |start| {
                    cotangents[start.max(first) - first..].iter().any(Option::is_some)
                });
                continue;
            };
            if let Some((tape, watch)) = pass.watch {
                cotangent = watch.hooked(tape, node, cotangent)?;
            }
            if asked[node - first] {
                for (found, _) in found.iter_mut().zip(wrt).filter(|(_, wanted)| **wanted == node) {
                    *found = Some(cotangent.clone());
                }
            }
            let lent = Borrowed::new(self, node, own);
            match &lent.node {
                Node::Alias(of) => {
                    if let Some(index) = needed(*of) {
                        add(&mut cotangents[index], cotangent);
                    }
                }
                Node::Operation(call) => {
                    let parents = call.parents();
                    let needs: SmallVec<[bool; 3]> =
                        parents.iter().map(|parent| parent.and_then(needed).is_some()).collect();
                    if !needs.contains(&true) {
                        continue;
                    }
                    let gradients = pass.rule(recorder, &**call, node, &needs, cotangent)?;
                    for (parent, gradient) in parents.iter().zip(gradients) {
                        if let (Some(index), Some(gradient)) = (parent.and_then(needed), gradient) {
                            add(&mut cotangents[index], gradient);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// A node that a pass uses while other operations are recorded. It is put back
/// when this is dropped, unless it was restored for this pass only.
pub(crate) struct Borrowed<'a, T: Float> {
    shared: &'a Shared<T>,
    index: usize,
    pub(crate) node: Node<T>,
    is_restored: bool,
}

impl<'a, T: Float> Borrowed<'a, T> {
    pub(crate) fn new(shared: &'a Shared<T>, index: usize, restored: Option<Node<T>>) -> Self {
        let is_restored = restored.is_some();
        let node = restored
            .unwrap_or_else(|| std::mem::replace(&mut shared.record().nodes[index], Node::Lent));
        Self { shared, index, node, is_restored }
    }
}

impl<T: Float> Drop for Borrowed<'_, T> {
    fn drop(&mut self) {
        if !self.is_restored {
            let node = std::mem::replace(&mut self.node, Node::Lent);
            self.shared.record().nodes[self.index] = node;
        }
    }
}

/// Nodes of checkpointed parts that a pass which keeps the record has
/// recomputed, until the pass has gone past them.
pub(crate) struct Restored<T: Float>(pub(crate) HashMap<usize, Node<T>>);

impl<T: Float> Default for Restored<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Float> Restored<T> {
    /// Recomputes a part when the pass reaches its end and `is_reached` says
    /// that a node after its start has a cotangent. `own` is the node itself if
    /// it was restored.
    pub(crate) fn reach(
        &mut self,
        shared: &Shared<T>,
        node: usize,
        own: Option<Node<T>>,
        is_reached: impl Fn(usize) -> bool,
    ) {
        let part = match own {
            Some(Node::Part(part)) => part,
            Some(_) => return,
            None => match &shared.record().nodes[node] {
                Node::Part(part) if is_reached(part.start()) => part.clone(),
                _ => return,
            },
        };
        if is_reached(part.start()) {
            self.0.extend(part.restore());
        }
    }
}

impl<T: Float> Pass<'_, T> {
    /// The gradients of a call, by a hook or by the operation itself.
    #[inline(never)]
    fn rule(
        &self,
        recorder: &Arc<dyn Recorder<T>>,
        call: &dyn Recorded<T>,
        node: usize,
        needs: &[bool],
        cotangent: Term<T>,
    ) -> Result<TermCotangents<T>> {
        let own = |cotangent: &Term<T>| match self.again {
            true => vjp_terms(call, recorder, node, needs, cotangent),
            false => {
                let gradients = call.vjp(needs, cotangent.value().clone());
                Ok(gradients.into_iter().map(|g| g.map(Term::constant)).collect())
            }
        };
        match self.watch {
            Some((tape, watch)) if !watch.rules.is_empty() => {
                watch.ruled(tape, call, node, needs, &cotangent, self.again, &own)
            }
            _ if self.again => own(&cotangent),
            // Passed by value, so that its buffer can be reused.
            _ => {
                let gradients = call.vjp(needs, cotangent.into_value());
                Ok(gradients.into_iter().map(|g| g.map(Term::constant)).collect())
            }
        }
    }
}

/// The gradients, as terms, of the call that is recorded as `node`.
fn vjp_terms<T: Float>(
    call: &dyn Recorded<T>,
    recorder: &Arc<dyn Recorder<T>>,
    node: usize,
    needs: &[bool],
    cotangent: &Term<T>,
) -> Result<TermCotangents<T>> {
    let inputs = call.inputs().iter().zip(call.parents());
    let inputs: Vec<Term<T>> = inputs
        .map(|(input, parent)| match parent {
            Some(parent) => Term::recorded(input.clone(), Arc::clone(recorder), *parent),
            None => Term::constant(input.clone()),
        })
        .collect();
    let output = Term::recorded(call.output().clone(), Arc::clone(recorder), node);
    call.vjp_terms(&inputs, &output, needs, cotangent)
}

impl<T: Float> Recorder<T> for Shared<T> {
    fn record(&self, call: Box<dyn Recorded<T>>) -> usize {
        Self::record(self).push(Node::Operation(call))
    }

    fn alias(&self, node: usize) -> usize {
        Self::record(self).push(Node::Alias(node))
    }

    fn pull(
        &self,
        output: &Term<T>,
        cotangent: &Term<T>,
        nodes: &[usize],
    ) -> Result<Vec<Option<Term<T>>>> {
        self.pull_back(output, cotangent, nodes, &Pass { again: true, watch: None })
    }
}
