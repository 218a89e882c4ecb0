//! A whole installation: real `holdfast serve` processes, each beside an Asterisk of its own.
//!
//! Names are `a`, `b`, `c`, for node and Asterisk alike. The cluster is driven as an operator drives
//! it, by signals and the admin endpoints; what callers and agents get out of it is judged by the
//! [`Oracle`], which asks the Asterisks alone. Everything ends with the [`Cluster`]; when the test
//! failed, the logs are shown first.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::api::Api;
use super::block::Block;
use super::eventually::{SOON, check, eventually};
use super::hosts::Hosts;
use super::node_conf::{HTTP, RAFT, WIRE, node_config};
use super::oracle::{AriDoor, Oracle};
use super::place::Place;
use super::process::NodeProcess;
use super::{ARI_PASSWORD, CallSpec, Caller, Habit, Kind, Lab, Pbx, Phone, Proxy};

/// Folders of clusters begin with this and the process id of the test.
pub const FOLDER_MARK: &str = "holdfast-cluster-";
/// Nodes of an ordinary installation.
pub const NAMES: [&str; 3] = ["a", "b", "c"];
/// Bearer token of the operator.
pub const TOKEN: &str = "canary-token-operator-51d0";
/// Secret between the nodes.
pub const SECRET: &str = "canary-cluster-secret-9e44";
/// The agents' phones that the lab's Asterisks know.
pub const PHONES: [&str; 12] = [
    "1001", "1002", "1003", "1004", "1005", "1006", "1007", "1008", "1009", "1010", "1011", "1012",
];

/// One node with its Asterisk.
pub struct Site {
    pub name: &'static str,
    pub process: NodeProcess,
    pub pbx: Pbx,
    pub api: Api,
    /// By which the other nodes reach it, if not directly.
    pub wire: Option<Proxy>,
}

/// A running installation.
pub struct Cluster {
    // Dropped in this order: first the judge, then nodes, then Asterisks, then their network.
    pub oracle: Oracle,
    pub sites: Vec<Site>,
    pub kind: Kind,
    /// The service by which nodes reach each other.
    raft: u16,
    /// Whether nodes reach their Asterisks by way of what can be cut.
    wired: bool,
    lab: Lab,
    place: Place,
    folder: TempDir,
}

impl Cluster {
    /// Three nodes, ready for work.
    pub async fn start(kind: Kind) -> Cluster {
        Cluster::prepare(kind, 3).await.begin().await
    }

    /// The same, where each node may take over the Asterisks of the others, soon.
    pub async fn start_taking(kind: Kind) -> Cluster {
        let cluster = Cluster::prepare(kind, 3).await;
        for site in &cluster.sites {
            let others = cluster.sites.iter().filter(|other| other.name != site.name);
            let doors = others.map(|other| door(other.name, &other.pbx));
            let config = cluster.config_of(site.name) + &takeover(doors);
            let written = site.process.write_config(&config);
            written.expect("the lab can write into its folder");
        }
        cluster.begin().await
    }

    /// Waits until the Asterisk of this site is driven, by its own node or by another.
    pub async fn driven(&self, name: &str, by_its_own: bool) {
        let what = format!("asterisk {name} is driven, by its own node: {by_its_own}");
        eventually(SOON, &what, async || {
            let cluster = self.api().get("/v1/cluster").await?;
            let pbxes = cluster["pbxes"].as_array().cloned().unwrap_or_default();
            let driven = pbxes.iter().any(|pbx| {
                let own = pbx["node"] == pbx["home"];
                pbx["id"] == name && pbx["sight"] == "up" && own == by_its_own
            });
            check(driven, || format!("{pbxes:?}"))
        })
        .await;
    }

