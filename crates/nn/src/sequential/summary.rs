//! The summary of a network as a table.

use std::fmt;

use dendra_autograd::{Entry, Parameters, Path};
use dendra_tensor::Float;

use super::{Sequential, batch_of};

/// The layers of a network with their output shapes and numbers of parameters.
/// `{}` formats it as a table. A precision, as in `{summary:.80}`, is the maximum
/// width of the table in columns; longer cells are truncated.
///
/// ```
/// use dendra_nn::Sequential;
/// use dendra_nn::tensor::Rng;
///
/// let model = Sequential::input([784]).dense(64).relu().dense(10).build(&mut Rng::seed(0))?;
/// assert_eq!(
///     model.summary().to_string(),
///     "\
/// layer               output shape  parameters
/// --------------------------------------------
///    input            [N, 784]
/// 0  Linear 784 → 64  [N, 64]           50,240
/// 1  ReLU             [N, 64]                0
/// 2  Linear 64 → 10   [N, 10]              650
/// --------------------------------------------
/// 50,890 parameters (198.8 KiB), all trainable
/// "
/// );
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The row of the input, followed by one row per layer.
    pub rows: Vec<SummaryRow>,
    /// The number of trainable values.
    pub trainable: usize,
    /// The number of values in frozen parameters.
    pub frozen: usize,
    /// The memory of parameters and buffers, in bytes.
    pub bytes: usize,
}

/// A row of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryRow {
    /// The name or index of the layer; empty for the input.
    pub name: String,
    /// The layer and its sizes.
    pub layer: String,
    /// The shape of the output, such as `[N, 64]`.
    pub output: String,
    /// The number of values in its parameters, including frozen ones; `None` for
    /// the input.
    pub parameters: Option<usize>,
    /// The number of multiply–add operations per sample; `None` if they were not
    /// counted, as in [`Sequential::summary`](super::Sequential::summary).
    pub multiply_adds: Option<u64>,
}

impl Summary {
    pub(super) fn of<T: Float>(model: &Sequential<T>) -> Self {
        let (mut trainable, mut frozen, mut bytes) = (0, 0, 0);
        let mut rows = vec![SummaryRow {
            name: String::new(),
            layer: model.input.method().into(),
            output: batch_of(&model.input.shape),
            parameters: None,
            multiply_adds: None,
        }];
        for (name, part) in model.named_parts() {
            let mut parameters = 0;
            part.layer.visit(&mut Path::default(), &mut |_, entry| match entry {
                Entry::Param(param) => {
                    let count = param.value().len();
                    parameters += count;
                    bytes += count * size_of::<T>();
                    *if param.is_trainable() { &mut trainable } else { &mut frozen } += count;
                }
                Entry::Buffer(buffer) => bytes += buffer.value().len() * size_of::<T>(),
                Entry::Counter(_) => bytes += size_of::<i64>(),
            });
            let name = name.to_string();
            let (layer, output) = (part.description(), batch_of(&part.output));
            let parameters = Some(parameters);
            rows.push(SummaryRow { name, layer, output, parameters, multiply_adds: None });
        }
        Self { rows, trainable, frozen, bytes }
    }
}

