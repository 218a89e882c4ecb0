//! The client itself, and the requests about Asterisk as a whole: who it is, what the application
//! listens to, device states.
//!
//! Channels are in `channels.rs`, bridges in `bridges.rs`, the event socket in `stream.rs`.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use crate::config::{AriConfig, ConfigError};
use crate::error::AriError;
use crate::grammar::{AppName, Endpoint, Var, check_value};
use crate::http::{Http, Lane, encode, json, segment};
use crate::model::{Application, DeviceState, Info};

/// Event types that are acted on. All others are kept from being sent: they cost Asterisk and us more
/// than those that are used.
pub const USED_EVENTS: [&str; 11] = [
    "ApplicationReplaced",
    "ChannelDestroyed",
    "ChannelDtmfReceived",
    "ChannelEnteredBridge",
    "ChannelHangupRequest",
    "ChannelStateChange",
    "DeviceStateChanged",
    "Dial",
    "PlaybackFinished",
    "StasisEnd",
    "StasisStart",
];

/// What an application can listen to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventSource {
    /// State of one device. Kept by Asterisk over a lost socket while the application lives.
    Device(Endpoint),
    /// State of every device. Lost with the socket.
    AllDevices,
    /// One channel, also when it has left Stasis: so its end is told.
    Channel(String),
    /// Every channel. Lost with the socket.
    AllChannels,
}

impl EventSource {
    fn to_text(&self) -> String {
        match self {
            EventSource::Device(endpoint) => format!("deviceState:{endpoint}"),
            EventSource::AllDevices => "deviceState:".into(),
            EventSource::Channel(id) => format!("channel:{id}"),
            EventSource::AllChannels => "channel:".into(),
        }
    }
}

/// A client of one Asterisk. Clones share its connections and its bound on requests in flight.
#[derive(Debug, Clone)]
pub struct AriClient {
    pub(crate) http: Arc<Http>,
    app: AppName,
}

impl AriClient {
    /// Makes a client. Nothing is sent yet.
    pub fn new(config: &AriConfig) -> Result<AriClient, ConfigError> {
        Ok(AriClient {
            http: Arc::new(Http::new(config)?),
            app: config.app.clone(),
        })
    }

    /// The Stasis application of the configuration.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// Whether Asterisk answers at all (`GET /asterisk/ping`).
    pub async fn ping(&self) -> Result<(), AriError> {
        self.http
            .send(Lane::Urgent, "ping", Method::GET, "/asterisk/ping", None)
            .await
            .map(drop)
    }

    /// Which Asterisk this is, and since when it runs (`GET /asterisk/info`).
    pub async fn info(&self) -> Result<Info, AriError> {
        let value = self
            .get(Lane::Urgent, "asterisk info", "/asterisk/info")
            .await?;
        Info::from_value(&value).ok_or_else(|| unreadable("asterisk info"))
    }

    /// A global variable, or `None` when it is not set (`GET /asterisk/variable`). Globals live as
    /// long as the Asterisk does.
    pub async fn global(&self, var: &Var) -> Result<Option<String>, AriError> {
        let path = format!("/asterisk/variable?variable={}", encode(var.as_str()));
        let value = self.get(Lane::Ordinary, "global variable", &path).await?;
        let text = value["value"].as_str().unwrap_or_default();
        Ok((!text.is_empty()).then(|| text.into()))
    }

    /// Sets a global variable (`POST /asterisk/variable`).
    pub async fn set_global(&self, var: &Var, value: &str) -> Result<(), AriError> {
        check_value(value)?;
        let body = json!({ "variable": var.as_str(), "value": value });
        self.post("set global variable", "/asterisk/variable", Some(body))
            .await
            .map(drop)
    }

    /// What is in an application and what it listens to, or `None` when Asterisk has none of that
    /// name (`GET /applications/{app}`). This is the list to reconcile by: unlike
    /// `GET /channels` it cannot be blinded by one hostile INVITE.
    pub async fn application(&self, app: &AppName) -> Result<Option<Application>, AriError> {
        let path = format!("/applications/{}", encode(app.as_str()));
        match self.get(Lane::Urgent, "application", &path).await {
            Ok(value) => Application::from_value(&value)
                .map(Some)
                .ok_or_else(|| unreadable("application")),
            Err(AriError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Listens to more (`POST /applications/{app}/subscription`). Doing it twice does no harm.
    /// Many sources are sent in several requests; the first failure ends it.
    pub async fn subscribe(&self, app: &AppName, sources: &[EventSource]) -> Result<(), AriError> {
        for chunk in sources.chunks(50) {
            let names: Vec<String> = chunk
                .iter()
                .map(|source| encode(&source.to_text()))
                .collect();
            let path = format!(
                "/applications/{}/subscription?eventSource={}",
                encode(app.as_str()),
                names.join(",")
            );
            self.post("subscribe", &path, None).await?;
        }
        Ok(())
    }

    /// Stops listening (`DELETE /applications/{app}/subscription`).
    pub async fn unsubscribe(&self, app: &AppName, source: &EventSource) -> Result<(), AriError> {
        let path = format!(
            "/applications/{}/subscription?eventSource={}",
            encode(app.as_str()),
            encode(&source.to_text())
        );
        self.delete(Lane::Ordinary, "unsubscribe", &path).await
    }

    /// Lets these event types be sent and no others (`PUT /applications/{app}/eventFilter`), usually
    /// [`USED_EVENTS`]. Replaces the filter that was there, which Asterisk keeps over a lost socket
    /// while the application lives. Requests on the socket itself would get no answer: a
    /// `RESTResponse` is filtered like an event.
    pub async fn set_event_filter(&self, app: &AppName, allowed: &[&str]) -> Result<(), AriError> {
        let types: Vec<Value> = allowed.iter().map(|name| json!({ "type": name })).collect();
        let path = format!("/applications/{}/eventFilter", encode(app.as_str()));
        // A list that is not named is left as it was, and would still forbid.
        let body = Some(json!({ "allowed": types, "disallowed": [] }));
        self.http
            .send(Lane::Ordinary, "event filter", Method::PUT, &path, body)
            .await
            .map(drop)
    }

    /// State of a device (`GET /deviceStates/{name}`).
    pub async fn device_state(&self, device: &Endpoint) -> Result<DeviceState, AriError> {
        let path = format!("/deviceStates/{}", segment("device", device.as_str())?);
        let value = self.get(Lane::Ordinary, "device state", &path).await?;
        let word = value["state"]
            .as_str()
            .ok_or_else(|| unreadable("device state"))?;
        Ok(DeviceState::from_word(word))
    }

    pub(crate) async fn get(
        &self,
        lane: Lane,
        request: &'static str,
        path: &str,
    ) -> Result<Value, AriError> {
        let bytes = self
            .http
            .send(lane, request, Method::GET, path, None)
            .await?;
        json(request, &bytes)
    }

    pub(crate) async fn post(
        &self,
        request: &'static str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Vec<u8>, AriError> {
        self.http
            .send(Lane::Ordinary, request, Method::POST, path, body)
            .await
    }

    pub(crate) async fn delete(
        &self,
        lane: Lane,
        request: &'static str,
        path: &str,
    ) -> Result<(), AriError> {
        self.http
            .send(lane, request, Method::DELETE, path, None)
            .await
            .map(drop)
    }
}

/// A 2xx answer whose JSON is not the object it should be.
pub(crate) fn unreadable(request: &'static str) -> AriError {
    AriError::Decode {
        request,
        why: "a field that must be there is missing".into(),
    }
}
