//! Writes the first corpus from the samples and golden files of the repository:
//! `cargo run -p holdfast-hostile --example seeds -- FOLDER`. The kept corpus in `fuzz/corpus` began
//! so; what libFuzzer found to add was minimised into it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast_acd::command::{CallerJoin, JoinOptions};
use holdfast_acd::{ChannelId, Command, PbxId, QueueName, State};
use holdfast_admin::doors::Body;
use holdfast_node::AcdMachine;
use holdfast_raft::{Machine, codec, doors};

type Seeds = BTreeMap<&'static str, Vec<Vec<u8>>>;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or("fuzz/corpus".into()));
    let mut seeds = Seeds::new();
    asterisk(&mut seeds)?;
    files(&mut seeds)?;
    bodies(&mut seeds)?;
    nodes(&mut seeds)?;
    names(&mut seeds);
    for (target, samples) in seeds {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        for (n, sample) in samples.iter().enumerate() {
            fs::write(folder.join(format!("seed-{n:03}")), sample)?;
        }
        println!("{target}: {} seeds", samples.len());
    }
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> std::io::Result<Vec<u8>> {
    fs::read(root().join(path))
}

fn asterisk(seeds: &mut Seeds) -> std::io::Result<()> {
    let events = String::from_utf8_lossy(&read("src/ari/testdata/events.jsonl")?).into_owned();
    let lines = events.lines().map(|line| line.as_bytes().to_vec());
    seeds.insert("ari_event", lines.collect());
    let channel = r#"{"id":"a-1.1","name":"PJSIP/x-1","state":"Up","caller":{"name":"B","number":"5"},"dialplan":{"context":"c","exten":"s","priority":1}}"#;
    let bodies = [
        channel.to_owned(),
        format!("[{channel}]"),
        r#"[{"id":"b1","bridge_type":"mixing","channels":["a-1.1"]}]"#.into(),
        r#"{"name":"QueueARI","channel_ids":["1.1"],"bridge_ids":[],"endpoint_ids":[],"device_names":["PJSIP/1"]}"#.into(),
        r#"{"config":{"name":"pbx-a"},"system":{"version":"22.10.1","entity_id":"02:"},"status":{"startup_time":"2026-01-01T00:00:00.000+0000"}}"#.into(),
        r#"{"message":"Channel not in Stasis application"}"#.into(),
        r#"{"error":"Allocation failed"}"#.into(),
        "<html>".into(),
    ];
    let with_status = |body: String| [&[109u8][..], body.as_bytes()].concat();
    seeds.insert("ari_body", bodies.into_iter().map(with_status).collect());
    let callers = [
        "5551000\nBob\nsupport\n700\n3\ntimeout=60\nannounce=30\nmusic=jazz\npriority=-2",
        "1001\ninbound\n\n7000\n\nlogin\n1001",
        "hf-a-3-71-2-1001\nhfb-a-7-2\n\n\n\npause\n1001\nlunch",
        "+4930123456\nEvil\u{202e}\n1000&PJSIP/1900\n${SHELL(id)}\nx\nqueue=a/b",
    ];
    seeds.insert("dialplan", callers.map(|text| text.into()).to_vec());
    Ok(())
}

fn files(seeds: &mut Seeds) -> std::io::Result<()> {
    let node = read("config/holdfast.toml")?;
    let queues = read("config/queues.toml")?;
    let small = "[node]\nname = \"a\"\n[cluster]\nsecret = \"canary-secret-0123456789\"\n[asterisk]\npassword = \"x\"\n%%%\nHOLDFAST__HTTP__LISTEN=127.0.0.1:1\nHOLDFAST__CLUSTER__JOIN=[\"a:1\"]\n";
    let tokens = "anna:0123456789abcdef\nwall:fedcba9876543210:read\n";
    seeds.insert("node_config", vec![node, small.into(), tokens.into()]);
    let declared = [
        "[queue.support]\ntimeout = 20\njoinempty = \"paused,unavailable\"\nannounce = { position = \"limit\", every = \"30s\", periodic = [\"a\"] }\nmembers = { 1001 = { penalty = 1 }, 1002 = {} }\nsteps = [{ after = \"30s\", max_penalty = 2 }]\n[agent.1001]\nnodes = [\"a\"]\nqueues = [\"support\"]\n[agent.1002]\n",
        "[task.\"74@example.org@1\"]\nextens = \"1000\"\nringStrategy = \"ringall\"\nringTime = 120\n[task.\"74@example.org@2\"]\nextens = [1000, \"1001\"]\nringTime = 600\n",
        "[template.desk]\npattern = \"desk-*\"\nqueue = { ring_time = \"10s\", members = [\"1\"] }\n[agent.1]\n",
    ];
    let mut samples = vec![queues];
    samples.extend(declared.map(|text| text.into()));
    seeds.insert("declared", samples);
    Ok(())
}

