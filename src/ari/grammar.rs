//! What may be sent to an Asterisk: the grammar of names, endpoints, variables and dialplan points.
//!
//! Each is a type that only a check can make, so a value that came from a caller, an operator or
//! the replicated state cannot become dialplan, a path or a dial string by accident. Seen on a
//! real Asterisk: `&Local/9001@toll` in a dial string dials the toll context, and a free variable
//! name reads the ARI password (`AST_CONFIG`) or fetches a URL (`CURL`). Errors name the value,
//! escaped and shortened. Whether the named thing exists is not asked here.

use std::borrow::Cow;
use std::fmt;

/// A value that does not fit its grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value} is refused: {rule}")]
pub struct GrammarError {
    /// What the value was meant to be.
    pub what: &'static str,
    /// The value, escaped and shortened.
    pub value: String,
    /// The rule it breaks, as help for whoever typed it.
    pub rule: &'static str,
}

/// A value as errors and logs show it: quoted, control and direction characters escaped, at most
/// 48 characters.
pub fn shown(value: &str) -> String {
    let mut text = String::from("\"");
    for (count, c) in value.chars().enumerate() {
        if count == 48 {
            text.push_str("...");
            break;
        }
        let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() || turns => text.extend(c.escape_unicode()),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// Makes a checked name: `$check` says whether the text fits, `$rule` says it in words.
macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Checks the text.
            pub fn new(text: &str) -> Result<$name, GrammarError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok($name(text.into()))
                } else {
                    Err(GrammarError { what: $what, value: shown(text), rule: $rule })
                }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_name!(
    /// Name of a Stasis application.
    AppName,
    "stasis application",
    "1 to 64 of A-Z a-z 0-9 _ . -",
    |s| word(s, 64, "_.-")
);

checked_name!(
    /// Name of a queue, such as `Name@domain` or `name@1`.
    QueueName,
    "queue name",
    "1 to 64 of A-Z a-z 0-9 _ . @ -",
    |s| word(s, 64, "_.@-")
);

checked_name!(
    /// Id of a channel, bridge or playback that we choose. Ids that Asterisk or others chose are
    /// looser and travel as `&str`, percent-encoded.
    ChannelId,
    "id",
    "1 to 128 of A-Z a-z 0-9 _ . : -",
    |s| word(s, 128, "_.:-")
);

checked_name!(
    /// What is played: `sound:queue-thereare`, `number:3`, `digits:12`, `characters:abc`.
    MediaUri,
    "media",
    "sound:, number:, digits: or characters: and 1 to 128 of A-Z a-z 0-9 _ . / -, no ..",
    |s| media(s)
);

checked_name!(
    /// Class of musiconhold.conf.
    MusicClass,
    "music class",
    "1 to 64 of A-Z a-z 0-9 _ . -",
    |s| word(s, 64, "_.-")
);

checked_name!(
    /// Context of the dialplan.
    Context,
    "context",
    "1 to 79 of A-Z a-z 0-9 _ . -",
    |s| word(s, 79, "_.-")
);

checked_name!(
    /// Extension of the dialplan.
    Exten,
    "extension",
    "1 to 79 of A-Z a-z 0-9 * # + _ . @ -",
    |s| word(s, 79, "*#+_.@-")
);

checked_name!(
    /// Label of a priority.
    Label,
    "label",
    "1 to 64 of A-Z a-z 0-9 _ -, not only digits",
    |s| word(s, 64, "_-") && !s.bytes().all(|b| b.is_ascii_digit())
);

/// Which endpoints beside `PJSIP/name` and `PJSIP/name@trunk` may be dialled. It comes from the
/// node's own configuration file, never over the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointRules {
    technologies: Vec<String>,
}

impl EndpointRules {
    /// Rules that also allow these technologies, such as `Local` or `SIP`.
    pub fn with_technologies(names: &[&str]) -> Result<EndpointRules, GrammarError> {
        for name in names {
            if !word(name, 16, "") {
                let rule = "1 to 16 of A-Z a-z 0-9";
                return Err(GrammarError {
                    what: "technology",
                    value: shown(name),
                    rule,
                });
            }
        }
        Ok(EndpointRules {
            technologies: names.iter().map(|name| name.to_string()).collect(),
        })
    }
}

/// What can be dialled: technology, name, and a trunk or context when there is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint(String);

