//! Tests of the declarative file, apart from it for length. Files that are refused are in the
//! catalogue of hostile input.

use crate::declared::{Declared, read_toml};
use holdfast_acd::settings::Strategy;
use holdfast_acd::{AgentId, Config, QueueName};

const FULL: &str = r#"
[queue.support]
strategy = "rrmemory"
timeout = 20            # the ring time, as in queues.conf
max_wait = "5m"
wrapuptime = 5
joinempty = "paused,unavailable"
announce = { position = "limit", hold_time = "once", every = "30s", periodic = ["a", "b"] }
members = { 1001 = { penalty = 1 }, 1002 = {} }
fallback = { context = "night", exten = "s", priority = 1 }

[queue.sales]
musicclass = "jazz"
announce-frequency = 45
periodic-announce = "one, two"
steps = [{ after = "30s", max_penalty = 2 }]

[agent.1001]
name = "Alice"
nodes = ["a", "b"]
queues = { sales = { penalty = 2 } }

[agent.1002]
queues = ["sales"]

[template.desk]
pattern = "desk-*"
queue = { ring_time = "10s", members = ["1002", "1001"] }
"#;

fn config(text: &str) -> Config {
    read_toml("queues.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

fn error(text: &str) -> String {
    read_toml("queues.toml", text)
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn clear_names_and_queues_conf_spellings_mean_the_same() {
    let config = config(FULL);
    let [(sales, of_sales), (_, of_support)] = &config.queues[..] else {
        panic!("two queues")
    };
    assert_eq!(sales.as_str(), "sales");
    assert_eq!(of_support.strategy, Strategy::RrMemory);
    assert_eq!(
        (of_support.ring_time_ms, of_support.timeout_ms),
        (20_000, Some(300_000))
    );
    assert_eq!(
        (of_support.wrap_up_ms, of_support.join_empty.0.len()),
        (5_000, 2)
    );
    assert_eq!(of_support.announce.frequency_ms, 30_000);
    assert_eq!(of_sales.music_class, "jazz");
    assert_eq!(of_sales.announce.frequency_ms, 45_000);
    assert_eq!(of_sales.announce.periodic, ["one", "two"]);
    assert_eq!(of_sales.steps[0].max_penalty, Some(2));
    let members: Vec<_> = config
        .members
        .iter()
        .map(|(q, a, m)| (q.as_str(), a.as_str(), m.penalty))
        .collect();
    let expected = [
        ("sales", "1001", 2),
        ("sales", "1002", 0),
        ("support", "1001", 1),
        ("support", "1002", 0),
    ];
    assert_eq!(members, expected);
    let (_, template) = &config.templates[0];
    assert_eq!(
        (
            template.settings.ring_time_ms,
            template.members[0].0.as_str()
        ),
        (10_000, "1001")
    );
    assert_eq!(template.members[1].1.order, 0);
}

#[test]
fn what_is_shown_as_a_file_reads_back_as_the_same_set() {
    for text in [
        FULL,
        "",
        "[task.'x@1']\nextens='1'\nringTime=5\n[task.'x@2']\nextens='1,2'\nringTime=9",
    ] {
        let before = config(text);
        let file = Declared::of(&before).to_toml();
        let after = config(&file);
        assert_eq!(before, after, "{file}");
        let json = serde_json::to_string(&Declared::of(&before)).unwrap();
        let again: Declared = serde_json::from_str(&json).unwrap();
        assert_eq!(again.config().unwrap(), before, "{json}");
    }
    let file = Declared::of(&config(FULL)).to_toml();
    assert!(
        !file.contains("resume_window"),
        "defaults are left out: {file}"
    );
}

#[test]
fn the_originals_stages_become_one_queue_that_widens() {
    let config = config(
        r#"
        [task."74995550000@example.org@1"]
        extens = "1000"
        ringStrategy = "ringall"
        ringTime = 120
        [task."74995550000@example.org@2"]
        extens = [1000, "1001"]
        ringStrategy = "ringall"
        ringTime = 600
        [task."Sales@example.org"]
        extens = "1000, 1001"
        ringTime = 360
        [agent.1000]
        name = "Alice"
        "#,
    );
    let [(staged, plan), (plain, one)] = &config.queues[..] else {
        panic!("two queues")
    };
    assert_eq!(
        (staged.as_str(), plain.as_str()),
        ("74995550000@example.org", "Sales@example.org")
    );
    let steps: Vec<_> = plan
        .steps
        .iter()
        .map(|s| (s.after_ms, s.agents.len(), s.ring_time_ms))
        .collect();
    assert_eq!(steps, [(0, 1, Some(120_000)), (120_000, 2, Some(600_000))]);
    assert!(one.steps.is_empty());
    assert_eq!(one.ring_time_ms, 360_000);
    let alice = &config.agents[0];
    assert_eq!((alice.0.as_str(), alice.1.name.as_str()), ("1000", "Alice"));
    assert_eq!((config.agents.len(), config.members.len()), (2, 4));
    let member = (
        QueueName::new("Sales@example.org").unwrap(),
        AgentId::new("1001").unwrap(),
    );
    assert!(
        config
            .members
            .iter()
            .any(|(q, a, m)| (q, a) == (&member.0, &member.1) && m.order == 1)
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_a_caret() {
    let text = error("[queue.support]\nstrategy = \"linear\"\nring_tim = \"15s\"\n");
    assert!(text.starts_with("queues.toml:3:1\n"), "{text}");
    assert!(
        text.contains("3 | ring_tim = \"15s\"\n  | ^^^^^^^^\n"),
        "{text}"
    );
    assert!(
        text.contains("unknown field `ring_tim`") && text.contains("`ring_time`"),
        "{text}"
    );
}
