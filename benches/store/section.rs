//! The section of the page: what was compared with what, the figures, and whether the goals were met.

use std::fmt::Write;

use crate::figures::{Figure, Growth, Spread, Turn, of, ratio};
use crate::servers::System;
use crate::{KEYS, VALUE, WRITERS};

/// What was measured, and on what.
pub struct Run {
    /// Too short to mean anything.
    pub quick: bool,
    pub turns: Vec<Turn>,
    pub growth: Vec<Growth>,
    pub rounds: usize,
    pub seconds: f64,
    pub etcd: String,
    pub redis: String,
    pub kernel: String,
    pub cores: usize,
    /// Median and p99 of a lone fdatasync, before and after, in microseconds.
    pub fsync: [(u64, u64); 2],
}

/// Name, figure, digits behind the point.
const FIGURES: [(&str, Figure, usize); 6] = [
    ("commands per second", |t| t.rate, 0),
    ("median, ms", |t| t.p50_us as f64 / 1e3, 2),
    ("p99, ms", |t| t.p99_us as f64 / 1e3, 2),
    ("CPU of all servers, µs per command", |t| t.cpu_us, 1),
    (
        "CPU of the writers, µs per command",
        |t| t.writers_cpu_us,
        1,
    ),
    ("bytes to the disk per command", |t| t.written, 0),
];

/// Goals of the store, from which figures are met or missed.
const RATE_TO_ETCD: f64 = 5.0;
const LAG_MS: f64 = 2.0;

pub fn markdown(run: &Run) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write_all(&mut out, run);
    out
}

fn write_all(out: &mut String, run: &Run) -> std::fmt::Result {
    let Run { etcd, redis, .. } = run;
    writeln!(out, "## The store, against etcd and Redis\n")?;
    if run.quick {
        writeln!(out, "**A quick run: the figures mean nothing.**\n")?;
    }
    writeln!(
        out,
        "Three nodes of Holdfast's store (each a process, a stream for appends between them), three members of etcd {etcd}, \
         one Redis {redis} with `appendfsync always`. All on one disk, all acknowledge a write only when it \
         is on it: Holdfast and etcd on two of three disks, Redis on its only one, **so Redis is not \
         replicated and is here as a mark, not as a peer**. Values of {VALUE} bytes under {KEYS} keys; each \
         writer has one command on its way and sends it to the leader over loopback (frames over TCP, gRPC, \
         RESP; sixteen writers share a connection). All three are up all the time and take turns of {:.1} s, {} each, after a warm-up that \
         is not counted and a sync of the disk; each figure is the median of the rounds (least to most), \
         each ratio the median of the ratios within a round. The writers run on the same {} cores as the \
         servers. Kernel {}.\n",
        run.seconds, run.rounds, run.cores, run.kernel
    )?;
    let loads = Spread::of(run.turns.iter().map(|t| t.load).collect());
    if let Some(Spread {
        median,
        least,
        most,
    }) = loads
    {
        write!(
            out,
            "Load of the machine: {median:.1} ({least:.1} to {most:.1}), this measurement's own included. "
        )?;
    }
    let [before, after] = run.fsync;
    writeln!(
        out,
        "A lone write of 4 KiB with fdatasync took {} µs in the median and {} µs at p99 before, {} and {} \
         after.\n",
        before.0, before.1, after.0, after.1
    )?;
    table(out, run)?;
    goals(out, run)?;
    lags(out, run)?;
    growth(out, run)
}

fn table(out: &mut String, run: &Run) -> std::fmt::Result {
    writeln!(
        out,
        "| Writers | | Holdfast | etcd | Redis | to etcd | to Redis |"
    )?;
    writeln!(out, "| ---: | --- | ---: | ---: | ---: | ---: | ---: |")?;
    for writers in WRITERS {
        for (name, figure, digits) in FIGURES {
            let own = |system| shown(of(&run.turns, system, writers, figure), digits);
            let to = |peer| shown(ratio(&run.turns, peer, writers, figure), 2);
            let systems = System::ALL.map(own).join(" | ");
            let (etcd, redis) = (to(System::Etcd), to(System::Redis));
            writeln!(out, "| {writers} | {name} | {systems} | {etcd} | {redis} |")?;
        }
    }
    for system in System::ALL {
        let mine = run.turns.iter().filter(|t| t.system == system.name());
        let refused: usize = mine.map(|t| t.refused).sum();
        if refused > 0 {
            writeln!(out, "\n{} refused {refused} commands.", system.name())?;
        }
    }
    writeln!(out)
}

