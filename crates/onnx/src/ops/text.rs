//! Strings.

use std::collections::HashMap;

use dendra_tensor::{Error, Result, Shape, Tensor};

use super::shape::check_size;
use super::{Operator, many, one};
use crate::call::Call;
use crate::tensor::{TypedTensor, zip};
use crate::value::Value;

pub(super) const TABLE: &[Operator] = &[
    one("StringConcat", concat),
    one("StringNormalizer", normalizer),
    many("StringSplit", split),
    one("TfIdfVectorizer", tf_idf),
];

fn concat(call: &Call<'_>) -> Result<TypedTensor> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let (x, y) = (a.strings()?, b.strings()?);
    let indices = |x: &TypedTensor| Tensor::from_fn(x.shape().clone(), |i| i as i64);
    // The positions of the first and the second word, combined to one number.
    let count = y.len().max(1) as i64;
    let pairs = zip(&indices(a), &indices(b), &|i, j| i * count + j)?;
    let joined = pairs.to_vec().into_iter().map(|pair| {
        let (i, j) = ((pair / count) as usize, (pair % count) as usize);
        format!("{}{}", x[i], y[j])
    });
    Ok(TypedTensor::text(pairs.shape().clone(), joined.collect()))
}

/// Removes words, and converts to upper or lower case.
fn normalizer(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let action = call.text("case_change_action", "NONE");
    let is_case_sensitive = call.flag("is_case_sensitive");
    let changed = |word: &str| match action {
        "LOWER" => word.to_lowercase(),
        "UPPER" => word.to_uppercase(),
        _ => word.to_owned(),
    };
    let folded = |word: &str| if is_case_sensitive { word.to_owned() } else { word.to_lowercase() };
    let stops: Vec<String> =
        call.texts("stopwords").unwrap_or_default().iter().map(|word| folded(word)).collect();
    let words = x.strings()?.into_iter().filter(|word| !stops.contains(&folded(word)));
    let mut words: Vec<String> = words.map(|word| changed(&word)).collect();
    if words.is_empty() {
        words.push(String::new());
    }
    match x.shape()[..] {
        [_] => Ok(TypedTensor::text([words.len()], words)),
        [1, _] => Ok(TypedTensor::text([1, words.len()], words)),
        _ => call.refuse(format!("expected shape [C] or [1, C], got {}", x.shape())),
    }
}

/// The parts of strings, padded with empty strings, and their numbers.
fn split(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let delimiter = call.text("delimiter", "");
    let most = call.optional_int("maxsplit").and_then(|most| usize::try_from(most).ok());
    let parts = |word: &String| -> Vec<String> {
        let parts: Vec<&str> = match (delimiter, most) {
            ("", None) => word.split_whitespace().collect(),
            ("", Some(most)) => split_spaces(word, most),
            (delimiter, None) => word.split(delimiter).collect(),
            (delimiter, Some(most)) => word.splitn(most.saturating_add(1), delimiter).collect(),
        };
        parts.into_iter().map(str::to_owned).collect()
    };
    let all: Vec<Vec<String>> = x.strings()?.iter().map(parts).collect();
    let width = all.iter().map(Vec::len).max().unwrap_or(0);
    let counts = all.iter().map(|parts| parts.len() as i64).collect();
    let counts = Tensor::from_vec(counts, x.shape().clone())?;
    let shape: Shape = x.shape().iter().copied().chain([width]).collect();
    check_size(&shape)?;
    let filled = all.into_iter().flat_map(|mut parts| {
        parts.resize(width, String::new());
        parts
    });
    Ok(vec![TypedTensor::text(shape, filled.collect()).into(), counts.into()])
}

/// At most `most` splits at runs of spaces.
fn split_spaces(word: &str, most: usize) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), word.trim_start());
    while !rest.is_empty() {
        let end = if parts.len() == most { None } else { rest.find(char::is_whitespace) };
        let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
        parts.push(part);
        rest = after.trim_start();
    }
    parts
}

