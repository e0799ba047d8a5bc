//! [`Refusal`]: why the server does not take what a client sends.

use std::fmt;

/// The reason why a server of federated learning refuses a message. It stands
/// in the response as the code, with a status of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The training is over.
    Finished,
    /// The token is missing or wrong, or a page of a browser asks.
    Forbidden,
    /// There is no client of this index.
    UnknownClient,
    /// The client was not asked in this exchange.
    NotAsked,
    /// The exchange is over.
    TooLate,
    /// The client has answered already.
    Answered,
    /// The message is longer than any right answer.
    TooLarge,
    /// The message did not arrive in time.
    TooSlow,
    /// The message ended early.
    Broken,
    /// There is no such address.
    UnknownAddress,
}

/// Each refusal with its code and status.
const ALL: [(Refusal, &str, u16); 10] = [
    (Refusal::Finished, "finished", 410),
    (Refusal::Forbidden, "forbidden", 403),
    (Refusal::UnknownClient, "unknown-client", 404),
    (Refusal::NotAsked, "not-asked", 409),
    (Refusal::TooLate, "too-late", 409),
    (Refusal::Answered, "answered", 409),
    (Refusal::TooLarge, "too-large", 413),
    (Refusal::TooSlow, "too-slow", 408),
    (Refusal::Broken, "broken", 400),
    (Refusal::UnknownAddress, "unknown-address", 404),
];

impl Refusal {
    /// The code in the response.
    pub fn code(self) -> &'static str {
        self.row().1
    }

    /// The status of HTTP.
    pub fn status(self) -> u16 {
        self.row().2
    }

    fn row(self) -> (Self, &'static str, u16) {
        let row = ALL.into_iter().find(|(refusal, _, _)| *refusal == self);
        row.expect("the table has all refusals")
    }

    /// The refusal of this code.
    pub fn from_code(code: &str) -> Option<Self> {
        ALL.into_iter().find(|(_, own, _)| *own == code).map(|(refusal, _, _)| refusal)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "the training is over",
            Self::Forbidden => "the token is missing or wrong, or a page of a browser asks",
            Self::UnknownClient => "there is no client of this index",
            Self::NotAsked => "the client was not asked",
            Self::TooLate => "the exchange is over",
            Self::Answered => "the client has answered already",
            Self::TooLarge => "the message is longer than any right answer",
            Self::TooSlow => "the message did not arrive in time",
            Self::Broken => "the message ended early",
            Self::UnknownAddress => "there is no such address",
        })
    }
}

impl std::error::Error for Refusal {}
