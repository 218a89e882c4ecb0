//! The result variables that a caller takes along into the dialplan.
//!
//! The dialplan acts on them, so each is set by itself and what Asterisk has taken is remembered: an
//! answer that was lost costs another request for one variable, not for all of them anew. One that
//! is refused again and again is left out, for a caller does not wait for it for ever; `QUEUESTATUS`
//! is asked for longest. It does not decide what the results are: that is `want.rs`.

use crate::caller::Caller;
use crate::steps::SKIP_AFTER;
use crate::want::Leave;
use holdfast_ari::AriError;

const STATUS: &str = "QUEUESTATUS";
/// Failures in a row after which the status is left out: with the pauses in between, 20 seconds.
const STATUS_SKIP_AFTER: u32 = 11;

impl Caller {
    /// Sets those that Asterisk has not taken yet. After an error the next attempt goes on there.
    pub(crate) async fn set_results(&mut self, leave: &Leave) -> Result<(), AriError> {
        let status = leave.status.clone().map(|status| (STATUS, status));
        let position = (self.position > 0).then(|| ("QUEUEPOSITION", self.position.to_string()));
        let results = leave.results.iter().cloned();
        for result in results.chain(position).chain(status) {
            if self.have.results.contains(&result) {
                continue;
            }
            let (name, value) = &result;
            if let Some(var) = self.ctx.vars.result(name) {
                let set = [(var, value.as_str())];
                let asked = self.ctx.ari.set_variables(&self.channel.id, &set).await;
                if let Err(error) = asked {
                    self.leave_out(name, error)?;
                }
            }
            self.succeeded();
            let known = &mut self.have.results;
            known.retain(|(known, _)| *known != result.0);
            known.push(result);
        }
        Ok(())
    }

    fn leave_out(&self, name: &str, error: AriError) -> Result<(), AriError> {
        let after = if name == STATUS {
            STATUS_SKIP_AFTER
        } else {
            SKIP_AFTER
        };
        let why = error.to_string();
        self.skip_after(after, error)?;
        let (node, channel) = (self.node(), &self.channel.id);
        tracing::warn!(node, channel, name, why, "a result variable is left out");
        Ok(())
    }
}
