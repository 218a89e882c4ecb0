//! The section of the page: one table for what a decision takes, one for the commands of a call, and the
//! goals beside the worst strategy.

use std::fmt::Write;

use holdfast_acd::settings::Strategy;
use holdfast_benches::{STRATEGIES, Size};

use crate::measure::{COMMANDS, Case, Figure, Of, quiet_agents, sizes};

/// A decision takes no longer.
const DECISION_US: f64 = 10.0;

pub fn markdown(figures: &[Figure], quick: bool) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write_all(&mut out, figures, quick);
    out
}

fn write_all(out: &mut String, figures: &[Figure], quick: bool) -> std::fmt::Result {
    writeln!(out, "## The core alone, in time\n")?;
    if quick {
        writeln!(out, "**A quick run: the figures mean nothing.**\n")?;
    }
    writeln!(
        out,
        "One thread, no log, no network: what `distribute` takes for one decision, and `apply` for one command. \
         Each figure is the median of criterion's samples, in µs. Each agent is a member of two queues. The \
         measures are varied one at a time, from the first row on.\n"
    )?;
    goals(out, figures, quick)?;
    writeln!(
        out,
        "\n### One decision in a full house: one agent is free, all others talk\n"
    )?;
    full(out, figures, quick, Of::Decide)?;
    writeln!(
        out,
        "\n### One command: the {COMMANDS} of a call, from one talk's end to the next answer\n"
    )?;
    full(out, figures, quick, Of::Apply)?;
    writeln!(
        out,
        "\n### One decision when many agents are free\n\nA lone caller has come to a queue of so many free \
         agents; and one of the up to 256 decisions of a pass when all agents of the biggest house come back \
         from their pause at once. Ring-all picks up to 64 agents for each.\n"
    )?;
    many(out, figures, quick)
}

fn header(out: &mut String, first: &str) -> std::fmt::Result {
    let names = STRATEGIES.map(|(name, _)| name).join(" | ");
    writeln!(out, "| {first} | {names} |")?;
    let columns = first.matches('|').count() + 1 + STRATEGIES.len();
    writeln!(out, "|{}", " ---: |".repeat(columns))
}

fn full(out: &mut String, figures: &[Figure], quick: bool, of: Of) -> std::fmt::Result {
    header(out, "Callers | agents | queues")?;
    for size in sizes(quick) {
        let Size {
            callers,
            agents,
            queues,
            ..
        } = size;
        writeln!(
            out,
            "| {callers} | {agents} | {queues} | {} |",
            row(figures, of, size)
        )?;
    }
    Ok(())
}

fn many(out: &mut String, figures: &[Figure], quick: bool) -> std::fmt::Result {
    header(out, "Callers | free agents")?;
    for agents in quiet_agents(quick) {
        let rows = figures
            .iter()
            .find(|it| it.case.of == Of::Quiet && it.case.size.agents == agents);
        let size = rows.map(|it| it.case.size);
        let row = size.map(|size| row(figures, Of::Quiet, size));
        writeln!(out, "| 1 | {agents} | {} |", row.unwrap_or_default())?;
    }
    if let Some(size) = sizes(quick).first() {
        writeln!(
            out,
            "| {} | {} | {} |",
            size.callers,
            size.agents,
            row(figures, Of::Burst, *size)
        )?;
    }
    Ok(())
}

/// The figures of one size, by strategy.
fn row(figures: &[Figure], of: Of, size: Size) -> String {
    let shown = STRATEGIES.map(|(_, strategy)| {
        let figure = find(figures, of, Size { strategy, ..size });
        figure.map_or("-".into(), |it| format!("{:.2}", it.median_us))
    });
    shown.join(" | ")
}

fn find(figures: &[Figure], of: Of, size: Size) -> Option<&Figure> {
    let key = |size: &Size| {
        let Size {
            strategy,
            callers,
            agents,
            queues,
        } = *size;
        (strategy, callers, agents, queues)
    };
    figures
        .iter()
        .find(|it| it.case.of == of && key(&it.case.size) == key(&size))
}

/// The slowest of the strategies.
fn worst<'a>(figures: impl Iterator<Item = &'a Figure>) -> Option<&'a Figure> {
    figures.max_by(|one, other| one.median_us.total_cmp(&other.median_us))
}

