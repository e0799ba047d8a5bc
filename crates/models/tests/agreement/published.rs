//! The published networks: number of parameters, names and shapes.

use dendra_autograd::{Entry, Parameters, Path};
use dendra_models::*;
use dendra_tensor::Result;

use crate::filling::read;

/// FNV-1a with 64 bits.
fn hash64(text: &str) -> u64 {
    let step = |h: u64, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    text.bytes().fold(0xCBF2_9CE4_8422_2325, step)
}

/// Names and shapes of the state, sorted by name.
fn state(model: &dyn Parameters) -> String {
    let mut lines = Vec::new();
    model.visit(&mut Path::default(), &mut |path, entry| {
        let shape = match entry {
            Entry::Param(param) => param.value().shape().to_vec(),
            Entry::Buffer(buffer) => buffer.value().shape().to_vec(),
            Entry::Counter(_) => Vec::new(),
        };
        lines.push((path.as_str().to_owned(), shape));
    });
    lines.sort();
    lines.into_iter().map(|(name, shape)| format!("{name} {shape:?}\n")).collect()
}

/// Each network by its name in torchvision or transformers.
macro_rules! networks {
    ($($family:ident: $($name:ident)*;)*) => {
        /// Family and name of each, in the order of the documentation.
        const NETWORKS: &[(&str, &str)] =
            &[$($((stringify!($family), stringify!($name)),)*)*];

        fn network(name: &str) -> Result<Box<dyn Parameters>> {
            Ok(match name {
                $($(stringify!($name) => Box::new($family::$name().blank()?),)*)*
                _ => panic!("no network {name}"),
            })
        }
    };
}
networks! {
    ResNet: resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d
        resnext101_64x4d wide_resnet50_2 wide_resnet101_2;
    VGG: vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn;
    MobileNetV2: mobilenet_v2;
    MobileNetV3: mobilenet_v3_small mobilenet_v3_large;
    SqueezeNet: squeezenet1_0 squeezenet1_1;
    DenseNet: densenet121 densenet161 densenet169 densenet201;
    ShuffleNetV2: shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0;
    EfficientNet: efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4
        efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_s efficientnet_v2_m
        efficientnet_v2_l;
    ConvNeXt: convnext_tiny convnext_small convnext_base convnext_large;
    RegNet: regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf
        regnet_y_32gf regnet_y_128gf regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf
        regnet_x_8gf regnet_x_16gf regnet_x_32gf;
    VisionTransformer: vit_b_16 vit_b_32 vit_l_16 vit_l_32 vit_h_14;
    SwinTransformer: swin_t swin_s swin_b swin_v2_t swin_v2_s swin_v2_b;
    GPT2LMHeadModel: gpt2 gpt2_medium gpt2_large gpt2_xl;
    BertModel: bert_base bert_large minilm_l6;
    DistilBertModel: distilbert_base;
    LlamaForCausalLM: llama2_7b llama3_2_1b tiny_llama_1_1b;
}

#[test]
fn the_published_networks_have_the_parameters_of_the_originals() {
    let mut wrong = Vec::new();
    for (name, expected) in &read(include_str!("../fixtures/published.json")) {
        let model = network(name).unwrap();
        let count = model.parameter_count() as u64;
        if expected["parameters"].as_u64() != Some(count) {
            wrong.push(format!("{name}: expected {}, got {count}", expected["parameters"]));
        } else if expected["state"] != format!("{:016x}", hash64(&state(&*model))) {
            wrong.push(format!("{name}: other names or shapes:\n{}", state(&*model)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join(",")
}

#[test]
fn networks_are_made_by_their_names() {
    let names: Vec<&str> = NETWORKS.iter().map(|&(_, name)| name).collect();
    assert!(names.starts_with(list_models()), "{:?}", list_models());
    for name in list_models() {
        let model = get_model(name, 1000).unwrap();
        assert_eq!(state(&*model), state(&*network(name).unwrap()), "{name}");
        ImagePreprocessing::of(name).unwrap();
    }
    let classes = |name| state(&*get_model(name, 7).unwrap()).matches("[7]").count();
    assert_eq!(["vgg11", "squeezenet1_0", "swin_v2_t"].map(classes), [1; 3]);
    let error = get_model("resnet19", 10).err().unwrap().to_string();
    assert!(error.contains("\"resnet19\", only resnet18, resnet34"), "{error}");
    assert!(get_model("resnet18", 0).is_err());
}

#[test]
fn the_table_of_the_documentation_is_that_of_the_originals() {
    let fixture = read(include_str!("../fixtures/published.json"));
    assert_eq!(NETWORKS.len(), fixture.len());
    let mut last = "";
    let mut table = String::new();
    for &(family, name) in NETWORKS {
        let count = grouped(fixture[name]["parameters"].as_u64().unwrap());
        let shown = if family == last { String::new() } else { format!("`{family}`") };
        table += &format!("| {shown} | `{name}` | {count} |\n");
        last = family;
    }
    let page = include_str!("../../../../docs/models.md");
    assert!(page.ends_with(&table), "docs/models.md has to end with:\n{table}");
}
