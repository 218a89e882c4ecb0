//! The endpoints over real sockets, beside a real single node that has no Asterisk.

mod bench;

use holdfast_admin::Server;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use bench::*;

#[tokio::test(flavor = "multi_thread")]
async fn queues_agents_and_members_are_written_read_and_deleted() {
    let bench = Bench::start().await;
    let made = bench
        .put(
            "/v1/queues/support",
            json!({"timeout": 20, "max_wait": "5m"}),
        )
        .await;
    let (_, queue) = bench.get("/v1/queues/support").await;
    assert_eq!(queue["revision"], made);
    assert_eq!(queue["settings"]["ring_time"], "20s");
    bench
        .put("/v1/agents/1001", json!({"name": "Alice", "nodes": ["a"]}))
        .await;
    bench
        .put("/v1/queues/support/members/1001", json!({"penalty": 2}))
        .await;
    bench.put("/v1/agents/1001/session", json!({})).await;
    bench
        .put("/v1/agents/1001/pause", json!({"reason": "lunch"}))
        .await;
    let (_, agent) = bench.get("/v1/agents/1001").await;
    assert_eq!(
        (&agent["state"], &agent["pause"]["reason"]),
        (&json!("paused"), &json!("lunch"))
    );
    let (_, members) = bench.get("/v1/queues/support/members").await;
    assert_eq!(members["items"][0]["settings"]["penalty"], 2);
    let patch = json!({"announce": {"every": 30}, "max_wait": null});
    let (status, _) = bench.send(Method::PATCH, "/v1/queues/support", patch).await;
    assert_eq!(status, StatusCode::OK);
    bench
        .put("/v1/queues/support/state", json!({"open": false}))
        .await;
    let (_, queue) = bench.get("/v1/queues/support").await;
    let settings = &queue["settings"];
    assert_eq!(
        (&settings["announce"]["frequency"], &settings["max_wait"]),
        (&json!("30s"), &Value::Null)
    );
    assert_eq!(
        (&settings["ring_time"], &settings["open"]),
        (&json!("20s"), &json!(false))
    );
    for path in [
        "/v1/queues/support/members/1001",
        "/v1/agents/1001",
        "/v1/queues/support",
    ] {
        let (status, body) = bench.send(Method::DELETE, path, json!({})).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        assert_eq!(bench.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_does_not_hold_changes_nothing() {
    let bench = Bench::start().await;
    let first = bench.put("/v1/queues/q", json!({"weight": 1})).await;
    let second = bench.put("/v1/queues/q", json!({"weight": 2})).await;
    let conditional = async |name: &str, value: String| {
        let request = bench.ask(Method::PUT, "/v1/queues/q").bearer_auth(ADMIN);
        answer(request.header(name, value).json(&json!({"weight": 3}))).await
    };
    assert_eq!(conditional("if-match", format!("\"{first}\"")).await.0, 412);
    assert_eq!(conditional("if-none-match", "*".into()).await.0, 412);
    assert_eq!(bench.get("/v1/queues/q").await.1["settings"]["weight"], 2);
    assert_eq!(
        conditional("if-match", format!("\"{second}\"")).await.0,
        200
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_done_once_and_with_another_body_refused() {
    let bench = Bench::start().await;
    let keyed = async |weight: u32| {
        let request = bench.ask(Method::PUT, "/v1/queues/q").bearer_auth(ADMIN);
        answer(
            request
                .header("idempotency-key", "k-1")
                .json(&json!({"weight": weight})),
        )
        .await
    };
    let (_, first) = keyed(1).await;
    let (status, again) = keyed(1).await;
    assert_eq!((status, again), (StatusCode::OK, first));
    let (status, problem) = keyed(2).await;
    assert_eq!(status, 422);
    assert_eq!(problem["type"], "urn:holdfast:error:idempotency-key-reused");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_under_the_same_key_is_done_once_and_with_another_body_refused() {
    let bench = Bench::start().await;
    bench.put("/v1/queues/q", json!({"weight": 1})).await;
    bench.put("/v1/agents/1001", json!({"name": "A"})).await;
    let keyed = async |method: Method, path: &str, key: &str, body: Value| {
        let request = bench.ask(method, path).bearer_auth(ADMIN);
        answer(request.header("idempotency-key", key).json(&body)).await
    };
    let cases = [
        (
            Method::PATCH,
            "/v1/queues/q",
            json!({"weight": 5}),
            json!({"weight": 6}),
        ),
        (
            Method::PUT,
            "/v1/queues/q/state",
            json!({"open": false}),
            json!({"open": true}),
        ),
        (
            Method::PATCH,
            "/v1/agents/1001",
            json!({"name": "B"}),
            json!({"name": "C"}),
        ),
    ];
    for (n, (method, path, body, other)) in cases.into_iter().enumerate() {
        let key = format!("p-{n}");
        let first = keyed(method.clone(), path, &key, body.clone()).await;
        assert_eq!(first.0, StatusCode::OK, "{path}: {}", first.1);
        // Changed by somebody else; the repetition must not undo that.
        bench.put("/v1/queues/q", json!({"weight": 9})).await;
        bench.put("/v1/agents/1001", json!({"name": "Z"})).await;
        assert_eq!(
            keyed(method.clone(), path, &key, body).await,
            first,
            "{path}"
        );
        assert_eq!(bench.get("/v1/queues/q").await.1["settings"]["weight"], 9);
        assert_eq!(
            bench.get("/v1/agents/1001").await.1["settings"]["name"],
            "Z"
        );
        let (status, problem) = keyed(method, path, &key, other).await;
        assert_eq!(status, 422, "{path}: {problem}");
        assert_eq!(problem["type"], "urn:holdfast:error:idempotency-key-reused");
    }
    // A key that was used for a PUT is used for a PATCH too.
    keyed(Method::PUT, "/v1/queues/q", "both", json!({"weight": 3})).await;
    let (status, _) = keyed(Method::PATCH, "/v1/queues/q", "both", json!({"weight": 3})).await;
    assert_eq!(status, 422);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_shape_that_clients_rely_on() {
    let bench = Bench::start().await;
    let refused = async |method: Method, path: &str, token: &str, body: &str| {
        let mut request = bench.ask(method, path).header("x-request-id", "r1");
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        let request = request
            .header("content-type", "application/json")
            .body(body.to_owned());
        let response = request.send().await.unwrap();
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json",
            "{path}"
        );
        assert_eq!(response.headers()["x-request-id"], "r1");
        assert_eq!(response.headers()["x-holdfast-served-by"], "a");
        let problem: Value = response.json().await.unwrap();
        problem
    };
    let golden = json!({
        "type": "urn:holdfast:error:no-such-queue",
        "title": "there is no such queue",
        "status": 404,
        "code": "HF-Q01",
        "detail": "there is no queue nope",
        "instance": "/v1/queues/nope",
        "request_id": "r1",
    });
    assert_eq!(
        refused(Method::GET, "/v1/queues/nope", ADMIN, "").await,
        golden
    );
    let golden = json!({
        "type": "urn:holdfast:error:invalid",
        "title": "a value is wrong",
        "status": 422,
        "code": "HF-H01",
        "detail": "the body, the path or a parameter is wrong: /weight: invalid type: string \"x\", expected u32",
        "instance": "/v1/queues/q",
        "request_id": "r1",
        "errors": [{"pointer": "/weight", "detail": "invalid type: string \"x\", expected u32"}],
    });
    assert_eq!(
        refused(Method::PUT, "/v1/queues/q", ADMIN, r#"{"weight":"x"}"#).await,
        golden
    );
    let long = format!("/v1/queues/{}", "x".repeat(10_000));
    let wide = " ".repeat(70_000);
    let cases = [
        (Method::GET, "/v1/queues", "", "", 401, "unauthenticated"),
        (
            Method::GET,
            "/v1/queues",
            "wrong-token-0123456789",
            "",
            401,
            "unauthenticated",
        ),
        (Method::PUT, "/v1/queues/q", VIEWER, "{}", 403, "forbidden"),
        (Method::GET, "/v1/nothing", ADMIN, "", 404, "not-found"),
        (
            Method::POST,
            "/v1/queues/q",
            ADMIN,
            "{}",
            405,
            "method-not-allowed",
        ),
        (Method::PUT, "/v1/queues/q", ADMIN, "{", 400, "bad-request"),
        (
            Method::PUT,
            "/v1/queues/q",
            ADMIN,
            &wide,
            413,
            "payload-too-large",
        ),
        (Method::PUT, "/v1/queues/a%2Fb", ADMIN, "{}", 422, "invalid"),
        (Method::PUT, "/v1/queues/a%00b", ADMIN, "{}", 422, "invalid"),
        (Method::PUT, long.as_str(), ADMIN, "{}", 422, "invalid"),
        (Method::GET, "/v1/queues/%FF", ADMIN, "", 400, "bad-request"),
        (Method::GET, "/v1/queues?limit=0", ADMIN, "", 422, "invalid"),
        (Method::GET, "/v1/queues?limt=1", ADMIN, "", 422, "invalid"),
        (Method::GET, "/v1/calls/7", ADMIN, "", 404, "no-such-call"),
        (Method::PATCH, "/v1/calls/7", ADMIN, "{}", 422, "invalid"),
        (
            Method::PUT,
            "/v1/agents/9/session",
            ADMIN,
            "",
            404,
            "no-such-agent",
        ),
        (Method::GET, "/v1/events?since=x", ADMIN, "", 422, "invalid"),
    ];
    for (method, path, token, body, status, word) in cases {
        let problem = refused(method.clone(), path, token, body).await;
        let shown: String = path.chars().take(60).collect();
        assert_eq!(problem["status"], status, "{method} {shown}: {problem}");
        assert_eq!(
            problem["type"],
            format!("urn:holdfast:error:{word}"),
            "{method} {shown}"
        );
        assert!(problem.to_string().len() < 2_000, "{method} {shown}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_declared_set_is_shown_compared_and_put_as_a_whole() {
    let bench = Bench::start().await;
    let body = json!({
        "queue": {"support": {"members": ["1001"]}, "old": {}},
        "agent": {"1001": {"name": "Alice"}},
    });
    let (_, dry) = bench
        .send(Method::PUT, "/v1/config?dry_run=true", body.clone())
        .await;
    assert_eq!(dry["changes"].as_array().unwrap().len(), 4, "{dry}");
    assert_eq!(bench.get("/v1/queues").await.1["items"], json!([]));
    let (status, done) = bench.send(Method::PUT, "/v1/config", body.clone()).await;
    assert_eq!(status, StatusCode::OK, "{done}");
    let (_, again) = bench
        .send(Method::PUT, "/v1/config?dry_run=true&prune=true", body)
        .await;
    assert_eq!(
        again["changes"],
        json!([]),
        "what was put is there, and nothing else"
    );
    let request = bench.ask(Method::GET, "/v1/config").bearer_auth(ADMIN);
    let (_, file) = answer(request.header("accept", "application/toml")).await;
    let file = file.as_str().unwrap().replace("[queue.old]\n", "");
    let put = async |revision: u64| {
        let request = bench
            .ask(Method::PUT, "/v1/config?prune=true")
            .bearer_auth(ADMIN);
        let request = request.header("if-match", format!("\"{revision}\""));
        answer(
            request
                .header("content-type", "application/toml")
                .body(file.clone()),
        )
        .await
    };
    let revision = done["revision"].as_u64().unwrap();
    assert_eq!(put(revision - 1).await.0, StatusCode::PRECONDITION_FAILED);
    let (status, pruned) = put(revision).await;
    assert_eq!(status, StatusCode::OK, "{pruned}");
    assert_eq!(
        pruned["changes"][0],
        json!({"kind": "queue", "name": "old", "action": "remove"})
    );
    assert_eq!(bench.get("/v1/queues/old").await.0, StatusCode::NOT_FOUND);
    let (status, problem) = bench
        .send(Method::PUT, "/v1/config", json!({"queu": {}}))
        .await;
    assert_eq!(
        (status.as_u16(), &problem["errors"][0]["pointer"]),
        (422, &json!("/queu"))
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_stream_goes_on_behind_its_cursor() {
    let bench = Bench::start().await;
    let open = async |path: &str, last: Option<&str>| {
        let mut request = bench.ask(Method::GET, path).bearer_auth(ADMIN);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        request.send().await.unwrap()
    };
    let mut stream = open("/v1/events", None).await;
    bench.put("/v1/queues/one", json!({})).await;
    bench.put("/v1/agents/1001", json!({})).await;
    let text = read_until(&mut stream, "agent_changed").await;
    assert!(text.starts_with("id: "), "{text}");
    let snapshot = text
        .find("event: snapshot")
        .expect("begins with a snapshot");
    assert!(snapshot < text.find("event: queue_changed").unwrap());
    let led = "\n\nevent: leader\ndata: {\"leader\":\"a\",\"term\":";
    assert!(text.contains(led), "who leads is told: {text}");
    let cursor = text
        .split("\n\n")
        .find(|frame| frame.contains("event: queue_changed"))
        .and_then(|frame| frame.lines().find_map(|line| line.strip_prefix("id: ")))
        .unwrap()
        .to_owned();
    let mut leaders = open("/v1/events?type=leader", Some(&cursor)).await;
    let only = read_until(&mut leaders, "event: leader").await;
    assert!(!only.contains("id: "), "it moves no cursor: {only}");
    let mut again = open("/v1/events", Some(&cursor)).await;
    let text = read_until(&mut again, "agent_changed").await;
    assert!(
        !text.contains("snapshot") && !text.contains("queue_changed"),
        "{text}"
    );
    let mut one = open("/v1/events?queue=two&since=0", None).await;
    bench.put("/v1/queues/two", json!({})).await;
    let text = read_until(&mut one, "\"queue\":\"two\"").await;
    assert!(!text.contains("\"queue\":\"one\""), "{text}");
    let mut future = open("/v1/events?since=1000000", None).await;
    assert!(
        read_until(&mut future, "snapshot")
            .await
            .starts_with("event: reset")
    );
    bench.stop().await;
}

async fn read_until(stream: &mut reqwest::Response, wanted: &str) -> String {
    let mut text = String::new();
    let read = async {
        while !text.contains(wanted) {
            let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("the event comes");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_readiness_name_what_is_there() {
    let bench = Bench::start().await;
    bench.put("/v1/queues/support", json!({})).await;
    let metrics = bench.get("/metrics").await.1;
    let metrics = metrics.as_str().unwrap();
    for line in [
        "holdfast_queue_calls_waiting{queue=\"support\"} 0",
        "holdfast_raft_is_leader 1",
        "holdfast_ari_connected 0",
        "holdfast_dispatch_delay_seconds_bucket{le=\"+Inf\"} 0",
        "# EOF",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is missing in\n{metrics}"
        );
    }
    let verbose = bench.get("/readyz?verbose").await.1;
    assert!(
        verbose.as_str().unwrap().contains("[+]cluster leader a"),
        "{verbose}"
    );
    let cluster = bench.get("/v1/cluster").await.1;
    assert_eq!(
        (&cluster["leader"], &cluster["healthy"]),
        (&json!("a"), &json!(true))
    );
    assert_eq!(bench.get("/v1/cluster/members/a").await.1["voter"], true);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unix_socket_needs_no_token_and_belongs_to_its_user() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::start().await;
    let path = bench.dir.path().join("admin.sock");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let local = reqwest::Client::builder()
        .unix_socket(path.clone())
        .build()
        .unwrap();
    let response = local
        .put("http://localhost/v1/queues/q")
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    bench.stop().await;
    assert!(!path.exists(), "a stopped node leaves no socket");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_no_head_is_cut_off_and_others_are_served() {
    let bench = Bench::start().await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(bench.server.addr).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nX-Slow: ")
            .await
            .unwrap();
        slow.push(stream);
    }
    assert_eq!(bench.get("/livez").await.0, StatusCode::OK);
    for mut stream in slow {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "the connection is still open");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_and_an_open_address_are_refused_with_what_to_do() {
    let bench = Bench::start().await;
    let listen = |tcp: String| holdfast_admin::Listen {
        tcp: tcp.parse().unwrap(),
        socket: None,
        insecure_http: false,
    };
    let start = async |tcp: String| {
        let app = holdfast_admin::App::new(bench.node.handle(), Default::default(), false);
        Server::start(holdfast_admin::router(app), listen(tcp), Default::default())
            .await
            .err()
            .map(|e| e.to_string())
    };
    let busy = start(bench.server.addr.to_string())
        .await
        .expect("the port is in use");
    assert!(busy.contains("free the port"), "{busy}");
    let open = start("0.0.0.0:0".into()).await.expect("not loopback");
    assert!(open.contains("insecure_http"), "{open}");
    bench.stop().await;
}
