//! Agents at their phones.

use rand::Rng;
use rand::rngs::StdRng;

use crate::lab::cluster::Cluster;
use crate::lab::{Habit, LabError, Pbx, Phone, SimPhone};

/// Who works: number, and the Asterisk where the phone registers.
pub const AGENTS: [(&str, &str); 6] = [
    ("1001", "a"),
    ("1002", "b"),
    ("1003", "c"),
    ("1004", "a"),
    ("1005", "b"),
    ("1006", "c"),
];

/// Registers the phones. Simulated people answer by chance; those at sipp's phones always do.
pub async fn phones(cluster: &Cluster, rng: &mut StdRng) -> Result<Vec<Phone>, LabError> {
    let mut phones = Vec::new();
    for (number, home) in AGENTS {
        let phone = match &cluster.site(home).pbx {
            Pbx::Sim(pbx) => {
                let person = holdfast_sim::Person {
                    answer_ms: (100, 800),
                    talk_ms: (1_500, 5_000),
                    no_answer_percent: 3,
                    busy_percent: 3,
                    reject_percent: 3,
                };
                Phone::Sim(SimPhone::with_person(pbx, number, person))
            }
            pbx @ Pbx::Real(_) => {
                let habit = Habit::Answer {
                    after_ms: rng.random_range(100..800),
                    talk_ms: Some(rng.random_range(1_000..3_000)),
                };
                pbx.phone(number, habit).await?
            }
        };
        phones.push(phone);
    }
    // An Asterisk that is killed sooner forgets a phone, which would register again an hour later.
    for (number, home) in AGENTS {
        cluster.site(home).pbx.contact_kept(number).await?;
    }
    Ok(phones)
}
