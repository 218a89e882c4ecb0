//! One simulated Asterisk behind the lab's face: the same calls, phones and faults, without SIP.
//!
//! The proxy stands before its ARI as it does before a real one, so that cuts and lost answers
//! are the same for both kinds.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use holdfast_ari::{AriConfig, Secret};
use holdfast_sim as sim;

use super::block::Block;
use super::proxy::Proxy;
use super::rtp::Heard;
use super::wait::until_true;
use super::{APP, ARI_PASSWORD, ARI_USER, CallEnd, CallSpec, Habit, LabError};

/// A running (or killed) simulated Asterisk.
pub struct SimPbx {
    name: String,
    sim: sim::SimAsterisk,
    proxy: Proxy,
    callers: Mutex<HashMap<String, sim::Caller>>,
}

impl std::fmt::Debug for SimPbx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimPbx({})", self.name)
    }
}

impl SimPbx {
    /// Starts it on its address of the block.
    pub async fn start(block: &Block, name: &str) -> Result<SimPbx, LabError> {
        let mut config = sim::SimConfig::new(name);
        // On hosts of their own the simulator is at the observer's, who reaches it whatever is cut;
        // what the node reaches is the proxy, which stands on the host.
        config.listen = match block.hosts() {
            Some(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
            None => SocketAddr::from((block.pbx(name), 8088)),
        };
        config.username = ARI_USER.into();
        config.password = ARI_PASSWORD.into();
        config.app = APP.into();
        config.contexts.push("lab-after".into());
        let refused = |error: sim::SimError| LabError::Refused(error.to_string());
        let sim = sim::SimAsterisk::start(config).await.map_err(refused)?;
        let proxy = Proxy::before(block, name, sim.addr()).await?;
        Ok(SimPbx {
            name: name.into(),
            sim,
            proxy,
            callers: Mutex::default(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The simulator itself, for a test's own look inside.
    pub fn sim(&self) -> &sim::SimAsterisk {
        &self.sim
    }

    /// The proxy before its ARI.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// ARI by way of the proxy.
    pub fn ari(&self) -> AriConfig {
        self.config(self.proxy.address())
    }

    /// ARI without the proxy.
    pub fn ari_direct(&self) -> AriConfig {
        self.config(self.sim.addr())
    }

    fn config(&self, at: SocketAddr) -> AriConfig {
        AriConfig::new(
            &format!("http://{at}/ari"),
            ARI_USER,
            Secret::new(ARI_PASSWORD),
            APP,
        )
        .expect("the lab's own address and user fit the grammar")
    }

    /// A caller calls in.
    pub fn call(&self, spec: CallSpec) -> SimCaller {
        let raw = spec.exten == "raw";
        let variable = |name: &str, value: &str| vec![(name.to_string(), value.to_string())];
        let (exten, variables) = match spec.exten.as_str() {
            "short" => ("q-support".to_owned(), variable("HOLDFAST_MAX_WAIT", "2")),
            exten => match urgent(exten) {
                Some((queue, priority)) => (
                    format!("q-{queue}"),
                    variable("HOLDFAST_ARGS", &format!("priority={priority}")),
                ),
                None => (exten.to_owned(), Vec::new()),
            },
        };
        let call = sim::CallSpec {
            exten,
            variables,
            number: spec.number.clone(),
            name: spec.name,
            patience_ms: spec.hang_up_after_ms,
            digits: spec.dtmf,
            stasis_args: raw.then(|| vec!["raw".to_string()]),
            answer: !raw,
            moh: (!raw).then(String::new),
            hostile: spec.hostile,
            ..sim::CallSpec::default()
        };
        let caller = self.sim.place_call(call);
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.insert(spec.number.clone(), caller.clone());
        SimCaller {
            caller,
            number: spec.number,
            started: Instant::now(),
        }
    }

    /// A phone registers.
    pub fn phone(&self, number: &str, habit: Habit) -> SimPhone {
        SimPhone {
            phone: self.sim.phone(number, habit.into()),
        }
    }

    /// `QUEUESTATUS` of this caller after the queue.
    pub fn result(&self, number: &str) -> Option<String> {
        let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let found = callers.get(number)?.dialplan_result();
        match found.get("QUEUESTATUS") {
            Some(status) => Some(status.clone()),
            // The shipped dialplan turns the one into the other.
            None if found.get("STASISSTATUS").is_some_and(|s| s == "FAILED") => {
                Some("FAILED".into())
            }
            None => None,
        }
    }

    /// Comes back after a kill.
    pub async fn restart(&self) -> Result<(), LabError> {
        self.sim
            .restart()
            .await
            .map_err(|error| LabError::Refused(error.to_string()))
    }
}

/// `qp-NAME-PRIORITY`
fn urgent(exten: &str) -> Option<(&str, &str)> {
    exten.strip_prefix("qp-")?.rsplit_once('-')
}

impl From<Habit> for sim::Habit {
    fn from(habit: Habit) -> sim::Habit {
        match habit {
            Habit::Answer { after_ms, talk_ms } => sim::Habit::Answer { after_ms, talk_ms },
            Habit::Busy => sim::Habit::Busy,
            Habit::Reject => sim::Habit::Reject,
            Habit::NoAnswer => sim::Habit::NoAnswer,
            Habit::Silent => sim::Habit::Silent,
            Habit::Fail { sip } => sim::Habit::Fail { sip },
        }
    }
}

/// A caller of a simulated Asterisk.
pub struct SimCaller {
    caller: sim::Caller,
    number: String,
    started: Instant,
}

impl std::fmt::Debug for SimCaller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimCaller({})", self.caller.channel_id())
    }
}

impl SimCaller {
    /// The caller's number.
    pub fn number(&self) -> &str {
        &self.number
    }

    /// Hangs up.
    pub fn hang_up(&self) {
        self.caller.hang_up();
    }

    /// Presses a key.
    pub fn press(&self, digit: char) {
        self.caller.press(digit);
    }

    /// Waits until its channel is up.
    pub async fn wait_answered(&self) -> Result<u64, LabError> {
        until_true("answer of a call", || self.caller.answered()).await?;
        Ok(self.started.elapsed().as_millis() as u64)
    }

    /// Waits for the end. A crash is no end: nobody tells a caller's phone of it.
    pub async fn wait_ended(&self) -> Result<CallEnd, LabError> {
        let end = tokio::time::timeout(super::wait::PATIENCE, self.caller.ended());
        let late = |_| LabError::Late {
            what: "end of a call".into(),
            seconds: super::wait::PATIENCE.as_secs(),
            more: String::new(),
        };
        let end = end.await.map_err(late)?;
        Ok(match end.by {
            sim::EndedBy::Caller => CallEnd::ByCaller,
            // Unallocated: the guard's word for a call that it does not let in.
            sim::EndedBy::Dialplan if end.cause == 1 => CallEnd::Refused(404),
            sim::EndedBy::Ari | sim::EndedBy::Dialplan | sim::EndedBy::Crash => CallEnd::ByPbx,
        })
    }

    /// Whether its phone was told of an end.
    pub fn has_ended(&self) -> bool {
        self.caller
            .end()
            .is_some_and(|end| end.by != sim::EndedBy::Crash)
    }

    /// What it hears now.
    pub fn hears(&self) -> Heard {
        match self.caller.heard().pop().map(|heard| heard.what) {
            None | Some(sim::Hearing::Silence | sim::Hearing::Ringing) => Heard::Silence,
            Some(sim::Hearing::Music { .. } | sim::Hearing::Sound(_)) => Heard::Music,
            Some(sim::Hearing::Bridged {
                over_music: true, ..
            }) => Heard::Both,
            Some(sim::Hearing::Bridged {
                over_music: false, ..
            }) => Heard::Person,
        }
    }
}

/// A phone of a simulated Asterisk.
pub struct SimPhone {
    phone: sim::Phone,
}

impl std::fmt::Debug for SimPhone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimPhone({})", self.phone.number())
    }
}

impl SimPhone {
    /// The phone of somebody who decides anew at each ring, by chance.
    pub fn with_person(pbx: &SimPbx, number: &str, person: sim::Person) -> SimPhone {
        SimPhone {
            phone: pbx.sim.phone(number, sim::Habit::Person(person)),
        }
    }

    /// The simulator's phone.
    pub fn inner(&self) -> &sim::Phone {
        &self.phone
    }
}
