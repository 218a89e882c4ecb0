//! The stories of the main job, end to end: three nodes, three Asterisks, callers and agents.
//!
//! Each story is written once and told on both kinds of Asterisk, `real_story_..` and
//! `sim_story_..`. What a story demands is demanded of what callers, phones and Asterisks saw; the
//! nodes are asked only where an operator would ask them. `sim_node_..` are the ways in which a
//! whole node can be set up or ended wrongly.

use holdfast_drills::lab::Kind;

#[path = "stories/announcements.rs"]
mod announcements;
#[path = "stories/bad_input.rs"]
mod bad_input;
#[path = "stories/dialplan.rs"]
mod dialplan;
#[path = "stories/leaving.rs"]
mod leaving;
#[path = "stories/losing.rs"]
mod losing;
#[path = "stories/offers.rs"]
mod offers;
#[path = "stories/operators.rs"]
mod operators;
#[path = "stories/power_cut.rs"]
mod power_cut;
#[path = "stories/scene.rs"]
mod scene;
#[path = "stories/takeover.rs"]
mod takeover;

macro_rules! story {
    ($sim:ident, $real:ident, $tell:path) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $sim() {
            $tell(Kind::Sim).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $real() {
            $tell(Kind::Real).await;
        }
    };
}

story!(
    sim_story_01_callers_at_three_asterisks_are_answered_in_order,
    real_story_01_callers_at_three_asterisks_are_answered_in_order,
    offers::one_line_over_three_asterisks
);
story!(
    sim_story_02_of_three_phones_that_ring_one_is_connected,
    real_story_02_of_three_phones_that_ring_one_is_connected,
    offers::ringall
);
story!(
    sim_story_03_a_failed_offer_keeps_the_place_and_the_next_agent_rings,
    real_story_03_a_failed_offer_keeps_the_place_and_the_next_agent_rings,
    offers::failed_offers
);
story!(
    sim_story_04_a_caller_who_hangs_up_leaves_nothing_behind,
    real_story_04_a_caller_who_hangs_up_leaves_nothing_behind,
    leaving::hang_up_at_every_stage
);
story!(
    sim_story_05_the_dialplan_learns_why_a_caller_left,
    real_story_05_the_dialplan_learns_why_a_caller_left,
    leaving::queue_status
);
story!(
    sim_story_06_announcements_come_in_order_and_delay_no_offer,
    real_story_06_announcements_come_in_order_and_delay_no_offer,
    announcements::in_order_and_without_delay
);
story!(
    sim_story_07_the_dialplan_dials_and_the_caller_resumes_the_place,
    real_story_07_the_dialplan_dials_and_the_caller_resumes_the_place,
    dialplan::dials_and_comes_back
);
story!(
    sim_story_08_the_line_survives_the_death_of_the_leader,
    real_story_08_the_line_survives_the_death_of_the_leader,
    losing::the_leader
);
story!(
    sim_story_09_an_asterisk_dies_and_comes_back,
    real_story_09_an_asterisk_dies_and_comes_back,
    losing::an_asterisk
);
story!(
    sim_story_10_state_and_asterisk_agree_after_the_event_socket_was_cut,
    real_story_10_state_and_asterisk_agree_after_the_event_socket_was_cut,
    losing::the_event_socket
);
story!(
    sim_story_11_all_nodes_die_and_their_callers_keep_their_places,
    real_story_11_all_nodes_die_and_their_callers_keep_their_places,
    power_cut::the_nodes
);
story!(
    sim_story_12_all_nodes_die_with_an_asterisk_and_a_disk,
    real_story_12_all_nodes_die_with_an_asterisk_and_a_disk,
    power_cut::a_disk_and_an_asterisk
);
story!(
    sim_story_13_a_whole_site_loses_its_power_twice,
    real_story_13_a_whole_site_loses_its_power_twice,
    power_cut::the_site
);
story!(
    sim_story_14_one_survivor_goes_on_alone,
    real_story_14_one_survivor_goes_on_alone,
    operators::one_survivor_goes_on_alone
);
story!(
    sim_story_15_a_drill_tells_what_the_oracle_saw,
    real_story_15_a_drill_tells_what_the_oracle_saw,
    operators::a_drill_kills_the_leader
);
story!(
    sim_story_16_a_drill_that_costs_callers_says_so,
    real_story_16_a_drill_that_costs_callers_says_so,
    operators::a_drill_goes_wrong
);
story!(
    sim_story_17_another_node_serves_the_callers_of_a_killed_one,
    real_story_17_another_node_serves_the_callers_of_a_killed_one,
    takeover::of_a_killed_node
);
story!(
    sim_story_18_a_node_that_stood_still_finds_itself_deposed,
    real_story_18_a_node_that_stood_still_finds_itself_deposed,
    takeover::of_a_node_that_stands_still
);
story!(
    sim_story_19_who_talks_is_left_alone_by_a_node_that_was_given_up,
    real_story_19_who_talks_is_left_alone_by_a_node_that_was_given_up,
    losing::a_node_for_too_long
);
