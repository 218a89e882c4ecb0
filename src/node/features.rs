//! Agents who log in, out, pause or unpause by dialling a code (`Stasis(QueueARI,login,1001)`).

use crate::config::FeatureCode;
use crate::ctx::Ctx;
use holdfast_acd::id::BadName;
use holdfast_acd::{Admin, AdminOp, AgentId, Command, RequestId};
use holdfast_ari::{AriError, Channel, ChannelId, Continue, HangupReason, MediaUri};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// For the whole of it; a channel is never kept longer.
const WITHIN: Duration = Duration::from_secs(20);

/// Does what the code says and lets the channel go on, with AGENTSTATUS set. The agent is the
/// second argument, else the caller's number.
pub(crate) async fn serve(ctx: Arc<Ctx>, channel: Channel, args: Vec<String>, code: FeatureCode) {
    let node = ctx.shared.config.node.name.clone();
    let id = channel.id.clone();
    let served = timeout(WITHIN, attempt(&ctx, &channel, &args, code)).await;
    let error = match served {
        Ok(Ok(())) => return,
        Ok(Err(AriError::NotFound(_))) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "not done in time".into(),
    };
    tracing::warn!(
        node,
        channel = id,
        error,
        "a feature code could not be served"
    );
    // The last word for a channel that nobody would care for.
    let _ = ctx.ari.hangup(&id, HangupReason::Normal).await;
}

async fn attempt(
    ctx: &Ctx,
    channel: &Channel,
    args: &[String],
    code: FeatureCode,
) -> Result<(), AriError> {
    let status = match agent_of(channel, args) {
        Err(_) => "UNKNOWN",
        Ok(agent) => {
            let (done, op) = operation(agent.clone(), code, args.get(2));
            let admin = Admin {
                request: RequestId(rand::random()),
                actor: "dialplan".into(),
                if_revision: None,
                op,
            };
            let answer = ctx.proposer.propose(Command::Admin(admin)).await;
            let status = match &answer {
                Ok(applied) if applied.reply.is_ok() => done,
                Ok(_) => "UNKNOWN",
                Err(_) => "FAILED",
            };
            let node = &ctx.shared.config.node.name;
            tracing::info!(node, %agent, ?code, status, "feature code");
            status
        }
    };
    let sound = match (status, code) {
        ("UNKNOWN" | "FAILED", _) => "sound:agent-incorrect",
        (_, FeatureCode::Login) => "sound:agent-loginok",
        (_, FeatureCode::Logout) => "sound:agent-loggedoff",
        _ => "sound:beep",
    };
    let media = [MediaUri::new(sound)?];
    let values = [(ctx.vars.agent_status.clone(), status)];
    ctx.ari.set_variables(&channel.id, &values).await?;
    let playback = ChannelId::new(&format!("hff-{:016x}", rand::random::<u64>()))?;
    ctx.ari.play(&channel.id, &playback, &media).await?;
    // Runs when the prompt has ended.
    ctx.ari
        .continue_in_dialplan(&channel.id, &Continue::default())
        .await
}

/// Who dialled: the second argument, else the caller's number.
pub(crate) fn agent_of(channel: &Channel, args: &[String]) -> Result<AgentId, BadName> {
    let named = args.get(1).map(|arg| arg.trim());
    let named = named.filter(|arg| !arg.is_empty());
    AgentId::new(named.unwrap_or(channel.caller.number.as_str()))
}

pub(crate) fn operation(
    agent: AgentId,
    code: FeatureCode,
    reason: Option<&String>,
) -> (&'static str, AdminOp) {
    match code {
        FeatureCode::Login => ("LOGGEDIN", AdminOp::AgentLogin { agent }),
        FeatureCode::Logout => ("LOGGEDOUT", AdminOp::AgentLogout { agent }),
        FeatureCode::Pause => {
            let reason = reason
                .map(|reason| crate::join::clean(reason))
                .unwrap_or_default();
            (
                "PAUSED",
                AdminOp::AgentPause {
                    agent,
                    queue: None,
                    reason,
                },
            )
        }
        FeatureCode::Unpause => ("UNPAUSED", AdminOp::AgentUnpause { agent, queue: None }),
    }
}
