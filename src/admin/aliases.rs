//! The other spellings of keys, brought to their one name: for merge patches, where both spellings
//! of a key would otherwise meet in one document.

use serde_json::{Map, Value};

/// Of a queue's own keys; the list in `settings::QueueDoc` is the authority, a test compares.
const QUEUE: [(&str, &str); 12] = [
    ("musicclass", "music_class"),
    ("musiconhold", "music_class"),
    ("music", "music_class"),
    ("timeout", "ring_time"),
    ("ringTime", "ring_time"),
    ("max_callers", "maxlen"),
    ("wrapuptime", "wrap_up"),
    ("servicelevel", "service_level"),
    ("joinempty", "join_empty"),
    ("leavewhenempty", "leave_when_empty"),
    ("ringinuse", "ring_in_use"),
    ("context", "exit_context"),
];

const ANNOUNCE: [(&str, &str); 2] = [("holdtime", "hold_time"), ("every", "frequency")];

/// A merge patch of a queue's settings with every key in its own spelling.
pub fn queue_patch(patch: Value) -> Value {
    let Value::Object(map) = patch else {
        return patch;
    };
    let mut map = renamed(map, &QUEUE);
    if let Some(Value::Object(announce)) = map.remove("announce") {
        map.insert(
            "announce".into(),
            Value::Object(renamed(announce, &ANNOUNCE)),
        );
    }
    Value::Object(map)
}

fn renamed(map: Map<String, Value>, names: &[(&str, &str)]) -> Map<String, Value> {
    let own = |key: String| match names.iter().find(|(alias, _)| *alias == key) {
        Some((_, name)) => (*name).to_owned(),
        None => key,
    };
    map.into_iter()
        .map(|(key, value)| (own(key), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::QueueDoc;
    use serde_json::json;

    #[test]
    fn every_alias_is_one_that_settings_know() {
        let full = serde_json::to_value(QueueDoc::default()).unwrap();
        for (alias, name) in QUEUE {
            let value = full
                .get(name)
                .unwrap_or_else(|| panic!("{name} is not a key"));
            let doc = Map::from_iter([(alias.to_owned(), value.clone())]);
            let read: Result<QueueDoc, _> = serde_json::from_value(Value::Object(doc));
            assert!(read.is_ok(), "{alias}");
        }
        for (alias, name) in ANNOUNCE {
            let value = full["announce"][name].clone();
            let read: Result<QueueDoc, _> =
                serde_json::from_value(json!({ "announce": { alias: value } }));
            assert!(read.is_ok(), "{alias}");
        }
    }

    #[test]
    fn a_patch_in_the_spelling_of_queues_conf_meets_no_second_key() {
        let patch = queue_patch(json!({"timeout": 20, "announce": {"every": 30}, "weight": 1}));
        let wanted = json!({"ring_time": 20, "announce": {"frequency": 30}, "weight": 1});
        assert_eq!(patch, wanted);
    }
}
