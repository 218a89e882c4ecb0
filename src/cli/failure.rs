//! How a command fails: what, why, what to do, and the exit code that says which kind it was.
//!
//! Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict or precondition, 5 not allowed,
//! 6 no leader or unreachable, 7 outcome unknown, 78 bad configuration (EX_CONFIG).

use holdfast_admin::api::Problem;
use std::fmt;

pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const NOT_FOUND: u8 = 3;
pub const CONFLICT: u8 = 4;
pub const NOT_ALLOWED: u8 = 5;
pub const UNREACHABLE: u8 = 6;
pub const UNKNOWN: u8 = 7;
pub const CONFIG: u8 = 78;

/// A command that failed. `Display` is up to three lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: u8,
    pub what: String,
    /// Why, and what it means; empty if `what` says all.
    pub why: String,
    /// What to type next; empty if nothing helps.
    pub fix: String,
}

impl Failure {
    pub fn new(exit: u8, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            why: String::new(),
            fix: String::new(),
        }
    }

    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// What a node answered instead of doing it.
    pub fn of_problem(problem: &Problem) -> Self {
        let exit = match problem.status {
            404 => NOT_FOUND,
            409 | 412 => CONFLICT,
            401 | 403 => NOT_ALLOWED,
            503 => UNREACHABLE,
            504 => UNKNOWN,
            _ => FAILED,
        };
        let mut why = format!("{} ({})", problem.title, problem.code);
        for error in problem
            .errors
            .iter()
            .filter(|error| !error.pointer.is_empty())
        {
            why.push_str(&format!("\n  {}: {}", error.pointer, error.detail));
        }
        Self::new(exit, problem.detail.clone())
            .why(why)
            .fix(problem.hint.clone())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if !self.why.is_empty() {
            write!(f, "\n  {}", self.why)?;
        }
        if !self.fix.is_empty() {
            write!(f, "\n  try: {}", self.fix)?;
        }
        Ok(())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(FAILED, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_answer_has_its_exit_code() {
        let exit = |status| {
            Failure::of_problem(&Problem {
                status,
                ..Problem::default()
            })
            .exit
        };
        let cases = [
            (404, 3),
            (409, 4),
            (412, 4),
            (401, 5),
            (403, 5),
            (503, 6),
            (504, 7),
            (422, 1),
        ];
        for (status, code) in cases {
            assert_eq!(exit(status), code, "{status}");
        }
    }

    #[test]
    fn a_failure_is_what_why_and_what_to_do() {
        let failure = Failure::new(FAILED, "no leader")
            .why("1 of 3 answers")
            .fix("start b");
        assert_eq!(
            failure.to_string(),
            "error: no leader\n  1 of 3 answers\n  try: start b"
        );
        assert_eq!(Failure::new(FAILED, "x").to_string(), "error: x");
    }
}
