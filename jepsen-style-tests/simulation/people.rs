//! Callers and agents: seeded, each with habits, knowing nothing of nodes.
//!
//! Everything a caller will do is drawn before he calls, so the dice fall the same way whatever
//! the system makes of him.

use crate::asterisk::Asterisk;
use crate::options::Options;
use crate::watch::Watch;
use holdfast_sim::{CallSpec, Habit, Person};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// The most callers whose calls are under way at a time.
const UNDER_WAY_MAX: usize = 150;

pub struct People {
    rng: StdRng,
    options: Options,
    next_call: u64,
    next_deed: u64,
    serial: u64,
}

impl People {
    pub fn new(options: &Options) -> People {
        People {
            rng: StdRng::seed_from_u64(options.seed ^ 0x0be0_91e5),
            options: options.clone(),
            next_call: 0,
            next_deed: 0,
            serial: 0,
        }
    }

    /// Puts a phone on every agent's desk.
    pub fn come_to_work(&self, asterisks: &[Asterisk]) {
        for (number, home, _) in &self.options.agents {
            asterisks[*home].act(|pbx| pbx.phone_add(number, Habit::Person(self.person())));
        }
    }

    fn person(&self) -> Person {
        let (no_answer, busy, reject) = self.options.moods;
        Person {
            answer_ms: self.options.answer_ms,
            talk_ms: self.options.talk_ms,
            no_answer_percent: no_answer,
            busy_percent: busy,
            reject_percent: reject,
        }
    }

    /// What callers and agents do at this moment, until the load ends.
    pub fn step(&mut self, now: u64, asterisks: &[Asterisk], watch: &mut Watch) {
        while self.next_call <= now {
            self.next_call = now + waits(&mut self.rng, self.options.arrival_ms);
            self.calls(asterisks, watch);
        }
        while self.next_deed <= now {
            self.next_deed = now + waits(&mut self.rng, self.options.deed_ms);
            self.does(asterisks);
        }
    }

    fn calls(&mut self, asterisks: &[Asterisk], watch: &mut Watch) {
        let rng = &mut self.rng;
        let at = asterisks.choose(rng).expect("there is an Asterisk");
        let (queue, _) = self.options.queues.choose(rng).expect("there is a queue");
        let mut within = |(least, most): (u64, u64)| rng.random_range(least..=most.max(least));
        let (patience, talk) = (
            within(self.options.patience_ms),
            within(self.options.talk_ms),
        );
        let own_timeout = rng.random_bool(0.15).then(|| rng.random_range(2..20));
        let priority = rng.random_bool(0.15).then(|| rng.random_range(-1..3));
        let digit = rng
            .random_bool(0.1)
            .then(|| (rng.random_range(100..8000), '1'));
        self.serial += 1;
        let number = format!("555{:07}", self.serial);
        let exten = match own_timeout {
            Some(seconds) => format!("qt-{queue}-{seconds}"),
            None => format!("q-{queue}"),
        };
        let mut spec = CallSpec {
            patience_ms: Some(patience),
            talk_ms: Some(talk),
            digits: digit.into_iter().collect(),
            ..CallSpec::new(&exten, &number)
        };
        if let Some(priority) = priority {
            spec = spec.variable("QUEUE_PRIO", &priority.to_string());
        }
        // A stopped or dead Asterisk takes no calls.
        if at.runs() && watch.under_way() < UNDER_WAY_MAX {
            watch.call(at, self.serial, queue, spec);
        }
    }

    /// One agent does something beside answering.
    fn does(&mut self, asterisks: &[Asterisk]) {
        let agents = &self.options.agents;
        let (number, home, _) = agents.choose(&mut self.rng).expect("there is an agent");
        let at = &asterisks[*home];
        let deed = self.rng.random_range(0..6);
        let busy = self.rng.random_bool(0.4);
        at.act(|pbx| match deed {
            0 => pbx.phone_hangs_up(number),
            1 => pbx.phone_register(number, false),
            2 | 3 => pbx.phone_register(number, true),
            _ => pbx.phone_busy_elsewhere(number, busy),
        });
    }

    /// Everybody is at the desk, answers soon and talks briefly: nothing is in the way of a call.
    pub fn be_good(&self, asterisks: &[Asterisk]) {
        for (number, home, _) in &self.options.agents {
            asterisks[*home].act(|pbx| {
                pbx.phone_register(number, true);
                pbx.phone_busy_elsewhere(number, false);
                let habit = Habit::Answer {
                    after_ms: 200,
                    talk_ms: Some(400),
                };
                pbx.phone_habit(number, habit);
            });
        }
    }

    /// A caller who will wait as long as it takes; answers his number in the world if he entered.
    pub fn patient_call(&mut self, at: &Asterisk, queue: &str, watch: &mut Watch) -> Option<u64> {
        self.serial += 1;
        let number = format!("666{:07}", self.serial);
        let spec = CallSpec::new(&format!("qt-{queue}-600"), &number);
        watch
            .call(at, self.serial, queue, spec)
            .then_some(self.serial)
    }
}

/// A seeded wait of this mean, by the exponential law, at least a millisecond.
pub fn waits(rng: &mut StdRng, mean_ms: u64) -> u64 {
    // The logarithm of a float may differ between machines; a table of sixteenths does not.
    const SIXTEENTHS: [u64; 16] = [
        2, 7, 12, 18, 24, 31, 38, 46, 55, 65, 76, 90, 107, 130, 165, 240,
    ];
    let part = SIXTEENTHS[rng.random_range(0..SIXTEENTHS.len())];
    (mean_ms * part / 69).max(1)
}
