//! Products that are composed of matrix products and element-wise products, and
//! so have no gradients of their own: sums over named axes, tensor products.

use std::collections::BTreeMap;

use super::Ops;
use crate::error::{Error, Result};
use crate::shape::Shape;

/// The name of an axis: a letter, or its position among the axes of `...`,
/// counted from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(std::cmp::Reverse<usize>),
    Letter(char),
}

/// An operand whose axes have distinct names.
struct Term<V> {
    value: V,
    labels: Vec<Label>,
}

fn fail<X>(message: String) -> Result<X> {
    Err(Error::argument("einsum", message))
}

/// Einstein's summation convention; see [`Ops::einsum`]. Operands are combined
/// from left to right, each pair by one matrix product.
pub(super) fn einsum<V: Ops>(equation: &str, operands: &[&V]) -> Result<V> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (inputs, output) = match equation.split_once("->") {
        Some((inputs, output)) => (inputs, Some(output)),
        None => (&equation[..], None),
    };
    let names: Vec<&str> = inputs.split(',').collect();
    if names.len() != operands.len() || operands.is_empty() {
        let (count, expected) = (operands.len(), names.len());
        return fail(format!("\"{equation}\" is for {expected} operands, got {count}"));
    }
    let mut terms = Vec::new();
    let mut uses: BTreeMap<Label, usize> = BTreeMap::new();
    for (name, operand) in names.into_iter().zip(operands) {
        let labels = labels(name, Some(operand.value().shape()))?;
        for &label in &labels {
            *uses.entry(label).or_default() += 1;
        }
        terms.push(with_labels_once((*operand).clone(), labels)?);
    }
    let output = match output {
        None => {
            // The axes of `...`, then the letters that occur once.
            let kept = |(label, count): &(&Label, &usize)| {
                **count == 1 || matches!(label, Label::Ellipsis(_))
            };
            uses.iter().filter(kept).map(|(&label, _)| label).collect()
        }
        Some(output) => {
            let rank = uses.keys().filter(|label| matches!(label, Label::Ellipsis(_))).count();
            labels(output, None)?
                .into_iter()
                .flat_map(|label| match label {
                    Label::Ellipsis(_) => {
                        let axes = (0..rank).rev();
                        axes.map(|i| Label::Ellipsis(std::cmp::Reverse(i))).collect()
                    }
                    letter => vec![letter],
                })
                .collect::<Vec<_>>()
        }
    };
    for (i, label) in output.iter().enumerate() {
        if !uses.contains_key(label) || output[..i].contains(label) {
            return fail(format!(
                "the result of \"{equation}\" must name an axis of an operand once, got {label}"
            ));
        }
    }
    stretch(&mut terms)?;
    let mut terms = terms.into_iter();
    let mut result = terms.next().expect("there is an operand");
    let mut rest: Vec<Term<V>> = terms.rev().collect();
    while let Some(next) = rest.pop() {
        let kept = |label: &Label| {
            output.contains(label) || rest.iter().any(|term| term.labels.contains(label))
        };
        result = pair(&result, &next, kept)?;
    }
    let result = summed(&result, |label| output.contains(label))?;
    let position = |label| result.labels.iter().position(|other| other == label);
    let order = output.iter().map(|label| position(label).map(|index| index as isize));
    result.value.permute(&order.collect::<Option<Vec<_>>>().expect("every label is an operand's"))
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Label::Ellipsis(_) => f.write_str("..."),
            Label::Letter(letter) => write!(f, "{letter}"),
        }
    }
}

/// The names of the axes of an operand or of the result; `...` is one name.
fn labels(names: &str, shape: Option<&Shape>) -> Result<Vec<Label>> {
    let (before, after) = match names.split_once("...") {
        Some((before, after)) => (before, Some(after)),
        None => (names, None),
    };
    let letters = before.chars().count() + after.map_or(0, |after| after.chars().count());
    let covered = match shape {
        None => usize::from(after.is_some()),
        Some(shape) => match shape.len().checked_sub(letters) {
            Some(covered) if covered == 0 || after.is_some() => covered,
            _ => return fail(format!("\"{names}\" does not name the axes of shape {shape}")),
        },
    };
    let letter = |letter: char| match letter.is_ascii_alphabetic() {
        true => Ok(Label::Letter(letter)),
        false => fail(format!("expected letters in \"{names}\", got '{letter}'")),
    };
    let ellipsis = (0..covered).rev().map(|i| Ok(Label::Ellipsis(std::cmp::Reverse(i))));
    before
        .chars()
        .map(letter)
        .chain(ellipsis)
        .chain(after.unwrap_or("").chars().map(letter))
        .collect()
}

