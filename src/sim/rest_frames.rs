//! REST over the WebSocket: requests that come as frames, one after the other (trap 12).

use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::pbx::{Request, Response};
use crate::rest::error;
use crate::server::Shared;

/// REST over WebSocket: one request after the other (trap 12).
pub(crate) async fn answer_rest(
    shared: Arc<Shared>,
    mut waiting: mpsc::Receiver<Utf8Bytes>,
    answers: mpsc::Sender<Utf8Bytes>,
) {
    while let Some(text) = waiting.recv().await {
        let (mut answer, request) = rest_request(&text);
        let response = match request {
            Ok(request) => shared.execute(request).await,
            Err(response) => Some(response),
        };
        let Some(response) = response else { continue };
        let status = StatusCode::from_u16(response.status).unwrap_or_default();
        answer["type"] = "RESTResponse".into();
        answer["status_code"] = response.status.into();
        answer["reason_phrase"] = status.canonical_reason().unwrap_or_default().into();
        answer["message_body"] = response.body.into();
        if answers.send(answer.to_string().into()).await.is_err() {
            return;
        }
    }
}

/// Reads a RESTRequest; gives back the fields that its response repeats.
fn rest_request(text: &str) -> (Value, Result<Request, Response>) {
    let Ok(frame) = serde_json::from_str::<Value>(text) else {
        return (json!({}), Err(error(400, "No message to parse.")));
    };
    let field = |name: &str| frame[name].as_str().unwrap_or_default();
    let answer = json!({
        "transaction_id": frame["transaction_id"],
        "request_id": frame["request_id"],
        "uri": frame["uri"],
    });
    if field("type") != "RESTRequest" {
        return (answer, Err(error(400, "Unknown request type.")));
    }
    let (path, query) = field("uri").split_once('?').unwrap_or((field("uri"), ""));
    let body = field("message_body").as_bytes();
    let mut request = Request::parse(field("method"), path, query, body);
    for pair in frame["query_strings"].as_array().into_iter().flatten() {
        if let (Some(name), Some(value)) = (pair["name"].as_str(), pair["value"].as_str()) {
            request.query.push((name.to_owned(), value.to_owned()));
        }
    }
    (answer, Ok(request))
}
