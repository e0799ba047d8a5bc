//! Quantised networks beside those with floats.

mod aware;

use dendra_nn::{Conv2d, Parameters, Residual, Sequential};
use dendra_quant::{Observer, Quantised, Quantizer, Scheme};
use dendra_tensor::{Ops, Rng, Tensor};

/// A network with all that has a step of integers.
fn network(rng: &mut Rng) -> Sequential {
    let depthwise = Conv2d::lazy(8, 3).padding(1).groups(8);
    Sequential::input([3, 12, 12])
        .layer(Conv2d::lazy(8, 3).padding(1).bias(false))
        .batch_norm2d()
        .relu()
        .max_pool2d(2)
        .layer(depthwise)
        .batch_norm2d()
        .relu6()
        .layer(Residual::new(|block| {
            let block = block.layer(Conv2d::lazy(8, 3).padding(1)).batch_norm2d().relu();
            block.layer(Conv2d::lazy(8, 1))
        }))
        .relu()
        .conv2d(6, 3)
        .relu()
        .max_pool2d(2)
        .flatten()
        .dense(20)
        .gelu()
        .dense(5)
        .named("head")
        .build(rng)
        .unwrap()
}

/// With statistics of batch normalisation that are not those of the start.
fn trained(rng: &mut Rng) -> Sequential {
    let mut model = network(rng);
    let mut state = model.state_dict();
    let names: Vec<String> = state.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names.iter().filter(|name| name.contains("running")) {
        let shape = state.get(name).unwrap().shape().clone();
        state.insert(name.clone(), Tensor::<f32>::uniform(shape, 0.2, 0.6, rng));
    }
    model.load_state_dict(&state).unwrap();
    model
}

fn floats(model: &Sequential, x: &Tensor<f32>) -> Tensor<f32> {
    use dendra_nn::{Module, autograd::Var};
    model.forward(&Var::new(x.clone())).unwrap().into_value()
}

/// The root of the mean squared difference, divided by that of `b`.
fn difference(a: &Tensor<f32>, b: &Tensor<f32>) -> f32 {
    let squares = |x: Tensor<f32>| x.square().mean().item().unwrap();
    (squares(a.sub(b).unwrap()) / squares(b.clone())).sqrt()
}

fn quantizer(model: &Sequential, x: &Tensor<f32>) -> Quantizer {
    let mut quantizer = Quantizer::of(model, x).unwrap();
    quantizer.observe(x).unwrap();
    quantizer
}

#[test]
fn outputs_are_close_by_every_scheme_and_observer() {
    let rng = &mut Rng::seed(1);
    let model = trained(rng);
    let x = Tensor::normal([16, 3, 12, 12], 0.0, 1.0, rng);
    let expected = floats(&model, &x);
    let mut quantizer = quantizer(&model, &x);
    let names: Vec<&str> = quantizer.layers().collect();
    assert_eq!(names, ["0", "4", "7.0", "7.3", "9", "13", "head"]);
    for (scheme, most) in [
        (Scheme::Static, 0.05),
        (Scheme::Dynamic, 0.05),
        (Scheme::WeightsIn16Bits, 0.01),
        (Scheme::WeightsIn8Bits, 0.01),
        (Scheme::WeightsIn4Bits, 0.2),
    ] {
        let y = quantizer.finish(scheme).unwrap().predict(&x).unwrap();
        let difference = difference(&y, &expected);
        assert!(difference < most, "{scheme:?}: {difference}");
    }
    for observer in [Observer::Percentile(99.9), Observer::Entropy] {
        quantizer.set_observer(observer);
        let y = quantizer.finish(Scheme::Static).unwrap().predict(&x).unwrap();
        let difference = difference(&y, &expected);
        assert!(difference < 0.3, "{observer:?}: {difference}");
    }
}

#[test]
fn a_sample_has_the_same_bits_alone_and_in_a_batch() {
    let rng = &mut Rng::seed(2);
    let model = trained(rng);
    let x = Tensor::normal([5, 3, 12, 12], 0.0, 1.0, rng);
    let quantizer = quantizer(&model, &x);
    for scheme in [Scheme::Static, Scheme::Dynamic] {
        let network = quantizer.finish(scheme).unwrap();
        let all = network.predict(&x).unwrap();
        for sample in 0..5 {
            let one = network.predict(&x.index_select(0, &[sample]).unwrap()).unwrap();
            assert_eq!(one, all.index_select(0, &[sample]).unwrap(), "{scheme:?}");
        }
        assert_eq!(
            *network.predict(&Tensor::<f32>::zeros([0, 3, 12, 12])).unwrap().shape(),
            [0, 5]
        );
    }
}

#[test]
fn layers_stay_float_where_asked() {
    let rng = &mut Rng::seed(3);
    let model = trained(rng);
    let x = Tensor::normal([8, 3, 12, 12], 0.0, 1.0, rng);
    let mut quantizer = quantizer(&model, &x);
    let expected = floats(&model, &x);
    let whole = quantizer.finish(Scheme::Static).unwrap();
    let sensitivity = quantizer.sensitivity(&x).unwrap();
    assert_eq!(sensitivity.layers.len(), 7);
    assert!(sensitivity.layers.iter().all(|row| row.change < 0.05));
    assert!(sensitivity.to_string().lines().count() == 8);
    let most = sensitivity.layers[..5].iter().map(|row| row.layer.as_str());
    quantizer.keep_float(most).unwrap();
    let part = quantizer.finish(Scheme::Static).unwrap();
    assert_eq!(part.layers().count(), 2);
    let [whole, part] = [whole, part].map(|network| network.predict(&x).unwrap());
    assert!(difference(&part, &expected) < difference(&whole, &expected));
    let error = quantizer.keep_float(["10"]).unwrap_err().to_string();
    assert!(error.contains("there is no layer \"10\"; the layers are 0, 4, 7.0"), "{error}");
    let all: Vec<String> = quantizer.layers().map(str::to_owned).collect();
    quantizer.keep_float(all).unwrap();
    assert!(quantizer.finish(Scheme::Static).is_err());
}

