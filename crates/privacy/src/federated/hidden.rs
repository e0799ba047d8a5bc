//! Rounds in which the server learns only the sum of the changes:
//! [`SecureAggregation`].

use std::collections::BTreeMap;
use std::sync::Arc;

use dendra_autograd::Parameters;
use dendra_derive::Setters;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Result};

use super::change::{Change, Sum, length};
use super::federation::{Federation, Open, Task};
use super::fixed_point::FixedPoint;
use super::message::{Kind, Reader, Writer};
use super::participant::Participant;
use super::transport::{Request, Transport};
use crate::secure::{Advert, Client, Letters, Reveal, Sealed, Secret, Server};

/// The most samples of a client, so that their sum fits into 64 bits.
const MOST_SAMPLES: usize = 1 << 32;

/// Settings of [`Federation::secure`]: the server learns the sum of the clients'
/// changes, and nothing else about them, as long as it follows the protocol of
/// Bonawitz et al. ("Practical secure aggregation for privacy-preserving machine
/// learning", 2017).
///
/// Clients may drop out at any time, as long as [`threshold`](Self::threshold)
/// of them stay. A server that works together with fewer clients than that
/// learns no more. A server that lies about who dropped out is not detected.
#[derive(Clone, Copy, Debug, PartialEq, Setters)]
#[set(new)]
pub struct SecureAggregation {
    /// The largest element of a change times the number of samples (or, in a
    /// private federation, of a clipped change). The smaller it is, the finer
    /// are the integers: for 2²⁰ and 100 clients, multiples of 2⁻³⁵.
    #[set(default = 1_048_576.0)]
    pub(super) limit: f64,
    /// More than this share of the clients must stay in a round; at least one
    /// half.
    #[set(default = 2.0 / 3.0)]
    threshold: f64,
}

/// The clients of one process in their rounds.
#[derive(Debug, Default)]
pub(super) struct Hidden(BTreeMap<usize, Client>);

fn read_advert(reader: &mut Reader<'_>) -> Result<Advert> {
    Ok(Advert { sealing: reader.array()?, masking: reader.array()? })
}

/// A list of clients with bytes for each.
fn write_list<const N: usize>(writer: &mut Writer, list: &[(u32, [u8; N])]) {
    writer.u32(list.len() as u32);
    list.iter().for_each(|(client, bytes)| {
        writer.u32(*client).bytes(bytes);
    });
}

fn read_list<const N: usize>(reader: &mut Reader<'_>) -> Result<Vec<(u32, [u8; N])>> {
    reader.list(4 + N)?.map(|mut item| Ok((item.u32()?, item.array()?))).collect()
}

impl<M: Parameters<f32> + Clone> Participant<'_, M> {
    pub(super) fn answer_hidden(
        &mut self,
        client: usize,
        kind: Kind,
        mut reader: Reader<'_>,
    ) -> Result<Vec<u8>> {
        let mut answer = Writer::default();
        if kind == Kind::Keys {
            let round = reader.u64()?;
            reader.finish()?;
            let id =
                u32::try_from(client).map_err(|_| Error::argument("the client", "its index"))?;
            let secure = Client::new(id, round)?;
            let Advert { sealing, masking } = secure.advert();
            self.hidden.0.insert(client, secure);
            answer.bytes(&sealing).bytes(&masking);
            return Ok(answer.0);
        }
        let mut secure = self.hidden.0.remove(&client).ok_or_else(|| {
            Error::data("the client", format!("{kind:?} was asked for before the keys"))
        })?;
        match kind {
            Kind::Share => {
                let threshold = reader.u32()? as usize;
                let adverts = reader.list(4 + 64)?;
                let adverts: Vec<(u32, Advert)> = adverts
                    .map(|mut item| Ok((item.u32()?, read_advert(&mut item)?)))
                    .collect::<Result<_>>()?;
                reader.finish()?;
                let (commitment, sealed) = secure.share(&adverts, threshold)?;
                answer.bytes(&commitment);
                write_list(&mut answer, &sealed);
            }
            Kind::Mask => {
                let (limit, terms) = (reader.f64()?, reader.u32()? as usize);
                let ring = FixedPoint::for_sum(limit, terms)?;
                let max_norm = Some(reader.f64()?).filter(|norm| norm.is_finite());
                let sealed = read_list::<{ size_of::<Sealed>() }>(&mut reader)?;
                let task = Task { client, round: secure.round() };
                let (model, local, samples) = self.trained(task, reader)?;
                if samples > MOST_SAMPLES {
                    let message = format!("expected at most {MOST_SAMPLES} samples, got {samples}");
                    return Err(Error::data("the client", message));
                }
                let change = Change::between(&model, &local)?;
                let mut values = change.encode(change.weight(samples, max_norm)?, ring)?;
                values.push(samples as u64);
                secure.mask(&sealed, &mut values)?;
                values.iter().for_each(|value| {
                    answer.u64(*value);
                });
            }
            _ => {
                let arrived = reader.list(4)?.map(|mut item| item.u32());
                let arrived: Vec<u32> = arrived.collect::<Result<_>>()?;
                reader.finish()?;
                write_list(&mut answer, &secure.unmask(&arrived)?);
            }
        }
        self.hidden.0.insert(client, secure);
        Ok(answer.0)
    }
}

