//! Reading requests strictly: bodies whose every wrong key is named, conditions, idempotency keys,
//! names in paths, query parameters.

use crate::api::FieldError;
use crate::auth::Caller;
use crate::error::ApiError;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use holdfast_acd::RequestId;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Longest `Idempotency-Key`, in bytes.
const KEY_BYTES_MAX: usize = 200;
/// How many parts of a wrong body are tried to find out which are wrong.
const TRIES_MAX: usize = 500;
/// How many wrong values are named.
const ERRORS_MAX: usize = 20;

/// What the headers of a write say.
#[derive(Clone, Debug)]
pub struct Write {
    pub actor: String,
    /// `If-Match: "REV"`; `If-None-Match: *` is 0, must not exist.
    pub if_revision: Option<u64>,
    /// From `Idempotency-Key`; a fresh one is drawn for a write without one, so that a repetition
    /// within the node is recognised too.
    pub request: RequestId,
}

impl Write {
    /// The id of the nth attempt at a change that is worked out from what is there. The first is the
    /// client's own, so that its key used for anything else is found out.
    pub fn attempt(&self, n: usize) -> RequestId {
        if n == 0 {
            return self.request;
        }
        let mut hash = Sha256::new();
        hash.update(self.request.0.to_be_bytes());
        hash.update(n.to_be_bytes());
        RequestId(u128::from_be_bytes(half(hash)))
    }
}

/// The first half of a SHA-256.
fn half(hash: Sha256) -> [u8; 16] {
    let digest: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

/// A digest of what a request asks: the same change of the same thing under the same condition.
pub fn asked(what: &str, of: &str, if_revision: Option<u64>, body: &Value) -> u64 {
    let mut hash = Sha256::new();
    // A map of JSON is ordered by its keys, so the text is the same for the same body.
    hash.update(format!("{what}\0{of}\0{if_revision:?}\0{body}").as_bytes());
    u128::from_be_bytes(half(hash)) as u64
}

impl<S: Send + Sync> FromRequestParts<S> for Write {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let caller = parts
            .extensions
            .get::<Caller>()
            .ok_or(ApiError::Unauthenticated)?;
        Ok(Write {
            actor: caller.name.clone(),
            if_revision: condition(&parts.headers)?,
            request: request_id(&parts.headers, &caller.name)?,
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value
        .to_str()
        .map_err(|_| ApiError::BadRequest(format!("{name} is not ASCII")))?;
    Ok(Some(text.trim()))
}

fn condition(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let matches = text(headers, "if-match")?;
    match (matches, text(headers, "if-none-match")?) {
        (None, None) => Ok(None),
        (Some("*"), None) => Ok(None),
        (Some(tag), None) => {
            let revision = tag.trim_matches('"').parse().map_err(|_| {
                let wanted = "write the revision in quotes, as ETag has it";
                ApiError::BadRequest(format!("If-Match is not a revision; {wanted}"))
            })?;
            Ok(Some(revision))
        }
        (None, Some("*")) => Ok(Some(0)),
        _ => Err(ApiError::BadRequest(
            "a write takes either If-Match with one revision, or If-None-Match: *".into(),
        )),
    }
}

fn request_id(headers: &HeaderMap, actor: &str) -> Result<RequestId, ApiError> {
    let Some(key) = text(headers, "idempotency-key")? else {
        return Ok(RequestId(rand::random()));
    };
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !visible {
        let wanted =
            format!("Idempotency-Key must have 1 to {KEY_BYTES_MAX} characters, and no space");
        return Err(ApiError::BadRequest(wanted));
    }
    let mut hash = Sha256::new();
    hash.update(actor.as_bytes());
    hash.update([0]);
    hash.update(key.as_bytes());
    Ok(RequestId(u128::from_be_bytes(half(hash))))
}

/// Query parameters; an unknown or malformed one is an error.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    Query::<T>::try_from_uri(uri)
        .map(|query| query.0)
        .map_err(|error| ApiError::invalid("", format!("query: {}", error.body_text())))
}

/// A name in a path, by its grammar.
pub fn name<T: TryFrom<String, Error = holdfast_acd::id::BadName>>(
    text: String,
) -> Result<T, ApiError> {
    T::try_from(text).map_err(|error| ApiError::invalid("", error))
}

/// Refuses what is not JSON by its content type; none at all counts as JSON.
pub fn expect_json(headers: &HeaderMap) -> Result<(), ApiError> {
    match text(headers, header::CONTENT_TYPE.as_str())? {
        None => Ok(()),
        Some(kind) => {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            match kind {
                "application/json" | "application/merge-patch+json" => Ok(()),
                other => Err(ApiError::MediaType(other.chars().take(60).collect())),
            }
        }
    }
}

/// A body as JSON. Empty is an empty object.
pub fn json_value(headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    expect_json(headers)?;
    let value = serde_json::from_slice(body)
        .map_err(|error| ApiError::BadRequest(format!("the body is not JSON: {error}")))?;
    match value {
        Value::Object(_) => Ok(value),
        // A list would be read as the fields of an object in their order.
        _ => Err(ApiError::BadRequest("the body is not a JSON object".into())),
    }
}

/// A body as `T`.
pub fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, ApiError> {
    typed(json_value(headers, body)?)
}

/// A JSON value as `T`; else every wrong part of it by its pointer.
pub fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    let error = match serde_json::from_value::<T>(value.clone()) {
        Ok(typed) => return Ok(typed),
        Err(error) => error,
    };
    let mut search = Search {
        root: &value,
        tries: TRIES_MAX,
        errors: Vec::new(),
    };
    search.walk::<T>(&mut Vec::new(), &value);
    if search.errors.is_empty() {
        return Err(ApiError::invalid("", error));
    }
    search.errors.truncate(ERRORS_MAX);
    Err(ApiError::Invalid(search.errors))
}

/// Finds the wrong parts of a document by reading it with one part at a time. All parts of our
/// documents may be left out, so what fails alone is wrong.
struct Search<'a> {
    root: &'a Value,
    tries: usize,
    errors: Vec<FieldError>,
}