fn bodies(seeds: &mut Seeds) -> std::io::Result<()> {
    let texts = [
        r##"{"strategy":"rrmemory","ring_time":"15s","max_wait":"5m","announce":{"position":"limit"},"exit_keys":["#"],"exit_context":"out","steps":[{"after":"5s","agents":["1"]}]}"##,
        r#"{"timeout":20,"announce":{"every":30},"weight":1,"join_empty":null}"#,
        r#"{"open":false}"#,
        r#"{"name":"Alice","home":["a"],"skills":["german"],"endpoint":"PJSIP/1001"}"#,
        r#"{"nodes":["a"],"name":null}"#,
        r#"{"penalty":1,"order":2,"wrap_up":"5s"}"#,
        r#"{"reason":"lunch","queue":"support"}"#,
        r#"{"priority":5}"#,
        r#"{"info":"x"}"#,
        r#"{"addr":"10.0.0.4:7081","replace":true}"#,
        r#"{"to":"b"}"#,
        r#"{"queue":{"support":{"members":["1001"]}},"agent":{"1001":{"name":"A"}},"template":{},"task":{}}"#,
    ];
    let mut samples: Vec<Vec<u8>> = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        samples.push([&[n as u8, 1][..], text.as_bytes()].concat());
    }
    let toml = Body::ALL.len() as u8 - 1;
    samples.push([&[toml, 0][..], &read("config/queues.toml")?].concat());
    samples.push(b"\x07\x00limit=5&after=3&queue=support&phase=waiting".to_vec());
    seeds.insert("admin_body", samples);
    Ok(())
}

fn join(channel: &str) -> Command {
    let expect = "a sample is a name";
    Command::CallerJoin(CallerJoin {
        pbx: PbxId::new("p0").expect(expect),
        channel: ChannelId::new(channel).expect(expect),
        queue: QueueName::new("q0").expect(expect),
        number: "1001".into(),
        name: "X".into(),
        priority: 0,
        options: JoinOptions::default(),
    })
}

fn nodes(seeds: &mut Seeds) -> std::io::Result<()> {
    let golden = "src/acd/tests/golden";
    let parts: Vec<Vec<u8>> =
        codec::decode(&read(&format!("{golden}/commands-0.1.0.bin"))?, 1 << 20)
            .expect("the golden file is a list");
    let framed = |part: &Vec<u8>| {
        let len = (part.len() as u16).to_le_bytes();
        [&len[..], &[3], part].concat()
    };
    let mut commands: Vec<Vec<u8>> = parts.iter().map(framed).collect();
    commands.push(parts.iter().flat_map(framed).collect());
    seeds.insert("command", commands);

    // A message of each kind: zeros and ones are short forms of most of them.
    let mut frames = Vec::new();
    for number in 0..doors::KINDS as u8 {
        for message in [&[][..], &[0; 12], &[1; 24], b"\x01\x05hello\x01\x00\x02"] {
            frames.push([&[0x80 | number][..], message].concat());
        }
    }
    let command = codec::encode(&join("c1")).expect("a command can be written");
    let forward = codec::encode(&(command, 1000u64)).expect("and a pair");
    frames.push([&[0x86][..], &forward].concat());
    seeds.insert("frame", frames);

    let state = read(&format!("{golden}/state-0.1.0.bin"))?;
    let state: Vec<Vec<u8>> = codec::decode(&state, 1 << 20).unwrap_or(vec![state]);
    let mut snapshots = vec![read("raft/tests/golden/data-0.1.0/snap/1-19.snap")?];
    snapshots.insert(0, vec![0]);
    let mut samples: Vec<Vec<u8>> = state
        .iter()
        .map(|state| [&[2][..], state].concat())
        .collect();
    let empty = AcdMachine(State::default())
        .snapshot()
        .expect("an empty state");
    samples.push([&[2][..], &empty].concat());
    samples.extend(snapshots.iter().map(|file| [&[1][..], file].concat()));
    seeds.insert("snapshot", samples);

    let log = read("raft/tests/golden/data-0.1.0/log/00000000000000000000.log")?;
    let small = doors::segment(0, &[vec![b"x".to_vec()]], Some(1));
    let segments = [
        [&[1, 0][..], &log].concat(),
        [&[0, 0][..], &log].concat(),
        [&[1, 0][..], &small].concat(),
        [&[7, 8][..], &log[..200.min(log.len())]].concat(),
    ];
    seeds.insert("segment", segments.to_vec());
    let vote = read("raft/tests/golden/data-0.1.0/log/vote")?;
    let votes = [
        [&[0][..], &vote].concat(),
        [&[1][..], &vote].concat(),
        [&[1][..], b"HFVT\x01\0\0\0\0\0\0\0"].concat(),
        [&[1][..], b"HFVT\x09\0\0\0\0\0\0\0"].concat(),
    ];
    seeds.insert("vote", votes.to_vec());
    let node = read("raft/tests/golden/data-0.1.0/node.json")?;
    let nodes = [
        node,
        b"{\"format\":2}".to_vec(),
        b"{\"format\":1,\"id\":7,\"name\":\"a\",\"cluster_id\":null}".to_vec(),
        b"{\"format\":1".to_vec(),
    ];
    seeds.insert("node_file", nodes.to_vec());
    let choices = (0..12u8).map(|n| {
        (0..250u32)
            .map(|k| (k * 37 + u32::from(n) * 101) as u8)
            .collect()
    });
    seeds.insert("apply", choices.collect());
    Ok(())
}

fn names(seeds: &mut Seeds) {
    let texts = [
        "support",
        "Name@domain.example",
        "PJSIP/1001@trunk-b",
        "Local/100@agents",
        "sound:digits/1",
        "number:-3",
        "digits:12#",
        "1m30s",
        "500ms",
        "90d",
        "hf-a-3-71-2-1001",
        "call_string",
        "AST_CONFIG(ari.conf,holdfast,password)",
        "PJSIP/1&Local/9@toll",
        "\u{202e}gnp",
        "supervisor",
    ];
    seeds.insert("grammar", texts.map(|text| text.into()).to_vec());
}
