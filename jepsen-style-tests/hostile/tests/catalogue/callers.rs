//! What a caller brings along through the dialplan: queue, options, number, name, feature codes.

use crate::{Entry, same, shown, told};
use holdfast_acd::PbxId;
use holdfast_ari::{CallerId, Channel, DialplanPoint};
use holdfast_node::doors;

fn channel(number: &str, name: &str, exten: &str) -> Channel {
    Channel {
        id: "a-1.1".into(),
        caller: CallerId {
            name: name.into(),
            number: number.into(),
        },
        dialplan: DialplanPoint {
            context: "in".into(),
            exten: exten.into(),
            ..DialplanPoint::default()
        },
        ..Channel::default()
    }
}

fn args(list: &[&str]) -> Vec<String> {
    list.iter().map(|arg| arg.to_string()).collect()
}

pub fn entries() -> Vec<Entry> {
    let pbx = PbxId::new("a").expect("a is a name");
    let mut entries = Vec::new();
    let long = "q".repeat(10_000);
    let queues = [
        "../etc",
        "a@b::c|d",
        "sup port",
        "{x}&Local",
        "\u{202e}troppus",
        &long,
        "1000&PJSIP/1900",
        "1000\r\nX-Evil",
        "${SHELL(id)}",
        "q\0",
        "<script>",
        "😀",
        "a/b",
    ];
    for queue in queues {
        let refused = doors::caller(&pbx, &channel("5", "B", "s"), &[], Some(queue), None, None);
        let why = refused.err().unwrap_or_default();
        let short = why.len() < 300;
        entries.push(told(
            &format!("QUEUE_NAME {}", shown(queue)),
            if short { &why } else { "" },
            &["queue name"],
        ));
        let refused = doors::caller(
            &pbx,
            &channel("5", "B", "s"),
            &args(&[queue]),
            None,
            None,
            None,
        );
        entries.push(same(
            &format!("the argument {}", shown(queue)),
            refused.is_err(),
            true,
        ));
    }
    for exten in ["1000&x", "", "%00", "a b"] {
        let refused = doors::caller(&pbx, &channel("5", "B", exten), &[], None, None, None);
        entries.push(same(
            &format!("the extension {exten:?}"),
            refused.is_ok(),
            exten.is_empty(),
        ));
    }
    // Options that make no sense are left out; nobody is refused for them.
    for option in [
        "timeout=",
        "timeout=x",
        "timeout=-1",
        "timeout=1.5",
        "timeout=99999999999999999999",
        "timeout=604801",
        "announce=\u{0}",
        "announce=1e9",
        "music=../x",
        "music=",
        "music=a b",
        "priority=high",
        "priority=99999999999",
        "=",
        "=x",
        "a=b=c",
        "queueu=x",
    ] {
        let join = doors::caller(
            &pbx,
            &channel("5", "B", "s"),
            &args(&["support", option]),
            None,
            None,
            None,
        );
        let plain = doors::caller(
            &pbx,
            &channel("5", "B", "s"),
            &args(&["support"]),
            None,
            None,
            None,
        );
        entries.push(same(&format!("the option {option:?}"), join, plain));
    }
    for priority in ["", "x", "1.5", "2147483648", "--1"] {
        let join = doors::caller(
            &pbx,
            &channel("5", "B", "s"),
            &args(&["q1"]),
            None,
            None,
            Some(priority),
        );
        entries.push(same(
            &format!("QUEUE_PRIO {priority:?}"),
            join.map(|join| join.priority),
            Ok(0),
        ));
    }
    let texts = [
        ("x\nFORGED level=error", "xFORGED level=error"),
        ("\u{202e}evil", "evil"),
        ("a\u{0}b", "ab"),
        ("\u{1b}[31mred\u{7}", "[31mred"),
        ("\"><script>", "\"><script>"),
        (" spaced ", "spaced"),
        ("\u{feff}\u{200b}", ""),
        ("\u{2028}\u{2029}line", "line"),
    ];
    for (name, wanted) in texts {
        let join = doors::caller(
            &pbx,
            &channel(name, name, "s"),
            &args(&["q1"]),
            None,
            None,
            None,
        );
        let got = join.map(|join| (join.name, join.number));
        entries.push(same(
            &format!("the name {name:?}"),
            got,
            Ok((wanted.into(), wanted.into())),
        ));
    }
    let wide = "ж".repeat(100_000);
    let join = doors::caller(
        &pbx,
        &channel("5", &wide, "s"),
        &args(&["q1"]),
        None,
        None,
        None,
    );
    entries.push(same(
        "a name of 200 kB",
        join.map(|join| join.name.len()),
        Ok(80),
    ));
    for list in [
        &["login", "1&2"][..],
        &["login", "../x"],
        &["pause", "a b"],
        &["logout", "\u{202e}1"],
        &["nothing", "1001"],
        &[],
    ] {
        let op = doors::feature(&channel("bad number", "B", "s"), &args(list));
        entries.push(same(&format!("the feature code {list:?}"), op, None));
    }
    entries
}
