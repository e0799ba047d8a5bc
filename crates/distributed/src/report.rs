//! What the processes tell each other about a step besides the gradients.

use dendra_autograd::Gradients;
use dendra_tensor::{Error, Float, Result};
use dendra_train::{Figures, Shard};

use crate::bytes::{Reader, Writer};
use crate::floats::Compression;
use crate::layout::Layout;

/// The error of a message that does not have the expected form.
pub(crate) fn malformed() -> Error {
    Error::data("DataParallel", "a message of another process does not fit the model")
}

/// The outcome of a shard.
pub(crate) enum Report<T: Float> {
    /// It has no samples, or was not computed because another one failed.
    Empty,
    Done(Done<T>),
    Failed(Error),
}

/// The result of a shard, except for its gradients.
pub(crate) struct Done<T: Float> {
    pub(crate) figures: Figures,
    /// Whether each parameter has a gradient.
    pub(crate) present: Vec<bool>,
    pub(crate) changes: Vec<Change<T>>,
}

/// An update of a buffer, by its index in the model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change<T> {
    Towards { buffer: usize, target: Vec<T>, weight: f64 },
    Average { buffer: usize, target: Vec<T>, seen: u64 },
    Increment { buffer: usize },
}

// The kinds of reports and of changes in messages.
const EMPTY: usize = 0;
const DONE: usize = 1;
const NOT_FINITE: usize = 2;
const FAILED: usize = 3;
const TOWARDS: usize = 0;
const AVERAGE: usize = 1;
const INCREMENT: usize = 2;

impl<T: Float> Done<T> {
    pub(crate) fn of(shard: &Shard<T>, layout: &Layout<'_, T>) -> Self {
        let gradients: &Gradients<T> = &shard.gradients;
        let present = layout.parameters.iter().map(|param| gradients.get(param).is_some());
        Self {
            figures: shard.figures.clone(),
            present: present.collect(),
            changes: layout.changes(gradients),
        }
    }
}

impl<T: Float> Report<T> {
    pub(crate) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Empty => writer.number(EMPTY),
            Self::Done(done) => {
                writer.number(DONE);
                write_figures(&done.figures, writer);
                writer.number(done.present.len());
                done.present.iter().for_each(|&present| writer.flag(present));
                writer.number(done.changes.len());
                done.changes.iter().for_each(|change| change.write(writer));
            }
            Self::Failed(error) => write_error(error, writer),
        }
    }

    /// Reads what process `rank` wrote.
    pub(crate) fn read(rank: usize, reader: &mut Reader<'_>) -> Result<Self> {
        Ok(match reader.number()? {
            EMPTY => Self::Empty,
            DONE => {
                let figures = read_figures(reader)?;
                let present =
                    (0..reader.count(1)?).map(|_| reader.flag()).collect::<Result<_>>()?;
                let changes =
                    (0..reader.count(16)?).map(|_| Change::read(reader)).collect::<Result<_>>()?;
                Self::Done(Done { figures, present, changes })
            }
            kind => Self::Failed(read_error(kind, rank, reader)?),
        })
    }
}

impl<T: Float> Change<T> {
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Towards { buffer, target, weight } => {
                writer.number(TOWARDS);
                writer.number(*buffer);
                writer.float(*weight);
                writer.bytes(&Compression::None.write(target));
            }
            Self::Average { buffer, target, seen } => {
                writer.number(AVERAGE);
                writer.number(*buffer);
                writer.number(*seen as usize);
                writer.bytes(&Compression::None.write(target));
            }
            Self::Increment { buffer } => {
                writer.number(INCREMENT);
                writer.number(*buffer);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (kind, buffer) = (reader.number()?, reader.number()?);
        Ok(match kind {
            TOWARDS => {
                let weight = reader.float()?;
                Self::Towards { buffer, weight, target: values(reader.bytes()?)? }
            }
            AVERAGE => {
                let seen = reader.number()? as u64;
                Self::Average { buffer, seen, target: values(reader.bytes()?)? }
            }
            INCREMENT => Self::Increment { buffer },
            _ => return Err(malformed()),
        })
    }
}

