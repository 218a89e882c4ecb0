//! The command line's side of the admin endpoints: finds the node, asks, and turns refusals into
//! failures with exit codes.
//!
//! Every write carries an Idempotency-Key, so that a node asked twice by the same command does it
//! once. Nothing is retried here: who types the command decides.

use crate::failure::{FAILED, Failure, UNKNOWN, UNREACHABLE, USAGE};
use holdfast_admin::api::{Page, Problem};
use holdfast_node::NodeConfig;
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Pages of a list that are fetched at most.
const PAGES_MAX: usize = 100;
/// Where a node listens for its own host when nothing else is said.
const DEFAULT_SOCKET: &str = "/run/holdfast/admin.sock";

/// Which node to ask, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// `http://host:port`, or `unix:/path`.
    pub server: Option<String>,
    pub token: Option<String>,
    pub timeout: Duration,
    /// The node's own file, which says where it listens.
    pub config: PathBuf,
}

/// A connection to one node.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// As the user would write it.
    shown: String,
    token: Option<String>,
    timeout: Duration,
}

impl Client {
    pub fn new(target: &Target) -> Result<Self, Failure> {
        let shown = match &target.server {
            Some(server) => server.clone(),
            None => own_node(&target.config),
        };
        let mut builder = reqwest::Client::builder()
            .connect_timeout(target.timeout)
            .no_proxy();
        let base = match shown.strip_prefix("unix:") {
            Some(path) => {
                builder = builder.unix_socket(PathBuf::from(path));
                "http://localhost".to_owned()
            }
            None if shown.starts_with("http://") => shown.trim_end_matches('/').to_owned(),
            None => {
                let what = format!("{shown:?} is no address of a node");
                let fix =
                    "--server http://127.0.0.1:7080   |   --server unix:/run/holdfast/admin.sock";
                return Err(Failure::new(USAGE, what).fix(fix));
            }
        };
        let http = builder
            .build()
            .map_err(|e| Failure::new(FAILED, chain(&e)))?;
        let (token, timeout) = (target.token.clone(), target.timeout);
        Ok(Self {
            http,
            base,
            shown,
            token,
            timeout,
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Reads behind a barrier: what was written before is seen, on whichever node.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let sign = if path.contains('?') { '&' } else { '?' };
        self.get_local(&format!("{path}{sign}consistency=leader"))
            .await
    }

    /// Reads what the node asked has, also without a leader.
    pub async fn get_local<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = self.request(Method::GET, path).timeout(self.timeout);
        let response = request
            .send()
            .await
            .map_err(|error| self.failed(&error, false))?;
        self.read(response).await
    }

    /// A text answer, whatever its status.
    pub async fn get_text(&self, path: &str, accept: &str) -> Result<(u16, String), Failure> {
        let request = self.request(Method::GET, path).header("accept", accept);
        let request = request.timeout(self.timeout);
        let response = request
            .send()
            .await
            .map_err(|error| self.failed(&error, false))?;
        let status = response.status().as_u16();
        let text = response
            .text()
            .await
            .map_err(|error| self.failed(&error, false))?;
        Ok((status, text))
    }

    /// All items of a list.
    pub async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Page<T>, Failure> {
        let sign = if path.contains('?') { '&' } else { '?' };
        let mut all: Page<T> = self.get(&format!("{path}{sign}limit=1000")).await?;
        for _ in 1..PAGES_MAX {
            let Some(next) = all.next.take() else { break };
            let path = format!("{path}{sign}limit=1000&after={next}");
            let page: Page<T> = self.get(&path).await?;
            all.items.extend(page.items);
            all.next = page.next;
        }
        Ok(all)
    }

    /// An object and its revision, from its ETag.
    pub async fn get_tagged<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(T, String), Failure> {
        let path = format!("{path}?consistency=leader");
        let request = self.request(Method::GET, &path).timeout(self.timeout);
        let response = request
            .send()
            .await
            .map_err(|error| self.failed(&error, false))?;
        let tag = response
            .headers()
            .get("etag")
            .and_then(|tag| tag.to_str().ok());
        let tag = tag.unwrap_or_default().to_owned();
        Ok((self.read(response).await?, tag))
    }

    pub async fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        headers: &[(&'static str, String)],
    ) -> Result<T, Failure> {
        let key = format!("cli-{:032x}", rand::random::<u128>());
        let mut request = self.request(method, path).header("idempotency-key", key);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        // The node gives up before this does, so that an outcome that it knows arrives.
        let request = request.timeout(self.timeout.max(Duration::from_millis(100)));
        let response = request
            .send()
            .await
            .map_err(|error| self.failed(&error, true))?;
        self.read(response).await
    }

    /// An open stream of server-sent events.
    pub async fn stream(&self, path: &str, last: Option<&str>) -> Result<Response, Failure> {
        let mut request = self
            .request(Method::GET, path)
            .header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request
            .send()
            .await
            .map_err(|error| self.failed(&error, false))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(response).await)
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.failed(&error, true))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(
                FAILED,
                format!("the answer of {} is not understood: {error}", self.shown),
            )
            .fix("use the `holdfast` of the node's own version")
        })
    }

    async fn refused(&self, response: Response) -> Failure {
        let status = response.status();
        let bytes = response.bytes().await.unwrap_or_default();
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Failure::of_problem(&problem),
            Err(_) => {
                let what = format!("{} answered {status}, which no node does", self.shown);
                Failure::new(FAILED, what).fix("is --server the address of a Holdfast node?")
            }
        }
    }

    fn failed(&self, error: &reqwest::Error, write: bool) -> Failure {
        let never_sent = error.is_connect() || error.is_builder();
        if write && !never_sent {
            let what = format!("no answer from {} in time", self.shown);
            return Failure::new(UNKNOWN, what)
                .why(format!("it may or may not be done: {}", chain(error)))
                .fix("look at the present state before repeating it");
        }
        Failure::new(UNREACHABLE, format!("{} does not answer", self.shown))
            .why(chain(error))
            .fix("systemctl status holdfast   |   --server http://HOST:PORT or HOLDFAST_SERVER")
    }
}

/// An error with all its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// The node of this machine: as its configuration says, else the usual socket.
fn own_node(config: &Path) -> String {
    let text = std::fs::read_to_string(config).unwrap_or_default();
    match NodeConfig::parse(&text, config, std::iter::empty()) {
        Ok(config) => match config.http.admin_socket {
            Some(socket) => format!("unix:{}", socket.display()),
            None if text.is_empty() => format!("unix:{DEFAULT_SOCKET}"),
            None => format!("http://{}", config.http.listen),
        },
        Err(_) => format!("unix:{DEFAULT_SOCKET}"),
    }
}
