//! One face for real and simulated Asterisks, with callers and phones.
//!
//! A [`Lab`] owns a piece of the loopback network and starts [`Pbx`]es in it; calls are placed with
//! [`Pbx::call`], agents' phones registered with [`Pbx::phone`]. Everything is ended when it is
//! dropped. Waiting is always for a condition and with a deadline, see [`wait`]. The [`Lab`] drives
//! telephones and Asterisks and knows nothing of Holdfast's nodes; those, a whole installation of
//! them, are in [`cluster`], and what happened is judged by the [`oracle`].

pub mod api;
mod asterisk;
mod asterisk_conf;
mod block;
pub mod cluster;
mod crowd;
pub mod eventually;
pub mod figures;
pub mod hosts;
pub mod moments;
pub mod node_conf;
pub mod oracle;
mod oracle_book;
pub mod part;
pub mod place;
pub mod proc;
pub mod process;
mod proxy;
mod rtp;
mod scenario;
mod sim;
mod sipp;
pub mod wait;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use holdfast_ari::AriConfig;
use serde_json::Value;

pub use asterisk::{RealAsterisk, testbed};
pub use asterisk_conf::CROWD_PHONES;
pub use block::Block;
pub use crowd::{Crowd, Phones};
pub use proxy::{Fault, PORT as PROXY_PORT, Proxy};
pub use rtp::Heard;
pub use sim::{SimCaller, SimPbx, SimPhone};
pub use sipp::{RealCaller, RealPhone};

/// ARI user of every Asterisk in the lab.
pub const ARI_USER: &str = "holdfast";
/// Its password; logs must never show it.
pub const ARI_PASSWORD: &str = "canary-pass-7c1f";
/// The Stasis application of the dialplan.
pub const APP: &str = "QueueARI";

/// Which kind of Asterisk a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Asterisk 22 as a process, with SIP by sipp.
    Real,
    /// The simulator of `src/sim`.
    Sim,
}

/// What the person beside a phone does when it rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Answers, and hangs up after talking for a time (never, when `None`).
    Answer {
        /// Milliseconds of ringing before the answer.
        after_ms: u64,
        /// Milliseconds from the answer to the hang-up.
        talk_ms: Option<u64>,
    },
    /// 486 at once.
    Busy,
    /// 603 at once.
    Reject,
    /// Rings for ever; accepts a CANCEL.
    NoAnswer,
    /// Sends no SIP answer at all.
    Silent,
    /// This SIP status at once.
    Fail {
        /// 400 to 699.
        sip: u16,
    },
}

/// A call to place.
#[derive(Debug, Clone, Default)]
pub struct CallSpec {
    /// What is dialled: see `asterisk_conf.rs` for the lab's dialplan.
    pub exten: String,
    /// Caller's number: digits.
    pub number: String,
    /// Caller's name.
    pub name: String,
    /// Hangs up, or cancels, after so many milliseconds from the start of the call.
    pub hang_up_after_ms: Option<u64>,
    /// Keys: milliseconds from the start of the call, and the key.
    pub dtmf: Vec<(u64, char)>,
    /// Sends audio, as a person does who speaks.
    pub speaks: bool,
    /// A byte that is no UTF-8 in the Call-ID.
    pub hostile: bool,
}

impl CallSpec {
    /// A call to `exten` from `number` by somebody with endless patience.
    pub fn new(exten: &str, number: &str) -> CallSpec {
        CallSpec {
            exten: exten.into(),
            number: number.into(),
            ..CallSpec::default()
        }
    }
}

/// Why something of the lab failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Asterisk or sipp could not be fetched.
    #[error("the testbed cannot be fetched: {0}")]
    Fetch(String),
    /// A program could not be started or written for.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen in {seconds} s{more}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// Where to look.
        more: String,
    },
    /// A fault that met nothing shows nothing.
    #[error("{0}, so the fault had no effect")]
    NoEffect(String),
    /// Asterisk or the simulator refused what the lab needs.
    #[error("{0}")]
    Refused(String),
}

