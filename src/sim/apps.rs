//! Stasis applications: who is connected, what they are subscribed to, and who gets an event.
//!
//! Missed events are lost: an application without a WebSocket keeps its explicit subscriptions and
//! its channels, but hears nothing, and a call to it fails.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bridge::Br;
use crate::channel::{Ch, Channel};
use crate::pbx::{Output, Pbx};

/// Name that ARI shows for a subscription to all of a kind.
const ALL_CHANNELS: &str = "__AST_CHANNEL_ALL_TOPIC";
const ALL_BRIDGES: &str = "__AST_BRIDGE_ALL_TOPIC";
const ALL_DEVICES: &str = "__AST_DEVICE_STATE_ALL_TOPIC";

/// The most applications.
pub(crate) const APPS_MAX: usize = 1000;

#[derive(Debug, Clone, Default)]
pub(crate) struct App {
    /// The WebSocket that serves it.
    pub conn: Option<u64>,
    pub all_channels: bool,
    pub all_bridges: bool,
    pub all_devices: bool,
    pub all_endpoints: bool,
    pub devices: BTreeSet<String>,
    /// `PJSIP/1001`, or `PJSIP` for the whole technology.
    pub endpoints: BTreeSet<String>,
    pub bridges: BTreeSet<Br>,
    pub allowed: Vec<Value>,
    pub disallowed: Vec<Value>,
}

impl App {
    fn lets_through(&self, kind: &str) -> bool {
        let names = |list: &[Value]| list.iter().any(|event| event["type"] == kind);
        (self.allowed.is_empty() || names(&self.allowed)) && !names(&self.disallowed)
    }
}

/// Why a subscription was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// 400: the scheme is not known.
    Scheme,
    /// 422: there is no such thing.
    Unknown,
    /// 422: was not subscribed.
    NotSubscribed,
}

impl Pbx {
    /// A WebSocket opened for these applications.
    pub fn ws_open(&mut self, conn: u64, apps: &[String], subscribe_all: bool) {
        for name in apps {
            if self.apps.len() >= APPS_MAX && !self.apps.contains_key(name) {
                continue;
            }
            let old = self.apps.get(name).and_then(|app| app.conn);
            if old.is_some_and(|old| old != conn) {
                self.deliver(name, "ApplicationReplaced", json!({}));
            }
            let app = self.apps.entry(name.clone()).or_default();
            app.conn = Some(conn);
            if subscribe_all {
                app.all_channels = true;
                app.all_bridges = true;
                app.all_devices = true;
                app.all_endpoints = true;
            }
        }
    }

    /// A WebSocket closed. Applications it no longer serves (replaced) are not touched.
    pub fn ws_close(&mut self, conn: u64) {
        let served: Vec<String> = self
            .apps
            .iter()
            .filter(|(_, app)| app.conn == Some(conn))
            .map(|(name, _)| name.clone())
            .collect();
        for name in served {
            if let Some(app) = self.apps.get_mut(&name) {
                app.conn = None;
                app.all_channels = false;
                app.all_bridges = false;
                app.all_devices = false;
                app.all_endpoints = false;
            }
            self.drop_app_if_finished(&name);
        }
    }

    /// Whether an event socket serves this application.
    pub fn app_active(&self, name: &str) -> bool {
        self.apps.get(name).is_some_and(|app| app.conn.is_some())
    }

    /// An application without a WebSocket lasts while it has channels or explicit subscriptions.
    pub(crate) fn drop_app_if_finished(&mut self, name: &str) {
        let Some(app) = self.apps.get(name) else {
            return;
        };
        let kept = app.conn.is_some()
            || !app.devices.is_empty()
            || !app.endpoints.is_empty()
            || !app.bridges.is_empty()
            || self
                .channels
                .values()
                .any(|channel| channel.interest.contains_key(name));
        if !kept {
            self.apps.remove(name);
        }
    }

    pub(crate) fn add_interest(&mut self, ch: Ch, app: &str) {
        if let Some(channel) = self.channels.get_mut(&ch) {
            *channel.interest.entry(app.to_owned()).or_default() += 1;
        }
    }

