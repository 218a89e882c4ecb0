//! Callers and agents' phones, each a sipp process with a scenario of its own.
//!
//! A process tells what happens by lines in its log (`scenario.rs` writes them), which are read
//! here on demand; it is steered by requests with the call's own Call-ID. Registration is one
//! datagram and needs no sipp.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::asterisk::{RealAsterisk, testbed};
use super::block::Block;
use super::rtp::{Heard, Rtp};
use super::wait::{until, until_true};
use super::{CallEnd, CallSpec, Habit, LabError, scenario};

static SERIAL: AtomicU64 = AtomicU64::new(1);

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> LabError {
    let what = what.into();
    move |source| LabError::Io { what, source }
}

/// Where the processes of one Asterisk's callers and phones live.
#[derive(Debug, Clone)]
pub(super) struct Site {
    folder: PathBuf,
    pub pbx: SocketAddr,
    pub block: Block,
}

impl Site {
    pub fn of(pbx: &RealAsterisk) -> Site {
        Site {
            folder: pbx.folder().join("sipp"),
            pbx: pbx.sip(),
            block: pbx.block().clone(),
        }
    }
}

/// One sipp process.
#[derive(Debug)]
pub(super) struct Sipp {
    child: Mutex<Child>,
    log: PathBuf,
    at: SocketAddr,
}

impl Sipp {
    /// Starts sipp on `at` with this scenario; with `calls` it makes calls of its own, as these
    /// arguments say, else it takes all that come.
    pub async fn start(
        site: &Site,
        at: SocketAddr,
        text: &str,
        calls: &[OsString],
    ) -> Result<Sipp, LabError> {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        std::fs::create_dir_all(&site.folder).map_err(io("folder of sipp"))?;
        let file = |end: &str| site.folder.join(format!("{serial}.{end}"));
        std::fs::write(file("xml"), text).map_err(io("scenario of sipp"))?;
        let program = testbed().await?.join("bin/sipp");
        let mut command = Command::new(program);
        command
            .arg(site.pbx.to_string())
            .arg("-sf")
            .arg(file("xml"))
            .args(["-i", &at.ip().to_string(), "-p", &at.port().to_string()])
            .args([
                "-mi",
                &at.ip().to_string(),
                "-mp",
                &site.block.port().to_string(),
            ])
            .args(["-cp", &control_port()?.to_string()])
            .args(["-nostdin", "-trace_logs", "-log_file"])
            .arg(file("log"))
            .args(["-trace_err", "-error_file"])
            .arg(file("err"))
            .args(["-trace_msg", "-message_file"])
            .arg(file("msg"))
            .args(calls)
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let child = command.spawn().map_err(io("sipp"))?;
        let child = Mutex::new(child);
        Ok(Sipp {
            child,
            log: file("log"),
            at,
        })
    }

    /// What it has logged so far.
    pub fn lines(&self) -> Vec<String> {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes)
            .lines()
            .map(str::to_string)
            .collect()
    }

    /// Waits until its SIP port is bound.
    pub async fn wait_listening(&self) -> Result<(), LabError> {
        let bound = format!("{:08X}:{:04X}", ip_as_proc(self.at.ip()), self.at.port());
        until_true("start of sipp", || {
            let sockets = std::fs::read_to_string("/proc/thread-self/net/udp").unwrap_or_default();
            sockets.contains(&bound) || self.has_exited()
        })
        .await?;
        if self.has_exited() {
            return Err(LabError::Refused(format!(
                "sipp ended, see {}",
                self.log.display()
            )));
        }
        Ok(())
    }

    fn has_exited(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Steers one call.
    async fn steer(&self, method: &str, call_id: &[u8], more: &str) -> Result<(), LabError> {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let socket = UdpSocket::bind((self.at.ip(), 0))
            .await
            .map_err(io("steering socket"))?;
        let mut text = format!(
            "{method} sip:lab@{at} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-steer-{serial}\r\n\
             From: <sip:lab@{at}>;tag={serial}\r\nTo: <sip:lab@{at}>\r\nCall-ID: ",
            at = self.at
        )
        .into_bytes();
        text.extend(call_id);
        text.extend(
            format!("\r\nCSeq: {serial} {method}\r\n{more}Content-Length: 0\r\n\r\n").bytes(),
        );
        socket
            .send_to(&text, self.at)
            .await
            .map_err(io("steering sipp"))?;
        Ok(())
    }

    async fn stop(&self) {
        // It may have ended by itself.
        let _ = self
            .child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .start_kill();
        let _ = until_true("end of sipp", || self.has_exited()).await;
    }
}

