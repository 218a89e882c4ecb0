//! Admin writes: sent twice, by revision, all or nothing, refused with a reason.

mod common;

use common::*;
use holdfast_acd::call::{Outcome, Phase};
use holdfast_acd::limits::{REQUEST_AGE_MS_MAX, REQUESTS_MAX};
use holdfast_acd::reply::{Done, Reject, Reply};
use holdfast_acd::settings::*;
use holdfast_acd::*;

fn write(world: &mut World, request: u128, if_revision: Option<u64>, op: AdminOp) -> Reply {
    let (request, actor) = (RequestId(request), "test".to_string());
    world.apply(Command::Admin(Admin {
        request,
        actor,
        if_revision,
        op,
    }))
}

fn put(maxlen: u32) -> AdminOp {
    let settings = Box::new(QueueSettings {
        maxlen,
        ..QueueSettings::default()
    });
    AdminOp::QueuePut {
        queue: queue("q"),
        settings,
    }
}

#[test]
fn the_same_request_gets_the_same_answer_and_another_write_under_it_is_refused() {
    let mut world = World::empty();
    let first = write(&mut world, 7, None, put(1));
    let op = AdminOp::QueueDelete { queue: queue("q") };
    write(&mut world, 8, None, op).unwrap();
    assert_eq!(write(&mut world, 7, None, put(1)), first);
    assert!(
        world.state.queue(&queue("q")).is_none(),
        "it was not done again"
    );
    assert_eq!(
        write(&mut world, 7, None, put(2)),
        Err(Reject::RequestReused)
    );
}

#[test]
fn a_change_that_is_asked_again_gets_its_answer_whatever_it_would_lead_to_now() {
    let mut world = World::empty();
    let mut ask = |asked, if_revision, op| {
        let admin = Admin {
            request: RequestId(7),
            actor: "ops".into(),
            if_revision,
            op,
        };
        world.apply(Command::AdminAsked { asked, admin })
    };
    let first = ask(1, Some(0), put(1));
    assert!(first.is_ok());
    assert_eq!(ask(1, Some(99), put(2)), first, "the same was asked");
    assert_eq!(ask(2, Some(0), put(1)), Err(Reject::RequestReused));
    let plain = write(&mut world, 7, Some(0), put(1));
    assert_eq!(plain, Err(Reject::RequestReused), "the key is taken");
}

#[test]
fn answers_are_kept_for_a_day_and_only_so_many() {
    let mut world = World::empty();
    write(&mut world, 7, None, put(1)).unwrap();
    world.at += REQUEST_AGE_MS_MAX;
    assert_eq!(
        write(&mut world, 7, None, put(2)),
        Err(Reject::RequestReused)
    );
    world.at += 1;
    write(&mut world, 7, None, put(2)).unwrap();
    let mut state = world.state.clone();
    for number in 0..REQUESTS_MAX as u128 + 5 {
        let stamp = Stamp {
            index: 99,
            at: world.at + number as u64,
            wall_ms: 0,
        };
        let op = AdminOp::TemplateDelete {
            name: "none".into(),
        };
        let (request, actor) = (RequestId(1_000 + number), String::new());
        let admin = Admin {
            request,
            actor,
            if_revision: None,
            op,
        };
        let _ = state.apply(stamp, &Command::Admin(admin), &mut Vec::new());
    }
    assert!(invariants::check(&state).is_empty());
}

#[test]
fn a_write_by_revision_fits_or_says_which_revision_there_is() {
    let mut world = World::empty();
    let Ok(Done::Written { revision }) = write(&mut world, 1, Some(0), put(1)) else {
        panic!()
    };
    assert_eq!(revision, world.index, "the log index of the write");
    let mismatch = Err(Reject::RevisionMismatch { revision });
    assert_eq!(write(&mut world, 2, Some(0), put(2)), mismatch);
    assert!(write(&mut world, 3, Some(revision), put(2)).is_ok());
    assert_eq!(world.state.queue(&queue("q")).unwrap().settings.maxlen, 2);
}

#[test]
fn a_declared_set_is_written_as_a_whole_or_not_at_all() {
    let mut world = World::new(linear(), 2);
    let before = world.state.config();
    let bad = MemberSettings::default();
    let config = Config {
        queues: vec![(queue("new"), QueueSettings::default())],
        members: vec![(queue("new"), agent("nobody"), bad)],
        ..Config::default()
    };
    let op = AdminOp::ConfigPut {
        config: Box::new(config),
        prune: false,
    };
    assert_eq!(world.admin(op), Err(Reject::UnknownAgent(agent("nobody"))));
    assert_eq!(world.state.config(), before);
}

