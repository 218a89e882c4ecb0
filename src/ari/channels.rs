//! Requests about channels: look, originate, hang up, music, prompts, variables, continue.
//!
//! Two traps shape this file. A running playback blocks most commands of its channel until it
//! ends, and a timed-out command is still carried out then: stop the playback first. And music is
//! not stopped by bridging: stop it before the channel enters a bridge.

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::client::{AriClient, unreadable};
use crate::error::AriError;
use crate::grammar::{
    ChannelId, Context, Endpoint, Exten, Label, MediaUri, MusicClass, Var, check_value,
};
use crate::http::{Lane, encode, json, segment};
use crate::model::{CallerId, Channel};

/// What a question for one channel gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelLookup {
    /// It lives.
    Found(Box<Channel>),
    /// It lives, but Asterisk cannot describe it: 200 with an empty body, after an INVITE with
    /// bytes that are no UTF-8. Continue and hang-up work on it.
    Unreadable,
    /// It does not live.
    Gone,
}

/// A call to be made (`POST /channels`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Originate {
    /// Id of the new channel, chosen by us. Unique only while the channel lives: an id that was
    /// seen to end must not be used again.
    pub channel_id: ChannelId,
    /// Whom to call.
    pub endpoint: Endpoint,
    /// Arguments of its StasisStart, as our mark on our own legs. No commas in them.
    pub app_args: Vec<String>,
    /// What the called party is shown.
    pub caller_id: CallerId,
    /// The caller's channel, from which account code and linked id are inherited. It does not tie
    /// the two lives together.
    pub originator: Option<String>,
    /// How long it rings, in seconds; it then ends with cause 19.
    pub timeout_s: u32,
    /// Variables of the new channel.
    pub variables: Vec<(Var, String)>,
}

/// What became of an [`Originate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Originated {
    /// The channel was made; its events follow.
    Created,
    /// A channel with this id lives already: this was a repetition.
    AlreadyThere,
    /// No channel could be made: not registered, unknown endpoint, or a repetition of one that
    /// has ended meanwhile.
    Unreachable,
}

/// Why we hang up, as the other side is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HangupReason {
    /// Ordinary end.
    Normal,
    /// Another agent took the call: phones list it as answered, not as missed.
    AnsweredElsewhere,
    /// Nobody answered in time.
    NoAnswer,
    /// Busy.
    Busy,
    /// No way at present.
    Congestion,
    /// Refused.
    Rejected,
}

impl HangupReason {
    fn word(self) -> &'static str {
        match self {
            HangupReason::Normal => "normal",
            HangupReason::AnsweredElsewhere => "answered_elsewhere",
            HangupReason::NoAnswer => "no_answer",
            HangupReason::Busy => "busy",
            HangupReason::Congestion => "congestion",
            HangupReason::Rejected => "rejected",
        }
    }
}

/// Where a channel goes on in the dialplan. All `None` means the priority after `Stasis()`.
///
/// A context that does not exist is not refused: Asterisk answers 204 and drops the call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Continue {
    /// Context; `None` is the present one.
    pub context: Option<Context>,
    /// Extension; `None` is the present one.
    pub exten: Option<Exten>,
    /// Priority; `None` is the next one.
    pub priority: Option<u32>,
    /// Label instead of a priority. One that does not exist is refused with 404.
    pub label: Option<Label>,
}

impl AriClient {
    /// One channel (`GET /channels/{id}`).
    pub async fn channel(&self, id: &str) -> Result<ChannelLookup, AriError> {
        let path = channel_path(id, "")?;
        match self
            .http
            .send(Lane::Urgent, "channel", Method::GET, &path, None)
            .await
        {
            Ok(bytes) if bytes.trim_ascii().is_empty() => Ok(ChannelLookup::Unreadable),
            Ok(bytes) => {
                let value = json("channel", &bytes)?;
                let channel = Channel::from_value(&value).ok_or_else(|| unreadable("channel"))?;
                Ok(ChannelLookup::Found(Box::new(channel)))
            }
            Err(AriError::NotFound(_)) => Ok(ChannelLookup::Gone),
            Err(error) => Err(error),
        }
    }

    /// Every channel of this Asterisk (`GET /channels`). One hostile INVITE makes this answer 500
    /// for as long as its call lives, so it is for display; reconcile by
    /// [`AriClient::application`].
    pub async fn channels(&self) -> Result<Vec<Channel>, AriError> {
        let value = self.get(Lane::Ordinary, "channels", "/channels").await?;
        let list = value.as_array().ok_or_else(|| unreadable("channels"))?;
        Ok(list.iter().filter_map(Channel::from_value).collect())
    }

