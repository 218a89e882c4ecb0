//! `/metrics` in OpenMetrics text: queues and agents from the replicated state, the node's own work,
//! the store, the endpoints.
//!
//! Labels are bounded: queues beyond `QUEUES_MAX` are one label `_other`, everything else is a fixed
//! word. Never callers, channels or agents. Queue figures are equal on all nodes: aggregate them
//! over nodes with `max`, never with `sum`.

use crate::router::{App, Shared};
use crate::view::{self, Look};
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use holdfast_node::{BUCKETS_MS, Histogram};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

/// Queues with a label of their own.
const QUEUES_MAX: usize = 500;
/// Routes times methods times statuses that are counted.
const ROUTES_MAX: usize = 1000;
const SAME: &str = "Equal on all nodes: aggregate with max, never with sum";

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;
type Seconds = Family<Labels, Gauge<f64, AtomicU64>>;

/// Requests answered, by route template, method and status.
#[derive(Default)]
pub struct HttpStats {
    counts: Mutex<BTreeMap<(String, String, u16), u64>>,
}

impl HttpStats {
    pub fn count(&self, route: &str, method: &Method, status: StatusCode) {
        let method = match *method {
            Method::GET | Method::PUT | Method::POST | Method::PATCH | Method::DELETE => {
                method.as_str()
            }
            _ => "other",
        };
        let key = (route.to_owned(), method.to_owned(), status.as_u16());
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() < ROUTES_MAX || counts.contains_key(&key) {
            *counts.entry(key).or_default() += 1;
        }
    }
}

pub async fn metrics(State(app): Shared) -> Response {
    let mut registry = Registry::with_prefix("holdfast");
    queues(&app, &mut registry);
    store(&app, &mut registry);
    node(&app, &mut registry);
    http(&app, &mut registry);
    ports(&app, &mut registry);
    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

fn queues(app: &App, registry: &mut Registry) {
    let (waiting, oldest) = (Gauges::default(), Seconds::default());
    let (entered, ended, refused) = (
        Counters::default(),
        Counters::default(),
        Counters::default(),
    );
    let (offers, in_level) = (Counters::default(), Counters::default());
    let agents = Gauges::default();
    let look = app.look(crate::auth::Role::Viewer);
    app.node.read(|state| {
        for (n, queue) in state.queues().enumerate() {
            let name = if n < QUEUES_MAX {
                queue.name.to_string()
            } else {
                "_other".into()
            };
            let of = |key: &'static str, word: &str| {
                vec![("queue", name.clone()), (key, word.to_owned())]
            };
            let own = vec![("queue", name.clone())];
            let view = view::queue(state, queue, look, false);
            waiting.get_or_create(&own).inc_by(view.waiting as i64);
            let longest = &oldest.get_or_create(&own);
            longest.set(longest.get().max(view.oldest_wait_ms as f64 / 1000.0));
            for (word, count) in &view.agents {
                agents
                    .get_or_create(&of("state", word))
                    .inc_by(*count as i64);
            }
            let c = &queue.counters;
            entered.get_or_create(&own).inc_by(c.entered);
            refused.get_or_create(&own).inc_by(c.refused);
            in_level
                .get_or_create(&own)
                .inc_by(c.answered_in_service_level);
            for (word, count) in [
                ("answered", c.answered),
                ("abandoned", c.abandoned),
                ("timeout", c.timeout),
                ("key", c.key),
                ("empty", c.empty),
                ("withdrawn", c.withdrawn),
                ("lost", c.lost),
                ("noquorum", c.no_quorum),
                ("moved", c.moved_out),
            ] {
                ended.get_or_create(&of("outcome", word)).inc_by(count);
            }
            let made = c.offers.saturating_sub(c.offers_failed);
            offers
                .get_or_create(&of("result", "failed"))
                .inc_by(c.offers_failed);
            offers.get_or_create(&of("result", "other")).inc_by(made);
        }
    });
    let help = |what: &str| format!("{what}. {SAME}");
    registry.register("queue_calls_waiting", help("Callers in line"), waiting);
    registry.register(
        "queue_oldest_wait_seconds",
        help("Longest wait in line"),
        oldest,
    );
    registry.register("queue_agents", help("Members by state"), agents);
    registry.register("queue_calls_entered", help("Callers taken"), entered);
    registry.register("queue_calls_refused", help("Callers not taken"), refused);
    registry.register("queue_calls_ended", help("Calls by outcome"), ended);
    registry.register("queue_offers", help("Offers by result"), offers);
    registry.register(
        "queue_answered_in_sl",
        help("Answered in the service level"),
        in_level,
    );
    total_agents(app, look, registry);
}

