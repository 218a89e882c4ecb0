//! The cases: how many callers and agents, and the same settings in the words of both systems.
//!
//! app_queue's defaults are its own where a case says nothing, but for `ringinuse = no`: by default it
//! would call agents who talk. Each system has phones of its own, with people of the same habit beside
//! them, so that neither works at what the other one does.

use crate::original::APP;

/// How long agents talk at least and at most, in milliseconds.
pub const TALK_MS: (u64, u64) = (800, 1_800);

/// How long the `call`th talk at the `phone`th phone takes. It differs from call to call, because
/// app_queue looks every second whether an agent is free: after talks of one length it would look
/// at the same moment behind each, and the figure would be that of the length. No chance is in it,
/// so both systems get the same talks.
pub fn talk_ms(phone: usize, call: u64) -> u64 {
    let (least, most) = TALK_MS;
    // Steps of about the golden section fall everywhere in between and far from each other.
    let step = (most - least) * 618 / 1_000;
    least + (step * call + 137 * phone as u64) % (most - least)
}

/// Who distributes the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    AppQueue,
    Original,
    Holdfast,
}

impl System {
    pub const ALL: [System; 3] = [System::AppQueue, System::Original, System::Holdfast];
    /// Who is compared if nobody else is asked for, in the order in which they take turns.
    pub const USUAL: [System; 2] = [System::AppQueue, System::Holdfast];

    pub fn name(self) -> &'static str {
        match self {
            System::AppQueue => "app_queue",
            System::Original => "the original",
            System::Holdfast => "Holdfast",
        }
    }

    /// How it is asked for on the command line.
    pub fn word(self) -> &'static str {
        match self {
            System::AppQueue => "app_queue",
            System::Original => "original",
            System::Holdfast => "holdfast",
        }
    }

    /// Phones of its agents.
    pub fn phones(self) -> &'static [&'static str] {
        match self {
            System::AppQueue => &["1001", "1002", "1003", "1004"],
            System::Holdfast => &["1005", "1006", "1007", "1008"],
            System::Original => &["1009", "1010", "1011", "1012"],
        }
    }

    /// What callers of this case dial.
    pub fn exten(self, case: &Case) -> String {
        match self {
            System::AppQueue => format!("aq-{}", case.name),
            System::Holdfast => format!("q-{}", case.name),
            System::Original => format!("st-{APP}-{}", case.name),
        }
    }
}

/// Announcements of a queue.
#[derive(Debug, Clone, Copy)]
pub struct Announce {
    pub every_s: u64,
    pub at_least_s: u64,
    pub to_first: bool,
}

/// One case.
#[derive(Debug)]
pub struct Case {
    pub name: &'static str,
    pub title: &'static str,
    pub agents: usize,
    pub callers: usize,
    /// Between two callers.
    pub every_ms: u64,
    /// app_queue's `retry`, where a case does not leave it alone.
    pub retry_s: Option<u64>,
    pub announce: Option<Announce>,
    /// Then who still waits is hung up, and counted.
    pub limit_s: u64,
    /// Whether it is about callers who find a free agent.
    pub arrival: bool,
}

pub const CASES: [Case; 5] = [
    Case {
        name: "one",
        title: "one agent and a line of 15 (app_queue: retry = 1)",
        agents: 1,
        callers: 15,
        every_ms: 50,
        retry_s: Some(1),
        announce: None,
        limit_s: 45,
        arrival: false,
    },
    Case {
        name: "four",
        title: "four agents, sixty callers, defaults",
        agents: 4,
        callers: 60,
        every_ms: 50,
        retry_s: None,
        announce: None,
        limit_s: 60,
        arrival: false,
    },
    Case {
        name: "announced",
        title: "two agents, 24 callers, ordinary announcements (every 30 s, at least 15 s apart)",
        agents: 2,
        callers: 24,
        every_ms: 50,
        retry_s: None,
        announce: Some(Announce {
            every_s: 30,
            at_least_s: 15,
            to_first: false,
        }),
        limit_s: 50,
        arrival: false,
    },
    Case {
        name: "extreme",
        title: "one agent, 8 callers, announcements every second, to the first caller too",
        agents: 1,
        callers: 8,
        every_ms: 50,
        retry_s: None,
        announce: Some(Announce {
            every_s: 1,
            at_least_s: 1,
            to_first: true,
        }),
        limit_s: 50,
        arrival: false,
    },
    Case {
        name: "arrival",
        title: "callers one by one, and one free agent",
        agents: 1,
        callers: 10,
        every_ms: 2_500,
        retry_s: None,
        announce: None,
        limit_s: 40,
        arrival: true,
    },
];

