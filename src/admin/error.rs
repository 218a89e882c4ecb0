//! Everything that can be wrong with a request, and the `application/problem+json` it becomes.
//!
//! The handler says what is wrong; `instance` and `request_id` are filled in by the outermost layer
//! (`router`). Internal texts never leave the node here: what a handler cannot name is in the log.

use crate::api::{FieldError, Problem};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use holdfast_acd::Reject;
use holdfast_raft::{ClusterError, JournalError, ProposeError};

/// A request that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error("the body, the path or a parameter is wrong: {}", list(.0))]
    Invalid(Vec<FieldError>),
    #[error("{0}")]
    BadRequest(String),
    #[error("the content type {0:?} is not understood here")]
    MediaType(String),
    #[error("there is no {0}")]
    NotFound(String),
    #[error("no valid bearer token came with the request")]
    Unauthenticated,
    #[error("token {name:?} has the role {has}, but this needs {needs}")]
    Forbidden {
        name: String,
        has: &'static str,
        needs: &'static str,
    },
    #[error("it was changed meanwhile and has revision {revision} now")]
    RevisionMismatch { revision: u64 },
    #[error("{0}")]
    Reject(Reject),
    #[error("{0}")]
    Propose(ProposeError),
    #[error("{0}")]
    Cluster(ClusterError),
    #[error("{0} event streams are open already")]
    TooManyStreams(usize),
    #[error("too many wrong tokens came from this address")]
    TooManyGuesses,
    #[error("all connections that this node serves are taken")]
    TooManyConnections,
    #[error("the node took longer than {0} s")]
    Slow(u64),
    #[error("the journal of this node cannot be read")]
    Journal,
}

fn list(errors: &[FieldError]) -> String {
    if errors.len() > 1 {
        return format!("{} values, see errors", errors.len());
    }
    let texts: Vec<String> = errors
        .iter()
        .map(|error| match error.pointer.as_str() {
            "" => error.detail.clone(),
            pointer => format!("{pointer}: {}", error.detail),
        })
        .collect();
    texts.join("; ")
}

impl ApiError {
    /// One wrong value.
    pub fn invalid(pointer: &str, detail: impl ToString) -> Self {
        let error = FieldError {
            pointer: pointer.into(),
            detail: detail.to_string(),
        };
        ApiError::Invalid(vec![error])
    }

    /// Status, last word of the type, title, code.
    fn class(&self) -> (u16, &'static str, &'static str, &'static str) {
        match self {
            ApiError::Invalid(_) => (422, "invalid", "a value is wrong", "HF-H01"),
            ApiError::BadRequest(_) => (400, "bad-request", "the request is wrong", "HF-H02"),
            ApiError::MediaType(_) => (415, "media-type", "unknown content type", "HF-H03"),
            ApiError::NotFound(_) => (404, "not-found", "there is no such thing", "HF-H04"),
            ApiError::Unauthenticated => {
                (401, "unauthenticated", "a bearer token is needed", "HF-H05")
            }
            ApiError::Forbidden { .. } => (
                403,
                "forbidden",
                "the token's role does not allow this",
                "HF-H06",
            ),
            ApiError::RevisionMismatch { .. } => mismatch("HF-H07"),
            ApiError::Reject(reject) => class_of_reject(reject),
            ApiError::Propose(error) => class_of_propose(error),
            ApiError::Cluster(error) => class_of_cluster(error),
            ApiError::TooManyStreams(_) => {
                (429, "rate-limited", "too many event streams", "HF-H12")
            }
            ApiError::TooManyGuesses => {
                (429, "too-many-guesses", "too many wrong tokens", "HF-H18")
            }
            ApiError::TooManyConnections => (503, "overloaded", "too many connections", "HF-H19"),
            ApiError::Slow(_) => (504, "outcome-unknown", "the outcome is not known", "HF-H09"),
            ApiError::Journal => (503, "journal", "the journal cannot be read", "HF-H13"),
        }
    }

    fn hint(&self) -> String {
        match self {
            ApiError::Unauthenticated => {
                "send `Authorization: Bearer TOKEN`; `holdfast token create` makes one, \
                 and the unix socket of the node needs none"
            }
            ApiError::Forbidden { .. } => "use a token of the needed role",
            ApiError::RevisionMismatch { .. }
            | ApiError::Reject(Reject::RevisionMismatch { .. }) => {
                "read it again, and repeat the change on what is there now"
            }
            ApiError::Reject(Reject::RequestReused) => {
                "take a new Idempotency-Key for another write"
            }
            ApiError::Reject(Reject::QueueNotEmpty(_)) => {
                "close the queue, and delete it when the callers are gone"
            }
            ApiError::Propose(ProposeError::NoLeader)
            | ApiError::Cluster(ClusterError::NoLeader) => {
                "callers in line stay on hold; see `holdfast cluster status` on each node for what \
                 is missing"
            }
            ApiError::Propose(ProposeError::Unknown) | ApiError::Slow(_) => {
                "look whether it was done, or repeat it with the same Idempotency-Key"
            }
            ApiError::Propose(ProposeError::Overloaded) => "try again in a second",
            ApiError::TooManyGuesses => {
                "wait, and mend the client that sends a wrong token; the unix socket needs none"
            }
            ApiError::TooManyConnections => "close some, or ask another node",
            ApiError::TooManyStreams(_) => "close one, or ask another node",
            ApiError::Journal => "ask another node, and look at this node's log",
            _ => "",
        }
        .to_owned()
    }