/// A piece of the loopback network with Asterisks in it.
pub struct Lab {
    kind: Kind,
    block: Block,
    folder: PathBuf,
    app_queue: Option<String>,
    /// Joined by trunks, each with each.
    sims: Mutex<Vec<holdfast_sim::SimAsterisk>>,
}

impl Lab {
    /// Takes a free piece of the loopback network and a temporary folder.
    pub fn new(kind: Kind) -> Result<Lab, LabError> {
        Ok(Lab::on(kind, Block::take()?))
    }

    /// A lab at this place.
    pub fn on(kind: Kind, block: Block) -> Lab {
        let folder = std::env::temp_dir().join(format!("holdfast-lab-{}", block.label()));
        Lab {
            kind,
            block,
            folder,
            app_queue: None,
            sims: Mutex::default(),
        }
    }

    /// Lets its real Asterisks have their own queues too, by this queues.conf: what Holdfast is
    /// compared with. They are dialled by `aq-NAME`.
    pub fn with_app_queue(mut self, queues_conf: &str) -> Lab {
        self.app_queue = Some(queues_conf.to_owned());
        self
    }

    /// Starts the Asterisk of this name: `a`, `b` or `c`.
    pub async fn start(&self, name: &str) -> Result<Pbx, LabError> {
        match self.kind {
            Kind::Real => {
                let folder = self.folder.join(name);
                let (block, queues) = (self.block.clone(), self.app_queue.as_deref());
                let pbx = RealAsterisk::start(block, name, folder, queues).await?;
                Ok(Pbx::Real(pbx))
            }
            Kind::Sim => {
                let pbx = SimPbx::start(&self.block, name).await?;
                let mut sims = self.sims.lock().unwrap_or_else(PoisonError::into_inner);
                sims.iter().for_each(|other| pbx.sim().join_trunk(other));
                sims.push(pbx.sim().clone());
                Ok(Pbx::Sim(pbx))
            }
        }
    }

