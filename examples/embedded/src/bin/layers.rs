//! The embedded network with its layers in the code, so that the program contains only these
//! layers. `Sequential::from_bytes`, in `main.rs`, can read any layer, and is linked with all.

use dendra::nn::StateFile;
use dendra::prelude::*;

#[path = "../digit.rs"]
mod digit;

static MODEL: &[u8] = include_bytes!("../../mnist_cnn.safetensors");

/// The layers with parameters, under their names in the file.
#[derive(Parameters)]
struct Net {
    #[parameters(rename = "0")]
    conv: Conv2d,
    #[parameters(rename = "4")]
    hidden: Linear,
    #[parameters(rename = "6")]
    output: Linear,
}

impl Net {
    fn load(bytes: &[u8]) -> Result<Self> {
        // The weights are those of the file, so none are drawn at random.
        let rng = &mut Rng::seed(0);
        let mut net = Self {
            conv: Conv2d::new(1, 32, 3).weight_init(Init::Zeros).init(rng)?,
            hidden: Linear::new(32 * 13 * 13, 128).weight_init(Init::Zeros).init(rng)?,
            output: Linear::new(128, 10).init(rng)?,
        };
        let file = StateFile::from_bytes(bytes, "mnist_cnn.safetensors")?;
        net.load_state_dict(&file.into_model_state())?;
        Ok(net)
    }
}

impl Module for Net {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = MaxPool2d::new(2).forward(&self.conv.forward(x)?.relu())?;
        self.output.forward(&self.hidden.forward(&x.flatten(1, -1)?)?.relu())
    }
}

fn main() -> Result<()> {
    let model = Net::load(MODEL)?;
    digit::print(&model.forward(&Var::new(digit::read()?))?)
}
