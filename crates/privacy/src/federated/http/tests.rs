//! Rounds over real sockets, and messages that are refused.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use dendra_autograd::{Parameters, StateDict};
use dendra_datasets::{Dataset, TensorDataset, moons};
use dendra_losses::CrossEntropy;
use dendra_nn::Sequential;
use dendra_optim::SGD;
use dendra_tensor::{Error, Result, Rng};

use super::{Client, Refusal, Server, Settings};
use crate::federated::{Federation, LocalTraining, Participant, Round, Task, divide_evenly};
use crate::{Accountant, Plan, Privacy};

const SAMPLES: usize = 120;
const CLIENTS: usize = 6;

fn data() -> TensorDataset<i64> {
    moons(SAMPLES, 0.1, 3).unwrap()
}

fn model() -> Sequential {
    Sequential::input([2]).dense(8).tanh().dense(2).build(&mut Rng::seed(1)).unwrap()
}

fn federation() -> Federation<Sequential, SGD> {
    Federation::new(model(), SGD::new(1.0).momentum(0.5)).fraction(0.67)
}

/// Client 4 always fails.
fn train(task: Task, model: &mut Sequential) -> Result<usize> {
    if task.client == 4 {
        return Err(Error::data("the camera", "no pictures"));
    }
    let data = data();
    let part = data.subset(divide_evenly(SAMPLES, CLIENTS, 1)?[task.client].clone())?;
    LocalTraining::new(0.3).epochs(2).train(task, model, &CrossEntropy::new(), &part)
}

fn settings() -> Settings {
    Settings { address: (Ipv4Addr::LOCALHOST, 0).into(), clients: CLIENTS, ..Settings::default() }
}

type Federated = Federation<Sequential, SGD>;

/// Rounds with clients in two threads that know only the server's address.
fn over_http(mut federation: Federated, settings: Settings, rounds: usize) -> Vec<Found> {
    let mut server = Server::start(settings).unwrap();
    let url = format!("http://{}/", server.address());
    thread::scope(|scope| {
        for clients in [0..2, 2..CLIENTS] {
            let client = Client::new(&url);
            scope.spawn(move || client.serve(clients, &mut Participant::new(model(), train)));
        }
        let mut round = || federation.round_over(CLIENTS, &mut server).unwrap();
        let found = (0..rounds).map(|_| without_reasons(round())).collect::<Vec<_>>();
        drop(server);
        let after = federation.model().state_dict();
        found.into_iter().map(|round| (round, after.clone())).collect()
    })
}

/// A round, and the model at the end.
type Found = (Round, StateDict);

/// The reasons of other processes are told in other words.
fn without_reasons(mut round: Round) -> Round {
    round.dropped.iter_mut().for_each(|(_, reason)| {
        assert!(reason.contains("no pictures"), "{reason}");
        reason.clear();
    });
    round
}

fn simulated(mut federation: Federated, rounds: usize) -> Vec<Found> {
    let mut round = || without_reasons(federation.round(CLIENTS, train).unwrap());
    let found: Vec<Round> = (0..rounds).map(|_| round()).collect();
    found.into_iter().map(|round| (round, federation.model().state_dict())).collect()
}

#[test]
fn processes_train_to_the_bits_of_the_simulation() {
    let found = over_http(federation(), settings(), 3);
    assert_eq!(found, simulated(federation(), 3));
    assert!(found.iter().any(|(round, _)| !round.dropped.is_empty()), "{found:?}");
    assert!(found[0].1 != model().state_dict());
}

fn private() -> Federated {
    let plan = Plan { samples: CLIENTS, sample_rate: 0.5, noise_multiplier: 1.0, max_norm: 0.2 };
    federation().private(Privacy::reproducible_for_tests(plan, 5).unwrap())
}

#[test]
fn private_rounds_have_the_same_noise_and_the_same_ledger() {
    let mut server = Server::start(settings()).unwrap();
    let url = format!("http://{}", server.address());
    let mut federation = private();
    thread::scope(|scope| {
        let client = Client::new(url);
        scope.spawn(move || client.serve(0..CLIENTS, &mut Participant::new(model(), train)));
        (0..3).for_each(|_| drop(federation.round_over(CLIENTS, &mut server).unwrap()));
        drop(server);
    });
    assert_eq!(federation.model().state_dict(), simulated(private(), 3)[0].1);
    let privacy = federation.privacy().unwrap();
    assert_eq!(privacy.ledger().steps(), 3);
    assert!(privacy.epsilon(Accountant::Renyi, 1e-3).unwrap() > 0.5);
}