    /// Which kind its Asterisks are of.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the lab's files are kept in {}", self.folder.display());
        } else {
            // A folder left behind in the temporary folder is no reason to fail a test.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// One Asterisk.
#[derive(Debug)]
pub enum Pbx {
    /// A process.
    Real(RealAsterisk),
    /// A simulator.
    Sim(SimPbx),
}

impl Pbx {
    /// How to reach its ARI, by way of the proxy that [`Pbx::cut_websocket`] and [`Pbx::fault`]
    /// act on.
    pub fn ari(&self) -> AriConfig {
        match self {
            Pbx::Real(pbx) => pbx.ari(),
            Pbx::Sim(pbx) => pbx.ari(),
        }
    }

    /// Its name: `a`, `b` or `c`.
    pub fn name(&self) -> &str {
        match self {
            Pbx::Real(pbx) => pbx.name(),
            Pbx::Sim(pbx) => pbx.name(),
        }
    }

    /// A caller calls in.
    pub async fn call(&self, spec: CallSpec) -> Result<Caller, LabError> {
        match self {
            Pbx::Real(pbx) => Ok(Caller::Real(RealCaller::call(pbx, spec).await?)),
            Pbx::Sim(pbx) => Ok(Caller::Sim(pbx.call(spec))),
        }
    }

    /// A phone registers here, with a person of this habit beside it. Numbers 1001 to 1010 exist,
    /// and on a real Asterisk 1011 and 1012.
    pub async fn phone(&self, number: &str, habit: Habit) -> Result<Phone, LabError> {
        match self {
            Pbx::Real(pbx) => Ok(Phone::Real(RealPhone::register(pbx, number, habit).await?)),
            Pbx::Sim(pbx) => Ok(Phone::Sim(pbx.phone(number, habit))),
        }
    }

    /// What the dialplan found for this caller after the queue: `QUEUESTATUS`, or `None` while
    /// the caller has not come back.
    pub async fn dialplan_result(&self, number: &str) -> Result<Option<String>, LabError> {
        match self {
            Pbx::Real(pbx) => pbx.global(&format!("HF_{number}")).await,
            Pbx::Sim(pbx) => Ok(pbx.result(number)),
        }
    }

    /// One request to ARI past our client: status and body. For what the client must never send.
    pub async fn raw(&self, method: &str, path: &str) -> Result<(u16, String), LabError> {
        self.raw_with(method, path, None).await
    }

    /// The same with a JSON body.
    pub async fn raw_with(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, String), LabError> {
        let config = match self {
            Pbx::Real(pbx) => pbx.ari_direct(),
            Pbx::Sim(pbx) => pbx.ari_direct(),
        };
        raw(&config, method, path, body).await
    }

    /// Dies as by SIGKILL.
    pub async fn kill(&mut self) -> Result<(), LabError> {
        match self {
            Pbx::Real(pbx) => pbx.kill().await,
            Pbx::Sim(pbx) => {
                pbx.sim().kill().await;
                Ok(())
            }
        }
    }

    /// Waits until a registration would outlive a kill: Asterisk writes contacts to its database
    /// about a second late.
    pub async fn contact_kept(&self, number: &str) -> Result<(), LabError> {
        match self {
            Pbx::Real(pbx) => pbx.contact_kept(number).await,
            Pbx::Sim(_) => Ok(()),
        }
    }

    /// Comes back after [`Pbx::kill`], at the same address.
    pub async fn restart(&mut self) -> Result<(), LabError> {
        match self {
            Pbx::Real(pbx) => pbx.restart().await,
            Pbx::Sim(pbx) => pbx.restart().await,
        }
    }

    /// Stands still as by SIGSTOP.
    pub fn pause(&self) -> Result<(), LabError> {
        match self {
            Pbx::Real(pbx) => pbx.signal("STOP"),
            Pbx::Sim(pbx) => {
                pbx.sim().pause();
                Ok(())
            }
        }
    }

    /// Goes on after [`Pbx::pause`].
    pub fn resume(&self) -> Result<(), LabError> {
        match self {
            Pbx::Real(pbx) => pbx.signal("CONT"),
            Pbx::Sim(pbx) => {
                pbx.sim().resume();
                Ok(())
            }
        }
    }

    /// Drops the event sockets and refuses new ones for so long.
    pub fn cut_websocket(&self, how_long: Duration) {
        self.proxy().cut_websockets(how_long);
    }

    /// Hurts REST answers from now on; [`Fault::None`] ends it.
    pub fn fault(&self, fault: Fault) {
        self.proxy().fault(fault);
    }

    /// The proxy before its ARI.
    pub fn proxy(&self) -> &Proxy {
        match self {
            Pbx::Real(pbx) => pbx.proxy(),
            Pbx::Sim(pbx) => pbx.proxy(),
        }
    }

    /// Whether its ARI answers within so long, asked past the proxy.
    pub async fn answers(&self, within: Duration) -> bool {
        let asked = self.raw("GET", "/asterisk/ping");
        matches!(tokio::time::timeout(within, asked).await, Ok(Ok(_)))
    }
}

/// One request past our client.
async fn raw(
    config: &AriConfig,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, String), LabError> {
    let refused = |error: reqwest::Error| LabError::Refused(error.without_url().to_string());
    let method = reqwest::Method::from_bytes(method.as_bytes())
        .map_err(|error| LabError::Refused(error.to_string()))?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(refused)?;
    let mut request = client
        .request(method, format!("{}{path}", config.url))
        .basic_auth(&config.username, Some(config.password.expose()));
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.map_err(refused)?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await.map_err(refused)?))
}

/// How a call ended, as the caller's telephone saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// The caller hung up or cancelled.
    ByCaller,
    /// The other side hung up an answered call.
    ByPbx,
    /// Refused with this SIP status before an answer.
    Refused(u16),
}

/// A caller.
#[derive(Debug)]
pub enum Caller {
    /// By sipp.
    Real(RealCaller),
    /// Simulated.
    Sim(SimCaller),
}

impl Caller {
    /// Hangs up, or cancels while not answered.
    pub async fn hang_up(&self) -> Result<(), LabError> {
        match self {
            Caller::Real(caller) => caller.hang_up().await,
            Caller::Sim(caller) => {
                caller.hang_up();
                Ok(())
            }
        }
    }