    pub(crate) fn drop_interest(&mut self, ch: Ch, app: &str) {
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        if let Some(count) = channel.interest.get_mut(app) {
            *count -= 1;
            if *count == 0 {
                channel.interest.remove(app);
            }
        }
        self.drop_app_if_finished(app);
    }

    pub(crate) fn subscribe(&mut self, name: &str, source: &str) -> Result<(), Refused> {
        let (scheme, id) = source.split_once(':').ok_or(Refused::Scheme)?;
        match scheme {
            "channel" if !id.is_empty() => {
                let ch = *self.ids.get(id).ok_or(Refused::Unknown)?;
                self.add_interest(ch, name);
                return Ok(());
            }
            "bridge" if !id.is_empty() => {
                let br = *self.bridge_ids.get(id).ok_or(Refused::Unknown)?;
                self.app_mut(name).bridges.insert(br);
                return Ok(());
            }
            "endpoint" if !id.is_empty() && id != "PJSIP" && self.endpoint_state(id).is_none() => {
                return Err(Refused::Unknown);
            }
            _ => {}
        }
        let app = self.app_mut(name);
        match (scheme, id) {
            ("channel", _) => app.all_channels = true,
            ("bridge", _) => app.all_bridges = true,
            ("endpoint", "") => app.all_endpoints = true,
            ("endpoint", id) => drop(app.endpoints.insert(id.to_owned())),
            ("deviceState", "") => app.all_devices = true,
            ("deviceState", id) => drop(app.devices.insert(id.to_owned())),
            _ => return Err(Refused::Scheme),
        }
        Ok(())
    }

    pub(crate) fn unsubscribe(&mut self, name: &str, source: &str) -> Result<(), Refused> {
        let (scheme, id) = source.split_once(':').ok_or(Refused::Scheme)?;
        if scheme == "channel" && !id.is_empty() {
            let ch = *self.ids.get(id).ok_or(Refused::Unknown)?;
            let subscribed = self
                .channels
                .get(&ch)
                .is_some_and(|c| c.interest.contains_key(name));
            self.drop_interest(ch, name);
            return if subscribed {
                Ok(())
            } else {
                Err(Refused::NotSubscribed)
            };
        }
        let bridge = self.bridge_ids.get(id).copied();
        let app = self.app_mut(name);
        let was = match (scheme, id) {
            ("channel", _) => std::mem::take(&mut app.all_channels),
            ("bridge", "") => std::mem::take(&mut app.all_bridges),
            ("bridge", _) => bridge.is_some_and(|br| app.bridges.remove(&br)),
            ("endpoint", "") => std::mem::take(&mut app.all_endpoints),
            ("endpoint", id) => app.endpoints.remove(id),
            ("deviceState", "") => std::mem::take(&mut app.all_devices),
            ("deviceState", id) => app.devices.remove(id),
            _ => return Err(Refused::Scheme),
        };
        if was {
            Ok(())
        } else {
            Err(Refused::NotSubscribed)
        }
    }

    fn app_mut(&mut self, name: &str) -> &mut App {
        self.apps.entry(name.to_owned()).or_default()
    }

    /// Sends a channel's event to everyone who watches it; once per application, and once more to
    /// those subscribed to its endpoint.
    pub(crate) fn channel_event(&mut self, ch: Ch, kind: &str, fields: Value) {
        let Some(channel) = self.channels.get(&ch) else {
            return;
        };
        let receivers = self.watchers(channel);
        if receivers.is_empty() || channel.hostile {
            return;
        }
        let mut event = fields;
        event["channel"] = self.channel_json(channel);
        for name in receivers {
            self.deliver(&name, kind, event.clone());
        }
    }

    /// The applications that get a channel's events, one entry per copy.
    pub(crate) fn watchers(&self, channel: &Channel) -> Vec<String> {
        let endpoint = channel.endpoint();
        let mut receivers = Vec::new();
        for (name, app) in &self.apps {
            if app.all_channels || channel.interest.contains_key(name) {
                receivers.push(name.clone());
            }
            let tech = endpoint.split('/').next().unwrap_or_default();
            if app.endpoints.contains(endpoint) || app.endpoints.contains(tech) {
                receivers.push(name.clone());
            }
        }
        receivers
    }

