//! `#[derive(Parameters)]`: the visited parameters and buffers, and their names.

#![allow(dead_code)]

use std::collections::HashMap;
use std::marker::PhantomData;

use dendra_nn::autograd::{Buffer, Counter, Entry, Param, Path, Tape};
use dendra_nn::tensor::{Float, Ops, Rng, Tensor};
use dendra_nn::{Dropout, Linear, Module, Parameters, ReLU};

fn names<T: Float>(model: &impl Parameters<T>) -> Vec<String> {
    let mut names = Vec::new();
    model.visit(&mut Path::default(), &mut |path, _| names.push(path.as_str().to_owned()));
    names
}

fn param<T: Float>() -> Param<T> {
    Param::new(Tensor::zeros([2]))
}

fn linear() -> Linear {
    Linear::new(2, 3).init(&mut Rng::seed(0)).unwrap()
}

#[derive(Parameters)]
#[parameters(crate = dendra_nn)]
struct Everything {
    fc1: Linear,
    relu: ReLU,
    dropout: Dropout,
    r#type: Param,
    running: Buffer,
    steps: Counter,
    blocks: Vec<Linear>,
    pair: [Param; 2],
    missing: Option<Param>,
    boxed: Box<dyn Parameters>,
    width: usize,
    label: String,
    #[parameters(rename = "output")]
    head: Param,
    #[parameters(flatten)]
    inner: Inner,
    #[parameters(skip)]
    classes: HashMap<u8, String>,
}

#[derive(Parameters)]
#[parameters(crate = dendra_nn)]
struct Inner {
    scale: Param,
}

fn everything() -> Everything {
    Everything {
        fc1: linear(),
        relu: ReLU,
        dropout: Dropout::new(0.5).unwrap(),
        r#type: param(),
        running: Buffer::new(Tensor::zeros([1])),
        steps: Counter::new(0),
        blocks: vec![linear(), linear()],
        pair: [param(), param()],
        missing: None,
        boxed: Box::new(param()),
        width: 3,
        label: "a".into(),
        head: param(),
        inner: Inner { scale: param() },
        classes: HashMap::new(),
    }
}

#[test]
fn fields_are_found_in_order_by_name() {
    let expected = [
        "fc1.weight",
        "fc1.bias",
        "type",
        "running",
        "steps",
        "blocks.0.weight",
        "blocks.0.bias",
        "blocks.1.weight",
        "blocks.1.bias",
        "pair.0",
        "pair.1",
        "boxed",
        "output",
        "scale",
    ];
    assert_eq!(names(&everything()), expected);
    let mut model = everything();
    let mut mutable = Vec::new();
    model.visit_mut(&mut Path::default(), &mut |path, _| mutable.push(path.as_str().to_owned()));
    assert_eq!(mutable, expected, "both walks agree");
}

#[test]
fn what_is_found_is_the_field_itself() {
    let mut model = everything();
    model.name_parameters();
    assert_eq!(model.head.name(), Some("output"));
    assert_eq!(model.fc1.bias.as_ref().unwrap().name(), Some("fc1.bias"));
    let found = model.name_of(model.pair[1].id());
    assert_eq!(found.as_deref(), Some("pair.1"));
    let mut kinds = Vec::new();
    model.visit(&mut Path::default(), &mut |path, entry| match entry {
        Entry::Param(_) => {}
        Entry::Buffer(_) => kinds.push(format!("{} is a buffer", path.as_str())),
        Entry::Counter(_) => kinds.push(format!("{} is a counter", path.as_str())),
    });
    assert_eq!(kinds, ["running is a buffer", "steps is a counter"]);
}

#[derive(Parameters)]
#[parameters(crate = dendra_nn)]
struct Tuple(Linear, Param, #[parameters(rename = "last")] Param);

#[test]
fn tuple_fields_are_named_by_index() {
    let model = Tuple(linear(), param(), param());
    assert_eq!(names(&model), ["0.weight", "0.bias", "1", "last"]);
}

#[derive(Parameters)]
#[parameters(crate = dendra_nn)]
enum Choice<T: Float> {
    Tuple(Param<T>, Param<T>),
    Named {
        weight: Param<T>,
        #[parameters(skip)]
        place: Vec<&'static str>,
    },
    Same(#[parameters(flatten)] Vec<Param<T>>),
    Nothing,
}

#[test]
fn the_fields_of_the_present_variant_are_found() {
    assert_eq!(names(&Choice::<f64>::Tuple(param(), param())), ["0", "1"]);
    assert_eq!(names(&Choice::<f32>::Named { weight: param(), place: vec![] }), ["weight"]);
    assert_eq!(names(&Choice::<f32>::Same(vec![param()])), ["0"]);
    let mut nothing = Choice::<f32>::Nothing;
    assert!(names(&nothing).is_empty());
    nothing.set_trainable(false);
}

#[derive(Parameters)]
#[parameters(crate = dendra_nn)]
struct Generic<'a, M, T = f64, const N: usize = 2>
where
    T: Float,
{
    inner: Option<M>,
    pairs: [Param<T>; N],
    #[parameters(skip)]
    label: &'a str,
    #[parameters(skip)]
    ghost: PhantomData<HashMap<M, T>>,
}

#[test]
fn generic_types_work_with_any_number_type_and_any_inner_model() {
    let model = Generic::<_, f32> {
        inner: Some(linear()),
        pairs: [param(), param()],
        label: "a",
        ghost: PhantomData,
    };
    assert_eq!(names(&model), ["inner.weight", "inner.bias", "pairs.0", "pairs.1"]);
    let model = Generic::<Param<f64>> {
        inner: None,
        pairs: [param(), param()],
        label: "a",
        ghost: PhantomData,
    };
    assert_eq!(names(&model), ["pairs.0", "pairs.1"]);
}

#[derive(Parameters)]
#[parameters(crate = dendra_nn, element = f64)]
struct Double {
    fc: Linear<f64>,
}

#[derive(Parameters)]
#[parameters(crate = dendra_nn)]
struct Stateless;

#[derive(Parameters)]
#[parameters(crate = dendra_nn)]
enum Never {}

#[test]
fn element_types_are_told_or_any() {
    let fc = Linear::new(2, 1).init_as(&mut Rng::seed(0)).unwrap();
    assert_eq!(names(&Double { fc }), ["fc.weight", "fc.bias"]);
    fn holds_none<M: Parameters<f32> + Parameters<f64>>(_: Option<M>) {}
    holds_none(Some(Stateless));
    holds_none(Some(ReLU));
    holds_none(None::<Never>);
}

#[test]
fn a_derived_model_trains_and_travels() {
    let mut rng = Rng::seed(0);
    let mut model = Tuple(Linear::new(2, 1).init(&mut rng).unwrap(), param(), param());
    let x = Tape::training(0, 0).input(Tensor::ones([4, 2]));
    let gradients = model.0.forward(&x).unwrap().sum().backward().unwrap();
    assert_eq!(gradients.get(&model.0.weight).unwrap().to_vec(), [4.0, 4.0]);

    let mut state = model.state_dict();
    state.insert("1", Tensor::from([7.0_f32, 8.0]));
    model.load_state_dict(&state).unwrap();
    assert_eq!(model.1.value().to_vec(), [7.0, 8.0]);
}
