//! The core alone, in time: one decision, and the commands of one call, in houses of all sizes and with
//! each strategy. Prints a section of the page of figures, and writes each raw figure as a line of JSON.
//!
//! Criterion measures, in a process of its own because it talks on standard output; what it kept is read
//! from its folder. No figure makes this fail. Instructions and allocations, which do not depend on the
//! machine, are the matter of `tests/costs.rs` and `tests/allocations.rs`.

mod measure;
mod section;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use measure::Figure;

const HELP: &str = "usage: core-alone [--raw FILE] [--quick]

  --raw FILE   where each figure goes as a line of JSON
  --quick      small houses and short turns, to see that it works: its figures are worth nothing";

/// For the process that measures: where criterion keeps its figures.
const MEASURE: &str = "measure";

struct Asked {
    raw: Option<PathBuf>,
    quick: bool,
    /// Only measures, and keeps the figures there.
    measure: Option<PathBuf>,
}

impl Asked {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
        let mut asked = Asked {
            raw: None,
            quick: false,
            measure: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--raw" => asked.raw = Some(value()?.into()),
                "--quick" => asked.quick = true,
                MEASURE => asked.measure = Some(value()?.into()),
                _ => return Err(format!("{word} is not understood")),
            }
        }
        Ok(asked)
    }
}

fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--help") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let asked = match Asked::read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("core-alone: {why}\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if let Some(folder) = &asked.measure {
        measure::all(folder, asked.quick);
        return ExitCode::SUCCESS;
    }
    match tell(&asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("core-alone: {why}");
            ExitCode::FAILURE
        }
    }
}

fn tell(asked: &Asked) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("a folder: {error}"))?;
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let mut command = Command::new(program);
    command.arg(MEASURE).arg(folder.path());
    if asked.quick {
        command.arg("--quick");
    }
    let status = command.stdout(Stdio::null()).status();
    let status = status.map_err(|error| format!("measuring: {error}"))?;
    if !status.success() {
        return Err(format!("measuring ended with {status}"));
    }
    let mut figures = Vec::new();
    for case in measure::cases(asked.quick) {
        figures.push(kept(folder.path(), case)?);
    }
    if let Some(raw) = &asked.raw {
        write(raw, &figures).map_err(|error| format!("{}: {error}", raw.display()))?;
    }
    print!("{}", section::markdown(&figures, asked.quick));
    Ok(())
}

/// What criterion kept of one case: the times of its samples.
fn kept(folder: &Path, case: measure::Case) -> Result<Figure, String> {
    let path = folder
        .join(case.of.name())
        .join(case.name())
        .join("new/sample.json");
    let wrong = |why: String| format!("{}: {why}", path.display());
    let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    let sample: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let numbers = |field: &str| -> Option<Vec<f64>> {
        let list = sample[field].as_array()?;
        list.iter().map(serde_json::Value::as_f64).collect()
    };
    let both = numbers("iters").zip(numbers("times"));
    let (iters, times) = both.ok_or_else(|| wrong("no samples".into()))?;
    let mut each: Vec<f64> = times.iter().zip(&iters).map(|(t, n)| t / n).collect();
    each.sort_by(f64::total_cmp);
    let at = |percent: usize| each.get((each.len() - 1) * percent / 100).copied();
    let (Some(median), Some(most)) = (at(50), at(100)) else {
        return Err(wrong("no samples".into()));
    };
    let per = case.of.per() as f64;
    Ok(Figure {
        case,
        median_us: median / per / 1e3,
        most_us: most / per / 1e3,
    })
}

fn write(path: &Path, figures: &[Figure]) -> std::io::Result<()> {
    let mut file = fs::File::create(path)?;
    for Figure {
        case,
        median_us,
        most_us,
    } in figures
    {
        let line = serde_json::json!({
            "kind": case.of.name(), "strategy": case.strategy_name(), "callers": case.size.callers,
            "agents": case.size.agents, "queues": case.size.queues,
            "median_us": median_us, "slowest_sample_us": most_us,
        });
        writeln!(file, "{line}")?;
    }
    Ok(())
}
