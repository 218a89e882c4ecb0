//! What waiting callers are told, and when, as app_queue does. Each test names the option of
//! queues.conf it reproduces.

mod common;

use common::*;
use holdfast_acd::call::Prompt;
use holdfast_acd::command::LeaveReason;
use holdfast_acd::settings::*;
use holdfast_acd::*;

fn settings(change: impl FnOnce(&mut QueueSettings)) -> QueueSettings {
    let mut settings = linear();
    change(&mut settings);
    settings
}

fn announced(world: &World, call: CallId) -> Vec<Prompt> {
    let call = world.state.call(call).unwrap();
    call.announcement
        .clone()
        .map(|it| it.prompts)
        .unwrap_or_default()
}

fn sound(name: &str) -> Prompt {
    Prompt::Sound(name.into())
}

fn announcing(change: impl FnOnce(&mut Announce)) -> QueueSettings {
    settings(|it| {
        it.announce.frequency_ms = 30_000;
        change(&mut it.announce);
    })
}

/// `announce-frequency`, `announce-position = yes`, and the original's first one after 3 s
#[test]
fn the_position_is_told_after_three_seconds_and_then_by_frequency() {
    let mut world = World::new(announcing(|_| {}), 0);
    let first = world.join("q", "c1");
    let second = world.join("q", "c2");
    world.pass(2_999);
    assert!(announced(&world, first).is_empty());
    world.pass(1);
    assert_eq!(
        announced(&world, first),
        [sound("queue-youarenext"), sound("queue-thankyou")]
    );
    let there_are = [
        sound("queue-thereare"),
        Prompt::Number(2),
        sound("queue-callswaiting"),
        sound("queue-thankyou"),
    ];
    assert_eq!(announced(&world, second), there_are);
    world.pass(29_999);
    assert_eq!(
        world
            .state
            .call(first)
            .unwrap()
            .announcement
            .as_ref()
            .unwrap()
            .number,
        1
    );
    world.pass(1);
    assert_eq!(
        world
            .state
            .call(first)
            .unwrap()
            .announcement
            .as_ref()
            .unwrap()
            .number,
        2
    );
}

/// `min-announce-frequency`
#[test]
fn a_changed_position_is_told_sooner_but_not_too_soon() {
    let mut world = World::new(announcing(|_| {}), 0);
    let first = world.join("q", "c1");
    let second = world.join("q", "c2");
    world.pass(3_000);
    world.leave(first, LeaveReason::HungUp).unwrap();
    world.pass(14_999);
    assert_eq!(
        world
            .state
            .call(second)
            .unwrap()
            .announcement
            .as_ref()
            .unwrap()
            .number,
        1
    );
    world.pass(1);
    assert_eq!(announced(&world, second)[0], sound("queue-youarenext"));
}

/// `announce-to-first-user = no`
#[test]
fn the_first_caller_may_be_left_in_peace() {
    let mut world = World::new(announcing(|it| it.to_first_user = false), 0);
    let first = world.join("q", "c1");
    let second = world.join("q", "c2");
    world.pass(3_000);
    assert!(announced(&world, first).is_empty());
    assert!(!announced(&world, second).is_empty());
}

/// `announce-position-only-up`
#[test]
fn a_position_that_got_worse_is_not_told_with_only_up() {
    let mut world = World::new(announcing(|it| it.only_up = true), 0);
    world.join("q", "c1");
    let second = world.join("q", "c2");
    world.pass(3_000);
    world
        .join_with("q", "c3", |join| join.priority = 9)
        .unwrap();
    world.pass(60_000);
    assert_eq!(
        world
            .state
            .call(second)
            .unwrap()
            .announcement
            .as_ref()
            .unwrap()
            .number,
        1
    );
}