    /// Calls an endpoint into our application (`POST /channels`). Whoever answers comes back as
    /// StasisStart with the same channel id and with `app_args`.
    ///
    /// Asterisk answers 409 both when the id lives already and when the endpoint cannot be
    /// called, or 500 "Allocation failed" for the latter: which of the two depends on what the
    /// thread that serves the request did before. So after either the channel is looked up. On [`AriError::OutcomeUnknown`] repeat
    /// with the same id, unless its end was seen meanwhile.
    pub async fn originate(&self, call: &Originate) -> Result<Originated, AriError> {
        let mut variables = Map::new();
        for (var, value) in &call.variables {
            check_value(value)?;
            variables.insert(var.as_str().into(), Value::from(value.as_str()));
        }
        let mut body = json!({
            "endpoint": call.endpoint.as_str(),
            "app": self.app().as_str(),
            "appArgs": call.app_args.join(","),
            "channelId": call.channel_id.as_str(),
            "timeout": call.timeout_s.max(1),
            "variables": variables,
        });
        if let Some(caller_id) = caller_id_text(&call.caller_id) {
            body["callerId"] = caller_id.into();
        }
        if let Some(originator) = &call.originator {
            body["originator"] = originator.as_str().into();
        }
        match self.post("originate", "/channels", Some(body)).await {
            Ok(_) => Ok(Originated::Created),
            Err(error) if may_exist(&error) => match self.channel(call.channel_id.as_str()).await {
                Ok(ChannelLookup::Gone) => Ok(Originated::Unreachable),
                Ok(_) => Ok(Originated::AlreadyThere),
                Err(_) => Err(AriError::OutcomeUnknown {
                    request: "originate",
                }),
            },
            Err(error) => Err(error),
        }
    }

    /// Ends a channel (`DELETE /channels/{id}`). Works in Stasis and in the dialplan, and also
    /// while a playback blocks other commands. [`AriError::NotFound`] means it has ended already.
    pub async fn hangup(&self, id: &str, reason: HangupReason) -> Result<(), AriError> {
        let path = channel_path(id, &format!("?reason={}", reason.word()))?;
        self.delete(Lane::Urgent, "hangup", &path).await
    }

    /// Answers a caller (`POST /channels/{id}/answer`).
    pub async fn answer(&self, id: &str) -> Result<(), AriError> {
        self.post("answer", &channel_path(id, "/answer")?, None)
            .await
            .map(drop)
    }

    /// Lets a caller hear ringing (`POST /channels/{id}/ring`). Stops music on a channel that is
    /// not answered.
    pub async fn ring(&self, id: &str) -> Result<(), AriError> {
        self.post("ring", &channel_path(id, "/ring")?, None)
            .await
            .map(drop)
    }

    /// Starts music (`POST /channels/{id}/moh`). Harmless when music runs already; an unknown
    /// class plays the default one. During a playback it is queued behind it.
    pub async fn start_moh(&self, id: &str, class: &MusicClass) -> Result<(), AriError> {
        let path = channel_path(id, &format!("/moh?mohClass={}", encode(class.as_str())))?;
        self.post("start music", &path, None).await.map(drop)
    }

    /// Stops music (`DELETE /channels/{id}/moh`). Must be done before the channel enters a
    /// bridge, else the caller hears both.
    pub async fn stop_moh(&self, id: &str) -> Result<(), AriError> {
        self.delete(Lane::Urgent, "stop music", &channel_path(id, "/moh")?)
            .await
    }

    /// Plays prompts in order as one playback (`POST /channels/{id}/play/{playback}`). Music
    /// stops for it and does not come back by itself: call [`AriClient::start_moh`] right after.
    /// A playback id is not unique: the same one twice is played twice.
    pub async fn play(
        &self,
        id: &str,
        playback: &ChannelId,
        media: &[MediaUri],
    ) -> Result<(), AriError> {
        let names: Vec<String> = media.iter().map(|m| encode(m.as_str())).collect();
        if names.is_empty() {
            return Err(AriError::Invalid("a playback without media".into()));
        }
        let tail = format!(
            "/play/{}?media={}",
            encode(playback.as_str()),
            names.join(",")
        );
        self.post("play", &channel_path(id, &tail)?, None)
            .await
            .map(drop)
    }

