//! `validate`: node files and queue files, without a node.
//!
//! Which of the two a file is shows in its tables. Exit code 78 if any is wrong.

use crate::args::DEFAULT_CONFIG;
use crate::failure::{CONFIG, Failure};
use crate::output::Out;
use holdfast_admin::declared::read_toml;
use holdfast_node::{ConfigError, NodeConfig};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Tables that only a node's file has.
const NODE_TABLES: [&str; 7] = [
    "node", "cluster", "http", "asterisk", "limits", "timing", "log",
];

#[derive(Serialize)]
struct Checked {
    file: String,
    ok: bool,
    problems: Vec<String>,
}

pub fn run(out: Out, files: &[PathBuf], offline: bool) -> Result<(), Failure> {
    let default = [PathBuf::from(DEFAULT_CONFIG)];
    let files = if files.is_empty() { &default } else { files };
    let checked: Vec<Checked> = files.iter().map(|file| check(file, offline)).collect();
    let wrong = checked.iter().filter(|checked| !checked.ok).count();
    out.show(&serde_json::json!({ "items": checked }), || {
        checked
            .iter()
            .map(|checked| match checked.ok {
                true => format!("ok     {}\n", checked.file),
                false => format!("WRONG  {}\n{}\n", checked.file, checked.problems.join("\n")),
            })
            .collect()
    })?;
    match wrong {
        0 => Ok(()),
        _ => Err(Failure::new(
            CONFIG,
            format!("{wrong} of {} files are wrong", files.len()),
        )),
    }
}

fn check(file: &Path, offline: bool) -> Checked {
    let shown = file.display().to_string();
    let problems = match std::fs::read_to_string(file) {
        Err(error) => vec![format!("cannot read {shown}: {error}")],
        Ok(text) if is_node_file(&text) => node_problems(file, &text, offline),
        Ok(text) => read_toml(&shown, &text)
            .err()
            .iter()
            .map(ToString::to_string)
            .collect(),
    };
    Checked {
        file: shown,
        ok: problems.is_empty(),
        problems,
    }
}

/// By its top tables; of a file that is no TOML, by its text.
fn is_node_file(text: &str) -> bool {
    match text.parse::<toml::Table>() {
        Ok(table) => NODE_TABLES.iter().any(|name| table.contains_key(*name)),
        Err(_) => NODE_TABLES
            .iter()
            .any(|name| text.contains(&format!("[{name}]"))),
    }
}

fn node_problems(file: &Path, text: &str, offline: bool) -> Vec<String> {
    let read = if offline {
        NodeConfig::parse(text, file, std::iter::empty()).map(|config| config.validate())
    } else {
        NodeConfig::load(file).map(|_| Vec::new())
    };
    match read {
        Ok(problems) if offline => {
            // Files that hold secrets were not read, so that their absence says nothing.
            problems
                .into_iter()
                .filter(|problem| !problem.contains("_file: is missing"))
                .collect()
        }
        Ok(problems) => problems,
        Err(ConfigError::Invalid(problems)) => problems,
        Err(error) => vec![with_caret(&error, text)],
    }
}

/// A syntax error with the line it is in.
pub fn with_caret(error: &ConfigError, text: &str) -> String {
    let ConfigError::Syntax {
        file,
        line,
        column,
        why,
    } = error
    else {
        return error.to_string();
    };
    let source = text.lines().nth(line - 1).unwrap_or_default();
    let pad = " ".repeat(line.to_string().len());
    let indent = " ".repeat(column - 1);
    let file = file.display();
    format!("{file}:{line}:{column}\n{pad} |\n{line} | {source}\n{pad} | {indent}^\n{why}")
}
