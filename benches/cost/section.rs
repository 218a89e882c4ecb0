//! What it came to: a section of the page in markdown, and the raw figures as JSON lines.

use std::fmt::Write;

use holdfast_drills::lab::figures::rank;
use serde_json::{Value, json};

use crate::plan::{AGENTS, Plan, System, TALK_MS, Told};
use crate::rest::{Asked, HOLD, Rest, Run, SEVERAL, Way};
use crate::stage::{Spent, Turn};

/// Processor time by call in milliseconds, without what the processes use when nobody calls.
#[derive(Debug, Clone, Copy)]
pub struct ByCall(Spent);

impl ByCall {
    pub fn of(turn: &Turn, idle: Spent) -> ByCall {
        let calls = turn.pace.callers as f64;
        let own = |spent: f64, idle: f64| (spent - idle * turn.seconds) / calls * 1_000.0;
        ByCall(turn.spent.with(idle, own))
    }

    /// What the system costs: app_queue has no nodes.
    fn together(self, system: System) -> f64 {
        match system {
            System::AppQueue => self.0.asterisk,
            System::Holdfast => self.0.asterisk + self.0.nodes(),
        }
    }
}

/// One line for each turn.
pub fn raw_turn(turn: &Turn, idle: Spent) -> Value {
    let by_call = ByCall::of(turn, idle);
    json!({
        "part": "cost", "of": "calls", "system": turn.system.name(), "events": turn.told.name(),
        "per_second": turn.pace.per_second, "round": turn.round,
        "callers": turn.pace.callers, "served": turn.served, "seconds": turn.seconds,
        "cpu_s": values(turn.spent), "idle_cpu_s_per_s": values(idle),
        "cpu_ms_per_call": values(by_call.0), "together_ms_per_call": by_call.together(turn.system),
        "events_told": turn.events, "leader_changed": turn.moved,
        "answered_in_vain": turn.in_vain, "left_behind": turn.left,
        "load_before": turn.load_before, "load_after": turn.load_after, "faults": turn.faults,
    })
}

fn values(spent: Spent) -> Value {
    json!({
        "asterisk": spent.asterisk, "driver": spent.driver,
        "leader": spent.leader, "follower": spent.follower,
    })
}

/// One line for each run of requests; the single times are told by their ranks.
pub fn raw_run(run: &Run) -> Value {
    let at = |percent| rank(&run.took_us, percent);
    json!({
        "part": "cost", "of": "requests", "way": run.way.name(), "asked": run.asked.name(),
        "at_once": run.at_once, "round": run.round, "requests": run.took_us.len(),
        "p50_us": at(50), "p90_us": at(90), "p99_us": at(99), "max_us": at(100),
        "seconds": run.seconds, "asterisk_cpu_s": run.asterisk, "client_cpu_s": run.client,
    })
}

pub fn raw_blocked(rest: &Rest) -> Value {
    let [http, socket] = rest.blocked_ms;
    json!({ "part": "cost", "of": "blocked", "http_ms": http, "socket_ms": socket })
}

/// The section. `about` says what was compared.
pub fn markdown(plan: &Plan, turns: &[Turn], idle: Spent, rest: &Rest, about: &str) -> String {
    let mut text = format!(
        "## The cost on Asterisk, against app_queue on the same one\n\n{about}\n\n\
         Processor time (user and system, all threads) of Asterisk and of the three nodes for each \
         caller, while {AGENTS} agents of each system answer at once and talk {TALK_MS} ms. Callers and \
         phones are sipp, whose time is not counted, and say nothing: what media costs is the same for \
         both. All are at one Asterisk; the node that drives it is not the leader. What the processes use \
         while nobody calls is taken off: Asterisk {}, driver {}, leader {}, follower {} of a core. \
         Nobody but the node listens to Asterisk, and neither writes what it does step by step.\n\n",
        percent(idle.asterisk),
        percent(idle.driver),
        percent(idle.leader),
        percent(idle.follower),
    );
    text += &calls(plan, turns, idle);
    text += &filters(plan, turns, idle);
    text += &requests(rest);
    text
}

const CALLS: &str = "### Milliseconds of processor time for each call\n\n\
    | calls/s | system | round | served | Asterisk | driver | leader | follower | together | load before, after |\n\
    | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";