    /// The same, with a wire between each node and its Asterisk that can be cut. A wire goes on
    /// listening when its Asterisk is dead, so without one a node sees more.
    pub async fn start_on_wires(kind: Kind) -> Cluster {
        let mut cluster = Cluster::prepare(kind, 3).await;
        cluster.wired = true;
        for site in &cluster.sites {
            let config = cluster.config_of(site.name);
            let written = site.process.write_config(&config);
            written.expect("the lab can write into its folder");
        }
        cluster.begin().await
    }

    /// The same, with the configuration of each node changed first.
    pub async fn start_changed(kind: Kind, change: impl Fn(String) -> String) -> Cluster {
        let cluster = Cluster::prepare(kind, 3).await;
        for site in &cluster.sites {
            let config = change(cluster.config_of(site.name));
            let written = site.process.write_config(&config);
            written.expect("the lab can write into its folder");
        }
        cluster.begin().await
    }

    /// Where configurations, logs and data folders are: `a.toml`, `a.log`, `a`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder where it is when the cluster ends.
    pub fn keep_folder(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// Starts all nodes and waits until they are ready.
    pub async fn begin(self) -> Cluster {
        let mut cluster = self;
        for site in &mut cluster.sites {
            site.process.start().expect("a node can be started");
        }
        cluster.all_ready().await;
        cluster
    }

    /// Asterisks run and configurations are written; no node is started.
    pub async fn prepare(kind: Kind, nodes: usize) -> Cluster {
        let lab = Lab::new(kind).expect("the lab finds a place");
        Cluster::at(lab, Place::new(), nodes, None).await
    }

    /// The same with three nodes, at the Asterisks of this lab.
    pub async fn prepare_in(lab: Lab) -> Cluster {
        Cluster::at(lab, Place::new(), NAMES.len(), None).await
    }

    /// The same, with each node and its Asterisk on a host of its own. Nodes reach their Asterisks
    /// by way of what can be cut.
    ///
    /// `peers_by_wire`: nodes reach each other by way of what can be hurt, too.
    pub async fn prepare_on(kind: Kind, hosts: &Arc<Hosts>, peers_by_wire: bool) -> Cluster {
        let lab = Lab::on(kind, Block::of_hosts(hosts.clone()));
        let place = Place::of_hosts(hosts.clone());
        let mut cluster = Cluster::at(lab, place, NAMES.len(), Some(hosts)).await;
        if peers_by_wire {
            cluster.wire(hosts);
        }
        cluster
    }

    /// Puts a proxy before each node, on its own host.
    fn wire(&mut self, hosts: &Arc<Hosts>) {
        self.raft = WIRE;
        for (index, name) in NAMES.into_iter().enumerate() {
            let at = self.place.addr(index, WIRE);
            let listener = hosts.listen(name, at.port());
            let listener = listener.expect("the lab can listen on its own hosts");
            let listener = TcpListener::from_std(listener).expect("it does not block");
            let node = self.place.addr(index, RAFT);
            self.sites[index].wire = Some(Proxy::serve(listener, node).expect("it has an address"));
            let config = self.config_of(name);
            let written = self.sites[index].process.write_config(&config);
            written.expect("the lab can write into its folder");
        }
    }

    async fn at(lab: Lab, place: Place, nodes: usize, hosts: Option<&Arc<Hosts>>) -> Cluster {
        let folder = TempDir::with_prefix(format!("{FOLDER_MARK}{}-", std::process::id()))
            .expect("a temporary folder");
        let mut sites = Vec::new();
        let mut doors = Vec::new();
        for (index, name) in NAMES.into_iter().enumerate().take(nodes) {
            let pbx = lab.start(name).await.expect("an Asterisk starts");
            let door = door(name, &pbx);
            let ari = match hosts {
                Some(_) => pbx.ari().url.to_string(),
                None => door.url.clone(),
            };
            let config = node_config(&place, folder.path(), index, nodes, &ari, RAFT);
            doors.push(door);
            let mut process = NodeProcess::new(name, folder.path(), &config)
                .expect("the lab can write into its folder");
            if let Some(hosts) = hosts {
                process.launch.prefix = hosts.prefix(name);
            }
            let api = Api::new(&format!("http://{}", place.addr(index, HTTP)), TOKEN);
            sites.push(Site {
                name,
                process,
                pbx,
                api,
                wire: None,
            });
        }
        let oracle = Oracle::watch(doors, &PHONES).await;
        Cluster {
            oracle,
            sites,
            kind: lab.kind(),
            raft: RAFT,
            wired: hosts.is_some(),
            lab,
            place,
            folder,
        }
    }

    /// The site of this name.
    pub fn site(&self, name: &str) -> &Site {
        self.sites
            .iter()
            .find(|site| site.name == name)
            .expect("the lab has this site")
    }

    /// The site of this name, to kill or start something.
    pub fn site_mut(&mut self, name: &str) -> &mut Site {
        self.sites
            .iter_mut()
            .find(|site| site.name == name)
            .expect("the lab has this site")
    }

    /// The configuration of a node as it was written at first.
    pub fn config_of(&self, name: &str) -> String {
        let index = self.sites.iter().position(|site| site.name == name);
        let index = index.expect("the lab has this site");
        let pbx = &self.sites[index].pbx;
        let url = if self.wired {
            pbx.ari().url.to_string()
        } else {
            door(name, pbx).url
        };
        node_config(
            &self.place,
            self.folder.path(),
            index,
            self.sites.len(),
            url.as_str(),
            self.raft,
        )
    }

    /// Waits until every running node says that it is ready.
    pub async fn all_ready(&self) {
        for site in self.running() {
            site.ready().await;
        }
    }

    /// The sites whose node runs.
    pub fn running(&self) -> impl Iterator<Item = &Site> {
        self.sites
            .iter()
            .filter(|site| site.process.pid().is_some())
    }

    /// The endpoints of some running node.
    pub fn api(&self) -> &Api {
        &self.running().next().expect("some node runs").api
    }

    /// Waits until all running nodes name the same leader, one that runs.
    pub async fn leader(&self) -> &'static str {
        let running: Vec<&Site> = self.running().collect();
        eventually(SOON, "all nodes name one leader", async || {
            let mut named = Vec::new();
            for site in &running {
                let cluster = site.api.get("/v1/cluster").await?;
                let leader = cluster["leader"].as_str().map(str::to_owned);
                named.push(leader.ok_or_else(|| format!("{} names none", site.name))?);
            }
            let agreed = named.windows(2).all(|pair| pair[0] == pair[1]);
            let leader = running
                .iter()
                .find(|site| named.first().is_some_and(|n| n == site.name));
            match leader {
                Some(leader) if agreed => Ok(leader.name),
                _ => Err(format!("they name {named:?}")),
            }
        })
        .await
    }

