//! The names of element types in the protocol.

use dendra_deploy::ElementType;

/// The element types of tensors with their names in the protocol and their
/// sizes in bytes; strings have no fixed size.
const NAMES: [(ElementType, &str, usize); 12] = [
    (ElementType::Bool, "BOOL", 1),
    (ElementType::U8, "UINT8", 1),
    (ElementType::U16, "UINT16", 2),
    (ElementType::U32, "UINT32", 4),
    (ElementType::U64, "UINT64", 8),
    (ElementType::I8, "INT8", 1),
    (ElementType::I16, "INT16", 2),
    (ElementType::I32, "INT32", 4),
    (ElementType::I64, "INT64", 8),
    (ElementType::F32, "FP32", 4),
    (ElementType::F64, "FP64", 8),
    (ElementType::Text, "BYTES", 0),
];

pub(crate) fn element(name: &str) -> Option<ElementType> {
    NAMES.iter().find(|row| row.1 == name).map(|row| row.0)
}

pub(crate) fn name(element: ElementType) -> &'static str {
    NAMES.iter().find(|row| row.0 == element).map_or("", |row| row.1)
}

pub(crate) fn size(element: ElementType) -> usize {
    NAMES.iter().find(|row| row.0 == element).map_or(0, |row| row.2)
}
