//! The command line: a client of the admin endpoints, but for `serve`, `demo`, `sim`, `validate`,
//! `token` and `cluster recover`, which need no node.
//!
//! `args` has the words, `client` asks a node, `output` shows, `failure` ends. Nothing that a node
//! decides is decided here.

mod apply;
mod args;
mod client;
mod cluster;
mod demo;
mod drill;
mod events;
mod failure;
mod output;
mod people;
mod queues;
mod recover;
mod serve;
mod sim;
mod validate;

use args::{Cli, ClusterCommand, Command, Global, TokenCommand};
use clap::Parser;
use client::{Client, Target};
use failure::{FAILED, Failure, USAGE};
use output::Out;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Parses the arguments and runs the command.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no failures; a closed stdout is nobody's concern here.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit)
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let out = Out {
        form: cli.global.output,
        quiet: cli.global.quiet,
    };
    let global = cli.global;
    match cli.command {
        Command::Serve { config } => serve::run(&config),
        Command::Validate { files, offline } => validate::run(out, &files, offline),
        Command::Token(TokenCommand::Create { name, role }) => token(out, &name, &role),
        Command::Version => version(out),
        Command::Demo(args) => wait(demo::run(out, args)),
        Command::Sim { .. } => wait(sim::run(out, cli.command)),
        Command::Drill(args) => wait(drill::run(out, &global, &args)),
        Command::Cluster(ClusterCommand::Recover {
            config,
            data_dir,
            give_up,
        }) => {
            let place = recover::Place { config, data_dir };
            wait(recover::run(out, place, &give_up))
        }
        command => wait(ask(out, &global, command)),
    }
}

/// Runs a command's future to its end.
fn wait(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(command);
    // Whatever still waits for a disk or a socket is of no interest any more.
    runtime.shutdown_timeout(Duration::from_millis(200));
    done
}

async fn ask(out: Out, global: &Global, command: Command) -> Result<(), Failure> {
    let client = &Client::new(&target(global)?)?;
    match command {
        Command::Status => cluster::status(out, client).await,
        Command::Queue(command) => queues::run(out, client, command).await,
        Command::Member(command) => queues::member(out, client, command).await,
        Command::Agent(command) => people::agent(out, client, command).await,
        Command::Call(command) => people::call(out, client, command).await,
        Command::Cluster(command) => cluster::run(out, client, command).await,
        Command::Apply {
            file,
            dry_run,
            prune,
            if_revision,
        } => apply::apply(out, client, &file, dry_run, prune, if_revision).await,
        Command::Export => apply::export(out, client).await,
        Command::Events {
            since,
            queue,
            r#type,
        } => events::run(out, client, since, queue, r#type).await,
        Command::Serve { .. }
        | Command::Demo(_)
        | Command::Drill(_)
        | Command::Sim { .. }
        | Command::Validate { .. }
        | Command::Token(_)
        | Command::Version => Err(Failure::new(FAILED, "this command asks no node")),
    }
}

fn target(global: &Global) -> Result<Target, Failure> {
    let token = match &global.token_file {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| {
                Failure::new(USAGE, format!("cannot read {}: {error}", file.display()))
                    .fix("--token-file FILE with the token alone in it")
            })?;
            Some(text.trim().to_owned())
        }
        None => std::env::var("HOLDFAST_TOKEN")
            .ok()
            .filter(|token| !token.is_empty()),
    };
    let config = std::env::var_os("HOLDFAST_CONFIG").map(PathBuf::from);
    Ok(Target {
        server: global.server.clone(),
        token,
        timeout: Duration::from_millis(global.timeout.0),
        config: config.unwrap_or_else(|| args::DEFAULT_CONFIG.into()),
    })
}

fn version(out: Out) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    out.show(
        &serde_json::json!({ "name": "holdfast", "version": version }),
        || format!("holdfast {version}"),
    )
}

/// The token is shown this once; only its hash goes into a file.
fn token(out: Out, name: &str, role: &str) -> Result<(), Failure> {
    let role: holdfast_admin::Role = role.parse().map_err(|why| Failure::new(USAGE, why))?;
    let name = holdfast_node::acd::NodeName::new(name)
        .map_err(|_| Failure::new(USAGE, "a token's name is 1 to 64 of A-Z a-z 0-9 _ . -"))?;
    let (token, hashed) = holdfast_admin::create_token(role);
    let line = format!("{name}:{hashed}");
    out.say("the token, shown this once; and the line for the file of http.tokens_file:");
    out.show(&serde_json::json!({ "token": token, "line": line }), || {
        format!("{token}\n{line}")
    })
}