/// An announcement that had to wait is told as the line is by then, and by the same rules.
#[test]
fn a_position_that_has_changed_since_it_was_due_is_told_as_it_is_now() {
    let said = |world: &World, call| {
        let now = world.state.announcement_now(call);
        now.map(|it| (it.number, it.position, it.prompts))
    };
    let mut world = World::new(announcing(|it| it.only_up = true), 0);
    let first = world.join("q", "c1");
    let second = world.join("q", "c2");
    let third = world.join("q", "c3");
    assert_eq!(said(&world, third), None);
    world.pass(3_000);
    let thanks = sound("queue-thankyou");
    let of_two = vec![
        sound("queue-thereare"),
        Prompt::Number(2),
        sound("queue-callswaiting"),
        thanks.clone(),
    ];
    assert_eq!(said(&world, second), Some((1, 2, of_two.clone())));
    world.leave(first, LeaveReason::HungUp).unwrap();
    let next = vec![sound("queue-youarenext"), thanks];
    assert_eq!(said(&world, second), Some((1, 1, next)));
    assert_eq!(said(&world, third), Some((1, 2, of_two)));
    // Worse than it was, which is not told; and of a line that he has left nothing is.
    world
        .join_with("q", "c4", |join| join.priority = 9)
        .unwrap();
    world
        .join_with("q", "c5", |join| join.priority = 9)
        .unwrap();
    assert_eq!(said(&world, third), None);
    world.leave(second, LeaveReason::HungUp).unwrap();
    world.leave(third, LeaveReason::HungUp).unwrap();
    assert_eq!(said(&world, third), None);
}

/// `announce-position = limit` and `more`, `announce-position-limit`
#[test]
fn beyond_the_limit_nothing_or_more_than_is_said() {
    for (position, expected) in [
        (AnnouncePosition::Limit, vec![]),
        (
            AnnouncePosition::More,
            vec![
                sound("queue-quantity1"),
                Prompt::Number(1),
                sound("queue-quantity2"),
                sound("queue-thankyou"),
            ],
        ),
        (AnnouncePosition::No, vec![]),
    ] {
        let mut world = World::new(
            announcing(|it| {
                it.position = position;
                it.position_limit = 1;
            }),
            0,
        );
        world.join("q", "c1");
        let second = world.join("q", "c2");
        world.pass(3_000);
        assert_eq!(announced(&world, second), expected, "{position:?}");
    }
}

/// `announce-holdtime = once`, `announce-round-seconds`
#[test]
fn the_hold_time_is_told_in_rounded_minutes_and_seconds() {
    let mut world = World::new(
        announcing(|it| {
            it.hold_time = AnnounceHoldTime::Once;
            it.round_seconds = 10;
            it.position = AnnouncePosition::No;
        }),
        1,
    );
    let slow = world.join("q", "c1");
    world.pass(200_000);
    world.serve();
    world.answer(slow, "a1").unwrap();
    // Average 50 s, plus 30 s as app_queue has it, minus the 3 s waited: 77 s.
    let call = world.join("q", "c2");
    world.pass(3_000);
    let told = [
        sound("queue-holdtime"),
        Prompt::Number(1),
        sound("queue-minute"),
        Prompt::Number(10),
        sound("queue-seconds"),
        sound("queue-thankyou"),
    ];
    assert_eq!(announced(&world, call), told);
    world.pass(60_000);
    assert_eq!(
        world
            .state
            .call(call)
            .unwrap()
            .announcement
            .as_ref()
            .unwrap()
            .number,
        1
    );
}

/// `periodic-announce`, `periodic-announce-frequency`
#[test]
fn periodic_announcements_are_played_in_turn() {
    let periodic = vec!["one".to_string(), "two".to_string()];
    let mut world = World::new(
        settings(|it| {
            it.announce.periodic = periodic;
            it.announce.periodic_frequency_ms = 20_000;
        }),
        0,
    );
    let call = world.join("q", "c1");
    world.pass(19_999);
    assert!(announced(&world, call).is_empty());
    for name in ["one", "two", "one"] {
        world.pass(if name == "one" && announced(&world, call).is_empty() {
            1
        } else {
            20_000
        });
        assert_eq!(announced(&world, call), [sound(name)]);
    }
}
