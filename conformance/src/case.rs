//! The format of cases and results: a line of JSON, then the elements of its tensors.
//!
//! A case's line names the `entry` and the `dtype` of its numbers and contains the `arguments` by
//! name. A tensor in it is `{"tensor": i}`, the i-th of `tensors`; each of these has `type`,
//! `shape`, and `grad` if its gradient is requested. `parameters` names the tensors of a module's
//! state, `cotangents` those from which the gradients start, one for each output or null. With
//! `strided` every tensor is given as a view that is not contiguous. The elements follow the line
//! in the order of `tensors`, little-endian and row-major.
//!
//! A result's line has a `status`. When it is `ok`, `outputs`, `gradients` (by tensor or
//! parameter) and `buffers` (by name) have their types and shapes, and the elements follow in
//! this order.

use std::io::{self, BufRead, Read, Write};

use dendra_autograd::AnyTensor;
use dendra_tensor::{Shape, Tensor};
use serde_json::{Value, json};

/// A case as it was read.
pub(crate) struct Case {
    pub(crate) header: Value,
    pub(crate) tensors: Vec<AnyTensor>,
}

impl Case {
    /// The next case; `None` at the end of the input.
    pub(crate) fn read(input: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let header: Value = serde_json::from_str(&line)?;
        let strided = header["strided"] == true;
        let described = header["tensors"].as_array().map_or(&[][..], Vec::as_slice);
        let tensors = described.iter().map(|about| tensor(about, strided, input));
        let tensors = tensors.collect::<io::Result<_>>()?;
        Ok(Some(Self { header, tensors }))
    }
}

fn tensor(about: &Value, strided: bool, input: &mut impl Read) -> io::Result<AnyTensor> {
    let sizes = about["shape"].as_array().ok_or_else(|| bad("a tensor without a shape"))?;
    let sizes = sizes.iter().map(|size| size.as_u64().map(|size| size as usize));
    let shape: Shape = sizes.collect::<Option<Vec<_>>>().ok_or_else(|| bad("a size"))?.into();
    Ok(match about["type"].as_str() {
        Some("float32") => laid_out(values(&shape, input, f32::from_le_bytes)?, strided).into(),
        Some("float64") => laid_out(values(&shape, input, f64::from_le_bytes)?, strided).into(),
        Some("int64") => laid_out(values(&shape, input, i64::from_le_bytes)?, strided).into(),
        Some("bool") => laid_out(values(&shape, input, |[byte]| byte != 0)?, strided).into(),
        other => return Err(bad(&format!("elements of type {other:?}"))),
    })
}

fn values<T: dendra_tensor::Element, const N: usize>(
    shape: &Shape,
    input: &mut impl Read,
    element: impl Fn([u8; N]) -> T,
) -> io::Result<Tensor<T>> {
    let mut bytes = vec![0; shape.elements() * N];
    input.read_exact(&mut bytes)?;
    let (elements, _) = bytes.as_chunks::<N>();
    let elements = elements.iter().map(|&bytes| element(bytes)).collect();
    Tensor::from_vec(elements, shape).map_err(|error| bad(&error.to_string()))
}

/// The same values; with `strided` stored with reversed axes and gaps.
fn laid_out<T: dendra_tensor::Element>(x: Tensor<T>, strided: bool) -> Tensor<T> {
    if !strided || x.rank() == 0 {
        return x;
    }
    let reversed: Vec<isize> = (0..x.rank() as isize).rev().collect();
    let apart = x.permute(&reversed).and_then(|x| x.contiguous().repeat_interleave(2, -1));
    let view = apart.and_then(|apart| apart.contiguous().slice(-1, 0, None, 2)?.permute(&reversed));
    view.expect("every tensor has its axes")
}

fn bad(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}

/// The result of a case.
pub(crate) struct Answer {
    pub(crate) outputs: Vec<AnyTensor>,
    /// By the number of a tensor or the name of a parameter; `None` if no gradient flows.
    pub(crate) gradients: Vec<(Value, Option<AnyTensor>)>,
    pub(crate) buffers: Vec<(String, AnyTensor)>,
}

impl Answer {
    /// Writes the result.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let about = |x: &AnyTensor| json!({"type": x.element(), "shape": x.shape().to_vec()});
        let outputs: Vec<Value> = self.outputs.iter().map(about).collect();
        let gradients = self.gradients.iter().map(|(of, x)| json!([of, x.as_ref().map(about)]));
        let buffers = self.buffers.iter().map(|(name, x)| json!([name, about(x)]));
        let line = json!({
            "status": "ok",
            "outputs": outputs,
            "gradients": gradients.collect::<Vec<_>>(),
            "buffers": buffers.collect::<Vec<_>>(),
        });
        writeln!(out, "{line}")?;
        let gradients = self.gradients.iter().filter_map(|(_, x)| x.as_ref());
        let buffers = self.buffers.iter().map(|(_, x)| x);
        self.outputs.iter().chain(gradients).chain(buffers).try_for_each(|x| write_values(x, out))
    }
}

fn write_values(x: &AnyTensor, out: &mut impl Write) -> io::Result<()> {
    if let Some(x) = x.downcast::<f32>() {
        return x.to_vec().iter().try_for_each(|value| out.write_all(&value.to_le_bytes()));
    }
    if let Some(x) = x.downcast::<f64>() {
        return x.to_vec().iter().try_for_each(|value| out.write_all(&value.to_le_bytes()));
    }
    if let Some(x) = x.downcast::<i64>() {
        return x.to_vec().iter().try_for_each(|value| out.write_all(&value.to_le_bytes()));
    }
    if let Some(x) = x.downcast::<bool>() {
        return x.to_vec().iter().try_for_each(|&value| out.write_all(&[u8::from(value)]));
    }
    Err(bad(&format!("a result of type {}", x.element())))
}
