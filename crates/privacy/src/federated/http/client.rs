//! [`Client`]: the side of the clients.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use dendra_autograd::Parameters;
use dendra_derive::Setters;
use dendra_tensor::{Error, Result};
use ureq::http::{Response, StatusCode};

use super::{CLIENT, EXCHANGE, Refusal};
use crate::federated::Participant;

/// The time between two attempts to reach the server.
const PAUSE: Duration = Duration::from_millis(200);

/// Fetches requests from a [`Server`](super::Server), and sends the answers of
/// a [`Participant`].
#[derive(Clone, Debug, Setters)]
pub struct Client {
    url: String,
    /// What the server wants clients to know; nothing by default.
    #[set(into)]
    token: Option<String>,
    /// For how long the server may be out of reach.
    #[set(default = Duration::from_secs(30))]
    patience: Duration,
    /// The bytes of a request that are read at most.
    #[set(default = 1 << 30)]
    longest: u64,
}

/// Why the server did not do what it was asked for.
enum Trouble {
    Refused(Refusal),
    /// It may work later.
    Unreachable(String),
    /// It will not.
    Wrong(String),
}

/// Makes the answer of a client to a request.
type Answer<'a> = dyn FnMut(usize, &[u8]) -> Result<Vec<u8>> + 'a;

/// A request for a client.
struct Work {
    client: usize,
    exchange: u64,
    message: Vec<u8>,
}

impl Client {
    /// A connection to the server of this address, such as
    /// `http://127.0.0.1:7070`.
    pub fn new(url: impl Into<String>) -> Self {
        Self::with_defaults(url.into().trim_end_matches('/').to_owned())
    }

    /// Answers requests for these clients, one after the other, until the
    /// training is over. A client whose training fails tells the server, and
    /// drops out of the round.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached for too long, refuses the clients, or
    /// sends something else.
    pub fn serve<M: Parameters<f32> + Clone>(
        &self,
        clients: Range<usize>,
        participant: &mut Participant<'_, M>,
    ) -> Result<()> {
        self.answer(clients, &mut |client, message| participant.answer(client, message))
    }

    fn answer(&self, clients: Range<usize>, answer: &mut Answer<'_>) -> Result<()> {
        let fail = |message: String| Err(Error::data(self.url.clone(), message));
        let agent = self.agent();
        let mut since = Instant::now();
        loop {
            let result = self.work(&agent, &clients).and_then(|work| {
                // The server is there; how long an answer takes does not matter.
                since = Instant::now();
                let Some(Work { client, exchange, message }) = work else { return Ok(()) };
                let answered = match answer(client, &message) {
                    Ok(bytes) => self.send(&agent, "answer", (exchange, client), &bytes),
                    Err(error) => {
                        let reason: String = error.to_string().chars().take(240).collect();
                        self.send(&agent, "failure", (exchange, client), reason.as_bytes())
                    }
                };
                since = Instant::now();
                answered
            });
            match result {
                Ok(()) => {}
                Err(Trouble::Refused(Refusal::Finished)) => return Ok(()),
                // The round goes on without this answer; there will be others.
                Err(Trouble::Refused(
                    Refusal::TooLate | Refusal::Answered | Refusal::NotAsked | Refusal::TooSlow,
                )) => {}
                Err(Trouble::Refused(refusal)) => return fail(format!("refused: {refusal}")),
                Err(Trouble::Wrong(message)) => return fail(message),
                Err(Trouble::Unreachable(message)) if since.elapsed() >= self.patience => {
                    return fail(message);
                }
                Err(Trouble::Unreachable(_)) => thread::sleep(PAUSE),
            }
        }
    }

    fn agent(&self) -> ureq::Agent {
        let config = ureq::Agent::config_builder().proxy(None).http_status_as_error(false);
        config
            .timeout_resolve(Some(Duration::from_secs(10)))
            .timeout_connect(Some(Duration::from_secs(10)))
            // Longer than the server lets a client wait for a request.
            .timeout_recv_response(Some(Duration::from_secs(120)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .timeout_send_body(Some(Duration::from_secs(120)))
            .user_agent(concat!("dendra/", env!("CARGO_PKG_VERSION")))
            .build()
            .into()
    }

    /// A request for one of the clients; `None` if there is none yet.
    fn work(
        &self,
        agent: &ureq::Agent,
        clients: &Range<usize>,
    ) -> std::result::Result<Option<Work>, Trouble> {
        let url = format!("{}/v1/work/{}/{}", self.url, clients.start, clients.len());
        let mut request = agent.get(&url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().map_err(unreachable)?;
        if !self.is_good(&mut response)? {
            return Ok(None);
        }
        let number = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.and_then(|value| value.parse::<u64>().ok())
        };
        let wrong = || Trouble::Wrong("the response is not that of a federation".to_owned());
        let client = number(CLIENT).and_then(|client| usize::try_from(client).ok());
        let client = client.filter(|client| clients.contains(client)).ok_or_else(wrong)?;
        let exchange = number(EXCHANGE).ok_or_else(wrong)?;
        let body = response.body_mut().with_config().limit(self.longest);
        let message = body.read_to_vec().map_err(unreachable)?;
        Ok(Some(Work { client, exchange, message }))
    }

    /// Sends an answer, again if the connection breaks: it may have taken long to
    /// compute. The server takes the first that arrives.
    fn send(
        &self,
        agent: &ureq::Agent,
        kind: &str,
        (exchange, client): (u64, usize),
        bytes: &[u8],
    ) -> std::result::Result<(), Trouble> {
        let url = format!("{}/v1/{kind}/{exchange}/{client}", self.url);
        let start = Instant::now();
        loop {
            let mut request = agent.put(&url);
            if let Some(token) = &self.token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            match request.send(bytes).map_err(unreachable) {
                Ok(mut response) => return self.is_good(&mut response).map(|_| ()),
                Err(trouble) if start.elapsed() >= self.patience => return Err(trouble),
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    /// Whether the response has a message.
    fn is_good(&self, response: &mut Response<ureq::Body>) -> std::result::Result<bool, Trouble> {
        match response.status() {
            StatusCode::OK => return Ok(true),
            StatusCode::NO_CONTENT => return Ok(false),
            _ => {}
        }
        let status = response.status();
        let text = response.body_mut().with_config().limit(100).read_to_string();
        Err(match text.ok().and_then(|code| Refusal::from_code(code.trim())) {
            Some(refusal) => Trouble::Refused(refusal),
            None => Trouble::Wrong(format!("the server answered {status}")),
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is the function of `map_err`")]
fn unreachable(error: ureq::Error) -> Trouble {
    Trouble::Unreachable(format!("the server cannot be reached: {error}"))
}
