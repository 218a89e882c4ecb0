//! `/v1/config`: the whole declared set at once, as `apply -f` uses it; and `/v1/templates`.

use crate::api::{ConfigChange, Page, TemplateView};
use crate::declared::{Declared, read_toml};
use crate::diff::diff;
use crate::error::ApiError;
use crate::request::{Write, json, query};
use crate::router::{Answer, Shared, answer, tagged};
use crate::settings::QueueDoc;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use holdfast_acd::{AdminOp, Config};
use serde::Deserialize;
use std::time::Duration;

const TOML: &str = "application/toml";

/// JSON, or the file with `Accept: application/toml`.
pub async fn get_config(State(app): Shared, headers: HeaderMap) -> Response {
    let (config, revision) = app
        .node
        .read(|state| (state.config(), state.config_revision()));
    let declared = Declared::of(&config);
    if accepts_toml(&headers) {
        let tag = format!("\"{revision}\"");
        let headers = [(header::ETAG, tag), (header::CONTENT_TYPE, TOML.to_owned())];
        return (headers, declared.to_toml()).into_response();
    }
    tagged(revision, &declared)
}

fn accepts_toml(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains(TOML))
}

/// `?prune=true&dry_run=true`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PutQuery {
    prune: bool,
    dry_run: bool,
}

/// All or nothing. Answers what changed, or with `dry_run` what would.
pub async fn put_config(
    State(app): Shared,
    write: Write,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Answer {
    let PutQuery { prune, dry_run } = query(&uri)?;
    let config = read(&headers, &body)?;
    // What it changes is worked out on a replica that has seen everything written before.
    app.node.raft().barrier(Duration::from_secs(3)).await?;
    let (before, revision) = app
        .node
        .read(|state| (state.config(), state.config_revision()));
    if write.if_revision.is_some_and(|wanted| wanted != revision) {
        return Err(ApiError::RevisionMismatch { revision });
    }
    let changes = diff(&before, &config, prune);
    if dry_run {
        return Ok(tagged(
            revision,
            &ConfigChange {
                revision,
                dry_run,
                changes,
            },
        ));
    }
    let config = Box::new(config);
    let written = app
        .write(&write, AdminOp::ConfigPut { config, prune })
        .await?;
    let revision = written.revision;
    Ok(tagged(
        revision,
        &ConfigChange {
            revision,
            dry_run,
            changes,
        },
    ))
}

pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Config, ApiError> {
    // With `prune` nothing would be left, and nobody means that by an empty body.
    if body.is_empty() {
        let what = "the body is empty; send the declared set, `{}` if nothing is to be declared";
        return Err(ApiError::BadRequest(what.into()));
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with(TOML)) {
        let text = std::str::from_utf8(body)
            .map_err(|_| ApiError::BadRequest("the body is not UTF-8".into()))?;
        return read_toml("body", text).map_err(|error| ApiError::invalid("", error));
    }
    let declared: Declared = json(headers, body)?;
    declared.config().map_err(|problems| {
        let field = |problem: crate::declared::Problem| crate::api::FieldError {
            pointer: problem.pointer(),
            detail: problem.what,
        };
        ApiError::Invalid(problems.into_iter().map(field).collect())
    })
}

pub async fn templates(State(app): Shared) -> Response {
    let config = app.node.read(|state| state.config());
    let view = |(name, template): &(String, holdfast_acd::settings::Template)| TemplateView {
        name: name.clone(),
        pattern: template.pattern.clone(),
        queue: QueueDoc::of(&template.settings),
    };
    let items = config.templates.iter().map(view).collect();
    answer(&Page::<TemplateView> {
        items,
        next: None,
        revision: app.applied(),
    })
}
