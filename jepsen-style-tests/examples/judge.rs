//! Judges kept histories again: `cargo run -p holdfast-drills --example judge -- [--drill] FILE...`
//!
//! Prints the report of each. Exit status 1 if a promise is broken, 2 if a file is no history.

use holdfast_drills::judge::{History, Limits, judge};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut limits = Limits::simulation();
    let mut broken = 0;
    for argument in std::env::args().skip(1) {
        if argument == "--drill" {
            limits = Limits::drill();
            continue;
        }
        let history = match History::read(Path::new(&argument)) {
            Ok(history) => history,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        };
        let verdict = judge(&history, &limits);
        println!("{argument}\n{}", verdict.report());
        broken += u32::from(!verdict.kept());
    }
    ExitCode::from(u8::from(broken > 0))
}