    /// Declares queues and agents.
    pub async fn apply(&self, toml: &str) {
        if let Err(why) = self.api().apply(toml).await {
            panic!("{why}");
        }
    }

    /// Registers the phone of an agent, logs the agent in and waits until he may be rung, or is
    /// already.
    pub async fn agent(&self, number: &str, at: &str, habit: Habit) -> Phone {
        let phone = self.phone(number, at, habit).await;
        self.login(number).await;
        eventually(SOON, &format!("agent {number} is at work"), async || {
            let state = self.agent_state(number).await?;
            let works = ["available", "offered", "in_call"].contains(&state.as_str());
            check(works, || format!("he is {state}"))
        })
        .await;
        phone
    }

    /// Registers the phone of an agent, and no more.
    pub async fn phone(&self, number: &str, at: &str, habit: Habit) -> Phone {
        self.site(at)
            .pbx
            .phone(number, habit)
            .await
            .expect("a phone can register")
    }

    /// Logs an agent in.
    pub async fn login(&self, agent: &str) {
        self.api().login(agent).await.expect("an agent can log in");
    }

    /// The state of an agent in one word, as the endpoints say it.
    pub async fn agent_state(&self, agent: &str) -> Result<String, String> {
        let body = self.api().get(&format!("/v1/agents/{agent}")).await?;
        let state = body["state"].as_str().map(str::to_owned);
        state.ok_or_else(|| format!("agent {agent} has no state: {body}"))
    }

