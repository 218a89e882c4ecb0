//! Hosts of their own for the nodes: network namespaces on a switch, as far apart as machines are.
//!
//! Each host has its own interfaces, packet filter and loopback; the hosts meet at a bridge that is in
//! a namespace of its own, and nowhere else, so that a cut there is a real one. The thread that calls
//! [`Hosts::enter`] moves into a further namespace, the observer's, from where one link leads to each
//! host: by these callers call, phones ring and the judge looks on, whatever is cut between the hosts.
//! Nothing is left in the machine's own namespace. Namespaces are named after the process, so that
//! runs can be parallel, and a later run sweeps up what a killed one left behind.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns, unshare};

use super::LabError;

/// Names begin so.
const MARK: &str = "hfd";
/// Where iproute2 keeps the names.
const NAMES: &str = "/run/netns";
/// The observer's address, the same over all its links.
const OBSERVER: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 1);

static RUNS: AtomicU32 = AtomicU32::new(0);

/// Hosts `a`, `b`, ... on one switch.
#[derive(Debug)]
pub struct Hosts {
    /// `hfd-PID-RUN`
    prefix: String,
    addresses: BTreeMap<String, Ipv4Addr>,
}

impl Hosts {
    /// Makes the hosts and moves the calling thread, and with it all threads and processes that it
    /// starts from now on, into the observer's namespace. Call it before the runtime is built.
    pub fn enter(names: &[&str]) -> Result<Arc<Hosts>, LabError> {
        require("ip", "iproute2")?;
        require("nft", "nftables")?;
        require("nsenter", "util-linux")?;
        if !nix::unistd::geteuid().is_root() {
            return Err(LabError::Refused(
                "hosts of their own need root: run this as root (sudo -E make drill ...)".into(),
            ));
        }
        sweep();
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let mut hosts = Hosts {
            prefix: format!("{MARK}-{}-{run}", std::process::id()),
            addresses: BTreeMap::new(),
        };
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|error| LabError::Refused(format!("no network namespace: {error}")))?;
        let ip = |text: &str| command("ip", &words(text));
        ip("link set lo up")?;
        ip(&format!("addr add {OBSERVER}/32 dev lo"))?;
        let switch = hosts.switch();
        ip(&format!("netns add {switch}"))?;
        ip(&format!("-n {switch} link add br0 type bridge"))?;
        ip(&format!("-n {switch} link set br0 up"))?;
        for (index, name) in names.iter().enumerate() {
            let address = Ipv4Addr::new(10, 77, 0, 1 + index as u8);
            hosts.addresses.insert((*name).to_owned(), address);
            let host = hosts.host(name);
            for line in [
                format!("netns add {host}"),
                format!("-n {host} link set lo up"),
                format!("link add eth0 netns {host} type veth peer name p-{name} netns {switch}"),
                format!("-n {switch} link set p-{name} master br0 up"),
                format!("-n {host} addr add {address}/24 dev eth0"),
                format!("-n {host} link set eth0 up"),
                format!("link add watch netns {host} type veth peer name w-{name}"),
                format!("-n {host} link set watch up"),
                format!("link set w-{name} up"),
                format!("-n {host} route add {OBSERVER}/32 dev watch"),
                format!("route add {address}/32 dev w-{name} src {OBSERVER}"),
            ] {
                ip(&line)?;
            }
        }
        Ok(Arc::new(hosts))
    }

    /// Address of a host on the switch, and where the observer reaches it.
    pub fn address(&self, name: &str) -> Ipv4Addr {
        *self.addresses.get(name).expect("a host of this lab")
    }

    /// Where the observer, callers and phones are.
    pub fn observer(&self) -> Ipv4Addr {
        OBSERVER
    }

    /// The namespace of a host.
    pub fn host(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// The namespace of the switch.
    pub fn switch(&self) -> String {
        format!("{}-sw", self.prefix)
    }

    /// Put before a command, it runs it on that host under the same process id.
    pub fn prefix(&self, name: &str) -> Vec<String> {
        // Not `ip netns exec`: it gives each process a view of mounts of its own, which would hold on
        // to a disk that is unmounted here.
        let space = format!("--net={NAMES}/{}", self.host(name));
        vec!["nsenter".into(), space, "--".into()]
    }

    /// Runs a command on a host to its end.
    pub fn on(&self, name: &str, program: &str, arguments: &[&str]) -> Result<String, LabError> {
        in_namespace(&self.host(name), program, arguments)
    }

    /// Runs a command at the switch to its end.
    pub fn on_switch(&self, program: &str, arguments: &[&str]) -> Result<String, LabError> {
        in_namespace(&self.switch(), program, arguments)
    }

    /// A listener of the observer's process that belongs to a host: as if that host served it.
    pub fn listen(&self, name: &str, port: u16) -> Result<TcpListener, LabError> {
        let at = SocketAddr::from((self.address(name), port));
        let host = self.host(name);
        let failed = |source| LabError::Io {
            what: format!("listening at {at} on host {name}"),
            source,
        };
        let space = File::open(Path::new(NAMES).join(&host)).map_err(failed)?;
        // A socket belongs to the namespace of the thread that makes it, for ever.
        let made = std::thread::spawn(move || {
            setns(space, CloneFlags::CLONE_NEWNET)?;
            let listener = TcpListener::bind(at)?;
            listener.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(listener)
        });
        let made = made.join().expect("binding does not panic");
        made.map_err(failed)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        remove(&self.prefix);
    }
}

/// Runs a program to its end; what it printed, or why it failed.
pub fn command(program: &str, arguments: &[&str]) -> Result<String, LabError> {
    let said = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| LabError::Io {
            what: program.to_owned(),
            source,
        })?;
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
    }
    Err(LabError::Refused(format!(
        "{program} {}: {} {}",
        arguments.join(" "),
        said.status,
        String::from_utf8_lossy(&said.stderr).trim()
    )))
}

/// Fails with what to install when a program is not there.
pub fn require(program: &str, package: &str) -> Result<(), LabError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    if folders.iter().any(|folder| folder.join(program).is_file()) {
        return Ok(());
    }
    Err(LabError::Refused(format!(
        "{program} is missing; install the Debian package {package} (apt-get install {package})"
    )))
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

fn in_namespace(space: &str, program: &str, arguments: &[&str]) -> Result<String, LabError> {
    let mut all = vec!["netns", "exec", space, program];
    all.extend(arguments);
    command("ip", &all)
}

/// Ends what runs in the namespaces of this prefix, and removes them.
fn remove(prefix: &str) {
    for space in spaces() {
        if !space.starts_with(&format!("{prefix}-")) {
            continue;
        }
        let running = command("ip", &["netns", "pids", &space]).unwrap_or_default();
        for pid in running.lines().filter_map(|line| line.trim().parse().ok()) {
            // It may have ended meanwhile.
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        if let Err(error) = command("ip", &["netns", "del", &space]) {
            eprintln!("a namespace is left behind: {error}");
        }
    }
}

/// Removes the hosts of runs whose process is gone.
fn sweep() {
    for space in spaces() {
        let mut parts = space.split('-');
        let owner = (parts.next() == Some(MARK)).then(|| parts.next()).flatten();
        let (Some(owner), Some(run)) = (owner, parts.next()) else {
            continue;
        };
        if !Path::new("/proc").join(owner).exists() {
            remove(&format!("{MARK}-{owner}-{run}"));
        }
    }
}

fn spaces() -> Vec<String> {
    let entries = std::fs::read_dir(NAMES).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}
