//! What is needed of Redis's protocol, RESP 2: a command as bytes, and one reply. Shared by the parts that
//! have a Redis beside them.
//!
//! It keeps no connection and gives no deadline: that is for whoever asks.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Longest text and longest list that are taken.
const LENGTH_MAX: i64 = 1 << 20;

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`, and the values of keys.
    Text(String),
    /// There is no such key, or the condition of a `SET` did not hold.
    Nothing,
    Number(i64),
    List(Vec<Reply>),
    Refused(String),
}

/// One command as it goes over the wire.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend(*word);
        out.extend(b"\r\n");
    }
    out
}

/// Reads one reply. Lists hold no lists here.
pub async fn reply(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Reply> {
    let (kind, rest) = line(from).await?;
    if kind != b'*' {
        return single(from, kind, rest).await;
    }
    let mut list = Vec::new();
    for _ in 0..length(&rest)? {
        let (kind, rest) = line(from).await?;
        list.push(single(from, kind, rest).await?);
    }
    Ok(Reply::List(list))
}

async fn single(from: &mut (impl AsyncBufRead + Unpin), kind: u8, rest: String) -> Result<Reply> {
    match kind {
        b'+' => Ok(Reply::Text(rest)),
        b'-' => Ok(Reply::Refused(rest)),
        b':' => rest
            .parse()
            .map(Reply::Number)
            .map_err(|_| no_reply("a number")),
        b'$' if rest.starts_with('-') => Ok(Reply::Nothing),
        b'$' => {
            let mut text = vec![0; length(&rest)? + 2];
            from.read_exact(&mut text).await?;
            text.truncate(text.len() - 2);
            Ok(Reply::Text(String::from_utf8_lossy(&text).into_owned()))
        }
        _ => Err(no_reply("a kind of reply")),
    }
}

async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> Result<(u8, String)> {
    let mut line = String::new();
    from.read_line(&mut line).await?;
    let mut rest = line.trim_end().chars();
    match rest.next() {
        Some(kind) if kind.is_ascii() => Ok((kind as u8, rest.collect())),
        Some(_) => Err(no_reply("a kind of reply")),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}

fn length(text: &str) -> Result<usize> {
    let length = text.parse().ok().filter(|it| (0..=LENGTH_MAX).contains(it));
    let length = length.and_then(|it: i64| usize::try_from(it).ok());
    length.ok_or_else(|| no_reply("a length"))
}

fn no_reply(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("that is not {what}"))
}
