//! The section of the page: what was started on what, and how long it took.

use std::fmt::Write;

use super::Run;
use crate::VALUE;

pub fn markdown(run: &Run) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write_all(&mut out, run);
    out
}

fn write_all(out: &mut String, run: &Run) -> std::fmt::Result {
    writeln!(out, "## Recovery\n")?;
    if run.plan.quick {
        writeln!(out, "**A quick run: the figures mean nothing.**\n")?;
    }
    writeln!(
        out,
        "Each process was ended by SIGKILL before. All lies on one disk and is in the system's cache, for the \
         machine itself was not started anew. No goals were set for these figures.\n"
    )?;
    starts(out, run)?;
    snapshot(out, run)?;
    returns(out, run)
}

fn starts(out: &mut String, run: &Run) -> std::fmt::Result {
    let Run { etcd, redis, .. } = run;
    writeln!(
        out,
        "### A start with a long log\n\nOne process each, until its first write is acknowledged. Entries of one \
         write of {VALUE} bytes. Holdfast has no snapshot and applies the whole log; etcd {etcd} makes none \
         either, but keeps its state in a tree on the disk beside the log, so it reads its log and applies \
         little of it; Redis {redis} applies its whole file. Holdfast's time holds the election of a lone \
         node too.\n"
    )?;
    writeln!(
        out,
        "| | Entries | start to first write, s | to Holdfast | of which reading, s | entries per second | most \
         memory, MiB | on the disk, MiB | load |"
    )?;
    writeln!(out, "| --- |{}", " ---: |".repeat(8))?;
    let own = run
        .starts
        .first()
        .map(|start| start.written_s / start.entries as f64);
    for start in &run.starts {
        let each = start.written_s / start.entries as f64;
        writeln!(
            out,
            "| {} | {} | {:.2} | {:.2} | {} | {:.0} | {} | {} | {:.1} |",
            start.system,
            start.entries,
            start.written_s,
            own.map_or(f64::NAN, |own| each / own),
            start.read_s.map_or("-".into(), |s| format!("{s:.2}")),
            start.entries as f64 / start.read_s.unwrap_or(start.written_s),
            mib(start.peak_bytes),
            mib(start.disk_bytes),
            start.load,
        )?;
    }
    writeln!(
        out,
        "\n\"To Holdfast\" is the time for each entry, by Holdfast's: above 1 the peer is slower.\n"
    )
}

fn snapshot(out: &mut String, run: &Run) -> std::fmt::Result {
    let it = &run.snapshot;
    writeln!(
        out,
        "### A start with a snapshot of the queue\n\n{} calls in ten queues, {} of them talking, built through \
         the log. The snapshot is written beside `apply`, from a copy.\n",
        it.calls, it.agents
    )?;
    writeln!(
        out,
        "| Snapshot, MiB | bytes a call | written within, s | start to read, s | start to first write, s | most \
         memory, MiB | load |\n|{}",
        " ---: |".repeat(7)
    )?;
    writeln!(
        out,
        "| {} | {:.0} | {:.2} | {:.2} | {:.2} | {} | {:.1} |\n",
        mib(it.bytes),
        it.bytes as f64 / it.calls as f64,
        it.made_s,
        it.read_s,
        it.written_s,
        mib(it.peak_bytes),
        it.load,
    )
}

fn returns(out: &mut String, run: &Run) -> std::fmt::Result {
    writeln!(
        out,
        "### A follower that was away\n\nTwo of three nodes went on without it. It is started again while one \
         writer writes at the leader, one command after the other. Caught up is who has applied all that the \
         leader had at his start, and knows that he is current. Pauses are from one acknowledgement to the \
         next.\n"
    )?;
    writeln!(
        out,
        "| What it missed | entries | start to caught up, s | entries per second | the writer: median before, ms \
         | meanwhile | p99 before, ms | meanwhile | longest pause before, ms | meanwhile | refused | same leader \
         | most memory, MiB | of the leader | load |\n| --- |{}",
        " ---: |".repeat(14)
    )?;
    for it in &run.returns {
        let ms = |us: u64| format!("{:.2}", us as f64 / 1e3);
        writeln!(
            out,
            "| {} | {} | {:.2} | {:.0} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} |",
            match it.from_log {
                true => "is in the log",
                false => "is in a snapshot",
            },
            it.missed,
            it.caught_up_s,
            it.missed as f64 / it.caught_up_s,
            ms(it.before.p50_us),
            ms(it.meanwhile.p50_us),
            ms(it.before.p99_us),
            ms(it.meanwhile.p99_us),
            ms(it.before.longest_us),
            ms(it.meanwhile.longest_us),
            it.before.failed + it.meanwhile.failed,
            if it.same_leader { "yes" } else { "**no**" },
            mib(it.peak_bytes),
            mib(it.leader_peak_bytes),
            it.load,
        )?;
    }
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1024.0 / 1024.0)
}
