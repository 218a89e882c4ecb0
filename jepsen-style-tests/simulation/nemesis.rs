//! What goes wrong, when: seeded faults of nodes, disks, network and Asterisks, each with an end.
//!
//! Kinds and rates come from the options. Faults overlap as the dice fall; at the end of the load
//! everything is healed at once.

use crate::asterisk::Asterisk;
use crate::host::Host;
use crate::options::Options;
use crate::people::waits;
use crate::switchboard::Switchboard;
use crate::watch::Watch;
use holdfast_drills::judge::history::{AsteriskSaw, FaultSaw, NodeSaw, Seen};
use holdfast_raft::sim::Keep;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    KillNode,
    KillLeader,
    PowerCut,
    KillAll,
    StopNode,
    IsolateNode,
    CutOneWay,
    BadNetwork,
    KillAsterisk,
    StopAsterisk,
    CutSocket,
    MuteSocket,
    BadWay,
    CutWay,
    WallJump,
    StepDown,
    SlowDisk,
}

/// How a fault ends.
#[derive(Clone, Debug)]
enum End {
    StartNode(usize),
    ResumeNode(usize),
    Join(Vec<(String, String)>),
    GoodNetwork,
    StartAsterisk(usize),
    ResumeAsterisk(usize),
    GoodWay(usize),
    SoundDisk(usize),
    Nothing,
}

pub struct Nemesis {
    rng: StdRng,
    kinds: Vec<(Kind, u64)>,
    next: BTreeMap<Kind, u64>,
    ends: BTreeMap<(u64, u64), End>,
    serial: u64,
    quorum: usize,
    /// Faults so far.
    pub begun: u64,
}

/// What a fault may touch.
pub struct Ground<'a> {
    pub now: u64,
    pub hosts: &'a mut [Host],
    pub asterisks: &'a [Asterisk],
    pub board: &'a Switchboard,
    pub watch: &'a mut Watch,
}

impl Nemesis {
    pub fn new(options: &Options) -> Nemesis {
        let it = &options.faults;
        let kinds = [
            (Kind::KillNode, it.kill_node),
            (Kind::KillLeader, it.kill_leader),
            (Kind::PowerCut, it.power_cut),
            (Kind::KillAll, it.kill_all),
            (Kind::StopNode, it.stop_node),
            (Kind::IsolateNode, it.isolate_node),
            (Kind::CutOneWay, it.cut_one_way),
            (Kind::BadNetwork, it.bad_network),
            (Kind::KillAsterisk, it.kill_asterisk),
            (Kind::StopAsterisk, it.stop_asterisk),
            (Kind::CutSocket, it.cut_socket),
            (Kind::MuteSocket, it.mute_socket),
            (Kind::BadWay, it.bad_way),
            (Kind::CutWay, it.cut_way),
            (Kind::WallJump, it.wall_jump),
            (Kind::StepDown, it.step_down),
            (Kind::SlowDisk, it.slow_disk),
        ];
        let kinds: Vec<(Kind, u64)> = kinds
            .into_iter()
            .filter_map(|(kind, rate)| Some((kind, rate?)))
            .collect();
        let mut rng = StdRng::seed_from_u64(options.seed ^ 0x004e_3e51);
        let next = kinds
            .iter()
            .map(|(kind, rate)| (*kind, waits(&mut rng, *rate)));
        Nemesis {
            next: next.collect(),
            rng,
            kinds,
            ends: BTreeMap::new(),
            serial: 0,
            quorum: options.nodes / 2 + 1,
            begun: 0,
        }
    }

    /// Begins and ends what is due.
    pub fn step(&mut self, ground: &mut Ground<'_>) {
        self.end(ground, ground.now);
        for (kind, rate) in self.kinds.clone() {
            if self.next[&kind] <= ground.now {
                let wait = waits(&mut self.rng, rate);
                self.next.insert(kind, ground.now + wait);
                self.begin(kind, ground);
            }
        }
    }

    /// Everything is well again, and stays so.
    pub fn heal(&mut self, ground: &mut Ground<'_>) {
        self.end(ground, u64::MAX);
        for host in ground.hosts.iter_mut() {
            host.skew(0);
            // One that ended by itself.
            start(host, ground.watch);
        }
        for asterisk in ground.asterisks {
            // A socket that stays silent would be a fault that goes on.
            asterisk.cut_muted();
        }
    }

