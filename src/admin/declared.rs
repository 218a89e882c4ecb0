//! The declarative file (`queues.toml`): queues, agents, members, templates, and the agent plan of
//! the original, all in one, as `apply -f` sends it and `GET /v1/config` shows it.
//!
//! Reading checks what can be known without a cluster and points at the line; whether an agent that
//! is named exists, and whether a value makes sense, is judged when it is applied.

use crate::object::{named, object};
use crate::settings::{AgentDoc, MemberDoc, Named, QueueDoc};
use crate::task::{self, TaskDoc};
use crate::unknown::shortened;
use holdfast_acd::settings::Template;
use holdfast_acd::{AgentId, Config, QueueName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// The declared set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Declared {
    /// `[queue.NAME]`
    #[serde(deserialize_with = "named")]
    pub queue: BTreeMap<QueueName, QueueDoc>,
    /// `[agent.ID]`
    #[serde(deserialize_with = "named")]
    pub agent: BTreeMap<AgentId, AgentDoc>,
    /// `[template.NAME]`: queues that a call may bring into being.
    #[serde(deserialize_with = "named")]
    pub template: BTreeMap<String, TemplateDoc>,
    /// `[task."Name@domain"]`: the original's plan. Becomes queues, agents and members.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "named")]
    pub task: BTreeMap<String, TaskDoc>,
}

/// Queues whose names match `pattern`, in which `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateDoc {
    pub pattern: String,
    /// Settings and members of such a queue.
    #[serde(default, deserialize_with = "object")]
    pub queue: QueueDoc,
}

/// One thing that is wrong: where (keys from the outside in), and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: Vec<String>,
    pub what: String,
}

impl Problem {
    pub fn new(path: &[&str], what: impl Into<String>) -> Self {
        Self {
            path: path.iter().map(|key| key.to_string()).collect(),
            what: what.into(),
        }
    }

    /// RFC 6901.
    pub fn pointer(&self) -> String {
        let escape = |key: &String| format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        self.path.iter().map(escape).collect()
    }
}

/// A file that cannot be used: each problem with its line and, where known, a caret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    pub file: String,
    pub problems: Vec<Located>,
}

