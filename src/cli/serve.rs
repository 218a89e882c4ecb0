//! `serve`: one node until a signal or a broken disk ends it.
//!
//! What is wrong with the configuration ends with 78, which systemd is told not to restart; what may
//! heal by itself (a port in use, a locked folder) ends with 1.

use crate::failure::{CONFIG, FAILED, Failure};
use crate::validate::with_caret;
use holdfast_admin::{ServeError, StartError as AdminError};
use holdfast_node::config::LogFormat;
use holdfast_node::raft::StartError as StoreError;
use holdfast_node::{ConfigError, Node, NodeConfig, StartError};
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// For a clean stop; then the process ends as it is, which loses nothing.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

pub fn run(file: &Path) -> Result<(), Failure> {
    let config = NodeConfig::load(file).map_err(|error| wrong_config(&error, file))?;
    logging(&config)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = %config.node.name,
        data_dir = %config.node.data_dir.display(),
        "holdfast starts"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(serve(config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    if let Err(failure) = &ended {
        tracing::error!(why = %failure.what, "holdfast ends");
    }
    ended
}

fn wrong_config(error: &ConfigError, file: &Path) -> Failure {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    Failure::new(CONFIG, with_caret(error, &text))
        .fix(format!("holdfast validate {}", file.display()))
}

fn logging(config: &NodeConfig) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(directives(&config.log.level)).map_err(|error| {
        Failure::new(
            CONFIG,
            format!("log.level: {:?}: {error}", config.log.level),
        )
    })?;
    let json = match config.log.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let colour = std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal();
    let set = if json {
        log.json().try_init()
    } else {
        log.with_ansi(colour).try_init()
    };
    set.map_err(|error| Failure::new(FAILED, error.to_string()))
}

/// A plain level speaks of our own lines. openraft repeats ten times a second that a peer does not
/// answer; what of it matters (leaders, nodes away, a broken disk) we say ourselves, once. A filter
/// with directives is taken as it is, so `info,openraft=info` brings its lines back.
fn directives(level: &str) -> String {
    if level.contains(['=', ',']) {
        level.to_owned()
    } else {
        format!("{level},openraft=off")
    }
}

async fn serve(config: NodeConfig) -> Result<(), Failure> {
    // Before anything else, so that a signal during the start is not lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let node = Node::start(config)
        .await
        .map_err(|error| not_started(&error))?;
    let handle = node.handle();
    let server = match holdfast_admin::start(handle.clone()).await {
        Ok(server) => server,
        Err(error) => {
            handle.shutdown().await;
            return Err(not_served(&error));
        }
    };
    tracing::info!(http = %server.addr, "holdfast serves");
    tell_systemd(sd_notify::NotifyState::Ready);
    let mut fatal = handle.fatal();
    let broken = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        why = fatal.wait_for(Option::is_some) => {
            Some(why.ok().and_then(|why| why.clone()).unwrap_or_else(|| "the store ended".into()))
        }
    };
    tell_systemd(sd_notify::NotifyState::Stopping);
    if let Some(why) = broken {
        server.stop().await;
        return Err(Failure::new(FAILED, format!("the store has ended: {why}"))
            .fix("see to what it says, then start the node again"));
    }
    tracing::info!("holdfast stops: leadership moves away, callers keep hearing music");
    let stop = async {
        handle.shutdown().await;
        server.stop().await;
    };
    tokio::select! {
        () = stop => tracing::info!("holdfast has stopped"),
        () = tokio::time::sleep(STOP_DEADLINE) => {
            tracing::warn!("stopping took too long; the process ends as it is");
        }
        _ = terminate.recv() => tracing::warn!("a second signal: the process ends at once"),
        _ = interrupt.recv() => tracing::warn!("a second signal: the process ends at once"),
    }
    Ok(())
}

fn tell_systemd(state: sd_notify::NotifyState) {
    // Not run by systemd: nobody listens, and that is fine.
    let _ = sd_notify::notify(&[state]);
}

fn not_started(error: &StartError) -> Failure {
    let exit = match error {
        StartError::Config(_) => CONFIG,
        StartError::Store(
            StoreError::Config(_)
            | StoreError::OtherNode { .. }
            | StoreError::OtherCluster { .. }
            | StoreError::LeftBehind { .. }
            | StoreError::Newer { .. },
        ) => CONFIG,
        _ => FAILED,
    };
    Failure::new(exit, error.to_string())
}

fn not_served(error: &AdminError) -> Failure {
    let exit = match error {
        AdminError::Tokens(_) => CONFIG,
        AdminError::Serve(ServeError::Exposed(_) | ServeError::NotASocket(_)) => CONFIG,
        AdminError::Serve(_) => FAILED,
    };
    Failure::new(exit, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::directives;

    #[test]
    fn a_plain_level_keeps_the_raft_library_quiet_and_a_filter_is_taken_as_it_is() {
        assert_eq!(directives("info"), "info,openraft=off");
        assert_eq!(directives("info,openraft=info"), "info,openraft=info");
        assert_eq!(directives("holdfast_ari=debug"), "holdfast_ari=debug");
    }
}
