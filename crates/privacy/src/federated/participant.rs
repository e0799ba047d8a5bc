//! [`Participant`]: the clients of a federation that run in one process.

use std::fmt;

use dendra_autograd::Parameters;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Result};

use super::federation::{Federation, Open, Round, Task};
#[cfg(feature = "secure-aggregation")]
use super::hidden::Hidden;
use super::message::{Kind, Reader, Writer, model_bytes};
use super::transport::{Request, Transport};

const NAME: &str = "Participant::answer";

/// The most samples that a client may say it has.
const MOST_SAMPLES: u64 = 1 << 32;

type Train<'a, M> = Box<dyn FnMut(Task, &mut M) -> Result<usize> + Send + 'a>;

/// Answers the requests of [`Federation::round_over`] for the clients of one
/// process. It holds their model and the function that trains it.
///
/// ```
/// use std::sync::Arc;
///
/// use dendra_autograd::{Param, Tape};
/// use dendra_optim::{Optimizer, SGD};
/// use dendra_privacy::federated::{Federation, Participant, Request, Transport};
/// use dendra_tensor::{Ops, Result, Tensor};
///
/// /// Hands the requests over in the same process.
/// struct Here<'a>(Participant<'a, Param>);
///
/// impl Transport for Here<'_> {
///     fn exchange(&mut self, requests: Vec<Request>, _: usize) -> Vec<Result<Vec<u8>>> {
///         requests.iter().map(|(client, bytes)| self.0.answer(*client, bytes)).collect()
///     }
/// }
///
/// let weight = Param::new(Tensor::from([0.0_f32]));
/// let numbers = [1.0_f32, 2.0, 6.0];
/// let mut here = Here(Participant::new(weight.clone(), |task, weight: &mut Param| {
///     let x = Tape::training(0, 0).input(Tensor::from([numbers[task.client]]));
///     let loss = weight.on(&x).sub(&x)?.square().sum();
///     SGD::new(0.5).step(weight, &loss.backward()?)?;
///     Ok(1)
/// }));
/// let mut federation = Federation::new(weight, SGD::new(1.0));
/// federation.round_over(numbers.len(), &mut here)?;
/// assert_eq!(federation.model().value().to_vec(), [3.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub struct Participant<'a, M> {
    model: M,
    train: Train<'a, M>,
    secure_only: bool,
    #[cfg(feature = "secure-aggregation")]
    pub(super) hidden: Hidden,
}

impl<M> fmt::Debug for Participant<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Participant")
            .field("secure_only", &self.secure_only)
            .finish_non_exhaustive()
    }
}

impl<'a, M: Parameters<f32> + Clone> Participant<'a, M> {
    /// Clients with a model of the same layers as the server's. `train` is that
    /// of [`Federation::round`]: it trains the copy of a client, and returns the
    /// number of its samples.
    pub fn new(model: M, train: impl FnMut(Task, &mut M) -> Result<usize> + Send + 'a) -> Self {
        Self {
            model,
            train: Box::new(train),
            secure_only: false,
            #[cfg(feature = "secure-aggregation")]
            hidden: Hidden::default(),
        }
    }

    /// Refuses requests for a model that is not hidden by
    /// [`Federation::secure`].
    #[must_use]
    pub fn secure_only(mut self) -> Self {
        self.secure_only = true;
        self
    }

    /// The answer of a client to a request.
    ///
    /// # Errors
    ///
    /// When the request is malformed, comes out of turn, is refused, or the
    /// training fails. The client then drops out of the round.
    pub fn answer(&mut self, client: usize, request: &[u8]) -> Result<Vec<u8>> {
        let mut reader = Reader::new(request, NAME);
        match reader.kind()? {
            Kind::Train if self.secure_only => {
                Err(Error::argument(NAME, "the server asked for a model that is not hidden"))
            }
            Kind::Train => {
                let task = Task { client, round: reader.u64()? };
                let (_, local, samples) = self.trained(task, reader)?;
                let mut answer = Writer::default();
                answer.u64(samples as u64).model(&local);
                Ok(answer.0)
            }
            #[cfg(feature = "secure-aggregation")]
            kind => self.answer_hidden(client, kind, reader),
            #[cfg(not(feature = "secure-aggregation"))]
            kind => {
                let message = format!("{kind:?} needs the feature secure-aggregation");
                Err(Error::argument(NAME, message))
            }
        }
    }

    /// The model of the server, that of the client, and the number of samples.
    pub(super) fn trained(&mut self, task: Task, mut reader: Reader<'_>) -> Result<(M, M, usize)> {
        let mut model = self.model.clone();
        reader.model(&mut model)?;
        reader.finish()?;
        let mut local = model.clone();
        let samples = (self.train)(task, &mut local)?;
        Ok((model, local, samples))
    }
}

impl<M: Parameters<f32> + Clone, O: Optimizer<f32>> Federation<M, O> {
    /// As [`round`](Federation::round), with clients in other processes,
    /// which train at the same time. For clients that train in the same way, the model
    /// gets the same bits.
    ///
    /// # Errors
    ///
    /// Those of `round`. With [`secure`](Federation::secure), also when too few
    /// clients stay until the end: the round then counts, but the model stays
    /// as it is, and nothing about the clients is released.
    pub fn round_over(&mut self, clients: usize, transport: &mut dyn Transport) -> Result<Round> {
        const NAME: &str = "Federation::round_over";
        let mut open = self.begin(NAME, clients)?;
        #[cfg(feature = "secure-aggregation")]
        if let Some(settings) = self.secure {
            return match open.chosen.is_empty() {
                true => self.finish(open),
                false => match self.exchange_hidden(&mut open, settings, transport) {
                    Ok(()) => self.finish(open),
                    Err(error) => {
                        self.abandon();
                        Err(error.within(NAME))
                    }
                },
            };
        }
        self.exchange_models(&mut open, transport);
        self.finish(open)
    }

    fn exchange_models(&self, open: &mut Open, transport: &mut dyn Transport) {
        let mut message = Writer::of(Kind::Train);
        message.u64(open.round.number).model(&self.model);
        let message: std::sync::Arc<[u8]> = message.0.into();
        let request = |client: &usize| -> Request { (*client, message.clone()) };
        let requests = open.chosen.iter().map(request).collect();
        let answers = transport.exchange(requests, 8 + model_bytes(&self.model));
        for (task, answer) in open.tasks().iter().zip(answers) {
            let returned = answer.and_then(|answer| self.returned(&answer));
            open.add(&self.model, task.client, returned);
        }
    }

    /// The model and the number of samples that a client sent.
    fn returned(&self, answer: &[u8]) -> Result<(M, usize)> {
        let mut reader = Reader::new(answer, "the client");
        let samples = reader.u64()?;
        if samples > MOST_SAMPLES {
            return Err(reader.wrong(format!("it claims to have {samples} samples")));
        }
        let mut model = self.model.clone();
        reader.model(&mut model)?;
        reader.finish()?;
        Ok((model, samples as usize))
    }
}
