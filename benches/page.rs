//! `make bench`: runs the parts of the comparison one after another and writes one page of what they
//! printed, with the raw figures beside it:
//!
//!     benches/runs/<date>-<machine>.md       the page
//!     benches/runs/<date>-<machine>/*.jsonl  each figure, one JSON object a line
//!
//! A part is a program that prints its section in markdown and takes `--raw FILE` and `--quick`. Nothing is
//! measured here but the load of the machine and the time a part took. A part that fails or takes longer than
//! ten minutes is told of on the page and makes the run fail; the others still run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// No part may take longer, once it is built.
const PART_MAX: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One part: how its programs are built, and what is run. Each command is one line of words.
struct Part {
    name: &'static str,
    about: &'static str,
    /// Before the run, and not in its time.
    builds: &'static [&'static str],
    run: &'static str,
}

const ASTERISK: &str = "deploy/testbed/get-asterisk.sh";
const PEERS: &str = "benches/get-peers.sh";
const HOLDFAST: &str = "cargo build --locked --release -p holdfast";
const DISPATCH: &str = "cargo build --locked -p holdfast-drills --bin bench-dispatch";
const STORE: &str = "cargo build --locked --release --manifest-path benches/Cargo.toml --target-dir target \
                     --features store --bin store";

const PARTS: [Part; 8] = [
    Part {
        name: "dispatch",
        about: "how soon agents and callers meet, against app_queue",
        builds: &[ASTERISK, HOLDFAST, DISPATCH],
        run: "target/debug/bench-dispatch",
    },
    Part {
        name: "original",
        about: "the same, against the design that Holdfast began from",
        builds: &[ASTERISK, PEERS, HOLDFAST, DISPATCH],
        run: "target/debug/bench-dispatch --systems original,holdfast --cases four,arrival",
    },
    Part {
        name: "store",
        about: "the replicated store, against etcd and Redis",
        builds: &[PEERS, STORE],
        run: "target/release/store --growth 1000000",
    },
    Part {
        name: "core",
        about: "the core alone, in time",
        builds: &[
            "cargo build --locked --release --manifest-path benches/Cargo.toml --target-dir target \
             --features timing --bin core-alone",
        ],
        run: "target/release/core-alone",
    },
    Part {
        name: "failover",
        about: "what the death of a leader costs, with etcd beside it",
        builds: &[
            PEERS,
            HOLDFAST,
            "cargo build --locked -p holdfast-drills --bin bench-failover",
        ],
        run: "target/debug/bench-failover",
    },
    Part {
        name: "day",
        about: "calls per second, CPU and memory of a whole installation, and pauses by snapshots",
        builds: &[
            HOLDFAST,
            "cargo build --locked --release -p holdfast-drills --bin bench-day",
        ],
        run: "target/release/bench-day",
    },
    Part {
        name: "cost",
        about: "processor time of a call, against app_queue, and of events and requests",
        builds: &[
            ASTERISK,
            HOLDFAST,
            "cargo build --locked --release -p holdfast-drills --bin bench-cost",
        ],
        run: "target/release/bench-cost",
    },
    Part {
        name: "recovery",
        about: "after a crash, and after having been away",
        builds: &[PEERS, STORE],
        run: "target/release/store recovery",
    },
];

const HELP: &str = "usage: page [--only PART,PART] [--quick] [--out FOLDER]

  --only LIST    these parts alone
  --quick        each part in its shortest form, to see that it runs; its figures mean nothing
  --out FOLDER   where the page goes (benches/runs)

MACHINE names the machine in the file's name, else its host name does.";

struct Asked {
    only: Option<Vec<String>>,
    quick: bool,
    out: PathBuf,
}

impl Asked {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
        let mut asked = Asked {
            only: None,
            quick: false,
            out: "benches/runs".into(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--quick" => asked.quick = true,
                "--out" => asked.out = value()?.into(),
                "--only" => {
                    let names: Vec<String> = value()?.split(',').map(str::to_owned).collect();
                    let known = |name: &&String| !PARTS.iter().any(|part| part.name == **name);
                    if let Some(name) = names.iter().find(known) {
                        return Err(format!("there is no part {name:?}"));
                    }
                    asked.only = Some(names);
                }
                _ => return Err(format!("{word} is not understood")),
            }
        }
        Ok(asked)
    }

    fn wants(&self, part: &Part) -> bool {
        let only = self.only.as_ref();
        only.is_none_or(|only| only.iter().any(|name| name == part.name))
    }
}

