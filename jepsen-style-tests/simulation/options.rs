//! Everything about a run that the seed decides beforehand: how many nodes, queues, agents and
//! callers, their settings and habits, and which faults come how often (swarm testing: each run
//! leaves some kinds out, so that the others are seen in company and alone).

use holdfast_acd::settings::{Announce, Connect, QueueSettings, Strategy};
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// One kind of fault and its mean distance in milliseconds; `None`: not in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    pub kill_node: Option<u64>,
    pub kill_leader: Option<u64>,
    pub power_cut: Option<u64>,
    pub kill_all: Option<u64>,
    pub stop_node: Option<u64>,
    pub isolate_node: Option<u64>,
    pub cut_one_way: Option<u64>,
    pub bad_network: Option<u64>,
    pub kill_asterisk: Option<u64>,
    pub stop_asterisk: Option<u64>,
    pub cut_socket: Option<u64>,
    pub mute_socket: Option<u64>,
    pub bad_way: Option<u64>,
    pub cut_way: Option<u64>,
    pub wall_jump: Option<u64>,
    pub step_down: Option<u64>,
    pub slow_disk: Option<u64>,
}

/// The derived options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub nodes: usize,
    /// Some queues are connected by the dialplan.
    pub by_dialplan: bool,
    /// How far all clocks go between two looks of the world, in milliseconds.
    pub quantum_ms: u64,
    /// Callers come and faults happen for so long.
    pub load_ms: u64,
    pub heartbeat_ms: u64,
    pub election_ms: (u64, u64),
    pub snapshot_every: u64,
    pub node_away_ms: u64,
    pub node_lost_ms: u64,
    /// Nodes take the Asterisks of others over after so long.
    pub takeover_ms: Option<u64>,
    pub asterisk_lost_ms: u64,
    pub no_quorum_ms: u64,
    pub queues: Vec<(String, QueueSettings)>,
    /// Number, home, and the queues he is in, by place.
    pub agents: Vec<(String, usize, Vec<usize>)>,
    /// Percent of rings at which a person does not answer, is busy, rejects.
    pub moods: (u8, u8, u8),
    pub answer_ms: (u64, u64),
    pub talk_ms: (u64, u64),
    pub patience_ms: (u64, u64),
    /// Mean time between two callers, over all.
    pub arrival_ms: u64,
    /// Mean time between two deeds of agents beside answering: hang-ups, unregistering.
    pub deed_ms: u64,
    /// Mean time between two admin operations.
    pub admin_ms: u64,
    pub faults: Rates,
    /// Of 1000 calls between nodes, so many arrive twice in the best of networks: as one does whose
    /// sender heard nothing and asked again.
    pub doubles_permille: u32,
    /// Disks that acknowledge a sync and do nothing. Not by the seed: a deliberate bug.
    pub lying_disks: bool,
}

impl Options {
    pub fn of(seed: u64) -> Options {
        let mut rng = StdRng::seed_from_u64(seed);
        let rng = &mut rng;
        let by_dialplan = rng.random_range(0..8) == 0;
        let alone = rng.random_range(0..10) == 0;
        // The dialplan cannot tell agents behind one trunk apart, so its agents have no trunks.
        let nodes = if alone || by_dialplan { 1 } else { 3 };
        let heartbeat_ms = *[50, 100].choose(rng).expect("not empty");
        let election_min = heartbeat_ms * rng.random_range(3..=4);
        let count = rng.random_range(1..=4);
        let queues: Vec<_> = (0..count)
            .map(|at| (format!("q{at}"), queue(rng, by_dialplan)))
            .collect();
        let agents = (0..rng.random_range(1..=8))
            .map(|at| {
                let mut member: Vec<usize> = (0..count).filter(|_| rng.random_bool(0.6)).collect();
                if member.is_empty() {
                    member.push(rng.random_range(0..count));
                }
                ((1001 + at).to_string(), rng.random_range(0..nodes), member)
            })
            .collect();
        let answer = rng.random_range(5..3000);
        let talk = rng.random_range(100..8000);
        let patience = rng.random_range(2_000..40_000);
        Options {
            seed,
            nodes,
            by_dialplan,
            quantum_ms: *[1, 1, 1, 2, 5].choose(rng).expect("not empty"),
            load_ms: rng.random_range(10_000..40_000),
            heartbeat_ms,
            election_ms: (election_min, election_min * 2),
            snapshot_every: *[20, 50, 200, 5000].choose(rng).expect("not empty"),
            node_away_ms: election_min * 2 + rng.random_range(0..800),
            // Longer than most outages, but see `hard_times`.
            node_lost_ms: rng.random_range(30_000..60_000),
            takeover_ms: None,
            asterisk_lost_ms: rng.random_range(300..2000),
            no_quorum_ms: rng.random_range(2_000..12_000),
            queues,
            agents,
            moods: (
                rng.random_range(0..25),
                rng.random_range(0..15),
                rng.random_range(0..15),
            ),
            answer_ms: (answer / 4, answer),
            talk_ms: (talk / 4, talk),
            patience_ms: (patience / 4, patience),
            arrival_ms: rng.random_range(100..2_000),
            deed_ms: rng.random_range(1_000..20_000),
            admin_ms: rng.random_range(200..3_000),
            faults: rates(rng, nodes, by_dialplan),
            doubles_permille: *[0, 20, 200].choose(rng).expect("not empty"),
            lying_disks: false,
        }
        .hard_times()
    }

