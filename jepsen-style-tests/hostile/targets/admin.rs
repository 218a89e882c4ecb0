//! What operators send: the declared set as a file, and the bodies and parameters of requests.

use holdfast_acd::invariants;
use holdfast_acd::settings::{AgentSettings, MemberSettings};
use holdfast_acd::{Admin, AdminOp, AgentId, Command, Config, QueueName, RequestId, Stamp, State};
use holdfast_admin::declared::read_toml;
use holdfast_admin::doors::{self, Body, Said};

/// The text of a declared set: what is understood is shown so that it is understood again.
pub fn declared(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match read_toml("queues.toml", text) {
        Ok(config) => {
            let known = |queue| config.queues.iter().any(|(name, _)| name == queue);
            // Members of queues that are declared elsewhere have no place in this file.
            if config.members.iter().all(|(queue, ..)| known(queue)) {
                let shown = doors::shown(&config);
                let again = read_toml("shown.toml", &shown);
                assert_eq!(again.as_ref(), Ok(&config), "{shown}");
            }
            put(config);
        }
        Err(error) => {
            assert!(!error.problems.is_empty());
            assert!(error.to_string().starts_with("queues.toml"));
        }
    }
}

/// A body; the first byte chooses which, the second its content type.
pub fn body(data: &[u8]) {
    let [which, kind, bytes @ ..] = data else {
        return;
    };
    let body = Body::ALL[usize::from(*which) % Body::ALL.len()];
    let kinds = [
        None,
        Some("application/json"),
        Some("application/merge-patch+json; charset=x"),
        Some("text/plain"),
    ];
    match doors::read(body, kinds[usize::from(*kind) % kinds.len()], bytes) {
        Ok(Said::Config(config)) => put(*config),
        Ok(Said::Queue(settings)) => {
            let queue = QueueName::new("q").expect("q is a name");
            apply(AdminOp::QueuePut { queue, settings });
        }
        Ok(Said::Agent(settings)) => {
            let agent = AgentId::new("1").expect("1 is a name");
            apply(AdminOp::AgentPut { agent, settings });
        }
        Ok(Said::Member(settings)) => member(settings),
        Ok(Said::Small) => {}
        Err(error) => {
            let problem = error.problem();
            assert!((400..500).contains(&problem.status), "{problem:?}");
            assert!(problem.errors.len() <= 1000 && !problem.detail.is_empty());
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(problem) = doors::parameters(text)
    {
        assert_eq!(problem.status, 422, "{problem:?}");
    }
}

fn member(settings: MemberSettings) {
    let queue = QueueName::new("q").expect("q is a name");
    let agent = AgentId::new("1").expect("1 is a name");
    let config = Config {
        queues: vec![(queue.clone(), Default::default())],
        agents: vec![(agent.clone(), AgentSettings::default())],
        members: vec![(queue, agent, settings)],
        templates: Vec::new(),
    };
    put(config);
}

fn put(config: Config) {
    let config = Box::new(config);
    apply(AdminOp::ConfigPut {
        config,
        prune: true,
    });
}

/// Whatever reads is judged by the core without a panic, and leaves a state that holds.
fn apply(op: AdminOp) {
    let mut state = State::default();
    let admin = Admin {
        request: RequestId(1),
        actor: "x".into(),
        if_revision: None,
        op,
    };
    let stamp = Stamp {
        index: 1,
        at: 1,
        wall_ms: 1,
    };
    let _ = state.apply(stamp, &Command::Admin(admin), &mut Vec::new());
    let wrong = invariants::check(&state);
    assert!(wrong.is_empty(), "{wrong:?}");
}
