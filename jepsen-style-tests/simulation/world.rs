//! The whole world of one run, and how a moment passes in it.

use crate::asterisk::{Asterisk, Told, WALL_MS};
use crate::book::{Book, Clock};
use crate::checks::Checks;
use crate::clients::Clients;
use crate::host::{Host, Stepped, Ways};
use crate::log_reader::LogReader;
use crate::nemesis::{Ground, Nemesis};
use crate::options::Options;
use crate::people::People;
use crate::switchboard::Switchboard;
use crate::watch::Watch;
use holdfast_drills::judge::history::{AsteriskSaw, NodeSaw, Seen};
use holdfast_node::NodeConfig;
use holdfast_node::config::{AsteriskSection, Secret, Span, TakeoverSection};
use holdfast_raft::sim::{Honesty, SimDisk};
use holdfast_sim::PbxConfig;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the panic hook: a task of a node panicked, which tokio would only keep to itself.
pub static PANICKED: AtomicBool = AtomicBool::new(false);

pub struct World {
    pub options: Options,
    pub book: Book,
    pub board: Switchboard,
    pub hosts: Vec<Host>,
    pub asterisks: Vec<Asterisk>,
    pub people: People,
    pub clients: Clients,
    pub nemesis: Nemesis,
    pub watch: Watch,
    pub checks: Checks,
    rng: StdRng,
}

impl World {
    pub fn new(options: Options, clock: Clock, trace: Option<File>) -> World {
        let book = Book::new(clock, trace);
        let board = Switchboard::new(options.seed, options.doubles_permille, book.clone());
        let names: Vec<String> = (0..options.nodes)
            .map(|at| char::from(b'a' + at as u8).to_string())
            .collect();
        let asterisks: Vec<Asterisk> = names
            .iter()
            .enumerate()
            .map(|(at, name)| asterisk(&options, at, name, &names, book.clone()))
            .collect();
        let ways: Ways = Arc::new((0..).map(address).zip(asterisks.iter().cloned()).collect());
        let watch = Watch::new(book.clone());
        let hosts = asterisks
            .iter()
            .enumerate()
            .map(|(at, asterisk)| {
                let disk = SimDisk::new(options.seed ^ (0x00d1_5c00 + at as u64));
                if options.lying_disks {
                    disk.swear(|_, _| Honesty::Never);
                }
                let config = config(&options, at, &names);
                let log = LogReader::new(&asterisk.name, watch.source());
                Host::new(
                    config,
                    asterisk.clone(),
                    disk,
                    board.clone(),
                    book.clone(),
                    log,
                    ways.clone(),
                )
            })
            .collect();
        World {
            people: People::new(&options),
            clients: Clients::new(&options),
            nemesis: Nemesis::new(&options),
            checks: Checks::new(book.clone(), watch.source()),
            rng: StdRng::seed_from_u64(options.seed ^ 0x0f0_71d0),
            board,
            hosts,
            asterisks,
            watch,
            book,
            options,
        }
    }

    /// Asterisks and nodes start, and agents come to work.
    pub fn begin(&mut self) {
        for asterisk in &self.asterisks {
            self.watch.asterisk(&asterisk.name, AsteriskSaw::Started);
        }
        self.people.come_to_work(&self.asterisks);
        for host in &mut self.hosts {
            host.start();
            let drives = host.asterisk.name.clone();
            self.watch.node(&host.name, NodeSaw::Started { drives });
        }
    }

    pub fn now(&self) -> u64 {
        self.book.clock.now()
    }

    /// Callers, agents, clients and faults of this moment.
    pub fn live(&mut self) {
        let now = self.now();
        self.people.step(now, &self.asterisks, &mut self.watch);
        self.clients.step(now, &self.hosts, &self.watch);
        let mut ground = Ground {
            now,
            hosts: &mut self.hosts,
            asterisks: &self.asterisks,
            board: &self.board,
            watch: &mut self.watch,
        };
        self.nemesis.step(&mut ground);
    }

    /// All faults end.
    pub fn heal(&mut self) {
        let mut ground = Ground {
            now: self.now(),
            hosts: &mut self.hosts,
            asterisks: &self.asterisks,
            board: &self.board,
            watch: &mut self.watch,
        };
        self.nemesis.heal(&mut ground);
        self.watch.saw(Seen::Quiet);
    }

