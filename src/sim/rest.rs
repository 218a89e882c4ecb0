//! ARI's REST resources: which request does what, with Asterisk's status codes and messages.
//!
//! Here are the table of resources and those that are neither channels nor bridges.

use serde_json::{Map, Value, json};

use crate::apps::Refused;
use crate::pbx::{Pbx, Request, Response};

/// A request either succeeds or is answered with an error.
pub(crate) type Failed<T> = Result<T, Response>;

/// How many device states a client may invent.
const STASIS_DEVICES_MAX: usize = 10_000;

pub(crate) fn ok(json: impl Into<Option<Value>>) -> Response {
    let json: Option<Value> = json.into();
    Response {
        status: 200,
        body: json.map(|json| json.to_string()).unwrap_or_default(),
    }
}

pub(crate) fn created(json: Value) -> Response {
    Response {
        status: 201,
        body: json.to_string(),
    }
}

pub(crate) fn no_content() -> Response {
    Response {
        status: 204,
        body: String::new(),
    }
}

pub(crate) fn error(status: u16, message: &str) -> Response {
    Response {
        status,
        body: json!({ "message": message }).to_string(),
    }
}

pub(crate) fn allocation_failed() -> Response {
    Response {
        status: 500,
        body: json!({ "error": "Allocation failed" }).to_string(),
    }
}

pub(crate) fn not_found() -> Response {
    error(404, "Resource not found")
}

pub(crate) fn wrong_verb() -> Response {
    error(405, "Invalid method")
}

pub(crate) fn class_or_default(class: &str) -> String {
    if class.is_empty() {
        "default".to_owned()
    } else {
        class.to_owned()
    }
}

impl Request {
    /// A parameter, from the query or the body.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        let query = self
            .query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone());
        query.or_else(|| match self.field(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            Value::Array(items) => {
                let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                Some(items.join(","))
            }
            other => Some(other.to_string()),
        })
    }

    /// A comma-separated parameter, which may also be given several times.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let given = self.query.iter().filter(|(key, _)| key == name);
        let mut texts: Vec<String> = given.map(|(_, value)| value.clone()).collect();
        if texts.is_empty() {
            texts.extend(self.param(name));
        }
        let parts = texts.iter().flat_map(|text| text.split(','));
        parts
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// A field of the JSON body.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        match &self.body {
            Some(Ok(body)) => body.get(name),
            _ => None,
        }
    }
}

impl Pbx {
    /// Carries out one ARI request. Its answer comes out as [`crate::Output::Answer`], at once or
    /// when the channel's queue has got to it.
    pub fn request(&mut self, token: u64, request: &Request) {
        self.requests += 1;
        match self.route(token, request) {
            Ok(Some(response)) | Err(response) => self.answer(token, response),
            Ok(None) => {}
        }
    }

    fn route(&mut self, token: u64, request: &Request) -> Failed<Option<Response>> {
        if let Some(Err(())) = request.body {
            return Err(error(400, "Error parsing request body"));
        }
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let verb = request.method.as_str();
        match path.as_slice() {
            ["channels", rest @ ..] => self.route_channels(token, verb, rest, request),
            ["bridges", rest @ ..] => self.route_bridges(token, verb, rest, request),
            ["asterisk", rest @ ..] => self.route_asterisk(verb, rest, request).map(Some),
            ["applications", rest @ ..] => self.route_apps(verb, rest, request).map(Some),
            ["deviceStates", rest @ ..] => self.route_devices(verb, rest, request).map(Some),
            ["endpoints", rest @ ..] => self.route_endpoints(verb, rest).map(Some),
            ["playbacks", rest @ ..] => self.route_playbacks(verb, rest, request).map(Some),
            ["events", "user", name] if verb == "POST" => self.user_event(name, request).map(Some),
            ["events", "user", _] => Err(wrong_verb()),
            _ => Err(not_found()),
        }
    }

