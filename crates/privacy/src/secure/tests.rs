//! The protocol between clients and server, with clients that drop out.

use std::collections::BTreeMap;

use dendra_tensor::Result;

use super::*;

const LENGTH: usize = 50;

/// The vector of a client, of which nothing must be seen.
fn vector(id: u32) -> Vec<u64> {
    (0..LENGTH as u64).map(|i| u64::from(id).wrapping_mul(0x9E37_79B9).wrapping_sub(i)).collect()
}

fn plain(ids: &[u32]) -> Vec<u64> {
    (0..LENGTH).map(|i| ids.iter().fold(0, |sum, id| vector(*id)[i].wrapping_add(sum))).collect()
}

/// Clients that stop before an exchange: 1 for the keys to 4 for revealing.
struct Stops(&'static [(u32, u8)]);

impl Stops {
    fn reaches(&self, id: u32, exchange: u8) -> bool {
        !self.0.iter().any(|(stopped, before)| *stopped == id && *before <= exchange)
    }
}

/// What arrives at the server in the third exchange.
type Seen = Vec<(u32, Vec<u64>)>;

fn run(ids: &[u32], stops: &Stops) -> Result<(Vec<u64>, Seen)> {
    let mut clients: BTreeMap<u32, Client> =
        ids.iter().map(|id| (*id, Client::new(*id, 3).unwrap())).collect();
    clients.retain(|id, _| stops.reaches(*id, 1));
    let adverts: Vec<(u32, Advert)> =
        clients.iter().map(|(id, client)| (*id, client.advert())).collect();
    let mut server = Server::new(3, adverts.clone(), 0.5)?;
    let threshold = server.threshold();
    clients.retain(|id, _| stops.reaches(*id, 2));
    let shares = clients.iter_mut().map(|(id, client)| {
        let (commitment, sealed) = client.share(&adverts, threshold).unwrap();
        assert!(server.is_complete(*id, &sealed) && !server.is_complete(*id, &sealed[1..]));
        (*id, commitment, sealed)
    });
    let shares = shares.collect();
    let inboxes = server.pass_on(shares)?;
    clients.retain(|id, _| stops.reaches(*id, 3));
    let masked = clients.iter_mut().map(|(id, client)| {
        let mut values = vector(*id);
        client.mask(&inboxes[id], &mut values).unwrap();
        (*id, values)
    });
    let seen: Seen = masked.collect();
    server.add(seen.clone())?;
    let arrived = server.arrived().to_vec();
    clients.retain(|id, _| stops.reaches(*id, 4));
    let revealed: Vec<Reveal> =
        clients.iter_mut().map(|(id, client)| (*id, client.unmask(&arrived).unwrap())).collect();
    assert!(revealed.iter().all(|(_, shares)| server.is_revealing(shares)));
    Ok((server.unmask(&revealed)?, seen))
}

#[test]
fn the_sum_has_the_bits_of_the_plain_one() {
    let ids = [2, 3, 10, 11, 40, 41, 42];
    let none: &[u32] = &[];
    for (stops, missing) in [
        (Stops(&[]), none),
        (Stops(&[(3, 1)]), &[3]),
        (Stops(&[(2, 2), (42, 2)]), &[2, 42]),
        // Before the masked vector: the masks with the others are restored.
        (Stops(&[(2, 3)]), &[2]),
        (Stops(&[(10, 3), (42, 3)]), &[10, 42]),
        // After the masked vector: it counts.
        (Stops(&[(11, 4)]), none),
        (Stops(&[(3, 1), (40, 3), (41, 4)]), &[3, 40]),
    ] {
        let left: Vec<u32> = ids.into_iter().filter(|id| !missing.contains(id)).collect();
        let (sum, seen) = run(&ids, &stops).unwrap();
        assert_eq!(sum, plain(&left), "{:?}", stops.0);
        assert_eq!(seen.iter().map(|(id, _)| *id).collect::<Vec<_>>(), left);
        for (id, masked) in seen {
            let same = masked.iter().zip(vector(id)).filter(|(a, b)| **a == *b).count();
            assert_eq!(same, 0, "client {id} is not hidden");
        }
    }
}

/// Without the seeds, even the sum of all masked vectors is hidden.
#[test]
fn the_sum_is_hidden_before_shares_are_revealed() {
    let ids = [1, 2, 3];
    let (_, seen) = run(&ids, &Stops(&[])).unwrap();
    let sum: Vec<u64> = (0..LENGTH)
        .map(|i| seen.iter().fold(0_u64, |sum, (_, vector)| sum.wrapping_add(vector[i])))
        .collect();
    assert!(sum.iter().zip(plain(&ids)).all(|(a, b)| *a != b));
}

#[test]
fn too_few_clients_end_the_round() {
    for (stops, left) in [
        (Stops(&[(1, 1), (2, 1), (3, 1), (4, 1)]), 1),
        (Stops(&[(1, 2), (2, 2), (3, 2)]), 2),
        (Stops(&[(1, 3), (2, 3), (3, 3)]), 2),
        (Stops(&[(1, 2), (2, 3), (3, 4)]), 2),
    ] {
        let error = run(&[1, 2, 3, 4, 5], &stops).unwrap_err().to_string();
        assert!(error.contains(&format!("{left} clients are left")), "{error}");
    }
}

/// Three clients after the second exchange, and the server.
fn shared() -> (Vec<Client>, Server, BTreeMap<u32, Letters>) {
    let mut clients: Vec<Client> = (0..3).map(|id| Client::new(id, 0).unwrap()).collect();
    let adverts: Vec<(u32, Advert)> = (0..).zip(clients.iter().map(Client::advert)).collect();
    let mut server = Server::new(0, adverts.clone(), 0.5).unwrap();
    let share = |(id, client): (u32, &mut Client)| {
        let (commitment, sealed) = client.share(&adverts, 2).unwrap();
        (id, commitment, sealed)
    };
    let shares = (0..).zip(&mut clients).map(share).collect();
    let inboxes = server.pass_on(shares).unwrap();
    (clients, server, inboxes)
}

#[test]
fn a_client_never_reveals_both_secrets_of_another() {
    let (mut clients, _, inboxes) = shared();
    clients[0].mask(&inboxes[&0], &mut vector(0)).unwrap();
    assert_eq!(clients[0].unmask(&[0, 1]).unwrap().len(), 3);
    assert!(clients[0].unmask(&[0, 2]).is_err());
    // Nor does it mask two vectors by the same masks.
    assert!(clients[0].mask(&inboxes[&0], &mut vector(1)).is_err());
}

#[test]
fn what_the_server_must_not_ask_for_is_refused() {
    let fresh = || Client::new(0, 0).unwrap();
    let others: Vec<(u32, Advert)> = (1..4).map(|id| (id, fresh().advert())).collect();
    type Adverts = Vec<(u32, Advert)>;
    let refused = |list: fn(Adverts) -> Adverts, threshold, part: &str| {
        let mut client = fresh();
        let all = [&[(0, client.advert())], &others[..]].concat();
        let error = client.share(&list(all), threshold).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(|all| all, 2, "more than half");
    refused(|all| all, 5, "more than half");
    refused(|all| all[..1].to_vec(), 1, "at least 2");
    refused(|all| all[1..].to_vec(), 2, "own keys");
    refused(|all| [all[0], all[1], (2, all[1].1)].to_vec(), 2, "the same key");
    refused(|all| [all[0], all[2], all[1]].to_vec(), 2, "same index");

    let (mut clients, _, inboxes) = shared();
    for arrived in [&[0][..], &[0, 7], &[1, 0], &[0, 0, 1]] {
        let (mut clients, _, inboxes) = shared();
        clients[0].mask(&inboxes[&0], &mut vector(0)).unwrap();
        assert!(clients[0].unmask(arrived).is_err(), "{arrived:?}");
    }
    let mut changed = inboxes[&0].clone();
    changed[0].1[5] ^= 1;
    let error = clients[0].mask(&changed, &mut vector(0)).unwrap_err().to_string();
    assert!(error.contains("client 1 cannot be decrypted"), "{error}");
    assert!(clients[1].mask(&inboxes[&1][..0], &mut vector(1)).is_err());
}

#[test]
fn wrong_shares_are_found() {
    for wrong in [0, 2] {
        let (mut clients, mut server, inboxes) = shared();
        let masked = (0..2).map(|id| {
            let mut values = vector(id);
            clients[id as usize].mask(&inboxes[&id], &mut values).unwrap();
            (id, values)
        });
        server.add(masked.collect()).unwrap();
        let mut revealed: Vec<Reveal> =
            (0..2).map(|id| (id, clients[id as usize].unmask(server.arrived()).unwrap())).collect();
        revealed[0].1[wrong].1[0] ^= 1;
        let error = server.unmask(&revealed).unwrap_err().to_string();
        assert!(error.contains(&format!("secrets of client {wrong} are wrong")), "{error}");
    }
}

#[test]
fn a_public_key_without_a_secret_is_refused() {
    let mut client = Client::new(0, 0).unwrap();
    let zero = Advert { sealing: [0; 32], masking: [1; 32] };
    let adverts = [(0, client.advert()), (1, zero)];
    assert!(client.share(&adverts, 2).unwrap_err().to_string().contains("low order"));
}
