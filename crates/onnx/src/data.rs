//! The elements of tensors in files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

use dendra_tensor::{Error, Result, Shape, Tensor};

use crate::element::{ElementType, Kind};
use crate::tensor::TypedTensor;
use crate::value::Value;
use crate::wire::{Field, Reader, malformed};

/// The source of a model: the folder that may contain its external data.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) folder: Option<&'a Path>,
}

/// The largest number of axes of a tensor.
const MOST_AXES: usize = 64;

/// The fields of a `TensorProto`.
#[derive(Default)]
struct Proto<'a> {
    name: String,
    dims: Vec<i64>,
    code: i64,
    raw: Option<&'a [u8]>,
    floats: Vec<f32>,
    doubles: Vec<f64>,
    /// Integers of 32 and of 64 bits, signed or unsigned.
    ints: Vec<i64>,
    texts: Vec<String>,
    external: Vec<(String, String)>,
    is_external: bool,
}

/// A tensor and its name.
pub(crate) fn tensor(bytes: &[u8], source: &Source<'_>) -> Result<(String, TypedTensor)> {
    let mut proto = Proto::default();
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => field.ints(&mut proto.dims)?,
            2 => proto.code = field.int()?,
            4 => field.floats(&mut proto.floats)?,
            5 | 7 | 11 => field.ints(&mut proto.ints)?,
            6 => proto.texts.push(String::from_utf8_lossy(field.bytes()?).into_owned()),
            8 => proto.name = field.text()?,
            9 => proto.raw = Some(field.bytes()?),
            10 => field.doubles(&mut proto.doubles)?,
            13 => proto.external.push(entry(field)?),
            14 => proto.is_external = field.int()? == 1,
            _ => {}
        }
    }
    let name = std::mem::take(&mut proto.name);
    let tensor = elements(&proto, source)
        .map_err(|error| error.within(format!("tensor {}", crate::build::start_of(&name))))?;
    Ok((name, tensor))
}

