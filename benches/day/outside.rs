//! The outside world, a process of its own so that its processor time is told apart: three simulated
//! Asterisks, the people at their phones, and callers who come and go as ordered (`orders.rs`).
//!
//! It knows the nodes by ARI alone. Nothing is judged but what must never happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use holdfast_drills::lab::{APP, ARI_PASSWORD, ARI_USER};
use holdfast_sim::{CallSpec, Caller, CallerEnd, EndedBy, Habit, Phone, SimAsterisk, SimConfig};

use crate::latency;
use crate::orders::{Answer, LINE, LINE_MARK, Load, Loaded, OPEN, OPEN_MARK, Order, WAITING};

/// Names of the Asterisks.
pub const ASTERISKS: [&str; 3] = ["a", "b", "c"];
/// Talks last so long at least, and that much longer at most: about a second in the middle.
const TALK_MS: (u64, u64) = (800, 400);
/// Who answers does so after this.
const ANSWER_MS: u64 = 5;
/// For the last calls of a load to end; who is not served by then hangs up.
const DRAIN: Duration = Duration::from_secs(20);
/// For who hangs up to be gone.
const GONE: Duration = Duration::from_secs(10);

/// Orders that wait; one comes at a time.
const ORDERS_MAX: usize = 16;

/// Serves orders until standard input ends, which it does when the program that started it is gone.
pub async fn run() -> Result<(), String> {
    let mut outside = Outside::start().await?;
    let urls = outside.asterisks.iter().map(SimAsterisk::ari_url).collect();
    say(&Answer::Ready(urls))?;
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let order = serde_json::from_str(&line).map_err(|e| format!("{line}: {e}"))?;
        let answer = outside.carry_out(order).await?;
        say(&answer)?;
    }
    Ok(())
}

/// Lines of standard input, read by a thread of their own: there is nothing else to wait for there.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(ORDERS_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn say(answer: &Answer) -> Result<(), String> {
    let text = serde_json::to_string(answer).map_err(|e| e.to_string())?;
    // Line-buffered, so it leaves at once.
    println!("{text}");
    Ok(())
}

struct Outside {
    asterisks: Vec<SimAsterisk>,
    phones: Vec<Phone>,
    waiting: Vec<Caller>,
    /// So that each caller has a number of his own.
    numbers: Arc<AtomicUsize>,
}

/// How one caller's call ended.
struct End {
    at: Instant,
    /// Of the queue without a line.
    open: bool,
    talked: bool,
    /// Hung up, not served.
    gave_up: bool,
    /// Neither talked nor hung up: the fault, if it is one.
    lost: Option<String>,
}

impl Outside {
    async fn start() -> Result<Outside, String> {
        let mut asterisks: Vec<SimAsterisk> = Vec::new();
        for name in ASTERISKS {
            let config = SimConfig {
                username: ARI_USER.into(),
                password: ARI_PASSWORD.into(),
                app: APP.into(),
                ..SimConfig::new(name)
            };
            let asterisk = SimAsterisk::start(config).await;
            let asterisk = asterisk.map_err(|e| e.to_string())?;
            asterisk.keep_moments();
            for other in &asterisks {
                asterisk.join_trunk(other);
            }
            asterisks.push(asterisk);
        }
        Ok(Outside {
            asterisks,
            phones: Vec::new(),
            waiting: Vec::new(),
            numbers: Arc::default(),
        })
    }

    async fn carry_out(&mut self, order: Order) -> Result<Answer, String> {
        match order {
            Order::Phones { first, count } => {
                for index in 0..count {
                    let number = (first + index).to_string();
                    let talk_ms = TALK_MS.0 + 137 * index as u64 % TALK_MS.1;
                    let habit = Habit::Answer {
                        after_ms: ANSWER_MS,
                        talk_ms: Some(talk_ms),
                    };
                    let at = &self.asterisks[index % self.asterisks.len()];
                    self.phones.push(at.phone(&number, habit));
                }
                Ok(Answer::Done)
            }
            Order::Load(load) => Ok(Answer::Loaded(self.load(load).await?)),
            Order::Wait { asterisk, count } => {
                for _ in 0..count {
                    let number = number(&self.numbers, '9');
                    let spec = CallSpec::new(&format!("q-{WAITING}"), &number);
                    self.waiting.push(self.asterisks[asterisk].place_call(spec));
                }
                Ok(Answer::Done)
            }
        }
    }

