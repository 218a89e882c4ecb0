//! What other nodes and the disk hand in: frames, snapshots, segments of the log.

use holdfast_node::AcdMachine;
use holdfast_raft::{Machine, doors};

/// A frame of any kind, as a request and as a reply. The first byte is the kind; its high bit says
/// that the rest is a message, which gets a head and a checksum that fit.
pub fn frame(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let number = usize::from(first & 0x3f) % doors::KINDS;
    let mut body = match first & 0x80 {
        0 => rest.to_vec(),
        _ => doors::frame(1, 2, rest),
    };
    if first & 0x40 != 0 {
        doors::seal(&mut body);
    }
    match doors::request::<AcdMachine>(number, &body) {
        // Each is applied by `command`'s own target; here it is enough that they read.
        Ok(request) => assert!(request.commands.len() <= body.len()),
        Err(why) => assert!(!why.is_empty()),
    }
    let _ = doors::reply::<AcdMachine>(number, &body);
    // A reply has no head: the message begins behind the checksum.
    let mut reply = vec![doors::VERSION, 0, 0, 0, 0];
    reply.extend(rest);
    doors::seal(&mut reply);
    let _ = doors::reply::<AcdMachine>(number, &reply);
}

/// A snapshot. The first byte: 0 raw, 1 with its checksum set right, else the rest is the state.
pub fn snapshot(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let mut bytes = rest.to_vec();
    match mode % 3 {
        0 => {}
        1 => doors::seal_snapshot(&mut bytes),
        _ => bytes = doors::packed(AcdMachine::SCHEMA, 7, rest).expect("bytes can be packed"),
    }
    let Ok(machine) = doors::restore::<AcdMachine>(&bytes) else {
        return;
    };
    // What a node restored it must be able to pass on, and mean the same by it.
    let state = machine.snapshot().expect("a state can be written");
    let again = AcdMachine::restore(AcdMachine::SCHEMA, &state).expect("and read again");
    assert_eq!(machine.digest(), again.digest());
    let config = machine.0.config();
    assert_eq!(config.queues.len(), machine.0.queues().count());
}

/// A segment of the log. The first byte: bit 0 the newest one, bit 1 build a file around the rest,
/// cut into entries of the length that the second byte says.
pub fn segment(data: &[u8]) {
    let [first, size, rest @ ..] = data else {
        return;
    };
    let newest = first & 1 != 0;
    let file = match first & 2 {
        0 => rest.to_vec(),
        _ => {
            let entries = rest.chunks(usize::from(*size).max(1)).map(<[u8]>::to_vec);
            let void = (first & 4 != 0).then_some(u64::from(*size));
            doors::segment(0, &[entries.collect()], void)
        }
    };
    let Ok(Some(scan)) = doors::scan(&file, 0, newest) else {
        return;
    };
    assert!(scan.good_len <= file.len() as u64);
    // What was called good is good, also when another segment follows.
    let good = &file[..scan.good_len as usize];
    assert_eq!(doors::scan(good, 0, false).ok().flatten(), Some(scan));
}

/// A vote file. The first byte: bit 0 sets its checksum right.
pub fn vote(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let mut bytes = rest.to_vec();
    if first & 1 != 0 {
        doors::seal_vote(&mut bytes);
    }
    if let Err(error) = doors::vote(&bytes) {
        assert!(!error.to_string().is_empty());
    }
}

/// The `node.json` of a data folder.
pub fn node_file(data: &[u8]) {
    if let Err(error) = doors::node_file(data) {
        assert!(!error.to_string().is_empty());
    }
}
