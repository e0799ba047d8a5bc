//! Networks of integers.

use std::path::Path;

use dendra_datasets::AnyPreprocessing;
use dendra_nn::{NodeKind, Size, StateFile};
use dendra_quant::Quantised;
use dendra_tensor::{Error, Result, Shape};

use crate::ElementType;
use crate::describe::TensorInfo;
use crate::network::{Kind, Network};
use crate::open::own;

impl Network {
    pub(crate) fn of_quantised(
        file: StateFile,
        preprocessing: AnyPreprocessing,
        classes: Vec<String>,
        path: &Path,
    ) -> Result<Self> {
        let metadata = own(file.metadata.clone());
        let model = Quantised::from_file(file, path)?;
        let trace = model.trace();
        let is_input = |kind: &NodeKind<f32>| matches!(kind, NodeKind::Input { .. });
        let input = trace.nodes().iter().find(|node| is_input(&node.kind));
        let output = trace.outputs().first().map(|&output| &trace.nodes()[output]);
        let (Some(input), Some(output)) = (input, output) else {
            return Err(Error::file(path, "the network has no input or no output"));
        };
        let taken = sample(&input.shape);
        if let Some(made) = preprocessing.input_shape()
            && made != taken
        {
            let message = format!("the network takes {taken}, and the preprocessing makes {made}");
            return Err(Error::file(path, message));
        }
        let element = if input.element == "i64" { ElementType::I64 } else { ElementType::F32 };
        Ok(Self {
            inputs: vec![TensorInfo::batch("input", element, &taken)],
            outputs: vec![TensorInfo::batch("output", ElementType::F32, &sample(&output.shape))],
            model: Kind::Quantised(Box::new(model)),
            preprocessing,
            classes: classes.into(),
            metadata,
        })
    }
}

/// The shape of one sample.
fn sample(shape: &[Size]) -> Shape {
    shape.iter().skip(1).map(|size| size.of(1) as usize).collect()
}