#[test]
fn files_hold_the_network_in_a_quarter_of_the_size() {
    let folder = tempfile::tempdir().unwrap();
    let rng = &mut Rng::seed(4);
    let model = trained(rng);
    let x = Tensor::normal([4, 3, 12, 12], 0.0, 1.0, rng);
    let mut quantizer = quantizer(&model, &x);
    let path = folder.path().join("net.safetensors");
    for scheme in [
        Scheme::Static,
        Scheme::Dynamic,
        Scheme::WeightsIn16Bits,
        Scheme::WeightsIn8Bits,
        Scheme::WeightsIn4Bits,
    ] {
        let mut network = quantizer.finish(scheme).unwrap();
        network.set_metadata("classes", "a,b");
        network.save(&path).unwrap();
        let again = Quantised::load(&path).unwrap();
        assert_eq!(again.predict(&x).unwrap(), network.predict(&x).unwrap(), "{scheme:?}");
        assert_eq!(again.metadata()["classes"], "a,b");
        // A network that was read can be written.
        assert_eq!(again.to_file().unwrap(), network.to_file().unwrap());
    }
    quantizer.keep_float(["0", "head"]).unwrap();
    let network = quantizer.finish(Scheme::Static).unwrap();
    network.save(&path).unwrap();
    let mut other = trained(&mut Rng::seed(9));
    let again = Quantised::load_for(&mut other, &x, &path).unwrap();
    assert_eq!(again.predict(&x).unwrap(), network.predict(&x).unwrap());

    let wide = Sequential::input([256]).dense(512).relu().dense(256).build(rng).unwrap();
    let x = Tensor::<f32>::normal([8, 256], 0.0, 1.0, rng);
    let mut quantizer = Quantizer::of(&wide, &x).unwrap();
    quantizer.observe(&x).unwrap();
    wide.save(&path).unwrap();
    let float_size = std::fs::metadata(&path).unwrap().len() as f64;
    quantizer.finish(Scheme::Static).unwrap().save(&path).unwrap();
    let share = std::fs::metadata(&path).unwrap().len() as f64 / float_size;
    assert!(share < 0.27, "{share}");
}

#[test]
fn damaged_files_are_refused() {
    let rng = &mut Rng::seed(5);
    let model = trained(rng);
    let x = Tensor::normal([4, 3, 12, 12], 0.0, 1.0, rng);
    let file = quantizer(&model, &x).finish(Scheme::Static).unwrap().to_file().unwrap();
    let message = |change: &dyn Fn(&mut dendra_nn::StateFile)| {
        let mut file = file.clone();
        change(&mut file);
        Quantised::from_file(file, "net").unwrap_err().to_string()
    };
    let description = |from: &str, to: &str| {
        message(&|file| {
            let text = file.metadata.get_mut("dendra.quantised").unwrap();
            assert!(text.contains(from), "{text}");
            *text = text.replace(from, to);
        })
    };
    assert!(message(&|file| file.metadata.clear()).contains("no quantised network"));
    assert!(description("\"version\":1", "\"version\":7").contains("format version 7"));
    assert!(description("\"static\"", "\"other\"").contains("unknown scheme"));
    assert!(description("\"relu\"", "\"tanh\"").contains("other operations"));
    assert!(description("[6,8,3,3]", "[6,8,3,2]").contains("do not fit"));
    let more = description("\"0.weight\":[8,3,3,3]", "\"0.weight\":[8,3,3,99999999]");
    assert!(more.contains("more weights than it holds"), "{more}");
    let lacks = message(&|file| drop(file.state.remove("9.weight.scale")));
    assert!(lacks.contains("lacks the weights of layer 9"), "{lacks}");
    let float = message(&|file| file.state.insert("9.weight", Tensor::<f32>::ones([6, 8, 3, 3])));
    assert!(float.contains("do not fit"), "{float}");
}

#[test]
fn a_small_file_cannot_ask_for_huge_pictures() {
    let rng = &mut Rng::seed(7);
    let model = Sequential::input([2, 8, 8]).conv2d(3, 3).build(rng).unwrap();
    let x = Tensor::normal([2, 2, 8, 8], 0.0, 1.0, rng);
    let mut file = quantizer(&model, &x).finish(Scheme::Static).unwrap().to_file().unwrap();
    for text in file.metadata.values_mut() {
        *text = text.replace("[2,8,8]", "[2,20000,20000]");
    }
    let error = Quantised::from_file(file, "net").unwrap_err().to_string();
    assert!(error.contains("expected at most 268435456 numbers"), "{error}");
}

#[test]
fn static_networks_need_the_ranges_of_their_activations() {
    let model = Sequential::input([4]).dense(3).build(&mut Rng::seed(6)).unwrap();
    let x = Tensor::<f32>::ones([2, 4]);
    let quantizer = Quantizer::of(&model, &x).unwrap();
    assert!(quantizer.finish(Scheme::Static).unwrap_err().to_string().contains("observe"));
    assert!(quantizer.finish(Scheme::Dynamic).is_ok());
    let none = Sequential::input([4]).relu().build(&mut Rng::seed(6)).unwrap();
    assert!(Quantizer::of(&none, &x).is_err());
}
