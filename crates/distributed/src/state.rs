//! State dicts: their hash, and sending them.

use std::collections::BTreeMap;
use std::fmt::Write;

use dendra_autograd::{AnyTensor, Parameters, StateDict};
use dendra_tensor::{Element, Error, Float, Result, Tensor};

use crate::bytes::{Reader, Writer};
use crate::report::malformed;

/// The SHA-256 of a model's state, with the names and shapes, as hexadecimal
/// digits. Two models with the same hash have the same weights to the bit.
///
/// ```
/// use dendra_autograd::Param;
/// use dendra_distributed::weights_hash;
/// use dendra_tensor::Tensor;
///
/// let hash = |value| weights_hash(&Param::new(Tensor::from([value, 2.0_f32])));
/// assert_eq!(hash(1.0), hash(1.0));
/// assert_ne!(hash(0.0), hash(-0.0));
/// ```
pub fn weights_hash<T: Float>(model: &dyn Parameters<T>) -> String {
    hash(&model.state_dict())
}

/// The elements of a tensor as bytes, for the types that states have.
fn bytes(tensor: &AnyTensor) -> Option<Vec<u8>> {
    fn of<T: Element, const N: usize>(tensor: &Tensor<T>, bytes: fn(T) -> [u8; N]) -> Vec<u8> {
        tensor.to_vec().into_iter().flat_map(bytes).collect()
    }
    match tensor {
        AnyTensor::F32(tensor) => Some(of(tensor, f32::to_le_bytes)),
        AnyTensor::F64(tensor) => Some(of(tensor, f64::to_le_bytes)),
        AnyTensor::I64(tensor) => Some(of(tensor, i64::to_le_bytes)),
        _ => None,
    }
}

/// The hash of names, shapes and elements.
pub(crate) fn hash(state: &StateDict) -> String {
    let mut hash = hmac_sha256::Hash::new();
    for (name, tensor) in state.iter() {
        hash.update(format!("{name} {} {}\n", tensor.element(), tensor.shape()));
        hash.update(bytes(tensor).unwrap_or_else(|| format!("{tensor:?}").into_bytes()));
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A state as bytes.
pub(crate) fn write(state: &StateDict) -> Result<Vec<u8>> {
    let mut writer = Writer::default();
    for (name, tensor) in state.iter() {
        let bytes = bytes(tensor).ok_or_else(|| {
            let message = format!("cannot send `{name}`, whose elements are {}", tensor.element());
            Error::argument("DataParallel", message)
        })?;
        writer.text(name);
        writer.text(tensor.element());
        writer.number(tensor.shape().len());
        tensor.shape().iter().for_each(|&length| writer.number(length));
        writer.bytes(&bytes);
    }
    Ok(writer.finish())
}

/// The state that was written.
pub(crate) fn read(message: &[u8]) -> Result<StateDict> {
    fn of<T: Element, const N: usize>(
        (shape, bytes): (Vec<usize>, &[u8]),
        value: fn([u8; N]) -> T,
    ) -> Result<Tensor<T>> {
        let values = bytes.chunks_exact(N).map(|chunk| chunk.try_into().map(value));
        Tensor::from_vec(values.collect::<Result<_, _>>().map_err(|_| malformed())?, shape)
    }
    let mut reader = Reader::new(message);
    let mut state = StateDict::new();
    while !reader.is_empty() {
        let (name, element) = (reader.text()?, reader.text()?);
        let axes = reader.count(8)?;
        let shape = (0..axes).map(|_| reader.number()).collect::<Result<Vec<_>>>()?;
        let parts = (shape, reader.bytes()?);
        let tensor: AnyTensor = match element.as_str() {
            "f32" => of(parts, f32::from_le_bytes)?.into(),
            "f64" => of(parts, f64::from_le_bytes)?.into(),
            "i64" => of(parts, i64::from_le_bytes)?.into(),
            _ => return Err(malformed()),
        };
        state.insert(name, tensor);
    }
    Ok(state)
}

/// The state of an optimizer of which each process has a part: for each
/// parameter, the entries of the process that has updated it most often; other
/// entries are the same in all processes.
pub(crate) fn joined(states: &[StateDict]) -> StateDict {
    let parameter = |name: &str| name.rsplit_once('.').map_or("", |(path, _)| path).to_owned();
    let mut updated: BTreeMap<String, (i64, usize)> = BTreeMap::new();
    for (process, state) in states.iter().enumerate() {
        for (name, tensor) in state.iter() {
            if name != "step" && !name.ends_with(".step") {
                continue;
            }
            let steps = tensor.downcast::<i64>().and_then(|steps| steps.item().ok()).unwrap_or(0);
            let best = updated.entry(parameter(name)).or_insert((steps, process));
            if steps > best.0 {
                *best = (steps, process);
            }
        }
    }
    let mut joined = StateDict::new();
    for (process, state) in states.iter().enumerate() {
        for (name, tensor) in state.iter() {
            let owner = updated.get(&parameter(name)).map_or(0, |(_, process)| *process);
            if owner == process {
                joined.insert(name, tensor.clone());
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(entries: &[(&str, AnyTensor)]) -> StateDict {
        let mut state = StateDict::new();
        entries.iter().for_each(|(name, value)| state.insert(*name, value.clone()));
        state
    }

    #[test]
    fn a_state_arrives_as_it_was() {
        let sent = state(&[
            ("a.exp_avg", Tensor::from([[1.5_f32, -0.0]]).into()),
            ("a.step", Tensor::scalar(7_i64).into()),
            ("learning_rate", Tensor::scalar(0.1_f64).into()),
        ]);
        let message = write(&sent).unwrap();
        assert_eq!(read(&message).unwrap(), sent);
        for end in 1..message.len() {
            if let Ok(cut) = read(&message[..end]) {
                assert!(cut.len() < sent.len(), "{end}");
            }
        }
        assert_eq!(hash(&read(&message).unwrap()), hash(&sent));
    }

    #[test]
    fn each_parameter_has_the_state_of_its_process() {
        let scalar = |value: i64| AnyTensor::from(Tensor::scalar(value));
        let moment = |value: f32| AnyTensor::from(Tensor::from([value]));
        let first = [
            ("a.step", scalar(5)),
            ("a.exp_avg", moment(1.0)),
            ("b.step", scalar(0)),
            ("steps", scalar(5)),
        ];
        let second = [
            ("a.step", scalar(3)),
            ("a.exp_avg", moment(2.0)),
            ("b.step", scalar(5)),
            ("b.exp_avg", moment(3.0)),
            ("steps", scalar(5)),
        ];
        let expected = [
            ("a.step", scalar(5)),
            ("a.exp_avg", moment(1.0)),
            ("b.step", scalar(5)),
            ("b.exp_avg", moment(3.0)),
            ("steps", scalar(5)),
        ];
        assert_eq!(joined(&[state(&first), state(&second)]), state(&expected));
    }
}
