//! Initialisation of the parameters of any model.

use std::collections::HashMap;

use dendra_autograd::{EntryMut, Parameters, Path};
use dendra_tensor::{Float, Rng, Shape};

use super::{Fans, Init};

/// Draws the parameters of a model again. `choose` returns the distribution for
/// the name and shape of a parameter. Parameters for which it returns `None` are
/// unchanged.
///
/// The fans of a bias such as `fc1.bias` are those of the weight of the same
/// layer, `fc1.weight`. To choose by the kind of a layer, pass one layer at a
/// time, for example `&mut net.conv1`, or call
/// [`layer_kind`](crate::Sequential::layer_kind) of a
/// [`Sequential`](crate::Sequential).
///
/// ```
/// use dendra_nn::tensor::Rng;
/// use dendra_nn::{Init, Sequential, initialise};
///
/// let mut rng = Rng::seed(1);
/// let mut model = Sequential::input([4]).dense(8).relu().dense(2).build(&mut rng)?;
/// initialise(&mut model, &mut rng, |name, _| match name {
///     name if name.ends_with("bias") => Some(Init::Zeros),
///     name if name.starts_with("0.") => Some(Init::KaimingNormal { negative_slope: 0.0 }),
///     _ => None,
/// });
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
pub fn initialise<T: Float>(
    model: &mut (impl Parameters<T> + ?Sized),
    rng: &mut Rng,
    mut choose: impl FnMut(&str, &Shape) -> Option<Init>,
) {
    let parameters = model.named_parameters();
    let fans: HashMap<String, Fans> = parameters
        .iter()
        .map(|(name, param)| (name.clone(), Fans::of(param.value().shape())))
        .collect();
    model.visit_mut(&mut Path::default(), &mut |path, entry| {
        let EntryMut::Param(param) = entry else { return };
        let (name, shape) = (path.as_str(), param.value().shape().clone());
        let Some(init) = choose(name, &shape) else { return };
        let weight = name.strip_suffix("bias").map(|layer| format!("{layer}weight"));
        let beside = weight.and_then(|weight| fans.get(&weight));
        let fans = beside.copied().unwrap_or_else(|| Fans::of(&shape));
        *param.value_mut() = init.draw_with_fans(shape, fans, rng);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;

    #[test]
    fn parameters_are_chosen_by_name_shape_and_kind() {
        let mut rng = Rng::seed(2);
        let mut model: Sequential = Sequential::input([1, 6, 6])
            .conv2d(2, 3)
            .flatten()
            .dense(100)
            .named("fc")
            .build(&mut rng)
            .unwrap();
        let before = model.state_dict();
        assert_eq!(model.layer_kind("fc.bias"), Some("Linear"));
        assert_eq!(model.layer_kind("0.weight"), Some("Conv2d"));
        assert_eq!(model.layer_kind("7.weight"), None);
        let kinds = model.clone();
        initialise(&mut model, &mut rng, |name, shape| {
            match (kinds.layer_kind(name), shape.len()) {
                (Some("Linear"), 2) => Some(Init::Ones),
                (Some("Linear"), _) => Some(Init::pytorch()),
                _ => None,
            }
        });
        let after = model.state_dict();
        assert_eq!(after.get("0.weight"), before.get("0.weight"));
        let values = |name| after.typed::<f32>(name).unwrap().to_vec();
        assert!(values("fc.weight").iter().all(|&x| x == 1.0));
        // The bound is 1/√32 from the fan of the weight, not 1/√100.
        let largest = values("fc.bias").iter().fold(0.0_f32, |max, x| max.max(x.abs()));
        assert!(largest > 0.15 && largest <= 0.177, "{largest}");
    }
}
