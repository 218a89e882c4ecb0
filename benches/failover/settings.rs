//! The two settings that are compared, in the words of both systems.

/// Settings of an election, and how often it is tried.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub name: &'static str,
    pub heartbeat_ms: u64,
    /// A random time between these passes before a node stands for election.
    pub election_ms: (u64, u64),
    /// How often the leader is killed.
    pub kills: usize,
    /// How often it steps down.
    pub step_downs: usize,
}

pub const LAN: Settings = Settings {
    name: "LAN",
    heartbeat_ms: 50,
    election_ms: (150, 300),
    kills: 50,
    step_downs: 20,
};

pub const DEFAULT: Settings = Settings {
    name: "default",
    heartbeat_ms: 100,
    election_ms: (300, 600),
    kills: 20,
    step_downs: 10,
};

impl Settings {
    /// The configuration of one of Holdfast's nodes with these settings.
    pub fn in_config(&self, config: &str) -> String {
        let mut config: toml::Table = config.parse().expect("the lab writes TOML");
        let cluster = config
            .get_mut("cluster")
            .and_then(toml::Value::as_table_mut);
        let cluster = cluster.expect("the lab's nodes are in a cluster");
        let (least, most) = self.election_ms;
        for (key, ms) in [
            ("heartbeat", self.heartbeat_ms),
            ("election_min", least),
            ("election_max", most),
        ] {
            cluster.insert(key.to_owned(), format!("{ms}ms").into());
        }
        toml::to_string(&config).expect("what was read can be written")
    }

    /// etcd draws its time-out between one and two times a single value, and wants that to be five
    /// heartbeats at least.
    pub fn for_etcd(&self) -> [String; 2] {
        let (least, _) = self.election_ms;
        [
            format!("--heartbeat-interval={}", least / 5),
            format!("--election-timeout={least}"),
        ]
    }
}
