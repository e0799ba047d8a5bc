//! Finds the first infinity or NaN on a tape.

use dendra_tensor::Float;
use dendra_tensor::ops::Recorded;

use crate::param::ParamId;
use crate::tape::{Node, Tape};

impl<T: Float> Tape<T> {
    /// A description of the first recorded operation with an infinity or a NaN
    /// in its inputs or output, with the parameters that it used; `name`
    /// returns the name of a parameter. `None` when everything is finite. It
    /// must be called before `backward`, which consumes the record.
    pub fn first_not_finite(&self, name: impl Fn(ParamId) -> Option<String>) -> Option<String> {
        let name = |id| name(id).unwrap_or_else(|| "unnamed parameter".to_owned());
        let record = self.shared.record();
        let mut search = Search { nodes: &record.nodes, name: &name, latest: None };
        record.nodes.iter().find_map(|node| search.node(node))
    }
}

/// A search through the nodes, in order.
struct Search<'a, T: Float> {
    nodes: &'a [Node<T>],
    name: &'a dyn Fn(ParamId) -> String,
    /// The parameter that an operation used last.
    latest: Option<ParamId>,
}

impl<T: Float> Search<'_, T> {
    fn node(&mut self, node: &Node<T>) -> Option<String> {
        match node {
            Node::Operation(call) => self.call(&**call),
            Node::Part(part) => part.restore().iter().find_map(|(_, node)| self.node(node)),
            _ => None,
        }
    }

    fn call(&mut self, call: &dyn Recorded<T>) -> Option<String> {
        let mut own = None;
        let mut constant_is_bad = false;
        for (input, parent) in call.inputs().iter().zip(call.parents()) {
            match parent.map(|parent| &self.nodes[parent]) {
                Some(&Node::Param(id)) => {
                    own = own.or(Some(id));
                    if !input.is_finite() {
                        return Some(format!("the value of `{}`", (self.name)(id)));
                    }
                }
                Some(Node::Leaf) if !input.is_finite() => return Some("a leaf".to_owned()),
                // The outputs of other operations were checked there.
                Some(_) => {}
                None => constant_is_bad |= !input.is_finite(),
            }
        }
        let name = call.name();
        let context = match (own, self.latest) {
            (Some(id), _) => format!("`{name}` with `{}`", (self.name)(id)),
            (None, Some(id)) => format!("`{name}` after `{}`", (self.name)(id)),
            (None, None) => format!("`{name}`"),
        };
        if constant_is_bad {
            return Some(format!("the input of {context}"));
        }
        if !call.output().is_finite() {
            return Some(format!("the output of {context}"));
        }
        self.latest = own.or(self.latest);
        None
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::{Ops, Tensor};

    use super::*;
    use crate::checkpoint::checkpoint;
    use crate::param::Param;

    #[test]
    fn the_first_bad_value_is_named() {
        let weight = Param::new(Tensor::from([[1.0_f32, f32::MAX]]));
        let name = |id| (id == weight.id()).then(|| "fc1.weight".to_owned());
        let run = |input: f32| {
            let tape = Tape::training(0, 0);
            let x = tape.input(Tensor::from([[1.0, input]]));
            let _ = x.linear(&weight.on(&x), None).unwrap().relu().sum();
            tape.first_not_finite(name)
        };
        assert_eq!(run(1.0), None);
        assert_eq!(run(f32::NAN).unwrap(), "the input of `linear` with `fc1.weight`");
        assert_eq!(run(2.0).unwrap(), "the output of `linear` with `fc1.weight`");

        let x = Tape::training(0, 0).input(Tensor::from([[1.0, 2.0]]));
        let y = checkpoint(&x, |x| Ok(x.linear(&weight.on(x), None)?.relu())).unwrap();
        let found = y.sum().tape().and_then(|tape| tape.first_not_finite(name));
        assert_eq!(found.unwrap(), "the output of `linear` with `fc1.weight`");
    }
}