    /// Waits until the agent may be offered a call.
    pub async fn available(&self, agent: &str) {
        self.agent_becomes(agent, "available").await;
    }

    /// Waits until the agent's state is this word.
    pub async fn agent_becomes(&self, agent: &str, word: &str) {
        eventually(SOON, &format!("agent {agent} is {word}"), async || {
            let state = self.agent_state(agent).await?;
            check(state == word, || format!("he is {state}"))
        })
        .await;
    }

    /// A caller calls a queue.
    pub async fn call(&self, at: &str, queue: &str, number: &str) -> Caller {
        self.dial(at, CallSpec::new(&format!("q-{queue}"), number))
            .await
    }

    /// A caller dials.
    pub async fn dial(&self, at: &str, spec: CallSpec) -> Caller {
        self.site(at)
            .pbx
            .call(spec)
            .await
            .expect("a call can be placed")
    }

    /// A caller calls a queue, and is in line when this returns.
    pub async fn join(&self, at: &str, queue: &str, number: &str) -> Caller {
        let caller = self.call(at, queue, number).await;
        self.in_line(queue, number).await;
        caller
    }

    /// Waits until this caller is in line.
    pub async fn in_line(&self, queue: &str, number: &str) {
        eventually(SOON, &format!("caller {number} is in line"), async || {
            let line = self.line(queue).await?;
            let there = line.iter().any(|waiting| waiting.number == number);
            check(there, || format!("{line:?}"))
        })
        .await;
    }

    /// The line of a queue, from the head.
    pub async fn line(&self, queue: &str) -> Result<Vec<Waiting>, String> {
        self.line_at(self.api(), queue).await
    }

    /// The line as one node sees it.
    pub async fn line_at(&self, api: &Api, queue: &str) -> Result<Vec<Waiting>, String> {
        let calls = api.list(&format!("/v1/queues/{queue}/calls")).await?;
        let mut line: Vec<Waiting> = calls.iter().filter_map(Waiting::read).collect();
        line.sort_by_key(|waiting| waiting.position);
        Ok(line)
    }

    /// Numbers in line, from the head.
    pub async fn numbers(&self, queue: &str) -> Result<Vec<String>, String> {
        Ok(self
            .line(queue)
            .await?
            .into_iter()
            .map(|waiting| waiting.number)
            .collect())
    }

    /// Waits until exactly these callers are in line, in this order.
    pub async fn line_is(&self, queue: &str, expected: &[&str]) {
        eventually(
            SOON,
            &format!("the line of {queue} is {expected:?}"),
            async || {
                let numbers = self.numbers(queue).await?;
                check(numbers == expected, || format!("it is {numbers:?}"))
            },
        )
        .await;
    }

    /// Waits until the dialplan got this caller back with this QUEUESTATUS.
    pub async fn came_back(&self, at: &str, number: &str, status: &str) {
        let what = format!("caller {number} is back in the dialplan with {status}");
        eventually(SOON, &what, async || {
            let result = self.site(at).pbx.dialplan_result(number).await;
            let result = result.map_err(|error| error.to_string())?;
            check(result.as_deref() == Some(status), || {
                format!("it is {result:?}")
            })
        })
        .await;
    }

    /// Waits until nothing is left of any call: not at the Asterisks, not in the queue, and these
    /// agents may be rung again.
    pub async fn quiet(&self, queue: &str, agents: &[&str]) {
        self.oracle.all_released().await;
        self.line_is(queue, &[]).await;
        for agent in agents {
            self.available(agent).await;
        }
    }

    /// SIGKILL to a node's process.
    pub fn kill(&mut self, name: &str) {
        self.site_mut(name).process.kill();
    }

    /// SIGKILL to the processes of all nodes that run.
    pub fn kill_all(&mut self) {
        for site in &mut self.sites {
            site.process.kill();
        }
    }