    /// As it is sent, without the request's own fields.
    pub fn problem(&self) -> Problem {
        let (status, word, title, code) = self.class();
        let errors = match self {
            ApiError::Invalid(errors) => errors.clone(),
            ApiError::Reject(Reject::Invalid { what, problem }) => {
                vec![FieldError {
                    pointer: what.clone(),
                    detail: problem.clone(),
                }]
            }
            _ => Vec::new(),
        };
        Problem {
            kind: format!("urn:holdfast:error:{word}"),
            title: title.to_owned(),
            status,
            code: code.to_owned(),
            detail: self.to_string(),
            instance: String::new(),
            request_id: String::new(),
            hint: self.hint(),
            errors,
        }
    }
}

type Class = (u16, &'static str, &'static str, &'static str);

fn mismatch(code: &'static str) -> Class {
    (412, "revision-mismatch", "it has another revision", code)
}

fn class_of_reject(reject: &Reject) -> Class {
    let code = reject.code();
    let (status, word, title) = match reject {
        Reject::UnknownQueue(_) => (404, "no-such-queue", "there is no such queue"),
        Reject::UnknownCall(_) => (404, "no-such-call", "there is no such call"),
        Reject::UnknownAgent(_) => (404, "no-such-agent", "there is no such agent"),
        Reject::UnknownMember(..) => (404, "no-such-member", "the agent is not in that queue"),
        Reject::UnknownName(_) => (404, "not-found", "there is no such thing"),
        Reject::RevisionMismatch { .. } => return mismatch(code),
        Reject::Invalid { .. } => (422, "invalid", "a value is wrong"),
        Reject::RequestReused => (
            422,
            "idempotency-key-reused",
            "the key was used for another write",
        ),
        _ => (409, "conflict", "it cannot be done as things are"),
    };
    (status, word, title, code)
}

fn class_of_propose(error: &ProposeError) -> Class {
    match error {
        ProposeError::NoLeader => (503, "no-leader", "no leader", "HF-H08"),
        ProposeError::Unknown => (504, "outcome-unknown", "the outcome is not known", "HF-H09"),
        ProposeError::Overloaded => (503, "overloaded", "too many commands are waiting", "HF-H10"),
        ProposeError::TooLarge { .. } => (413, "too-large", "the write is too large", "HF-H14"),
        ProposeError::Unreadable(_) => (
            503,
            "version-mismatch",
            "the leader cannot read this write",
            "HF-H15",
        ),
        ProposeError::ShuttingDown => (503, "draining", "this node is stopping", "HF-H11"),
    }
}

fn class_of_cluster(error: &ClusterError) -> Class {
    match error {
        ClusterError::NoLeader => (503, "no-leader", "no leader", "HF-H08"),
        ClusterError::Unreachable { .. } => {
            (409, "unreachable", "the node does not answer", "HF-H16")
        }
        ClusterError::Refused(_) => (409, "conflict", "the cluster cannot do this now", "HF-H17"),
        ClusterError::Unknown(_) => (504, "outcome-unknown", "the outcome is not known", "HF-H09"),
    }
}

impl From<Reject> for ApiError {
    fn from(reject: Reject) -> Self {
        ApiError::Reject(reject)
    }
}

impl From<ProposeError> for ApiError {
    fn from(error: ProposeError) -> Self {
        ApiError::Propose(error)
    }
}

impl From<ClusterError> for ApiError {
    fn from(error: ClusterError) -> Self {
        ApiError::Cluster(error)
    }
}

impl From<JournalError> for ApiError {
    fn from(error: JournalError) -> Self {
        tracing::error!(%error, "the journal cannot be read");
        ApiError::Journal
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let mut response = problem_response(&problem);
        let headers = response.headers_mut();
        if matches!(problem.status, 429 | 503) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self == ApiError::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(problem);
        response
    }
}

/// The answer's body alone.
pub fn problem_response(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).unwrap_or_default();
    (
        status,
        [(header::CONTENT_TYPE, "application/problem+json")],
        body,
    )
        .into_response()
}
