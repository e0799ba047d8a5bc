use super::Operator;

pub(super) const TABLE: &[Operator] = &[];