#[cfg(feature = "secure-aggregation")]
#[test]
fn hidden_changes_have_the_bits_of_plain_integers() {
    use crate::federated::SecureAggregation;

    let secure = SecureAggregation::new().threshold(0.5);
    let found = over_http(federation().secure(secure), settings(), 3);
    assert_eq!(found, simulated(federation().fixed_point(1_048_576.0), 3));
    assert!(found.iter().any(|(round, _)| !round.dropped.is_empty()), "{found:?}");
}

#[test]
fn clients_that_stall_or_vanish_are_left_out() {
    let patience = Duration::from_millis(700);
    let mut server = Server::start(Settings { patience, ..settings() }).unwrap();
    let address = server.address();
    let start = Instant::now();
    let mut federation = Federation::new(model(), SGD::new(1.0));
    let round = thread::scope(|scope| {
        let client = Client::new(format!("http://{address}"));
        let honest = scope.spawn(move || {
            let mut participant = Participant::new(model(), train);
            client.serve(0..3, &mut participant)
        });
        // Client 3 fetches its request and never answers; client 5 never comes.
        scope.spawn(move || {
            let (status, _) = ask(address, b"GET /v1/work/3/1 HTTP/1.1\r\nhost: a\r\n\r\n", true);
            assert_eq!(status, 200);
        });
        // Client 4 begins an answer, and breaks off.
        scope.spawn(move || {
            let head = "PUT /v1/answer/1/4 HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nx";
            thread::sleep(Duration::from_millis(100));
            TcpStream::connect(address).unwrap().write_all(head.as_bytes()).unwrap();
        });
        let round = federation.round_over(CLIENTS, &mut server).unwrap();
        drop(server);
        honest.join().unwrap().unwrap();
        round
    });
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(round.clients, [0, 1, 2]);
    let dropped: Vec<usize> = round.dropped.iter().map(|(client, _)| *client).collect();
    assert_eq!(dropped, [3, 4, 5]);
    assert!(round.dropped.iter().all(|(_, why)| why.contains("did not answer within 0.7 s")));
}

/// The server closes the connection while the client trains.
#[test]
fn an_answer_that_takes_longer_than_a_connection_arrives() {
    let silence = Duration::from_millis(200);
    let mut server = Server::start(Settings { silence, ..settings() }).unwrap();
    let client = Client::new(format!("http://{}", server.address()));
    let mut federation = Federation::new(model(), SGD::new(1.0));
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut participant = Participant::new(model(), |task, model| {
                thread::sleep(3 * silence);
                train(task, model)
            });
            client.serve(0..1, &mut participant)
        });
        assert_eq!(federation.round_over(1, &mut server).unwrap().clients, [0]);
        drop(server);
    });
}