/// An operand in which axes with the same name are replaced by their diagonal.
fn with_labels_once<V: Ops>(mut value: V, mut labels: Vec<Label>) -> Result<Term<V>> {
    let again = |labels: &[Label]| {
        let position = |i: usize| labels[..i].iter().position(|label| *label == labels[i]);
        (0..labels.len()).find_map(|i| Some((position(i)?, i)))
    };
    while let Some((first, second)) = again(&labels) {
        let shape = value.value().shape();
        if shape[first] != shape[second] {
            return fail(format!("axes {first} and {second} of {shape} have the same name"));
        }
        value = value.diagonal(0, first as isize, second as isize)?;
        let label = labels.remove(second);
        labels.remove(first);
        labels.push(label);
    }
    Ok(Term { value, labels })
}

/// Broadcasts axes of length 1 to the length of other axes with the same name.
fn stretch<V: Ops>(terms: &mut [Term<V>]) -> Result<()> {
    let mut sizes: BTreeMap<Label, usize> = BTreeMap::new();
    for term in &*terms {
        for (&label, &size) in term.labels.iter().zip(term.value.value().shape().iter()) {
            let known = sizes.entry(label).or_insert(size);
            if *known == 1 {
                *known = size;
            } else if size != *known && size != 1 {
                return fail(format!("{label} has the lengths {known} and {size}"));
            }
        }
    }
    for term in terms {
        let shape: Shape = term.labels.iter().map(|label| sizes[label]).collect();
        if *term.value.value().shape() != shape {
            term.value = term.value.broadcast_to(shape)?;
        }
    }
    Ok(())
}

/// The sum over all axes that are not kept.
fn summed<V: Ops>(term: &Term<V>, kept: impl Fn(&Label) -> bool) -> Result<Term<V>> {
    let (mut axes, mut labels) = (Vec::new(), Vec::new());
    for (axis, label) in term.labels.iter().enumerate() {
        match kept(label) {
            true => labels.push(*label),
            false => axes.push(axis as isize),
        }
    }
    let value = match axes.is_empty() {
        true => term.value.clone(),
        false => term.value.sum_axes(&axes, false)?,
    };
    Ok(Term { value, labels })
}

/// The product of two operands: axes with the same name that are kept are
/// matched, others are summed over by a matrix product.
fn pair<V: Ops>(a: &Term<V>, b: &Term<V>, kept: impl Fn(&Label) -> bool) -> Result<Term<V>> {
    let a = summed(a, |label| kept(label) || b.labels.contains(label))?;
    let b = summed(b, |label| kept(label) || a.labels.contains(label))?;
    let shared = |label: &&Label| b.labels.contains(label);
    let (batch, contracted): (Vec<Label>, Vec<Label>) =
        a.labels.iter().filter(shared).partition(|label| kept(label));
    let free = |term: &Term<V>, other: &Term<V>| -> Vec<Label> {
        term.labels.iter().copied().filter(|label| !other.labels.contains(label)).collect()
    };
    let (rows, columns) = (free(&a, &b), free(&b, &a));
    let labels: Vec<Label> = batch.iter().chain(&rows).chain(&columns).copied().collect();
    let sizes = |term: &Term<V>, labels: &[Label]| -> Vec<usize> {
        let position = |label| term.labels.iter().position(|other| other == label);
        let shape = term.value.value().shape();
        labels.iter().map(|label| shape[position(label).expect("one of its labels")]).collect()
    };
    // Merges each group of axes into one axis.
    let grouped = |term: &Term<V>, groups: [&[Label]; 3]| -> Result<V> {
        let order = groups.concat();
        let position = |label| term.labels.iter().position(|other| other == label);
        let order: Vec<isize> = order
            .iter()
            .map(|label| position(label).expect("one of its labels") as isize)
            .collect();
        let shape = groups.map(|group| sizes(term, group).iter().product());
        term.value.permute(&order)?.reshape(shape)
    };
    let value = if contracted.is_empty() {
        let rows = grouped(&a, [&batch, &rows, &[]])?;
        rows.mul(&grouped(&b, [&batch, &[], &columns])?)?
    } else if rows.is_empty() && columns.is_empty() && !batch.is_empty() {
        let [a, b] = [&a, &b].map(|term| grouped(term, [&batch, &contracted, &[]]));
        a?.mul(&b?)?.sum_axes(&[1], false)?
    } else {
        let rows = grouped(&a, [&batch, &rows, &contracted])?;
        rows.matmul(&grouped(&b, [&batch, &contracted, &columns])?)?
    };
    let mut shape = sizes(&a, &batch);
    shape.extend(sizes(&a, &rows));
    shape.extend(sizes(&b, &columns));
    Ok(Term { value: value.reshape(shape)?, labels })
}

