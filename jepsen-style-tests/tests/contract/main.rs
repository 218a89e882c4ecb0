//! The contract between us and an Asterisk: what it really does, and what our client makes of it.
//!
//! Each test holds one trap that was measured on Asterisk 22, and runs against a real Asterisk
//! (`real::`) and against the simulator (`sim::`), so that the simulator stays honest. The numbers
//! 1 to 13 are traps of ARI itself, 14 to 28 its behaviour at reconnects, calls, bridges and
//! devices, `finding_` those of hostile input and faults, `dialplan_` those of the fragments we
//! ship in `config/asterisk`.

mod bench;
mod bridges;
mod calls;
mod dialplan;
mod faults;
mod origination;
mod requests;
mod sockets;

/// Makes one test for each contract, on Asterisks of one kind.
macro_rules! contracts {
    ($module:ident, $kind:ident: $($group:ident::$name:ident,)*) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$group::$name(holdfast_drills::lab::Kind::$kind).await;
                }
            )*
        }
    };
}

contracts! { real, Real:
    bridges::trap_01_music_is_not_stopped_by_bridging,
    requests::trap_02_a_running_playback_blocks_commands_until_it_is_stopped,
    requests::trap_02_a_playback_that_speaks_a_number_is_stopped_behind_it,
    origination::trap_03_a_409_on_originate_is_told_apart,
    origination::trap_04_an_id_is_free_again_when_its_channel_has_ended,
    requests::trap_05_a_playback_id_is_not_unique,
    calls::trap_06_the_end_of_a_caller_is_stasis_end,
    calls::trap_07_stasis_start_is_not_always_a_new_caller,
    calls::trap_08_a_call_waits_for_no_resolver,
    calls::trap_09_answer_waits_for_sound_unless_told_not_to,
    requests::trap_10_the_systemname_tells_asterisks_apart,
    requests::trap_11_connections_are_given_up_before_asterisk_does,
    requests::trap_11_more_requests_than_sessions_all_succeed,
    requests::trap_12_a_blocked_command_blocks_no_other_request,
    sockets::trap_13_a_stalled_socket_is_noticed,
    sockets::trap_13_a_consumer_that_does_not_drain_loses_the_socket,
    sockets::contract_14_callers_outlive_the_event_socket,
    sockets::contract_15_nothing_is_replayed,
    sockets::contract_16_without_a_listener_stasis_fails,
    sockets::contract_17_a_second_client_replaces_the_first,
    origination::contract_18_causes_tell_busy_reject_and_no_answer_apart,
    origination::contract_19_losers_see_answered_elsewhere,
    bridges::contract_20_a_bridge_takes_all_channels_or_none,
    bridges::contract_21_prompts_come_in_order_and_music_does_not_resume,
    calls::contract_22_device_states_follow_the_phone,
    faults::contract_23_a_killed_asterisk_forgets_calls_and_keeps_contacts,
    origination::contract_24_an_originator_does_not_tie_lives_together,
    bridges::contract_25_continue_leaves_the_peer_in_the_bridge,
    calls::contract_26_keys_are_heard_during_music,
    requests::contract_27_wrong_users_are_told_apart,
    sockets::contract_28_only_events_that_are_allowed_are_told,
    sockets::contract_28_a_replaced_client_is_told_whatever_is_allowed,
    faults::finding_03_a_hostile_call_blinds_the_channel_list_and_not_the_application,
    faults::finding_04_a_stopped_asterisk_executes_late,
    faults::finding_04_a_lost_answer_is_unknown_and_its_repetition_is_safe,
    requests::finding_10_variables_are_a_closed_set,
    dialplan::dialplan_guard_refuses_hostile_calls,
    dialplan::dialplan_takes_the_caller_back_when_no_node_does,
    dialplan::dialplan_gives_arguments_and_result,
    dialplan::dialplan_dials_the_call_string_and_comes_back,
    dialplan::dialplan_dials_nothing_but_pjsip,
    dialplan::dialplan_agent_codes_arrive,
    dialplan::dialplan_in_lua_does_the_same,
    dialplan::dialplan_trunk_reaches_agents_of_the_other_asterisk,
}

// The simulator has no sound to wait for and no Lua: these two are left out.
contracts! { sim, Sim:
    bridges::trap_01_music_is_not_stopped_by_bridging,
    requests::trap_02_a_running_playback_blocks_commands_until_it_is_stopped,
    requests::trap_02_a_playback_that_speaks_a_number_is_stopped_behind_it,
    origination::trap_03_a_409_on_originate_is_told_apart,
    origination::trap_04_an_id_is_free_again_when_its_channel_has_ended,
    requests::trap_05_a_playback_id_is_not_unique,
    calls::trap_06_the_end_of_a_caller_is_stasis_end,
    calls::trap_07_stasis_start_is_not_always_a_new_caller,
    calls::trap_08_a_call_waits_for_no_resolver,
    requests::trap_10_the_systemname_tells_asterisks_apart,
    requests::trap_11_connections_are_given_up_before_asterisk_does,
    requests::trap_11_more_requests_than_sessions_all_succeed,
    requests::trap_12_a_blocked_command_blocks_no_other_request,
    sockets::trap_13_a_stalled_socket_is_noticed,
    sockets::trap_13_a_consumer_that_does_not_drain_loses_the_socket,
    sockets::contract_14_callers_outlive_the_event_socket,
    sockets::contract_15_nothing_is_replayed,
    sockets::contract_16_without_a_listener_stasis_fails,
    sockets::contract_17_a_second_client_replaces_the_first,
    origination::contract_18_causes_tell_busy_reject_and_no_answer_apart,
    origination::contract_19_losers_see_answered_elsewhere,
    bridges::contract_20_a_bridge_takes_all_channels_or_none,
    bridges::contract_21_prompts_come_in_order_and_music_does_not_resume,
    calls::contract_22_device_states_follow_the_phone,
    faults::contract_23_a_killed_asterisk_forgets_calls_and_keeps_contacts,
    origination::contract_24_an_originator_does_not_tie_lives_together,
    bridges::contract_25_continue_leaves_the_peer_in_the_bridge,
    calls::contract_26_keys_are_heard_during_music,
    requests::contract_27_wrong_users_are_told_apart,
    sockets::contract_28_only_events_that_are_allowed_are_told,
    sockets::contract_28_a_replaced_client_is_told_whatever_is_allowed,
    faults::finding_03_a_hostile_call_blinds_the_channel_list_and_not_the_application,
    faults::finding_04_a_stopped_asterisk_executes_late,
    faults::finding_04_a_lost_answer_is_unknown_and_its_repetition_is_safe,
    requests::finding_10_variables_are_a_closed_set,
    dialplan::dialplan_guard_refuses_hostile_calls,
    dialplan::dialplan_takes_the_caller_back_when_no_node_does,
    dialplan::dialplan_gives_arguments_and_result,
    dialplan::dialplan_dials_the_call_string_and_comes_back,
    dialplan::dialplan_dials_nothing_but_pjsip,
    dialplan::dialplan_agent_codes_arrive,
    dialplan::dialplan_trunk_reaches_agents_of_the_other_asterisk,
}
