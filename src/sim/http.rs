//! Decoding of HTTP requests into [`Request`]s, and of Basic authentication. Pure functions.

use serde_json::Value;
use url::form_urlencoded;

use crate::pbx::Request;

impl Request {
    /// Decodes a request; `path` is what follows `/ari/`, still percent-encoded.
    pub fn parse(method: &str, path: &str, query: &str, body: &[u8]) -> Request {
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let empty = body.iter().all(u8::is_ascii_whitespace);
        Request {
            method: method.to_owned(),
            path: segments.map(percent_decode).collect(),
            query: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            body: (!empty).then(|| serde_json::from_slice::<Value>(body).map_err(drop)),
        }
    }
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) if *byte == b'%' => {
                out.push(decoded);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The value of the Authorization header that these credentials give.
pub(crate) fn basic(username: &str, password: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = "Basic ".to_owned();
    for chunk in format!("{username}:{password}").as_bytes().chunks(3) {
        let byte = |at: usize| chunk.get(at).copied().map_or(0, u32::from);
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_encoded_as_base64() {
        assert_eq!(
            basic("Aladdin", "open sesame"),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert_eq!(basic("a", "bc"), "Basic YTpiYw==");
        assert_eq!(basic("a", "b"), "Basic YTpi");
    }

    #[test]
    fn odd_ids_survive_the_path() {
        let request = Request::parse("GET", "channels/a%2Fb%20x%D0%96", "q=1%2B2&r=a+b", b" ");
        assert_eq!(request.path, ["channels", "a/b xЖ"]);
        assert_eq!(
            request.query,
            [("q".into(), "1+2".into()), ("r".into(), "a b".into())]
        );
        assert!(request.body.is_none());
    }
}