/// Values that were sent with all bits.
pub(crate) fn values<T: Float>(bytes: &[u8]) -> Result<Vec<T>> {
    let mut values = vec![T::ZERO; bytes.len() / Compression::None.width::<T>()];
    Compression::None.read(&mut values, bytes)?;
    Ok(values)
}

pub(crate) fn write_figures(figures: &Figures, writer: &mut Writer) {
    writer.float(figures.loss);
    writer.flag(figures.divisor.is_some());
    writer.float(figures.divisor.unwrap_or(0.0));
    writer.number(figures.samples);
    writer.number(figures.metrics.len());
    figures.metrics.iter().for_each(|state| writer.floats(state));
}

pub(crate) fn read_figures(reader: &mut Reader<'_>) -> Result<Figures> {
    let loss = reader.float()?;
    let (has_divisor, divisor) = (reader.flag()?, reader.float()?);
    let samples = reader.number()?;
    let metrics = (0..reader.count(8)?).map(|_| reader.floats()).collect::<Result<_>>()?;
    Ok(Figures { loss, divisor: has_divisor.then_some(divisor), samples, metrics })
}

pub(crate) fn write_error(error: &Error, writer: &mut Writer) {
    match error {
        Error::NotFinite { context, message } => {
            writer.number(NOT_FINITE);
            writer.text(context);
            writer.text(message);
        }
        _ => {
            writer.number(FAILED);
            writer.text(&error.to_string());
        }
    }
}

/// The error of process `rank`.
fn read_error(kind: usize, rank: usize, reader: &mut Reader<'_>) -> Result<Error> {
    match kind {
        NOT_FINITE => Ok(Error::not_finite(reader.text()?, reader.text()?)),
        FAILED => Ok(Error::data(format!("process {rank}"), reader.text()?)),
        _ => Err(malformed()),
    }
}

/// Writes whether something succeeded.
pub(crate) fn write_outcome(outcome: &Result<()>, writer: &mut Writer) {
    match outcome {
        Ok(()) => writer.number(DONE),
        Err(error) => write_error(error, writer),
    }
}

/// Reads what [`write_outcome`] wrote in process `rank`.
pub(crate) fn read_outcome(rank: usize, reader: &mut Reader<'_>) -> Result<Result<()>> {
    match reader.number()? {
        DONE => Ok(Ok(())),
        kind => Ok(Err(read_error(kind, rank, reader)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> Done<f64> {
        let metrics = vec![vec![1.0, 2.0], vec![]];
        Done {
            figures: Figures { loss: 0.25, divisor: Some(3.0), samples: 4, metrics },
            present: vec![true, false],
            changes: vec![
                Change::Towards { buffer: 0, target: vec![0.1, 0.2], weight: 0.1 },
                Change::Average { buffer: 1, target: vec![], seen: 5 },
                Change::Increment { buffer: 2 },
            ],
        }
    }

    fn sent(report: &Report<f64>) -> Vec<u8> {
        let mut writer = Writer::default();
        report.write(&mut writer);
        writer.finish()
    }

    #[test]
    fn a_report_arrives_as_it_was() {
        let bytes = sent(&Report::Done(done()));
        let mut reader = Reader::new(&bytes);
        let Report::Done(found) = Report::<f64>::read(1, &mut reader).unwrap() else { panic!() };
        assert!(reader.is_empty());
        assert_eq!(found.figures, done().figures);
        assert_eq!((found.present, found.changes), (done().present, done().changes));
        for end in 0..bytes.len() {
            assert!(Report::<f64>::read(1, &mut Reader::new(&bytes[..end])).is_err(), "{end}");
        }
    }

    #[test]
    fn an_error_arrives_with_its_kind_and_process() {
        let failed = |error| {
            let bytes = sent(&Report::Failed(error));
            match Report::<f64>::read(3, &mut Reader::new(&bytes)).unwrap() {
                Report::Failed(error) => error,
                _ => panic!("expected an error"),
            }
        };
        let error = failed(Error::not_finite("shard 2", "the loss is NaN"));
        assert!(matches!(error, Error::NotFinite { .. }));
        assert_eq!(error.to_string(), "shard 2: the loss is NaN");
        let error = failed(Error::shape("linear", "expected 3, got 4"));
        assert_eq!(error.to_string(), "process 3: linear: expected 3, got 4");
    }
}
