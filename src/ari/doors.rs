//! A way in for the fuzz targets and the bad-input catalogue of `jepsen-style-tests/hostile`: reads
//! what an Asterisk answers without an Asterisk. No product code uses it.

use reqwest::StatusCode;
use serde_json::Value;

use crate::model::{Application, Bridge, Channel, Info};
use crate::{AriError, http};

/// What a body is understood as; each reader takes what it can use and leaves the rest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Read {
    /// As one channel.
    pub channel: Option<Channel>,
    /// As a list of channels.
    pub channels: Vec<Channel>,
    /// As a list of bridges.
    pub bridges: Vec<Bridge>,
    /// As an application.
    pub application: Option<Application>,
    /// As the answer to `GET /asterisk/info`.
    pub info: Option<Info>,
}

/// The body of an answer 200, by every reader there is.
pub fn body(bytes: &[u8]) -> Result<Read, AriError> {
    let value: Value = http::json("a test", bytes)?;
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Read {
        channel: Channel::from_value(&value),
        channels: list.iter().filter_map(Channel::from_value).collect(),
        bridges: list.iter().filter_map(Bridge::from_value).collect(),
        application: Application::from_value(&value),
        info: Info::from_value(&value),
    })
}

/// What an answer of another status says; a status that is none counts as 500.
pub fn refusal(status: u16, bytes: &[u8]) -> AriError {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    http::refusal(status, bytes)
}

/// A channel's or bridge's id as a segment of a path.
pub fn segment(id: &str) -> Result<String, AriError> {
    http::segment("id", id)
}
