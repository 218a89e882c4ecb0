//! `/channels`: everything that is asked of a channel.

use serde_json::{Value, json};

use crate::channel::{Ch, State};
use crate::originate::{split_args, variables};
use crate::pbx::{HangUp, Pbx, Request, Response};
use crate::playback::Target;
use crate::queue::Command;
use crate::rest::{
    Failed, allocation_failed, class_or_default, created, error, no_content, not_found, ok,
    wrong_verb,
};

impl Pbx {
    pub(crate) fn route_channels(
        &mut self,
        token: u64,
        verb: &str,
        rest: &[&str],
        request: &Request,
    ) -> Failed<Option<Response>> {
        match (rest, verb) {
            ([], "GET") => self.list_channels().map(Some),
            ([], "POST") => self.originate(request, None).map(Some),
            (["create"], "POST") => self.create(request).map(Some),
            ([id], "POST") => self.originate(request, Some((*id).to_owned())).map(Some),
            ([id], "GET") => self.get_channel(id).map(Some),
            ([id], "DELETE") => self.delete_channel(id, request).map(Some),
            ([id, "variable" | "variables"], "GET") => self
                .get_variables(id, rest[1] == "variables", request)
                .map(Some),
            ([id, "variable" | "variables"], "POST") => {
                let set = if rest[1] == "variable" {
                    let name = request.param("variable").filter(|name| !name.is_empty());
                    let name = name.ok_or_else(|| error(400, "Variable name is required"))?;
                    let report = request
                        .param("report_events")
                        .is_some_and(|text| text == "true");
                    vec![(name, request.param("value").unwrap_or_default(), report)]
                } else {
                    let field = request.field("variables");
                    let field =
                        field.ok_or_else(|| error(400, "The 'variables' field is required"))?;
                    variables(Some(field))?
                };
                let ch = self.in_stasis(id)?;
                self.command(ch, Command::Variables { token, set });
                Ok(None)
            }
            ([id, "answer"], "POST") => {
                let ch = self.in_stasis(id)?;
                self.command(ch, Command::Answer { token });
                Ok(None)
            }
            ([id, "dial"], "POST") => {
                let ch = self.in_stasis(id)?;
                self.dial_request(ch, request).map(Some)
            }
            ([id, "continue"], "POST") => self.continue_request(id, request).map(Some),
            ([id, "play"], "POST") => self.play_request(id, None, request).map(Some),
            ([id, "play", playback], "POST") => self
                .play_request(id, Some((*playback).to_owned()), request)
                .map(Some),
            ([id, action], "POST" | "DELETE") => {
                self.simple_command(id, action, verb, request).map(Some)
            }
            ([] | [_] | [_, _] | [_, "play", _], _) => Err(wrong_verb()),
            _ => Err(not_found()),
        }
    }

    fn list_channels(&self) -> Failed<Response> {
        if self.channels.values().any(|channel| channel.hostile) {
            return Err(allocation_failed());
        }
        let all = self
            .channels
            .values()
            .map(|channel| self.channel_json(channel));
        Ok(ok(Value::Array(all.collect())))
    }

    fn get_channel(&self, id: &str) -> Failed<Response> {
        let ch = self.find(id)?;
        let channel = self.channels.get(&ch).filter(|channel| !channel.hostile);
        Ok(ok(channel.map(|channel| self.channel_json(channel))))
    }

    fn delete_channel(&mut self, id: &str, request: &Request) -> Failed<Response> {
        let cause = match (request.param("reason_code"), request.param("reason")) {
            (Some(code), _) => {
                let code = code.parse::<u16>().ok().filter(|code| *code <= 127);
                code.ok_or_else(|| error(400, "Invalid reason for hangup reason code provided"))?
            }
            (None, Some(reason)) => cause_of_reason(&reason)
                .ok_or_else(|| error(400, "Invalid reason for hangup reason provided"))?,
            (None, None) => 16,
        };
        let ch = self.find(id)?;
        self.hang_up(ch, HangUp::ari(cause));
        Ok(no_content())
    }

    /// Commands without parameters to speak of, queued on the channel and answered at once.
    fn simple_command(
        &mut self,
        id: &str,
        action: &str,
        verb: &str,
        request: &Request,
    ) -> Failed<Response> {
        let command = match (action, verb) {
            ("moh", "POST") => {
                let class = request.param("mohClass").unwrap_or_default();
                Some(Command::MohStart(class_or_default(&class)))
            }
            ("moh", _) => Some(Command::MohStop),
            ("ring", "POST") => Some(Command::RingStart),
            ("ring", _) => Some(Command::RingStop),
            ("move", "POST") => {
                let app = request.param("app").unwrap_or_default();
                let args = request.param("appArgs").unwrap_or_default();
                Some(Command::Move {
                    app,
                    args: split_args(&args),
                })
            }
            // Known to Asterisk; here they change nothing that could be seen.
            ("hold" | "mute" | "silence", _) | ("dtmf", "POST") => None,
            ("record" | "snoop" | "redirect" | "externalMedia", _) => {
                return Err(error(501, "Method not implemented"));
            }
            ("move" | "dtmf" | "answer" | "dial" | "continue" | "play", _) => {
                return Err(wrong_verb());
            }
            _ => return Err(not_found()),
        };
        let ch = self.in_stasis(id)?;
        if action != "move" {
            self.not_down(ch)?;
        }
        if let Some(command) = command {
            self.command(ch, command);
        }
        Ok(no_content())
    }

