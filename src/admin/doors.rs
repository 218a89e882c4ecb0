//! A way in for the fuzz targets and the bad-input catalogue of `jepsen-style-tests/hostile`: reads
//! the bodies, parameters and headers of requests without a node. No product code uses it.

use crate::aliases::queue_patch;
use crate::error::ApiError;
use crate::request::{json, json_value, merge, query, typed};
use crate::settings::{AgentDoc, MemberDoc, QueueDoc};
use crate::{
    api, declared, routes_agent, routes_call, routes_cluster, routes_config, routes_queue,
};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use holdfast_acd::Config;
use holdfast_acd::settings::{AgentSettings, MemberSettings, QueueSettings};

/// The bodies there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Queue,
    QueuePatch,
    QueueState,
    Agent,
    AgentPatch,
    Member,
    Pause,
    Call,
    Withdraw,
    Node,
    StepDown,
    Config,
    ConfigToml,
}

impl Body {
    pub const ALL: [Body; 13] = [
        Body::Queue,
        Body::QueuePatch,
        Body::QueueState,
        Body::Agent,
        Body::AgentPatch,
        Body::Member,
        Body::Pause,
        Body::Call,
        Body::Withdraw,
        Body::Node,
        Body::StepDown,
        Body::Config,
        Body::ConfigToml,
    ];
}

/// What a body says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Queue(Box<QueueSettings>),
    Agent(AgentSettings),
    Member(MemberSettings),
    Config(Box<Config>),
    /// A body of one or two fields.
    Small,
}

/// Reads a body as its handler does; patches are laid over the defaults.
pub fn read(body: Body, content_type: Option<&str>, bytes: &[u8]) -> Result<Said, ApiError> {
    let mut headers = HeaderMap::new();
    if let Some(value) = content_type.and_then(|kind| HeaderValue::from_str(kind).ok()) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    let small = |read: Result<(), ApiError>| read.map(|()| Said::Small);
    let queue = |doc| routes_queue::without_members(doc).map(|s| Said::Queue(Box::new(s)));
    let agent = |doc| routes_agent::without_queues(doc).map(Said::Agent);
    match body {
        Body::Queue => queue(json(&headers, bytes)?),
        Body::QueuePatch => {
            let mut doc = serde_json::to_value(QueueDoc::default()).unwrap_or_default();
            merge(&mut doc, queue_patch(json_value(&headers, bytes)?));
            queue(typed(doc)?)
        }
        Body::Agent => agent(json(&headers, bytes)?),
        Body::AgentPatch => {
            let mut doc = serde_json::to_value(AgentDoc::default()).unwrap_or_default();
            merge(&mut doc, json_value(&headers, bytes)?);
            agent(typed(doc)?)
        }
        Body::Member => Ok(Said::Member(json::<MemberDoc>(&headers, bytes)?.settings())),
        Body::QueueState => small(json::<routes_queue::OpenDoc>(&headers, bytes).map(drop)),
        Body::Pause => small(json::<routes_agent::PauseDoc>(&headers, bytes).map(drop)),
        Body::Call => small(json::<routes_call::PatchDoc>(&headers, bytes).map(drop)),
        Body::Withdraw => small(json::<routes_call::WithdrawDoc>(&headers, bytes).map(drop)),
        Body::Node => small(json::<routes_cluster::AddDoc>(&headers, bytes).map(drop)),
        Body::StepDown => small(json::<routes_cluster::StepDownDoc>(&headers, bytes).map(drop)),
        Body::Config => Ok(Said::Config(Box::new(routes_config::read(
            &headers, bytes,
        )?))),
        Body::ConfigToml => {
            let kind = HeaderValue::from_static("application/toml");
            headers.insert(header::CONTENT_TYPE, kind);
            Ok(Said::Config(Box::new(routes_config::read(
                &headers, bytes,
            )?)))
        }
    }
}

/// Reads the query of a list, of calls and of events; what is wrong with it.
pub fn parameters(text: &str) -> Option<api::Problem> {
    let uri: Uri = format!("/v1/calls?{text}").parse().ok()?;
    let read = query::<routes_call::ListQuery>(&uri).map(drop);
    let read = read.and(routes_queue::Paging::of(&uri).map(drop));
    read.err().map(|error| error.problem())
}

/// A declared set as the file that shows it.
pub fn shown(config: &Config) -> String {
    declared::Declared::of(config).to_toml()
}