    fn end(&mut self, ground: &mut Ground<'_>, until: u64) {
        while let Some(entry) = self.ends.first_entry() {
            if entry.key().0 > until {
                return;
            }
            let (_, id) = *entry.key();
            match entry.remove() {
                End::StartNode(at) => start(&mut ground.hosts[at], ground.watch),
                End::ResumeNode(at) => {
                    ground.hosts[at].stop(false);
                    ground.watch.node(&ground.hosts[at].name, NodeSaw::Resumed);
                }
                End::Join(links) => ground.board.set_faults(|faults| {
                    // Another fault may have cut them as well.
                    let cut = self.ends.values().filter_map(|end| match end {
                        End::Join(links) => Some(links),
                        _ => None,
                    });
                    let cut: BTreeSet<_> = cut.flatten().collect();
                    for link in links.iter().filter(|link| !cut.contains(link)) {
                        faults.cut.remove(link);
                    }
                }),
                End::GoodNetwork => ground.board.set_faults(|faults| {
                    let cut = std::mem::take(&mut faults.cut);
                    *faults = Default::default();
                    faults.cut = cut;
                }),
                End::StartAsterisk(at) => {
                    let asterisk = &ground.asterisks[at];
                    if !asterisk.is_alive() {
                        asterisk.start();
                        ground.watch.asterisk(&asterisk.name, AsteriskSaw::Started);
                    }
                }
                End::ResumeAsterisk(at) => {
                    let asterisk = &ground.asterisks[at];
                    asterisk.stop(false);
                    ground.watch.asterisk(&asterisk.name, AsteriskSaw::GoesOn);
                }
                End::GoodWay(at) => {
                    let asterisk = &ground.asterisks[at];
                    let mut cut = false;
                    asterisk.set_faults(|faults| cut = std::mem::take(faults).cut);
                    if cut {
                        ground.watch.asterisk(&asterisk.name, AsteriskSaw::GoesOn);
                    }
                }
                End::SoundDisk(at) => ground.hosts[at]
                    .disk
                    .sync_takes(Duration::ZERO, Duration::ZERO),
                End::Nothing => {}
            }
            let saw = FaultSaw::Ended;
            ground.watch.saw(Seen::Fault { id, saw });
        }
    }

    fn begin(&mut self, kind: Kind, ground: &mut Ground<'_>) {
        let at = self.rng.random_range(0..ground.hosts.len());
        let other = self.rng.random_range(0..ground.hosts.len());
        let length = self.rng.random_range(50..6_000u64);
        let (dice, more) = (self.rng.random_range(0..100u32), self.rng.random_bool(0.5));
        let keep = match self.rng.random_range(0..4) {
            0 => Keep::Nothing,
            1 => Keep::All,
            2 => Keep::Torn(self.rng.random()),
            _ => Keep::Reordered(self.rng.random()),
        };
        let leader = ground.hosts.iter().position(leads);
        let name = ground.hosts[at].name.clone();
        let asterisk = ground.asterisks[at].clone();
        let mut targets = vec![name.clone()];
        let mut cut = Vec::new();
        let mut long = length;
        let ends = match kind {
            Kind::KillNode | Kind::PowerCut => {
                let power = (kind == Kind::PowerCut).then_some(keep);
                kill(&mut ground.hosts[at], power, ground.watch);
                vec![End::StartNode(at)]
            }
            Kind::KillLeader => {
                let Some(at) = leader else { return };
                targets = vec![ground.hosts[at].name.clone()];
                kill(&mut ground.hosts[at], more.then_some(keep), ground.watch);
                vec![End::StartNode(at)]
            }
            Kind::KillAll => {
                targets = ground.hosts.iter().map(|host| host.name.clone()).collect();
                for host in ground.hosts.iter_mut() {
                    kill(host, more.then_some(keep), ground.watch);
                }
                (0..ground.hosts.len()).map(End::StartNode).collect()
            }
            Kind::StopNode => {
                if !ground.hosts[at].runs() {
                    return;
                }
                ground.hosts[at].stop(true);
                ground.watch.node(&name, NodeSaw::Stopped);
                vec![End::ResumeNode(at)]
            }
            Kind::IsolateNode => {
                let mut links = Vec::new();
                for host in ground.hosts.iter().filter(|host| host.name != name) {
                    links.push((name.clone(), host.name.clone()));
                    links.push((host.name.clone(), name.clone()));
                }
                cut_links(ground.board, &links);
                vec![End::Join(links)]
            }
            Kind::CutOneWay => {
                if at == other {
                    return;
                }
                let links = vec![(name.clone(), ground.hosts[other].name.clone())];
                targets.push(ground.hosts[other].name.clone());
                cut_links(ground.board, &links);
                vec![End::Join(links)]
            }
            Kind::BadNetwork => {
                ground.board.set_faults(|faults| {
                    faults.lose_permille = dice * 3;
                    faults.lose_answer_permille = if more { 150 } else { 0 };
                    faults.double_permille = if more { 0 } else { 200 };
                    faults.slow_ms = u64::from(dice) * 2;
                });
                targets = ground.hosts.iter().map(|host| host.name.clone()).collect();
                vec![End::GoodNetwork]
            }
            Kind::KillAsterisk => {
                if !asterisk.is_alive() {
                    return;
                }
                // A real one needs a moment to come back, and its channel ids count by the second.
                long = 1_500 + length;
                asterisk.kill();
                ground.watch.died(&asterisk);
                cut.push(asterisk.name.clone());
                vec![End::StartAsterisk(at)]
            }
            Kind::StopAsterisk => {
                asterisk.stop(true);
                ground
                    .watch
                    .asterisk(&asterisk.name, AsteriskSaw::StandsStill);
                cut.push(asterisk.name.clone());
                vec![End::ResumeAsterisk(at)]
            }
            Kind::CutSocket => {
                asterisk.cut_sockets();
                cut.push(asterisk.name.clone());
                asterisk.set_faults(|faults| faults.refuse_socket = more);
                long = length / 2;
                vec![End::GoodWay(at)]
            }
            Kind::MuteSocket => {
                asterisk.mute_sockets();
                cut.push(asterisk.name.clone());
                // As long as the client needs to notice.
                long = 21_000;
                vec![End::Nothing]
            }
            Kind::BadWay => {
                asterisk.set_faults(|faults| {
                    faults.slow_ms = if more { u64::from(dice) * 30 } else { 0 };
                    faults.lose_permille = dice * 3;
                    faults.fail_permille = if more { 0 } else { dice };
                });
                cut.push(asterisk.name.clone());
                vec![End::GoodWay(at)]
            }
            Kind::CutWay => {
                // What is asked of it meanwhile it does when the way is good again.
                asterisk.set_faults(|faults| faults.cut = true);
                ground
                    .watch
                    .asterisk(&asterisk.name, AsteriskSaw::StandsStill);
                asterisk.mute_sockets();
                cut.push(asterisk.name.clone());
                vec![End::GoodWay(at)]
            }
            Kind::WallJump => {
                let jump = [-3_600_000, 3_600_000, -1_000, 61_000][dice as usize % 4];
                ground.hosts[at].skew(jump);
                vec![End::Nothing]
            }
            Kind::StepDown => {
                step_down(leader.map(|at| &ground.hosts[at]));
                vec![End::Nothing]
            }
            Kind::SlowDisk => {
                let most = Duration::from_millis(u64::from(dice));
                ground.hosts[at].disk.sync_takes(Duration::ZERO, most);
                vec![End::SoundDisk(at)]
            }
        };
        if ends
            .iter()
            .any(|end| matches!(end, End::StartNode(_) | End::ResumeNode(_)))
        {
            // Nobody else can drive their Asterisks.
            cut = targets.clone();
        }
        self.begun(kind, targets, cut, ends, long, ground);
    }

