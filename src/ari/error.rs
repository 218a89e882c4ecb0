//! What can go wrong with a request to Asterisk, sorted by what the caller may conclude from it.
//!
//! The first question after an error is always "may it have been done?". Only
//! [`AriError::OutcomeUnknown`] and [`AriError::Decode`] leave that open; a stopped Asterisk was
//! seen to carry a timed-out originate out five seconds later. No variant holds a URL or a
//! password.

use crate::grammar::GrammarError;

/// Why a request to Asterisk did not give what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AriError {
    /// The request never left: no connection. It was not carried out and may be repeated.
    #[error(
        "{request}: asterisk cannot be reached ({}), check that it runs and the ari url",
        if *refused { "connection refused" } else { "no connection in time" }
    )]
    Unreachable {
        /// What was asked.
        request: &'static str,
        /// Nobody listens there, as opposed to no answer at all.
        refused: bool,
    },
    /// The request never left: too many were in flight for its whole deadline. May be repeated.
    #[error("{request}: too many requests to asterisk are in flight")]
    Busy {
        /// What was asked.
        request: &'static str,
    },
    /// The request was sent and its answer was lost or late. It may have been carried out, or may
    /// be carried out later: look before repeating.
    #[error("{request}: sent to asterisk, but the answer was lost or late")]
    OutcomeUnknown {
        /// What was asked.
        request: &'static str,
    },
    /// 401: wrong user or password.
    #[error("asterisk refused the user or password, check [asterisk] username and password")]
    Unauthorized,
    /// 403: a read-only user, or an address that the user's ACL does not permit.
    #[error("asterisk forbids this to the user (read_only or acl in ari.conf): {0}")]
    Forbidden(String),
    /// 404: no such channel, bridge, playback, application or variable.
    #[error("not found: {0}")]
    NotFound(String),
    /// 409: the object is there but not in a state that allows it.
    #[error("conflict: {0}")]
    Conflict(String),
    /// 409 "not in Stasis": the channel lives, but in the dialplan.
    #[error("the channel is not in the stasis application")]
    NotInStasis,
    /// 400, 405, 413 or 422: Asterisk calls the request wrong.
    #[error("asterisk refused the request: {0}")]
    Invalid(String),
    /// A value was refused by our own grammar before anything was sent.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// 5xx, or a status that Asterisk is not known to give.
    #[error("asterisk answered {status}: {message}")]
    Server {
        /// HTTP status.
        status: u16,
        /// The message of the answer, shortened.
        message: String,
    },
    /// 2xx with a body that is too long or not what it should be. The request was carried out.
    #[error("{request}: the answer of asterisk cannot be read: {why}")]
    Decode {
        /// What was asked.
        request: &'static str,
        /// What is wrong with the answer.
        why: String,
    },
}

impl AriError {
    /// The object is gone: for a hang-up, a stop or a destroy that is as good as done.
    pub fn is_gone(&self) -> bool {
        matches!(self, AriError::NotFound(_))
    }

    /// The request may have been carried out, or may still be.
    pub fn maybe_done(&self) -> bool {
        matches!(
            self,
            AriError::OutcomeUnknown { .. } | AriError::Decode { .. }
        )
    }

    /// The request was certainly not sent, and may be repeated as it is.
    pub fn not_sent(&self) -> bool {
        matches!(self, AriError::Unreachable { .. } | AriError::Busy { .. })
    }
}