fn goals(out: &mut String, run: &Run) -> std::fmt::Result {
    let turns = &run.turns;
    let to_etcd = |writers, figure| ratio(turns, System::Etcd, writers, figure);
    let mut rows = Vec::new();
    for writers in [64, 256] {
        let rate = to_etcd(writers, |t| t.rate);
        rows.push((
            format!("{writers} writers: at least {RATE_TO_ETCD} times etcd's rate"),
            shown(rate, 2),
            rate.map(|r| r.median >= RATE_TO_ETCD),
        ));
        let p99 = to_etcd(writers, |t| t.p99_us as f64);
        rows.push((
            format!("{writers} writers: p99 at most etcd's"),
            shown(p99, 2),
            p99.map(|r| r.median <= 1.0),
        ));
    }
    let one = to_etcd(1, |t| t.p50_us as f64);
    rows.push((
        "1 writer: median at most etcd's".into(),
        shown(one, 2),
        one.map(|r| r.median <= 1.0),
    ));
    let lag = of(turns, System::Holdfast, 1, lag_ms);
    rows.push((
        format!("1 writer: followers apply within {LAG_MS} ms of the leader (median)"),
        format!("{} ms", shown(lag, 2)),
        lag.map(|l| l.median <= LAG_MS),
    ));
    writeln!(out, "| Goal | Measured | |\n| --- | ---: | --- |")?;
    for (goal, measured, met) in rows {
        let met = match met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not measured",
        };
        writeln!(out, "| {goal} | {measured} | {met} |")?;
    }
    writeln!(out)
}

fn lag_ms(turn: &Turn) -> f64 {
    turn.lag_p50_us.map_or(f64::NAN, |us| us as f64 / 1e3)
}

fn lags(out: &mut String, run: &Run) -> std::fmt::Result {
    writeln!(
        out,
        "Followers apply a log entry so much later than the leader (both followers together, ms):\n"
    )?;
    writeln!(out, "| Writers | median | p99 |\n| ---: | ---: | ---: |")?;
    for writers in WRITERS {
        let p99 = |t: &Turn| t.lag_p99_us.map_or(f64::NAN, |us| us as f64 / 1e3);
        let of = |figure| shown(of(&run.turns, System::Holdfast, writers, figure), 2);
        writeln!(out, "| {writers} | {} | {} |", of(lag_ms), of(p99))?;
    }
    Ok(())
}

fn growth(out: &mut String, run: &Run) -> std::fmt::Result {
    if run.growth.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nDisk use of the fullest member, MiB, after so many commands more in a row. etcd keeps all \
         versions of a value unless it is told otherwise, and is not here; Holdfast's journal keeps what \
         became of two million commands, by default.\n"
    )?;
    writeln!(out, "| Commands | Holdfast | of which | etcd | Redis |")?;
    writeln!(out, "| ---: | ---: | --- | ---: | ---: |")?;
    let of = |system: System, commands| {
        let mine = run.growth.iter().filter(|g| g.system == system.name());
        mine.into_iter().find(|g| g.commands == commands)
    };
    let own = run
        .growth
        .iter()
        .filter(|g| g.system == System::Holdfast.name());
    for own in own {
        let of_which = own
            .parts
            .iter()
            .map(|(name, bytes)| format!("{name} {}", mib(*bytes)));
        let of_which: Vec<String> = of_which.collect();
        let peer = |system| of(system, own.commands).map_or("-".into(), |g| mib(g.bytes));
        writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            own.commands,
            mib(own.bytes),
            of_which.join(", "),
            peer(System::Etcd),
            peer(System::Redis)
        )?;
    }
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1024.0 / 1024.0)
}

/// `median (least to most)`, or the one value there is.
fn shown(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        None => "-".into(),
        Some(s) if s.least == s.most => format!("{:.digits$}", s.median),
        Some(s) => format!(
            "{:.digits$} ({:.digits$} to {:.digits$})",
            s.median, s.least, s.most
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::turn;

    fn run(own: f64) -> Run {
        let mut turns = Vec::new();
        for writers in WRITERS {
            for (system, rate) in [
                (System::Holdfast, own),
                (System::Etcd, 1_000.0),
                (System::Redis, 8_000.0),
            ] {
                turns.push(turn(1, system, writers, rate));
            }
        }
        Run {
            quick: false,
            turns,
            growth: Vec::new(),
            rounds: 1,
            seconds: 1.0,
            etcd: "3".into(),
            redis: "7".into(),
            kernel: "6".into(),
            cores: 2,
            fsync: [(100, 200); 2],
        }
    }

    #[test]
    fn a_goal_is_met_or_missed_by_the_ratio() {
        let fast = markdown(&run(5_000.0));
        assert!(!fast.contains("missed"), "{fast}");
        let slow = markdown(&run(4_900.0));
        assert_eq!(slow.matches("**missed**").count(), 2, "{slow}");
        assert!(slow.contains("| 64 writers: at least 5 times etcd's rate | 4.90 | **missed** |"));
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let mut run = run(5_000.0);
        run.turns.retain(|t| t.writers != 64);
        let page = markdown(&run);
        assert_eq!(page.matches("| not measured |").count(), 2, "{page}");
    }

    #[test]
    fn refusals_and_growth_are_told() {
        let mut run = run(5_000.0);
        run.turns[1].refused = 3;
        run.growth.push(Growth {
            kind: "growth",
            system: "holdfast",
            commands: 100,
            bytes: 3 << 20,
            parts: vec![("log".into(), 1 << 20)],
            seconds: 1.0,
        });
        let page = markdown(&run);
        assert!(page.contains("etcd refused 3 commands."), "{page}");
        assert!(page.contains("| 100 | 3.0 | log 1.0 | - | - |"), "{page}");
    }
}
