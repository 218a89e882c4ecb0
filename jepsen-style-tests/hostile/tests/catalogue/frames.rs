//! Frames of the node-to-node port: what is no message, and what is one that lies.

use crate::{Entry, told};
use holdfast_node::AcdMachine;
use holdfast_raft::doors;

fn said(number: usize, body: &[u8]) -> String {
    match doors::request::<AcdMachine>(number, body) {
        Ok(_) => "it was taken".into(),
        Err(why) => why,
    }
}

fn number(name: &str) -> usize {
    (0..doors::KINDS)
        .find(|number| doors::kind(*number).0 == name)
        .expect("there is such a kind")
}

pub fn entries() -> Vec<Entry> {
    let good = doors::frame(1, 2, &[0; 16]);
    let mut entries = Vec::new();
    let mut add = |what: &str, kind: &str, body: &[u8], words: &[&str]| {
        entries.push(told(what, &said(number(kind), body), words));
    };
    add("nothing", "append", b"", &["too short"]);
    add("four bytes", "append", b"\x01\0\0\0", &["too short"]);
    add("version 0", "append", b"\0\0\0\0\0\0\0", &["version 0"]);
    add("version 2", "append", b"\x02\0\0\0\0\0\0", &["version 2"]);
    add("text", "append", b"GET / HTTP/1.1", &["version 71"]);
    add(
        "a wrong checksum",
        "append",
        &[&[1, 9, 9, 9, 9][..], &good[5..]].concat(),
        &["checksum"],
    );
    let mut sealed = |what: &str, kind: &str, rest: &[u8], words: &[&str]| {
        let mut body = [&[doors::VERSION, 0, 0, 0, 0][..], rest].concat();
        doors::seal(&mut body);
        entries.push(told(what, &said(number(kind), &body), words));
    };
    sealed("no length of the head", "append", b"", &["too short"]);
    sealed(
        "half a length of the head",
        "append",
        b"\x01",
        &["too short"],
    );
    sealed(
        "a head that is longer than the frame",
        "append",
        b"\xff\xff",
        &["too short"],
    );
    sealed("an empty head", "append", b"\0\0", &["cannot decode"]);
    sealed(
        "a head with bytes left over",
        "append",
        b"\x06\0\0\0\0\0\0\0",
        &["left over"],
    );
    sealed(
        "a name in the head that claims 2^36 bytes",
        "vote",
        b"\x0b\0\x01\x01\xfd\0\0\0\0\x10\0\0\0",
        &["cannot decode"],
    );
    let claims = [0xfd, 0, 0, 0, 0, 16, 0, 0, 0];
    for kind in [
        "append", "vote", "snapshot", "adopt", "forward", "admin", "elect", "journal",
    ] {
        let (_, limit) = doors::kind(number(kind));
        let long = said(number(kind), &vec![1; limit + 1]);
        entries.push(told(
            &format!("{kind}: one byte more than its limit"),
            &long,
            &["limit"],
        ));
        let empty = said(number(kind), &doors::frame(1, 2, b""));
        entries.push(told(
            &format!("{kind}: no message"),
            &empty,
            &["cannot decode"],
        ));
        // To be adopted by cluster 2^36 is no lie.
        if kind != "adopt" {
            let cut = said(number(kind), &doors::frame(1, 2, &claims));
            entries.push(told(
                &format!("{kind}: a length of 2^36"),
                &cut,
                &["decode"],
            ));
        }
        let wide = said(number(kind), &doors::frame(1, 2, &[0xff; 200]));
        entries.push(told(&format!("{kind}: bytes of 255"), &wide, &["decode"]));
    }
    let forward = |command: &[u8]| {
        let message =
            holdfast_raft::codec::encode(&(command, 1000u64)).expect("bytes can be written");
        said(number("forward"), &doors::frame(1, 2, &message))
    };
    for (what, command) in [
        ("a command of no kind", &[200u8, 0][..]),
        ("a command that is empty", &[]),
        (
            "a caller whose queue is a dial string",
            b"\0\x02p1\x02c1\x0f1000&PJSIP/1900\x01\x01\x01\x01\0\0\0\0",
        ),
        ("a command with bytes left over", &[11, 0, 0]),
    ] {
        entries.push(told(what, &forward(command), &[""]));
        let last = entries.last_mut().expect("one was added");
        if forward(command).contains("taken") {
            last.outcome = Err("it was taken".into());
        }
    }
    entries
}