    fn route_asterisk(&mut self, verb: &str, rest: &[&str], request: &Request) -> Failed<Response> {
        match (rest, verb) {
            (["ping"], "GET") => Ok(ok(json!({
                "asterisk_id": self.asterisk_id(), "ping": "pong", "timestamp": self.stamp_now(),
            }))),
            (["info"], "GET") => self.info(request),
            (["variable"], "GET") => match request.param("variable") {
                Some(name) => {
                    let value = self.globals.get(&name).cloned().unwrap_or_default();
                    Ok(ok(json!({ "value": value })))
                }
                None => Err(error(400, "Variable name is required")),
            },
            (["variable"], "POST") => match request.param("variable") {
                Some(name) => {
                    let value = request.param("value").unwrap_or_default();
                    self.globals.insert(name, value);
                    Ok(no_content())
                }
                None => Err(error(400, "Variable name is required")),
            },
            (["ping" | "info" | "variable"], _) => Err(wrong_verb()),
            _ => Err(not_found()),
        }
    }

    fn info(&self, request: &Request) -> Failed<Response> {
        let all = json!({
            "build": {
                "os": "Linux", "kernel": "simulated", "machine": "x86_64", "options": "",
                "date": "2026-01-01 00:00:00 UTC", "user": "holdfast",
            },
            "system": { "version": "22.10.1", "entity_id": self.asterisk_id() },
            "config": {
                "name": self.config.name, "default_language": "en",
                "setid": { "user": "", "group": "" },
            },
            "status": {
                "startup_time": self.startup_stamp(), "last_reload_time": self.startup_stamp(),
            },
        });
        let only = request.list("only");
        if only.is_empty() {
            return Ok(ok(all));
        }
        let mut some = Map::new();
        for section in only {
            if let Some(value) = all.get(&section) {
                some.insert(section, value.clone());
            }
        }
        Ok(ok(Value::Object(some)))
    }

    fn route_apps(&mut self, verb: &str, rest: &[&str], request: &Request) -> Failed<Response> {
        let missing = || error(404, "Application not found");
        match (rest, verb) {
            ([], "GET") => {
                let names: Vec<String> = self.apps.keys().cloned().collect();
                let apps = names
                    .iter()
                    .filter_map(|name| self.app_json(name))
                    .collect();
                Ok(ok(Value::Array(apps)))
            }
            ([name], "GET") => self.app_json(name).map(ok).ok_or_else(missing),
            ([name, "subscription"], "POST" | "DELETE") => {
                if !self.apps.contains_key(*name) {
                    return Err(missing());
                }
                let sources = request.list("eventSource");
                if sources.is_empty() {
                    return Err(error(400, "Missing parameter eventSource"));
                }
                for source in sources {
                    let done = if verb == "POST" {
                        self.subscribe(name, &source)
                    } else {
                        self.unsubscribe(name, &source)
                    };
                    done.map_err(|refused| match refused {
                        Refused::Scheme => error(400, "Invalid event source URI scheme"),
                        Refused::Unknown => error(422, "Event source does not exist"),
                        Refused::NotSubscribed => error(422, "Event source was not subscribed to"),
                    })?;
                }
                Ok(ok(self.app_json(name)))
            }
            ([name, "eventFilter"], "PUT") => self.filter(name, request),
            ([] | [_] | [_, "subscription" | "eventFilter"], _) => Err(wrong_verb()),
            _ => Err(not_found()),
        }
    }

    fn filter(&mut self, name: &str, request: &Request) -> Failed<Response> {
        let list = |key: &str| -> Failed<Option<Vec<Value>>> {
            let Some(field) = request.field(key) else {
                return Ok(None);
            };
            let items = field.as_array().filter(|items| {
                items.len() <= 1000 && items.iter().all(|item| item["type"].is_string())
            });
            items
                .cloned()
                .map(Some)
                .ok_or_else(|| error(400, "Invalid format definition"))
        };
        let (allowed, disallowed) = (list("allowed")?, list("disallowed")?);
        let app = self
            .apps
            .get_mut(name)
            .ok_or_else(|| error(404, "Application not found"))?;
        if allowed.is_none() && disallowed.is_none() {
            app.allowed.clear();
            app.disallowed.clear();
        }
        if let Some(allowed) = allowed {
            app.allowed = allowed;
        }
        if let Some(disallowed) = disallowed {
            app.disallowed = disallowed;
        }
        Ok(ok(self.app_json(name)))
    }

