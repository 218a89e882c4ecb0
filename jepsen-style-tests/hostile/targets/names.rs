//! Every grammar on one text: names, ids, endpoints, media, durations, roles.

use holdfast_acd as acd;
use holdfast_admin::duration::Dur;
use holdfast_ari::grammar as ari;
use holdfast_node::config::Span;

/// What no name may hold, whatever its grammar.
fn harmless(text: &str) {
    let bad =
        |c: char| !c.is_ascii() || c.is_ascii_control() || " &|;,?$\"'<>{}()[]\\`%".contains(c);
    assert!(!text.is_empty() && !text.chars().any(bad), "{text:?}");
}

fn told(error: impl ToString) {
    let text = error.to_string();
    assert!(text.chars().count() < 600, "{} characters", text.len());
    assert!(
        !text.contains('\n') && !text.contains('\u{202e}'),
        "{text:?}"
    );
}

macro_rules! try_all {
    ($text:expr, $($name:ty),*) => {
        $(match <$name>::new($text) {
            Ok(name) => {
                assert_eq!(name.as_str(), $text);
                harmless(name.as_str());
            }
            Err(error) => told(error),
        })*
    };
}

/// One text as everything that has a grammar.
pub fn grammar(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    try_all!(
        text,
        acd::QueueName,
        acd::AgentId,
        acd::PbxId,
        acd::NodeName
    );
    try_all!(
        text,
        ari::AppName,
        ari::QueueName,
        ari::ChannelId,
        ari::MediaUri,
        ari::MusicClass
    );
    try_all!(text, ari::Context, ari::Exten, ari::Label, ari::Endpoint);
    if let Ok(id) = acd::ChannelId::new(text) {
        assert!(id.as_str().is_ascii() && id.as_str().len() <= 149);
    }
    if let Ok(endpoint) = ari::Endpoint::new(text) {
        assert!(endpoint.as_str().starts_with("PJSIP/"));
        assert_eq!(
            ari::Endpoint::dial_string(&[endpoint]).matches('&').count(),
            0
        );
    }
    let rules = ari::EndpointRules::with_technologies(&["Local"]).expect("Local is a word");
    if let Ok(endpoint) = ari::Endpoint::with_rules(text, &rules) {
        harmless(endpoint.as_str());
        assert!(!endpoint.as_str().contains("//"));
    }
    let words: Vec<&str> = text.split(',').collect();
    let _ = ari::EndpointRules::with_technologies(&words);
    match ari::Var::configured(text) {
        Ok(var) => harmless(var.as_str()),
        Err(error) => told(error),
    }
    match text.parse::<Dur>() {
        Ok(dur) => assert_eq!(dur.to_string().parse::<Dur>(), Ok(dur)),
        Err(error) => told(error),
    }
    if let Ok(span) = Span::parse(text) {
        assert_eq!(Span::parse(&span.to_string()), Ok(span));
    }
    let shown = ari::shown(text);
    assert!(shown.len() < 1000 && !shown.contains('\n'));
    let _ = text.parse::<holdfast_admin::Role>();
}
