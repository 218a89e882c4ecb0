//! Which values of settings make sense. The first that does not is named, with what would be right.
//!
//! Nothing is repaired here: an operator is told. References to other objects are not checked here.

use crate::limits::{
    DURATION_MS_MAX, EXIT_KEYS_MAX, MEMBERS_MAX, PBXES_MAX, PROMPTS_MAX, SKILLS_MAX,
    STEP_AGENTS_MAX, STEPS_MAX, TEXT_BYTES_MAX,
};
use crate::reply::Reject;
use crate::settings::{
    AgentSettings, Announce, Exit, MemberSettings, Prompts, QueueSettings, RetryDelays, Step,
    Template,
};
use crate::text;
use std::collections::BTreeSet;

type Checked = Result<(), Reject>;

/// Settings that can be checked. `name` is of whom they are, for the answer.
pub(crate) trait Validate {
    fn validate(&self, name: &str) -> Checked;
}

impl Validate for QueueSettings {
    fn validate(&self, name: &str) -> Checked {
        let at = At(name);
        at.media("music_class", &self.music_class)?;
        at.duration("ring_time_ms", self.ring_time_ms, 1)?;
        at.duration("timeout_ms", self.timeout_ms.unwrap_or(1), 1)?;
        at.duration("wrap_up_ms", self.wrap_up_ms, 0)?;
        at.duration("service_level_ms", self.service_level_ms, 0)?;
        at.duration("resume_window_ms", self.resume_window_ms, 0)?;
        check_steps(&at, &self.steps)?;
        check_announce(&at, &self.announce)?;
        check_keys(&at, &self.exit_keys)?;
        at.rule(
            "exit_context",
            self.exit_context.as_deref().is_none_or(text::is_context),
            CONTEXT,
        )?;
        check_exit(&at, &self.fallback)?;
        check_retry(&at, &self.retry)?;
        at.at_most("join_empty", self.join_empty.0.len(), 8)?;
        at.at_most("leave_when_empty", self.leave_when_empty.0.len(), 8)
    }
}

impl Validate for AgentSettings {
    fn validate(&self, name: &str) -> Checked {
        let at = At(name);
        at.rule("name", text::clean(&self.name) == self.name, TEXT)?;
        at.at_most("home", self.home.len(), PBXES_MAX)?;
        at.at_most("skills", self.skills.len(), SKILLS_MAX)?;
        at.rule(
            "skills",
            self.skills.iter().all(|skill| text::is_context(skill)),
            CONTEXT,
        )?;
        let endpoint = self.endpoint.as_deref();
        let plain = |c: char| c.is_ascii_graphic() && !"&|,".contains(c);
        let fits = endpoint.is_none_or(|it| (1..=149).contains(&it.len()) && it.chars().all(plain));
        at.rule(
            "endpoint",
            fits,
            "use 1 to 149 printable ASCII characters without & | ,",
        )
    }
}

impl Validate for MemberSettings {
    fn validate(&self, name: &str) -> Checked {
        At(name).duration("wrap_up_ms", self.wrap_up_ms.unwrap_or(0), 0)
    }
}

