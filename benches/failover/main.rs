//! Measures what the death of a leader costs: Holdfast on simulated Asterisks with a line being served,
//! and etcd with the same election settings, killed the same way in turn. See `benches/README.md`.
//!
//! Figures are printed and not judged; a caller who is lost or an agent who is taken twice makes the
//! program fail.

mod etcd;
mod figures;
mod section;
mod settings;
mod stage;
mod writers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use holdfast_drills::lab::figures::node_program;
use holdfast_drills::lab::part::{Raw, WHOLE_MAX, ended, within};
use serde_json::Value;

use etcd::Etcd;
use figures::Turn;
use section::Compared;
use settings::{DEFAULT, LAN, Settings};
use stage::Stage;

const HELP: &str = "\
What the death of a leader costs, with etcd beside it: prints a section of the page in markdown.

usage: bench-failover [--raw FILE] [--quick] [--peers FOLDER] [--kills N]

  --raw FILE      write the raw figures there, one JSON object a line
  --quick         two kills and one step-down with the default settings alone: under half a minute
  --peers FOLDER  with bin/etcd; by default where benches/get-peers.sh puts it
  --kills N       kills with the LAN settings, 1 to 200 (50); with the default settings two fifths of that

HOLDFAST_BIN names the program that the nodes run, else it is the one of this program's own profile.";

/// So many kills of one system, then of the other.
const IN_TURN: usize = 10;

struct Asked {
    raw: Option<PathBuf>,
    peers: Option<PathBuf>,
    settings: Vec<Settings>,
}

impl Asked {
    /// `None` when help is asked for.
    fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Asked>, String> {
        let mut asked = Asked {
            raw: None,
            peers: None,
            settings: vec![LAN, DEFAULT],
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => {
                    asked.settings = vec![Settings {
                        kills: 2,
                        step_downs: 1,
                        ..DEFAULT
                    }];
                }
                "--raw" => asked.raw = Some(value()?.into()),
                "--peers" => asked.peers = Some(value()?.into()),
                "--kills" => {
                    let text = value()?;
                    let number = text.parse().ok().filter(|it| (1..=200).contains(it));
                    let kills: usize = number.ok_or(format!("--kills {text} is not 1 to 200"))?;
                    for settings in &mut asked.settings {
                        settings.kills = (kills * settings.kills).div_ceil(LAN.kills);
                    }
                }
                _ => return Err(format!("{word} is not understood, see --help")),
            }
        }
        Ok(Some(asked))
    }
}

fn main() -> ExitCode {
    let asked = match Asked::read(std::env::args().skip(1)) {
        Ok(Some(asked)) => asked,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("bench-failover: {why}");
            return ExitCode::from(2);
        }
    };
    ended("bench-failover", run(&asked))
}

/// Whether nothing happened that must never happen.
fn run(asked: &Asked) -> Result<bool, String> {
    let begun = Instant::now();
    let etcd = peers(asked)?.join("bin/etcd");
    if !etcd.is_file() {
        let etcd = etcd.display();
        return Err(format!(
            "{etcd} is missing, run benches/get-peers.sh or name its folder with --peers"
        ));
    }
    let mut raw = Raw::create(asked.raw.as_deref())?;
    let mut all = Vec::new();
    for settings in &asked.settings {
        let left = WHOLE_MAX.saturating_sub(begun.elapsed());
        let instead = "ask for fewer --kills or free the machine";
        all.push(within(left, instead, compare(settings, &etcd, &mut raw))?);
    }
    println!("{}", section::markdown(&all, &about(&etcd)));
    let mut well = true;
    for it in &all {
        let (name, callers) = (it.settings.name, &it.ours.callers);
        if callers.lost > 0 {
            println!("FAULT, {name}: {} callers were lost", callers.lost);
        }
        for what in &callers.doubled {
            println!("FAULT, {name}: {what}");
        }
        well &= callers.lost == 0 && callers.doubled.is_empty();
    }
    Ok(well)
}

/// Kills both in turn, a few times each, and lets Holdfast's leader step down.
async fn compare(settings: &Settings, program: &Path, raw: &mut Raw) -> Result<Compared, String> {
    let mut stage = Stage::open(settings).await;
    let mut etcd = Etcd::start(program, settings).await?;
    let (mut ours, mut theirs) = (Turn::default(), Vec::new());
    while ours.kills.len() < settings.kills {
        for _ in 0..IN_TURN.min(settings.kills - ours.kills.len()) {
            let kill = stage.kill().await?;
            let line = section::raw_kill("Holdfast", settings, ours.kills.len() + 1, &kill);
            tell(raw, &line)?;
            ours.kills.push(kill);
        }
        while theirs.len() < ours.kills.len() {
            let kill = etcd.kill().await?;
            tell(
                raw,
                &section::raw_kill("etcd", settings, theirs.len() + 1, &kill),
            )?;
            theirs.push(kill);
        }
    }
    drop(etcd);
    for round in 1..=settings.step_downs {
        let step = stage.step_down().await?;
        tell(raw, &section::raw_step_down(settings, round, &step))?;
        ours.step_downs.push(step);
    }
    ours.callers = stage.close().await?;
    tell(raw, &section::raw_callers(settings, &ours))?;
    Ok(Compared {
        settings: *settings,
        ours,
        etcd: theirs,
    })
}

/// Each figure as soon as it is there.
fn tell(raw: &mut Raw, line: &Value) -> Result<(), String> {
    eprintln!("{line}");
    raw.write(line)
}

/// The folder of get-peers.sh, in the cache that is named or used by default.
fn peers(asked: &Asked) -> Result<PathBuf, String> {
    if let Some(folder) = &asked.peers {
        return Ok(folder.clone());
    }
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("HOLDFAST_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| set("XDG_CACHE_HOME").map(|it| Path::new(&it).join("holdfast")));
    let cache = cache.or_else(|| set("HOME").map(|it| Path::new(&it).join(".cache/holdfast")));
    cache
        .map(|cache| cache.join("peers"))
        .ok_or("where is etcd? name its folder with --peers".to_owned())
}

/// Which programs were compared.
fn about(etcd: &Path) -> String {
    format!(
        "{}; {}, three members of each on one machine.",
        node_program(),
        Etcd::version(etcd)
    )
}
