//! A step of an optimizer whose state the processes divide among themselves.

use std::collections::HashSet;

use dendra_autograd::{EntryMut, Gradients, ParamId, Parameters, Path};
use dendra_optim::Optimizer;
use dendra_tensor::{Float, Result};

use crate::floats::{Compression, elements};
use crate::group::Group;
use crate::layout::Layout;
use crate::report::malformed;

/// Updates the parameters of this process and receives the others.
pub(crate) fn step<T: Float>(
    group: &Group<'_>,
    optimizer: &mut dyn Optimizer<T>,
    model: &mut dyn Parameters<T>,
    gradients: &Gradients<T>,
) -> Result<()> {
    let rank = group.rank();
    let owners = owners(&*model, group.size());
    let own: HashSet<ParamId> =
        owners.iter().filter(|(_, owner)| *owner == rank).map(|(id, _)| *id).collect();
    optimizer.step_part(model, gradients, &|id| own.contains(&id))?;
    let mut message = Vec::new();
    for param in Layout::of(&*model).parameters.iter().filter(|param| own.contains(&param.id())) {
        Compression::None.append(&elements(param.value()), &mut message);
    }
    let all = group.all_gather(message)?;
    let mut rests: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    let mut owners = owners.into_iter();
    let mut result = Ok(());
    model.visit_mut(&mut Path::unwritten(), &mut |_, entry| {
        let EntryMut::Param(param) = entry else { return };
        if !param.is_trainable() || result.is_err() {
            return;
        }
        result = (|| {
            let next = owners.next().filter(|(id, _)| *id == param.id());
            let (_, owner) = next.ok_or_else(malformed)?;
            let bytes = param.value().len() * Compression::None.width::<T>();
            let (taken, rest) = rests[owner].split_at_checked(bytes).ok_or_else(malformed)?;
            rests[owner] = rest;
            match owner == rank {
                true => Ok(()),
                false => Compression::None.read(param.value_mut().make_mut(), taken),
            }
        })();
    });
    result
}

/// The trainable parameters in the order of the model, each with the process that
/// updates it.
fn owners<T: Float>(model: &dyn Parameters<T>, processes: usize) -> Vec<(ParamId, usize)> {
    let layout = Layout::of(model);
    let ids = layout.parameters.iter().map(|param| param.id());
    ids.zip(layout.owners(processes)).collect()
}
