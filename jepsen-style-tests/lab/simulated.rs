//! The simulated Asterisk of `src/sim` behind the lab's face.
//!
//! It has the address, the proxy and the numbers that a real one would have, so that a test cannot
//! tell them apart but for the time it takes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use holdfast_ari::{AriConfig, Secret};
use holdfast_sim::{self as sim, SimAsterisk, SimConfig};

use super::asterisk_conf::HTTP_PORT;
use super::block::Block;
use super::proxy::Proxy;
use super::{APP, ARI_PASSWORD, ARI_USER, CallEnd, CallSpec, Habit, Heard, LabError};

/// Port of the proxy before ARI, as for real ones.
const PROXY_PORT: u16 = 8188;

/// A simulated Asterisk with its proxy.
pub struct SimPbx {
    name: String,
    address: SocketAddr,
    asterisk: SimAsterisk,
    proxy: Proxy,
    /// By number, for [`SimPbx::dialplan_result`].
    callers: Mutex<BTreeMap<String, sim::Caller>>,
}

impl std::fmt::Debug for SimPbx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimPbx({} at {})", self.name, self.address)
    }
}

impl SimPbx {
    /// Starts it, with trunks to those that are there already.
    pub async fn start(
        block: &Block,
        name: &str,
        others: &[SimAsterisk],
    ) -> Result<SimPbx, LabError> {
        let ip: Ipv4Addr = block.pbx(name);
        let address = SocketAddr::from((ip, HTTP_PORT));
        let mut config = SimConfig::new(name);
        config.listen = address;
        config.username = ARI_USER.into();
        config.password = ARI_PASSWORD.into();
        config.app = APP.into();
        config.seed = u64::from(ip.octets()[3]);
        config.contexts.push("lab-after".into());
        let refused = |error: sim::SimError| LabError::Refused(error.to_string());
        let asterisk = SimAsterisk::start(config).await.map_err(refused)?;
        for other in others {
            asterisk.join_trunk(other);
        }
        let proxy = Proxy::start(SocketAddr::from((ip, PROXY_PORT)), address).await?;
        let callers = Mutex::default();
        Ok(SimPbx {
            name: name.into(),
            address,
            asterisk,
            proxy,
            callers,
        })
    }

    pub fn asterisk(&self) -> &SimAsterisk {
        &self.asterisk
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// ARI by way of the proxy.
    pub fn ari(&self) -> AriConfig {
        config_at(self.proxy.address())
    }

    /// ARI without the proxy.
    pub fn ari_direct(&self) -> AriConfig {
        config_at(self.address)
    }

    pub fn call(&self, spec: CallSpec) -> SimCaller {
        let number = spec.number.clone();
        let mut placed = sim::CallSpec::new(&spec.exten, &spec.number);
        placed.name = spec.name;
        placed.patience_ms = spec.hang_up_after_ms;
        placed.digits = spec.dtmf;
        placed.hostile = spec.hostile;
        let caller = self.asterisk.place_call(placed);
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.insert(number.clone(), caller.clone());
        SimCaller { number, caller }
    }

    pub fn phone(&self, number: &str, habit: Habit) -> SimPhone {
        SimPhone {
            phone: self.asterisk.phone(number, sim_habit(habit)),
        }
    }

    /// `QUEUESTATUS` once the caller is back in the dialplan; `FAILED` when nobody listened.
    pub fn dialplan_result(&self, number: &str) -> Option<String> {
        let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let found = callers.get(number)?.dialplan_result();
        let failed = found
            .get("STASISSTATUS")
            .is_some_and(|status| status == "FAILED");
        let status = found
            .get("QUEUESTATUS")
            .filter(|status| !status.is_empty())
            .cloned();
        if failed {
            Some("FAILED".into())
        } else {
            status
        }
    }

    pub async fn raw(&self, method: &str, path: &str) -> Result<(u16, String), LabError> {
        let refused = |error: reqwest::Error| LabError::Refused(error.without_url().to_string());
        let method = reqwest::Method::from_bytes(method.as_bytes())
            .map_err(|error| LabError::Refused(error.to_string()))?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30));
        let request = client.build().map_err(refused)?;
        let request = request.request(method, format!("http://{}/ari{path}", self.address));
        let answer = request
            .basic_auth(ARI_USER, Some(ARI_PASSWORD))
            .send()
            .await;
        let answer = answer.map_err(refused)?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.map_err(refused)?))
    }

    pub async fn restart(&self) -> Result<(), LabError> {
        let restarted = self.asterisk.restart().await;
        restarted.map_err(|error| LabError::Refused(error.to_string()))
    }
}

