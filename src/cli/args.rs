//! The arguments: every command, its words and its help.

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use holdfast_admin::duration::Dur;
use std::path::PathBuf;

/// Where a node's settings are by default.
pub const DEFAULT_CONFIG: &str = "/etc/holdfast/holdfast.toml";

const EXITS: &str = "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 not allowed, \
6 no leader or unreachable, 7 outcome unknown, 78 bad configuration.";

const DRILL: &str = "Without --step-down, --kill-command, --kill-pid or --by-hand it only watches. \
It does not begin unless all nodes are well. Exit code 1: the report holds an anomaly.";

const RECOVER: &str = "Without --give-up it changes nothing and tells what is there, what may be lost \
and what to type. Nodes that are given up come back with an empty data folder only.";

/// A call-centre queue over several Asterisks: one line, no external database.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, after_help = EXITS, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Node to ask: http://HOST:PORT or unix:/PATH; default: the node of this machine
    #[arg(long, global = true, env = "HOLDFAST_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// File that holds the bearer token (or HOLDFAST_TOKEN)
    #[arg(long, global = true, env = "HOLDFAST_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Form of the output
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// For one request
    #[arg(long, global = true, default_value = "8s", value_name = "DURATION")]
    pub timeout: Dur,
    /// Say nothing beside the data
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
    /// One JSON object per line
    Ndjson,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node
    Serve {
        #[arg(short, long, default_value = DEFAULT_CONFIG, value_name = "FILE")]
        config: PathBuf,
    },
    /// Three nodes and three simulated Asterisks on this machine, with callers and agents
    Demo(DemoArgs),
    /// One simulated Asterisk that speaks ARI
    Sim {
        #[arg(long, default_value = "127.0.0.1:8088", value_name = "ADDR")]
        listen: std::net::SocketAddr,
        /// Its systemname
        #[arg(long, default_value = "sim")]
        name: String,
        #[arg(long, default_value = "holdfast")]
        username: String,
        /// File that holds the ARI password; without it: `secret`
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Phones that answer
        #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
        agents: Vec<String>,
        /// Queues that callers call
        #[arg(long, value_delimiter = ',', value_name = "QUEUES")]
        queues: Vec<String>,
        #[arg(long, default_value_t = 0)]
        calls_per_minute: u32,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Check node files and queue files
    Validate {
        #[arg(value_name = "FILES")]
        files: Vec<PathBuf>,
        /// Read the files named and nothing else
        #[arg(long)]
        offline: bool,
    },
    /// The cluster, its queues and agents at a glance
    Status,
    /// Queues
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Agents
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Agents as members of queues
    #[command(subcommand)]
    Member(MemberCommand),
    /// Calls
    #[command(subcommand)]
    Call(CallCommand),
    /// Put a file of queues and agents in force
    Apply {
        #[arg(short, long, value_name = "FILE", required = true)]
        file: PathBuf,
        /// Show what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Delete what the file does not name
        #[arg(long)]
        prune: bool,
        /// Only if nothing was changed since this revision
        #[arg(long, value_name = "N")]
        if_revision: Option<u64>,
    },
    /// Queues and agents as a file
    Export,
    /// The nodes
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Take the leader away on request, watch all nodes, and report what it cost
    #[command(after_help = DRILL)]
    Drill(DrillArgs),
    /// What happens, as it happens
    Events {
        /// From this log index on: INDEX or INDEX-SEQ
        #[arg(long, value_name = "CURSOR")]
        since: Option<String>,
        #[arg(long)]
        queue: Option<String>,
        /// Only this type, such as call_joined
        #[arg(long, value_name = "TYPE")]
        r#type: Option<String>,
    },
    /// Tokens for the endpoints
    #[command(subcommand)]
    Token(TokenCommand),
    /// The version of this program
    Version,
}

