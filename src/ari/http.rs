//! One HTTP request to Asterisk and the sorting of what comes back.
//!
//! It knows deadlines, the bound on requests in flight, the bound on bodies, percent-encoding and
//! Asterisk's status codes; which requests there are is said in `client.rs`, `channels.rs` and
//! `bridges.rs`.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::config::{AriConfig, ConfigError};
use crate::error::AriError;
use crate::grammar::{GrammarError, shown};
use crate::transport::{BODY_BYTES_MAX, NoAnswer, Tcp, Transport};

/// Requests kept free for what must get through while others are blocked by a running playback.
const URGENT_MAX: usize = 8;

/// Whether a request may wait behind ordinary ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// May be held up, also by Asterisk: a playback blocks most commands of its channel.
    Ordinary,
    /// Frees others: hang-ups, stops, and the question whether Asterisk is there.
    Urgent,
}

/// The connection pool to one Asterisk.
#[derive(Debug)]
pub(crate) struct Http {
    transport: Arc<dyn Transport>,
    request_timeout: Duration,
    ordinary: Arc<Semaphore>,
    urgent: Arc<Semaphore>,
}

impl Http {
    pub(crate) fn new(config: &AriConfig) -> Result<Http, ConfigError> {
        let transport = match &config.transport {
            Some(transport) => transport.clone(),
            None => Arc::new(Tcp::new(config)?),
        };
        Ok(Http {
            transport,
            request_timeout: config.request_timeout,
            ordinary: Arc::new(Semaphore::new(
                config.requests_max.saturating_sub(URGENT_MAX).max(1),
            )),
            urgent: Arc::new(Semaphore::new(URGENT_MAX)),
        })
    }

    /// Sends one request and gives the body of a 2xx answer.
    ///
    /// `request` names it in errors and logs, `path` is percent-encoded already. A read that lost
    /// its answer to a closed connection is repeated once; nothing else is ever repeated here.
    pub(crate) async fn send(
        &self,
        lane: Lane,
        request: &'static str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Vec<u8>, AriError> {
        let deadline = Instant::now() + self.request_timeout;
        let lanes = match lane {
            Lane::Ordinary => &self.ordinary,
            Lane::Urgent => &self.urgent,
        };
        let _permit = match timeout_at(deadline, lanes.acquire()).await {
            Ok(permit) => permit.expect("the semaphore is never closed"),
            Err(_) => return Err(AriError::Busy { request }),
        };
        // The deadline counts from here: waiting for a turn is no reason to doubt the outcome.
        let deadline = Instant::now() + self.request_timeout;
        let reading = method == Method::GET;
        let mut result = self
            .once(request, method.clone(), path, body.clone(), deadline)
            .await;
        if reading
            && Instant::now() < deadline
            && matches!(result, Err(AriError::OutcomeUnknown { .. }))
        {
            result = self.once(request, method, path, body, deadline).await;
        }
        if let Err(error) = &result {
            tracing::debug!(request, %error, "ari request failed");
        }
        result
    }

    async fn once(
        &self,
        request: &'static str,
        method: Method,
        path: &str,
        body: Option<Value>,
        deadline: Instant,
    ) -> Result<Vec<u8>, AriError> {
        let method = verb(&method);
        let answer = timeout_at(
            deadline,
            self.transport.request(method, path.to_string(), body),
        );
        let answer = answer
            .await
            .unwrap_or(Err(NoAnswer::Lost))
            .map_err(|why| match why {
                NoAnswer::Unreachable { refused } => AriError::Unreachable { request, refused },
                NoAnswer::Unspeakable => AriError::Invalid("the request cannot be built".into()),
                NoAnswer::Lost => AriError::OutcomeUnknown { request },
                NoAnswer::TooLong => {
                    let why = format!("longer than {BODY_BYTES_MAX} bytes");
                    AriError::Decode { request, why }
                }
            })?;
        match StatusCode::from_u16(answer.status) {
            Ok(status) if status.is_success() => Ok(answer.body),
            Ok(status) => Err(refusal(status, &answer.body)),
            Err(_) => Err(AriError::OutcomeUnknown { request }),
        }
    }
}

/// The verbs that are used.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        _ => "DELETE",
    }
}

/// A path segment: everything but the unreserved characters is percent-encoded. Dot segments are
/// refused, because URL rules would fold them away even when encoded.
pub(crate) fn segment(what: &'static str, text: &str) -> Result<String, AriError> {
    if text.is_empty() || text == "." || text == ".." || text.len() > 1024 {
        let rule = "not empty, not . or .., at most 1024 bytes";
        return Err(GrammarError {
            what,
            value: shown(text),
            rule,
        }
        .into());
    }
    Ok(encode(text))
}

/// Percent-encodes all but `A-Z a-z 0-9 - _ . ~`.
pub(crate) fn encode(text: &str) -> String {
    let mut coded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            coded.push(byte as char);
        } else {
            coded.push_str(&format!("%{byte:02X}"));
        }
    }
    coded
}

/// Reads a JSON body.
pub(crate) fn json(request: &'static str, bytes: &[u8]) -> Result<Value, AriError> {
    serde_json::from_slice(bytes).map_err(|error| AriError::Decode {
        request,
        why: error.to_string(),
    })
}

/// Asterisk's "no" as an error.
pub(crate) fn refusal(status: StatusCode, bytes: &[u8]) -> AriError {
    let message = message_of(bytes);
    match status.as_u16() {
        401 => AriError::Unauthorized,
        403 => AriError::Forbidden(message),
        404 => AriError::NotFound(message),
        409 if message.contains("not in Stasis") => AriError::NotInStasis,
        409 => AriError::Conflict(message),
        400 | 405 | 413 | 422 => AriError::Invalid(message),
        status => AriError::Server { status, message },
    }
}

/// `message` or `error` of the body, at most 200 characters of it.
fn message_of(bytes: &[u8]) -> String {
    let value: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let text = value["message"]
        .as_str()
        .or(value["error"].as_str())
        .unwrap_or("no message");
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_one_segment_whatever_they_hold() {
        assert_eq!(segment("id", "a/b").unwrap(), "a%2Fb");
        assert_eq!(
            segment("id", "q::1 x@h?&=%2F\"").unwrap(),
            "q%3A%3A1%20x%40h%3F%26%3D%252F%22"
        );
        assert_eq!(segment("id", "имя").unwrap(), "%D0%B8%D0%BC%D1%8F");
        assert_eq!(segment("id", "../x").unwrap(), "..%2Fx");
        for bad in ["", ".", "..", &"x".repeat(1025)] {
            assert!(segment("id", bad).is_err());
        }
    }

    #[test]
    fn statuses_are_sorted_by_what_they_mean() {
        let of = |status: u16, body: &str| {
            refusal(StatusCode::from_u16(status).unwrap(), body.as_bytes())
        };
        assert_eq!(of(401, "{}"), AriError::Unauthorized);
        assert_eq!(
            of(409, r#"{"message":"Channel not in Stasis application"}"#),
            AriError::NotInStasis
        );
        assert_eq!(
            of(409, r#"{"message":"dup"}"#),
            AriError::Conflict("dup".into())
        );
        assert!(of(404, r#"{"message":"Channel not found"}"#).is_gone());
        assert_eq!(
            of(500, r#"{"error":"Allocation failed"}"#),
            AriError::Server {
                status: 500,
                message: "Allocation failed".into()
            }
        );
        assert!(matches!(
            of(502, "<html>"),
            AriError::Server { status: 502, .. }
        ));
        assert!(matches!(of(413, ""), AriError::Invalid(_)));
    }
}
