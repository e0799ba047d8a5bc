//! Event files: records with checksums.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use dendra_nn::{Node, NodeKind, Trace};
use dendra_tensor::{Error, Float, Result, Tensor};

use super::protobuf::{self, GraphNode, Histogram, Message};
use crate::picture;

/// The number of buckets in a histogram.
const BUCKETS: usize = 30;

/// Writes an event file, which TensorBoard reads while it grows.
///
/// ```
/// use dendra_tensor::Tensor;
/// use dendra_train::EventWriter;
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path();
/// let mut writer = EventWriter::create(folder)?;
/// writer.scalar("temperature", 21.5, 0)?;
/// writer.image("input", &Tensor::zeros([1, 28, 28]), 0)?;
/// writer.flush()?;
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct EventWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

impl EventWriter {
    /// Creates a file in this folder, which is created if it does not exist.
    ///
    /// # Errors
    ///
    /// When the file cannot be created.
    pub fn create(folder: impl AsRef<Path>) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        let (time, process) = (now(), std::process::id());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("events.out.tfevents.{time:.0}.dendra.{process}.{number}");
        let path = folder.join(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = BufWriter::new(file.map_err(|error| Error::io(&path, error))?);
        let mut writer = Self { file, path };
        writer.write(protobuf::version(time))?;
        Ok(writer)
    }

    /// Adds a point to a curve.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn scalar(&mut self, tag: &str, value: f64, step: u64) -> Result<()> {
        self.write(protobuf::scalar(now(), step, tag, value as f32))
    }

    /// Adds a histogram of the finite values of a tensor, if it has any.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn histogram<T: Float>(&mut self, tag: &str, values: &Tensor<T>, step: u64) -> Result<()> {
        match histogram_of(&values.to_vec()) {
            Some(histogram) => self.write(protobuf::histogram(now(), step, tag, &histogram)),
            None => Ok(()),
        }
    }

    /// Adds a picture of shape `[1 or 3, height, width]`, in which the lowest
    /// value is black and the highest white.
    ///
    /// # Errors
    ///
    /// When the shape is another one, or the file cannot be written.
    pub fn image(&mut self, tag: &str, image: &Tensor, step: u64) -> Result<()> {
        let png = picture::png(&image.to_vec(), image.shape())?;
        let size = [image.shape()[0], image.shape()[1], image.shape()[2]];
        self.write(protobuf::image(now(), step, tag, size, &png))
    }

    /// Adds a text in Markdown.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn text(&mut self, tag: &str, markdown: &str, step: u64) -> Result<()> {
        self.write(protobuf::text(now(), step, tag, markdown))
    }

    /// Adds the settings of the run, for TensorBoard's page of hyperparameters.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn hyperparameters(&mut self, settings: &[(String, String)]) -> Result<()> {
        self.write(protobuf::hyperparameters(now(), settings))
    }

    /// Adds the graph of the operations of a model, grouped by its parts.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn graph<T: Float>(&mut self, trace: &Trace<T>) -> Result<()> {
        let nodes = trace.nodes();
        let names: Vec<String> = nodes.iter().enumerate().map(|(i, node)| path(i, node)).collect();
        let nodes = nodes.iter().enumerate().map(|(index, node)| GraphNode {
            name: names[index].clone(),
            operation: node.name().to_owned(),
            inputs: node.sources().map(|source| names[source].clone()).collect(),
        });
        self.write(protobuf::graph(now(), &nodes.collect::<Vec<_>>()))
    }

    /// Writes all buffered data to the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|error| Error::io(&self.path, error))
    }

    fn write(&mut self, message: Message) -> Result<()> {
        let written = write_record(&mut self.file, &message.into_bytes());
        written.map_err(|error| Error::io(&self.path, error))
    }
}

/// The path of a value of a trace. TensorBoard draws its components as nested
/// boxes.
fn path<T: Float>(index: usize, node: &Node<T>) -> String {
    match &node.kind {
        NodeKind::Parameter { name, .. } | NodeKind::Buffer { name, .. } => name.replace('.', "/"),
        _ if node.part.is_empty() => format!("{}_{index}", node.name()),
        _ => format!("{}/{}_{index}", node.part.replace('.', "/"), node.name()),
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// Writes a record in TensorFlow's format: the length and its checksum, then
/// the data and their checksum.
fn write_record(to: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    to.write_all(&length)?;
    to.write_all(&masked(&length).to_le_bytes())?;
    to.write_all(data)?;
    to.write_all(&masked(data).to_le_bytes())
}

/// The checksum of a record, masked as TensorFlow does, because the checksum of
/// data that contain checksums is weak.
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Counts the finite values in buckets of equal width; `None` when no value is
/// finite.
fn histogram_of<T: Float>(values: &[T]) -> Option<Histogram> {
    let finite = || values.iter().map(|value| value.to_f64()).filter(|value| value.is_finite());
    let (min, max) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| {
        (min.min(value), max.max(value))
    });
    if min > max {
        return None;
    }
    let buckets = if max > min { BUCKETS } else { 1 };
    let width = (max - min) / buckets as f64;
    let mut counts = vec![0.0; buckets];
    let (mut count, mut sum, mut sum_of_squares) = (0.0, 0.0, 0.0);
    for value in finite() {
        let bucket = if width > 0.0 { ((value - min) / width) as usize } else { 0 };
        counts[bucket.min(buckets - 1)] += 1.0;
        count += 1.0;
        sum += value;
        sum_of_squares += value * value;
    }
    let limit = |bucket| if bucket == buckets { max } else { min + width * bucket as f64 };
    let limits = (1..=buckets).map(limit).collect();
    Some(Histogram { min, max, count, sum, sum_of_squares, limits, counts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_tensorflows_checksums() {
        // The standard check value of CRC-32C.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let mut record = Vec::new();
        write_record(&mut record, b"123456789").unwrap();
        assert_eq!(record.len(), 8 + 4 + 9 + 4);
        assert_eq!(record[..8], 9_u64.to_le_bytes());
        let mask = 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(record[21..], mask.to_le_bytes());
    }

    #[test]
    fn histograms_count_every_finite_value() {
        let values: Vec<f32> = (0..60).map(|i| i as f32).chain([f32::NAN]).collect();
        let histogram = histogram_of(&values).unwrap();
        assert_eq!((histogram.min, histogram.max, histogram.count), (0.0, 59.0, 60.0));
        assert_eq!(histogram.counts.iter().sum::<f64>(), 60.0);
        assert_eq!(histogram.counts.len(), histogram.limits.len());
        assert_eq!(histogram.limits.last(), Some(&59.0));
        assert!(histogram.limits.is_sorted());
        assert_eq!(histogram.sum, 59.0 * 30.0);
        let one = histogram_of(&[2.0_f32, 2.0]).unwrap();
        assert_eq!((one.limits, one.counts), (vec![2.0], vec![2.0]));
        assert_eq!(histogram_of(&[f32::NAN]), None);
        assert_eq!(histogram_of::<f64>(&[]), None);
    }
}
