//! The search on histories that are right by construction, on the same with one thing wrong, and
//! against trying every order, on short ones.

use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const BUDGET: u64 = 4_000_000;

/// What a client is doing: an operation asked, which takes effect and is answered at random times.
enum Doing<O> {
    Nothing,
    Asked { from: u64, op: Ask },
    Took { from: u64, op: Option<O> },
}

#[derive(Clone)]
enum Ask {
    Write(String),
    Read,
    Cas(String, String),
}

/// A register that works, with clients who overlap; of some the answer is lost.
fn register(seed: u64, clients: usize, count: usize) -> Vec<Timed<RegisterOp>> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut doing: Vec<Doing<RegisterOp>> = (0..clients).map(|_| Doing::Nothing).collect();
    let mut value: Option<String> = None;
    let mut done = Vec::new();
    let mut now = 0;
    while done.len() < count {
        now += 1;
        let client = random.random_range(0..clients);
        doing[client] = match std::mem::replace(&mut doing[client], Doing::Nothing) {
            Doing::Nothing => {
                let new = format!("v{now}");
                let op = match random.random_range(0..10) {
                    0..4 => Ask::Write(new),
                    4..8 => Ask::Read,
                    _ => Ask::Cas(value.clone().unwrap_or_default(), new),
                };
                Doing::Asked { from: now, op }
            }
            // Lost on the way: never done, and nobody knows.
            Doing::Asked { from, op } if random.random_bool(0.01) => {
                if let Ask::Write(new) = op {
                    let op = RegisterOp::Write(Some(new));
                    let until = None;
                    done.push(Timed { from, until, op });
                }
                Doing::Nothing
            }
            Doing::Asked { from, op } => {
                let op = match op {
                    Ask::Write(new) => {
                        value = Some(new);
                        RegisterOp::Write(value.clone())
                    }
                    Ask::Read => RegisterOp::Read(value.clone()),
                    Ask::Cas(expect, new) if value.as_deref() == Some(&*expect) => {
                        value = Some(new.clone());
                        RegisterOp::Cas { expect, value: new }
                    }
                    Ask::Cas(..) => continue,
                };
                Doing::Took { from, op: Some(op) }
            }
            Doing::Took { from, op } => {
                // Of a write the answer may be lost though it was done.
                let lost = random.random_bool(0.01) && matches!(op, Some(RegisterOp::Write(_)));
                let until = (!lost).then_some(now);
                done.extend(op.map(|op| Timed { from, until, op }));
                Doing::Nothing
            }
        };
    }
    // What took effect and was not answered yet is unknown.
    for left in doing {
        if let Doing::Took { from, op: Some(op) } = left {
            if matches!(op, RegisterOp::Read(_)) {
                continue;
            }
            let until = None;
            done.push(Timed { from, until, op });
        }
    }
    done.sort_by_key(|timed| timed.from);
    Register::without_unobserved(done)
}

/// Turns one read, in the middle or later, into a read of what was overwritten long before.
fn with_stale_read(mut ops: Vec<Timed<RegisterOp>>) -> Vec<Timed<RegisterOp>> {
    let old = ops.iter().find_map(|timed| match &timed.op {
        RegisterOp::Write(value) if timed.until.is_some() => Some(value.clone()),
        _ => None,
    });
    let half = ops.len() / 2;
    let mut late = ops[half..].iter_mut();
    let read = late.find(|timed| matches!(timed.op, RegisterOp::Read(_)));
    read.expect("there are many reads").op = RegisterOp::Read(old.expect("and writes"));
    ops
}

#[test]
fn right_histories_fit_and_one_stale_read_does_not() {
    for seed in 0..150 {
        let ops = register(seed, 1 + seed as usize % 8, 300);
        assert_eq!(search(&Register, &ops, BUDGET), Searched::Fits, "{seed}");
        let wrong = search(&Register, &with_stale_read(ops), BUDGET);
        assert!(matches!(wrong, Searched::Not { .. }), "{seed}: {wrong:?}");
    }
}

#[test]
fn ten_thousand_operations_of_eight_clients_are_decided() {
    let ops = register(7, 8, 10_000);
    let begun = std::time::Instant::now();
    assert_eq!(search(&Register, &ops, BUDGET), Searched::Fits);
    let right = begun.elapsed();
    let wrong = with_stale_read(ops);
    let begun = std::time::Instant::now();
    let found = search(&Register, &wrong, BUDGET);
    assert!(matches!(found, Searched::Not { .. }), "{found:?}");
    println!(
        "10,000 operations, 8 clients: right {right:?}, wrong {:?}",
        begun.elapsed()
    );
}