/// The number of occurrences of the n-grams of a list.
fn tf_idf(call: &Call<'_>) -> Result<TypedTensor> {
    let x = call.tensor(0)?;
    let (rows, columns) = match x.shape()[..] {
        [columns] => (None, columns),
        [rows, columns] => (Some(rows), columns),
        [] => (None, 1),
        _ => return call.refuse(format!("expected shape [C] or [B, C], got {}", x.shape())),
    };
    let counts = call.ints("ngram_counts").unwrap_or_default();
    let indexes = call.ints("ngram_indexes").unwrap_or_default();
    let width = indexes.iter().max().map_or(0, |&most| most + 1);
    let Some(width) = usize::try_from(width).ok().filter(|_| indexes.iter().all(|&i| i >= 0))
    else {
        return call.refuse("ngram_indexes must be at least 0");
    };
    let setting = |name: &str, default| usize::try_from(call.int(name, default)).unwrap_or(0);
    let (least, most) = (setting("min_gram_length", 1).max(1), setting("max_gram_length", 1));
    let skips = setting("max_skip_count", 0);
    // The items of both kinds as strings.
    let (pool, items): (Vec<String>, Vec<String>) = match call.texts("pool_strings") {
        Some(pool) if !pool.is_empty() => (pool.to_vec(), x.strings()?),
        _ => {
            let pool = call.ints("pool_int64s").unwrap_or_default();
            let words = |items: &[i64]| items.iter().map(i64::to_string).collect();
            (words(pool), words(&x.wholes()?.to_vec()))
        }
    };
    let grams = grams(&pool, counts)
        .ok_or_else(|| Error::argument("TfIdfVectorizer", "ngram_counts do not fit the pool"))?;
    let shape: Shape = rows.into_iter().chain([width]).collect();
    check_size(&shape)?;
    let mut found = vec![0.0; shape.elements()];
    for row in 0..rows.unwrap_or(1) {
        let items = &items[row * columns..(row + 1) * columns];
        let mut shortest = least;
        for step in 1..=skips.saturating_add(1).min(columns.max(1)) {
            for start in 0..columns {
                for length in shortest..=most {
                    let Some(last) = (length - 1).checked_mul(step).map(|reach| start + reach)
                    else {
                        break;
                    };
                    if last >= columns {
                        break;
                    }
                    let gram: Vec<&str> =
                        (0..length).map(|i| items[start + i * step].as_str()).collect();
                    if let Some(&index) = grams.get(&gram).and_then(|&id| indexes.get(id)) {
                        found[row * width + index as usize] += 1.0;
                    }
                }
            }
            // Single items do not depend on the number of skipped items.
            shortest = shortest.max(2);
        }
    }
    let weights = call.floats("weights");
    let weight = |i: usize| {
        let weights = weights.as_ref().filter(|weights| !weights.is_empty());
        weights.map_or(1.0, |weights| weights.get(i).copied().unwrap_or(0.0))
    };
    let result = found.iter().enumerate().map(|(i, &count)| match call.text("mode", "TF") {
        "IDF" => {
            if count > 0.0 {
                weight(i % width)
            } else {
                0.0
            }
        }
        "TFIDF" => count * weight(i % width),
        _ => count,
    });
    let result: Vec<f64> = result.collect();
    Ok(TypedTensor::real(crate::ElementType::F32, Tensor::from_vec(result, shape)?))
}

/// The n-grams of a pool with their numbers. `counts` are the starts of the
/// n-grams of each length.
fn grams<'a>(pool: &'a [String], counts: &[i64]) -> Option<HashMap<Vec<&'a str>, usize>> {
    let mut grams = HashMap::new();
    let mut id = 0;
    for (index, &start) in counts.iter().enumerate() {
        let start = usize::try_from(start).ok()?;
        let end = match counts.get(index + 1) {
            Some(&end) => usize::try_from(end).ok()?,
            None => pool.len(),
        };
        for gram in pool.get(start..end)?.chunks_exact(index + 1) {
            grams.entry(gram.iter().map(String::as_str).collect()).or_insert(id);
            id += 1;
        }
    }
    Some(grams)
}
