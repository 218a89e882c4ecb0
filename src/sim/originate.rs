//! `POST /channels`, `POST /channels/create`: making legs to phones and trunks.
//!
//! An endpoint that cannot be allocated and a duplicate id may give the same 409 on the first (trap 3);
//! only `create` tells them apart.

use rand::Rng;
use serde_json::Value;

use crate::channel::{Ch, Far, Leg, Party, Place};
use crate::pbx::{CHANNELS_MAX, Pbx, Request, Response};
use crate::queue::Command;
use crate::rest::{Failed, allocation_failed, error, ok};

/// The longest channel id.
const ID_MAX: usize = 149;
/// Seconds that a leg rings when nothing is said.
const TIMEOUT_DEFAULT: i64 = 30;

impl Pbx {
    /// The far end that an endpoint such as `PJSIP/1001` or `PJSIP/1001@trunk-b` leads to, and the
    /// channel's name without its number; `None` if nothing can be allocated for it.
    pub(crate) fn resolve(&self, endpoint: &str) -> Option<(Far, String)> {
        let resource = endpoint.trim().strip_prefix("PJSIP/")?;
        if let Some((number, trunk)) = resource.split_once('@') {
            let peer = trunk
                .strip_prefix("trunk-")
                .filter(|peer| self.trunks.contains(*peer))?;
            let far = Far::TrunkOut {
                peer: peer.to_owned(),
                call: 0,
                number: number.to_owned(),
            };
            return Some((far, format!("PJSIP/{trunk}")));
        }
        let registered = self
            .phones
            .get(resource)
            .is_some_and(|phone| phone.registered);
        registered.then(|| (Far::Phone(resource.to_owned()), format!("PJSIP/{resource}")))
    }

    /// A new leg that has not been invited yet.
    pub(crate) fn new_leg(&mut self, id: Option<String>, far: Far, tech_name: &str) -> Ch {
        let ch = self.new_channel(id, tech_name, far);
        if let Some(channel) = self.channels.get_mut(&ch) {
            channel.place = Place::Leg;
            if let Far::TrunkOut { call, .. } = &mut channel.far {
                *call = ch;
            }
            let number = match channel.phone_number() {
                Some(number) => number.to_owned(),
                None => String::new(),
            };
            channel.caller = Party::new("", &number);
            channel.exten = "s".to_owned();
            channel.app_name = "AppDial2".to_owned();
            channel.app_data = "(Outgoing Line)".to_owned();
        }
        ch
    }

    pub(crate) fn originate(&mut self, request: &Request, id: Option<String>) -> Failed<Response> {
        let endpoint = endpoint(request)?;
        let id = self.checked_id(request, id)?;
        let originator = self.originator(request)?;
        let app = request.param("app").filter(|app| !app.is_empty());
        let exten = request.param("extension").filter(|exten| !exten.is_empty());
        if app.is_none() && exten.is_none() {
            return Err(error(400, "Application or extension must be specified"));
        }
        let variables = variables(request.field("variables"))?;
        let taken = id.as_ref().is_some_and(|id| self.ids.contains_key(id));
        let found = self
            .resolve(&endpoint)
            .filter(|_| self.channels.len() < CHANNELS_MAX);
        let Some((far, tech_name)) = found.filter(|_| !taken) else {
            // Which of the two an endpoint that cannot be reached gives has been seen to vary, so a
            // client has to take both for both (trap 3).
            let percent = self.config.unreachable_500_percent;
            let conflict = taken || (id.is_some() && self.rng.random_range(0..100) >= percent);
            return Err(if conflict {
                error(409, "Channel with given unique ID already exists")
            } else {
                allocation_failed()
            });
        };
        let ch = self.new_leg(id, far, &tech_name);
        self.dress_leg(ch, request, originator, variables);
        // A number that is no number counts as 0, which like -1 means no time-out.
        let timeout = match request.param("timeout") {
            Some(text) => text.parse().unwrap_or(0),
            None => TIMEOUT_DEFAULT,
        };
        let args = request.param("appArgs").unwrap_or_default();
        if let Some(channel) = self.channels.get_mut(&ch) {
            channel.leg = Leg {
                app: app.clone().map(|app| (app, split_args(&args))),
                exten: exten.map(|exten| {
                    let context = request.param("context").unwrap_or("default".to_owned());
                    (context, exten, 1)
                }),
                timeout_ms: u64::try_from(timeout)
                    .ok()
                    .filter(|s| *s > 0)
                    .map(|s| s * 1000),
                ..Leg::default()
            };
        }
        if let Some(app) = app.filter(|app| self.apps.contains_key(app)) {
            self.add_interest(ch, &app);
        }
        self.leg_made(ch, originator);
        self.start_leg(ch);
        Ok(ok(self
            .channels
            .get(&ch)
            .map(|channel| self.channel_json(channel))))
    }

