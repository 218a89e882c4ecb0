//! What all actors of one Asterisk have in common.

use crate::awake::Awake;
use crate::config::AsteriskSection;
use crate::devices::Outbox;
use crate::handle::Shared;
use crate::proposer::Proposer;
use crate::status::AriStatus;
use crate::want::Local;
use holdfast_acd::{NodeName, PbxId, State};
use holdfast_ari::{AriClient, Context, Continue, Exten, Var};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::watch;

/// How much an actor may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sight {
    /// The event socket is closed, or someone else drives: no requests.
    #[default]
    Down,
    /// Open, but this node's replica may be old: music, and the fallback without quorum.
    Blind,
    /// Compared: everything.
    Clear,
    /// Another node drives the Asterisk: the actor ends, the channel stays as it is.
    Over,
}

pub(crate) struct Ctx {
    pub shared: Arc<Shared>,
    pub ari: AriClient,
    pub pbx: PbxId,
    /// This node.
    pub me: NodeName,
    pub status: Arc<watch::Sender<AriStatus>>,
    pub awake: Awake,
    pub local: Local,
    pub asterisk: AsteriskSection,
    pub proposer: Proposer,
    pub epoch: AtomicU64,
    pub sight: watch::Sender<Sight>,
    pub vars: Vars,
    pub devices: Outbox,
}

impl Ctx {
    /// Whether the replica says that this node drives the Asterisk, or nothing of it yet.
    pub fn is_mine(&self) -> bool {
        self.shared.raft.read(|machine| self.mine(&machine.0))
    }

    /// The same, of a state that is being read.
    pub fn mine(&self, state: &State) -> bool {
        state.pbx(&self.pbx).is_none_or(|pbx| pbx.node == self.me)
    }

    /// Whether an actor that began to act at this sight may still do so: asked before each request,
    /// because another node may have been given the Asterisk in between.
    pub fn may_act(&self, sight: Sight) -> bool {
        let same = *self.sight.borrow() == sight && self.awake.is();
        match sight {
            Sight::Down | Sight::Over => false,
            // Its replica may be old, and there is nobody to ask.
            Sight::Blind => same,
            Sight::Clear => same && self.is_mine(),
        }
    }
}

/// Variables whose names are ours but that ARI's own list does not have, checked once.
pub(crate) struct Vars {
    pub call_string: Var,
    pub ring_time: Var,
    pub agent_status: Var,
    pub withdraw_info: Var,
}

impl Vars {
    /// From settings that `validate` accepted.
    pub fn new(asterisk: &AsteriskSection) -> Vars {
        let ours = |name| Var::configured(name).expect("a constant name fits the grammar");
        let set = |name: &str, usual: Var| Var::configured(name).unwrap_or(usual);
        Vars {
            call_string: set(&asterisk.call_string_variable, Var::CALL_STRING),
            ring_time: set(&asterisk.ring_time_variable, Var::RINGTIME),
            agent_status: ours("AGENTSTATUS"),
            withdraw_info: ours("QUEUE_WITHDRAW_INFO"),
        }
    }

    /// The variable of a result by its fixed name.
    pub fn result(&self, name: &str) -> Option<Var> {
        Some(match name {
            "QUEUESTATUS" => Var::QUEUESTATUS,
            "QUEUEWAIT" => Var::QUEUEWAIT,
            "QUEUEPOSITION" => Var::QUEUEPOSITION,
            "QUEUEORIGINALPOS" => Var::QUEUEORIGINALPOS,
            "MEMBERNAME" => Var::MEMBERNAME,
            "CDR(userfield)" => Var::CDR_USERFIELD,
            "QUEUE_WITHDRAW_INFO" => self.withdraw_info.clone(),
            _ => return None,
        })
    }
}

/// An exit of a queue as ARI wants it; parts that fit no grammar fall away and are told.
pub(crate) fn way_out(exit: &holdfast_acd::settings::Exit) -> Continue {
    let told = |what: &str, error: holdfast_ari::GrammarError| {
        tracing::warn!(what, %error, "an exit of a queue cannot be used");
    };
    let context = exit.context.as_deref().and_then(|text| {
        Context::new(text)
            .inspect_err(|error| told("context", error.clone()))
            .ok()
    });
    let exten = exit.exten.as_deref().and_then(|text| {
        Exten::new(text)
            .inspect_err(|error| told("exten", error.clone()))
            .ok()
    });
    // An extension elsewhere begins at its first priority.
    let priority = exit
        .priority
        .or((context.is_some() || exten.is_some()).then_some(1));
    Continue {
        context,
        exten,
        priority,
        label: None,
    }
}
