//! Files of a data folder that were cut, flipped, mixed up or written by somebody else.

use crate::{Entry, same, told};
use holdfast_acd::State;
use holdfast_node::AcdMachine;
use holdfast_raft::{Machine, doors};

fn scanned(bytes: &[u8], number: u64, newest: bool) -> String {
    match doors::scan(bytes, number, newest) {
        Ok(None) => "empty".into(),
        Ok(Some(scan)) => format!("good up to {}", scan.good_len),
        Err(error) => error.to_string(),
    }
}

fn restored(bytes: &[u8]) -> String {
    match doors::restore::<AcdMachine>(bytes) {
        Ok(_) => "it was taken".into(),
        Err(why) => why,
    }
}

fn voted(bytes: &[u8]) -> String {
    match doors::vote(bytes) {
        Ok(term) => format!("term {term:?}"),
        Err(error) => error.to_string(),
    }
}

/// The middle of a file, flipped.
fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x10;
    bytes
}

pub fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    entries.extend(segments());
    entries.extend(snapshots());
    entries.extend(small_files());
    entries
}

fn segments() -> Vec<Entry> {
    let root =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../raft/tests/golden/data-0.1.0");
    let log = std::fs::read(root.join("log/00000000000000000000.log")).expect("the golden log");
    let good = format!("good up to {}", log.len());
    let cut = &log[..log.len() - 7];
    let damage = ["damaged"];
    let header_future = {
        let mut log = log.clone();
        log[4] = 9;
        log
    };
    vec![
        same(
            "a segment as it was kept",
            scanned(&log, 0, false),
            good.clone(),
        ),
        same(
            "no bytes in the newest",
            scanned(b"", 0, true),
            "empty".into(),
        ),
        told(
            "no bytes in an older one",
            &scanned(b"", 0, false),
            &["too short"],
        ),
        same(
            "half a header in the newest",
            scanned(&log[..11], 0, true),
            "empty".into(),
        ),
        told(
            "half a header in an older one",
            &scanned(&log[..11], 0, false),
            &["too short"],
        ),
        same(
            "zeros in the newest",
            scanned(&[0; 4096], 0, true),
            "empty".into(),
        ),
        told(
            "zeros in an older one",
            &scanned(&[0; 4096], 0, false),
            &["header is wrong"],
        ),
        told(
            "a file that is something else",
            &scanned(b"#!/bin/sh\necho hello\nexit 0\n", 0, true),
            &["header is wrong"],
        ),
        told(
            "the number of another file",
            &scanned(&log, 7, true),
            &["number 0", "says 7"],
        ),
        told(
            "a header whose version was changed",
            &scanned(&header_future, 0, true),
            &["header is wrong"],
        ),
        told(
            "a cut tail in the newest",
            &scanned(cut, 0, true),
            &["good up to"],
        ),
        told(
            "a cut tail in an older one",
            &scanned(cut, 0, false),
            &["ends too early"],
        ),
        told(
            "a flipped bit in the first block",
            &scanned(&flipped(&log, 60), 0, true),
            &["checksum"],
        ),
        told(
            "a flipped bit in the head of a block",
            &scanned(&flipped(&log, 25), 0, true),
            &["head of a block"],
        ),
        told(
            "the last block twice",
            &scanned(&[&log[..], &log[log.len() - 60..]].concat(), 0, true),
            &damage,
        ),
        told(
            "garbage behind the last block",
            &scanned(&[&log[..], &[7; 100]].concat(), 0, true),
            &damage,
        ),
        same(
            "zeros behind the last block",
            scanned(&[&log[..], &[0; 100]].concat(), 0, true),
            good,
        ),
        told(
            "an entry that is no entry",
            &scanned(&doors::segment(0, &[vec![b"x".to_vec()]], None), 0, true),
            &["decode"],
        ),
        told(
            "an entry of no bytes",
            &scanned(&doors::segment(0, &[vec![Vec::new()]], None), 0, true),
            &["decode"],
        ),
    ]
}