fn main() -> ExitCode {
    let asked = match Asked::read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("page: {why}\n{HELP}\n\nParts:");
            for part in &PARTS {
                eprintln!("  {:<10} {}", part.name, part.about);
            }
            return ExitCode::from(2);
        }
    };
    // Built as part of the repository, run anywhere in it.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let entered = root.map(std::env::set_current_dir);
    if !matches!(entered, Some(Ok(()))) {
        eprintln!("page: the repository it was built in is gone");
        return ExitCode::FAILURE;
    }
    match write(&asked) {
        Ok((page, true)) => {
            println!("{}", page.display());
            ExitCode::SUCCESS
        }
        Ok((page, false)) => {
            eprintln!("page: a part failed, see {}", page.display());
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("page: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the page; gives it, and whether all parts ran well.
fn write(asked: &Asked) -> Result<(PathBuf, bool), String> {
    let failed = |what: &Path, error: std::io::Error| format!("{}: {error}", what.display());
    let name = format!("{}-{}", said("date", &["-u", "+%Y-%m-%d"]), machine());
    let folder = asked.out.join(&name);
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
    let page = asked.out.join(format!("{name}.md"));
    let mut text = head(asked);
    let mut well = true;
    for part in PARTS.iter().filter(|part| asked.wants(part)) {
        eprintln!("page: {} ({})", part.name, part.about);
        let section = match build(part).and_then(|()| run(part, asked, &folder)) {
            Ok(section) => section,
            Err(why) => {
                well = false;
                format!("## {}\n\n**This part failed**: {why}\n", part.name)
            }
        };
        text += "\n";
        text += &section;
        // After each part, so that what is measured is not lost by what comes later.
        fs::write(&page, &text).map_err(|error| failed(&page, error))?;
    }
    Ok((page, well))
}

/// What was measured on, and by what.
fn head(asked: &Asked) -> String {
    let commit = said("git", &["rev-parse", "--short", "HEAD"]);
    let changed = match said("git", &["status", "--porcelain", "--untracked-files=no"]).as_str() {
        "" => "",
        _ => ", with changes that are not committed",
    };
    let quick = match asked.quick {
        true => "**A quick run, to see that the parts work: its figures mean nothing.**\n\n",
        false => "",
    };
    format!(
        "# Side by side, {}\n\n{quick}\
         | | |\n| --- | --- |\n\
         | Holdfast | {commit}{changed} |\n\
         | processor | {}, {} cores |\n\
         | memory | {} |\n\
         | system | {} |\n\
         | compiler | {} |\n\
         | load before | {} |\n\n\
         Load is over 1, 5 and 15 minutes. Where it is above the number of cores, medians are worth \
         something and the rest little. How each part is measured stands in benches/README.md.\n",
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        field("/proc/cpuinfo", "model name"),
        std::thread::available_parallelism().map_or(0, |cores| cores.get()),
        field("/proc/meminfo", "MemTotal"),
        said("uname", &["-sr"]),
        said("rustc", &["--version"]),
        load(),
    )
}

fn build(part: &Part) -> Result<(), String> {
    for line in part.builds {
        let status = command(line).stdout(Stdio::null()).status();
        let status = status.map_err(|error| format!("{line}: {error}"))?;
        if !status.success() {
            return Err(format!("{line}: {status}"));
        }
    }
    Ok(())
}

fn command(line: &str) -> Command {
    let mut words = line.split_ascii_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Runs a part and gives its section.
fn run(part: &Part, asked: &Asked, folder: &Path) -> Result<String, String> {
    let raw = folder.join(format!("{}.jsonl", part.name));
    let mut command = command(part.run);
    command.env("HOLDFAST_BIN", "target/release/holdfast");
    command.arg("--raw").arg(&raw);
    if asked.quick {
        command.arg("--quick");
    }
    let section = folder.join(format!("{}.out", part.name));
    let cannot = |error: std::io::Error| format!("{}: {error}", part.run);
    let output =
        File::create(&section).map_err(|error| format!("{}: {error}", section.display()))?;
    let (before, begun) = (load(), Instant::now());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output)
        .spawn()
        .map_err(cannot)?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(cannot)? {
            break status;
        }
        if begun.elapsed() > PART_MAX {
            child.kill().map_err(cannot)?;
            child.wait().map_err(cannot)?;
            return Err(format!("it did not end in {} s", PART_MAX.as_secs()));
        }
        std::thread::sleep(LOOK_EVERY);
    };
    let took = begun.elapsed().as_secs();
    let text =
        fs::read_to_string(&section).map_err(|error| format!("{}: {error}", section.display()))?;
    // It stands on the page now.
    fs::remove_file(&section).map_err(|error| format!("{}: {error}", section.display()))?;
    if !status.success() {
        return Err(format!("it ended with {status} and had printed:\n\n{text}"));
    }
    let text = match text.starts_with("## ") {
        true => text,
        false => format!("## {}\n\n```\n{}\n```\n", part.name, text.trim_end()),
    };
    Ok(format!(
        "{}\n\nThis part took {took} s; load before: {before}, after: {}. Raw figures: {}.\n",
        text.trim_end(),
        load(),
        raw.display()
    ))
}

/// What a command says in its first line; empty when it cannot be run.
fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let text = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
    text.unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The value behind `name :` in a file of /proc.
fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The machine's name, fit for a file name.
fn machine() -> String {
    let name = std::env::var("MACHINE").unwrap_or_default();
    let name = match name.as_str() {
        "" => fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default(),
        _ => name,
    };
    let fit = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let name: String = name.trim().chars().filter(|c| fit(*c)).collect();
    match name.as_str() {
        "" => "unnamed".to_owned(),
        _ => name,
    }
}