/// Formats a number with commas between groups of three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats a size in the largest unit that does not exceed it.
fn memory(bytes: usize) -> String {
    let mut size = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            let digits = if unit == "bytes" { 0 } else { 1 };
            return format!("{size:.digits$} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// Truncates a text to this number of columns.
fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let is_counted = self.rows.iter().any(|row| row.multiply_adds.is_some());
        let head = ["layer", "output shape", "parameters", "multiply-adds"].map(str::to_owned);
        let cells = self.rows.iter().map(|row| {
            let multiply_adds = row.multiply_adds.map(|count| grouped(count as usize));
            [
                format!("{:names$}  {}", row.name, row.layer),
                row.output.clone(),
                row.parameters.map(grouped).unwrap_or_default(),
                multiply_adds.unwrap_or_default(),
            ]
        });
        let mut table: Vec<[String; 4]> = [head].into_iter().chain(cells).collect();
        if !is_counted {
            table.iter_mut().for_each(|row| row[3].clear());
        }
        let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max();
        let [mut layers, mut outputs, counts, products] =
            [0, 1, 2, 3].map(|i| width(i).unwrap_or(0));
        let last = if is_counted { 2 + products } else { 0 };
        let limit = f.precision().unwrap_or(usize::MAX);
        let room = limit.saturating_sub(2 + 2 + counts + last);
        if layers + outputs > room {
            layers = room.saturating_sub(outputs).max(room / 2).min(layers);
            outputs = (room - layers).min(outputs);
            for row in &mut table {
                row[0] = cut(&row[0], layers);
                row[1] = cut(&row[1], outputs);
            }
        }
        let rule = "-".repeat(layers + 2 + outputs + 2 + counts + last);
        for (index, [layer, output, parameters, multiply_adds]) in table.iter().enumerate() {
            let mut text = format!("{layer:layers$}  {output:outputs$}  {parameters:>counts$}");
            text += &format!("  {multiply_adds:>products$}");
            writeln!(f, "{}", text.trim_end())?;
            if index == 0 {
                writeln!(f, "{rule}")?;
            }
        }
        writeln!(f, "{rule}")?;
        let (total, memory) = (grouped(self.trainable + self.frozen), memory(self.bytes));
        let total = format!("{total} parameters ({memory}),");
        let trainable = match self.frozen {
            0 => "all trainable".to_owned(),
            frozen => format!("{} trainable, {} frozen", grouped(self.trainable), grouped(frozen)),
        };
        let fits = total.chars().count() + 1 + trainable.chars().count() <= limit;
        writeln!(f, "{total}{}{trainable}", if fits { " " } else { "\n" })?;
        if is_counted {
            let total: u64 = self.rows.iter().filter_map(|row| row.multiply_adds).sum();
            writeln!(f, "{} multiply-adds for each sample", grouped(total as usize))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Rng;

    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_are_short() {
        let numbers = [0, 7, 999, 1000, 123_456, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "7", "999", "1,000", "123,456", "1,234,567"]);
        let sizes = [0, 1023, 1024, 1536, 5 << 20, 3 << 40].map(memory);
        assert_eq!(sizes, ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "5.0 MiB", "3.0 TiB"]);
    }

    #[test]
    fn frozen_parameters_are_counted_apart() {
        let builder = Sequential::input([3]).dense(2).dense(5);
        let mut model = builder.build_as::<f64>(&mut Rng::seed(0)).unwrap();
        model.parts[0].layer.set_trainable(false);
        let summary = model.summary();
        assert_eq!((summary.trainable, summary.frozen, summary.bytes), (15, 8, 23 * 8));
        let text = summary.to_string();
        assert!(text.contains("23 parameters (184 bytes), 15 trainable, 8 frozen"), "{text}");
        assert_eq!(summary.rows[1].parameters, Some(8));
    }

    #[test]
    fn a_precision_limits_the_columns() {
        let builder = Sequential::input([1, 28, 28]).conv2d(32, 3).named("a_rather_long_name");
        let model = builder.flatten().dense(128).build(&mut Rng::seed(0)).unwrap();
        let summary = model.summary();
        assert_eq!(format!("{summary:.200}"), summary.to_string());
        for columns in [40, 60, 80] {
            let text = format!("{summary:.columns$}");
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= columns, "{text}");
            assert!(text.contains("2,769,024") && text.contains("all trainable"), "{text}");
        }
    }

    #[test]
    fn every_line_of_the_table_fits_its_rule() {
        let builder = Sequential::input([12345]).dense(678).named("a_rather_long_name").relu();
        let text = builder.build(&mut Rng::seed(0)).unwrap().summary().to_string();
        let lines: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        let rule = lines[1];
        assert!(lines[..lines.len() - 1].iter().all(|&length| length <= rule), "{text}");
        assert_eq!(lines[3], rule, "the row with the count of parameters is full\n{text}");
    }
}
