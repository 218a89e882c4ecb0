//! The processes that are started and killed: how long a start took, and what it took in memory. And the
//! conversation with a node of Holdfast's store.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::node::{Answer, Paced, Stand};
use crate::Error;

/// The longest that anything may take: filling a log, for one.
const ANSWER: Duration = Duration::from_secs(400);
const AGAIN: Duration = Duration::from_millis(20);

/// A process that ends when this is dropped. Where its output goes says who starts it.
pub struct Process {
    pub name: String,
    pub begun: Instant,
    child: Child,
}

impl Process {
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Process, Error> {
        let out = std::fs::File::create(log);
        let out = out.map_err(|e| Error::new(format!("creating {}", log.display()), e))?;
        let begun = Instant::now();
        let child = command
            .stdin(Stdio::piped())
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Error::new(format!("starting {name}"), e))?;
        Ok(Process {
            name: name.into(),
            begun,
            child,
        })
    }

    /// Most memory it has held so far, in bytes.
    pub fn peak(&self) -> Result<u64, Error> {
        let pid = self.child.id().unwrap_or(0);
        crate::proc::peak(pid)
    }

    /// Fails when it has ended.
    pub fn runs(&mut self) -> Result<(), Error> {
        let ended = self.child.try_wait();
        match ended.map_err(|e| Error::new(&self.name, e))? {
            Some(status) => Err(Error::new(&self.name, format!("ended: {status}"))),
            None => Ok(()),
        }
    }

    /// As a crash would end it.
    pub async fn kill(mut self) -> Result<(), Error> {
        let killed = self.child.kill().await;
        killed.map_err(|e| Error::new(format!("killing {}", self.name), e))
    }
}

/// A node of Holdfast's store that has been started.
pub struct Node {
    pub process: Process,
    /// Entries that it had applied when it was up, and how long after its start that was.
    pub applied: u64,
    pub up: Duration,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Node {
    /// Starts it and waits until it has read all it had.
    pub async fn start(name: &str, arguments: &[String], log: &Path) -> Result<Node, Error> {
        let program = std::env::current_exe();
        let program = program.map_err(|e| Error::new("finding this program", e))?;
        let mut command = Command::new(program);
        command.arg("recovery-node").args(arguments);
        command.stdout(Stdio::piped());
        let mut process = Process::start(name, &mut command, log)?;
        let pipes = process.child.stdin.take().zip(process.child.stdout.take());
        let (input, output) = pipes.ok_or_else(|| Error::new(name, "has no pipes"))?;
        let mut node = Node {
            process,
            applied: 0,
            up: Duration::ZERO,
            input,
            output: BufReader::new(output).lines(),
        };
        let answer = node.answer("the start").await.map_err(|e| {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            Error::new(e.to_string(), said.trim())
        })?;
        match answer {
            Answer::Up { applied } => {
                node.applied = applied;
                node.up = node.process.begun.elapsed();
                Ok(node)
            }
            other => Err(Error::new(name, format!("answered its start by {other:?}"))),
        }
    }

    /// Has it do something and waits until it is done.
    pub async fn done(&mut self, what: &str) -> Result<(), Error> {
        match self.ask(what).await? {
            Answer::Done => Ok(()),
            other => Err(self.odd(what, other)),
        }
    }

    pub async fn stand(&mut self) -> Result<Stand, Error> {
        match self.ask("stand").await? {
            Answer::Stands(stand) => Ok(stand),
            other => Err(self.odd("stand", other)),
        }
    }

    /// Ends the writer that `pace` began.
    pub async fn paced(&mut self) -> Result<Paced, Error> {
        match self.ask("stop").await? {
            Answer::Paced(paced) => Ok(paced),
            other => Err(self.odd("stop", other)),
        }
    }

    /// Waits until it stands so.
    pub async fn until(
        &mut self,
        what: &str,
        stands: impl Fn(&Stand) -> bool,
    ) -> Result<Stand, Error> {
        let begun = Instant::now();
        loop {
            let stand = self.stand().await?;
            if stands(&stand) {
                return Ok(stand);
            }
            if begun.elapsed() > ANSWER {
                let name = &self.process.name;
                return Err(Error::new(
                    name,
                    format!("not {what} within {ANSWER:?}: {stand:?}"),
                ));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn ask(&mut self, what: &str) -> Result<Answer, Error> {
        let said = self.input.write_all(format!("{what}\n").as_bytes()).await;
        said.map_err(|e| Error::new(format!("{}, {what}", self.process.name), e))?;
        self.answer(what).await
    }

    async fn answer(&mut self, what: &str) -> Result<Answer, Error> {
        let failed = |why: String| Error::new(format!("{}, {what}", self.process.name), why);
        let line = tokio::time::timeout(ANSWER, self.output.next_line()).await;
        let line = line.map_err(|_| failed(format!("no answer within {ANSWER:?}")))?;
        let line = line.map_err(|e| failed(e.to_string()))?;
        let line = line.ok_or_else(|| failed("it ended".into()))?;
        serde_json::from_str(&line).map_err(|e| failed(e.to_string()))
    }

    fn odd(&self, what: &str, answer: Answer) -> Error {
        Error::new(&self.process.name, format!("answered {what} by {answer:?}"))
    }
}
