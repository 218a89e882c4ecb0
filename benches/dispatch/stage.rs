//! The stage: three nodes beside three real Asterisks, whose first has the other systems too, and the agents'
//! phones; and one turn of one system on it.
//!
//! All callers and agents of all systems are at that first Asterisk, because app_queue knows no other.
//! All are heard by the same listener, an ARI application that is subscribed to everything.

use std::time::{Duration, Instant};

use holdfast_drills::lab::cluster::Cluster;
use holdfast_drills::lab::figures::{load, wall_ms};
use holdfast_drills::lab::moments::Moment;
use holdfast_drills::lab::oracle::Talk;
use holdfast_drills::lab::{Crowd, Habit, Kind, Lab, Pbx, Phone};

use tokio::task::JoinHandle;

use crate::cases::{Case, System, holdfast_toml, queues_conf, talk_ms};
use crate::costs::Costs;
use crate::figures::Figures;
use crate::order::{self, Reason};
use crate::original::Original;

/// Where everybody is.
const PBX: &str = "a";
/// Between two looks at how many were served.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two looks at whether a phone was answered.
const PHONE_EVERY: Duration = Duration::from_millis(40);
/// Answers at once; when he hangs up, [`work`] says.
const HABIT: Habit = Habit::Answer {
    after_ms: 1,
    talk_ms: None,
};

/// One turn: what it was and what came of it.
pub struct Turn {
    pub system: System,
    pub case: &'static str,
    pub round: usize,
    pub figures: Figures,
    /// For each caller of Holdfast who was overtaken.
    pub reasons: Vec<Reason>,
    /// In commands, of a system that has any.
    pub costs: Option<Costs>,
    pub load_before: String,
    pub load_after: String,
    /// What must never happen and did.
    pub faults: Vec<String>,
}

/// All that runs.
pub struct Stage {
    // Dropped first: it uses an Asterisk of the cluster.
    original: Option<Original>,
    cluster: Cluster,
    agents: Vec<JoinHandle<()>>,
    /// So that each caller has a number of his own.
    turns: usize,
}

impl Stage {
    /// Starts these systems for these cases; agents are at work when it returns.
    pub async fn open(systems: &[System], cases: &[&'static Case]) -> Result<Stage, String> {
        let mut lab = Lab::new(Kind::Real).expect("the lab finds a place");
        if systems.contains(&System::AppQueue) {
            lab = lab.with_app_queue(&queues_conf(cases));
        }
        let cluster = Cluster::prepare_in(lab).await.begin().await;
        cluster.apply(&holdfast_toml(cases)).await;
        let most = cases.iter().map(|case| case.agents).max().unwrap_or(0);
        let mut agents = Vec::new();
        for system in systems {
            for (index, phone) in system.phones()[..most].iter().enumerate() {
                let phone = cluster.phone(phone, PBX, HABIT).await;
                agents.push(tokio::spawn(work(phone, index)));
            }
        }
        for agent in &System::Holdfast.phones()[..most] {
            cluster.login(agent).await;
            cluster.available(agent).await;
        }
        let original = match systems.contains(&System::Original) {
            true => Some(Original::open(&cluster.site(PBX).pbx, cases).await?),
            false => None,
        };
        Ok(Stage {
            original,
            cluster,
            agents,
            turns: 0,
        })
    }

    /// The version of the original's Redis.
    pub fn redis(&self) -> Option<&str> {
        self.original.as_ref().map(Original::redis)
    }

    /// One system serves one case. The stage is empty before and after.
    pub async fn turn(
        &mut self,
        system: System,
        case: &'static Case,
        round: usize,
    ) -> Result<Turn, String> {
        self.quiet(case).await;
        let before = self.costs(system).await?;
        self.turns += 1;
        let faults = self.cluster.oracle.faults().len();
        let load_before = load();
        let (begun, begun_ms) = (Instant::now(), wall_ms());
        let Pbx::Real(pbx) = &self.cluster.site(PBX).pbx else {
            unreachable!("the stage has real Asterisks");
        };
        let (exten, prefix) = (system.exten(case), format!("6{:02}", self.turns));
        let crowd = Crowd::call(pbx, &exten, &prefix, case.callers, case.every_ms);
        let crowd = crowd.await.expect("a crowd can call");
        let limit = Duration::from_secs(case.limit_s);
        while crowd.served() < case.callers && begun.elapsed() < limit {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let (gone, end) = (crowd.served(), wall_ms());
        let oracle = &self.cluster.oracle;
        let mut moments: Vec<Moment> = oracle.moments();
        moments.retain(|moment| (begun_ms..=end).contains(&moment.at_ms));
        let mut talks: Vec<Talk> = oracle.talks();
        talks.retain(|talk| (begun_ms..=end).contains(&talk.begun_ms));
        let phones = &system.phones()[..case.agents];
        let figures = Figures::of(&moments, &talks, phones, case.callers, end);
        let load_after = load();
        self.send_away().await;
        self.quiet(case).await;
        let costs = self.costs(system).await?;
        let reasons = match system {
            System::Holdfast => order::reasons(&self.cluster, &figures.passed).await,
            _ => Vec::new(),
        };
        if reasons.contains(&Reason::Unknown) {
            self.cluster.keep_folder();
            let folder = self.cluster.folder().display();
            eprintln!("the logs of the nodes are kept in {folder}");
        }
        let mut faults = self.cluster.oracle.faults().split_off(faults);
        let lost = gone.saturating_sub(figures.served + figures.cut_short);
        if lost > 0 {
            faults.push(format!("{lost} callers were hung up without an agent"));
        }
        Ok(Turn {
            system,
            case: case.name,
            round,
            figures,
            reasons,
            costs: costs.zip(before).map(|(now, before)| now.since(&before)),
            load_before,
            load_after,
            faults,
        })
    }

    /// What a system has cost in commands so far, if it has any.
    async fn costs(&mut self, system: System) -> Result<Option<Costs>, String> {
        match (system, &mut self.original) {
            (System::Holdfast, _) => Costs::of_nodes(&self.cluster).await.map(Some),
            (System::Original, Some(original)) => {
                if let Some(why) = original.broken() {
                    return Err(format!("the original works no more: {why}"));
                }
                let commands = original.served().await?;
                let entries = None;
                Ok(Some(Costs { commands, entries }))
            }
            _ => Ok(None),
        }
    }

    /// Hangs up who is left.
    async fn send_away(&self) {
        for channel in self.cluster.oracle.callers_at(PBX).into_values() {
            let path = format!("/channels/{channel}");
            let answer = self.cluster.site(PBX).pbx.raw("DELETE", &path).await;
            let (status, text) = answer.expect("asterisk answers");
            // He may just have left by himself.
            assert!(matches!(status, 204 | 404), "{path}: {status} {text}");
        }
        self.cluster.oracle.all_released().await;
    }

    /// Waits until nothing is left of any call and the agents are free.
    async fn quiet(&self, case: &Case) {
        let agents = &System::Holdfast.phones()[..case.agents];
        self.cluster.quiet(case.name, agents).await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.agents.iter().for_each(JoinHandle::abort);
    }
}

/// The person beside the phone: hangs up after a while, call after call.
async fn work(phone: Phone, index: usize) {
    let mut call = 0;
    loop {
        while phone.answered_calls() <= call {
            tokio::time::sleep(PHONE_EVERY).await;
        }
        tokio::time::sleep(Duration::from_millis(talk_ms(index, call))).await;
        call += 1;
        if let Err(why) = phone.hang_up().await {
            eprintln!("phone {} cannot hang up: {why}", phone.number());
        }
    }
}