impl Search<'_> {
    /// Whether anything below `path` was found.
    fn walk<T: DeserializeOwned>(&mut self, path: &mut Vec<String>, value: &Value) -> bool {
        let Value::Object(map) = value else {
            return false;
        };
        let before = self.errors.len();
        for (key, inner) in map {
            path.push(key.clone());
            if self.tries > 0 {
                self.tries -= 1;
                if let Err(error) = serde_json::from_value::<T>(only(self.root, path)) {
                    let text = crate::unknown::shortened(&error.to_string());
                    if !self.walk::<T>(path, inner) && !text.starts_with("missing field") {
                        self.errors.push(FieldError {
                            pointer: pointer(path),
                            detail: text,
                        });
                    }
                }
            }
            path.pop();
        }
        self.errors.len() > before
    }
}

/// `root` with nothing in it but the part at `path`.
fn only(root: &Value, path: &[String]) -> Value {
    let Some((key, rest)) = path.split_first() else {
        return root.clone();
    };
    let inner = only(&root[key.as_str()], rest);
    Value::Object(Map::from_iter([(key.clone(), inner)]))
}

fn pointer(path: &[String]) -> String {
    path.iter()
        .map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1")))
        .collect()
}

/// RFC 7396.
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(&key);
        } else {
            merge(map.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::QueueDoc;
    use serde_json::json;

    #[test]
    fn every_wrong_key_is_named_by_its_pointer() {
        let body = json!({
            "weight": 1,
            "ring_tim": "15s",
            "wrap_up": "5 sec",
            "announce": { "position": "maybe", "hold_time": "once", "prompts": { "minute": 7 } },
        });
        let Err(ApiError::Invalid(errors)) = typed::<QueueDoc>(body) else {
            panic!("wrong")
        };
        let mut pointers: Vec<&str> = errors.iter().map(|e| e.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(
            pointers,
            [
                "/announce/position",
                "/announce/prompts/minute",
                "/ring_tim",
                "/wrap_up"
            ]
        );
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        assert!(typed::<QueueDoc>(json!([1])).is_err());
        assert!(json::<QueueDoc>(&HeaderMap::new(), b"{").is_err());
        assert_eq!(
            json::<QueueDoc>(&HeaderMap::new(), b"").unwrap(),
            QueueDoc::default()
        );
        let deep = "[".repeat(100_000);
        assert!(json::<QueueDoc>(&HeaderMap::new(), deep.as_bytes()).is_err());
    }

    #[test]
    fn merging_follows_rfc_7396() {
        let mut doc = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(
            &mut doc,
            json!({"a": {"b": null, "e": {"f": null}}, "d": [2]}),
        );
        assert_eq!(doc, json!({"a": {"c": 2, "e": {}}, "d": [2]}));
    }

    #[test]
    fn a_condition_is_one_revision_or_must_not_exist() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.insert(*name, value.parse().unwrap());
            }
            condition(&map)
        };
        assert_eq!(headers(&[]), Ok(None));
        assert_eq!(headers(&[("if-match", "\"17\"")]), Ok(Some(17)));
        assert_eq!(headers(&[("if-none-match", "*")]), Ok(Some(0)));
        assert!(headers(&[("if-match", "W/\"17\"")]).is_err());
        assert!(headers(&[("if-match", "\"1\", \"2\"")]).is_err());
        assert!(headers(&[("if-match", "\"1\""), ("if-none-match", "*")]).is_err());
    }

    #[test]
    fn the_same_key_of_another_actor_is_another_request() {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", "k1".parse().unwrap());
        assert_eq!(request_id(&headers, "anna"), request_id(&headers, "anna"));
        assert_ne!(request_id(&headers, "anna"), request_id(&headers, "bert"));
        for bad in ["x".repeat(201), "two words".into(), "tab\there".into()] {
            headers.insert("idempotency-key", bad.parse().unwrap());
            assert!(request_id(&headers, "anna").is_err(), "{bad}");
        }
    }
}
