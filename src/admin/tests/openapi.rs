//! The OpenAPI description is true: every route and method of the router is in it and nothing else,
//! the roles are those that are asked for, and what a real node answers fits its schemas.

mod bench;

use bench::*;
use holdfast_admin::auth::needed;
use jsonschema::Validator;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

fn document() -> Value {
    serde_json::from_str(include_str!("../openapi.json")).expect("openapi.json is JSON")
}

/// Path, method, operation.
fn operations(document: &Value) -> Vec<(String, String, Map<String, Value>)> {
    let paths = document["paths"].as_object().expect("paths is an object");
    let mut found = Vec::new();
    for (path, item) in paths {
        for method in METHODS {
            if let Some(operation) = item[method].as_object() {
                found.push((path.clone(), method.to_uppercase(), operation.clone()));
            }
        }
    }
    assert!(found.len() > 40, "too few operations to be true");
    found
}

/// The paths that the router's own text names.
fn routes() -> BTreeSet<String> {
    let text = include_str!("../router.rs");
    let calls = text.split(".route(").skip(1);
    let path = |call: &str| {
        call.split('"')
            .nth(1)
            .expect("a route has a path")
            .to_owned()
    };
    calls.map(path).collect()
}

/// A path with names in place of its parameters.
fn example(path: &str) -> String {
    let names = [
        ("{queue}", "q"),
        ("{agent}", "1001"),
        ("{call}", "7"),
        ("{name}", "a"),
    ];
    let fill = |path: String, (mark, name): &(&str, &str)| path.replace(mark, name);
    names.iter().fold(path.to_owned(), fill)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_and_method_is_described_and_nothing_else_is() {
    let bench = Bench::start().await;
    let mut described: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, method, _) in operations(&document()) {
        described.entry(path).or_default().insert(method);
    }
    let told: BTreeSet<String> = described.keys().cloned().collect();
    assert_eq!(told, routes(), "paths of openapi.json and of router.rs");
    for (path, methods) in described {
        // A method that no path has is answered with those that it has.
        let request = bench.ask(Method::OPTIONS, &example(&path));
        let response = request.bearer_auth(ADMIN).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allow = response.headers()["allow"].to_str().unwrap().to_owned();
        let allowed = allow.split(',').filter(|method| *method != "HEAD");
        let allowed: BTreeSet<String> = allowed.map(str::to_owned).collect();
        assert_eq!(methods, allowed, "{path}");
    }
    let (status, served) = answer(bench.ask(Method::GET, "/v1/openapi.json")).await;
    assert_eq!((status, served), (StatusCode::OK, document()));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_an_operation_asks_for_a_token_and_for_which_role_is_said() {
    let bench = Bench::start().await;
    for (path, method, operation) in operations(&document()) {
        let method: Method = method.parse().unwrap();
        let role = needed(&method, &path);
        let open = operation["security"] == json!([]);
        assert_eq!(role.is_none(), open, "{method} {path}");
        let Some(role) = role else {
            continue;
        };
        let said = operation["description"].as_str().unwrap_or_default();
        let wanted = format!("Needs the role {}", role.word());
        assert!(
            said.starts_with(&wanted),
            "{method} {path}: {said:?}, not {wanted:?}"
        );
        let (status, problem) = answer(bench.ask(method.clone(), &example(&path))).await;
        if path != "/metrics" {
            assert_eq!(status, 401, "{method} {path}");
            check(&document(), &path, &method, status, &problem);
        }
        if role > holdfast_admin::Role::Viewer {
            let request = bench
                .ask(method.clone(), &example(&path))
                .bearer_auth(VIEWER);
            let (status, problem) = answer(request).await;
            assert_eq!(status, 403, "{method} {path}");
            check(&document(), &path, &method, status, &problem);
        }
    }
    bench.stop().await;
}

/// The schema of an answer, with what it refers to.
fn schema(document: &Value, path: &str, method: &Method, status: StatusCode) -> Value {
    let operation = &document["paths"][path][method.as_str().to_lowercase()];
    let mut response = &operation["responses"][status.as_str()];
    assert!(
        !response.is_null(),
        "{method} {path} answers {status}, which is not described"
    );
    if let Some(name) = response["$ref"].as_str() {
        let name = name.rsplit('/').next().expect("a reference has a name");
        response = &document["components"]["responses"][name];
    }
    let content = response["content"].as_object().expect("a content");
    let json = content.iter().find(|(kind, _)| kind.contains("json"));
    let (_, media) = json.unwrap_or_else(|| panic!("{method} {path} {status} has no JSON"));
    let mut schema = media["schema"].clone();
    schema["components"] = document["components"].clone();
    schema
}

fn check(document: &Value, path: &str, method: &Method, status: StatusCode, body: &Value) {
    let schema = schema(document, path, method, status);
    let validator: Validator = jsonschema::validator_for(&schema)
        .unwrap_or_else(|error| panic!("{method} {path}: the schema is wrong: {error}"));
    let wrong: Vec<String> = validator
        .iter_errors(body)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(
        wrong.is_empty(),
        "{method} {path} {status}: {wrong:?} in {body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_answers_fits_the_schemas() {
    let bench = Bench::start().await;
    let document = document();
    let full = json!({
        "strategy": "rrmemory", "ring_time": "1m30s", "max_wait": 300, "maxlen": 5,
        "join_empty": "strict", "leave_when_empty": ["paused"], "exit_keys": ["#"],
        "exit_context": "out", "fallback": {"context": "night", "priority": 1},
        "announce": {"position": "limit", "hold_time": "once", "periodic": ["a"], "every": 30},
        "steps": [{"after": 0, "agents": ["1001"]}, {"after": "5s", "strategy": "linear"}],
    });
    let config = json!({
        "queue": {"other": {"members": ["1001"]}}, "agent": {"1001": {}},
        "template": {"desk": {"pattern": "desk-*", "queue": {"members": {"1001": {"penalty": 1}}}}},
    });
    let writes = [
        (Method::PUT, "/v1/queues/{queue}", full, 200),
        (
            Method::PUT,
            "/v1/queues/{queue}",
            json!({"weight": "x"}),
            422,
        ),
        (
            Method::PATCH,
            "/v1/queues/{queue}",
            json!({"weight": 3}),
            200,
        ),
        (Method::PATCH, "/v1/queues/{queue}", json!([]), 400),
        (
            Method::PUT,
            "/v1/queues/{queue}/state",
            json!({"open": true}),
            200,
        ),
        (
            Method::PUT,
            "/v1/agents/{agent}",
            json!({"name": "A", "home": ["a"], "endpoint": "PJSIP/1"}),
            200,
        ),
        (
            Method::PATCH,
            "/v1/agents/{agent}",
            json!({"skills": ["x"]}),
            200,
        ),
        (
            Method::PUT,
            "/v1/queues/{queue}/members/{agent}",
            json!({"wrap_up": "5s"}),
            200,
        ),
        (Method::PUT, "/v1/agents/{agent}/session", json!({}), 200),
        (
            Method::PUT,
            "/v1/agents/{agent}/pause",
            json!({"reason": "tea", "queue": "q"}),
            200,
        ),
        (
            Method::PUT,
            "/v1/agents/{agent}/pause",
            json!({"reason": "lunch"}),
            200,
        ),
        (Method::PUT, "/v1/config", config.clone(), 200),
        (Method::PUT, "/v1/config", json!({"queu": {}}), 422),
        (
            Method::PATCH,
            "/v1/calls/{call}",
            json!({"priority": 1}),
            404,
        ),
        (Method::POST, "/v1/calls/{call}/withdraw", json!({}), 404),
        (Method::DELETE, "/v1/agents/{agent}/pause", json!({}), 200),
        (Method::PUT, "/v1/agents/{agent}/ready", json!({}), 200),
    ];
    let mut seen = BTreeSet::new();
    for (method, path, body, wanted) in writes {
        let (status, said) = bench.send(method.clone(), &example(path), body).await;
        assert_eq!(status.as_u16(), wanted, "{method} {path}: {said}");
        check(&document, path, &method, status, &said);
        seen.insert(format!("{method} {path}"));
    }
    for (path, method, operation) in operations(&document) {
        let kinds = operation["responses"]["200"]["content"].as_object();
        let json = kinds.is_some_and(|kinds| kinds.contains_key("application/json"));
        if method != "GET" || !json {
            continue;
        }
        let (status, body) = bench.get(&example(&path)).await;
        check(&document, &path, &Method::GET, status, &body);
        seen.insert(format!("GET {path} {status}"));
    }
    // There is no caller here: whoever waits is seen by schemathesis and the stories.
    let missing = |entry: &&String| entry.starts_with("GET") && !entry.ends_with("200 OK");
    let not_found: Vec<&String> = seen.iter().filter(missing).collect();
    assert!(
        not_found
            .iter()
            .all(|entry| entry.contains("/v1/calls/{call}")),
        "{not_found:?}"
    );
    let stale = bench.ask(Method::DELETE, "/v1/queues/q").bearer_auth(ADMIN);
    let (status, said) = answer(stale.header("if-match", "\"1\"")).await;
    assert_eq!(status, 412);
    check(
        &document,
        "/v1/queues/{queue}",
        &Method::DELETE,
        status,
        &said,
    );
    for (path, wanted) in [
        ("/v1/queues/{queue}/members/{agent}", 200),
        ("/v1/queues/{queue}", 200),
        ("/v1/agents/{agent}/session", 200),
        ("/v1/agents/{agent}", 200),
    ] {
        let (status, said) = bench.send(Method::DELETE, &example(path), json!({})).await;
        assert_eq!(status.as_u16(), wanted, "{path}: {said}");
        check(&document, path, &Method::DELETE, status, &said);
    }
    bench.stop().await;
}
