//! The elements of a tensor in JSON, nested or flat.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// Elements in row-major order, by the JSON types.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Data {
    #[default]
    Empty,
    Bools(Vec<bool>),
    /// Signed integers of up to 64 bits.
    Ints(Vec<i64>),
    /// Integers of which at least one needs 64 unsigned bits.
    Large(Vec<u64>),
    Floats(Vec<f64>),
    Texts(Vec<String>),
}

impl Data {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Bools(all) => all.len(),
            Self::Ints(all) => all.len(),
            Self::Large(all) => all.len(),
            Self::Floats(all) => all.len(),
            Self::Texts(all) => all.len(),
        }
    }

    /// The kind of the elements, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "nothing",
            Self::Bools(_) => "booleans",
            Self::Ints(_) | Self::Large(_) => "integers",
            Self::Floats(_) => "floats",
            Self::Texts(_) => "texts",
        }
    }

    fn push_bool(&mut self, value: bool) -> bool {
        match self {
            Self::Bools(all) => all.push(value),
            Self::Empty => *self = Self::Bools(vec![value]),
            _ => return false,
        }
        true
    }

    fn push_int(&mut self, value: i64) -> bool {
        match self {
            Self::Ints(all) => all.push(value),
            Self::Floats(all) => all.push(value as f64),
            Self::Large(all) => match u64::try_from(value) {
                Ok(value) => all.push(value),
                Err(_) => return false,
            },
            Self::Empty => *self = Self::Ints(vec![value]),
            _ => return false,
        }
        true
    }

    fn push_large(&mut self, value: u64) -> bool {
        match self {
            Self::Large(all) => all.push(value),
            Self::Floats(all) => all.push(value as f64),
            Self::Ints(ints) => {
                let Ok(mut all) =
                    ints.iter().map(|&int| u64::try_from(int)).collect::<Result<Vec<_>, _>>()
                else {
                    return false;
                };
                all.push(value);
                *self = Self::Large(all);
            }
            Self::Empty => *self = Self::Large(vec![value]),
            _ => return false,
        }
        true
    }

    fn push_float(&mut self, value: f64) -> bool {
        let mut all = match std::mem::take(self) {
            Self::Floats(all) => all,
            Self::Ints(all) => all.into_iter().map(|int| int as f64).collect(),
            Self::Large(all) => all.into_iter().map(|int| int as f64).collect(),
            Self::Empty => Vec::new(),
            other => {
                *self = other;
                return false;
            }
        };
        all.push(value);
        *self = Self::Floats(all);
        true
    }

    fn push_text(&mut self, value: String) -> bool {
        match self {
            Self::Texts(all) => all.push(value),
            Self::Empty => *self = Self::Texts(vec![value]),
            _ => return false,
        }
        true
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut data = Self::Empty;
        Into(&mut data).deserialize(deserializer)?;
        Ok(data)
    }
}

/// Adds an element or a list of elements. `serde_json` limits the depth of
/// lists.
struct Into<'a>(&'a mut Data);

impl<'de> DeserializeSeed<'de> for Into<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn pushed<E: Error>(is_pushed: bool) -> Result<(), E> {
    is_pushed.then_some(()).ok_or_else(|| E::custom("expected elements of one type, got several"))
}

impl<'de> Visitor<'de> for Into<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, booleans, strings, or lists of them")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        pushed(self.0.push_bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        pushed(self.0.push_int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        pushed(match i64::try_from(value) {
            Ok(value) => self.0.push_int(value),
            Err(_) => self.0.push_large(value),
        })
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        pushed(self.0.push_float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        pushed(self.0.push_text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Into(self.0))?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_flat_and_of_one_type() {
        let of = |json: &str| serde_json::from_str::<Data>(json);
        assert_eq!(of("[[1, 2], [3, -4]]").unwrap(), Data::Ints(vec![1, 2, 3, -4]));
        assert_eq!(of("[1, 2.5, 3]").unwrap(), Data::Floats(vec![1.0, 2.5, 3.0]));
        let large = u64::MAX;
        assert_eq!(of(&format!("[1, {large}, 2]")).unwrap(), Data::Large(vec![1, large, 2]));
        assert_eq!(of("[true, [false]]").unwrap(), Data::Bools(vec![true, false]));
        assert_eq!(of("[\"a\\n\"]").unwrap(), Data::Texts(vec!["a\n".to_owned()]));
        assert_eq!(of("[[], []]").unwrap(), Data::Empty);
        for json in ["[1, true]", "[\"a\", 1]", "[null]", "[{}]", "[-1, 18446744073709551615]"] {
            assert!(of(json).is_err(), "{json}");
        }
        let deep = "[".repeat(100_000);
        assert!(of(&deep).unwrap_err().to_string().contains("recursion"));
    }
}
