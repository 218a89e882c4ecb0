//! What text from outside may look like once it is in the state.
//!
//! Free text (a caller's name, a reason) is cleaned, because a caller must not be lost over it.
//! Names that reach Asterisk (sounds, music classes, contexts) are checked, never repaired.

use crate::limits::TEXT_BYTES_MAX;

/// Drops control characters (also those that turn the direction of text) and cuts at
/// `TEXT_BYTES_MAX` bytes, at the border of a character.
pub(crate) fn clean(text: &str) -> String {
    let mut kept = String::new();
    for c in text.chars().filter(|c| !is_control(*c)) {
        if kept.len() + c.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        kept.push(c);
    }
    kept
}

fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A sound or a music class: `[A-Za-z0-9_./-]{1,80}` without `..`.
pub(crate) fn is_media(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    is_short(name) && name.chars().all(plain) && !name.contains("..")
}

/// A dialplan context: `[A-Za-z0-9_.@-]{1,80}`.
pub(crate) fn is_context(name: &str) -> bool {
    is_short(name)
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.@-".contains(c))
}

/// A dialplan extension: `[A-Za-z0-9_.*#+-]{1,80}`.
pub(crate) fn is_exten(name: &str) -> bool {
    is_short(name)
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.*#+-".contains(c))
}

/// One key of a telephone: `0-9 * # A-D`.
pub(crate) fn is_key(key: &str) -> bool {
    let mut chars = key.chars();
    let one = chars
        .next()
        .is_some_and(|c| c.is_ascii_digit() || "*#ABCD".contains(c));
    one && chars.next().is_none()
}

fn is_short(name: &str) -> bool {
    (1..=80).contains(&name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_a_character_and_loses_control_characters() {
        assert_eq!(clean("a\r\nb\0c\u{202e}d"), "abcd");
        let long = clean(&"é".repeat(1_000));
        assert_eq!(long.len(), TEXT_BYTES_MAX);
        assert_eq!(
            clean(&format!("x{}", "é".repeat(1_000))).len(),
            TEXT_BYTES_MAX - 1
        );
    }

    #[test]
    fn media_and_keys_have_a_grammar() {
        assert!(is_media("custom/hello-1"));
        for bad in ["", "a..b", "a b", "sound:x", "é", "a|b"] {
            assert!(!is_media(bad), "{bad:?}");
        }
        assert!(is_key("#") && is_key("D") && !is_key("E") && !is_key("12") && !is_key(""));
    }
}
