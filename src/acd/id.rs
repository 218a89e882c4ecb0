//! The names by which callers, agents, queues and servers are known in the replicated state.
//!
//! Every name that comes from outside passes one grammar here, once; behind it a name is safe as a
//! log field, a path segment or a part of an endpoint. A grammar may only ever be widened, because
//! names of an older log must stay readable. This file does not know where the names come from.
//!
//! The copies of a name share its bytes: each stands in many places, for each call that waits.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// A name was refused. `Display` names the kind, the value (shortened, escaped) and the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadName {
    kind: &'static str,
    value: String,
    grammar: &'static str,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.value.chars().take(40).collect();
        write!(
            f,
            "{} {:?} is not allowed; use {}",
            self.kind, shown, self.grammar
        )
    }
}

impl std::error::Error for BadName {}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $max:expr, $grammar:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks the grammar; the error names the value and what is allowed.
            pub fn new(value: impl Into<String>) -> Result<Self, BadName> {
                let value = value.into();
                let allowed: fn(char) -> bool = $allowed;
                if !value.is_empty() && value.len() <= $max && value.chars().all(allowed) {
                    Ok(Self(value.into()))
                } else {
                    Err(BadName { kind: $kind, value, grammar: $grammar })
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;
            fn try_from(value: String) -> Result<Self, BadName> {
                Self::new(value)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-')
}

name!(
    /// A queue, such as `support` or `sales@example.org` (the key of the original's tasks).
    QueueName, "queue name", 64, "1 to 64 of A-Z a-z 0-9 _ . @ -", plain
);
name!(
    /// An agent, such as `1001`. It becomes part of the endpoint that is called, so it holds no `@`.
    AgentId, "agent id", 64, "1 to 64 of A-Z a-z 0-9 _ . -", |c| plain(c) && c != '@'
);
name!(
    /// One Asterisk: its `systemname`.
    PbxId, "pbx name", 64, "1 to 64 of A-Z a-z 0-9 _ . -", |c| plain(c) && c != '@'
);
name!(
    /// One Holdfast node.
    NodeName, "node name", 64, "1 to 64 of A-Z a-z 0-9 _ . -", |c| plain(c) && c != '@'
);
name!(
    /// A channel's id as its Asterisk gave it: at most 149 bytes of printable ASCII without spaces.
    ChannelId, "channel id", 149, "1 to 149 printable ASCII characters", |c| c.is_ascii_graphic()
);

/// One call: a number given by `apply` in the order of arrival, never used twice in a cluster's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub u64);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of an offer within its call, counted from 1. Together with the call it names an offer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Chosen by who asks for an admin write; the same id asked twice gets the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u128);

/// A moment of the cluster clock in milliseconds since the cluster was founded. It never runs
/// backwards, is set by the leader alone and has nothing to do with the time of day.
pub type Millis = u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused_and_the_error_is_short() {
        let hostile = [
            "",
            "a/b",
            "a|b",
            "a b",
            "a\0b",
            "a::b",
            "..\u{202e}x",
            "1000&PJSIP/1900",
            "1000\r\nX-Evil",
            "${SHELL(id)}",
        ];
        for name in hostile {
            assert!(QueueName::new(name).is_err(), "{name:?}");
            assert!(AgentId::new(name).is_err(), "{name:?}");
        }
        let long = QueueName::new("x".repeat(10_000)).expect_err("too long");
        assert!(long.to_string().len() < 200);
        assert!(AgentId::new("1001@trunk").is_err());
        assert!(QueueName::new("sales@example.org").is_ok());
    }
}