/// An error for operands of other ranks than these.
pub(super) fn check_ranks<V: Ops>(
    context: &str,
    operands: [&V; 2],
    ranks: [usize; 2],
) -> Result<()> {
    match operands.iter().zip(ranks).find(|(operand, rank)| operand.value().rank() != *rank) {
        None => Ok(()),
        Some((other, rank)) => {
            let message = format!("expected {rank} axes, got shape {}", other.value().shape());
            Err(Error::shape(context, message))
        }
    }
}

/// See [`Ops::tensordot`].
pub(super) fn tensordot<V: Ops>(a: &V, b: &V, a_axes: &[isize], b_axes: &[isize]) -> Result<V> {
    let groups = |x: &V, axes: &[isize]| -> Result<(Vec<isize>, Vec<usize>, Vec<isize>)> {
        let shape = x.value().shape();
        shape.axes("tensordot", axes)?;
        let axes = axes.iter().map(|&axis| shape.axis("tensordot", axis));
        let axes = axes.collect::<Result<Vec<_>>>()?;
        let free: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).collect();
        let sizes = free.iter().map(|&axis| shape[axis]).collect();
        let signed = |axes: Vec<usize>| axes.into_iter().map(|axis| axis as isize).collect();
        Ok((signed(free), sizes, signed(axes)))
    };
    let ((a_free, rows, a_summed), (b_free, columns, b_summed)) =
        (groups(a, a_axes)?, groups(b, b_axes)?);
    let sizes = |x: &V, axes: &[isize]| -> Vec<usize> {
        axes.iter().map(|&axis| x.value().shape()[axis as usize]).collect()
    };
    let summed = sizes(a, &a_summed);
    if summed != sizes(b, &b_summed) {
        let (a, b) = (a.value().shape(), b.value().shape());
        let message = format!("axes {a_axes:?} of {a} and {b_axes:?} of {b} differ in length");
        return Err(Error::shape("tensordot", message));
    }
    let inner: usize = summed.iter().product();
    let a = a.permute(&[a_free, a_summed].concat())?;
    let b = b.permute(&[b_summed, b_free].concat())?;
    let a = a.reshape([rows.iter().product(), inner])?;
    let product = a.matmul(&b.reshape([inner, columns.iter().product()])?)?;
    product.reshape([rows, columns].concat())
}