    /// Sends a bridge's event to the applications with a channel in it, to those subscribed, and to
    /// `also`.
    pub(crate) fn bridge_event(&mut self, br: Br, kind: &str, ch: Option<Ch>, also: &[String]) {
        let Some(bridge) = self.bridges.get(&br) else {
            return;
        };
        let mut receivers: BTreeSet<String> = also.iter().cloned().collect();
        let members = bridge.members.iter().chain(ch.iter());
        receivers.extend(
            members
                .filter_map(|ch| self.channels.get(ch)?.app())
                .map(str::to_owned),
        );
        for (name, app) in &self.apps {
            if app.all_bridges || app.bridges.contains(&br) {
                receivers.insert(name.clone());
            }
        }
        if receivers.is_empty() {
            return;
        }
        let mut event = json!({ "bridge": self.bridge_json(bridge) });
        if let Some(channel) = ch.and_then(|ch| self.channels.get(&ch)) {
            if channel.hostile {
                return;
            }
            event["channel"] = self.channel_json(channel);
        }
        for name in receivers {
            self.deliver(&name, kind, event.clone());
        }
    }

    pub(crate) fn device_event(&mut self, device: &str, state: &str) {
        let receivers: Vec<String> = self
            .apps
            .iter()
            .filter(|(_, app)| app.all_devices || app.devices.contains(device))
            .map(|(name, _)| name.clone())
            .collect();
        for name in receivers {
            let event = json!({ "device_state": { "name": device, "state": state } });
            self.deliver(&name, "DeviceStateChanged", event);
        }
    }

    pub(crate) fn endpoint_event(&mut self, endpoint: &str, kind: &str, fields: &Value) {
        let receivers: Vec<String> = self
            .apps
            .iter()
            .filter(|(_, app)| {
                app.all_endpoints
                    || app.endpoints.contains(endpoint)
                    || app.endpoints.contains("PJSIP")
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in receivers {
            let mut event = fields.clone();
            event["endpoint"] = self.endpoint_json(endpoint);
            self.deliver(&name, kind, event);
        }
    }

    /// Sends one event to one application, if it is connected and its filter lets it through.
    pub(crate) fn deliver(&mut self, name: &str, kind: &str, mut event: Value) {
        let Some(app) = self.apps.get(name) else {
            return;
        };
        let Some(conn) = app.conn else { return };
        if !app.lets_through(kind) {
            return;
        }
        event["type"] = kind.into();
        event["application"] = name.into();
        event["timestamp"] = self.stamp_now().into();
        event["asterisk_id"] = self.asterisk_id().into();
        self.output(Output::Event {
            conn,
            text: event.to_string(),
        });
    }

    /// The application as ARI shows it.
    pub(crate) fn app_json(&self, name: &str) -> Option<Value> {
        let app = self.apps.get(name)?;
        let mut channels: Vec<&str> = self
            .channels
            .values()
            .filter(|channel| channel.interest.contains_key(name))
            .map(|channel| channel.id.as_str())
            .collect();
        if app.all_channels {
            channels.push(ALL_CHANNELS);
        }
        let mut bridges: BTreeSet<&str> = self
            .channels
            .values()
            .filter(|channel| channel.app() == Some(name))
            .filter_map(|channel| channel.bridge)
            .chain(app.bridges.iter().copied())
            .filter_map(|br| Some(self.bridges.get(&br)?.id.as_str()))
            .collect();
        if app.all_bridges {
            bridges.insert(ALL_BRIDGES);
        }
        let mut devices: Vec<&str> = app.devices.iter().map(String::as_str).collect();
        if app.all_devices {
            devices.push(ALL_DEVICES);
        }
        Some(json!({
            "name": name,
            "channel_ids": channels,
            "bridge_ids": bridges,
            "endpoint_ids": app.endpoints,
            "device_names": devices,
            "events_allowed": app.allowed,
            "events_disallowed": app.disallowed,
        }))
    }
}
