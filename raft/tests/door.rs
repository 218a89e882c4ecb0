//! What strangers and broken clients get at the node-to-node listener.

mod common;

use std::time::Duration;

use common::{Cluster, slow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const KINDS: [&str; 11] = [
    "append", "vote", "snapshot", "ping", "hello", "adopt", "forward", "read", "admin", "elect",
    "journal",
];

/// Sends raw bytes, gives the status line (or nothing, if the other side just closed).
async fn send(cluster: &Cluster, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(cluster.addrs[0]).await.unwrap();
    // The answer may come, and the door close, before all is sent.
    let _ = stream.write_all(request).await;
    let mut answer = vec![0; 64];
    let read = tokio::time::timeout(Duration::from_secs(40), stream.read(&mut answer));
    let len = read.await.expect("an answer or a closed door").unwrap_or(0);
    String::from_utf8_lossy(&answer[..len])
        .lines()
        .next()
        .unwrap_or_default()
        .to_string()
}

fn post(kind: &str, token: &str, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    let mut request = format!(
        "POST /raft/{kind} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: {len}\r\nconnection: close\r\n\r\n"
    )
    .into_bytes();
    request.extend(body);
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_garbage_and_giants_are_refused_and_do_no_harm() {
    let cluster = Cluster::start(1, slow).await;
    let good = common::SECRET.replace(' ', "-");
    for kind in KINDS {
        for token in ["", "wrong", "another-secret-of-16", &good[..good.len() - 1]] {
            let status = send(&cluster, &post(kind, token, b"x")).await;
            assert!(status.contains("401"), "{kind} {token:?}: {status}");
        }
        for body in [
            &b""[..],
            b"x",
            &[1; 40],
            &[0xff; 4096],
            b"\x01\0\0\0\0\xff\xff",
        ] {
            let status = send(&cluster, &post(kind, &good, body)).await;
            assert!(
                status.contains("400"),
                "{kind} {} bytes: {status}",
                body.len()
            );
        }
        let mut giant = post(kind, &good, b"");
        let text = String::from_utf8(giant.clone()).unwrap();
        giant = text
            .replace("content-length: 0", "content-length: 99999999999")
            .into_bytes();
        let status = send(&cluster, &giant).await;
        assert!(status.contains("413"), "{kind}: {status}");
    }
    let status = send(&cluster, &post("nothing", &good, b"")).await;
    assert!(status.contains("404"), "{status}");
    let status = send(&cluster, b"GET /raft/hello HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(status.contains("401"), "{status}");
    // A body that says it is endless is cut off at the limit.
    let mut chunked = format!(
        "POST /raft/ping HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {good}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for _ in 0..3 {
        chunked.extend(b"10000\r\n");
        chunked.extend([b'x'; 0x10000]);
        chunked.extend(b"\r\n");
    }
    let status = send(&cluster, &chunked).await;
    assert!(status.contains("413"), "{status}");
    cluster.add(0, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_header_and_half_a_body_are_not_waited_for() {
    let cluster = Cluster::start(1, slow).await;
    let good = common::SECRET.replace(' ', "-");
    let half_header = send(&cluster, b"POST /raft/vote HTTP/1.1\r\nhos");
    let mut half_body = post("vote", &good, b"0123456789");
    half_body.truncate(half_body.len() - 5);
    let half_body = send(&cluster, &half_body);
    let (header, body) = tokio::join!(half_header, half_body);
    assert!(header.is_empty() || header.contains("408"), "{header}");
    assert!(body.contains("408"), "{body}");
    cluster.add(0, 1).await;
}

/// Asks for a stream; its connection, and the status line of the answer.
async fn stream(cluster: &Cluster, token: &str, upgrade: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(cluster.addrs[0]).await.unwrap();
    let head = format!(
        "GET /raft/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{upgrade}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8_lossy(&answer).to_string();
    (stream, answer.lines().next().unwrap_or_default().into())
}

const UPGRADE: &str = "connection: upgrade\r\nupgrade: holdfast-appends\r\n";

/// All that comes until the other side ends it.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(40), stream.read_to_end(&mut rest));
    // It may end with a reset.
    let _ = read.await.expect("it ends");
    rest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_for_those_with_the_secret_and_garbage_on_it_does_no_harm() {
    let cluster = Cluster::start(1, slow).await;
    let good = common::SECRET.replace(' ', "-");
    let (_, status) = stream(&cluster, "wrong", UPGRADE).await;
    assert!(status.contains("401"), "{status}");
    for upgrade in ["", "connection: upgrade\r\nupgrade: websocket\r\n"] {
        let (_, status) = stream(&cluster, &good, upgrade).await;
        assert!(status.contains("426"), "{status}");
    }
    let mut giant = u32::to_le_bytes(99_999_999).to_vec();
    giant.extend([7; 64]);
    for garbage in [&b"\x03\0\0\0abc"[..], &b"\0\0\0\0"[..], &giant] {
        let (mut it, status) = stream(&cluster, &good, UPGRADE).await;
        assert!(status.contains("101"), "{status}");
        it.write_all(garbage).await.unwrap();
        assert_eq!(rest(&mut it).await, b"", "{garbage:?}");
    }
    // Of a frame with a body that is none, the reason is told, and the stream goes on.
    let (mut it, _) = stream(&cluster, &good, UPGRADE).await;
    for number in [7u32, 8] {
        it.write_all(b"\x09\0\0\0").await.unwrap();
        it.write_all(&number.to_le_bytes()).await.unwrap();
        it.write_all(b"abcde").await.unwrap();
        let length = it.read_u32_le().await.unwrap() as usize;
        let mut answer = vec![0; length];
        it.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..4], number.to_le_bytes());
        assert_eq!(answer[4..6], 400u16.to_le_bytes());
    }
    // Who says nothing more is not kept.
    assert_eq!(rest(&mut it).await, b"");
    cluster.add(0, 1).await;
}
