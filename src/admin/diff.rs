//! What a declared set would change: for `apply --dry-run`, and for the answer to every apply.

use crate::api::{Change, FieldChange};
use crate::settings::{AgentDoc, MemberDoc, QueueDoc};
use holdfast_acd::Config;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The objects of `new` that are not so in `old`; with `prune` also those of `old` that are not in
/// `new`.
pub fn diff(old: &Config, new: &Config, prune: bool) -> Vec<Change> {
    let (old, new) = (flat(old), flat(new));
    let mut changes = Vec::new();
    for ((kind, name), value) in &new {
        match old.get(&(*kind, name.clone())) {
            None => changes.push(change(kind, name, "add", Vec::new())),
            Some(before) if before != value => {
                let mut fields = Vec::new();
                compare("", before, value, &mut fields);
                changes.push(change(kind, name, "change", fields));
            }
            Some(_) => {}
        }
    }
    if prune {
        let gone = old.keys().filter(|key| !new.contains_key(*key));
        changes.extend(gone.map(|(kind, name)| change(kind, name, "remove", Vec::new())));
    }
    changes
}

type Flat = BTreeMap<(&'static str, String), Value>;

fn flat(config: &Config) -> Flat {
    let mut flat = Flat::new();
    for (name, settings) in &config.queues {
        flat.insert(("queue", name.to_string()), value(&QueueDoc::of(settings)));
    }
    for (id, settings) in &config.agents {
        flat.insert(("agent", id.to_string()), value(&AgentDoc::of(settings)));
    }
    for (queue, agent, settings) in &config.members {
        let name = format!("{queue} {agent}");
        flat.insert(("member", name), value(&MemberDoc::of(settings)));
    }
    for (name, template) in &config.templates {
        let members: BTreeMap<_, _> = template
            .members
            .iter()
            .map(|(a, m)| (a.to_string(), MemberDoc::of(m)))
            .collect();
        let parts = (&template.pattern, QueueDoc::of(&template.settings), members);
        flat.insert(("template", name.clone()), value(&parts));
    }
    flat
}

fn value<T: Serialize>(doc: &T) -> Value {
    serde_json::to_value(doc).unwrap_or(Value::Null)
}

fn change(kind: &str, name: &str, action: &str, fields: Vec<FieldChange>) -> Change {
    Change {
        kind: kind.into(),
        name: name.into(),
        action: action.into(),
        fields,
    }
}

fn compare(path: &str, old: &Value, new: &Value, fields: &mut Vec<FieldChange>) {
    if let (Value::Object(old), Value::Object(new)) = (old, new) {
        let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let inner = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let null = Value::Null;
            let (old, new) = (old.get(key).unwrap_or(&null), new.get(key).unwrap_or(&null));
            compare(&inner, old, new, fields);
        }
    } else if old != new {
        fields.push(FieldChange {
            path: path.into(),
            old: old.clone(),
            new: new.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::read_toml;

    #[test]
    fn only_what_differs_is_named_and_removal_needs_prune() {
        let old = "[queue.a]\nring_time = 15\n[queue.b]\n[agent.1]\nqueues = ['a']";
        let new = "[queue.a]\nring_time = 20\nannounce = { every = 30 }\n[queue.c]\n[agent.1]";
        let (old, new) = (read_toml("", old).unwrap(), read_toml("", new).unwrap());
        let shown = |prune| {
            let changes = diff(&old, &new, prune);
            let line = |c: &Change| {
                let fields: Vec<_> = c.fields.iter().map(|f| f.path.as_str()).collect();
                format!("{} {} {} {}", c.action, c.kind, c.name, fields.join(","))
            };
            changes.iter().map(line).collect::<Vec<_>>()
        };
        let kept = [
            "change queue a announce.frequency,ring_time",
            "add queue c ",
        ];
        assert_eq!(shown(false), kept);
        let mut pruned = kept.to_vec();
        pruned.extend(["remove member a 1 ", "remove queue b "]);
        assert_eq!(shown(true), pruned);
        assert!(diff(&new, &new, true).is_empty());
    }
}