/// A problem at its place in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// From 1; 0 if the place is not known.
    pub line: usize,
    pub column: usize,
    /// The line itself, without its end.
    pub source: String,
    /// Characters that the caret underlines.
    pub width: usize,
    pub what: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            if problem.line == 0 {
                write!(f, "{}: {}", self.file, problem.what)?;
                continue;
            }
            let gutter = problem.line.to_string();
            let pad = " ".repeat(gutter.len());
            let indent = " ".repeat(problem.column - 1);
            let caret = "^".repeat(problem.width.max(1));
            writeln!(f, "{}:{}:{}", self.file, problem.line, problem.column)?;
            writeln!(f, "{pad} |")?;
            writeln!(f, "{gutter} | {}", problem.source)?;
            writeln!(f, "{pad} | {indent}{caret}")?;
            write!(f, "{}", problem.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for FileError {}

/// Reads a file's text. `file` is for the errors alone.
pub fn read_toml(file: &str, text: &str) -> Result<Config, FileError> {
    let fail = |problems| {
        Err(FileError {
            file: file.to_owned(),
            problems,
        })
    };
    let declared: Declared = match toml::from_str(text) {
        Ok(declared) => declared,
        Err(error) => {
            let what = shortened(error.message());
            return fail(vec![place(text, error.span(), what)]);
        }
    };
    match declared.config() {
        Ok(config) => Ok(config),
        Err(problems) => fail(
            problems
                .into_iter()
                .map(|p| place(text, find(text, &p.path), p.what))
                .collect(),
        ),
    }
}

impl Declared {
    /// What is meant by it, all problems at once.
    pub fn config(&self) -> Result<Config, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut queues = BTreeMap::new();
        let mut agents = BTreeMap::new();
        let mut members: BTreeMap<(QueueName, AgentId), MemberDoc> = BTreeMap::new();
        for (name, doc) in &self.queue {
            queues.insert(name.clone(), doc.settings());
            for (agent, member) in doc.members.iter().flat_map(Named::entries) {
                if members
                    .insert((name.clone(), agent.clone()), member)
                    .is_some()
                {
                    let what = format!("agent {agent} is in this list twice");
                    problems.push(Problem::new(&["queue", name.as_str(), "members"], what));
                }
            }
        }
        for (id, doc) in &self.agent {
            agents.insert(id.clone(), doc.settings());
            for (queue, mut member) in doc.queues.iter().flat_map(Named::entries) {
                if matches!(doc.queues, Some(Named::List(_))) {
                    // The place in an agent's own list says nothing about the place in the queue.
                    member.order = 0;
                }
                let path = ["agent", id.as_str(), "queues"];
                let before = members.insert((queue.clone(), id.clone()), member.clone());
                if before.is_some_and(|before| before != member) {
                    let what = format!(
                        "agent {id} is also in members of queue {queue}, with other settings; \
                         say it in one place"
                    );
                    problems.push(Problem::new(&path, what));
                }
            }
        }
        let (plans, more) = task::plans(&self.task);
        problems.extend(more);
        for plan in plans {
            let path = ["task", plan.task.as_str()];
            if queues.contains_key(&plan.queue) {
                let what = format!("queue {} is declared as [queue] too; keep one", plan.queue);
                problems.push(Problem::new(&path, what));
                continue;
            }
            for (agent, order) in plan.agents.iter().zip(0..) {
                agents.entry(agent.clone()).or_default();
                let member = MemberDoc {
                    order,
                    ..MemberDoc::default()
                };
                members
                    .entry((plan.queue.clone(), agent.clone()))
                    .or_insert(member);
            }
            queues.insert(plan.queue, plan.settings);
        }
        let mut templates = Vec::new();
        for (name, doc) in &self.template {
            let entries = doc.queue.members.iter().flat_map(Named::entries);
            let mut members: Vec<_> = entries
                .map(|(agent, member)| (agent, member.settings()))
                .collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            let template = Template {
                pattern: doc.pattern.clone(),
                settings: doc.queue.settings(),
                members,
            };
            templates.push((name.clone(), template));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let members = members
            .into_iter()
            .map(|((q, a), doc)| (q, a, doc.settings()))
            .collect();
        Ok(Config {
            queues: queues.into_iter().collect(),
            agents: agents.into_iter().collect(),
            members,
            templates,
        })
    }

    /// The document of a declared set; members stand with their queues.
    pub fn of(config: &Config) -> Self {
        let mut queue: BTreeMap<QueueName, QueueDoc> = config
            .queues
            .iter()
            .map(|(name, settings)| (name.clone(), QueueDoc::of(settings)))
            .collect();
        for (name, agent, settings) in &config.members {
            let Some(doc) = queue.get_mut(name) else {
                continue;
            };
            let members = doc
                .members
                .get_or_insert_with(|| Named::Table(BTreeMap::new()));
            if let Named::Table(table) = members {
                table.insert(agent.clone(), MemberDoc::of(settings));
            }
        }
        let agents = config.agents.iter();
        let agent = agents
            .map(|(id, settings)| (id.clone(), AgentDoc::of(settings)))
            .collect();
        let template = config
            .templates
            .iter()
            .map(|(name, template)| {
                let members = template.members.iter();
                let members = members
                    .map(|(agent, m)| (agent.clone(), MemberDoc::of(m)))
                    .collect();
                let mut queue = QueueDoc::of(&template.settings);
                queue.members = Some(Named::Table(members));
                (
                    name.clone(),
                    TemplateDoc {
                        pattern: template.pattern.clone(),
                        queue,
                    },
                )
            })
            .collect();
        Self {
            queue,
            agent,
            template,
            task: BTreeMap::new(),
        }
    }

    /// As a file: what has its default is left out.
    pub fn to_toml(&self) -> String {
        let expect = "every key and value of a declared set has a TOML form";
        let mut root = toml::Table::try_from(self).expect(expect);
        let queue = toml::Table::try_from(QueueDoc::default()).expect(expect);
        let agent = toml::Table::try_from(AgentDoc::default()).expect(expect);
        let member = toml::Table::try_from(MemberDoc::default()).expect(expect);
        for (_, value) in tables(&mut root, "queue") {
            strip_queue(value, &queue, &member);
        }
        for (_, value) in tables(&mut root, "agent") {
            strip(value, &agent);
        }
        for (_, value) in tables(&mut root, "template") {
            for (_, inner) in value.iter_mut().filter(|(key, _)| *key == "queue") {
                if let toml::Value::Table(inner) = inner {
                    strip_queue(inner, &queue, &member);
                }
            }
        }
        root.retain(|_, value| value.as_table().is_none_or(|table| !table.is_empty()));
        toml::to_string(&root).expect(expect)
    }
}

fn tables<'a>(
    root: &'a mut toml::Table,
    key: &str,
) -> impl Iterator<Item = (&'a String, &'a mut toml::Table)> {
    let table = root.get_mut(key).and_then(toml::Value::as_table_mut);
    table
        .into_iter()
        .flat_map(|table| table.iter_mut())
        .filter_map(|(name, value)| {
            let value = value.as_table_mut()?;
            Some((name, value))
        })
}

fn strip_queue(queue: &mut toml::Table, defaults: &toml::Table, member: &toml::Table) {
    for (_, value) in tables(queue, "members") {
        strip(value, member);
    }
    strip(queue, defaults);
}

/// Takes away what equals the default; a table that becomes empty by it goes too.
fn strip(table: &mut toml::Table, defaults: &toml::Table) {
    table.retain(|key, value| match (value, defaults.get(key)) {
        (toml::Value::Table(inner), Some(toml::Value::Table(defaults))) => {
            strip(inner, defaults);
            !inner.is_empty()
        }
        (value, Some(default)) => value != default,
        (_, None) => true,
    });
}

/// Where a key stands in a text, or its nearest parent that stands there.
fn find(text: &str, path: &[String]) -> Option<Range<usize>> {
    let root = toml::de::DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let mut found = None;
    for key in path {
        let Some((name, value)) = table
            .iter()
            .find(|(name, _)| *name.get_ref() == key.as_str())
        else {
            break;
        };
        found = Some(name.span());
        match value.get_ref() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    found
}

fn place(text: &str, span: Option<Range<usize>>, what: String) -> Located {
    let Some(span) = span.filter(|span| text.is_char_boundary(span.start)) else {
        return Located {
            line: 0,
            column: 0,
            source: String::new(),
            width: 0,
            what,
        };
    };
    let before = &text[..span.start];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let source = text[line_start..]
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    let column = text[line_start..span.start].chars().count() + 1;
    let end = span.end.min(line_start + source.len()).max(span.start);
    let width = text
        .get(span.start..end)
        .map_or(1, |marked| marked.chars().count());
    Located {
        line: before.matches('\n').count() + 1,
        column,
        source,
        width,
        what,
    }
}