    /// In some runs of three nodes many outages outlast the time after which a node is given up, while
    /// its Asterisk lives; in some others nodes take each other's Asterisks over. By dice of their own,
    /// so that all else of a seed stays what it was.
    fn hard_times(mut self) -> Options {
        let mut rng = StdRng::seed_from_u64(self.seed ^ 0x1057_7a1c);
        if self.nodes < 3 || self.by_dialplan {
            return self;
        }
        match rng.random_range(0..5) {
            0 => {
                self.node_lost_ms = self.node_away_ms + rng.random_range(300..2_000);
                // Long enough for a talk to outlast the record of its call.
                self.talk_ms = (3_000, rng.random_range(8_000..20_000));
            }
            1 => {
                let after = rng.random_range(500..2_500);
                self.takeover_ms = Some(after);
            }
            _ => {}
        }
        self
    }
}

fn queue(rng: &mut StdRng, by_dialplan: bool) -> QueueSettings {
    use Strategy::*;
    let strategy = *[RingAll, RrMemory, Linear, LeastRecent, FewestCalls, Random]
        .choose(rng)
        .expect("not empty");
    let announce = match rng.random_bool(0.5) {
        true => Announce {
            // Longer than an announcement lasts: one that waits for the end of the last tells of then.
            frequency_ms: rng.random_range(5_000..15_000),
            min_frequency_ms: 5_000,
            first_after_ms: rng.random_range(500..4_000),
            ..Announce::default()
        },
        false => Announce::default(),
    };
    let connect = match by_dialplan && rng.random_bool(0.7) {
        true => Connect::Dialplan,
        false => Connect::Ari,
    };
    let mut settings = QueueSettings {
        strategy,
        connect,
        announce,
        ring_time_ms: rng.random_range(1_000..10_000),
        timeout_ms: rng
            .random_bool(0.6)
            .then(|| rng.random_range(3_000..30_000)),
        wrap_up_ms: if rng.random_bool(0.5) {
            rng.random_range(0..4_000)
        } else {
            0
        },
        weight: rng.random_range(0..3),
        maxlen: if rng.random_bool(0.2) {
            rng.random_range(1..10)
        } else {
            0
        },
        resume_window_ms: rng.random_range(0..60_000),
        ..QueueSettings::default()
    };
    settings.retry.no_answer_ms = rng.random_range(0..3_000);
    settings.retry.busy_ms = rng.random_range(0..3_000);
    settings.retry.rejected_ms = rng.random_range(0..3_000);
    settings.retry.unreachable_ms = rng.random_range(0..3_000);
    settings
}

/// What the dialplan does while nobody looks at its Asterisk is not known afterwards: a call that was
/// answered then counts as abandoned. So runs with such queues have only faults that blind nobody.
fn rates(rng: &mut StdRng, nodes: usize, by_dialplan: bool) -> Rates {
    // Some runs are calm, so that what only shows in peace is seen too.
    let calm = rng.random_bool(0.1);
    let mut rate = |chance: f64, least: u64, most: u64| {
        let (drawn, ms) = (rng.random_bool(chance), rng.random_range(least..most));
        (drawn && !calm).then_some(ms)
    };
    let many = |rate: Option<u64>| rate.filter(|_| nodes > 1);
    let blinding = |rate: Option<u64>| rate.filter(|_| !by_dialplan);
    Rates {
        kill_node: blinding(rate(0.4, 4_000, 20_000)),
        kill_leader: blinding(many(rate(0.4, 4_000, 20_000))),
        power_cut: blinding(rate(0.4, 4_000, 20_000)),
        kill_all: blinding(rate(0.15, 10_000, 30_000)),
        stop_node: blinding(rate(0.3, 4_000, 20_000)),
        isolate_node: many(rate(0.3, 4_000, 20_000)),
        cut_one_way: many(rate(0.3, 4_000, 20_000)),
        bad_network: many(rate(0.4, 4_000, 15_000)),
        kill_asterisk: blinding(rate(0.3, 5_000, 25_000)),
        stop_asterisk: blinding(rate(0.25, 5_000, 25_000)),
        cut_socket: blinding(rate(0.4, 2_000, 15_000)),
        mute_socket: blinding(rate(0.2, 5_000, 25_000)),
        bad_way: blinding(rate(0.4, 3_000, 15_000)),
        cut_way: blinding(rate(0.2, 5_000, 25_000)),
        wall_jump: rate(0.3, 2_000, 10_000),
        step_down: many(rate(0.3, 3_000, 15_000)),
        slow_disk: rate(0.3, 3_000, 15_000),
    }
}