    fn continue_request(&mut self, id: &str, request: &Request) -> Failed<Response> {
        let ch = self.in_stasis(id)?;
        let param = |name: &str| request.param(name).filter(|text| !text.is_empty());
        let (context, exten) = (param("context"), param("extension"));
        let priority = param("priority").and_then(|text| text.parse::<i64>().ok());
        if let Some(label) = param("label")
            && label.parse::<i64>().is_err()
        {
            return Err(error(404, "Requested label can not be found"));
        }
        let channel = self
            .channels
            .get(&ch)
            .ok_or_else(|| error(404, "Channel not found"))?;
        let to = (context.is_some() || exten.is_some() || priority.is_some()).then(|| {
            (
                context.unwrap_or_else(|| channel.context.clone()),
                exten.unwrap_or_else(|| channel.exten.clone()),
                priority.unwrap_or(1),
            )
        });
        self.command(ch, Command::Continue(to));
        Ok(no_content())
    }

    fn play_request(
        &mut self,
        id: &str,
        playback: Option<String>,
        request: &Request,
    ) -> Failed<Response> {
        let ch = self.in_stasis(id)?;
        self.not_down(ch)?;
        let refusal = "Failed to queue media for playback";
        self.play_on(Target::Channel(ch), playback, request, refusal)
    }

    /// Plays what a request names; `refusal` is what Asterisk says when it cannot.
    pub(crate) fn play_on(
        &mut self,
        target: Target,
        playback: Option<String>,
        request: &Request,
        refusal: &str,
    ) -> Failed<Response> {
        let media = request.list("media");
        if media.is_empty() {
            return Err(error(500, "Failed to queue media for playback"));
        }
        let playback = playback.or_else(|| request.param("playbackId"));
        let language = request.param("lang").unwrap_or("en".to_owned());
        let json = self.play(target, playback, media, language);
        json.map(created).ok_or_else(|| error(500, refusal))
    }

    fn get_variables(&self, id: &str, several: bool, request: &Request) -> Failed<Response> {
        let names = if several {
            request.list("variables")
        } else {
            request
                .param("variable")
                .into_iter()
                .filter(|name| !name.is_empty())
                .collect()
        };
        if names.is_empty() {
            let message = if several {
                "Variable names are required"
            } else {
                "Variable name is required"
            };
            return Err(error(400, message));
        }
        let ch = self.find(id)?;
        let mut values = Vec::new();
        for name in &names {
            values.push((name.clone(), Value::String(self.variable_value(ch, name)?)));
        }
        Ok(ok(match values.pop() {
            Some((_, value)) if !several => json!({ "value": value }),
            last => {
                let all = values
                    .into_iter()
                    .chain(last)
                    .collect::<serde_json::Map<_, _>>();
                json!({ "variables": all })
            }
        }))
    }

    fn variable_value(&self, ch: Ch, name: &str) -> Failed<String> {
        let channel = self
            .channels
            .get(&ch)
            .ok_or_else(|| error(404, "Channel not found"))?;
        if let Some(value) = channel.vars.get(name) {
            return Ok(value.clone());
        }
        let caller = &channel.caller;
        match name {
            "CALLERID(num)" => Ok(caller.number.clone()),
            "CALLERID(name)" => Ok(caller.name.clone()),
            "CALLERID(all)" => Ok(format!("\"{}\" <{}>", caller.name, caller.number)),
            "CHANNEL(name)" | "CHANNEL" => Ok(channel.name.clone()),
            "CHANNEL(linkedid)" | "UNIQUEID" | "CHANNEL(uniqueid)" => Ok(channel.id.clone()),
            "CHANNEL(state)" => Ok(channel.state.as_str().to_owned()),
            "EXTEN" => Ok(channel.exten.clone()),
            "CONTEXT" => Ok(channel.context.clone()),
            _ if name.ends_with(')') => Err(error(500, "Unable to read provided function")),
            _ => Err(error(404, "Provided variable was not found")),
        }
    }

    pub(crate) fn find(&self, id: &str) -> Failed<Ch> {
        self.ids
            .get(id)
            .copied()
            .ok_or_else(|| error(404, "Channel not found"))
    }

    /// The channel, which must be in a Stasis application.
    pub(crate) fn in_stasis(&self, id: &str) -> Failed<Ch> {
        let ch = self.find(id)?;
        match self.channels.get(&ch).and_then(|channel| channel.app()) {
            Some(_) => Ok(ch),
            None => Err(error(409, "Channel not in Stasis application")),
        }
    }

    fn not_down(&self, ch: Ch) -> Failed<()> {
        match self.channels.get(&ch) {
            Some(channel) if channel.state == State::Down => {
                Err(error(412, "Channel in invalid state"))
            }
            _ => Ok(()),
        }
    }
}

fn cause_of_reason(reason: &str) -> Option<u16> {
    Some(match reason {
        "normal" => 16,
        "busy" => 17,
        "congestion" => 34,
        "no_answer" => 19,
        "timeout" => 18,
        "rejected" => 21,
        "unallocated" => 1,
        "normal_unspecified" => 31,
        "number_incomplete" => 28,
        "codec_mismatch" => 58,
        "interworking" => 127,
        "failure" => 38,
        "answered_elsewhere" => 26,
        _ => return None,
    })
}