fn goals(out: &mut String, figures: &[Figure], quick: bool) -> std::fmt::Result {
    writeln!(out, "| Goal | Measured | |\n| --- | ---: | --- |")?;
    let sizes = sizes(quick);
    let Some(biggest) = sizes.first().copied() else {
        return Ok(());
    };
    let big =
        |case: &Case| (case.size.callers, case.size.agents) == (biggest.callers, biggest.agents);
    let most = quiet_agents(quick).into_iter().max().unwrap_or(0);
    type Wanted<'a> = &'a dyn Fn(&Case) -> bool;
    let groups: [(&str, Wanted); 3] = [
        ("one agent free, any number of queues", &|case| {
            case.of == Of::Decide && big(case)
        }),
        ("all agents free, a lone caller", &|case| {
            case.of == Of::Quiet && case.size.agents == most
        }),
        ("all agents free, a full line", &|case| case.of == Of::Burst),
    ];
    for (name, wanted) in groups {
        let figure = worst(figures.iter().filter(|it| wanted(&it.case)));
        let shown =
            figure.map(|it| format!("{:.2} µs ({})", it.median_us, it.case.strategy_name()));
        let met = figure.map(|it| it.median_us < DECISION_US);
        line(
            out,
            &format!("a decision under {DECISION_US} µs: {name}"),
            shown,
            met,
        )?;
    }
    let varied = [
        ("callers", Of::Decide, 0),
        ("agents", Of::Decide, 1),
        ("free agents", Of::Quiet, 1),
    ];
    for (name, of, measure) in varied {
        // Ring-all names each whom it rings, up to 64: that is no search.
        let named = |strategy| of == Of::Quiet && strategy == Strategy::RingAll;
        let grown = STRATEGIES
            .into_iter()
            .filter(|(_, strategy)| !named(*strategy))
            .filter_map(|(_, strategy)| {
                growth(
                    figures,
                    of,
                    Size {
                        strategy,
                        ..biggest
                    },
                    measure,
                )
            });
        let worst = grown.max_by(|one, other| {
            (one.times / one.allowed).total_cmp(&(other.times / other.allowed))
        });
        let shown = worst.as_ref().map(|it| {
            let Growth {
                times,
                allowed,
                strategy,
                ..
            } = it;
            format!("{times:.2} of {allowed:.2} times ({strategy})")
        });
        let range = worst.as_ref().map_or(String::new(), |it| {
            format!(" from {} to {}", it.from, it.to)
        });
        let met = worst.map(|it| it.times <= it.allowed);
        let goal = format!("a decision grows no faster than the logarithm of the {name}{range}");
        line(out, &goal, shown, met)?;
    }
    writeln!(
        out,
        "\nThe growth is that of the worst strategy; of ring-all with more free agents it is not told, for it \
         names each whom it rings, up to 64. Time grows with the caches that a big house no longer \
         fits into, too; instructions and allocations, which `make test-costs` holds, do not."
    )
}

/// How much longer a decision takes when one measure of the house is bigger.
struct Growth {
    times: f64,
    allowed: f64,
    from: usize,
    to: usize,
    strategy: &'static str,
}

/// `measure` is the place of what is varied in `measures`.
fn growth(figures: &[Figure], of: Of, like: Size, measure: usize) -> Option<Growth> {
    let others_fit = |size: &Size| {
        let (mine, same) = (measures(size), measures(&like));
        of == Of::Quiet || (0..mine.len()).all(|at| at == measure || mine[at] == same[at])
    };
    let mut same: Vec<&Figure> = figures
        .iter()
        .filter(|it| it.case.of == of && it.case.size.strategy == like.strategy)
        .filter(|it| others_fit(&it.case.size))
        .collect();
    let varied = |it: &Figure| measures(&it.case.size)[measure];
    same.sort_by_key(|it| varied(it));
    let (first, last) = (same.first()?, same.last()?);
    let (from, to) = (varied(first), varied(last));
    (from > 1 && to > from).then(|| Growth {
        times: last.median_us / first.median_us,
        allowed: (to as f64).ln() / (from as f64).ln(),
        from,
        to,
        strategy: first.case.strategy_name(),
    })
}

fn measures(size: &Size) -> [usize; 3] {
    [size.callers, size.agents, size.queues]
}

fn line(
    out: &mut String,
    goal: &str,
    shown: Option<String>,
    met: Option<bool>,
) -> std::fmt::Result {
    let met = match met {
        Some(true) => "met",
        Some(false) => "**missed**",
        None => "not measured",
    };
    writeln!(out, "| {goal} | {} | {met} |", shown.unwrap_or("-".into()))
}
