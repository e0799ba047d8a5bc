//! The sanity check with randomised parameters.

use dendra_autograd::{EntryMut, Parameters, Path};
use dendra_nn::Module;
use dendra_tensor::{Error, Float, Result, Rng, Tensor};

use crate::batch::samples_of;
use crate::features::Rows;
use crate::method::Method;
use crate::target::Target;

/// The similarity of attributions while the layers of a model are randomised
/// one after the other, from the output to the input (Adebayo et al., 2018). A
/// method whose attributions stay similar does not explain the model.
///
/// Returns the layers in that order, each with the rank correlation between the
/// absolute attributions and those of the trained model, averaged over the
/// samples. A layer is randomised by a permutation of each of its parameters,
/// which depends only on the seed.
///
/// # Errors
///
/// The errors of the method.
pub fn randomised_parameters<T: Float, M: Module<T> + Clone>(
    method: &dyn Method<T>,
    model: &M,
    x: &Tensor<T>,
    target: impl Into<Target>,
    seed: u64,
) -> Result<Vec<(String, f64)>> {
    let target = target.into();
    let before = method.attribute(model, x, &target)?.into_values();
    let mut layers: Vec<String> = Vec::new();
    for (name, _) in model.named_parameters() {
        let layer = name.rsplit_once('.').map_or("", |(layer, _)| layer);
        if !layers.iter().any(|known| known == layer) {
            layers.push(layer.to_owned());
        }
    }
    let mut model = model.clone();
    let mut rng = Rng::seed(seed);
    let mut found = Vec::with_capacity(layers.len());
    for layer in layers.into_iter().rev() {
        shuffle(&mut model, &layer, &mut rng)?;
        let after = method.attribute(&model, x, &target)?.into_values();
        found.push((layer, similarity(&before, &after)?));
    }
    Ok(found)
}

/// Permutes the elements of each parameter of a layer.
fn shuffle<T: Float>(model: &mut dyn Parameters<T>, layer: &str, rng: &mut Rng) -> Result<()> {
    let mut failed = None;
    model.visit_mut(&mut Path::default(), &mut |path, entry| {
        let of = path.as_str().rsplit_once('.').map_or("", |(layer, _)| layer);
        let EntryMut::Param(param) = entry else { return };
        if of != layer {
            return;
        }
        let shape = param.value().shape().clone();
        let mut values = param.value().to_vec();
        rng.shuffle(&mut values);
        if let Err(error) = Tensor::from_vec(values, shape).and_then(|value| param.set(value)) {
            failed = Some(error);
        }
    });
    failed.map_or(Ok(()), Err)
}

/// Spearman's rank correlation of absolute values, averaged over samples.
fn similarity<T: Float>(a: &Tensor<T>, b: &Tensor<T>) -> Result<f64> {
    if a.shape() != b.shape() {
        let message = format!("expected attributions of shape {}, got {}", a.shape(), b.shape());
        return Err(Error::shape("randomised_parameters", message));
    }
    let samples = samples_of(a)?;
    let [a, b] = [a, b].map(Rows::of);
    let each = (0..samples).map(|sample| correlation(&ranks(a.get(sample)), &ranks(b.get(sample))));
    Ok(each.sum::<f64>() / samples.max(1) as f64)
}

/// The rank of the absolute value of each element; equal values get the mean
/// rank.
fn ranks<T: Float>(row: &[T]) -> Vec<f64> {
    let values: Vec<f64> = row.iter().map(|x| x.to_f64().abs()).collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for group in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = start as f64 + (group.len() - 1) as f64 / 2.0;
        group.iter().for_each(|&element| ranks[element] = rank);
        start += group.len();
    }
    ranks
}

/// Pearson's correlation; 0 if one side is constant.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len().max(1) as f64;
    let (of_a, of_b) = (mean(a), mean(b));
    let (mut product, mut left, mut right) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        product += (a - of_a) * (b - of_b);
        left += (a - of_a).powi(2);
        right += (b - of_b).powi(2);
    }
    if left * right > 0.0 { product / (left * right).sqrt() } else { 0.0 }
}