fn entry(field: Field<'_>) -> Result<(String, String)> {
    let (mut key, mut value) = (String::new(), String::new());
    let mut reader = Reader::new(field.bytes()?);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => key = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn elements(proto: &Proto<'_>, source: &Source<'_>) -> Result<TypedTensor> {
    let element = ElementType::from_code(proto.code)?;
    if proto.dims.len() > MOST_AXES {
        return malformed(format!("a tensor of {} axes", proto.dims.len()));
    }
    let dims = proto.dims.iter().map(|&length| usize::try_from(length).ok());
    let shape = dims.collect::<Option<Vec<usize>>>().map(|dims| Shape::from(&dims[..]));
    let Some((shape, count)) =
        shape.and_then(|shape| Some((shape.clone(), shape.checked_elements()?)))
    else {
        return malformed(format!("the shape {:?} is invalid", proto.dims));
    };
    if proto.is_external {
        let bytes = external(proto, source)?;
        return from_raw(element, shape, count, &bytes);
    }
    if let Some(raw) = proto.raw {
        return from_raw(element, shape, count, raw);
    }
    let fits = |found: usize, expected: usize| {
        if found == expected {
            return Ok(());
        }
        malformed(format!("expected {expected} elements for shape {shape}, got {found}"))
    };
    match element.kind() {
        Kind::Text => {
            fits(proto.texts.len(), count)?;
            Ok(TypedTensor::text(shape, proto.texts.clone()))
        }
        Kind::Single(None) => {
            fits(proto.floats.len(), count)?;
            Ok(Tensor::from_vec(proto.floats.clone(), shape)?.into())
        }
        Kind::Double => {
            fits(proto.doubles.len(), count)?;
            Ok(Tensor::from_vec(proto.doubles.clone(), shape)?.into())
        }
        Kind::Single(Some(_)) | Kind::Whole(..=4, _) => {
            // Each integer contains the bits of one element or of one byte.
            let wide = element.bits() == 16;
            let bytes: Vec<u8> = if wide {
                proto.ints.iter().flat_map(|&x| (x as u16).to_le_bytes()).collect()
            } else {
                proto.ints.iter().map(|&x| x as u8).collect()
            };
            from_raw(element, shape, count, &bytes)
        }
        _ => {
            fits(proto.ints.len(), count)?;
            Ok(TypedTensor::whole(element, Tensor::from_vec(proto.ints.clone(), shape)?))
        }
    }
}

/// Converts little-endian bytes to a tensor. Elements of less than a byte are
/// packed, the first in the low bits.
pub(crate) fn from_raw(
    element: ElementType,
    shape: Shape,
    count: usize,
    bytes: &[u8],
) -> Result<TypedTensor> {
    let bits = element.bits();
    let expected = count.checked_mul(bits).map(|bits| bits.div_ceil(8));
    if bits == 0 || expected != Some(bytes.len()) {
        let message =
            format!("{} bytes do not match {} of shape {shape}", bytes.len(), element.name());
        return malformed(message);
    }
    macro_rules! numbers {
        ($type:ty) => {{
            const SIZE: usize = size_of::<$type>();
            let values = bytes.chunks_exact(SIZE);
            let number = |bytes: &[u8]| <$type>::from_le_bytes(bytes.try_into().expect("its size"));
            Tensor::from_vec(values.map(number).collect(), shape)?
        }};
    }
    // The codes of elements of up to 8 bits.
    let codes = || -> Vec<u8> {
        let (per_byte, mask) = (8 / bits.min(8), (1_u32 << bits.min(8)) - 1);
        let codes = bytes.iter().flat_map(|&byte| {
            (0..per_byte).map(move |i| (u32::from(byte) >> (i * bits) & mask) as u8)
        });
        codes.take(count).collect()
    };
    Ok(match element {
        ElementType::F32 => numbers!(f32).into(),
        ElementType::F64 => numbers!(f64).into(),
        ElementType::I64 => numbers!(i64).into(),
        ElementType::U64 => numbers!(u64).into(),
        ElementType::I32 => numbers!(i32).into(),
        ElementType::U32 => numbers!(u32).into(),
        ElementType::I16 => numbers!(i16).into(),
        ElementType::U16 => numbers!(u16).into(),
        ElementType::Bool => Tensor::from_vec(codes(), shape)?.map(|x| x != 0).into(),
        ElementType::U8 => Tensor::from_vec(bytes.to_vec(), shape)?.into(),
        ElementType::I8 => Tensor::from_vec(bytes.to_vec(), shape)?.map(|x| x as i8).into(),
        _ => match element.narrow() {
            Some(narrow) if bits == 16 => {
                let x = numbers!(u16).map(|code| narrow.decode(u32::from(code)) as f32);
                TypedTensor::single(element, dendra_autograd::Var::new(x))
            }
            Some(narrow) => {
                let codes = Tensor::from_vec(codes(), shape)?;
                let x = codes.map(|code| narrow.decode(u32::from(code)) as f32);
                TypedTensor::single(element, dendra_autograd::Var::new(x))
            }
            None => {
                let codes = Tensor::from_vec(codes(), shape)?;
                TypedTensor::whole(element, codes.map(i64::from))
            }
        },
    })
}

/// Reads the bytes of a tensor from a separate file in the folder of the model.
fn external(proto: &Proto<'_>, source: &Source<'_>) -> Result<Vec<u8>> {
    let entry = |key: &str| {
        proto.external.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    };
    let Some(folder) = source.folder else {
        return malformed("external data is supported only for models that are loaded from a file");
    };
    let Some(location) = entry("location") else {
        return malformed("the location of external data is missing");
    };
    let relative = Path::new(location);
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let path = folder.join(relative);
    let io = |error| Error::io(&path, error);
    let outside = || malformed(format!("external data {location:?} is outside the model's folder"));
    if !inside || location.is_empty() {
        return outside();
    }
    // A link must not point outside the folder either.
    let (real, root) = (path.canonicalize().map_err(io)?, folder.canonicalize().map_err(io)?);
    if !real.starts_with(root) {
        return outside();
    }
    let number = |key: &str| match entry(key).map(str::parse::<u64>) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => malformed(format!("the {key} of external data is not a number")),
    };
    let mut file = File::open(&real).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or(size.saturating_sub(offset));
    if offset.checked_add(length).is_none_or(|end| end > size) {
        let message =
            format!("{length} bytes at {offset} are outside {location:?} of {size} bytes");
        return malformed(message);
    }
    file.seek(SeekFrom::Start(offset)).map_err(io)?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes).map_err(io)?;
    Ok(bytes)
}

impl Value {
    /// Reads a tensor from a file with a `TensorProto`, such as the inputs and
    /// outputs of ONNX's own tests.
    ///
    /// # Errors
    ///
    /// When the bytes are not a tensor.
    pub fn from_tensor_proto(bytes: &[u8]) -> Result<Self> {
        Ok(tensor(bytes, &Source { folder: None })?.1.into())
    }

    /// Reads a list of tensors from a file with a `SequenceProto`.
    ///
    /// # Errors
    ///
    /// When the bytes are not a sequence of tensors or of sequences.
    pub fn from_sequence_proto(bytes: &[u8]) -> Result<Self> {
        let mut values = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match number {
                3 => values.push(Self::from_tensor_proto(field.bytes()?)?),
                4 | 6 | 7 => {
                    return malformed(
                        "sequences of sequences, maps or sparse tensors are not supported",
                    );
                }
                _ => {}
            }
        }
        Ok(Self::Sequence(values))
    }

    /// Reads a value from a file with an `OptionalProto`.
    ///
    /// # Errors
    ///
    /// When the bytes are not an optional tensor or sequence.
    pub fn from_optional_proto(bytes: &[u8]) -> Result<Self> {
        let mut value = None;
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next()? {
            match number {
                3 => value = Some(Box::new(Self::from_tensor_proto(field.bytes()?)?)),
                5 => value = Some(Box::new(Self::from_sequence_proto(field.bytes()?)?)),
                _ => {}
            }
        }
        Ok(Self::Optional(value))
    }
}
