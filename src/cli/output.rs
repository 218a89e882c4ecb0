//! How answers are shown: tables for people, JSON for programs. Data goes to stdout, talk to stderr.

use crate::args::Output;
use crate::failure::{FAILED, Failure};
use comfy_table::{Table, presets};
use holdfast_admin::duration::Dur;
use serde::Serialize;
use serde_json::Value;
use std::io::{ErrorKind, Write};

/// Shows an answer in the form that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    pub form: Output,
    pub quiet: bool,
}

impl Out {
    /// `table` is asked for its text only when a table is wanted.
    pub fn show<T: Serialize>(
        &self,
        data: &T,
        table: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let broken = |error: serde_json::Error| Failure::new(FAILED, error.to_string());
        match self.form {
            Output::Table => self.line(&table()),
            Output::Json => self.line(&serde_json::to_string_pretty(data).map_err(broken)?),
            Output::Ndjson => {
                let value = serde_json::to_value(data).map_err(broken)?;
                match value.get("items").and_then(Value::as_array) {
                    Some(items) => items
                        .iter()
                        .try_for_each(|item| self.line(&item.to_string())),
                    None => self.line(&value.to_string()),
                }
            }
        }
    }

    /// A line of data. A reader who went away (`| head`) ends the command without noise.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
            done => Ok(done?),
        }
    }

    /// A word to the person, on stderr.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }
}

/// Columns with two spaces between them, no lines.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|word| word.to_uppercase()));
    for row in rows {
        table.add_row(row.into_iter().map(|cell| plain(&cell)));
    }
    let text = table.to_string();
    text.lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned() + "\n")
        .collect()
}

/// Text from callers as a terminal may see it: no control characters, no direction marks.
pub fn plain(text: &str) -> String {
    let marks = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| {
            if c.is_control() || marks(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Milliseconds as people read them.
pub fn time(ms: u64) -> String {
    if ms < 10_000 {
        Dur(ms / 100 * 100).to_string()
    } else {
        Dur(ms / 1000 * 1000).to_string()
    }
}

/// The same, `-` for nothing.
pub fn time_or_dash(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".into(), time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_callers_cannot_steer_the_terminal() {
        assert_eq!(
            plain("a\u{1b}[2Jb\n\u{202e}c"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c"
        );
        assert!(!table(&["x"], [vec!["\u{1b}]0;evil\u{7}".into()]]).contains('\u{1b}'));
    }
}