    /// Writes the fault down, with its ends: all of one fault have their own lengths.
    fn begun(
        &mut self,
        kind: Kind,
        targets: Vec<String>,
        cut: Vec<String>,
        ends: Vec<End>,
        long: u64,
        ground: &Ground<'_>,
    ) {
        let well = ground.hosts.iter().filter(|host| host.runs()).count();
        let network = matches!(kind, Kind::BadNetwork | Kind::IsolateNode | Kind::CutOneWay);
        let no_quorum = well < self.quorum || network || !self.ends.is_empty();
        self.begun += 1;
        for end in ends {
            self.serial += 1;
            let begun = FaultSaw::Begun {
                name: format!("{kind:?}"),
                targets: targets.clone(),
                no_quorum,
                cut: cut.clone(),
            };
            ground.watch.saw(Seen::Fault {
                id: self.serial,
                saw: begun,
            });
            let spread = self.rng.random_range(0..500);
            self.ends
                .insert((ground.now + long + spread, self.serial), end);
        }
    }
}

fn leads(host: &Host) -> bool {
    let handle = host.handle().filter(|_| host.runs());
    handle.is_some_and(|handle| handle.raft().leadership().borrow().is_some())
}

fn start(host: &mut Host, watch: &Watch) {
    if !host.is_up() {
        host.start();
        let drives = host.asterisk.name.clone();
        watch.node(&host.name, NodeSaw::Started { drives });
    }
}

fn kill(host: &mut Host, power: Option<Keep>, watch: &Watch) {
    if host.is_up() {
        host.kill(power);
        watch.node(&host.name, NodeSaw::Killed);
    }
}

fn cut_links(board: &Switchboard, links: &[(String, String)]) {
    board.set_faults(|faults| faults.cut.extend(links.iter().cloned()));
}

fn step_down(host: Option<&Host>) {
    if let Some(host) = host
        && let Some(handle) = host.handle()
    {
        host.spawn(async move {
            // It may find nobody to take over; then the leader stays.
            let _ = handle.raft().step_down(None).await;
        });
    }
}
