//! Who asks, and what he may: bearer tokens with a role over TCP, the peer's user over the unix
//! socket.
//!
//! A token is 256 random bits, kept as its SHA-256 and compared in constant time. What a role may is
//! one table, `needed`; a route that is not in it needs `admin`.

use crate::error::ApiError;
use axum::http::Method;
use holdfast_node::config::TokenEntry;
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use subtle::ConstantTimeEq;

/// What a token allows; each role may what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looks, with callers' numbers masked.
    Viewer,
    /// Logs agents in and out, pauses them.
    Agent,
    /// Moves calls, opens and closes queues, changes memberships.
    Supervisor,
    /// Changes queues, agents and the cluster.
    Admin,
}

impl Role {
    pub fn word(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Agent => "agent",
            Role::Supervisor => "supervisor",
            Role::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let roles = [Role::Viewer, Role::Agent, Role::Supervisor, Role::Admin];
        roles
            .into_iter()
            .find(|role| role.word() == word)
            .ok_or_else(|| {
                format!("unknown role {word:?}, expected one of viewer, agent, supervisor, admin")
            })
    }
}

/// Where a connection came from.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    Tcp(SocketAddr),
    /// The unix socket; the peer's user was checked when it connected.
    Unix,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// For the journal.
    pub name: String,
    pub role: Role,
}

/// All tokens of a node.
#[derive(Default)]
pub struct Tokens {
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    role: Role,
    sha256: [u8; 32],
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.entries.iter().map(|entry| (&entry.name, entry.role)))
            .finish()
    }
}

/// What stands in the configuration instead of a token: `sha256.ROLE.HEX`.
const HASHED: &str = "sha256.";

impl Tokens {
    /// From the node's configuration. An entry's text is the token itself (role `admin`, or `viewer`
    /// if `read_only`) or, better, `sha256.ROLE.HEX` as `holdfast token create` prints it.
    pub fn new(entries: &[TokenEntry]) -> Result<Self, String> {
        let mut tokens = Tokens::default();
        for entry in entries {
            let text = entry.token.expose();
            let (role, sha256) = match text.strip_prefix(HASHED) {
                Some(rest) => parse_hashed(rest)
                    .map_err(|why| format!("http.tokens: {:?}: {why}", entry.name))?,
                None => {
                    let role = if entry.read_only {
                        Role::Viewer
                    } else {
                        Role::Admin
                    };
                    (role, Sha256::digest(text.as_bytes()).into())
                }
            };
            tokens.entries.push(Entry {
                name: entry.name.clone(),
                role,
                sha256,
            });
        }
        Ok(tokens)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whose token it is. Looks at every entry, whichever fits.
    fn find(&self, token: &str) -> Option<Caller> {
        let asked: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut found = None;
        for entry in &self.entries {
            if bool::from(entry.sha256.ct_eq(&asked)) {
                found = Some(Caller {
                    name: entry.name.clone(),
                    role: entry.role,
                });
            }
        }
        found
    }
}

fn parse_hashed(rest: &str) -> Result<(Role, [u8; 32]), String> {
    let wrong = || "is not of the form sha256.ROLE.HEX; see `holdfast token create`".to_owned();
    let (role, hex) = rest.split_once('.').ok_or_else(wrong)?;
    let mut sha256 = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return Err(wrong());
    }
    for (n, byte) in sha256.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).map_err(|_| wrong())?;
    }
    Ok((role.parse()?, sha256))
}

/// A fresh token, and the text that stands for it in the configuration.
pub fn create_token(role: Role) -> (String, String) {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let token = format!("hf_{}", hex(&rand::random::<[u8; 32]>()));
    let hash = hex(&Sha256::digest(token.as_bytes()));
    (token, format!("{HASHED}{}.{hash}", role.word()))
}

/// The role that a route needs; `None`: nobody is asked who he is.
pub fn needed(method: &Method, route: &str) -> Option<Role> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match route {
        "/livez" | "/readyz" | "/version" | "/v1/openapi.json" => None,
        _ if reads => Some(Role::Viewer),
        "/v1/agents/{agent}/session" | "/v1/agents/{agent}/pause" | "/v1/agents/{agent}/ready" => {
            Some(Role::Agent)
        }
        "/v1/queues/{queue}/state"
        | "/v1/queues/{queue}/members/{agent}"
        | "/v1/calls/{call}"
        | "/v1/calls/{call}/withdraw" => Some(Role::Supervisor),
        _ => Some(Role::Admin),
    }
}