impl Endpoint {
    /// Checks `PJSIP/name` or `PJSIP/name@trunk`.
    pub fn new(text: &str) -> Result<Endpoint, GrammarError> {
        Endpoint::with_rules(text, &EndpointRules::default())
    }

    /// Checks `technology/name` or `technology/name@place` against the node's rules.
    pub fn with_rules(text: &str, rules: &EndpointRules) -> Result<Endpoint, GrammarError> {
        let fits = text.split_once('/').is_some_and(|(technology, rest)| {
            let (name, place) = rest.split_once('@').unwrap_or((rest, "-"));
            let known = technology == "PJSIP" || rules.technologies.iter().any(|t| t == technology);
            known && word(name, 64, "_.-") && word(place, 64, "_.-")
        });
        if fits {
            return Ok(Endpoint(text.into()));
        }
        let rule = "PJSIP/name or PJSIP/name@trunk, each 1 to 64 of A-Z a-z 0-9 _ . -; other \
                    technologies only if the node's configuration allows them";
        Err(GrammarError {
            what: "endpoint",
            value: shown(text),
            rule,
        })
    }

    /// The text, such as `PJSIP/1001@trunk-b`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Joins checked endpoints to what `Dial()` takes: `PJSIP/1001&PJSIP/1002`.
    pub fn dial_string(endpoints: &[Endpoint]) -> String {
        endpoints
            .iter()
            .map(Endpoint::as_str)
            .collect::<Vec<_>>()
            .join("&")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a channel variable. The set is closed: the constants below, and names from the node's
/// configuration that [`Var::configured`] has checked. There is no way from a request to a `Var`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(Cow<'static, str>);

macro_rules! variables {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        impl Var {
            $($(#[$doc])* pub const $name: Var = Var(Cow::Borrowed($text));)*
        }
    };
}

variables! {
    /// The queue a caller is for.
    QUEUE_NAME = "QUEUE_NAME";
    /// Why the caller left, as Queue() sets it.
    QUEUESTATUS = "QUEUESTATUS";
    /// Priority of the caller, as Queue() reads it.
    QUEUE_PRIO = "QUEUE_PRIO";
    /// Seconds waited.
    QUEUEWAIT = "QUEUEWAIT";
    /// Position at the time of leaving.
    QUEUEPOSITION = "QUEUEPOSITION";
    /// Position at the time of joining.
    QUEUEORIGINALPOS = "QUEUEORIGINALPOS";
    /// `TRUE` if the caller hung up while waiting.
    ABANDONED = "ABANDONED";
    /// Dial string of the agents, for `connect = "dialplan"`.
    CALL_STRING = "call_string";
    /// Seconds to ring, for `connect = "dialplan"`.
    RINGTIME = "RINGTIME";
    /// Endpoint of the agent.
    MEMBERINTERFACE = "MEMBERINTERFACE";
    /// Name of the agent.
    MEMBERNAME = "MEMBERNAME";
    /// Penalty of the agent.
    MEMBERPENALTY = "MEMBERPENALTY";
    /// Result of the last Dial().
    DIALSTATUS = "DIALSTATUS";
    /// Number the caller dialled, as the guard of the dialplan kept it.
    HOLDFAST_EXTEN = "HOLDFAST_EXTEN";
    /// Free field of the call record.
    CDR_USERFIELD = "CDR(userfield)";
    /// Seconds after which the dialplan takes the channel back; 0 for never.
    TIMEOUT_ABSOLUTE = "TIMEOUT(absolute)";
    /// Account of the call record.
    CDR_ACCOUNTCODE = "CDR(accountcode)";
    /// Global: set in an Asterisk that a node has taken up, and gone when that Asterisk restarts.
    HOLDFAST_DRIVEN = "HOLDFAST_DRIVEN";
}

impl Var {
    /// A variable's name from the node's configuration file: `[A-Za-z_][A-Za-z0-9_]{0,63}`, so
    /// never a function.
    pub fn configured(text: &str) -> Result<Var, GrammarError> {
        if word(text, 64, "_") && !text.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Var(Cow::Owned(text.into())));
        }
        let rule = "a letter or _ and up to 63 of A-Z a-z 0-9 _; functions are not allowed";
        Err(GrammarError {
            what: "variable",
            value: shown(text),
            rule,
        })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Longest value of a variable that is sent.
pub(crate) const VALUE_BYTES_MAX: usize = 4096;

/// A variable's value: no NUL and not too long. Asterisk does not evaluate it.
pub(crate) fn check_value(value: &str) -> Result<(), GrammarError> {
    if value.len() <= VALUE_BYTES_MAX && !value.contains('\0') {
        return Ok(());
    }
    let rule = "at most 4096 bytes, no NUL";
    Err(GrammarError {
        what: "value of a variable",
        value: shown(value),
        rule,
    })
}

fn word(text: &str, longest: usize, also: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
    (1..=longest).contains(&text.len()) && text.chars().all(fits)
}

fn media(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    match scheme {
        "sound" => word(rest, 128, "_./-") && !rest.split('/').any(|p| p == ".." || p.is_empty()),
        "number" => {
            rest.strip_prefix('-')
                .unwrap_or(rest)
                .bytes()
                .all(|b| b.is_ascii_digit())
                && word(rest, 18, "-")
                && rest != "-"
        }
        "digits" => word(rest, 64, "*#"),
        "characters" => word(rest, 64, ""),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ten_kilobytes_are_refused_and_shown_short() {
        let error = QueueName::new(&"q".repeat(10_000)).unwrap_err();
        assert!(error.to_string().len() < 200, "{error}");
    }

    #[test]
    fn usual_names_pass() {
        assert!(QueueName::new("Name@domain.example").is_ok());
        assert!(QueueName::new("name@2").is_ok());
        assert!(ChannelId::new("hf-b1-1795432327.6:3:7").is_ok());
        assert!(Exten::new("*45").is_ok() && Exten::new("+4930").is_ok());
        assert!(Label::new("again").is_ok() && Label::new("12").is_err());
        for media in [
            "sound:queue-thereare",
            "sound:digits/1",
            "number:-3",
            "digits:12#",
        ] {
            assert!(MediaUri::new(media).is_ok(), "{media}");
        }
        for media in [
            "bogus:x",
            "number:3a",
            "number:-",
            "sound:/etc/x",
            "tone:ring",
            "x",
        ] {
            assert!(MediaUri::new(media).is_err(), "{media}");
        }
    }

    #[test]
    fn endpoints_are_pjsip_names_with_an_optional_trunk() {
        for good in ["PJSIP/1001", "PJSIP/1001@trunk-b", "PJSIP/a_b.c-d"] {
            assert_eq!(Endpoint::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "PJSIP/",
            "PJSIP/1001@",
            "PJSIP/1001@a@b",
            "PJSIP/1001&Local/9001@toll",
            "PJSIP/anonymous/sip:9102@10.0.0.1",
            "Local/9100@toll",
            "Local/9104@toll\nX",
            "pjsip/1001",
            "1001",
            "PJSIP",
        ] {
            assert!(Endpoint::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_technologies_need_the_configuration() {
        let rules = EndpointRules::with_technologies(&["Local"]).unwrap();
        assert!(Endpoint::with_rules("Local/100@agents", &rules).is_ok());
        assert!(Endpoint::with_rules("Local/100@agents/n", &rules).is_err());
        assert!(Endpoint::with_rules("SIP/100", &rules).is_err());
        assert!(EndpointRules::with_technologies(&["Lo/cal"]).is_err());
    }

    #[test]
    fn dial_strings_are_joined_from_checked_endpoints_only() {
        let both = [
            Endpoint::new("PJSIP/1").unwrap(),
            Endpoint::new("PJSIP/2@t").unwrap(),
        ];
        assert_eq!(Endpoint::dial_string(&both), "PJSIP/1&PJSIP/2@t");
    }

    #[test]
    fn functions_are_no_variables() {
        for bad in [
            "SHELL(id)",
            "AST_CONFIG(ari.conf,holdfast,password)",
            "GLOBAL(TRUNK)",
            "1x",
        ] {
            assert!(Var::configured(bad).is_err(), "{bad}");
        }
        assert_eq!(Var::configured("call_string").unwrap(), Var::CALL_STRING);
    }

    #[test]
    fn shown_values_cannot_start_a_line_or_turn_the_text() {
        assert_eq!(shown("a\n\"b\u{202e}"), "\"a\\u{a}\\\"b\\u{202e}\"");
    }
}