    async fn load(&mut self, load: Load) -> Result<Loaded, String> {
        for asterisk in &self.asterisks {
            asterisk.take_moments();
        }
        let callers = Callers {
            asterisks: self.asterisks.clone(),
            numbers: self.numbers.clone(),
            stage: Arc::new(watch::Sender::new(Stage::Calling)),
        };
        let (around, measured) = (
            Duration::from_millis(load.around_ms),
            Duration::from_millis(load.measured_ms),
        );
        let first = self.numbers.load(Ordering::Relaxed);
        let begun = Instant::now();
        let (from, until) = (begun + around, begun + around + measured);
        let mut line = JoinSet::new();
        for _ in 0..load.line {
            line.spawn(callers.clone().keep_calling());
        }
        let open = tokio::spawn(callers.clone().arrive(load.rate));
        tokio::time::sleep_until(from.into()).await;
        say(&Answer::Begins)?;
        tokio::time::sleep_until(until.into()).await;
        say(&Answer::Ends)?;
        tokio::time::sleep_until((until + around).into()).await;
        callers.stage.send_replace(Stage::Over);
        let mut open = open.await.map_err(|e| e.to_string())?;
        let mut ends = Vec::new();
        let drained = tokio::time::Instant::now() + DRAIN;
        while let Ok(Some(end)) = tokio::time::timeout_at(drained, open.join_next()).await {
            ends.push(end.map_err(|e| e.to_string())?);
        }
        callers.stage.send_replace(Stage::Enough);
        let rest = async {
            let rest = open.join_all().await;
            rest.into_iter()
                .chain(line.join_all().await.into_iter().flatten())
        };
        let rest = tokio::time::timeout(GONE, rest).await;
        let late = |_| "callers who hung up are still there".to_owned();
        let rest: Vec<End> = rest.map_err(late)?.collect();
        let left = rest.iter().filter(|end| end.gave_up && end.open).count();
        ends.extend(rest);

        let counts = |at: &Instant| (from..until).contains(at);
        let talked = ends.iter().filter(|end| end.talked && counts(&end.at));
        let mut loaded = Loaded {
            finished: talked.count(),
            placed: self.numbers.load(Ordering::Relaxed) - first,
            left,
            ..Loaded::default()
        };
        loaded.faults = ends.into_iter().filter_map(|end| end.lost).collect();
        let twice = self.phones.iter().filter(|it| it.max_concurrent() > 1);
        let twice = twice.map(|it| format!("phone {} had two calls at once", it.number()));
        loaded.faults.extend(twice);
        let us = |at: Instant| {
            let since = at.saturating_duration_since(begun).as_micros();
            i64::try_from(since).unwrap_or(i64::MAX)
        };
        let mut seen: Vec<latency::Seen> = Vec::new();
        for asterisk in &self.asterisks {
            let moments = asterisk.take_moments().into_iter();
            seen.extend(moments.map(|(at, moment)| (us(at), moment)));
        }
        seen.sort_by_key(|(at, _)| *at);
        latency::read(&seen, us(from), us(until), load.agents, &mut loaded);
        Ok(loaded)
    }
}

/// Who calls during one load.
#[derive(Clone)]
struct Callers {
    asterisks: Vec<SimAsterisk>,
    numbers: Arc<AtomicUsize>,
    stage: Arc<watch::Sender<Stage>>,
}

/// How far a load is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Calling,
    /// Nobody comes any more, and who is in the queue with a line hangs up.
    Over,
    /// Who is still there hangs up.
    Enough,
}

impl Callers {
    fn call(&self, queue: &str, mark: char) -> Caller {
        let number = number(&self.numbers, mark);
        // Numbers count up, so callers come to the Asterisks in turn.
        let turn = self.numbers.load(Ordering::Relaxed) % self.asterisks.len();
        self.asterisks[turn].place_call(CallSpec::new(&format!("q-{queue}"), &number))
    }

    /// Calls whenever the call before has ended; hangs up when the load is over.
    async fn keep_calling(self) -> Vec<End> {
        let mut stage = self.stage.subscribe();
        let mut ends = Vec::new();
        loop {
            let caller = self.call(LINE, LINE_MARK);
            tokio::select! {
                end = caller.ended() => ends.push(End::of(&end, false)),
                () = reaches(&mut stage, Stage::Over) => {
                    caller.hang_up();
                    ends.push(End::of(&caller.ended().await, false));
                    return ends;
                }
            }
        }
    }

    /// Callers at this rate, with gaps by chance, until the load is over.
    async fn arrive(self, rate: f64) -> JoinSet<End> {
        let mut rng = StdRng::seed_from_u64(1);
        let mut stage = self.stage.subscribe();
        let mut calls = JoinSet::new();
        let mut next = tokio::time::Instant::now();
        loop {
            let chance: f64 = rng.random_range(f64::EPSILON..1.0);
            next += Duration::from_secs_f64(-chance.ln() / rate);
            tokio::select! {
                () = reaches(&mut stage, Stage::Over) => return calls,
                () = tokio::time::sleep_until(next) => {}
            }
            calls.spawn(wait(self.call(OPEN, OPEN_MARK), stage.clone()));
        }
    }
}

/// Until the call has ended, or it is enough.
async fn wait(caller: Caller, mut stage: watch::Receiver<Stage>) -> End {
    tokio::select! {
        end = caller.ended() => End::of(&end, true),
        () = reaches(&mut stage, Stage::Enough) => {
            caller.hang_up();
            End::of(&caller.ended().await, true)
        }
    }
}

async fn reaches(it: &mut watch::Receiver<Stage>, stage: Stage) {
    // An error can only be that the load is done, which is as good.
    let _ = it.wait_for(|it| *it >= stage).await;
}

impl End {
    fn of(end: &CallerEnd, open: bool) -> End {
        let talked = !end.talked_to.is_empty();
        let gave_up = !talked && end.by == EndedBy::Caller;
        let lost = !talked && !gave_up;
        End {
            at: Instant::now(),
            open,
            talked,
            gave_up,
            lost: lost.then(|| format!("a caller's call ended without a talk: {end:?}")),
        }
    }
}

fn number(numbers: &AtomicUsize, mark: char) -> String {
    format!("{mark}{:07}", numbers.fetch_add(1, Ordering::Relaxed))
}
