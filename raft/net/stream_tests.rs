//! What becomes of appends when the stream to a node, or the node behind it, is not as it should be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::http::Http;
use super::transport::{Call, CallError, Wire};
use crate::Secret;

/// Long enough for a slow machine.
const LONG: Duration = Duration::from_secs(20);

/// A node that lets this be done on each connection to it, and counts them.
async fn node<F>(
    on: impl Fn(TcpStream, usize) -> F + Send + 'static,
) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(on(stream, counter.fetch_add(1, Ordering::SeqCst)));
        }
    });
    (addr, count)
}

fn append(addr: SocketAddr, body: &[u8], deadline: Duration) -> Call {
    Call {
        from: "a".into(),
        addr: addr.to_string(),
        kind: "append",
        bulk: false,
        secret: Secret::new("a-secret-of-sixteen"),
        body: body.to_vec(),
        deadline,
    }
}

/// Reads the head of a request.
async fn head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).to_lowercase())
}

async fn upgrade(stream: &mut TcpStream) -> std::io::Result<()> {
    let head = head(stream).await?;
    assert!(head.starts_with("get /raft/stream http/1.1\r\n"), "{head}");
    assert!(
        head.contains("authorization: bearer a-secret-of-sixteen\r\n"),
        "{head}"
    );
    let switching = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: holdfast-appends\r\n\r\n";
    stream.write_all(switching.as_bytes()).await
}

/// Number and body of a request.
async fn request(stream: &mut TcpStream) -> std::io::Result<(u32, Vec<u8>)> {
    let length = stream.read_u32_le().await?;
    let number = stream.read_u32_le().await?;
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body).await?;
    Ok((number, body))
}

async fn answer(
    stream: &mut TcpStream,
    number: u32,
    status: u16,
    body: &[u8],
) -> std::io::Result<()> {
    stream.write_u32_le(6 + body.len() as u32).await?;
    stream.write_u32_le(number).await?;
    stream.write_u16_le(status).await?;
    stream.write_all(body).await
}

#[tokio::test]
async fn appends_share_a_stream_and_are_answered_in_any_order() {
    let heard = Arc::new(Notify::new());
    let first_came = heard.clone();
    let (addr, count) = node(move |mut stream, _| {
        let heard = heard.clone();
        async move {
            upgrade(&mut stream).await?;
            let first = request(&mut stream).await?;
            heard.notify_one();
            let second = request(&mut stream).await?;
            answer(&mut stream, second.0, 200, &second.1).await?;
            answer(&mut stream, first.0, 409, b"why not").await?;
            head(&mut stream).await.map(drop)
        }
    })
    .await;
    let http = Http::new().unwrap();
    let one = http.call(append(addr, b"1", LONG));
    let two = async {
        first_came.notified().await;
        http.call(append(addr, b"2", LONG)).await
    };
    let (one, two) = tokio::join!(one, two);
    assert!(
        matches!(&one, Err(CallError::Refused(why)) if why == "409: why not"),
        "{one:?}"
    );
    assert_eq!(two.unwrap(), b"2");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_node_that_knows_no_streams_is_sent_appends_by_http() {
    let (addr, _) = node(|mut stream, _| async move {
        loop {
            let head = head(&mut stream).await?;
            let (status, body) = match head.starts_with("post /raft/append ") {
                true => {
                    assert_eq!(stream.read_u8().await?, b'x');
                    ("200 OK", "done")
                }
                false => ("404 Not Found", "no such message"),
            };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await?;
        }
    })
    .await;
    let http = Http::new().unwrap();
    for _ in 0..3 {
        assert_eq!(http.call(append(addr, b"x", LONG)).await.unwrap(), b"done");
    }
}

#[tokio::test]
async fn a_stream_on_which_one_waited_in_vain_is_replaced() {
    let (addr, count) = node(|mut stream, number| async move {
        upgrade(&mut stream).await?;
        loop {
            let (asked, body) = request(&mut stream).await?;
            if number > 0 {
                answer(&mut stream, asked, 200, &body).await?;
            }
        }
    })
    .await;
    let http = Http::new().unwrap();
    let short = Duration::from_millis(200);
    let late = http.call(append(addr, b"1", short)).await;
    assert!(matches!(late, Err(CallError::Late)), "{late:?}");
    assert_eq!(http.call(append(addr, b"2", LONG)).await.unwrap(), b"2");
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_and_what_was_on_it_is_lost() {
    let (addr, count) = node(|mut stream, _| async move {
        upgrade(&mut stream).await?;
        let (asked, body) = request(&mut stream).await?;
        answer(&mut stream, asked, 200, &body).await?;
        request(&mut stream).await?;
        Ok(())
    })
    .await;
    let http = Http::new().unwrap();
    for round in 1..=3 {
        assert_eq!(http.call(append(addr, b"1", LONG)).await.unwrap(), b"1");
        let lost = http.call(append(addr, b"2", LONG)).await;
        assert!(matches!(lost, Err(CallError::Lost(_))), "{lost:?}");
        assert_eq!(count.load(Ordering::SeqCst), round);
    }
}

#[tokio::test]
async fn where_nobody_listens_that_is_told() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = gone.local_addr().unwrap();
    drop(gone);
    let answer = Http::new().unwrap().call(append(addr, b"1", LONG)).await;
    assert!(
        matches!(answer, Err(CallError::NobodyListens(_))),
        "{answer:?}"
    );
}
