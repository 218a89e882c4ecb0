//! Shorter words for an unknown key: the one that was probably meant, instead of a list of sixty.

/// Lists up to so many characters are told whole.
const LIST_CHARS_MAX: usize = 160;

/// Of "unknown field `x`, expected one of ..." only what helps.
pub fn shortened(message: &str) -> String {
    let Some((unknown, list)) = message.split_once(", expected one of ") else {
        return message.to_owned();
    };
    let Some(key) = unknown.split('`').nth(1) else {
        return message.to_owned();
    };
    let known = list.split('`').skip(1).step_by(2);
    let near = known.map(|word| (distance(key, word), word)).min();
    match near {
        Some((changes, word)) if changes <= 1 + word.len() / 4 => {
            format!("{unknown}, did you mean `{word}`?")
        }
        _ if list.len() > LIST_CHARS_MAX => {
            format!("{unknown}; the sample config/queues.toml names every key")
        }
        _ => message.to_owned(),
    }
}

/// Letters to change, add or take away.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    // What a caller sent may be long; a key is not.
    for (i, x) in a.chars().take(64).enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = before + usize::from(x != *y);
            before = row[j + 1];
            row[j + 1] = change.min(before + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named() {
        let list = "`music_class`, `ring_time`, `weight`";
        let ask = |key: &str| shortened(&format!("unknown field `{key}`, expected one of {list}"));
        assert_eq!(
            ask("ring_tim"),
            "unknown field `ring_tim`, did you mean `ring_time`?"
        );
        assert_eq!(
            ask("ringtime"),
            "unknown field `ringtime`, did you mean `ring_time`?"
        );
        assert!(ask("colour").contains("expected one of"));
        assert_eq!(shortened("something else"), "something else");
    }
}
