//! Writing `.npz`.

use std::io::{self, Write};
use std::path::Path;

use dendra_autograd::StateDict;
use dendra_nn::write_whole;
use dendra_tensor::{AnyTensor, Element, Result, Tensor, f16};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::SIGNATURE;

/// Writes tensors to an `.npz` file, which `numpy.load` reads. It contains an
/// uncompressed array for each name.
///
/// The file is written under a temporary name and renamed when it is complete.
///
/// # Errors
///
/// When the file cannot be written, or a tensor has elements of type `bf16`,
/// which NumPy does not have. An existing file is then unchanged.
pub fn write_npz(state: &StateDict, path: impl AsRef<Path>) -> Result<()> {
    write_whole(path, |writer| {
        let mut zip = ZipWriter::new_stream(writer);
        for (name, tensor) in state.iter() {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .large_file(true);
            zip.start_file(format!("{name}.npy"), options)?;
            write_npy(tensor, &mut zip)?;
        }
        zip.finish()?;
        Ok(())
    })
}

/// Writes one array, in row-major order.
fn write_npy(tensor: &AnyTensor, writer: &mut dyn Write) -> io::Result<()> {
    macro_rules! write_as {
        ($($variant:ident $descr:literal $to_bytes:expr;)*) => {
            match tensor {$(
                AnyTensor::$variant(tensor) => {
                    write_header(tensor.shape(), $descr, writer)?;
                    write_values(tensor, writer, $to_bytes)
                }
            )*
                AnyTensor::BF16(_) => {
                    let message = "NumPy has no bf16: convert the tensor to f32 or f16 first";
                    Err(io::Error::other(message))
                }
            }
        };
    }
    write_as! {
        F32 "<f4" f32::to_le_bytes; F64 "<f8" f64::to_le_bytes; F16 "<f2" f16::to_le_bytes;
        U8 "|u1" u8::to_le_bytes; U16 "<u2" u16::to_le_bytes;
        U32 "<u4" u32::to_le_bytes; U64 "<u8" u64::to_le_bytes;
        I8 "|i1" i8::to_le_bytes; I16 "<i2" i16::to_le_bytes;
        I32 "<i4" i32::to_le_bytes; I64 "<i8" i64::to_le_bytes;
        Bool "|b1" |x| [u8::from(x)];
    }
}

fn write_header(shape: &[usize], descr: &str, writer: &mut dyn Write) -> io::Result<()> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The values begin at a multiple of 64 bytes, after a newline.
    let before = SIGNATURE.len() + 4;
    while !(before + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(io::Error::other)?;
    writer.write_all(SIGNATURE)?;
    writer.write_all(&[1, 0])?;
    writer.write_all(&length.to_le_bytes())?;
    writer.write_all(header.as_bytes())
}

fn write_values<T: Element, const N: usize>(
    tensor: &Tensor<T>,
    writer: &mut dyn Write,
    to_bytes: impl Fn(T) -> [u8; N],
) -> io::Result<()> {
    let tensor = tensor.contiguous();
    let values = tensor.as_slice().expect("made contiguous");
    let mut bytes = Vec::new();
    for values in values.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|&value| to_bytes(value)));
        writer.write_all(&bytes)?;
    }
    Ok(())
}
