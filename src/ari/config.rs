//! How to reach one Asterisk, and the password that never shows itself.
//!
//! Reading configuration files is not done here: the node does, and calls [`AriConfig::new`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::grammar::{AppName, GrammarError, shown};
use crate::transport::Transport;

/// A password. It cannot be printed; [`Secret::expose`] is the one way to its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a password. One trailing line end, as files have it, is cut off.
    pub fn new(text: impl Into<String>) -> Secret {
        let mut text = text.into();
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Secret(text)
    }

    /// The text itself, for the Authorization header only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Why a configuration of an Asterisk is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not a URL, or not one of `http://host:port/ari`. The text is not shown: it may hold a
    /// password.
    #[error("the ari url is not of the form http://host:port/ari: {0}")]
    Url(String),
    /// A user or password inside the URL, where logs and proxies would see it.
    #[error("the ari url must not contain a user or password, use username and password")]
    UserInfo,
    /// TLS to an Asterisk is not built in.
    #[error("the ari url has the scheme {0}, only http is supported: reach asterisk by loopback")]
    Scheme(String),
    /// The user name is empty or has a colon or control character.
    #[error("the ari username {0} is empty or has a colon or a control character")]
    Username(String),
    /// The application name is not one.
    #[error("{0}")]
    App(#[from] GrammarError),
    /// The HTTP client could not be made.
    #[error("the http client cannot be made: {0}")]
    Client(String),
}

/// How to reach one Asterisk over ARI.
#[derive(Debug, Clone)]
pub struct AriConfig {
    /// `http://127.0.0.1:8088/ari`, without user and password.
    pub url: Url,
    /// Section of ari.conf.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// Name of the Stasis application, as in `Stasis(QueueARI)`.
    pub app: AppName,
    /// For a TCP connection to be there.
    pub connect_timeout: Duration,
    /// For one request, from the first byte sent to the last byte read.
    pub request_timeout: Duration,
    /// How long an idle connection is kept. Asterisk closes it after 15 s
    /// (`session_keep_alive` in http.conf), so ours must be shorter.
    pub idle_timeout: Duration,
    /// Requests in flight at the same time. Asterisk's `sessionlimit` is 100 in all.
    pub requests_max: usize,
    /// How often the event socket is pinged. Asterisk never pings.
    pub ping_interval: Duration,
    /// An event socket from which nothing, not even a pong, came for so long is closed.
    pub stall_timeout: Duration,
    /// First and longest wait before the event socket is opened again.
    pub backoff: (Duration, Duration),
    /// Events that may wait for the consumer. When it does not drain them the socket is closed.
    pub events_max: usize,
    /// What carries requests and events. `None`: HTTP and WebSocket over TCP.
    pub transport: Option<Arc<dyn Transport>>,
}

impl AriConfig {
    /// A configuration with the defaults for everything but the address and the user.
    pub fn new(
        url: &str,
        username: &str,
        password: Secret,
        app: &str,
    ) -> Result<AriConfig, ConfigError> {
        let mut url = Url::parse(url.trim_end_matches('/'))
            .map_err(|error| ConfigError::Url(error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ConfigError::UserInfo);
        }
        if url.scheme() != "http" {
            return Err(ConfigError::Scheme(shown(url.scheme())));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(ConfigError::Url("no host".into()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ConfigError::Url("a query or fragment".into()));
        }
        if url.path() == "/" {
            url.set_path("/ari");
        }
        if username.is_empty() || username.contains(|c: char| c == ':' || c.is_control()) {
            return Err(ConfigError::Username(shown(username)));
        }
        Ok(AriConfig {
            url,
            username: username.into(),
            password,
            app: AppName::new(app)?,
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(10),
            requests_max: 64,
            ping_interval: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(15),
            backoff: (Duration::from_millis(50), Duration::from_secs(3)),
            events_max: 8192,
            transport: None,
        })
    }

    /// `Basic ...`, the value of the Authorization header.
    pub(crate) fn authorization(&self) -> String {
        let plain = format!("{}:{}", self.username, self.password.expose());
        format!("Basic {}", base64(plain.as_bytes()))
    }
}

/// RFC 4648 with padding; small enough not to need a crate.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            if i <= chunk.len() {
                text.push(ALPHABET[(word >> (18 - 6 * i)) as usize & 63] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Result<AriConfig, ConfigError> {
        AriConfig::new(url, "holdfast", Secret::new("canary-9041"), "QueueARI")
    }

    #[test]
    fn password_is_in_no_debug_text() {
        let text = format!("{:?}", config("http://127.0.0.1:8088/ari").unwrap());
        assert!(!text.contains("canary-9041"), "{text}");
    }

    #[test]
    fn a_password_in_the_url_is_refused_without_being_shown() {
        let error = config("http://holdfast:canary-9041@127.0.0.1:8088/ari").unwrap_err();
        assert_eq!(error, ConfigError::UserInfo);
        assert!(!format!("{error} {error:?}").contains("canary"));
        assert!(
            config("http://u:canary-9041@[bad/").is_err_and(|e| !e.to_string().contains("can"))
        );
    }

    #[test]
    fn a_bare_host_gets_the_usual_path() {
        assert_eq!(config("http://127.0.0.1:8088").unwrap().url.path(), "/ari");
        assert_eq!(
            config("http://127.0.0.1:8088/pbx/ari/").unwrap().url.path(),
            "/pbx/ari"
        );
    }

    #[test]
    fn other_schemes_and_bad_names_are_refused() {
        assert!(matches!(
            config("https://127.0.0.1/ari"),
            Err(ConfigError::Scheme(_))
        ));
        assert!(config("127.0.0.1:8088/ari").is_err());
        let named = |user, app| {
            AriConfig::new("http://127.0.0.1:8088/ari", user, Secret::new("x"), app).is_err()
        };
        assert!(named("a:b", "QueueARI") && named("", "QueueARI") && named("a", "Queue,ARI"));
    }

    #[test]
    fn base64_matches_the_vectors_of_rfc_4648() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in vectors {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_password_file_may_end_with_a_line_end() {
        assert_eq!(Secret::new("abc\r\n").expose(), "abc");
        assert_eq!(Secret::new("a b ").expose(), "a b ");
    }
}
