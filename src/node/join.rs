//! What a caller brings along: queue, options, priority, number and name, checked.
//!
//! Everything here comes from a channel that anybody may have made, so each value passes a grammar
//! or is cleaned. The names of the variables are ours; none ever comes from a caller.

use holdfast_acd::command::{CallerJoin, JoinOptions};
use holdfast_acd::limits::{DURATION_MS_MAX, TEXT_BYTES_MAX};
use holdfast_acd::{ChannelId, PbxId, QueueName};
use holdfast_ari::{AriClient, AriError, Channel, MusicClass, Var};

/// Why a caller cannot even ask to join. All end with QUEUESTATUS=UNKNOWN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCaller {
    #[error("{0}")]
    Name(String),
}

/// `key=value` arguments of `Stasis(QueueARI,...)`, and the first without a `=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pub queue: Option<String>,
    pub options: JoinOptions,
    pub priority: Option<i32>,
}

/// Reads the arguments. A value that makes no sense is left out: a caller is not refused for it.
pub(crate) fn read_args(args: &[String]) -> Args {
    let mut read = Args::default();
    for arg in args {
        let Some((key, value)) = arg.split_once('=') else {
            if read.queue.is_none() && !arg.trim().is_empty() {
                read.queue = Some(arg.trim().into());
            }
            continue;
        };
        let value = value.trim();
        let seconds = || {
            let ms = value.parse::<u64>().ok()?.checked_mul(1000)?;
            (ms <= DURATION_MS_MAX).then_some(ms)
        };
        match key.trim() {
            "queue" => read.queue = Some(value.into()),
            "timeout" => read.options.timeout_ms = seconds(),
            "announce" => read.options.announce_ms = seconds(),
            "music" => {
                read.options.music_class = MusicClass::new(value)
                    .ok()
                    .map(|class| class.as_str().to_string());
            }
            "priority" => read.priority = value.parse().ok(),
            other => tracing::debug!(key = ?other, "unknown stasis argument"),
        }
    }
    read
}

/// Free text of a caller, cut to `TEXT_BYTES_MAX` bytes, without control and direction characters.
pub(crate) fn clean(text: &str) -> String {
    let mut cleaned = String::new();
    for c in text.chars() {
        let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || turns {
            continue;
        }
        if cleaned.len() + c.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        cleaned.push(c);
    }
    cleaned.trim().into()
}

/// From what was read to the command. Pure.
pub(crate) fn compose(
    pbx: &PbxId,
    channel: &Channel,
    args: &[String],
    variable: Option<&str>,
    exten: Option<&str>,
    priority: Option<&str>,
) -> Result<CallerJoin, BadCaller> {
    let args = read_args(args);
    let filled = |text: Option<&str>| {
        text.map(str::trim)
            .filter(|t| !t.is_empty())
            .map(String::from)
    };
    let name = filled(variable).or(args.queue).unwrap_or_else(|| {
        let exten = filled(exten).unwrap_or_else(|| channel.dialplan.exten.clone());
        format!("{exten}@{}", channel.dialplan.context)
    });
    let queue = QueueName::new(name).map_err(|error| BadCaller::Name(error.to_string()))?;
    let id =
        ChannelId::new(channel.id.as_str()).map_err(|error| BadCaller::Name(error.to_string()))?;
    Ok(CallerJoin {
        pbx: pbx.clone(),
        channel: id,
        queue,
        number: clean(&channel.caller.number),
        name: clean(&channel.caller.name),
        priority: priority
            .and_then(|text| text.trim().parse().ok())
            .or(args.priority)
            .unwrap_or(0),
        options: args.options,
    })
}

/// Reads the variables of a caller's channel, composes the command, and writes the queue's name
/// back for the dialplan.
pub(crate) async fn read(
    ari: &AriClient,
    pbx: &PbxId,
    channel: &Channel,
    args: &[String],
) -> Result<Result<CallerJoin, BadCaller>, AriError> {
    let name = ari.get_variable(&channel.id, &Var::QUEUE_NAME).await?;
    let exten = ari.get_variable(&channel.id, &Var::HOLDFAST_EXTEN).await?;
    let priority = ari.get_variable(&channel.id, &Var::QUEUE_PRIO).await?;
    let join = compose(
        pbx,
        channel,
        args,
        name.as_deref(),
        exten.as_deref(),
        priority.as_deref(),
    );
    if let Ok(join) = &join
        && name.as_deref() != Some(join.queue.as_str())
    {
        ari.set_variables(&channel.id, &[(Var::QUEUE_NAME, join.queue.as_str())])
            .await?;
    }
    Ok(join)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_ari::{CallerId, DialplanPoint};

    fn args(list: &[&str]) -> Args {
        read_args(&list.iter().map(|a| a.to_string()).collect::<Vec<_>>())
    }

    fn channel() -> Channel {
        Channel {
            id: "a-1.1".into(),
            caller: CallerId {
                name: "Bob\u{1b}[0m".into(),
                number: "555\r\n1000".into(),
            },
            dialplan: DialplanPoint {
                context: "inbound".into(),
                exten: "700".into(),
                ..DialplanPoint::default()
            },
            ..Channel::default()
        }
    }

    #[test]
    fn arguments_are_a_queue_and_options_in_any_order() {
        let read = args(&[
            "timeout=60",
            "support",
            "announce=30",
            "music=jazz",
            "priority=-2",
        ]);
        assert_eq!(read.queue.as_deref(), Some("support"));
        assert_eq!(read.options.timeout_ms, Some(60_000));
        assert_eq!(read.options.announce_ms, Some(30_000));
        assert_eq!(read.options.music_class.as_deref(), Some("jazz"));
        assert_eq!(read.priority, Some(-2));
    }

    #[test]
    fn odd_values_of_options_are_left_out_and_refuse_nobody() {
        let read = args(&[
            "timeout=x",
            "announce=99999999999999999999",
            "music=../x",
            "=",
            "a=b=c",
        ]);
        assert_eq!(read, Args::default());
    }

    #[test]
    fn the_variable_wins_over_the_argument_and_both_over_the_extension() {
        let pbx = PbxId::new("a").unwrap();
        let queue = |args: &[&str], variable| {
            let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
            let join = compose(&pbx, &channel(), &args, variable, None, Some("7")).unwrap();
            assert_eq!((join.priority, join.number.as_str()), (7, "5551000"));
            assert_eq!(join.name, "Bob[0m");
            join.queue.to_string()
        };
        assert_eq!(queue(&["support"], Some("sales")), "sales");
        assert_eq!(queue(&["support"], Some(" ")), "support");
        assert_eq!(queue(&["timeout=1"], None), "700@inbound");
    }

    #[test]
    fn hostile_queue_names_ask_for_nothing() {
        let pbx = PbxId::new("a").unwrap();
        for name in [
            "a/b",
            "1000&PJSIP/1900",
            "q\0",
            "x::y",
            "\u{202e}x",
            &"q".repeat(10_000),
        ] {
            let refused = compose(&pbx, &channel(), &[], Some(name), None, None);
            assert!(refused.unwrap_err().to_string().len() < 300);
        }
    }

    #[test]
    fn free_text_is_cut_at_a_character_and_never_longer_than_the_bound() {
        let cut = clean(&"ж".repeat(1000));
        assert!(cut.len() <= TEXT_BYTES_MAX && cut.chars().all(|c| c == 'ж'));
        assert_eq!(clean("\u{202e}evil\n"), "evil");
    }
}
