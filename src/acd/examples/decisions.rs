//! Prints what a decision, an announcement of a position and a snapshot cost with a full house:
//! `cargo run --release -p holdfast-acd --example decisions [callers] [agents]`.

use holdfast_acd::command::{CallerJoin, JoinOptions};
use holdfast_acd::settings::{AgentSettings, MemberSettings, QueueSettings, Strategy};
use holdfast_acd::*;
use std::time::{Duration, Instant};

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .map(|it| it.parse().expect("a number"));
    let callers: usize = numbers.next().unwrap_or(100_000);
    let agents: usize = numbers.next().unwrap_or(10_000);
    for strategy in [
        Strategy::Linear,
        Strategy::RrMemory,
        Strategy::LeastRecent,
        Strategy::Random,
    ] {
        measure(strategy, callers, agents);
    }
}

fn measure(strategy: Strategy, callers: usize, agents: usize) {
    let mut house = House::new(strategy, agents);
    let joined = house.time(callers, |house, number| house.join(number));
    println!("{strategy:?}: {callers} callers, {agents} agents in 10 queues");
    report("join", joined, callers);
    let mut decisions = Vec::new();
    let begin = Instant::now();
    loop {
        let pass = distribute(&house.state, 100, &mut |below| below / 2);
        if pass.is_empty() {
            break;
        }
        for decision in &pass {
            house
                .apply(decision)
                .expect("a decision on this very state holds");
        }
        decisions.extend(pass);
    }
    report(
        "decide and apply, 100 at once",
        begin.elapsed(),
        decisions.len(),
    );
    // From here on one agent at a time becomes free, as on a busy day.
    let one = house.time(2_000.min(decisions.len()), |house, number| {
        let Command::OfferMake {
            call,
            attempt,
            agents,
        } = &decisions[number]
        else {
            return;
        };
        let agent = agents[0].clone();
        let cause = command::FailCause::Cancelled;
        let fail = Command::OfferFail {
            call: *call,
            attempt: *attempt,
            agent,
            cause,
        };
        house.apply(&fail).expect("it rings");
        let again = distribute(&house.state, 1, &mut |below| below / 2);
        again.iter().for_each(|decision| {
            let _ = house.apply(decision);
        });
    });
    report(
        "agent freed, decided, applied",
        one,
        2_000.min(decisions.len()),
    );
    let begin = Instant::now();
    let digest = house.state.digest();
    println!("  digest {digest:016x}: {:?}", begin.elapsed());
}

fn report(what: &str, took: Duration, times: usize) {
    let each = took.as_nanos() / times.max(1) as u128;
    println!(
        "  {what}: {times} times, {:.1} us each",
        each as f64 / 1_000.0
    );
}

struct House {
    state: State,
    index: u64,
}

impl House {
    fn new(strategy: Strategy, agents: usize) -> House {
        let mut house = House {
            state: State::default(),
            index: 0,
        };
        house
            .apply(&Command::PbxUp {
                pbx: pbx(),
                node: NodeName::new("n1").expect("fits"),
                epoch: 1,
                restarted: false,
                channels: Vec::new(),
            })
            .expect("the first epoch");
        for number in 0..10 {
            let settings = Box::new(QueueSettings {
                strategy,
                ..QueueSettings::default()
            });
            house.admin(AdminOp::QueuePut {
                queue: queue(number),
                settings,
            });
        }
        for number in 0..agents {
            let agent = AgentId::new(format!("{number}")).expect("fits");
            let settings = AgentSettings::default();
            house.admin(AdminOp::AgentPut {
                agent: agent.clone(),
                settings,
            });
            for queue in [queue(number % 10), queue((number + 1) % 10)] {
                let settings = MemberSettings::default();
                house.admin(AdminOp::MemberPut {
                    queue,
                    agent: agent.clone(),
                    settings,
                });
            }
            house.admin(AdminOp::AgentLogin { agent });
        }
        house
    }

    fn time(&mut self, times: usize, each: impl Fn(&mut House, usize)) -> Duration {
        let begin = Instant::now();
        (0..times).for_each(|number| each(self, number));
        begin.elapsed()
    }

    fn join(&mut self, number: usize) {
        let join = CallerJoin {
            pbx: pbx(),
            channel: ChannelId::new(format!("c{number}")).expect("fits"),
            queue: queue(number % 10),
            number: format!("4930{number}"),
            name: String::new(),
            priority: 0,
            options: JoinOptions::default(),
        };
        self.apply(&Command::CallerJoin(join))
            .expect("there is room");
    }

    fn admin(&mut self, op: AdminOp) {
        let (request, actor) = (RequestId(u128::from(self.index)), String::new());
        let admin = Admin {
            request,
            actor,
            if_revision: None,
            op,
        };
        self.apply(&Command::Admin(admin)).expect("valid");
    }

    fn apply(&mut self, command: &Command) -> reply::Reply {
        self.index += 1;
        let stamp = Stamp {
            index: self.index,
            at: self.index,
            wall_ms: 0,
        };
        self.state.apply(stamp, command, &mut Vec::new())
    }
}

fn pbx() -> PbxId {
    PbxId::new("p1").expect("fits")
}

fn queue(number: usize) -> QueueName {
    QueueName::new(format!("q{number}")).expect("fits")
}
