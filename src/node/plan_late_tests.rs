//! What is planned when the log says yes too late.

use crate::have::{Have, Place};
use crate::plan::{Step, plan};
use crate::want::{Want, leave_unserved};
use holdfast_acd::command::EndedBy;
use holdfast_acd::{AgentId, Attempt, CallId, Command};

#[test]
fn an_answer_granted_after_the_caller_went_to_the_fallback_frees_the_agent() {
    let (call, attempt) = (CallId(4), Attempt(1));
    let agent = AgentId::new("1006").unwrap();
    let want = Want::Talk { attempt, agent };
    let mut have = Have {
        place: Place::Stasis,
        sent_away: Some(leave_unserved(None, "NOQUORUM")),
        no_quorum: true,
        ..Have::default()
    };
    let by = EndedBy::Failure;
    let end = Step::Propose(Command::CallEnd { call, attempt, by });
    assert!(!plan(Some(call), &want, &have).contains(&end), "still here");
    have.place = Place::Dialplan;
    assert!(plan(Some(call), &want, &have).contains(&end));
}