    /// A moment passes: first at the Asterisks, then in the nodes, in a seeded order.
    pub fn pass(&mut self) {
        let quantum = self.options.quantum_ms;
        self.book.clock.advance(quantum);
        let mut letters = Vec::new();
        for asterisk in self.asterisks.clone() {
            let told = asterisk.step();
            if told.is_empty() {
                continue;
            }
            self.watch.look(&asterisk);
            for told in told {
                match told {
                    Told::Event(event) => self.watch.event(&asterisk, &event),
                    Told::CallerEnded(serial) => {
                        if let Some(end) = asterisk.look(|pbx| pbx.caller_end(serial).cloned()) {
                            self.watch.caller_ended(serial, &end);
                        }
                    }
                    Told::Trunk { to, message } => {
                        letters.push((asterisk.name.clone(), to, message));
                    }
                }
            }
        }
        for (from, to, message) in letters {
            if let Some(other) = self.asterisks.iter().find(|other| other.name == to) {
                other.trunk(&from, message);
            }
        }
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        order.shuffle(&mut self.rng);
        for at in order {
            let host = &mut self.hosts[at];
            if let Stepped::Ended(why) = host.step(quantum) {
                self.watch.node(&host.name, NodeSaw::Killed);
                // No disk of this world breaks by itself.
                let what = format!("{} stopped: {why}", host.name);
                self.book.violated("a node stays up", what);
            }
            self.checks.look(&mut self.hosts[at]);
        }
        if PANICKED.load(Ordering::Relaxed) {
            self.book.violated("no panic", "a task panicked".into());
        }
    }

    /// Draws from the world's own dice.
    pub fn random(&mut self) -> u128 {
        self.rng.random()
    }
}

fn asterisk(options: &Options, at: usize, name: &str, names: &[String], book: Book) -> Asterisk {
    let contexts = [
        "inbound",
        "default",
        "fallback",
        "holdfast-in",
        "holdfast-hold",
    ];
    let asterisk = Asterisk::new(
        PbxConfig {
            name: name.into(),
            app: "QueueARI".into(),
            seed: options.seed ^ (0x00a5_7000 + at as u64),
            sound_percent: 20,
            contexts: contexts.map(String::from).to_vec(),
            unreachable_500_percent: 30,
            endpoints: options
                .agents
                .iter()
                .filter(|(_, home, _)| *home == at)
                .map(|(number, _, _)| number.clone())
                .collect(),
            wall_ms: WALL_MS,
        },
        book,
    );
    for other in names.iter().filter(|other| *other != name) {
        asterisk.act(|pbx| pbx.trunk_add(other));
    }
    asterisk
}

/// Of an Asterisk and of the node beside it.
fn address(at: usize) -> String {
    format!("10.0.0.{}", 1 + at)
}

fn config(options: &Options, at: usize, names: &[String]) -> NodeConfig {
    let name = &names[at];
    let addr = |at: usize| SocketAddr::from(([10, 0, 0, 1 + at as u8], 7081));
    let mut config = NodeConfig::default();
    config.node.name = name.into();
    config.node.data_dir = format!("/{name}").into();
    config.cluster.listen = addr(at);
    config.cluster.join = (0..options.nodes).map(|at| addr(at).to_string()).collect();
    config.cluster.bootstrap_expect = options.nodes;
    config.cluster.secret = Some(Secret::new("a-secret-of-the-simulation"));
    config.cluster.heartbeat = Span::ms(options.heartbeat_ms);
    config.cluster.election_min = Span::ms(options.election_ms.0);
    config.cluster.election_max = Span::ms(options.election_ms.1);
    config.cluster.snapshot_every = options.snapshot_every;
    config.timing.node_away_after = Span::ms(options.node_away_ms);
    config.timing.node_lost_after = Span::ms(options.node_lost_ms);
    config.timing.asterisk_lost_after = Some(Span::ms(options.asterisk_lost_ms));
    config.timing.no_quorum_after = Span::ms(options.no_quorum_ms);
    let url = |at| format!("http://{}:8088/ari", address(at));
    config.asterisk = Some(AsteriskSection {
        url: url(at),
        password: Some(Secret::new("secret")),
        systemname: name.into(),
        ..AsteriskSection::default()
    });
    if let Some(after) = options.takeover_ms {
        config.timing.takeover_after = Span::ms(after);
        let others = names.iter().enumerate().filter(|(other, _)| *other != at);
        config.takeover = others
            .map(|(other, name)| TakeoverSection {
                systemname: name.clone(),
                url: url(other),
                password: Some(Secret::new("secret")),
                ..TakeoverSection::default()
            })
            .collect();
    }
    config
}
