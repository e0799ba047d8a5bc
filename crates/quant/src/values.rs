//! The values of a run: floats, or bytes in some order.

use dendra_tensor::{Error, Result, Tensor};

use crate::affine::Affine;
use crate::kernels::{dequantise, quantise, to_channels_first, to_channels_last};

/// Bytes with a shape. Images `[N, C, H, W]` may lie in memory as `[N, H, W, C]`.
#[derive(Clone, Debug)]
pub(crate) struct Bytes {
    pub(crate) data: Vec<u8>,
    pub(crate) shape: Vec<usize>,
    pub(crate) channels_last: bool,
    pub(crate) unit: Affine,
}

impl Bytes {
    /// The bytes of floats.
    pub(crate) fn of(x: &Tensor<f32>, unit: Affine) -> Self {
        let mut data = vec![0; x.len()];
        x.with(|x| quantise(x, unit.scale, unit.zero, &mut data));
        Self { data, shape: x.shape().to_vec(), channels_last: false, unit }
    }

    pub(crate) fn to_floats(&self) -> Tensor<f32> {
        let bytes = self.ordered(false);
        let data = bytes.as_ref().map_or(&self.data, |bytes| &bytes.data);
        Tensor::build(&self.shape[..], |out| {
            dequantise(data, self.unit.scale, self.unit.zero, out);
        })
    }

    /// The bytes in another order; `None` if they have it already.
    pub(crate) fn ordered(&self, channels_last: bool) -> Option<Self> {
        if self.channels_last == channels_last {
            return None;
        }
        let &[_, channels, height, width] = &self.shape[..] else { return None };
        let mut data = vec![0; self.data.len()];
        let sizes = [channels, height * width];
        match channels_last {
            true => to_channels_last(&self.data, sizes, &mut data),
            false => to_channels_first(&self.data, sizes, &mut data),
        }
        Some(Self { data, shape: self.shape.clone(), channels_last, unit: self.unit })
    }

    /// Changes the order.
    pub(crate) fn order(&mut self, channels_last: bool) {
        if let Some(ordered) = self.ordered(channels_last) {
            *self = ordered;
        }
    }
}

/// A view of the elements of a tensor in row-major order.
pub(crate) trait With {
    fn with<R>(&self, use_slice: impl FnOnce(&[f32]) -> R) -> R;
}

impl With for Tensor<f32> {
    fn with<R>(&self, use_slice: impl FnOnce(&[f32]) -> R) -> R {
        match self.as_slice() {
            Some(slice) => use_slice(slice),
            None => use_slice(&self.to_vec()),
        }
    }
}

/// A value in one or both forms; the other one is computed when it is needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    floats: Option<Tensor<f32>>,
    bytes: Option<Bytes>,
}

impl Slot {
    pub(crate) fn of_floats(x: Tensor<f32>) -> Self {
        Self { floats: Some(x), bytes: None }
    }

    pub(crate) fn of_bytes(x: Bytes) -> Self {
        Self { floats: None, bytes: Some(x) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.floats.is_none() && self.bytes.is_none()
    }

    pub(crate) fn floats(&mut self) -> Result<Tensor<f32>> {
        match (&self.floats, &self.bytes) {
            (Some(floats), _) => Ok(floats.clone()),
            (None, Some(bytes)) => Ok(self.floats.insert(bytes.to_floats()).clone()),
            (None, None) => Err(missing()),
        }
    }

    /// The bytes in an order; floats become bytes of this unit.
    pub(crate) fn bytes(&mut self, unit: Affine, channels_last: bool) -> Result<&Bytes> {
        let bytes = match (&mut self.bytes, &self.floats) {
            (Some(bytes), _) => bytes,
            (none, Some(floats)) => none.insert(Bytes::of(floats, unit)),
            _ => return Err(missing()),
        };
        bytes.order(channels_last);
        Ok(bytes)
    }
}

fn missing() -> Error {
    Error::argument("Quantised", "a value is used before it is computed")
}
