//! Strategy random in a team so big that agents are drawn from it instead of being looked through.

mod common;

use common::*;
use holdfast_acd::settings::{QueueSettings, Strategy};
use holdfast_acd::*;

/// Nobody twice, and nobody of a higher penalty.
#[test]
fn random_draws_each_agent_of_a_big_team_once() {
    let random = QueueSettings {
        strategy: Strategy::Random,
        ..QueueSettings::default()
    };
    let mut world = World::new(random, 90);
    world.add_agent("q", "b1", 1);
    for number in 0..90 {
        world.join("q", &format!("c{number}"));
    }
    let mut turn = 0;
    let decisions = distribute(&world.state, 90, &mut |below| {
        turn += 7;
        turn % below
    });
    let mut drawn: Vec<String> = Vec::new();
    for decision in &decisions {
        let Command::OfferMake { agents, .. } = decision else {
            panic!()
        };
        drawn.push(agents[0].to_string());
    }
    assert!(!drawn.is_sorted());
    drawn.sort();
    drawn.dedup();
    assert_eq!((drawn.len(), &drawn[89][..]), (90, "a90"));
}
