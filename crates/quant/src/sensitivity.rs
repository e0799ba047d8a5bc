//! How much each layer's integers change the outputs.

use std::fmt;

use dendra_tensor::{Result, Tensors};

use crate::quantizer::{Quantizer, Scheme};

/// The change of the outputs when one layer alone has integers.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSensitivity {
    /// The path of the layer.
    pub layer: String,
    /// The root of the mean squared change of the outputs, divided by that of the
    /// outputs themselves.
    pub change: f64,
    /// The share of samples whose largest output is still the same one.
    pub agreement: f64,
    /// The number of weights.
    pub weights: usize,
}

/// The sensitivity of a network to the integers of each layer, the most sensitive
/// first. `{}` prints it as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensitivity {
    /// A row for each layer.
    pub layers: Vec<LayerSensitivity>,
}

impl Quantizer {
    /// Compares the outputs of the network on a batch with those of networks in
    /// which one layer alone has integers, by [`Scheme::Static`]. Layers at the
    /// top of the table are candidates for [`keep_float`](Self::keep_float).
    ///
    /// # Errors
    ///
    /// When nothing was observed, or the network does not accept the inputs.
    pub fn sensitivity(&self, inputs: &impl Tensors) -> Result<Sensitivity> {
        let reference = self.reference(inputs)?;
        let reference: Vec<Vec<f32>> = reference
            .iter()
            .filter_map(|output| output.downcast::<f32>().map(|output| output.to_vec()))
            .collect();
        let samples = self.samples_in(inputs)?.max(1);
        let mut layers = Vec::new();
        for name in self.layers() {
            let one = self.finish_where(Scheme::Static, &|layer| layer.name == name)?;
            let (mut changes, mut sizes) = (0.0_f64, 0.0_f64);
            let (mut same, mut compared) = (0, 0);
            for (expected, output) in reference.iter().zip(one.run(inputs)?) {
                let output = output.to_vec();
                for (a, b) in expected.iter().zip(&output) {
                    changes += f64::from(a - b).powi(2);
                    sizes += f64::from(*a).powi(2);
                }
                let width = (expected.len() / samples).max(1);
                for (a, b) in expected.chunks(width).zip(output.chunks(width)) {
                    same += usize::from(largest(a) == largest(b));
                    compared += 1;
                }
            }
            layers.push(LayerSensitivity {
                layer: name.to_owned(),
                change: if sizes > 0.0 { (changes / sizes).sqrt() } else { 0.0 },
                agreement: same as f64 / f64::from(compared.max(1)),
                weights: self.weights_of(name),
            });
        }
        layers.sort_by(|a, b| b.change.total_cmp(&a.change));
        Ok(Sensitivity { layers })
    }
}

/// The index of the largest number.
fn largest(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, x) in values.iter().enumerate() {
        if *x > values[best] {
            best = index;
        }
    }
    best
}

impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.layers.iter().map(|row| row.layer.len()).max().unwrap_or(0).max(5);
        writeln!(f, "{:width$}     change  agreement     weights", "layer")?;
        for row in &self.layers {
            writeln!(
                f,
                "{:width$}  {:8.4} %  {:7.2} %  {:10}",
                row.layer,
                100.0 * row.change,
                100.0 * row.agreement,
                row.weights
            )?;
        }
        Ok(())
    }
}