fn calls(plan: &Plan, turns: &[Turn], idle: Spent) -> String {
    let mut text = CALLS.to_owned();
    let mut verdicts = String::new();
    for pace in &plan.paces {
        let at_pace = |system: System| {
            let own = move |turn: &&Turn| turn.system == system && turn.told == Told::Used;
            turns.iter().filter(own).filter(|turn| turn.pace == *pace)
        };
        for system in System::ALL {
            for turn in at_pace(system) {
                let cost = ByCall::of(turn, idle);
                let nodes = match system {
                    System::AppQueue => "- | - | -".to_owned(),
                    System::Holdfast => {
                        format!(
                            "{:.2} | {:.2} | {:.2}",
                            cost.0.driver, cost.0.leader, cost.0.follower
                        )
                    }
                };
                // Writing to a text does not fail.
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} of {}{} | {:.2} | {nodes} | {:.2} | {}, {} |",
                    pace.per_second,
                    system.name(),
                    turn.round,
                    turn.served,
                    pace.callers,
                    odd(turn),
                    cost.0.asterisk,
                    cost.together(system),
                    first(&turn.load_before),
                    first(&turn.load_after),
                );
            }
        }
        let pairs = at_pace(System::AppQueue).zip(at_pace(System::Holdfast));
        let pairs: Vec<(f64, ByCall)> = pairs
            .map(|(theirs, ours)| (ByCall::of(theirs, idle).0.asterisk, ByCall::of(ours, idle)))
            .collect();
        let ratio =
            |of: fn(ByCall) -> f64| median(pairs.iter().map(|(theirs, ours)| of(*ours) / theirs));
        let _ = writeln!(
            verdicts,
            "- {} calls/s: Asterisk alone works {} times as much for Holdfast as for app_queue, Asterisk and \
             the node that drives it {}, Asterisk and all three nodes {} (ratios within a round, then their \
             median). Goal: none in a figure; the mark is app_queue, in memory and on one machine.",
            pace.per_second,
            times(ratio(|ours| ours.0.asterisk)),
            times(ratio(|ours| ours.0.asterisk + ours.0.driver)),
            times(ratio(|ours| ours.together(System::Holdfast))),
        );
    }
    text + "\n" + &verdicts + "\n"
}

/// What makes the figures of a turn doubtful: it comes of a machine that is too busy.
fn odd(turn: &Turn) -> String {
    let mut text = String::new();
    if turn.in_vain > 0 {
        text += &format!(", {} answered in vain", turn.in_vain);
    }
    if turn.left > 0 {
        text += &format!(", {} left behind", turn.left);
    }
    if turn.moved {
        text += ", the leader changed";
    }
    text
}

const FILTERS: &str = "### Events, filtered to those that are used\n\n\
    The same calls by Holdfast, whose event filter is changed from outside before each turn.\n\n\
    | the node is told | round | events for each call | Asterisk | driver | both | load before, after |\n\
    | --- | --- | --- | --- | --- | --- | --- |\n";

fn filters(plan: &Plan, turns: &[Turn], idle: Spent) -> String {
    let mut text = FILTERS.to_owned();
    let mut both = Vec::new();
    let mut events = Vec::new();
    for told in Told::ALL {
        let own = |turn: &&Turn| {
            turn.system == System::Holdfast && turn.told == told && turn.pace == plan.filters
        };
        let own: Vec<&Turn> = turns.iter().filter(own).collect();
        let by_call = |turn: &Turn| turn.events as f64 / turn.pace.callers as f64;
        for turn in &own {
            let cost = ByCall::of(turn, idle).0;
            let _ = writeln!(
                text,
                "| {} | {} | {:.1} | {:.2} | {:.2} | {:.2} | {}, {} |",
                told.name(),
                turn.round,
                by_call(turn),
                cost.asterisk,
                cost.driver,
                cost.asterisk + cost.driver,
                first(&turn.load_before),
                first(&turn.load_after),
            );
        }
        events.push(median(own.iter().map(|turn| by_call(turn))));
        both.push(median(own.iter().map(|turn| {
            let cost = ByCall::of(turn, idle).0;
            cost.asterisk + cost.driver
        })));
    }
    let met = match (events[0], events[2]) {
        (Some(all), Some(used)) if used < all => "met",
        _ => "missed",
    };
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2} ms"));
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    let _ = writeln!(
        text,
        "\n- Goal: the node is told the events that it uses and no others: {met}, {} for each call instead of \
         {} ({} without the five types that are most of the traffic); {} of Asterisk and driver for each \
         call instead of {} ({}), medians.\n",
        number(events[2]),
        number(events[0]),
        number(events[1]),
        ms(both[2]),
        ms(both[0]),
        ms(both[1]),
    );
    text
}

