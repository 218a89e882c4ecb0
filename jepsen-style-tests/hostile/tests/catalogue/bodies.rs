//! Bodies and parameters of the admin endpoints, and declared sets as files.

use crate::{Entry, same, shown, told};
use holdfast_admin::declared::read_toml;
use holdfast_admin::doors::{Body, parameters, read};

/// Status and code that a body is refused with; 200 if it is not.
fn answer(body: Body, kind: &str, bytes: &[u8]) -> (u16, String, String) {
    match read(body, Some(kind), bytes) {
        Ok(_) => (200, String::new(), String::new()),
        Err(error) => {
            let problem = error.problem();
            let pointers: Vec<String> = problem.errors.into_iter().map(|e| e.pointer).collect();
            (problem.status, problem.code, pointers.join(" "))
        }
    }
}

pub fn entries() -> Vec<Entry> {
    let json = "application/json";
    let mut entries = Vec::new();
    let deep = "[".repeat(100_000);
    let deep_object = "{\"a\":".repeat(100_000);
    let not_json: Vec<&[u8]> = vec![
        b"{",
        b"[]",
        b"7",
        b"null",
        b"\"x\"",
        b"\0",
        b"\xff\xfe{}",
        b"{}{}",
        b"{'open':true}",
        b"{\"open\":NaN}",
        b"{\"open\":true,}",
        b"// x\n{}",
        b"\x1f\x8b\x08\x00",
        deep.as_bytes(),
        deep_object.as_bytes(),
        b"{\"open\":\"\\ud800\"}",
        b"{\"open\":\"\x01\"}",
        b"{\"a\":1e999}",
    ];
    for bytes in not_json {
        let what = shown(&String::from_utf8_lossy(bytes));
        entries.push(same(
            &format!("no JSON object: {what}"),
            answer(Body::Queue, json, bytes).0,
            400,
        ));
    }
    for kind in [
        "text/plain",
        "application/xml",
        "multipart/form-data",
        "application/json5",
        "text/json",
        "*/*",
        "application/jsonx",
    ] {
        entries.push(same(
            &format!("content type {kind}"),
            answer(Body::Queue, kind, b"{}").0,
            415,
        ));
    }
    let wrong: &[(Body, &str, &str)] = &[
        (Body::Queue, r#"{"ring_tim":"15s"}"#, "/ring_tim"),
        (Body::Queue, r#"{"weight":-1}"#, "/weight"),
        (Body::Queue, r#"{"weight":4294967296}"#, "/weight"),
        (Body::Queue, r#"{"weight":1.5}"#, "/weight"),
        (Body::Queue, r#"{"weight":"1"}"#, "/weight"),
        (Body::Queue, r#"{"weight":null}"#, "/weight"),
        (Body::Queue, r#"{"weight":true}"#, "/weight"),
        (Body::Queue, r#"{"ring_time":-1}"#, "/ring_time"),
        (Body::Queue, r#"{"ring_time":"15x"}"#, "/ring_time"),
        (
            Body::Queue,
            r#"{"ring_time":18446744073709551615}"#,
            "/ring_time",
        ),
        (Body::Queue, r#"{"strategy":"ringal"}"#, "/strategy"),
        (Body::Queue, r#"{"strategy":7}"#, "/strategy"),
        (Body::Queue, r#"{"open":"maybe"}"#, "/open"),
        (Body::Queue, r#"{"join_empty":"pausd"}"#, "/join_empty"),
        (
            Body::Queue,
            r#"{"join_empty":"strict,paused"}"#,
            "/join_empty",
        ),
        (Body::Queue, r#"{"exit_keys":"12"}"#, "/exit_keys"),
        (Body::Queue, r#"{"connect":"sip"}"#, "/connect"),
        (
            Body::Queue,
            r#"{"announce":{"position":"maybe"}}"#,
            "/announce/position",
        ),
        (
            Body::Queue,
            r#"{"announce":{"prompts":{"minute":7}}}"#,
            "/announce/prompts/minute",
        ),
        (Body::Queue, r#"{"announce":[]}"#, "/announce"),
        (Body::Queue, r#"{"retry":[1,2,3,4]}"#, "/retry"),
        (Body::Queue, r#"{"steps":[[]]}"#, "/steps"),
        (Body::Config, r#"{"queue":{"q":[]}}"#, "/queue/q"),
        (
            Body::Config,
            r#"{"queue":{"q":{"members":{"1":[3]}}}}"#,
            "/queue/q/members/1",
        ),
        (Body::Config, r#"{"template":{"t":["x-*"]}}"#, "/template/t"),
        (
            Body::Queue,
            r#"{"fallback":{"priority":-1}}"#,
            "/fallback/priority",
        ),
        (Body::Queue, r#"{"steps":[{"agents":["a/b"]}]}"#, "/steps"),
        (Body::Queue, r#"{"steps":{}}"#, "/steps"),
        (Body::Queue, r#"{"members":["1001"]}"#, "/members"),
        (Body::Queue, r#"{"__proto__":{}}"#, "/__proto__"),
        (Body::Queue, r#"{"a~b/c":1}"#, "/a~0b~1c"),
        (Body::QueuePatch, r#"{"weight":"x"}"#, "/weight"),
        (Body::QueueState, r#"{"open":1}"#, "/open"),
        (Body::QueueState, r#"{}"#, ""),
        (Body::QueueState, r#"{"open":true,"x":1}"#, "/x"),
        (Body::Agent, r#"{"home":["a/b"]}"#, "/home"),
        (Body::Agent, r#"{"home":"a"}"#, "/home"),
        (Body::Agent, r#"{"name":7}"#, "/name"),
        (Body::Agent, r#"{"endpoint":{}}"#, "/endpoint"),
        (Body::Agent, r#"{"queues":["q"]}"#, "/queues"),
        (Body::AgentPatch, r#"{"skills":[7]}"#, "/skills"),
        (Body::Member, r#"{"penalty":-1}"#, "/penalty"),
        (Body::Member, r#"{"penalti":1}"#, "/penalti"),
        (Body::Pause, r#"{"queue":"a/b"}"#, "/queue"),
        (Body::Pause, r#"{"reason":7}"#, "/reason"),
        (Body::Call, r#"{"priority":2147483648}"#, "/priority"),
        (Body::Call, r#"{"queue":""}"#, "/queue"),
        (Body::Withdraw, r#"{"info":[]}"#, "/info"),
        (Body::Node, r#"{"addr":7}"#, "/addr"),
        (Body::Node, r#"{}"#, ""),
        (Body::StepDown, r#"{"to":7}"#, "/to"),
        (Body::Config, r#"{"queu":{}}"#, "/queu"),
        (Body::Config, r#"{"queue":{"a/b":{}}}"#, "/queue/a~1b"),
        (Body::Config, r#"{"agent":{"1@x":{}}}"#, "/agent/1@x"),
        (
            Body::Config,
            r#"{"queue":{"q":{"members":[7]}}}"#,
            "/queue/q/members",
        ),
        (Body::Config, r#"{"template":{"t":{}}}"#, ""),
    ];
    for (body, text, pointer) in wrong {
        let (status, code, pointers) = answer(*body, json, text.as_bytes());
        let got = (status, code, pointers.contains(pointer));
        entries.push(same(
            &format!("{body:?} {text}"),
            got,
            (422, "HF-H01".to_owned(), true),
        ));
    }
    entries.push(same(
        "no declared set at all",
        answer(Body::Config, json, b"").0,
        400,
    ));
    entries.push(same(
        "a declared set that is no UTF-8",
        answer(Body::ConfigToml, json, b"\xff").0,
        400,
    ));
    for query in [
        "limit=0",
        "limit=-1",
        "limit=1001",
        "limit=x",
        "limit=",
        "limi=5",
        "limit=5&limit=6",
        "after=-1",
        "queue=a%2Fb",
        "queue=%00",
        "%ff=1",
    ] {
        let status = parameters(query).map(|problem| problem.status);
        entries.push(same(
            &format!("the parameters {query:?}"),
            status,
            Some(422),
        ));
    }
    entries
}

pub fn declared() -> Vec<Entry> {
    let cases: &[(&str, usize, &str)] = &[
        ("[queue.a]\nring_time = \"15x\"", 2, "is not a duration"),
        (
            "[queue.a]\nstrategy = \"ringal\"",
            2,
            "unknown word \"ringal\"",
        ),
        ("[queue.a]\nwrap_up = -1", 2, "cannot be negative"),
        (
            "[queue.\"a/b\"]\nweight = 1",
            1,
            "queue name \"a/b\" is not allowed",
        ),
        ("[agent.\"1@x\"]", 1, "agent id \"1@x\" is not allowed"),
        (
            "[queue.a]\nmembers = { 1 = { penalti = 1 } }",
            2,
            "unknown field `penalti`",
        ),
        (
            "[queue.a]\nannounce = { position = \"maybe\" }",
            2,
            "unknown word \"maybe\"",
        ),
        ("[queue.a]\nweight = \u{202e}", 2, ""),
        ("[queue.a]\n[queue.a]", 2, "duplicate key"),
        ("[queue.a]\nweight = 1\nweight = 2", 3, "duplicate key"),
        ("[queue.a", 1, ""),
        ("= 1", 1, ""),
        ("queue = 7", 1, ""),
        ("[queues.a]", 1, "did you mean `queue`"),
        ("[queue.a]\nweight = 1e400", 2, ""),
        ("[queue.a]\nweight = 99999999999999999999", 2, ""),
        ("[queue.a]\nweight = 2026-01-01", 2, ""),
        ("[template.t]\nqueue = {}", 1, "pattern"),
        (
            "[task.x]\nextens = '1&2'\nringTime = 1",
            2,
            "agent id \"1&2\" is not allowed",
        ),
        ("[task.x]\nextens = ''\nringTime = 1", 2, "names nobody"),
        (
            "[task.x]\nextens = '1'\nringTime = 0",
            1,
            "the ring time is 0",
        ),
        (
            "[task.'x@2']\nextens = '1'\nringTime = 1",
            1,
            "number them from 1",
        ),
        (
            "[queue.x]\n[task.x]\nextens = '1'\nringTime = 1",
            2,
            "is declared as [queue] too",
        ),
        (
            "[queue.q]\nmembers = ['1']\n[agent.1]\nqueues = { q = { penalty = 3 } }",
            4,
            "say it in one place",
        ),
        (
            "[queue.q]\nmembers = ['1', '1']",
            2,
            "is in this list twice",
        ),
    ];
    let entry = |(text, line, what): &(&str, usize, &str)| {
        let answer = match read_toml("queues.toml", text) {
            Ok(_) => "it was taken".to_owned(),
            Err(error) => error.to_string(),
        };
        let place = format!("queues.toml:{line}:");
        told(&format!("{text:?}"), &answer, &[&place, what])
    };
    cases.iter().map(entry).collect()
}
