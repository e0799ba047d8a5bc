//! ONNX models.

use std::fs;

use dendra_deploy::{ElementType, Format, Network};
use dendra_nn::{Module, autograd::Var};
use dendra_onnx::Export;
use dendra_tensor::Tensor;

use crate::{classifier, normal, place};

#[test]
fn an_exported_network() {
    let (_folder, path) = place("net");
    let model = classifier();
    let export = Export::of(&model, &Tensor::<f32>::zeros([1, 4])).unwrap();
    let bytes = export.named(&["flowers"], &["logits"]).unwrap().to_bytes().unwrap();
    fs::write(&path, &bytes).unwrap();
    for network in [Network::load(&path), Network::parse(&bytes)] {
        let network = network.unwrap();
        assert_eq!(network.format(), Format::Onnx);
        assert_eq!(network.inputs()[0].to_string(), "flowers: f32 [N, 4]");
        assert_eq!(network.outputs()[0].name, "logits");
        assert_eq!(network.outputs()[0].element, ElementType::F32);
        assert!(!network.has_independent_samples());
        let x = normal(&[5, 4]);
        let expected = model.forward(&Var::new(x.clone())).unwrap().into_value();
        let outputs = network.run(&[("flowers", x.clone().into())]).unwrap();
        assert!(outputs[0].tensor::<f32>().unwrap().allclose(&expected, 1e-5, 1e-6).unwrap());
        let network = network.with_classes(["a", "b", "c"]);
        assert_eq!(network.predict(x).unwrap().len(), 5);
    }
    for length in 0..bytes.len() {
        drop(Network::parse(&bytes[..length]));
    }
}