fn total_agents(app: &App, look: Look, registry: &mut Registry) {
    let (agents, calls) = (Gauges::default(), Gauges::default());
    app.node.read(|state| {
        for agent in state.agents() {
            let word = view::word(&state.availability(agent, look.now, false));
            agents.get_or_create(&vec![("state", word)]).inc();
        }
        for call in state.calls() {
            let word = match call.phase {
                _ if call.offer().is_some() => "offered",
                _ if call.in_line() => "waiting",
                holdfast_acd::call::Phase::Connected { .. } => "connected",
                _ => "leaving",
            };
            calls.get_or_create(&vec![("phase", word.to_owned())]).inc();
        }
    });
    registry.register("agents", format!("Agents by state. {SAME}"), agents);
    registry.register("calls", format!("Calls by phase. {SAME}"), calls);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter: Counter = Counter::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

fn store(app: &App, registry: &mut Registry) {
    let status = app.node.raft().status();
    let build = Gauges::default();
    build
        .get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())])
        .set(1);
    registry.register("build_info", "The version that runs", build);
    let leads = u64::from(status.role == holdfast_raft::Role::Leader);
    gauge(
        registry,
        "raft_is_leader",
        "1 on the node that leads",
        leads,
    );
    gauge(
        registry,
        "raft_has_leader",
        "1 if a leader is known",
        status.leader.is_some().into(),
    );
    gauge(registry, "raft_term", "Current term", status.term);
    gauge(
        registry,
        "raft_applied_index",
        "Last applied log index",
        status.applied,
    );
    gauge(
        registry,
        "raft_commit_index",
        "Last committed log index known",
        status.committed,
    );
    gauge(
        registry,
        "raft_queued",
        "Commands waiting for an entry",
        status.queued as u64,
    );
    gauge(
        registry,
        "store_bytes",
        "Bytes of the log on disk",
        status.log_bytes,
    );
    let sync = Seconds::default();
    for (word, us) in [("0.5", status.fsync_p50_us), ("0.99", status.fsync_p99_us)] {
        sync.get_or_create(&vec![("quantile", word.to_owned())])
            .set(us as f64 / 1e6);
    }
    registry.register("store_sync_seconds", "Time of the last fsyncs", sync);
    let (lag, reachable) = (Gauges::default(), Gauges::default());
    for peer in app.node.raft().peers() {
        let label = vec![("peer", peer.name.clone())];
        reachable.get_or_create(&label).set(peer.reachable.into());
        if let Some(matched) = peer.matched {
            lag.get_or_create(&label)
                .set(status.last_log.saturating_sub(matched) as i64);
        }
    }
    registry.register(
        "raft_peer_lag_entries",
        "Entries a peer lacks; the leader knows",
        lag,
    );
    registry.register("raft_peer_reachable", "1 if the peer answers", reachable);
}

fn node(app: &App, registry: &mut Registry) {
    let ari = app.node.ari_status();
    let m = app.node.metrics();
    gauge(
        registry,
        "ari_connected",
        "1 while this node drives its Asterisk",
        ari.connected.into(),
    );
    counter(
        registry,
        "ari_reconnects",
        "Times the event socket was opened again",
        ari.reconnects,
    );
    gauge(
        registry,
        "node_callers",
        "Callers whose channels this node handles",
        m.callers,
    );
    counter(
        registry,
        "node_legs_requested",
        "Agents' legs asked for",
        m.legs_requested,
    );
    counter(
        registry,
        "node_legs_stale",
        "Legs of no current offer",
        m.legs_stale,
    );
    counter(
        registry,
        "node_callers_refused",
        "Callers let go without joining",
        m.callers_refused,
    );
    counter(
        registry,
        "node_callers_no_quorum",
        "Callers let go for want of a quorum",
        m.callers_no_quorum,
    );
    counter(
        registry,
        "node_channels_unreadable",
        "Channels Asterisk cannot describe",
        m.channels_unreadable,
    );
    counter(
        registry,
        "node_reconciliations",
        "Comparisons with Asterisk",
        m.reconciliations,
    );
    counter(
        registry,
        "node_asterisks_taken_over",
        "Times that this node was given another node's Asterisk",
        m.asterisks_taken_over,
    );
    counter(
        registry,
        "node_asterisks_taken_back",
        "Times that this node was given its own Asterisk back",
        m.asterisks_taken_back,
    );
    counter(
        registry,
        "node_talks_kept",
        "Talks that went on although their call had been given up",
        m.talks_kept,
    );
    let driven = Gauges::default();
    for other in app.node.other_asterisks() {
        let label = vec![("asterisk", other.pbx)];
        driven.get_or_create(&label).set(other.connected.into());
    }
    registry.register(
        "ari_other_connected",
        "1 while this node drives the Asterisk of another",
        driven,
    );
    counter(
        registry,
        "node_offers_made",
        "Offers decided here",
        m.offers_made,
    );
    counter(registry, "node_ticks", "Ticks written here", m.ticks);
    let late: Gauge<f64, AtomicU64> = Gauge::default();
    late.set(m.deadline_lateness_ms as f64 / 1000.0);
    registry.register(
        "timer_lateness_seconds",
        "How late the last deadline was",
        late,
    );
    words(registry, "ari_events", "ARI events", "type", &m.ari_events);
    words(
        registry,
        "ari_failures",
        "ARI requests that failed",
        "step",
        &m.ari_failures,
    );
    words(
        registry,
        "proposals",
        "Facts proposed",
        "result",
        &m.proposals,
    );
    let (length, bound) = (Gauges::default(), Gauges::default());
    for (name, (now, max)) in &m.queues {
        let label = vec![("name", (*name).to_owned())];
        length
            .get_or_create(&label)
            .set(i64::try_from(*now).unwrap_or(i64::MAX));
        bound
            .get_or_create(&label)
            .set(i64::try_from(*max).unwrap_or(i64::MAX));
    }
    registry.register("buffer_length", "Entries of a bounded buffer", length);
    registry.register("buffer_bound", "Its bound", bound);
    let help = "From agent free and caller waiting to the request for the leg";
    registry.register("dispatch_delay_seconds", help, Buckets(m.dispatch_delay));
    let help = "From the offer's stamp to the request for the leg";
    registry.register("offer_to_leg_seconds", help, Buckets(m.offer_to_leg));
    let help = "From a leg's answer to both in the bridge";
    registry.register(
        "answer_to_bridge_seconds",
        help,
        Buckets(m.answer_to_bridge),
    );
}