impl Validate for Template {
    fn validate(&self, name: &str) -> Checked {
        let at = At(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.@-*".contains(c);
        let pattern = &self.pattern;
        let fits = (1..=64).contains(&pattern.len()) && pattern.chars().all(plain);
        at.rule("pattern", fits, "use 1 to 64 of A-Z a-z 0-9 _ . @ - *")?;
        at.at_most("members", self.members.len(), MEMBERS_MAX)?;
        for (agent, settings) in &self.members {
            settings.validate(agent.as_str())?;
        }
        self.settings.validate(name)
    }
}

const CONTEXT: &str = "use 1 to 80 of A-Z a-z 0-9 _ . @ -";
const MEDIA: &str = "use 1 to 80 of A-Z a-z 0-9 _ . / - without ..";
const TEXT: &str = "use at most 80 bytes without control characters";
const _: () = assert!(TEXT_BYTES_MAX == 80, "the texts above name it");

fn check_steps(at: &At, steps: &[Step]) -> Checked {
    at.at_most("steps", steps.len(), STEPS_MAX)?;
    let ascending = steps
        .windows(2)
        .all(|two| two[0].after_ms < two[1].after_ms);
    at.rule("steps", ascending, "after_ms must grow from step to step")?;
    for step in steps {
        at.duration("steps.after_ms", step.after_ms, 0)?;
        at.duration("steps.ring_time_ms", step.ring_time_ms.unwrap_or(1), 1)?;
        at.at_most("steps.agents", step.agents.len(), STEP_AGENTS_MAX)?;
    }
    Ok(())
}

fn check_announce(at: &At, announce: &Announce) -> Checked {
    // Announcing more often than once a second would be all that the cluster does.
    for (what, ms) in [
        ("announce.frequency_ms", announce.frequency_ms),
        (
            "announce.periodic_frequency_ms",
            announce.periodic_frequency_ms,
        ),
    ] {
        at.duration(what, ms, 0)?;
        at.rule(what, ms == 0 || ms >= 1_000, "use 0 (off) or at least 1000")?;
    }
    at.duration("announce.min_frequency_ms", announce.min_frequency_ms, 0)?;
    at.duration("announce.first_after_ms", announce.first_after_ms, 0)?;
    at.rule(
        "announce.round_seconds",
        announce.round_seconds <= 60,
        "use 0 to 60",
    )?;
    at.at_most("announce.periodic", announce.periodic.len(), PROMPTS_MAX)?;
    announce
        .periodic
        .iter()
        .try_for_each(|name| at.media("announce.periodic", name))?;
    check_prompts(at, &announce.prompts)
}

fn check_prompts(at: &At, prompts: &Prompts) -> Checked {
    let names = [
        &prompts.you_are_next,
        &prompts.there_are,
        &prompts.calls_waiting,
        &prompts.quantity1,
        &prompts.quantity2,
        &prompts.hold_time,
        &prompts.minute,
        &prompts.minutes,
        &prompts.seconds,
        &prompts.thank_you,
    ];
    let mut spoken = names.into_iter().filter(|name| !name.is_empty());
    spoken.try_for_each(|name| at.media("announce.prompts", name))?;
    at.at_most(
        "announce.prompts.timeout",
        prompts.timeout.len(),
        PROMPTS_MAX,
    )?;
    prompts
        .timeout
        .iter()
        .try_for_each(|name| at.media("announce.prompts.timeout", name))
}

fn check_keys(at: &At, keys: &[String]) -> Checked {
    at.at_most("exit_keys", keys.len(), EXIT_KEYS_MAX)?;
    at.rule(
        "exit_keys",
        keys.iter().all(|key| text::is_key(key)),
        "use single keys 0-9 * # A-D",
    )?;
    let distinct: BTreeSet<&String> = keys.iter().collect();
    at.rule(
        "exit_keys",
        distinct.len() == keys.len(),
        "name each key once",
    )
}

fn check_exit(at: &At, exit: &Exit) -> Checked {
    let context = exit.context.as_deref().is_none_or(text::is_context);
    at.rule("fallback.context", context, CONTEXT)?;
    let exten = exit.exten.as_deref().is_none_or(text::is_exten);
    at.rule(
        "fallback.exten",
        exten,
        "use 1 to 80 of A-Z a-z 0-9 _ . * # + -",
    )?;
    at.rule(
        "fallback.priority",
        exit.priority != Some(0),
        "priorities count from 1",
    )
}

fn check_retry(at: &At, retry: &RetryDelays) -> Checked {
    at.duration("retry.no_answer_ms", retry.no_answer_ms, 0)?;
    at.duration("retry.busy_ms", retry.busy_ms, 0)?;
    at.duration("retry.rejected_ms", retry.rejected_ms, 0)?;
    at.duration("retry.unreachable_ms", retry.unreachable_ms, 0)
}

/// Of whom the settings are.
struct At<'a>(&'a str);

impl At<'_> {
    fn rule(&self, what: &str, fits: bool, problem: &str) -> Checked {
        if fits {
            return Ok(());
        }
        let what = format!("{} {what}", text::clean(self.0));
        Err(Reject::Invalid {
            what,
            problem: problem.into(),
        })
    }

    fn duration(&self, what: &str, ms: u64, min: u64) -> Checked {
        let problem = format!("{ms} ms is not from {min} to {DURATION_MS_MAX}");
        self.rule(what, (min..=DURATION_MS_MAX).contains(&ms), &problem)
    }

    fn at_most(&self, what: &str, len: usize, max: usize) -> Checked {
        self.rule(
            what,
            len <= max,
            &format!("{len} entries; at most {max} are allowed"),
        )
    }

    fn media(&self, what: &str, name: &str) -> Checked {
        let problem = format!("{:?}: {MEDIA}", text::clean(name));
        self.rule(what, text::is_media(name), &problem)
    }
}