/// The exchanges of a round.
struct Exchanges<'a> {
    transport: &'a mut dyn Transport,
    dropped: &'a mut Vec<(usize, String)>,
}

impl Exchanges<'_> {
    /// Asks clients, and returns what those sent that did not drop out.
    fn ask<R>(
        &mut self,
        requests: Vec<(u32, Arc<[u8]>)>,
        longest: usize,
        read: &dyn Fn(u32, &mut Reader<'_>) -> Result<R>,
    ) -> Vec<(u32, R)> {
        let clients: Vec<u32> = requests.iter().map(|(client, _)| *client).collect();
        let request = |(client, bytes): (u32, Arc<[u8]>)| -> Request { (client as usize, bytes) };
        let answers = self.transport.exchange(requests.into_iter().map(request).collect(), longest);
        let mut found = Vec::with_capacity(clients.len());
        for (client, answer) in clients.into_iter().zip(answers) {
            let answer = answer.and_then(|bytes| {
                let mut reader = Reader::new(&bytes, "the client");
                let answer = read(client, &mut reader)?;
                reader.finish().map(|()| answer)
            });
            match answer {
                Ok(answer) => found.push((client, answer)),
                Err(error) => self.dropped.push((client as usize, error.to_string())),
            }
        }
        found
    }
}

impl<M: Parameters<f32> + Clone, O: Optimizer<f32>> Federation<M, O> {
    /// All exchanges of a round. The clients whose vectors arrived are in the
    /// sum, also if they drop out after that.
    pub(super) fn exchange_hidden(
        &self,
        open: &mut Open,
        settings: SecureAggregation,
        transport: &mut dyn Transport,
    ) -> Result<()> {
        let Open { chosen, round, sum, max_norm } = open;
        let number = round.number;
        let Sum::Ring(_, total) = sum else {
            return Err(Error::argument("secure aggregation", "the changes are not integers"));
        };
        let mut dropped = Vec::new();
        let mut exchanges = Exchanges { transport, dropped: &mut dropped };
        let to_all = |clients: Vec<u32>, message: Writer| {
            let message: Arc<[u8]> = message.0.into();
            clients.into_iter().map(|client| (client, Arc::clone(&message))).collect::<Vec<_>>()
        };

        let mut message = Writer::of(Kind::Keys);
        message.u64(number);
        let clients = chosen.iter().map(|client| *client as u32).collect();
        let adverts = exchanges.ask(to_all(clients, message), 64, &|_, reader| read_advert(reader));
        let mut server = Server::new(number, adverts, settings.threshold)?;

        let mut message = Writer::of(Kind::Share);
        message.u32(server.threshold() as u32).u32(server.adverts().len() as u32);
        for (client, Advert { sealing, masking }) in server.adverts() {
            message.u32(*client).bytes(sealing).bytes(masking);
        }
        let clients: Vec<u32> = server.adverts().iter().map(|(client, _)| *client).collect();
        let longest = 32 + 4 + clients.len() * (4 + size_of::<Sealed>());
        let shares = exchanges.ask(to_all(clients, message), longest, &|client, reader| {
            let (commitment, sealed) = (reader.array()?, read_list(reader)?);
            if server.is_complete(client, &sealed) {
                return Ok((commitment, sealed));
            }
            Err(reader.wrong("the shares are not for the other clients"))
        });
        let shares = shares.into_iter().map(|(client, (proof, sealed))| (client, proof, sealed));
        let inboxes = server.pass_on(shares.collect())?;

        let mut model = Writer::default();
        model.model(&self.model);
        let request = |(client, sealed): (u32, Letters)| {
            let mut message = Writer::of(Kind::Mask);
            message.f64(settings.limit).u32(chosen.len() as u32);
            message.f64(max_norm.unwrap_or(f64::INFINITY));
            write_list(&mut message, &sealed);
            message.bytes(&model.0);
            (client, message.0.into())
        };
        let values = length(&self.model) + 1;
        let requests = inboxes.into_iter().map(request).collect();
        let masked = exchanges.ask(requests, 8 * values, &|_, reader| reader.numbers(values));
        server.add(masked)?;

        let mut message = Writer::of(Kind::Unmask);
        message.u32(server.arrived().len() as u32);
        server.arrived().iter().for_each(|client| {
            message.u32(*client);
        });
        let requests = to_all(server.arrived().to_vec(), message);
        let longest = 4 + server.adverts().len() * (4 + size_of::<Secret>());
        // Who drops out now is in the sum already.
        let mut late = Vec::new();
        let mut exchanges = Exchanges { transport: exchanges.transport, dropped: &mut late };
        let revealed: Vec<Reveal> = exchanges.ask(requests, longest, &|_, reader| {
            let shares = read_list(reader)?;
            if server.is_revealing(&shares) {
                return Ok(shares);
            }
            Err(reader.wrong("the shares are not of the clients of the round"))
        });
        let arrived = server.arrived().iter().map(|client| *client as usize).collect();
        let mut found = server.unmask(&revealed)?;
        round.samples = found.pop().unwrap_or(0) as usize;
        round.clients = arrived;
        dropped.sort_unstable_by_key(|(client, _)| *client);
        round.dropped = dropped;
        *total = found;
        Ok(())
    }
}