    /// The data folder of a node.
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The endpoints of a node, as the command line wants them.
    pub fn http_url(&self, name: &str) -> String {
        let index = self.sites.iter().position(|site| site.name == name);
        let index = index.expect("the lab has this site");
        format!("http://{}", self.place.addr(index, HTTP))
    }

    /// Where the other nodes reach a node.
    pub fn raft_addr(&self, name: &str) -> SocketAddr {
        let index = self.sites.iter().position(|site| site.name == name);
        self.place
            .addr(index.expect("the lab has this site"), self.raft)
    }

    /// Removes everything that a dead node has kept.
    pub fn wipe(&self, name: &str) {
        assert!(self.site(name).process.pid().is_none(), "{name} runs");
        std::fs::remove_dir_all(self.data_dir(name)).expect("the lab owns its folder");
    }

    /// Starts a node's process again and waits until it is ready.
    pub async fn restart(&mut self, name: &str) {
        let site = self.site_mut(name);
        site.process.start().expect("a node can be started again");
        site.ready().await;
    }

    /// Ends the test well: nothing happened that must never happen, no node panicked, and no
    /// secret stands in a log.
    pub fn assert_clean(&self) {
        self.oracle.assert_no_faults();
        for site in &self.sites {
            let log = site.process.log();
            let panicked = log.lines().find(|line| line.contains("panicked at"));
            assert!(
                panicked.is_none(),
                "node {}: {}",
                site.name,
                panicked.unwrap_or_default()
            );
            for secret in [TOKEN, SECRET, ARI_PASSWORD] {
                assert!(
                    !log.contains(secret),
                    "the log of node {} holds a secret",
                    site.name
                );
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for site in &self.sites {
                eprintln!("{}", site.process.log_tail());
            }
            eprintln!("{}", self.oracle.report());
            eprintln!("The Asterisks were of kind {:?}.", self.lab.kind());
        }
    }
}

impl Site {
    /// Waits until the node says that it is ready.
    pub async fn ready(&self) {
        eventually(SOON, &format!("node {} is ready", self.name), async || {
            let answer = self.api.send("GET", "/readyz?verbose", None).await?;
            check(answer.status == 200, || answer.text.clone())
        })
        .await;
    }
}

/// A caller in line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The call's id.
    pub id: String,
    pub number: String,
    /// From 1.
    pub position: u64,
    /// Where the caller's channel is.
    pub pbx: String,
    pub state: String,
}

impl Waiting {
    /// `None` for a call that is not in line.
    fn read(call: &Value) -> Option<Waiting> {
        let text = |key: &str| match &call[key] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        Some(Waiting {
            id: text("id"),
            number: text("number"),
            position: call["position"].as_u64().filter(|position| *position > 0)?,
            pbx: text("pbx"),
            state: text("state"),
        })
    }
}

/// The way to an Asterisk past what cuts and hurts a node's own.
fn door(name: &str, pbx: &Pbx) -> AriDoor {
    let ari = match pbx {
        Pbx::Real(real) => real.ari_direct(),
        Pbx::Sim(sim) => sim.ari_direct(),
    };
    AriDoor {
        pbx: name.to_owned(),
        url: ari.url.as_str().trim_end_matches('/').to_owned(),
        username: ari.username.clone(),
        password: ari.password.expose().to_owned(),
    }
}

/// What a node's file says of the Asterisks that it may take over.
fn takeover(doors: impl Iterator<Item = AriDoor>) -> String {
    let mut text = "\n[timing]\ntakeover_after = \"1s\"\n".to_owned();
    for door in doors {
        text.push_str(&format!(
            "\n[[takeover]]\nsystemname = {:?}\nurl = {:?}\nusername = {:?}\npassword = {:?}\n",
            door.pbx,
            door.url,
            super::ARI_USER,
            ARI_PASSWORD
        ));
    }
    text
}
