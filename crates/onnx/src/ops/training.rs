//! Updates of parameters, of the domain `ai.onnx.preview.training`.

use dendra_tensor::{Result, Tensor};

use super::{Operator, many, of};
use crate::call::Call;
use crate::tensor::TypedTensor;
use crate::value::Value;

const DOMAIN: &str = "ai.onnx.preview.training";

pub(super) const TABLE: &[Operator] = &[
    of(DOMAIN, many("Adagrad", adagrad)),
    of(DOMAIN, many("Adam", adam)),
    of(DOMAIN, many("Momentum", momentum)),
];

/// One element of a parameter: its value, its gradient, and the learning rate
/// and the number of earlier updates, which all elements share.
struct Element {
    value: f64,
    gradient: f64,
    rate: f64,
    earlier: f64,
}

/// Updates several parameters. The inputs are the learning rate, the number of
/// earlier updates, then all parameters, all gradients and `STATES` lists of
/// states; the outputs are the parameters and the states.
fn each_element<const STATES: usize>(
    call: &Call<'_>,
    update: &dyn Fn(Element, [f64; STATES]) -> (f64, [f64; STATES]),
) -> Result<Vec<Value>> {
    let rate = call.number(0)?.unwrap_or(0.0);
    let earlier = call.integer(1)? as f64;
    let count = call.inputs.len().saturating_sub(2) / (2 + STATES);
    let mut outputs: Vec<Vec<Value>> = vec![Vec::new(); 1 + STATES];
    for index in 0..count {
        let input = |list: usize| call.tensor(2 + list * count + index);
        let like = input(0)?;
        let lists = (0..2 + STATES).map(|list| Ok(input(list)?.reals()?.to_vec()));
        let lists = lists.collect::<Result<Vec<_>>>()?;
        if lists.iter().any(|list| list.len() != like.len()) {
            return call.refuse("gradient, states and parameter have different shapes");
        }
        let mut new = vec![Vec::with_capacity(like.len()); 1 + STATES];
        for (i, &value) in lists[0].iter().enumerate() {
            let gradient = lists[1][i];
            let states = std::array::from_fn(|state| lists[2 + state][i]);
            let (value, states) = update(Element { value, gradient, rate, earlier }, states);
            new[0].push(value);
            for (list, state) in new[1..].iter_mut().zip(states) {
                list.push(state);
            }
        }
        for (output, values) in outputs.iter_mut().zip(new) {
            let values = Tensor::from_vec(values, like.shape().clone())?;
            output.push(TypedTensor::real(like.element(), values).into());
        }
    }
    Ok(outputs.concat())
}

fn adagrad(call: &Call<'_>) -> Result<Vec<Value>> {
    let (decay, epsilon) = (call.float("decay_factor", 0.0), call.float("epsilon", 0.0));
    let norm = call.float("norm_coefficient", 0.0);
    each_element(call, &|x, [squares]| {
        let rate = x.rate / (1.0 + x.earlier * decay);
        let gradient = norm * x.value + x.gradient;
        let squares = squares + gradient * gradient;
        (x.value - rate * gradient / (squares.sqrt() + epsilon), [squares])
    })
}

fn adam(call: &Call<'_>) -> Result<Vec<Value>> {
    let (alpha, beta) = (call.float("alpha", 0.9), call.float("beta", 0.999));
    let epsilon = call.float("epsilon", 0.0);
    let (before, after) =
        (call.float("norm_coefficient", 0.0), call.float("norm_coefficient_post", 0.0));
    each_element(call, &|x, [mean, squares]| {
        let gradient = before * x.value + x.gradient;
        let mean = alpha * mean + (1.0 - alpha) * gradient;
        let squares = beta * squares + (1.0 - beta) * gradient * gradient;
        let rate = match x.earlier > 0.0 {
            true => x.rate * (1.0 - beta.powf(x.earlier)).sqrt() / (1.0 - alpha.powf(x.earlier)),
            false => x.rate,
        };
        let value = x.value - rate * mean / (squares.sqrt() + epsilon);
        ((1.0 - after) * value, [mean, squares])
    })
}

fn momentum(call: &Call<'_>) -> Result<Vec<Value>> {
    let (alpha, beta) = (call.float("alpha", 0.9), call.float("beta", 1.0));
    let norm = call.float("norm_coefficient", 0.0);
    let is_nesterov = call.text("mode", "standard") == "nesterov";
    each_element(call, &|x, [velocity]| {
        let gradient = norm * x.value + x.gradient;
        let beta = if x.earlier > 0.0 { beta } else { 1.0 };
        let velocity = alpha * velocity + beta * gradient;
        let step = if is_nesterov { gradient + alpha * velocity } else { velocity };
        (x.value - x.rate * step, [velocity])
    })
}
