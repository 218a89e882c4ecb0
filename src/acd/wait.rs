//! What is kept about a caller only while in a line: the step reached and what was announced.
//!
//! It is apart from `Call` because nobody but `apply` needs it.

use crate::event::PassOver;
use crate::id::{Attempt, Millis, QueueName};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Wait {
    /// Steps of the queue's plan reached so far; 0: not even the first, so nobody may be rung.
    pub step: u32,
    /// When to look whether the position is to be told.
    pub position_at: Option<Millis>,
    /// When the next periodic announcement is due.
    pub periodic_at: Option<Millis>,
    /// When the position was told last, and which.
    pub told_at: Option<Millis>,
    pub told_position: u32,
    pub hold_time_told: bool,
    /// Which of the periodic sounds comes next.
    pub periodic_next: u32,
    /// The last reason for being passed over that was reported, and in which attempt.
    pub passed: Option<(Attempt, PassOver)>,
}

/// Whose place is kept: the queue and the caller's number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct ResumeKey {
    pub queue: QueueName,
    pub number: String,
}

/// The place of a caller whose Asterisk died.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Resume {
    pub order: u64,
    pub joined_at: Millis,
    pub until: Millis,
}