fn config_at(address: SocketAddr) -> AriConfig {
    let url = format!("http://{address}/ari");
    AriConfig::new(&url, ARI_USER, Secret::new(ARI_PASSWORD), APP)
        .expect("the lab's own address and user fit the grammar")
}

fn sim_habit(habit: Habit) -> sim::Habit {
    match habit {
        Habit::Answer { after_ms, talk_ms } => sim::Habit::Answer { after_ms, talk_ms },
        Habit::Busy => sim::Habit::Busy,
        Habit::Reject => sim::Habit::Reject,
        Habit::NoAnswer => sim::Habit::NoAnswer,
        Habit::Silent => sim::Habit::Silent,
        Habit::Fail { sip } => sim::Habit::Fail { sip },
    }
}

/// A simulated caller.
pub struct SimCaller {
    number: String,
    caller: sim::Caller,
}

impl std::fmt::Debug for SimCaller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimCaller({})", self.number)
    }
}

impl SimCaller {
    pub fn hang_up(&self) {
        self.caller.hang_up();
    }

    pub fn press(&self, digit: char) {
        self.caller.press(digit);
    }

    pub async fn wait_answered(&self) -> Result<u64, LabError> {
        super::wait::until("the answer", async || {
            let heard = self.caller.heard();
            let sound = heard
                .iter()
                .find(|heard| heard.what != sim::Hearing::Ringing);
            sound.map(|heard| heard.at_ms)
        })
        .await
    }

    pub async fn wait_ended(&self) -> Result<CallEnd, LabError> {
        let late = || LabError::Late {
            what: format!("the end of the call of {}", self.number),
            seconds: super::wait::PATIENCE.as_secs(),
            more: String::new(),
        };
        let ended = tokio::time::timeout(super::wait::PATIENCE, self.caller.ended()).await;
        Ok(match ended.map_err(|_| late())?.by {
            sim::EndedBy::Caller => CallEnd::ByCaller,
            sim::EndedBy::Ari | sim::EndedBy::Dialplan | sim::EndedBy::Crash => CallEnd::ByPbx,
        })
    }

    pub fn has_ended(&self) -> bool {
        self.caller.state() == sim::CallerState::Ended
    }

    pub fn hears(&self) -> Heard {
        let now = self.caller.heard().pop().map(|heard| heard.what);
        match now {
            Some(sim::Hearing::Music { .. } | sim::Hearing::Sound(_)) => Heard::Music,
            Some(sim::Hearing::Bridged {
                over_music: true, ..
            }) => Heard::Both,
            Some(sim::Hearing::Bridged { .. }) => Heard::Person,
            Some(sim::Hearing::Silence | sim::Hearing::Ringing) | None => Heard::Silence,
        }
    }

    pub fn number(&self) -> &str {
        &self.number
    }
}

/// A simulated phone.
pub struct SimPhone {
    phone: sim::Phone,
}

impl std::fmt::Debug for SimPhone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimPhone({})", self.phone.number())
    }
}

impl SimPhone {
    pub fn inner(&self) -> &sim::Phone {
        &self.phone
    }

    /// Ends the calls the phone is in, as the real one does.
    pub fn set_habit(&self, habit: Habit) {
        self.phone.set_habit(sim_habit(habit));
        self.phone.hang_up();
    }
}