/// A port for sipp's control socket, which it binds on all addresses: so none of our block, but
/// one that the system has just found to be free.
fn control_port() -> Result<u16, LabError> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").map_err(io("control port of sipp"))?;
    Ok(socket
        .local_addr()
        .map_err(io("control port of sipp"))?
        .port())
}

/// An address as /proc/net/udp writes it: in the machine's own byte order.
fn ip_as_proc(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(ip) => u32::from_ne_bytes(ip.octets()),
        IpAddr::V6(_) => 0,
    }
}

/// A caller.
#[derive(Debug)]
pub struct RealCaller {
    sipp: Arc<Sipp>,
    call_id: Vec<u8>,
    number: String,
    rtp: Mutex<Option<Rtp>>,
    speaks: bool,
    pbx: IpAddr,
    started: Instant,
    timers: Vec<JoinHandle<()>>,
}

impl RealCaller {
    /// Sends the INVITE. Gives the caller back when sipp runs, not when the call is answered.
    pub async fn call(pbx: &RealAsterisk, spec: CallSpec) -> Result<RealCaller, LabError> {
        let site = Site::of(pbx);
        let at = site.block.people_port();
        let rtp = Rtp::open(site.block.people_port()).await?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let mut call_id = format!("lab-{serial}-{}", at.port()).into_bytes();
        if spec.hostile {
            call_id.push(0xff);
        }
        let text = scenario::caller(&spec, rtp.port());
        let started = Instant::now();
        let mut one = ["-m", "1", "-cid_str"].map(OsString::from).to_vec();
        one.push(OsString::from_vec(call_id.clone()));
        let sipp = Arc::new(Sipp::start(&site, at, &text, &one).await?);
        let mut timers = Vec::new();
        let mut plan: Vec<(u64, &str, String)> = Vec::new();
        for (ms, key) in &spec.dtmf {
            plan.push((*ms, "MESSAGE", format!("X-Key: {key}\r\n")));
        }
        if let Some(ms) = spec.hang_up_after_ms {
            plan.push((ms, "NOTIFY", String::new()));
        }
        for (ms, method, more) in plan {
            let (sipp, id, method) = (sipp.clone(), call_id.clone(), method.to_string());
            timers.push(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                // The call may have ended before; then there is nobody to steer.
                let _ = sipp.steer(&method, &id, &more).await;
            }));
        }
        Ok(RealCaller {
            sipp,
            call_id,
            number: spec.number,
            rtp: Mutex::new(Some(rtp)),
            speaks: spec.speaks,
            pbx: site.pbx.ip(),
            started,
            timers,
        })
    }

    /// The caller's number.
    pub fn number(&self) -> &str {
        &self.number
    }

    /// Hangs up or cancels.
    pub async fn hang_up(&self) -> Result<(), LabError> {
        self.sipp.steer("NOTIFY", &self.call_id, "").await
    }

    /// Presses a key, by SIP INFO.
    pub async fn press(&self, digit: char) -> Result<(), LabError> {
        self.sipp
            .steer("MESSAGE", &self.call_id, &format!("X-Key: {digit}\r\n"))
            .await
    }

    /// Waits for the answer and begins to speak, if this caller does.
    pub async fn wait_answered(&self) -> Result<u64, LabError> {
        let port = until("answer of a call", || {
            let lines = self.sipp.lines();
            let found = lines
                .iter()
                .find_map(|line| line.strip_prefix("ANSWERED ")?.parse().ok());
            std::future::ready(found)
        })
        .await;
        let port: u16 = port.map_err(|error| self.explain(error))?;
        let took = self.started.elapsed();
        if self.speaks {
            let mut rtp = self.rtp.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(rtp) = rtp.as_mut() {
                rtp.speak(SocketAddr::new(self.pbx, port));
            }
        }
        Ok(took.as_millis() as u64)
    }

    /// Waits for the end.
    pub async fn wait_ended(&self) -> Result<CallEnd, LabError> {
        until("end of a call", || std::future::ready(self.end()))
            .await
            .map_err(|error| self.explain(error))
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.end().is_some()
    }

    fn end(&self) -> Option<CallEnd> {
        self.sipp
            .lines()
            .iter()
            .find_map(|line| match line.split_once(' ') {
                Some(("REFUSED", status)) => Some(CallEnd::Refused(status.trim().parse().ok()?)),
                _ if line == "BYE" => Some(CallEnd::ByPbx),
                _ if line == "HUNG_UP" => Some(CallEnd::ByCaller),
                _ => None,
            })
    }

    /// Listens for a moment.
    pub async fn hears(&self) -> Heard {
        let rtp = self
            .rtp
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(rtp) = rtp else {
            return Heard::Silence;
        };
        let heard = rtp.hears().await;
        *self.rtp.lock().unwrap_or_else(PoisonError::into_inner) = Some(rtp);
        heard
    }

    fn explain(&self, error: LabError) -> LabError {
        let lines = self.sipp.lines().join(" / ");
        match error {
            LabError::Late { what, seconds, .. } => {
                let more = format!(", sipp saw: {lines}, see {}", self.sipp.log.display());
                LabError::Late {
                    what,
                    seconds,
                    more,
                }
            }
            other => other,
        }
    }
}