const REQUESTS: &str = "### Requests by HTTP and on the event socket\n\n\
    The same requests about one channel, one after the other and several at once. Microseconds, the last \
    two of processor time for each request.\n\n\
    | request | at once | way | round | n | p50 | p99 | requests/s | Asterisk | client |\n\
    | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";

fn requests(rest: &Rest) -> String {
    let mut text = REQUESTS.to_owned();
    let mut verdicts = String::new();
    for asked in Asked::ALL {
        for at_once in [1, SEVERAL] {
            let of = |way: Way| {
                let own = move |run: &&Run| run.way == way && run.asked == asked;
                rest.runs
                    .iter()
                    .filter(own)
                    .filter(move |run| run.at_once == at_once)
            };
            for run in Way::ALL.into_iter().flat_map(of) {
                let count = run.took_us.len() as f64;
                let at = |percent| rank(&run.took_us, percent).unwrap_or(0);
                let _ = writeln!(
                    text,
                    "| {} | {at_once} | {} | {} | {} | {} | {} | {:.0} | {:.0} | {:.0} |",
                    asked.name(),
                    run.way.name(),
                    run.round,
                    run.took_us.len(),
                    at(50),
                    at(99),
                    count / run.seconds,
                    run.asterisk / count * 1e6,
                    run.client / count * 1e6,
                );
            }
            let pairs: Vec<(&Run, &Run)> = of(Way::Http).zip(of(Way::Socket)).collect();
            let ratio = |f: &dyn Fn(&Run) -> f64| {
                times(median(
                    pairs.iter().map(|(http, socket)| f(socket) / f(http)),
                ))
            };
            let at = |run: &Run, percent| rank(&run.took_us, percent).unwrap_or(0).max(1) as f64;
            let _ = writeln!(
                verdicts,
                "- {}, {at_once} at once: the event socket takes {} times HTTP's median, {} times its p99, {} \
                 times Asterisk's processor time and {} times the client's.",
                asked.name(),
                ratio(&|run| at(run, 50)),
                ratio(&|run| at(run, 99)),
                ratio(&|run| run.asterisk),
                ratio(&|run| run.client),
            );
        }
    }
    let [http, socket] = rest.blocked_ms;
    let _ = writeln!(
        verdicts,
        "- A ping right behind a command that a playback holds up for {} ms is answered after {http:.1} ms by \
         HTTP and after {socket:.1} ms on the event socket, where one request waits for the other. That is \
         why the product sends its requests by HTTP: an agent's phone must be stopped at once, whatever \
         a prompt holds up. Goal: to know which is better; no figure is set.",
        HOLD.as_millis(),
    );
    text + "\n" + &verdicts
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn first(load: &str) -> &str {
    load.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Pace;

    #[test]
    fn what_is_used_without_calls_is_taken_off() {
        let pace = Pace {
            per_second: 10,
            callers: 100,
        };
        let spent = |value| Spent {
            asterisk: value,
            driver: value * 2.0,
            ..Spent::default()
        };
        let turn = Turn {
            system: System::Holdfast,
            told: Told::Used,
            pace,
            round: 1,
            served: 100,
            seconds: 10.0,
            spent: spent(2.0),
            events: 900,
            in_vain: 0,
            left: 0,
            moved: false,
            load_before: String::new(),
            load_after: String::new(),
            faults: Vec::new(),
        };
        let cost = ByCall::of(&turn, spent(0.1));
        assert_eq!(
            (cost.0.asterisk, cost.0.driver, cost.0.leader),
            (10.0, 20.0, 0.0)
        );
        assert_eq!(cost.together(System::Holdfast), 30.0);
        assert_eq!(cost.together(System::AppQueue), 10.0);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median([4.0, 1.0, f64::NAN].into_iter()), Some(2.5));
        assert_eq!(median([].into_iter()), None);
    }
}
