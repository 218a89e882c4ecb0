//! `sim`: one simulated Asterisk for practice, with phones that answer and callers if asked for.

use crate::args::Command;
use crate::failure::{FAILED, Failure, USAGE};
use crate::output::Out;
use holdfast_sim::{Crowd, CrowdSpec, Person, SimAsterisk, SimConfig};

pub async fn run(out: Out, command: Command) -> Result<(), Failure> {
    let Command::Sim {
        listen,
        name,
        username,
        password_file,
        agents,
        queues,
        calls_per_minute,
        seed,
    } = command
    else {
        return Err(Failure::new(USAGE, "not a simulation"));
    };
    let password = match password_file {
        None => "secret".to_owned(),
        Some(file) => std::fs::read_to_string(&file)
            .map_err(|e| Failure::new(USAGE, format!("cannot read {}: {e}", file.display())))?
            .trim_end_matches(['\r', '\n'])
            .to_owned(),
    };
    let config = SimConfig {
        listen,
        username,
        password,
        seed,
        ..SimConfig::new(&name)
    };
    let asterisk = SimAsterisk::start(config)
        .await
        .map_err(|error| Failure::new(FAILED, error.to_string()))?;
    out.line(&format!(
        "simulated asterisk {name} at {}",
        asterisk.ari_url()
    ))?;
    let spec = CrowdSpec {
        seed,
        queues,
        calls_per_minute,
        patience_ms: (20_000, 60_000),
        talk_ms: (5_000, 20_000),
        agents: agents.into_iter().map(|agent| (0, agent)).collect(),
        person: person(),
    };
    let crowd = Crowd::start(std::slice::from_ref(&asterisk), spec);
    tokio::signal::ctrl_c().await?;
    let (_, report) = crowd.stop().await;
    out.say(&format!("{report:?}"));
    Ok(())
}

/// Mostly answers.
pub fn person() -> Person {
    Person {
        answer_ms: (500, 2_500),
        talk_ms: (3_000, 9_000),
        no_answer_percent: 3,
        busy_percent: 3,
        reject_percent: 3,
    }
}
