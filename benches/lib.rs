//! A full house for measuring: queues with long lines, agents who all talk, and what happens on a busy
//! day, one thing at a time, so that it is as full afterwards as before.
//!
//! It holds no clock and counts nothing: `core/` measures time, `tests/costs.rs` instructions and
//! `tests/allocations.rs` what is taken from the heap.

use std::cell::Cell;

use holdfast_acd::command::{CallerJoin, DeviceState, EndedBy, JoinOptions, LeaveReason};
use holdfast_acd::settings::{AgentSettings, Announce, MemberSettings, QueueSettings, Strategy};
use holdfast_acd::*;

/// How big the house is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub strategy: Strategy,
    /// In line, in all queues together. If there are none, all agents are free.
    pub callers: usize,
    /// Each in two queues, or in the only one.
    pub agents: usize,
    pub queues: usize,
}

/// What happens again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A caller enters at the end of a line and hangs up.
    Abandon,
    /// A call from end to end: an agent hangs up, is given the next caller, rings, answers, and another
    /// caller enters.
    Call,
    /// The same where agents are free and nobody waits: a caller enters, is given one, and hangs up.
    Arrival,
    /// The phone of an agent who talks reports a state.
    Device,
    /// The next announcement of somebody in line is due.
    Announce,
    /// The position of a caller in the middle of a line is asked for.
    Position,
    /// One decision alone, which changes nothing: who is given to the agents who are free.
    Decide,
    /// As many decisions as the leader makes in one pass, which change nothing.
    Pass,
}

/// Decisions of a full pass, as the leader makes them.
pub const PASS: usize = 256;

impl Deed {
    pub const ALL: [Deed; 8] = [
        Deed::Abandon,
        Deed::Call,
        Deed::Arrival,
        Deed::Device,
        Deed::Announce,
        Deed::Position,
        Deed::Decide,
        Deed::Pass,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Deed::Abandon => "abandon",
            Deed::Call => "call",
            Deed::Arrival => "arrival",
            Deed::Device => "device",
            Deed::Announce => "announce",
            Deed::Position => "position",
            Deed::Decide => "decide",
            Deed::Pass => "pass",
        }
    }
}

/// The names of queues.conf.
pub const STRATEGIES: [(&str, Strategy); 6] = [
    ("ringall", Strategy::RingAll),
    ("rrmemory", Strategy::RrMemory),
    ("linear", Strategy::Linear),
    ("leastrecent", Strategy::LeastRecent),
    ("fewestcalls", Strategy::FewestCalls),
    ("random", Strategy::Random),
];

/// The state, and what is needed to go on.
pub struct House {
    pub state: State,
    size: Size,
    index: u64,
    at: Millis,
    entered: usize,
    /// Turns of `Deed::Call` and `Deed::Device`.
    turn: usize,
    /// Who talks with whom, by agent.
    talks: Vec<Option<(CallId, Attempt)>>,
    asked: Option<CallId>,
    events: Vec<Event>,
    /// The last number drawn for strategy `random`.
    drawn: Cell<u64>,
    /// All commands so far, for who wants to have them applied elsewhere.
    written: Option<Vec<Command>>,
}

impl House {
    /// All agents talk and so many callers wait; or nobody waits, and all are free.
    pub fn new(size: Size) -> House {
        House::build(size, None)
    }

    /// The commands that make such a house, in order.
    pub fn commands(size: Size) -> Vec<Command> {
        House::build(size, Some(Vec::new()))
            .written
            .unwrap_or_default()
    }

    fn build(size: Size, written: Option<Vec<Command>>) -> House {
        let mut house = House {
            state: State::default(),
            size,
            index: 0,
            at: 1_000,
            entered: 0,
            turn: 0,
            talks: vec![None; size.agents],
            asked: None,
            events: Vec::new(),
            drawn: Cell::new(0),
            written,
        };
        house.apply(&Command::PbxUp {
            pbx: pbx(),
            node: NodeName::new("n1").expect("fits"),
            epoch: 1,
            restarted: false,
            channels: Vec::new(),
        });
        house.set_strategy(size.strategy);
        for number in 0..size.agents {
            house.hire(number);
        }
        let entering = match size.callers {
            0 => 0,
            callers => callers + size.agents,
        };
        for _ in 0..entering {
            house.enter();
            house.connect_all();
        }
        let line: Vec<CallId> = house.state.calls().map(|call| call.id).collect();
        house.asked = line.get(size.agents + size.callers / 2).copied();
        house
    }

    /// Does it once. A function of its own, so that valgrind can count what happens in it alone.
    #[inline(never)]
    pub fn carry_out(&mut self, deed: Deed) {
        match deed {
            Deed::Abandon => {
                if let Some(call) = self.enter() {
                    let reason = LeaveReason::HungUp;
                    self.apply(&Command::CallerLeave { call, reason });
                }
            }
            Deed::Call => {
                self.free(1);
                self.connect_all();
                self.enter();
            }
            Deed::Arrival => {
                self.enter();
                if let Some(number) = self.connect_all() {
                    self.end_talk_of(number);
                }
            }
            Deed::Device => {
                self.turn += 1;
                let state = match self.turn / self.size.agents % 2 {
                    0 => DeviceState::InUse,
                    _ => DeviceState::Busy,
                };
                let agent = agent(self.turn % self.size.agents);
                let (pbx, epoch) = (pbx(), 1);
                self.apply(&Command::DeviceSeen {
                    pbx,
                    epoch,
                    agent,
                    state,
                });
            }
            Deed::Announce => {
                self.at = self.state.next_deadline().unwrap_or(0).max(self.at);
                self.apply(&Command::Tick);
            }
            Deed::Position => {
                std::hint::black_box(self.asked.and_then(|call| self.state.position(call)));
            }
            Deed::Decide => {
                std::hint::black_box(self.decide(1));
            }
            Deed::Pass => {
                std::hint::black_box(self.decide(PASS));
            }
        }
    }