#[test]
fn a_lost_write_is_found() {
    // Acknowledged, then read as if it had never been.
    let timed = |from, until, op| Timed { from, until, op };
    let write = |value: &str| RegisterOp::Write(Some(value.into()));
    let read = |value: &str| RegisterOp::Read(Some(value.into()));
    let mut ops = vec![
        timed(0, Some(1), write("a")),
        timed(2, Some(3), write("b")),
        timed(4, Some(5), read("a")),
    ];
    let found = search(&Register, &ops, BUDGET);
    let Searched::Not { stuck } = found else {
        panic!("{found:?}");
    };
    assert!(stuck.contains("Read(Some(\"a\"))"), "{stuck}");
    // Had it overlapped with the read, or had its answer been lost, all would be well.
    ops[1].until = Some(4);
    assert_eq!(search(&Register, &ops, BUDGET), Searched::Fits);
    ops[1].until = None;
    assert_eq!(search(&Register, &ops, BUDGET), Searched::Fits);
    // An unknown write may take effect later than anybody would think, but not before it was asked.
    ops[2].op = read("b");
    ops.push(timed(6, Some(7), read("a")));
    assert!(matches!(
        search(&Register, &ops, BUDGET),
        Searched::Not { .. }
    ));
    ops[1].from = 8;
    ops.pop();
    assert!(matches!(
        search(&Register, &ops, BUDGET),
        Searched::Not { .. }
    ));
}

#[test]
fn a_search_that_runs_out_of_steps_says_so() {
    let ops = register(3, 8, 200);
    let found = search(&Register, &ops, 50);
    assert_eq!(found, Searched::Undecided { steps: 51 });
}

#[test]
fn an_agent_taken_twice_is_found() {
    let timed = |from, until, op| Timed { from, until, op };
    let reserve = |from, call| timed(from, Some(from + 1), AgentOp::Reserve(call, 1));
    let release = |from, call| timed(from, Some(from + 1), AgentOp::Release(call, 1));
    let fits = |ops: &[Timed<AgentOp>]| search(&Agent, ops, BUDGET) == Searched::Fits;
    let good = [reserve(0, 1), release(2, 1), reserve(4, 2)];
    assert!(fits(&good));
    assert!(!fits(&[reserve(0, 1), reserve(2, 2)]), "two calls at once");
    assert!(
        fits(&[reserve(0, 1), reserve(2, 1)]),
        "the same one twice is one"
    );
    let pause = timed(0, Some(1), AgentOp::Pause("lunch".into()));
    assert!(!fits(&[pause.clone(), reserve(2, 1)]), "he is paused");
    let unpause = timed(2, None, AgentOp::Unpause);
    assert!(
        fits(&[pause.clone(), unpause, reserve(4, 1)]),
        "perhaps not any more"
    );
    let withdrawn = [
        reserve(0, 1),
        timed(2, Some(3), AgentOp::Pause("lunch".into())),
        timed(4, Some(5), AgentOp::ReadHand(None)),
        timed(4, Some(5), AgentOp::ReadPause(Some("lunch".into()))),
    ];
    assert!(fits(&withdrawn));
    let forgotten = timed(4, Some(5), AgentOp::ReadHand(Some("1-1".into())));
    assert!(!fits(&[good[0].clone(), good[1].clone(), forgotten]));
}

/// Tries every order; for at most a few operations.
fn any_order_fits(ops: &[Timed<RegisterOp>]) -> bool {
    fn from(ops: &[Timed<RegisterOp>], done: u32, state: &Option<String>) -> bool {
        let left = |at: &usize| done & (1 << at) == 0;
        let open = (0..ops.len()).filter(left);
        if open.clone().all(|at| ops[at].until.is_none()) {
            return true;
        }
        let due = open.clone().filter_map(|at| ops[at].until).min();
        open.filter(|at| ops[*at].from <= due.unwrap_or(u64::MAX))
            .any(|at| {
                let next = Register.step(state, &ops[at].op);
                next.is_some_and(|next| from(ops, done | 1 << at, &next))
            })
    }
    from(ops, 0, &None)
}

#[test]
fn on_short_histories_it_agrees_with_trying_every_order() {
    let (mut right, mut wrong) = (0, 0);
    for seed in 0..3000 {
        let mut ops = register(seed, 4, 8);
        let mut random = StdRng::seed_from_u64(seed);
        // Something may be wrong, or not: values of reads and the ends of operations are changed.
        for timed in &mut ops {
            if let RegisterOp::Read(value) = &mut timed.op
                && random.random_bool(0.3)
            {
                *value = Some(format!("v{}", random.random_range(1..12)));
            }
            if random.random_bool(0.2) {
                timed.until = timed.until.map(|until| until + random.random_range(0..6));
            }
        }
        let fits = any_order_fits(&ops);
        let found = search(&Register, &ops, BUDGET);
        assert_eq!(found == Searched::Fits, fits, "{seed}: {ops:?}");
        *(if fits { &mut right } else { &mut wrong }) += 1;
    }
    assert!(right > 300 && wrong > 300, "{right} right, {wrong} wrong");
}