fn words(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    counts: &BTreeMap<&'static str, u64>,
) {
    let family = Counters::default();
    for (word, count) in counts {
        family
            .get_or_create(&vec![(label, (*word).to_owned())])
            .inc_by(*count);
    }
    registry.register(name, help, family);
}

fn http(app: &App, registry: &mut Registry) {
    let family = Counters::default();
    let counts = app
        .stats
        .counts
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    for ((route, method, code), count) in counts {
        let labels = vec![
            ("route", route),
            ("method", method),
            ("code", code.to_string()),
        ];
        family.get_or_create(&labels).inc_by(count);
    }
    registry.register(
        "http_requests",
        "Requests answered, by route template",
        family,
    );
    let open = crate::router::STREAMS_MAX - app.streams.available_permits();
    gauge(registry, "sse_clients", "Open event streams", open as u64);
    counter(
        registry,
        "http_wrong_tokens",
        "Requests with a wrong token",
        app.guesses.wrong(),
    );
}

/// Connections of every listener: strangers, and those who have shown a secret.
fn ports(app: &App, registry: &mut Registry) {
    let (open, bound) = (Gauges::default(), Gauges::default());
    let (accepted, dropped) = (Counters::default(), Counters::default());
    let http = &app.ports;
    let node = app.node.raft().port();
    for (port, stats) in [
        ("http", &http.tcp),
        ("socket", &http.socket),
        ("node", &node),
    ] {
        let own = vec![("port", port.to_owned())];
        accepted.get_or_create(&own).inc_by(stats.accepted());
        let with =
            |key: &'static str, word: &str| vec![("port", port.to_owned()), (key, word.to_owned())];
        for (word, now, max) in [
            ("stranger", stats.strangers(), crate::serve::STRANGERS_MAX),
            ("known", stats.known(), crate::serve::CONNECTIONS_MAX),
        ] {
            open.get_or_create(&with("kind", word)).set(now as i64);
            bound.get_or_create(&with("kind", word)).set(max as i64);
        }
        for (word, count) in [("evicted", stats.evicted()), ("refused", stats.refused())] {
            dropped.get_or_create(&with("why", word)).inc_by(count);
        }
    }
    registry.register("connections", "Open connections of a listener", open);
    registry.register("connections_bound", "Their bound", bound);
    registry.register("connections_accepted", "Connections taken", accepted);
    registry.register(
        "connections_dropped",
        "Strangers thrown out for newer ones, and known ones beyond the bound",
        dropped,
    );
}

/// A histogram of the node as the encoder wants it.
#[derive(Debug)]
struct Buckets(Histogram);

impl EncodeMetric for Buckets {
    fn encode(&self, mut encoder: MetricEncoder) -> std::fmt::Result {
        let bounds = BUCKETS_MS
            .iter()
            .map(|ms| *ms as f64 / 1000.0)
            .chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.0.buckets).collect();
        let sum = self.0.sum_ms as f64 / 1000.0;
        encoder.encode_histogram::<NoLabelSet>(sum, self.0.count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