    /// Gives all queues this strategy.
    pub fn set_strategy(&mut self, strategy: Strategy) {
        for number in 0..self.size.queues {
            let settings = Box::new(QueueSettings {
                strategy,
                announce: Announce {
                    frequency_ms: 30_000,
                    ..Announce::default()
                },
                ..QueueSettings::default()
            });
            self.admin(AdminOp::QueuePut {
                queue: queue(number),
                settings,
            });
        }
    }

    /// So many agents hang up, the next ones in turn, and are free.
    pub fn free(&mut self, agents: usize) {
        for _ in 0..agents {
            let number = self.turn % self.size.agents;
            self.turn += 1;
            self.end_talk_of(number);
        }
    }

    /// The decisions that can be made now, at most so many.
    pub fn decide(&self, most: usize) -> Vec<Command> {
        distribute(&self.state, most, &mut |below| self.draw(below))
    }

    /// The same numbers in each run, and each time another one: the product draws so. Who always drew
    /// the middle one would draw somebody who was given away, all through a pass. Knuth's generator; its
    /// high bits are the good ones.
    fn draw(&self, below: u64) -> u64 {
        let drawn = self.drawn.get();
        let drawn = drawn
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.drawn.set(drawn);
        (drawn >> 33) % below.max(1)
    }

    fn end_talk_of(&mut self, agent: usize) {
        if let Some((call, attempt)) = self.talks[agent].take() {
            let by = EndedBy::Agent;
            self.apply(&Command::CallEnd { call, attempt, by });
            self.apply(&Command::CallReleased { call });
        }
    }

    /// Whoever can be connected is. Answers the agent of the last one.
    fn connect_all(&mut self) -> Option<usize> {
        let mut connected = None;
        while let Some(decision) = self.decide(1).first() {
            connected = self.connect(decision);
        }
        connected
    }

    /// An offer from its being made to the answer of the first agent who is rung.
    pub fn connect(&mut self, decision: &Command) -> Option<usize> {
        let Command::OfferMake {
            call,
            attempt,
            agents,
        } = decision
        else {
            return None;
        };
        self.apply(decision);
        let (call, attempt, agent) = (*call, *attempt, agents[0].clone());
        self.apply(&Command::OfferRinging {
            call,
            attempt,
            agent: agent.clone(),
        });
        let number: usize = agent.as_str().parse().expect("agents are numbers");
        self.talks[number] = Some((call, attempt));
        self.apply(&Command::OfferAnswer {
            call,
            attempt,
            agent,
        });
        Some(number)
    }

    /// A caller comes to the end of a line, each queue in turn.
    pub fn enter(&mut self) -> Option<CallId> {
        let number = self.entered;
        self.entered += 1;
        // So that what falls due does so one by one.
        self.at += 10;
        let answer = self.apply(&Command::CallerJoin(CallerJoin {
            pbx: pbx(),
            channel: ChannelId::new(format!("1795641963.{number}")).expect("fits"),
            queue: queue(number % self.size.queues),
            number: format!("4930{number}"),
            name: String::new(),
            priority: 0,
            options: JoinOptions::default(),
        }));
        match answer {
            reply::Done::Joined { call, .. } => Some(call),
            _ => None,
        }
    }

    fn hire(&mut self, number: usize) {
        let settings = AgentSettings::default();
        self.admin(AdminOp::AgentPut {
            agent: agent(number),
            settings,
        });
        let queues = self.size.queues;
        let (one, other) = (number % queues, (number + 1) % queues);
        for of in if one == other {
            vec![one]
        } else {
            vec![one, other]
        } {
            self.admin(AdminOp::MemberPut {
                queue: queue(of),
                agent: agent(number),
                settings: MemberSettings::default(),
            });
        }
        self.admin(AdminOp::AgentLogin {
            agent: agent(number),
        });
    }

    fn admin(&mut self, op: AdminOp) {
        // A hundred milliseconds apart, so that their answers are forgotten in time.
        self.at += 100;
        let (request, actor) = (RequestId(u128::from(self.index)), String::new());
        self.apply(&Command::Admin(Admin {
            request,
            actor,
            if_revision: None,
            op,
        }));
    }

    /// Everything is right here, so a refusal is a defect of the house.
    fn apply(&mut self, command: &Command) -> reply::Done {
        self.index += 1;
        self.written
            .iter_mut()
            .for_each(|all| all.push(command.clone()));
        let stamp = Stamp {
            index: self.index,
            at: self.at,
            wall_ms: 0,
        };
        self.events.clear();
        let answer = self.state.apply(stamp, command, &mut self.events);
        answer.unwrap_or_else(|why| panic!("{command:?} was refused: {why:?}"))
    }
}

fn pbx() -> PbxId {
    PbxId::new("p1").expect("fits")
}

fn queue(number: usize) -> QueueName {
    QueueName::new(format!("q{number}")).expect("fits")
}

fn agent(number: usize) -> AgentId {
    AgentId::new(format!("{number}")).expect("fits")
}
