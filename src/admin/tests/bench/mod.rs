//! A real single node without an Asterisk, with its endpoints on real sockets, and a client of them.

#![allow(dead_code, reason = "each test binary uses its own part")]

use holdfast_admin::Server;
use holdfast_node::{Node, NodeConfig};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

pub const ADMIN: &str = "admin-token-0123456789";
pub const VIEWER: &str = "viewer-token-0123456789";
/// Generous: the machine may be slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Bench {
    pub node: Node,
    pub server: Server,
    pub dir: TempDir,
    pub http: reqwest::Client,
}

impl Bench {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[node]\nname = \"a\"\ndata_dir = {:?}\n\
             [cluster]\nlisten = \"127.0.0.1:0\"\nsecret = \"0123456789abcdef0123\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\nadmin_socket = {:?}\n\
             tokens = [{{ name = \"anna\", token = {ADMIN:?} }},\n\
             {{ name = \"wall\", token = {VIEWER:?}, read_only = true }}]\n",
            dir.path().join("data"),
            dir.path().join("admin.sock"),
        );
        let config = NodeConfig::parse(&text, Path::new("test"), std::iter::empty()).unwrap();
        let node = Node::start(config).await.unwrap();
        let server = holdfast_admin::start(node.handle()).await.unwrap();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let bench = Bench {
            node,
            server,
            dir,
            http,
        };
        let deadline = Instant::now() + PATIENCE;
        while bench.get("/readyz").await.0 != StatusCode::OK {
            assert!(Instant::now() < deadline, "the node did not become ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bench
    }

    pub async fn stop(self) {
        self.node.handle().shutdown().await;
        self.server.stop().await;
    }

    pub fn ask(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.server.addr))
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.ask(Method::GET, path).bearer_auth(ADMIN)).await
    }

    pub async fn send(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        answer(self.ask(method, path).bearer_auth(ADMIN).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> u64 {
        let (status, written) = self.send(Method::PUT, path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {written}");
        written["revision"].as_u64().unwrap()
    }
}

pub async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}
