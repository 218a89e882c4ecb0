//! Tests of the pure core: each claims one behaviour that was measured on a real Asterisk.
//!
//! `calls` follows callers, legs, bridges and sounds; `apps` follows applications, the dialplan,
//! trunks and devices. This file holds the bench both work at.

mod apps;
mod calls;

use serde_json::Value;

use crate::caller::CallSpec;
use crate::hearing::Hearing;
use crate::pbx::{Output, Pbx, PbxConfig, Request, Response};

pub(super) const APP: &str = "QueueARI";

/// A core with one WebSocket, and what came out of it.
pub(super) struct Bench {
    pub(super) pbx: Pbx,
    pub(super) events: Vec<Value>,
    answers: Vec<(u64, Response)>,
    next: u64,
}

impl Bench {
    pub(super) fn new() -> Bench {
        let mut bench = Bench::deaf();
        bench.pbx.ws_open(1, &[APP.to_owned()], false);
        bench
    }

    pub(super) fn deaf() -> Bench {
        let config = PbxConfig {
            name: "a".into(),
            app: APP.into(),
            seed: 1,
            sound_percent: 100,
            contexts: vec!["fallback".into()],
            endpoints: vec![],
            unreachable_500_percent: 50,
            wall_ms: 1_795_432_327_193,
        };
        Bench {
            pbx: Pbx::new(config),
            events: vec![],
            answers: vec![],
            next: 100,
        }
    }

    pub(super) fn collect(&mut self) {
        for output in self.pbx.take_outputs() {
            match output {
                Output::Event { text, .. } => {
                    self.events.push(serde_json::from_str(&text).unwrap());
                }
                Output::Answer { token, response } => self.answers.push((token, response)),
                Output::CallerEnded { .. } | Output::Trunk { .. } => {}
            }
        }
    }

    /// Asks, and answers the token.
    pub(super) fn ask(&mut self, method: &str, uri: &str, body: &str) -> u64 {
        self.next += 1;
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let request = Request::parse(method, path, query, body.as_bytes());
        self.pbx.request(self.next, &request);
        self.collect();
        self.next
    }

    pub(super) fn status_of(&self, token: u64) -> Option<u16> {
        self.answers
            .iter()
            .find(|(t, _)| *t == token)
            .map(|(_, response)| response.status)
    }

    pub(super) fn does(&mut self, method: &str, uri: &str) -> (u16, Value) {
        let token = self.ask(method, uri, "");
        let (_, response) = self
            .answers
            .iter()
            .find(|(t, _)| *t == token)
            .expect("is answered");
        (
            response.status,
            serde_json::from_str(&response.body).unwrap_or_default(),
        )
    }

    pub(super) fn call(&mut self, spec: CallSpec) -> (u64, String) {
        self.next += 1;
        self.pbx.place_call(self.next, spec);
        self.collect();
        (self.next, self.pbx.callers[&self.next].channel_id.clone())
    }

    pub(super) fn pass(&mut self, ms: u64) {
        let now = self.pbx.now + ms;
        self.pbx.advance(now);
        self.collect();
    }

    /// Types of the events since the last look.
    pub(super) fn kinds(&mut self) -> Vec<String> {
        let quality = |event: &Value| event["variable"].as_str() == Some("RTPAUDIOQOS");
        let varset = |event: &Value| event["type"] == "ChannelVarset" && !quality(event);
        let events = std::mem::take(&mut self.events)
            .into_iter()
            .filter(|event| !varset(event));
        let events = events.filter(|event| !quality(event));
        events
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(super) fn hears(&self, caller: u64) -> Hearing {
        self.pbx.callers[&caller].heard.back().unwrap().what.clone()
    }
}

pub(super) fn waiting() -> CallSpec {
    CallSpec::new("q-sales", "5551000")
}