/// Who asks, if he may.
pub fn check(
    tokens: &Tokens,
    peer: Peer,
    authorization: Option<&str>,
    method: &Method,
    route: &str,
) -> Result<Caller, ApiError> {
    let Some(needs) = needed(method, route) else {
        return Ok(Caller {
            name: "anonymous".into(),
            role: Role::Viewer,
        });
    };
    let caller = match (peer, authorization) {
        (Peer::Unix, _) => Caller {
            name: "socket".into(),
            role: Role::Admin,
        },
        (Peer::Tcp(_), Some(header)) => {
            let token = header
                .strip_prefix("Bearer ")
                .ok_or(ApiError::Unauthenticated)?;
            tokens.find(token.trim()).ok_or(ApiError::Unauthenticated)?
        }
        (Peer::Tcp(addr), None) if route == "/metrics" && addr.ip().is_loopback() => Caller {
            name: "anonymous".into(),
            role: Role::Viewer,
        },
        (Peer::Tcp(_), None) => return Err(ApiError::Unauthenticated),
    };
    if caller.role < needs {
        let (has, needs) = (caller.role.word(), needs.word());
        return Err(ApiError::Forbidden {
            name: caller.name,
            has,
            needs,
        });
    }
    Ok(caller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_node::config::Secret;

    const TCP: Peer = Peer::Tcp(SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        1,
    ));

    fn entry(name: &str, token: &str, read_only: bool) -> TokenEntry {
        TokenEntry {
            name: name.into(),
            token: Secret::new(token),
            read_only,
        }
    }

    #[test]
    fn a_created_token_is_found_by_its_hash_alone() {
        let (token, text) = create_token(Role::Supervisor);
        assert!(!text.contains(&token[3..]));
        let tokens = Tokens::new(&[entry("anna", &text, false)]).unwrap();
        let caller = tokens.find(&token).unwrap();
        assert_eq!(
            (caller.name.as_str(), caller.role),
            ("anna", Role::Supervisor)
        );
        assert!(
            tokens.find(&text).is_none(),
            "the hash itself opens nothing"
        );
        assert!(!format!("{tokens:?}").contains(&text[20..]));
    }

    #[test]
    fn a_malformed_hash_is_refused_and_not_taken_for_a_token() {
        for text in [
            "sha256.admin",
            "sha256.admin.zz",
            "sha256.king.00",
            "sha256.admin.é",
        ] {
            assert!(Tokens::new(&[entry("a", text, false)]).is_err(), "{text}");
        }
        let long = format!("sha256.king.{}", "0".repeat(64));
        assert!(
            Tokens::new(&[entry("a", &long, false)])
                .unwrap_err()
                .contains("supervisor")
        );
    }

    #[test]
    fn every_write_needs_more_than_a_viewer_and_unknown_ones_need_an_admin() {
        let (viewer, full) = ("viewer-token-0123", "admin-token-01234");
        let tokens = [entry("wall", viewer, true), entry("anna", full, false)];
        let tokens = Tokens::new(&tokens).unwrap();
        let ask = |token: &str, method: Method, route: &str| {
            check(
                &tokens,
                TCP,
                Some(&format!("Bearer {token}")),
                &method,
                route,
            )
        };
        assert!(ask(viewer, Method::GET, "/v1/calls").is_ok());
        for route in ["/v1/calls/{call}", "/v1/agents/{agent}/pause", "/v1/new"] {
            let refused = ask(viewer, Method::PUT, route);
            assert!(
                matches!(refused, Err(ApiError::Forbidden { .. })),
                "{route}"
            );
            assert!(ask(full, Method::PUT, route).is_ok(), "{route}");
        }
        assert_eq!(needed(&Method::POST, "/v1/new"), Some(Role::Admin));
        for header in [None, Some("Bearer wrong"), Some("Basic eA=="), Some("")] {
            let refused = check(&tokens, TCP, header, &Method::GET, "/v1/calls");
            assert!(
                matches!(refused, Err(ApiError::Unauthenticated)),
                "{header:?}"
            );
        }
        assert!(check(&tokens, TCP, None, &Method::GET, "/livez").is_ok());
        assert!(check(&tokens, Peer::Unix, None, &Method::PUT, "/v1/new").is_ok());
    }
}
