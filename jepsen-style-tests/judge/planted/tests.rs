//! Right histories are accepted, and each planted bug is found by its property and by no other.

use super::bugs::{BUGS, Scene};
use super::world;
use crate::judge::properties::Property;
use crate::judge::story::Story;
use crate::judge::{History, Limits, judge};
use std::collections::BTreeSet;

const ALL: [Property; 11] = [
    Property::EndsOnce,
    Property::OneHand,
    Property::BridgedOnce,
    Property::Order,
    Property::Deadlines,
    Property::Writes,
    Property::Pauses,
    Property::Replicas,
    Property::Heals,
    Property::Positions,
    Property::OneDriver,
];

/// Each bug must find its place in so many histories, and be found in each.
const PLANTED: usize = 6;
const SEEDS: u64 = 200;

fn limits() -> Limits {
    Limits::simulation().demanding(&ALL)
}

#[test]
fn histories_of_a_system_that_works_are_accepted_and_wholly_judged() {
    let mut ends = BTreeSet::new();
    for seed in 0..SEEDS {
        let verdict = judge(&world::history(seed), &limits());
        assert!(verdict.kept(), "seed {seed}\n{}", verdict.report());
        ends.extend(verdict.ledger.fates.keys().copied());
    }
    let all = ["abandoned", "answered", "lost", "timeout"];
    assert_eq!(ends, BTreeSet::from(all), "the world has all of these ends");
}

#[test]
fn each_planted_bug_is_found_by_its_property_and_by_no_other() {
    let mut planted = vec![0; BUGS.len()];
    for seed in 0..SEEDS {
        if planted.iter().all(|count| *count >= PLANTED) {
            return;
        }
        let history = world::history(seed);
        let story = Story::of(&history);
        let scene = Scene { history, story };
        for ((name, property, plant), count) in BUGS.iter().zip(&mut planted) {
            if *count >= PLANTED {
                continue;
            }
            let Some(records) = plant(&scene) else {
                continue;
            };
            let verdict = judge(&History::new(records), &limits());
            let found = verdict.broken_properties();
            assert_eq!(
                found,
                BTreeSet::from([*property]),
                "{name}, seed {seed}\n{}",
                verdict.report()
            );
            *count += 1;
        }
    }
    for ((name, ..), count) in BUGS.iter().zip(planted) {
        assert!(
            count >= PLANTED,
            "{name} found its place {count} times only"
        );
    }
}

#[test]
fn a_history_that_contradicts_itself_or_is_not_whole_is_not_accepted() {
    let mut history = world::history(1);
    history.dropped = 1;
    assert!(judge(&history, &limits()).report().contains("not whole"));
    let whole = world::history(1);
    let of_clients =
        |record: &&crate::judge::Record| matches!(record.seen, crate::judge::Seen::Client { .. });
    let without: Vec<_> = whole
        .records()
        .iter()
        .filter(|r| !of_clients(r))
        .cloned()
        .collect();
    let verdict = judge(&History::new(without), &limits());
    assert!(
        verdict
            .report()
            .contains("promise 6 (Writes) was not judged"),
        "{}",
        verdict.report()
    );
    assert_eq!(
        verdict.broken_properties(),
        BTreeSet::from([Property::Writes])
    );
    let mut again = whole.records().to_vec();
    again.extend(whole.records().iter().filter(of_clients).take(1).cloned());
    let verdict = judge(&History::new(again), &limits());
    assert!(
        verdict.report().contains("contradicts itself"),
        "{}",
        verdict.report()
    );
}

#[test]
fn a_report_tells_the_ledger_and_the_events_around_a_violation() {
    let history = world::history(3);
    let story = Story::of(&history);
    let scene = Scene { history, story };
    let (.., plant) = BUGS[0];
    let records = plant(&scene).expect("callers hang up in every history");
    let report = judge(&History::new(records), &limits()).report();
    for part in [
        "callers: entered",
        "answered",
        "promise 1 (EndsOnce): judged",
        "ended twice",
        "\"hung_up\"",
        "verdict: BROKEN",
    ] {
        assert!(report.contains(part), "{part} is missing in\n{report}");
    }
}