    /// Presses a key.
    pub async fn press(&self, digit: char) -> Result<(), LabError> {
        match self {
            Caller::Real(caller) => caller.press(digit).await,
            Caller::Sim(caller) => {
                caller.press(digit);
                Ok(())
            }
        }
    }

    /// Waits until the call is answered; gives the milliseconds that took from the INVITE.
    pub async fn wait_answered(&self) -> Result<u64, LabError> {
        match self {
            Caller::Real(caller) => caller.wait_answered().await,
            Caller::Sim(caller) => caller.wait_answered().await,
        }
    }

    /// Waits for the end of the call.
    pub async fn wait_ended(&self) -> Result<CallEnd, LabError> {
        match self {
            Caller::Real(caller) => caller.wait_ended().await,
            Caller::Sim(caller) => caller.wait_ended().await,
        }
    }

    /// Whether the call has ended.
    pub fn has_ended(&self) -> bool {
        match self {
            Caller::Real(caller) => caller.has_ended(),
            Caller::Sim(caller) => caller.has_ended(),
        }
    }

    /// Listens for a moment.
    pub async fn hears(&self) -> Heard {
        match self {
            Caller::Real(caller) => caller.hears().await,
            Caller::Sim(caller) => caller.hears(),
        }
    }

    /// The caller's number.
    pub fn number(&self) -> &str {
        match self {
            Caller::Real(caller) => caller.number(),
            Caller::Sim(caller) => caller.number(),
        }
    }
}

/// An agent's phone.
#[derive(Debug)]
pub enum Phone {
    /// By sipp.
    Real(RealPhone),
    /// Simulated.
    Sim(SimPhone),
}

impl Phone {
    /// Its number.
    pub fn number(&self) -> &str {
        match self {
            Phone::Real(phone) => phone.number(),
            Phone::Sim(phone) => phone.inner().number(),
        }
    }

    /// How often it has rung.
    pub fn times_rung(&self) -> u64 {
        match self {
            Phone::Real(phone) => phone.seen().rung,
            Phone::Sim(phone) => phone.inner().times_rung(),
        }
    }

    /// How many calls were answered.
    pub fn answered_calls(&self) -> u64 {
        match self {
            Phone::Real(phone) => phone.seen().answered,
            Phone::Sim(phone) => phone.inner().answered(),
        }
    }

    /// The most calls that were answered at the same time: above 1, an agent was taken twice.
    pub fn max_concurrent(&self) -> u64 {
        match self {
            Phone::Real(phone) => phone.seen().concurrent_max,
            Phone::Sim(phone) => phone.inner().max_concurrent(),
        }
    }

    /// Q.850 causes of the CANCELs and BYEs it was sent, oldest first (26: answered elsewhere).
    pub fn causes(&self) -> Vec<u16> {
        match self {
            Phone::Real(phone) => phone.seen().causes,
            Phone::Sim(phone) => phone.inner().causes(),
        }
    }

    /// From the next ring on, the person has another habit. Ends the calls the phone is in.
    pub async fn set_habit(&mut self, habit: Habit) -> Result<(), LabError> {
        match self {
            Phone::Real(phone) => phone.set_habit(habit).await,
            Phone::Sim(phone) => {
                phone.inner().set_habit(habit.into());
                Ok(())
            }
        }
    }

    /// Hangs up all its calls.
    pub async fn hang_up(&self) -> Result<(), LabError> {
        match self {
            Phone::Real(phone) => phone.hang_up().await,
            Phone::Sim(phone) => {
                phone.inner().hang_up();
                Ok(())
            }
        }
    }

    /// Leaves the registrar: calls to it fail.
    pub async fn unregister(&self) -> Result<(), LabError> {
        match self {
            Phone::Real(phone) => phone.unregister().await,
            Phone::Sim(phone) => {
                phone.inner().unregister();
                Ok(())
            }
        }
    }

    /// Registers again.
    pub async fn register(&self) -> Result<(), LabError> {
        match self {
            Phone::Real(phone) => phone.register_again().await,
            Phone::Sim(phone) => {
                phone.inner().register();
                Ok(())
            }
        }
    }
}