#[test]
fn pruning_deletes_what_is_not_declared_and_stops_at_callers() {
    let mut world = World::new(linear(), 2);
    world.put_queue("old", linear());
    let mut config = world.state.config();
    config.queues.retain(|(name, _)| name.as_str() == "q");
    config.agents.retain(|(id, _)| id.as_str() == "a1");
    config.members.retain(|(_, id, _)| id.as_str() == "a1");
    let put = |prune| AdminOp::ConfigPut {
        config: Box::new(config.clone()),
        prune,
    };
    let call = world.join("old", "c1");
    assert_eq!(
        world.admin(put(true)),
        Err(Reject::QueueNotEmpty(queue("old")))
    );
    world.admin(put(false)).unwrap();
    assert_eq!(world.state.queues().count(), 2);
    world.leave(call, command::LeaveReason::HungUp).unwrap();
    world.admin(put(true)).unwrap();
    assert_eq!(world.state.config(), config);
    let revision = world.state.config_revision();
    world.admin(put(true)).unwrap();
    assert_eq!(
        world.state.config_revision(),
        revision,
        "nothing new, nothing changed"
    );
}

#[test]
fn a_template_makes_a_queue_for_an_unknown_name_that_fits() {
    let mut world = World::new(linear(), 1);
    let template = Template {
        pattern: "*@sales".into(),
        settings: linear(),
        members: vec![
            (agent("a1"), MemberSettings::default()),
            (agent("nobody"), MemberSettings::default()),
        ],
    };
    let template = Box::new(template);
    world
        .admin(AdminOp::TemplatePut {
            name: "sales".into(),
            template,
        })
        .unwrap();
    let refused = world.join_with("100@other", "c1", |_| {});
    assert_eq!(refused, Err(Reject::UnknownQueue(queue("100@other"))));
    let call = world.join("100@sales", "c1");
    assert_eq!(world.serve(), [(call, vec!["a1".to_string()])]);
    let made = world.state.queue(&queue("100@sales")).unwrap();
    assert_eq!(made.template.as_deref(), Some("sales"));
    assert!(
        world
            .state
            .config()
            .queues
            .iter()
            .all(|(name, _)| name.as_str() == "q")
    );
}

#[test]
fn nothing_in_use_is_deleted() {
    let mut world = World::new(linear(), 1);
    let call = world.join("q", "c1");
    let op = AdminOp::QueueDelete { queue: queue("q") };
    assert_eq!(world.admin(op), Err(Reject::QueueNotEmpty(queue("q"))));
    world.serve();
    let delete = || AdminOp::AgentDelete { agent: agent("a1") };
    assert_eq!(world.admin(delete()), Err(Reject::AgentBusy(agent("a1"))));
    world.answer(call, "a1").unwrap();
    let op = AdminOp::QueueDelete { queue: queue("q") };
    assert_eq!(
        world.admin(op),
        Err(Reject::QueueNotEmpty(queue("q"))),
        "the call needs it still"
    );
    world.end(call, command::EndedBy::Caller).unwrap();
    world.admin(delete()).unwrap();
}

#[test]
fn pause_logout_and_removal_withdraw_an_offer_and_end_no_call() {
    let reason = || "x".to_string();
    for op in [
        AdminOp::AgentPause {
            agent: agent("a1"),
            queue: None,
            reason: reason(),
        },
        AdminOp::AgentPause {
            agent: agent("a1"),
            queue: Some(queue("q")),
            reason: reason(),
        },
        AdminOp::AgentLogout { agent: agent("a1") },
        AdminOp::MemberDelete {
            queue: queue("q"),
            agent: agent("a1"),
        },
    ] {
        let mut world = World::new(linear(), 2);
        let call = world.join("q", "c1");
        world.serve();
        world.admin(op.clone()).unwrap();
        assert_eq!(world.serve(), [(call, vec!["a2".to_string()])], "{op:?}");
        let mut world = World::new(linear(), 1);
        let call = world.join("q", "c1");
        world.serve();
        world.answer(call, "a1").unwrap();
        world.admin(op.clone()).unwrap();
        assert!(world.outcomes().is_empty(), "{op:?}");
        world.end(call, command::EndedBy::Caller).unwrap();
        world.join("q", "c2");
        assert!(world.serve().is_empty(), "{op:?}");
    }
}

