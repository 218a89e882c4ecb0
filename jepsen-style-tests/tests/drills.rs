//! Every nemesis once, each as a test of its own name, and a few on real Asterisks.
//!
//! A drill is one process group on hosts of its own, under root. What is demanded is in the report: no
//! violation. `make drill` does the same by hand and for longer.

use holdfast_drills::drill::nemesis::{ALL, named};
use holdfast_drills::drill::workload::Workload;
use holdfast_drills::drill::{Plan, perform};
use holdfast_drills::lab::Kind;

/// Seed of every drill here. Another one is tried by hand.
const SEED: u64 = 7;
/// Callers at once in the flood.
const FLOOD: u32 = 300;

fn drill(kind: Kind, name: &str) {
    let nemesis = named(name).expect("a name of the table");
    let report = perform(&Plan::once(kind, SEED, vec![nemesis]));
    assert!(report.is_clean(), "{}", report.text());
    assert!(report.ledger.called > 0, "nobody called: {}", report.text());
}

macro_rules! drills {
    ($($test:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                drill(Kind::Sim, $name);
            }
        )*

        #[test]
        fn the_table_and_these_tests_name_the_same() {
            let tested = [$($name),*];
            let listed: Vec<&str> = ALL.iter().map(|nemesis| nemesis.name).collect();
            assert_eq!(tested.as_slice(), listed);
        }
    };
}

drills! {
    drill_cut_one_way "cut-one-way"
    drill_cut_at_switch "cut-at-switch"
    drill_bridge_partition "bridge-partition"
    drill_isolate_leader "isolate-leader"
    drill_isolate_follower "isolate-follower"
    drill_loss "loss"
    drill_reset "reset"
    drill_slow_link "slow-link"
    drill_delay "delay"
    drill_jitter "jitter"
    drill_black_hole "black-hole"
    drill_answers_lost "answers-lost"
    drill_kill_leader "kill-leader"
    drill_kill_follower "kill-follower"
    drill_kill_two "kill-two"
    drill_kill_all "kill-all"
    drill_kill_at_fsync "kill-at-fsync"
    drill_fsync_error "fsync-error"
    drill_fsync_slow "fsync-slow"
    drill_torn_write "torn-write"
    drill_bit_flip "bit-flip"
    drill_no_room_once "no-room-once"
    drill_bit_rot "bit-rot"
    drill_disk_full "disk-full"
    drill_disk_read_only "disk-read-only"
    drill_power_loss "power-loss"
    drill_power_loss_all "power-loss-all"
    drill_disk_slow "disk-slow"
    drill_pause_short "pause-short"
    drill_pause_leader "pause-leader"
    drill_pause_follower "pause-follower"
    drill_pause_host "pause-host"
    drill_starve "starve"
    drill_clock_jump "clock-jump"
    drill_boot_offset "boot-offset"
    drill_asterisk_kill "asterisk-kill"
    drill_asterisk_pause "asterisk-pause"
    drill_ari_reset "ari-reset"
    drill_ari_events_cut "ari-events-cut"
    drill_ari_slow "ari-slow"
    drill_ari_answers_lost "ari-answers-lost"
    drill_remove_follower "remove-follower"
    drill_remove_leader "remove-leader"
    drill_wipe_follower "wipe-follower"
    drill_rolling_restart "rolling-restart"
    drill_rolling_upgrade "rolling-upgrade"
}

/// Two at a time.
fn pair(one: &str, other: &str) {
    let nemeses = [one, other].map(|name| named(name).expect("a name of the table"));
    let plan = Plan {
        pairs: true,
        ..Plan::once(Kind::Sim, SEED, nemeses.to_vec())
    };
    let report = perform(&plan);
    assert!(report.is_clean(), "{}", report.text());
}

#[test]
fn drill_pair_kill_leader_while_an_asterisk_is_hard_to_talk_to() {
    pair("kill-leader", "ari-answers-lost");
}

#[test]
fn drill_pair_isolate_leader_while_a_disk_is_slow() {
    pair("isolate-leader", "fsync-slow");
}

#[test]
fn drill_pair_kill_leader_while_a_wall_clock_jumps() {
    pair("kill-leader", "clock-jump");
}

/// Other callers and queues than usual.
fn workload(workload: Workload, name: &str) {
    let nemesis = named(name).expect("a name of the table");
    let plan = Plan {
        workload,
        ..Plan::once(Kind::Sim, SEED, vec![nemesis])
    };
    let report = perform(&plan);
    assert!(report.is_clean(), "{}", report.text());
    let least = u64::from(workload.flood()).max(1);
    assert!(report.ledger.called >= least, "{}", report.text());
}

#[test]
fn drill_kill_leader_under_ten_queues_with_overlapping_agents() {
    workload(Workload::TenQueues, "kill-leader");
}

#[test]
fn drill_kill_leader_under_a_flood() {
    workload(Workload::Flood(FLOOD), "kill-leader");
}

#[test]
fn real_drill_kill_leader() {
    drill(Kind::Real, "kill-leader");
}

#[test]
fn real_drill_isolate_leader() {
    drill(Kind::Real, "isolate-leader");
}

#[test]
fn real_drill_asterisk_kill() {
    drill(Kind::Real, "asterisk-kill");
}
