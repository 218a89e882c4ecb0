//! Templates: patterns of queue names that a call may bring into being.

use crate::reply::Reject;

/// Whether `name` fits `pattern`, in which `*` stands for any run of characters, also none.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    // `split` gives at least one part.
    let Some(rest) = parts.next().and_then(|start| name.strip_prefix(start)) else {
        return false;
    };
    let Some(end) = parts.next_back() else {
        return rest.is_empty();
    };
    let mut rest = rest;
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= end.len() && rest.ends_with(end)
}

/// The name of a template: 1 to 64 of `A-Z a-z 0-9 _ . -`.
pub(crate) fn check_name(name: &str) -> Result<(), Reject> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    let problem = "a template's name is 1 to 64 of A-Z a-z 0-9 _ . -".into();
    Err(Reject::Invalid {
        what: crate::text::clean(name),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        for (pattern, name) in [
            ("*", "x"),
            ("a*", "a"),
            ("*@b", "1@b"),
            ("a*c*e", "abcde"),
            ("a", "a"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a", "ab"),
            ("a*a", "a"),
            ("*@b", "1@bc"),
            ("a*c*e", "ace_"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
