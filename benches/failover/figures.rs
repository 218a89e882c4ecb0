//! What one kill and one step-down came to. How it is told is the section's.

/// One kill of the leader; milliseconds from the kill. Of etcd only the acknowledgement is known.
#[derive(Clone, Debug, Default)]
pub struct Kill {
    /// A follower found that the process is gone; `None` if it was missed by its silence.
    pub noticed_ms: Option<i64>,
    /// The new leader took office.
    pub office_ms: Option<i64>,
    /// The first write that was begun after the kill was acknowledged.
    pub acknowledged_ms: i64,
    /// The first phone was called by the new leader.
    pub offer_ms: Option<i64>,
    pub load_before: String,
}

/// One planned change of the leader; milliseconds from the request.
#[derive(Clone, Debug, Default)]
pub struct StepDown {
    /// The new leader took office.
    pub office_ms: i64,
    /// The first write that was begun after the request was acknowledged.
    pub acknowledged_ms: i64,
    /// It was not done, for this reason; the times are nothing then.
    pub refused: Option<String>,
    pub load_before: String,
}

/// What callers and agents got out of it, over all kills with one setting.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    pub called: usize,
    pub answered: u64,
    /// Left without a conversation, by the word of the nodes.
    pub lost: u64,
    /// Connected twice, or an agent taken twice, by what the Asterisks saw.
    pub doubled: Vec<String>,
    /// Phones that rang or were up over a kill, without a conversation: rung again for the same caller.
    pub repeated: usize,
    /// Of so many that were called within a second before a kill.
    pub offers: usize,
}

/// All of one setting.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    pub kills: Vec<Kill>,
    pub step_downs: Vec<StepDown>,
    pub callers: Callers,
}