    pub(crate) fn create(&mut self, request: &Request) -> Failed<Response> {
        let endpoint = endpoint(request)?;
        let app = request.param("app").filter(|app| !app.is_empty());
        let app = app.ok_or_else(|| error(400, "Application or extension must be specified"))?;
        let id = self.checked_id(request, None)?;
        let originator = self.originator(request)?;
        let variables = variables(request.field("variables"))?;
        if id.as_ref().is_some_and(|id| self.ids.contains_key(id)) {
            return Err(error(409, "Channel with given unique ID already exists"));
        }
        let found = self
            .resolve(&endpoint)
            .filter(|_| self.channels.len() < CHANNELS_MAX);
        let Some((far, tech_name)) = found else {
            return Err(allocation_failed());
        };
        let ch = self.new_leg(id, far, &tech_name);
        self.dress_leg(ch, request, originator, variables);
        let json = self
            .channels
            .get(&ch)
            .map(|channel| self.channel_json(channel));
        if self.apps.contains_key(&app) {
            self.add_interest(ch, &app);
        }
        let args = split_args(&request.param("appArgs").unwrap_or_default());
        if !self.enter_stasis(ch, &app, &args) {
            self.hang_up(ch, crate::pbx::HangUp::asterisk(16));
        }
        Ok(ok(json))
    }

    /// `POST /channels/{id}/dial`, for a channel made by `create`.
    pub(crate) fn dial_request(&mut self, ch: Ch, request: &Request) -> Failed<Response> {
        let channel = self
            .channels
            .get(&ch)
            .ok_or_else(|| error(404, "Channel not found"))?;
        // Until the INVITE is out, a second dial is let through, and kills the leg (trap 5).
        if channel.leg.invited {
            return Err(error(409, "Channel is not in the 'Down' state"));
        }
        let timeout: i64 = request
            .param("timeout")
            .and_then(|s| s.parse().ok())
            .unwrap_or(0);
        let timeout_ms = u64::try_from(timeout)
            .ok()
            .filter(|s| *s > 0)
            .map(|s| s * 1000);
        self.command(ch, Command::Dial { timeout_ms });
        Ok(crate::rest::no_content())
    }

    /// Gives a leg its caller id, the originator's marks and its variables.
    fn dress_leg(
        &mut self,
        ch: Ch,
        request: &Request,
        originator: Option<Ch>,
        variables: Vec<(String, String, bool)>,
    ) {
        let origin = originator.and_then(|ch| self.channels.get(&ch));
        let origin = origin.map(|origin| (origin.caller.clone(), origin.accountcode.clone()));
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        if let Some((caller, accountcode)) = origin {
            channel.connected = caller;
            channel.accountcode = accountcode;
        }
        if let Some(caller_id) = request.param("callerId") {
            channel.connected = Party::parse(&caller_id);
            channel.caller = channel.connected.clone();
        }
        for (name, value, report) in variables {
            self.set_variable(ch, &name, &value, report);
        }
    }

    fn checked_id(&self, request: &Request, id: Option<String>) -> Failed<Option<String>> {
        let id = id
            .or_else(|| request.param("channelId"))
            .filter(|id| !id.is_empty());
        match id {
            Some(id) if id.len() > ID_MAX => Err(error(
                400,
                &format!("Uniqueid length exceeds maximum of {ID_MAX}"),
            )),
            id => Ok(id),
        }
    }

    fn originator(&self, request: &Request) -> Failed<Option<Ch>> {
        match request.param("originator").filter(|id| !id.is_empty()) {
            Some(id) => match self.ids.get(&id) {
                Some(ch) => Ok(Some(*ch)),
                None => Err(error(400, "Provided originator channel was not found")),
            },
            None => Ok(None),
        }
    }
}

fn endpoint(request: &Request) -> Failed<String> {
    let endpoint = request.param("endpoint").unwrap_or_default();
    if endpoint.is_empty() {
        return Err(error(400, "Endpoint must be specified"));
    }
    if !endpoint.contains('/') {
        return Err(error(400, "Invalid endpoint specified"));
    }
    Ok(endpoint)
}

pub(crate) fn split_args(args: &str) -> Vec<String> {
    if args.is_empty() {
        Vec::new()
    } else {
        args.split(',').map(str::to_owned).collect()
    }
}

/// Reads `{"name": "value", "other": {"value": "v", "report_events": true}}`.
pub(crate) fn variables(field: Option<&Value>) -> Failed<Vec<(String, String, bool)>> {
    let Some(field) = field else {
        return Ok(Vec::new());
    };
    let object = field
        .as_object()
        .ok_or_else(|| error(400, "The 'variables' field must be a JSON object"))?;
    object
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => Ok((name.clone(), text.clone(), false)),
            Value::Object(entry) => match (entry.get("value"), entry.get("report_events")) {
                (Some(Value::String(text)), None) => Ok((name.clone(), text.clone(), false)),
                (Some(Value::String(text)), Some(Value::Bool(report))) => {
                    Ok((name.clone(), text.clone(), *report))
                }
                (Some(Value::String(_)), Some(_)) => Err(error(
                    400,
                    "Field 'report_events' in 'variables' entries must be boolean",
                )),
                _ => Err(error(
                    400,
                    "Each object value in 'variables' must include string field 'value'",
                )),
            },
            _ => Err(error(
                400,
                "Each value in 'variables' must be a string or an object with 'value' and \
                 optional 'report_events'",
            )),
        })
        .collect()
}