#[test]
fn a_pause_in_one_queue_leaves_the_others() {
    let mut world = World::new(linear(), 1);
    world.put_queue("r", linear());
    world.add_member("r", "a1", 0);
    let pause = AdminOp::AgentPause {
        agent: agent("a1"),
        queue: Some(queue("q")),
        reason: "x".into(),
    };
    world.admin(pause).unwrap();
    world.join("q", "c1");
    let other = world.join("r", "c2");
    assert_eq!(world.serve(), [(other, vec!["a1".to_string()])]);
}

#[test]
fn a_moved_caller_stands_behind_those_who_came_earlier_there() {
    let mut world = World::new(linear(), 0);
    world.put_queue("r", linear());
    let first = world.join("r", "c1");
    let moved = world.join("q", "c2");
    let last = world.join("r", "c3");
    world
        .admin(AdminOp::CallMove {
            call: moved,
            queue: queue("r"),
        })
        .unwrap();
    let positions = [first, moved, last].map(|call| world.state.position(call).unwrap());
    assert_eq!(positions, [1, 2, 3]);
    world
        .admin(AdminOp::CallPriority {
            call: last,
            priority: 1,
        })
        .unwrap();
    assert_eq!(world.state.position(last), Some(1));
}

#[test]
fn settings_that_make_no_sense_are_refused_and_named() {
    type Case = (&'static str, fn(&mut QueueSettings));
    let cases: Vec<Case> = vec![
        ("music_class", |it| it.music_class = "a b".into()),
        ("ring_time_ms", |it| it.ring_time_ms = 0),
        ("timeout_ms", |it| it.timeout_ms = Some(u64::MAX)),
        ("steps", |it| {
            it.steps = vec![Step::default(), Step::default()]
        }),
        ("announce.frequency_ms", |it| it.announce.frequency_ms = 5),
        ("announce.periodic", |it| {
            it.announce.periodic = vec!["../../etc/passwd".into()]
        }),
        ("announce.prompts", |it| {
            it.announce.prompts.minute = "number:5".into()
        }),
        ("announce.round_seconds", |it| {
            it.announce.round_seconds = 61
        }),
        ("exit_keys", |it| it.exit_keys = vec!["12".into()]),
        ("exit_keys", |it| {
            it.exit_keys = vec!["1".into(), "1".into()]
        }),
        ("exit_context", |it| it.exit_context = Some("a|b".into())),
        ("fallback.exten", |it| {
            it.fallback.exten = Some("${X}".into())
        }),
        ("fallback.priority", |it| it.fallback.priority = Some(0)),
        ("retry.busy_ms", |it| it.retry.busy_ms = u64::MAX),
        ("join_empty", |it| {
            it.join_empty = EmptyRule(vec![Empty::Paused; 9])
        }),
    ];
    for (named, spoil) in cases {
        let mut settings = QueueSettings::default();
        spoil(&mut settings);
        let op = AdminOp::QueuePut {
            queue: queue("q"),
            settings: Box::new(settings),
        };
        let refused = World::empty().admin(op);
        let Err(Reject::Invalid { what, .. }) = refused else {
            panic!("{named}: {refused:?}")
        };
        assert_eq!(what, format!("q {named}"));
    }
    let endpoint = Some("PJSIP/1&Local/900@toll".to_string());
    let settings = AgentSettings {
        endpoint,
        ..AgentSettings::default()
    };
    let refused = World::empty().admin(AdminOp::AgentPut {
        agent: agent("a"),
        settings,
    });
    assert!(matches!(refused, Err(Reject::Invalid { .. })));
}

/// `QueueWithdrawCaller`
#[test]
fn a_withdrawn_caller_takes_the_information_along() {
    let mut world = World::new(linear(), 0);
    let call = world.join("q", "c1");
    world
        .admin(AdminOp::CallWithdraw {
            call,
            info: "closing\r\nnow".into(),
        })
        .unwrap();
    let Phase::Leaving { outcome, .. } = &world.state.call(call).unwrap().phase else {
        panic!()
    };
    assert_eq!(
        *outcome,
        Outcome::Withdrawn {
            info: "closingnow".into()
        }
    );
    assert_eq!(outcome.queue_status(), Some("WITHDRAW"));
}
