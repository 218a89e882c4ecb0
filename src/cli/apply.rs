//! `apply` and `export`: the declarative file into force, and back out.

use crate::args::Output;
use crate::client::Client;
use crate::failure::{CONFIG, FAILED, Failure};
use crate::output::Out;
use holdfast_admin::api::{Change, ConfigChange};
use holdfast_admin::declared::{Declared, read_toml};
use reqwest::Method;
use serde_json::Value;
use std::path::Path;

pub async fn apply(
    out: Out,
    client: &Client,
    file: &Path,
    dry_run: bool,
    prune: bool,
    if_revision: Option<u64>,
) -> Result<(), Failure> {
    let config = read(file)?;
    let headers: Vec<_> = if_revision
        .map(|revision| ("if-match", format!("\"{revision}\"")))
        .into_iter()
        .collect();
    let path = format!("/v1/config?prune={prune}&dry_run={dry_run}");
    let body = Declared::of(&config);
    let change: ConfigChange = client
        .write(Method::PUT, &path, Some(&body), &headers)
        .await?;
    out.show(&change, || change_text(&change))
}

/// The file's set; `-` is stdin.
pub fn read(file: &Path) -> Result<holdfast_node::acd::Config, Failure> {
    let shown = file.display().to_string();
    let text = if shown == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|e| Failure::new(FAILED, format!("cannot read {shown}: {e}")))?;
    read_toml(&shown, &text).map_err(|error| Failure::new(CONFIG, error.to_string()))
}

fn change_text(change: &ConfigChange) -> String {
    let mut text: String = change.changes.iter().map(change_line).collect();
    let count = change.changes.len();
    let revision = change.revision;
    text.push_str(&match (count, change.dry_run) {
        (0, _) => format!("nothing to change (revision {revision})\n"),
        (_, true) => format!("would change {count} objects; apply with --if-revision {revision}\n"),
        (_, false) => format!("changed {count} objects (revision {revision})\n"),
    });
    text
}

fn change_line(change: &Change) -> String {
    let sign = match change.action.as_str() {
        "add" => '+',
        "remove" => '-',
        _ => '~',
    };
    let mut line = format!("{sign} {} {}\n", change.kind, change.name);
    for field in &change.fields {
        let (old, new) = (shown(&field.old), shown(&field.new));
        line.push_str(&format!("    {}: {old} -> {new}\n", field.path));
    }
    line
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "(none)".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub async fn export(out: Out, client: &Client) -> Result<(), Failure> {
    if out.form != Output::Table {
        let declared: Value = client.get("/v1/config").await?;
        return out.show(&declared, String::new);
    }
    let declared: Declared = client.get("/v1/config").await?;
    out.line(&declared.to_toml())
}