/// What `--quick` does: enough to see that both systems serve and are measured.
pub const QUICK: Case = Case {
    name: "quick",
    title: "one agent and a line of 4",
    agents: 1,
    callers: 4,
    every_ms: 50,
    retry_s: Some(1),
    announce: None,
    limit_s: 30,
    arrival: false,
};

/// queues.conf for these cases.
pub fn queues_conf(cases: &[&Case]) -> String {
    let mut text = "[general]\npersistentmembers = no\nautofill = yes\n".to_owned();
    for case in cases {
        let mut lines = vec![
            ("strategy", "rrmemory".to_owned()),
            ("ringinuse", "no".into()),
            ("timeout", "15".into()),
            ("musicclass", "default".into()),
        ];
        lines.extend(case.retry_s.map(|retry| ("retry", retry.to_string())));
        if let Some(announce) = case.announce {
            lines.push(("announce-frequency", announce.every_s.to_string()));
            lines.push(("min-announce-frequency", announce.at_least_s.to_string()));
            let first = if announce.to_first { "yes" } else { "no" };
            lines.push(("announce-to-first-user", first.into()));
            lines.push(("announce-position", "yes".into()));
            lines.push(("announce-holdtime", "yes".into()));
        }
        text += &format!("\n[{}]\n", case.name);
        for (key, value) in lines {
            text += &format!("{key} = {value}\n");
        }
        for phone in &System::AppQueue.phones()[..case.agents] {
            text += &format!("member => PJSIP/{phone}\n");
        }
    }
    text
}

/// The same for `holdfast apply`.
pub fn holdfast_toml(cases: &[&Case]) -> String {
    let phones = System::Holdfast.phones();
    let mut text = String::new();
    for phone in phones {
        text += &format!("[agent.{phone}]\nname = \"Agent {phone}\"\nhome = [\"a\"]\n");
    }
    for case in cases {
        let announce = match case.announce {
            None => "{ position = false }".to_owned(),
            Some(it) => format!(
                "{{ position = \"yes\", hold_time = \"yes\", frequency = \"{}s\", \
                 min_frequency = \"{}s\", first_after = \"0s\", to_first_user = {} }}",
                it.every_s, it.at_least_s, it.to_first
            ),
        };
        text += &format!(
            "[queue.{}]\nmembers = {:?}\nstrategy = \"rrmemory\"\nring_time = \"15s\"\n\
             wrap_up = \"0s\"\nannounce = {announce}\n",
            case.name,
            &phones[..case.agents],
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn talks_fall_everywhere_between_the_shortest_and_the_longest() {
        let mut tenths = [0; 10];
        for call in 0..100 {
            let talk = talk_ms(1, call);
            assert!((TALK_MS.0..TALK_MS.1).contains(&talk), "{talk}");
            tenths[((talk - TALK_MS.0) / 100) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|often| (5..=15).contains(often)),
            "{tenths:?}"
        );
    }

    #[test]
    fn both_systems_get_the_same_settings() {
        let cases: Vec<&Case> = CASES.iter().collect();
        let (theirs, ours) = (queues_conf(&cases), holdfast_toml(&cases));
        for case in &CASES {
            assert!(theirs.contains(&format!("\n[{}]\n", case.name)), "{theirs}");
            assert!(
                ours.contains(&format!("\n[queue.{}]\n", case.name)),
                "{ours}"
            );
        }
        assert_eq!(
            theirs.matches("announce-frequency = 30\n").count(),
            1,
            "{theirs}"
        );
        assert_eq!(ours.matches(" frequency = \"30s\"").count(), 1, "{ours}");
    }
}