    /// Stops a playback (`DELETE /playbacks/{id}`) and so frees the channel's commands.
    pub async fn stop_playback(&self, playback: &str) -> Result<(), AriError> {
        let path = format!("/playbacks/{}", segment("playback", playback)?);
        self.delete(Lane::Urgent, "stop playback", &path).await
    }

    /// Reads a variable (`GET /channels/{id}/variable`); `None` when it is not set.
    /// [`AriError::NotFound`] means the channel is gone.
    pub async fn get_variable(&self, id: &str, var: &Var) -> Result<Option<String>, AriError> {
        let path = channel_path(id, &format!("/variable?variable={}", encode(var.as_str())))?;
        match self.get(Lane::Ordinary, "get variable", &path).await {
            Ok(value) => Ok(value["value"].as_str().map(Into::into)),
            Err(AriError::NotFound(message)) if message.contains("variable") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets variables one after the other (`POST /channels/{id}/variable`); the first failure
    /// ends it. Refused with [`AriError::NotInStasis`] while the channel is in the dialplan.
    pub async fn set_variables(&self, id: &str, values: &[(Var, &str)]) -> Result<(), AriError> {
        let path = channel_path(id, "/variable")?;
        for (var, value) in values {
            check_value(value)?;
            let body = json!({ "variable": var.as_str(), "value": value });
            self.post("set variable", &path, Some(body)).await?;
        }
        Ok(())
    }

    /// Sends a channel back to the dialplan (`POST /channels/{id}/continue`). Answered at once;
    /// while a playback runs it happens only when that ends.
    pub async fn continue_in_dialplan(&self, id: &str, to: &Continue) -> Result<(), AriError> {
        let mut query = Vec::new();
        if let Some(context) = &to.context {
            query.push(format!("context={}", encode(context.as_str())));
        }
        if let Some(exten) = &to.exten {
            query.push(format!("extension={}", encode(exten.as_str())));
        }
        if let Some(priority) = to.priority {
            query.push(format!("priority={priority}"));
        }
        if let Some(label) = &to.label {
            query.push(format!("label={}", encode(label.as_str())));
        }
        let path = channel_path(id, &format!("/continue?{}", query.join("&")))?;
        self.post("continue", path.trim_end_matches('?'), None)
            .await
            .map(drop)
    }
}

/// The two answers after which a channel of the asked id may or may not be there.
fn may_exist(error: &AriError) -> bool {
    match error {
        AriError::Conflict(_) => true,
        AriError::Server {
            status: 500,
            message,
        } => message == "Allocation failed",
        _ => false,
    }
}

fn channel_path(id: &str, tail: &str) -> Result<String, AriError> {
    Ok(format!("/channels/{}{tail}", segment("channel id", id)?))
}

/// `"name" <number>` of what may go into a From header: at most 64 characters each, no quotes,
/// angle brackets or control characters. `None` when nothing is left.
fn caller_id_text(id: &CallerId) -> Option<String> {
    let clean = |text: &str| -> String {
        let bad = |c: &char| c.is_control() || "\"<>\\".contains(*c);
        text.chars()
            .filter(|c| !bad(c))
            .take(64)
            .collect::<String>()
            .trim()
            .into()
    };
    let number: String = id
        .number
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "+*#_.-".contains(*c))
        .take(64)
        .collect();
    match (clean(&id.name), number) {
        (name, number) if name.is_empty() && number.is_empty() => None,
        (name, number) if name.is_empty() => Some(format!("<{number}>")),
        (name, number) => Some(format!("\"{name}\" <{number}>")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, number: &str) -> Option<String> {
        caller_id_text(&CallerId {
            name: name.into(),
            number: number.into(),
        })
    }

    #[test]
    fn caller_ids_cannot_break_out_of_their_quotes() {
        assert_eq!(
            text("Bob\" <sip:evil>", "bob\"<x>").unwrap(),
            "\"Bob sip:evil\" <bobx>"
        );
        assert_eq!(text("a\r\nX: 1\u{1b}\u{7}", "1").unwrap(), "\"aX: 1\" <1>");
        assert_eq!(text("Имя", "").unwrap(), "\"Имя\" <>");
        assert_eq!(text("", "5551000").unwrap(), "<5551000>");
        assert_eq!(text("\0", "\"<>"), None);
        assert!(text(&"n".repeat(10_000), "1").unwrap().len() < 80);
    }

    #[test]
    fn debug_of_a_caller_masks_the_number() {
        let id = CallerId {
            name: "Bob".into(),
            number: "15551234".into(),
        };
        assert_eq!(format!("{id:?}"), "CallerId(..34)");
    }
}