impl Drop for RealCaller {
    fn drop(&mut self) {
        self.timers.iter().for_each(JoinHandle::abort);
    }
}

/// What a phone has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// INVITEs.
    pub rung: u64,
    /// Calls answered.
    pub answered: u64,
    /// Most calls at the same time.
    pub concurrent_max: u64,
    /// Q.850 causes of CANCELs and BYEs.
    pub causes: Vec<u16>,
    /// Call-IDs of the calls that are answered now.
    pub talking: Vec<String>,
}

/// An agent's phone.
#[derive(Debug)]
pub struct RealPhone {
    number: String,
    site: Site,
    at: SocketAddr,
    sipp: Arc<Sipp>,
    rtp: Arc<Mutex<Rtp>>,
    speaker: JoinHandle<()>,
    /// What former processes have seen, of former habits.
    before: Seen,
}

impl RealPhone {
    /// Registers and waits for calls. A person who answers speaks.
    pub async fn register(
        pbx: &RealAsterisk,
        number: &str,
        habit: Habit,
    ) -> Result<RealPhone, LabError> {
        let site = Site::of(pbx);
        let at = site.block.people_port();
        let rtp = Rtp::open(site.block.people_port()).await?;
        let text = scenario::phone(number, habit, rtp.port());
        let sipp = Arc::new(Sipp::start(&site, at, &text, &[]).await?);
        sipp.wait_listening().await?;
        let rtp = Arc::new(Mutex::new(rtp));
        let speaker = tokio::spawn(speak_when_answered(
            sipp.clone(),
            rtp.clone(),
            site.pbx.ip(),
        ));
        let number = number.to_string();
        let phone = RealPhone {
            number,
            site,
            at,
            sipp,
            rtp,
            speaker,
            before: Seen::default(),
        };
        phone.register_again().await?;
        Ok(phone)
    }

    /// Its number.
    pub fn number(&self) -> &str {
        &self.number
    }

    /// What it has seen since it registered first.
    pub fn seen(&self) -> Seen {
        self.before.clone().and(&self.sipp.lines())
    }

    /// Ends the calls it is in and goes on with another habit.
    pub async fn set_habit(&mut self, habit: Habit) -> Result<(), LabError> {
        self.hang_up().await?;
        until_true("end of a phone's calls", || self.seen().talking.is_empty()).await?;
        self.before = self.seen();
        self.sipp.stop().await;
        self.speaker.abort();
        let port = self
            .rtp
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .port();
        let text = scenario::phone(&self.number, habit, port);
        self.sipp = Arc::new(Sipp::start(&self.site, self.at, &text, &[]).await?);
        self.sipp.wait_listening().await?;
        let (sipp, rtp) = (self.sipp.clone(), self.rtp.clone());
        self.speaker = tokio::spawn(speak_when_answered(sipp, rtp, self.site.pbx.ip()));
        Ok(())
    }