    fn route_devices(&mut self, verb: &str, rest: &[&str], request: &Request) -> Failed<Response> {
        match (rest, verb) {
            ([], "GET") => {
                let states = self.stasis_devices.iter();
                let states = states.map(|(name, state)| json!({ "name": name, "state": state }));
                Ok(ok(Value::Array(states.collect())))
            }
            ([name], "GET") => Ok(ok(
                json!({ "name": name, "state": self.device_state(name) }),
            )),
            ([name], "PUT" | "DELETE") if !name.starts_with("Stasis:") => {
                Err(error(409, "Uncontrolled device specified"))
            }
            ([name], "PUT") => {
                let state = request.param("deviceState").unwrap_or_default();
                if self.stasis_devices.len() < STASIS_DEVICES_MAX {
                    self.stasis_devices
                        .insert((*name).to_owned(), state.clone());
                }
                self.device_event(name, &state);
                Ok(no_content())
            }
            ([name], "DELETE") => match self.stasis_devices.remove(*name) {
                Some(_) => Ok(no_content()),
                None => Err(error(404, "Unknown device")),
            },
            ([] | [_], _) => Err(wrong_verb()),
            _ => Err(not_found()),
        }
    }

    fn route_endpoints(&mut self, verb: &str, rest: &[&str]) -> Failed<Response> {
        if verb != "GET" {
            return Err(wrong_verb());
        }
        match rest {
            [] | ["PJSIP"] => {
                let phones = self.phones.keys().map(|number| format!("PJSIP/{number}"));
                let trunks = self.trunks.iter().map(|peer| format!("PJSIP/trunk-{peer}"));
                let all = phones
                    .chain(trunks)
                    .map(|endpoint| self.endpoint_json(&endpoint));
                Ok(ok(Value::Array(all.collect())))
            }
            [tech] => Err(error(
                404,
                &format!("No Endpoints found - invalid tech {tech}"),
            )),
            [tech, resource] => {
                let endpoint = format!("{tech}/{resource}");
                match self.endpoint_state(&endpoint) {
                    Some(_) => Ok(ok(self.endpoint_json(&endpoint))),
                    None => Err(error(404, "Endpoint not found")),
                }
            }
            _ => Err(not_found()),
        }
    }

    fn route_playbacks(
        &mut self,
        verb: &str,
        rest: &[&str],
        request: &Request,
    ) -> Failed<Response> {
        let ([id] | [id, "control"]) = rest else {
            return Err(not_found());
        };
        if rest.len() == 2
            && request
                .param("operation")
                .is_none_or(|text| text.is_empty())
        {
            return Err(error(400, "Missing operation"));
        }
        let serial = self
            .playback_by_id(id)
            .ok_or_else(|| error(404, "Playback not found"))?;
        match (rest.len(), verb) {
            (1, "GET") => Ok(ok(self
                .playbacks
                .get(&serial)
                .map(|playback| self.playback_json(playback)))),
            (1, "DELETE") => {
                self.stop_playback(serial);
                Ok(no_content())
            }
            (2, "POST") => {
                let operation = request.param("operation").unwrap_or_default();
                if self.control_playback(serial, &operation) {
                    Ok(no_content())
                } else {
                    Err(error(400, &format!("Invalid operation {operation}")))
                }
            }
            _ => Err(wrong_verb()),
        }
    }

    fn user_event(&mut self, name: &str, request: &Request) -> Failed<Response> {
        let app = request.param("application").unwrap_or_default();
        if app.is_empty() {
            return Err(error(400, "Missing parameter application"));
        }
        if !self.apps.contains_key(&app) {
            return Err(error(404, "Application not found"));
        }
        let mut variables = request
            .field("variables")
            .cloned()
            .unwrap_or_else(|| json!({}));
        if variables.is_object() {
            variables["eventname"] = name.into();
        }
        let mut event = json!({ "eventname": name, "userevent": variables });
        for source in request.list("source") {
            let Some(("channel", id)) = source.split_once(':') else {
                return Err(error(400, "Invalid event source URI scheme"));
            };
            let channel = self.ids.get(id).and_then(|ch| self.channels.get(ch));
            let channel = channel.ok_or_else(|| error(422, "Event source was not found"))?;
            event["channel"] = self.channel_json(channel);
        }
        self.deliver(&app, "ChannelUserevent", event);
        Ok(no_content())
    }
}