/// See [`Ops::kron`].
pub(super) fn kron<V: Ops>(a: &V, b: &V) -> Result<V> {
    let rank = a.value().rank().max(b.value().rank());
    let sizes = |x: &V| -> Vec<usize> {
        let shape = x.value().shape();
        std::iter::repeat_n(1, rank - shape.len()).chain(shape.iter().copied()).collect()
    };
    let (outer, inner) = (sizes(a), sizes(b));
    let a = a.reshape(outer.iter().flat_map(|&size| [size, 1]).collect::<Vec<_>>())?;
    let b = b.reshape(inner.iter().flat_map(|&size| [1, size]).collect::<Vec<_>>())?;
    let joined: Vec<usize> = outer.iter().zip(&inner).map(|(a, b)| a * b).collect();
    a.mul(&b)?.reshape(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;

    #[test]
    fn distances_of_all_pairs() {
        let x = Tensor::from([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0_f32]]);
        assert_eq!(x.pdist(2.0).unwrap().to_vec(), [5.0, 10.0, 5.0]);
        assert_eq!(x.pdist(1.0).unwrap().to_vec(), [7.0, 14.0, 7.0]);
        assert!(x.narrow(0, 0, 1).unwrap().pdist(2.0).unwrap().is_empty());
        assert!(x.flatten(0, 1).unwrap().pdist(2.0).is_err());
    }

    #[test]
    fn sums_over_named_axes() {
        let a = Tensor::from([[1.0, 2.0], [3.0, 4.0_f32]]);
        let b = Tensor::from([[10.0, 20.0], [30.0, 40.0]]);
        let sum = |equation, operands: &[&Tensor<f32>]| einsum(equation, operands).unwrap();
        assert_eq!(sum("ij,jk->ik", &[&a, &b]), a.matmul(&b).unwrap());
        assert_eq!(sum("ij , jk", &[&a, &b]), a.matmul(&b).unwrap());
        assert_eq!(sum("ij,ij->", &[&a, &b]).to_vec(), [300.0]);
        assert_eq!(sum("ij,ij->i", &[&a, &b]).to_vec(), [50.0, 250.0]);
        assert_eq!(sum("ii", &[&a]).to_vec(), [5.0]);
        assert_eq!(sum("ii->i", &[&a]).to_vec(), [1.0, 4.0]);
        assert_eq!(sum("ba", &[&a]).to_vec(), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(sum("...->...", &[&a]), a);
        assert_eq!(sum("i...,i...->...", &[&a, &b]).to_vec(), [100.0, 200.0]);
        let three = sum("ij,jk,kl->il", &[&a, &b, &a]);
        assert_eq!(three, a.matmul(&b).unwrap().matmul(&a).unwrap());
        let row = Tensor::from([[5.0, 7.0]]);
        assert_eq!(sum("ij,ij->ij", &[&a, &row]).to_vec(), [5.0, 14.0, 15.0, 28.0]);
    }

    #[test]
    fn equations_that_mean_nothing_are_refused() {
        let x = Tensor::<f32>::zeros([2, 3]);
        for (equation, reason) in [
            ("ij,jk", "2 operands"),
            ("i", "does not name the axes"),
            ("ijk", "does not name the axes"),
            ("ii", "have the same name"),
            ("i1", "expected letters"),
            ("ij->k", "got k"),
            ("ij->ii", "got i"),
            ("ij->i->j", "expected letters"),
        ] {
            let error = einsum(equation, &[&x]).err().map(|error| error.to_string());
            let error = error.unwrap_or_else(|| panic!("{equation} was accepted"));
            assert!(error.contains(reason), "{equation}: {error}");
        }
        assert!(einsum("ij,ij->", &[&x, &Tensor::zeros([2, 4])]).is_err());
        assert!(einsum::<Tensor<f32>>("", &[]).is_err());
    }

    #[test]
    fn products_of_tensors() {
        let a = Tensor::<f64>::arange(6).reshape([1, 2, 3]).unwrap();
        let b = Tensor::<f64>::arange(6).reshape([3, 2]).unwrap();
        let product = tensordot(&a, &b, &[1, -1], &[1, 0]).unwrap();
        assert_eq!(product.to_vec(), [0.0 + 2.0 + 8.0 + 3.0 + 12.0 + 25.0]);
        assert!(tensordot(&a, &b, &[0], &[0]).is_err());
        assert!(tensordot(&a, &b, &[1, 1], &[1, 1]).is_err());
        let k = kron(&Tensor::from([1.0, 2.0]), &Tensor::from([[1.0], [3.0]])).unwrap();
        assert_eq!(k, Tensor::from([[1.0, 2.0], [3.0, 6.0]]));
    }
}