    /// Hangs up all its calls.
    pub async fn hang_up(&self) -> Result<(), LabError> {
        for call_id in self.seen().talking {
            self.sipp.steer("NOTIFY", call_id.as_bytes(), "").await?;
        }
        Ok(())
    }

    /// Leaves the registrar.
    pub async fn unregister(&self) -> Result<(), LabError> {
        self.send_register(0).await
    }

    /// Registers, again or for the first time.
    pub async fn register_again(&self) -> Result<(), LabError> {
        self.send_register(3600).await
    }

    async fn send_register(&self, expires: u32) -> Result<(), LabError> {
        register(&self.site, &self.number, self.at, expires).await
    }
}

/// Tells the registrar that calls for `number` go to `at`.
pub(super) async fn register(
    site: &Site,
    number: &str,
    at: SocketAddr,
    expires: u32,
) -> Result<(), LabError> {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let own = SocketAddr::new(at.ip(), site.block.port());
    let socket = UdpSocket::bind(own)
        .await
        .map_err(io("registering socket"))?;
    let pbx = site.pbx;
    let text = format!(
        "REGISTER sip:{pbx} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK-reg-{serial}\r\n\
         From: <sip:{number}@{pbx}>;tag={serial}\r\nTo: <sip:{number}@{pbx}>\r\n\
         Call-ID: register-{serial}-{own}\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n\
         Contact: <sip:{number}@{at}>\r\nExpires: {expires}\r\nContent-Length: 0\r\n\r\n"
    );
    let what = format!("registration of phone {number}");
    let mut answer = [0; 4096];
    for _ in 0..10 {
        socket
            .send_to(text.as_bytes(), pbx)
            .await
            .map_err(io(what.clone()))?;
        let wait = tokio::time::timeout(Duration::from_secs(2), socket.recv(&mut answer));
        let Ok(Ok(length)) = wait.await else { continue };
        let line = String::from_utf8_lossy(&answer[..length]);
        let line = line.lines().next().unwrap_or_default().to_string();
        if line.starts_with("SIP/2.0 200") {
            return Ok(());
        }
        return Err(LabError::Refused(format!("{what}: {line}")));
    }
    Err(LabError::Late {
        what,
        seconds: 20,
        more: String::new(),
    })
}

impl Drop for RealPhone {
    fn drop(&mut self) {
        self.speaker.abort();
    }
}

impl Seen {
    /// Adds what the lines of one process tell.
    fn and(mut self, lines: &[String]) -> Seen {
        for line in lines {
            let mut words = line.split(' ');
            let (word, call) = (
                words.next().unwrap_or_default(),
                words.next().unwrap_or_default(),
            );
            match word {
                "RING" => self.rung += 1,
                "ANSWER" => {
                    self.answered += 1;
                    self.talking.push(call.into());
                    self.concurrent_max = self.concurrent_max.max(self.talking.len() as u64);
                }
                "CANCEL" | "BYE" | "HUNG_UP" => {
                    self.talking.retain(|id| id != call);
                    self.causes
                        .extend(words.next().and_then(|cause| cause.parse::<u16>().ok()));
                }
                _ => {}
            }
        }
        self
    }
}

/// Speaks to the media port that the newest INVITE named.
async fn speak_when_answered(sipp: Arc<Sipp>, rtp: Arc<Mutex<Rtp>>, pbx: IpAddr) {
    let mut speaking = 0;
    loop {
        let ports: Vec<u16> = sipp
            .lines()
            .iter()
            .filter_map(|line| line.strip_prefix("RING ")?.split(' ').nth(1)?.parse().ok())
            .collect();
        if let Some(port) = ports.get(speaking..).and_then(<[u16]>::last) {
            speaking = ports.len();
            let to = SocketAddr::new(pbx, *port);
            rtp.lock().unwrap_or_else(PoisonError::into_inner).speak(to);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
