//! The classes and functions that a pickle may name, and the results of calling
//! them. No other names are accepted, and no code is run.

use dendra_nn::Dtype;

use super::arena::{Arena, Item, Tensor};

/// A known class or function.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Global {
    /// A dict, such as `OrderedDict`.
    Dict,
    /// A list, tuple or set.
    List,
    /// The class of a storage with elements of this type; `None` for bytes.
    Storage(Option<Dtype>),
    /// `_rebuild_tensor` and its successors. The arguments are storage, offset,
    /// sizes and strides. The argument with this index, if any, is the element
    /// type.
    Tensor(Option<usize>),
    /// A function that returns the argument with this index.
    Argument(usize),
    /// A class whose objects are ignored, such as a device.
    Ignored,
    /// A part of a TorchScript module, whose attributes are kept.
    Object,
}

/// The meaning of a name, or an error message.
pub(super) fn find(module: &str, name: &str) -> Result<Named, String> {
    if module.starts_with("__torch__") {
        return Ok(Named::Global(Global::Object));
    }
    let global = match (module, name) {
        ("collections", "OrderedDict" | "defaultdict" | "Counter")
        | ("__builtin__" | "builtins", "dict") => Global::Dict,
        ("__builtin__" | "builtins", "list" | "tuple" | "set" | "frozenset")
        | ("torch", "Size") => Global::List,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::Tensor(None),
        ("torch._utils", "_rebuild_tensor_v3") => Global::Tensor(Some(6)),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
        | ("torch.nn.parameter", "Parameter") => Global::Argument(0),
        ("torch.storage", "UntypedStorage") | ("torch", "UntypedStorage") => Global::Storage(None),
        (
            "__builtin__" | "builtins",
            "int" | "float" | "bool" | "str" | "complex" | "bytes" | "bytearray" | "object",
        )
        | ("torch", "device" | "layout" | "memory_format" | "strided" | "Generator")
        | ("torch.serialization", "_get_layout")
        | ("torch._utils", "_rebuild_device_tensor_from_numpy")
        | ("argparse", "Namespace")
        | ("datetime", "datetime" | "date" | "timedelta")
        | ("pathlib" | "pathlib._local", "Path" | "PosixPath" | "WindowsPath" | "PurePosixPath")
        | ("_codecs", "encode")
        | ("numpy", "dtype" | "ndarray" | "float32" | "float64" | "int64" | "int32" | "bool_")
        | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct") => {
            Global::Ignored
        }
        ("torch", name) => match (dtype(name), name.strip_suffix("Storage")) {
            (Some(dtype), _) => return Ok(Named::Dtype(dtype)),
            (None, Some(elements)) => {
                Global::Storage(Some(storage(elements).ok_or_else(|| {
                    format!(
                        "tensors of torch.{name} are not supported; convert them to float32 first"
                    )
                })?))
            }
            (None, None) => return Err(refusal(module, name)),
        },
        ("torch._utils", name) if name.starts_with("_rebuild_") => {
            return Err(format!(
                "holds a tensor of a kind that is not supported (torch._utils.{name}); save dense \
                 tensors that are not quantised"
            ));
        }
        _ => return Err(refusal(module, name)),
    };
    Ok(Named::Global(global))
}

/// The possible meanings of a name.
#[derive(Debug)]
pub(super) enum Named {
    Global(Global),
    Dtype(Dtype),
}

fn refusal(module: &str, name: &str) -> String {
    let shown = |text: &str| text.chars().take(100).collect::<String>();
    format!(
        "the pickle asks for {:?}, which is not run: only tensors, numbers, texts and their \
         containers are read. (If the file holds a whole model, save `model.state_dict()`.)",
        format!("{}.{}", shown(module), shown(name))
    )
}

/// The element type with this name in PyTorch.
fn dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "float32" | "float" => Dtype::F32,
        "float64" | "double" => Dtype::F64,
        "float16" | "half" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "float8_e4m3fn" => Dtype::F8_E4M3,
        "float8_e5m2" => Dtype::F8_E5M2,
        "uint8" => Dtype::U8,
        "uint16" => Dtype::U16,
        "uint32" => Dtype::U32,
        "uint64" => Dtype::U64,
        "int8" => Dtype::I8,
        "int16" | "short" => Dtype::I16,
        "int32" | "int" => Dtype::I32,
        "int64" | "long" => Dtype::I64,
        "bool" => Dtype::BOOL,
        "complex64" => Dtype::C64,
        _ => return None,
    })
}

/// The element type of a class of storages, such as that of `FloatStorage`.
fn storage(elements: &str) -> Option<Dtype> {
    Some(match elements {
        "Float" => Dtype::F32,
        "Double" => Dtype::F64,
        "Half" => Dtype::F16,
        "BFloat16" => Dtype::BF16,
        "Byte" => Dtype::U8,
        "Char" => Dtype::I8,
        "Short" => Dtype::I16,
        "Int" => Dtype::I32,
        "Long" => Dtype::I64,
        "Bool" => Dtype::BOOL,
        "ComplexFloat" => Dtype::C64,
        _ => return None,
    })
}

/// The result of a call, or an error message.
pub(super) fn call(arena: &mut Arena, callee: Item, arguments: Item) -> Result<Item, String> {
    let Item::Global(index) = callee else {
        // The result of an ignored class is not called either.
        return Err("the pickle calls an object that is not a function".to_owned());
    };
    let given = arena.as_list(arguments).ok_or("the pickle calls without a tuple of arguments")?;
    let argument = |index: usize| given.get(index).copied();
    match arena.globals[index as usize].clone() {
        Global::Dict => {
            let items = argument(0).and_then(|item| arena.as_list(item)).map(<[Item]>::to_vec);
            let dict = arena.dict(false);
            // `OrderedDict([[key, value], …])` is written by protocol 2 of
            // Python 2.
            for pair in items.unwrap_or_default() {
                let &[key, value] = arena.as_list(pair).ok_or("expected a dict of pairs")? else {
                    return Err("expected a dict of pairs".to_owned());
                };
                if let Item::Dict(dict) = dict {
                    arena.dicts[dict as usize].entries.push((key, value));
                }
            }
            Ok(dict)
        }
        Global::List => {
            let items = argument(0).and_then(|item| arena.as_list(item)).unwrap_or_default();
            let items = items.to_vec();
            Ok(arena.list(items))
        }
        Global::Argument(index) => argument(index).ok_or_else(|| "too few arguments".to_owned()),
        Global::Tensor(dtype_at) => tensor(arena, arguments, dtype_at),
        Global::Object => Ok(arena.dict(true)),
        Global::Ignored | Global::Storage(_) => Ok(Item::Other),
    }
}

fn tensor(arena: &mut Arena, arguments: Item, dtype_at: Option<usize>) -> Result<Item, String> {
    let invalid = || "the arguments of a tensor are invalid".to_owned();
    let given = arena.as_list(arguments).ok_or_else(invalid)?;
    let &[Item::Storage(storage), Item::Int(offset), sizes, strides, ..] = given else {
        return Err(invalid());
    };
    let dtype = match dtype_at.map(|index| given.get(index)) {
        None => None,
        Some(Some(&Item::Dtype(dtype))) => Some(dtype),
        Some(_) => return Err(invalid()),
    };
    let sizes = arena.as_ints(sizes).ok_or_else(invalid)?;
    let strides = arena.as_ints(strides).ok_or_else(invalid)?;
    Ok(arena.tensor(Tensor { storage, dtype, offset, sizes, strides }))
}