#[derive(Debug, Args)]
pub struct DrillArgs {
    /// Endpoints of all nodes: http://HOST:PORT or unix:/PATH
    #[arg(long, value_name = "URLS", value_delimiter = ',', required = true)]
    pub nodes: Vec<String>,
    /// Ask the leader to step down
    #[arg(long, group = "how")]
    pub step_down: bool,
    /// In favour of this node
    #[arg(long, value_name = "NODE", requires = "step_down")]
    pub to: Option<String>,
    /// Kill the leader by this shell command; it finds the node's name in $LEADER
    #[arg(long, group = "how", value_name = "COMMAND")]
    pub kill_command: Option<String>,
    /// Send SIGKILL to this process, the leader on this machine
    #[arg(long, group = "how", value_name = "PID")]
    pub kill_pid: Option<u32>,
    /// Wait until the leader has been killed by hand
    #[arg(long, group = "how")]
    pub by_hand: bool,
    /// How long to watch on
    #[arg(long = "for", value_name = "DURATION", default_value = "20s")]
    pub length: Dur,
    /// Bad if no quorum confirms a read for longer than this
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub max_gap: Dur,
    /// Bad if a deadline fires later than this
    #[arg(long, value_name = "DURATION", default_value = "2500ms")]
    pub max_late: Dur,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How long callers arrive; then it ends with a report. Without: until Ctrl-C
    #[arg(long = "for", value_name = "DURATION")]
    pub length: Option<Dur>,
    /// Of callers and agents
    #[arg(long)]
    pub seed: Option<u64>,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub nodes: u16,
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=20))]
    pub queues: u16,
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub agents: u16,
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=6000))]
    pub calls_per_minute: u32,
    /// Let the leader live
    #[arg(long)]
    pub no_kill: bool,
    /// Keep the nodes' folders and logs here
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    List,
    /// One queue with its settings, members and callers
    Show {
        queue: String,
    },
    /// A new queue; settings as KEY=VALUE, such as strategy=rrmemory announce.frequency=30s
    Create {
        queue: String,
        settings: Vec<String>,
    },
    /// Change settings; KEY=null brings back the default
    Set {
        queue: String,
        #[arg(required = true)]
        settings: Vec<String>,
    },
    Delete {
        queue: String,
    },
    /// Take callers
    Open {
        queue: String,
    },
    /// Take no new callers; those in line stay
    Close {
        queue: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    List,
    Show {
        agent: String,
    },
    /// A new agent; settings as KEY=VALUE, such as name=Alice home=a,b endpoint=PJSIP/1001
    Add {
        agent: String,
        settings: Vec<String>,
    },
    Set {
        agent: String,
        #[arg(required = true)]
        settings: Vec<String>,
    },
    Delete {
        agent: String,
    },
    Login {
        agent: String,
    },
    Logout {
        agent: String,
    },
    Pause {
        agent: String,
        #[arg(long, default_value = "")]
        reason: String,
        /// In this queue alone
        #[arg(long)]
        queue: Option<String>,
    },
    Unpause {
        agent: String,
        #[arg(long)]
        queue: Option<String>,
    },
    /// End the rest after a call before its time
    Ready {
        agent: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    Add {
        queue: String,
        agent: String,
        #[arg(long, default_value_t = 0)]
        penalty: u32,
        #[arg(long, default_value_t = 0)]
        order: u32,
    },
    Remove {
        queue: String,
        agent: String,
    },
    /// Change KEY=VALUE: penalty, order, wrap_up
    Set {
        queue: String,
        agent: String,
        #[arg(required = true)]
        settings: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum CallCommand {
    List {
        #[arg(long)]
        queue: Option<String>,
    },
    Show {
        call: u64,
    },
    /// What happened to a call, from the journal
    Timeline {
        call: u64,
    },
    /// Let the caller go on in the dialplan, with QUEUESTATUS=WITHDRAW
    Withdraw {
        call: u64,
        /// QUEUE_WITHDRAW_INFO
        #[arg(long, default_value = "")]
        info: String,
    },
    Priority {
        call: u64,
        #[arg(allow_negative_numbers = true)]
        priority: i32,
    },
    /// To another queue
    Move {
        call: u64,
        #[arg(long)]
        queue: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    Status,
    Members,
    /// Let another node lead
    StepDown {
        /// This one
        #[arg(long)]
        to: Option<String>,
    },
    /// Add a node that runs with an empty data folder and bootstrap_expect = 0
    Add {
        name: String,
        /// HOST:PORT of its cluster.listen
        addr: String,
        /// In place of a dead node of this name
        #[arg(long)]
        replace: bool,
    },
    Remove {
        name: String,
    },
    /// Go on with this node alone when all others are lost for good; its process must not run
    #[command(after_help = RECOVER)]
    Recover {
        /// The node's file, for its name and data folder
        #[arg(short, long, value_name = "FILE", env = "HOLDFAST_CONFIG")]
        config: Option<PathBuf>,
        /// Its data folder itself
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// Yes: these members, all others of the cluster, are lost for good
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        give_up: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Print a fresh token, and the line for http.tokens_file that lets it in
    Create {
        /// Shown in the journal as who did it
        name: String,
        /// viewer, agent, supervisor or admin
        #[arg(long, default_value = "viewer")]
        role: String,
    },
}