/// Sends bytes, and reads the status and the body of the response.
fn ask(address: SocketAddr, bytes: &[u8], keep: bool) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // A server that has answered may have closed before everything was sent.
    let _ = stream.write_all(bytes);
    let mut text = Vec::new();
    if keep {
        text.resize(12, 0);
        stream.read_exact(&mut text).unwrap();
    } else {
        let _ = stream.read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

#[test]
fn hostile_messages_are_refused_and_the_round_goes_on() {
    let settings = Settings {
        token: Some("secret".to_owned()),
        silence: Duration::from_millis(400),
        poll: Duration::from_millis(100),
        ..settings()
    };
    let mut server = Server::start(settings).unwrap();
    let address = server.address();
    let mut federation = federation();
    let chosen = thread::scope(|scope| {
        let round = scope.spawn(move || {
            let first = federation.round_over(CLIENTS, &mut server).unwrap();
            (first, federation.round_over(CLIENTS, &mut server).unwrap(), server)
        });
        let head = |line: &str, more: &str| {
            format!("{line} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer secret\r\n{more}\r\n")
        };
        let put = |path: &str, length: usize, body: &str| {
            head(&format!("PUT {path}"), &format!("content-length: {length}\r\n")) + body
        };
        // Until the round has begun.
        while ask(address, put("/v1/answer/1/5", 0, "").as_bytes(), false).1 == "too-late" {
            thread::sleep(Duration::from_millis(10));
        }
        let (chosen, idle): (Vec<usize>, Vec<usize>) = (0..CLIENTS).partition(|client| {
            let path = format!("/v1/failure/1/{client}");
            ask(address, put(&path, 2000, "").as_bytes(), false).1 != "not-asked"
        });
        let (first, idle) = (chosen[0], idle[0]);
        let answer = format!("/v1/answer/1/{first}");
        let chunked = "transfer-encoding: chunked\r\n";
        let long =
            format!("{}1000\r\n{}\r\n", head(&format!("PUT {answer}"), chunked), "a".repeat(4096));
        let origin = head("GET /v1/work/0/6", "origin: http://evil.example\r\n");
        let no_token = "GET /v1/work/0/6 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned();
        for (message, refusal) in [
            (no_token.clone(), Refusal::Forbidden),
            (
                no_token.replace("host: a", "host: a\r\nauthorization: Bearer secrex"),
                Refusal::Forbidden,
            ),
            (origin, Refusal::Forbidden),
            (head("GET /v1/work/6/1", ""), Refusal::UnknownClient),
            (head("GET /v1/work/0/0", ""), Refusal::UnknownClient),
            (head("GET /", ""), Refusal::UnknownAddress),
            (head("DELETE /v1/work/0/6", ""), Refusal::UnknownAddress),
            (put("/v1/answer/1/77", 1, "x"), Refusal::UnknownClient),
            (put(&format!("/v1/answer/1/{idle}"), 1, "x"), Refusal::NotAsked),
            (put(&format!("/v1/answer/2/{first}"), 1, "x"), Refusal::TooLate),
            (put(&answer, 1 << 40, "x"), Refusal::TooLarge),
            (long, Refusal::TooLarge),
            (put(&answer, 10, "x"), Refusal::TooSlow),
        ] {
            let (status, code) = ask(address, message.as_bytes(), false);
            assert_eq!((status, &*code), (refusal.status(), refusal.code()), "{message:.60}");
        }
        // What is not HTTP, what is not a number, and a head without an end.
        assert!((400..500).contains(&ask(address, b"\x16\x03\x01\0\xff\r\n\r\n", false).0));
        assert_eq!(ask(address, head("GET /v1/work/-1/x", "").as_bytes(), false).0, 400);
        assert!(matches!(ask(address, b"GET /v1/wo", false).0, 0 | 408));
        // A message of the right length that is no model counts against its sender.
        let (status, _) = ask(address, put(&answer, 4, "abcd").as_bytes(), true);
        assert_eq!(status, 204);
        assert_eq!(ask(address, put(&answer, 4, "abcd").as_bytes(), false).1, "answered");
        // The others finish the round, and client `first` joins the next one.
        let client = Client::new(format!("http://{address}")).token("secret");
        scope.spawn(move || client.serve(0..CLIENTS, &mut Participant::new(model(), train)));
        let (first_round, second, _server) = round.join().unwrap();
        let reason = &first_round.dropped.iter().find(|(client, _)| *client == first).unwrap().1;
        assert!(reason.contains("the message is malformed"), "{reason}");
        assert!(!first_round.clients.is_empty() && !second.clients.is_empty());
        chosen
    });
    assert_eq!(chosen.len(), 4);
}

#[test]
fn a_client_says_why_it_ends() {
    let server = Server::start(settings()).unwrap();
    let client = Client::new(format!("http://{}", server.address()));
    let mut participant = Participant::new(model(), train);
    let error = client.serve(6..8, &mut participant).unwrap_err().to_string();
    assert!(error.contains("refused: there is no client of this index"), "{error}");
    let address = server.address();
    drop(server);
    let client = Client::new(format!("http://{address}")).patience(Duration::from_millis(300));
    let error = client.serve(0..1, &mut participant).unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    let error = Server::start(Settings { clients: 0, ..settings() }).unwrap_err().to_string();
    assert!(error.contains("clients"), "{error}");
}
