//! The activations of the cases.

use dendra_nn::tensor::{Float, Result, Rng};
use dendra_nn::{
    CELU, GLU, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, LogSigmoid, Mish, Module, PReLU,
    RReLU, ReLU6, SELU, Softmax2d, Softmin, Softshrink, Softsign, Tanhshrink, Threshold,
};

use crate::fixtures::Settings;

/// The activation of this name, if there is one.
pub(crate) fn layer<T: Float>(
    name: &str,
    settings: &Settings,
) -> Result<Option<Box<dyn Module<T>>>> {
    let rng = &mut Rng::seed(0);
    let number = |name| settings.number(name);
    let given = |name| settings.find_setting(name).is_some();
    Ok(Some(match name {
        "CELU" => Box::new(CELU::new(number("alpha"))),
        "GLU" => Box::new(GLU::new(settings.integer("dim"))),
        "Hardshrink" => Box::new(Hardshrink::new(number("lambd"))),
        "Hardsigmoid" => Box::new(Hardsigmoid),
        "Hardswish" => Box::new(Hardswish),
        "Hardtanh" => Box::new(Hardtanh::new(number("min_val"), number("max_val"))),
        "LogSigmoid" => Box::new(LogSigmoid),
        "Mish" => Box::new(Mish),
        "PReLU" => Box::new(PReLU::new(settings.integer("num_parameters") as usize).init_as(rng)?),
        "ReLU6" => Box::new(ReLU6),
        "RReLU" if given("lower") => Box::new(RReLU::new(number("lower"), number("upper"))?),
        "SELU" => Box::new(SELU),
        "Softmax2d" => Box::new(Softmax2d),
        "Softmin" => Box::new(Softmin::new(settings.integer("dim"))),
        "Softshrink" => Box::new(Softshrink::new(number("lambd"))),
        "Softsign" => Box::new(Softsign),
        "Tanhshrink" => Box::new(Tanhshrink),
        "Threshold" => Box::new(Threshold::new(number("threshold"), number("value"))),
        _ => return Ok(None),
    }))
}
