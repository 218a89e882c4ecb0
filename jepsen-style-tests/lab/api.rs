//! The admin endpoints of one node, as an operator's script uses them.
//!
//! Answers are JSON as they come over the wire: what the product's own types would make of them is
//! not looked at, so that a renamed field is noticed here.

use std::time::Duration;

use futures_util::Stream;
use serde_json::{Value, json};

/// For one request. A write may wait for a new leader.
const REQUEST_DEADLINE: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// `Null` if the body is no JSON.
    pub body: Value,
    pub text: String,
}

impl Answer {
    /// The body of a success, else what was said.
    pub fn ok(self) -> Result<Value, String> {
        if (200..300).contains(&self.status) {
            Ok(self.body)
        } else {
            Err(format!("{}: {}", self.status, self.text))
        }
    }
}

/// A client of one node.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    token: String,
    http: reqwest::Client,
}

impl Api {
    /// `base` is `http://host:port`.
    pub fn new(base: &str, token: &str) -> Api {
        Api {
            base: base.to_owned(),
            token: token.to_owned(),
            http: reqwest::Client::builder()
                .timeout(REQUEST_DEADLINE)
                .build()
                .expect("a client without TLS can always be made"),
        }
    }

    /// The same node asked with another token.
    pub fn with_token(&self, token: &str) -> Api {
        Api::new(&self.base, token)
    }

    /// One request; `Err` when no answer came.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, String)>,
    ) -> Result<Answer, String> {
        let method = method.parse().expect("the lab uses real methods");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = request.bearer_auth(&self.token);
        if let Some((kind, text)) = body {
            request = request.header("Content-Type", kind).body(text);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| format!("{path}: {error:?}"))?;
        let status = answer.status().as_u16();
        let text = answer
            .text()
            .await
            .map_err(|error| format!("{path}: {error}"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, body, text })
    }

    /// A GET whose answer has no end, piece by piece.
    pub async fn stream(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = reqwest::Result<bytes::Bytes>> + use<>, reqwest::Error> {
        // The usual client gives up after the usual time.
        let http = reqwest::Client::builder()
            .connect_timeout(REQUEST_DEADLINE)
            .build()?;
        let request = http.get(format!("{}{path}", self.base));
        let answer = request.bearer_auth(&self.token).send().await?;
        Ok(answer.error_for_status()?.bytes_stream())
    }

    /// A GET that must succeed.
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        self.send("GET", path, None)
            .await?
            .ok()
            .map_err(|why| format!("GET {path}: {why}"))
    }

    /// A write with a JSON body that must succeed.
    pub async fn write(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let body = Some(("application/json", body.to_string()));
        let answer = self.send(method, path, body).await?;
        answer.ok().map_err(|why| format!("{method} {path}: {why}"))
    }

    /// Sends a declared set of queues and agents, in TOML.
    pub async fn apply(&self, toml: &str) -> Result<Value, String> {
        let body = Some(("application/toml", toml.to_owned()));
        let answer = self.send("PUT", "/v1/config", body).await?;
        answer.ok().map_err(|why| format!("apply: {why}\n{toml}"))
    }

    /// All items of a list, page by page.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>, String> {
        let body = self.get(path).await?;
        let items = body["items"].as_array().or(body.as_array());
        items
            .cloned()
            .ok_or_else(|| format!("GET {path} has no items: {body}"))
    }

    /// Logs an agent in.
    pub async fn login(&self, agent: &str) -> Result<Value, String> {
        self.write("PUT", &format!("/v1/agents/{agent}/session"), json!({}))
            .await
    }

    /// Logs an agent out.
    pub async fn logout(&self, agent: &str) -> Result<Value, String> {
        let path = format!("/v1/agents/{agent}/session");
        let answer = self.send("DELETE", &path, None).await?;
        answer.ok().map_err(|why| format!("DELETE {path}: {why}"))
    }

    /// Pauses an agent everywhere.
    pub async fn pause(&self, agent: &str, reason: &str) -> Result<Value, String> {
        let body = json!({ "reason": reason });
        self.write("PUT", &format!("/v1/agents/{agent}/pause"), body)
            .await
    }

    /// Ends the pause.
    pub async fn unpause(&self, agent: &str) -> Result<Value, String> {
        let path = format!("/v1/agents/{agent}/pause");
        let answer = self.send("DELETE", &path, None).await?;
        answer.ok().map_err(|why| format!("DELETE {path}: {why}"))
    }

    /// What happened to a call, oldest first.
    pub async fn timeline(&self, call: &str) -> Result<Vec<Value>, String> {
        self.list(&format!("/v1/calls/{call}/timeline")).await
    }
}
