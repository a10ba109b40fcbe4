//! A connection to the service under load, as the generator needs it.

use jiff::Timestamp;
use serde_json::Value;

/// A route of the service that devices call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The check-in.
    Check,
    /// The report.
    Report,
}

/// A request of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The route.
    pub route: Route,
    /// The body.
    pub body: Value,
}

/// A connection on which a device sends one request at a time.
pub trait Connection: Sync {
    /// Reason why a request was not answered with success.
    type Error: CallError;

    /// Sends a request. Returns the answer and its `Date`.
    ///
    /// # Errors
    /// When there is no answer, or the answer is an error.
    fn send(&self, request: &Request) -> Result<(Value, Option<Timestamp>), Self::Error>;
}

/// Reason why a request was not answered with success.
pub trait CallError: Clone + Send + From<BadAnswer> {
    /// The kind of error, in a word or two, to count errors by.
    fn kind(&self) -> String;

    /// True when there was no answer at all.
    fn is_unreachable(&self) -> bool;
}

/// An answer to a check-in that is not one.
#[derive(Debug, thiserror::Error)]
#[error("the answer to the check-in is not understood: {0}")]
pub struct BadAnswer(#[from] serde_json::Error);
