//! Names, endpoints, media, durations: what no grammar takes.

use crate::{Entry, shown, told};
use holdfast_acd as acd;
use holdfast_admin::duration::Dur;
use holdfast_ari::grammar as ari;
use holdfast_node::config::Span;

/// No name of any kind.
const HOSTILE: [&str; 30] = [
    "",
    " ",
    "a b",
    "a/b",
    "a::b/c",
    "a|b",
    "a\0b",
    "1000&PJSIP/1900",
    "1000\r\nX-Evil: 1",
    "1000${SHELL(id)}",
    "${AST_CONFIG(ari.conf,holdfast,password)}",
    "$[1+1]",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "\u{202e}gnp",
    "\u{200b}support",
    "имя",
    "ѕupport",
    "😀",
    "a,b",
    "a;b",
    "a?b=c",
    "a#b%",
    "%2e%2e%2f",
    "a\"b",
    "'a'",
    "a\\b",
    "a\tb",
    "Local(9001)",
    "a=b",
];

const ENDPOINTS: [&str; 14] = [
    "PJSIP/",
    "PJSIP/1001@",
    "PJSIP/1001@a@b",
    "PJSIP/1001&Local/9001@toll",
    "PJSIP/anonymous/sip:9102@10.0.0.1",
    "PJSIP/1001@[::1]",
    "Local/9100@toll",
    "Local/9002@toll,1,G(toll^9003^1)",
    "Local/9104@toll\nX",
    "pjsip/1001",
    "SIP/1001",
    "1001",
    "PJSIP//1001",
    "PJSIP/1001?x",
];

const MEDIA: [&str; 12] = [
    "bogus:x",
    "number:3a",
    "number:-",
    "number:--3",
    "sound:/etc/passwd",
    "sound:../x",
    "sound:a/../b",
    "sound:http://x/y",
    "tone:ring",
    "recording:x",
    "sound:",
    "digits:1 2",
];

const FUNCTIONS: [&str; 10] = [
    "SHELL(id)",
    "AST_CONFIG(ari.conf,holdfast,password)",
    "GLOBAL(TRUNK)",
    "CURL(http://x)",
    "ENV(PATH)",
    "TIMEOUT(absolute)",
    "CDR(x)",
    "1x",
    "x-y",
    "__x y",
];

const DURATIONS: [&str; 14] = [
    "",
    "s",
    "15x",
    "15 s",
    "-1s",
    "1.5s",
    "30s1m",
    "1s1s",
    "1m5",
    "é",
    "0x10s",
    "1e3s",
    "NaN",
    "99999999999999999999999s",
];

const SPANS: [&str; 8] = [
    "15",
    "15 s",
    "-1s",
    "1.5s",
    "s",
    "367d",
    "18446744073709551616ms",
    "1m30s",
];

pub fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for text in HOSTILE {
        // Of all the grammars the widest: what it refuses, every other refuses too.
        let error = acd::QueueName::new(text).err();
        let others = acd::AgentId::new(text).is_err()
            && acd::NodeName::new(text).is_err()
            && acd::PbxId::new(text).is_err()
            && ari::QueueName::new(text).is_err()
            && ari::ChannelId::new(text).is_err()
            && ari::MusicClass::new(text).is_err()
            && ari::Context::new(text).is_err()
            && ari::Exten::new(text).is_err()
            && ari::Label::new(text).is_err()
            && ari::AppName::new(text).is_err()
            && ari::Var::configured(text).is_err()
            && ari::Endpoint::new(&format!("PJSIP/{text}")).is_err()
            // Sounds lie in folders.
            && (text == "a/b" || ari::MediaUri::new(&format!("sound:{text}")).is_err());
        let answer = error.filter(|_| others).map(|error| error.to_string());
        let answer = answer.unwrap_or_default();
        entries.push(told(
            &format!("name {}", shown(text)),
            &answer,
            &["is not allowed; use"],
        ));
    }
    for (long, kind) in [
        (65, "queue name"),
        (10_000, "queue name"),
        (1_000_000, "queue name"),
    ] {
        let answer = acd::QueueName::new("q".repeat(long)).err();
        let answer = answer.map(|error| error.to_string()).unwrap_or_default();
        let short = answer.len() < 200;
        let answer = if short { answer } else { String::new() };
        entries.push(told(&format!("a name of {long} letters"), &answer, &[kind]));
    }
    let refusal = |kind: &str, text: &str, error: Option<String>, words: &[&str]| {
        told(
            &format!("{kind} {}", shown(text)),
            &error.unwrap_or_default(),
            words,
        )
    };
    for text in ENDPOINTS {
        let error = ari::Endpoint::new(text)
            .err()
            .map(|error| error.to_string());
        entries.push(refusal(
            "endpoint",
            text,
            error,
            &["endpoint", "is refused", "PJSIP/name"],
        ));
    }
    for text in MEDIA {
        let error = ari::MediaUri::new(text)
            .err()
            .map(|error| error.to_string());
        entries.push(refusal("media", text, error, &["media", "is refused"]));
    }
    for text in FUNCTIONS {
        let error = ari::Var::configured(text)
            .err()
            .map(|error| error.to_string());
        entries.push(refusal(
            "variable",
            text,
            error,
            &["variable", "functions are not allowed"],
        ));
    }
    for text in DURATIONS {
        let error = text.parse::<Dur>().err().map(|error| error.to_string());
        entries.push(refusal(
            "duration",
            text,
            error,
            &["is not a duration; write"],
        ));
    }
    for text in SPANS {
        let error = Span::parse(text).err();
        entries.push(refusal("span", text, error, &[text]));
    }
    entries
}