fn snapshots() -> Vec<Entry> {
    let state = AcdMachine(State::default())
        .snapshot()
        .expect("an empty state");
    let good = doors::packed(1, 7, &state).expect("bytes can be packed");
    let seal = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        doors::seal_snapshot(&mut bytes);
        bytes
    };
    let mut short_state = state.clone();
    short_state.pop();
    let packed =
        |schema, state: &[u8]| doors::packed(schema, 7, state).expect("bytes can be packed");
    vec![
        same(
            "a snapshot as it was packed",
            restored(&good),
            "it was taken".into(),
        ),
        told(
            "a snapshot of no bytes",
            &restored(b""),
            &["not a snapshot"],
        ),
        told(
            "a snapshot of another kind",
            &restored(b"PK\x03\x04 something else, long enough"),
            &["not a snapshot"],
        ),
        told(
            "a cut snapshot",
            &restored(&good[..good.len() - 1]),
            &["checksum"],
        ),
        told(
            "a flipped bit of a snapshot",
            &restored(&flipped(&good, 20)),
            &["checksum"],
        ),
        told(
            "a snapshot of a later format",
            &restored(&seal(|bytes| bytes[4] = 9)),
            &["newer"],
        ),
        told(
            "a snapshot whose head is longer than it",
            &restored(&seal(|bytes| bytes[8..12].fill(0xff))),
            &["ends too early"],
        ),
        told(
            "a snapshot of a later schema",
            &restored(&packed(999, &state)),
            &["newer schema"],
        ),
        told(
            "a snapshot without a state",
            &restored(&packed(1, b"")),
            &["decode"],
        ),
        told(
            "a snapshot with a cut state",
            &restored(&packed(1, &short_state)),
            &["decode"],
        ),
        told(
            "a state with bytes left over",
            &restored(&packed(1, &[&state[..], b"x"].concat())),
            &["left over"],
        ),
        told(
            "a state that claims 2^36 queues",
            &restored(&packed(1, &[0xfd, 0, 0, 0, 0, 16, 0, 0, 0])),
            &["decode"],
        ),
    ]
}

fn small_files() -> Vec<Entry> {
    let root =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../raft/tests/golden/data-0.1.0");
    let vote = std::fs::read(root.join("log/vote")).expect("the golden vote");
    let mut later = vote.clone();
    later[4] = 9;
    let mut left_over = [&vote[..], &[0]].concat();
    doors::seal_vote(&mut left_over);
    let mut empty = vote[..10].to_vec();
    doors::seal_vote(&mut empty);
    let mut entries = vec![
        told("a vote as it was kept", &voted(&vote), &["term Some"]),
        told("a vote of no bytes", &voted(b""), &["not a vote file"]),
        told(
            "a vote that is something else",
            &voted(b"yes, for me"),
            &["not a vote file"],
        ),
        told("a cut vote", &voted(&vote[..vote.len() - 1]), &["checksum"]),
        told(
            "a flipped bit of a vote",
            &voted(&flipped(&vote, 11)),
            &["checksum"],
        ),
        told("a vote of a later format", &voted(&later), &["newer"]),
        told(
            "a vote with bytes left over",
            &voted(&left_over),
            &["left over"],
        ),
        told("a vote without its content", &voted(&empty), &["decode"]),
    ];
    let long = format!(
        "{{\"format\":1,\"id\":1,\"name\":\"{}\"",
        "x".repeat(100_000)
    );
    for (text, word) in [
        ("", "damaged"),
        ("{", "damaged"),
        ("null", "damaged"),
        ("[]", "damaged"),
        ("{\"format\":\"1\"}", "damaged"),
        ("{\"format\":-1}", "damaged"),
        ("{\"format\":3,\"x\":1}", "newer"),
        ("{\"format\":1}", "damaged"),
        ("{\"format\":1,\"id\":-1,\"name\":\"a\"}", "damaged"),
        (
            "{\"format\":1,\"id\":18446744073709551616,\"name\":\"a\"}",
            "damaged",
        ),
        ("{\"format\":1,\"id\":1,\"name\":7}", "damaged"),
        (&long, "damaged"),
    ] {
        let answer = match doors::node_file(text.as_bytes()) {
            Ok(name) => format!("it is {name}"),
            Err(error) => error.to_string(),
        };
        entries.push(told(
            &format!("node.json with {}", crate::shown(text)),
            &answer,
            &[word],
        ));
    }
    entries
}
