//! Bridges and who is in them. Joining does not stop music (trap 1); a bridge never ends by itself.

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Value, json};

use crate::channel::{Ch, State};
use crate::pbx::Pbx;

/// Key of a bridge; its id may be used again after it is destroyed.
pub(crate) type Br = u64;

#[derive(Debug, Clone)]
pub(crate) struct Bridge {
    pub id: String,
    pub name: String,
    pub kind: String,
    /// Made by a dialplan Dial: ends when one of the two leaves.
    pub dialplan: bool,
    pub members: Vec<Ch>,
    pub moh: Option<String>,
    pub playing: Option<u64>,
    pub queued: VecDeque<u64>,
    pub created_at: u64,
}

impl Pbx {
    pub(crate) fn new_bridge(&mut self, id: String, name: String, kind: String) -> Br {
        let br = self.next_serial();
        let bridge = Bridge {
            id: id.clone(),
            name,
            kind,
            dialplan: false,
            members: Vec::new(),
            moh: None,
            playing: None,
            queued: VecDeque::new(),
            created_at: self.now,
        };
        self.bridge_ids.insert(id, br);
        self.bridges.insert(br, bridge);
        self.bridge_event(br, "BridgeCreated", None, &[]);
        br
    }

    /// Destroys a bridge; its members stay where they are.
    pub(crate) fn destroy_bridge(&mut self, br: Br) {
        let Some(bridge) = self.bridges.get(&br) else {
            return;
        };
        let members = bridge.members.clone();
        let playbacks: Vec<u64> = bridge
            .playing
            .iter()
            .chain(&bridge.queued)
            .copied()
            .collect();
        let apps: BTreeSet<String> = members
            .iter()
            .filter_map(|ch| self.channels.get(ch)?.app())
            .map(str::to_owned)
            .collect();
        for playback in playbacks {
            self.finish_playback(playback, "failed");
        }
        for ch in members {
            self.leave_bridge(ch);
        }
        let apps: Vec<String> = apps.into_iter().collect();
        self.bridge_event(br, "BridgeDestroyed", None, &apps);
        if let Some(bridge) = self.bridges.remove(&br)
            && self.bridge_ids.get(&bridge.id) == Some(&br)
        {
            self.bridge_ids.remove(&bridge.id);
        }
        for app in self.apps.values_mut() {
            app.bridges.remove(&br);
        }
    }

    pub(crate) fn join_bridge(&mut self, ch: Ch, br: Br) {
        let Some(channel) = self.channels.get(&ch) else {
            return;
        };
        if channel.bridge == Some(br) || !self.bridges.contains_key(&br) {
            return;
        }
        self.leave_bridge(ch);
        if let Some(bridge) = self.bridges.get_mut(&br) {
            bridge.members.push(ch);
        }
        if let Some(channel) = self.channels.get_mut(&ch) {
            channel.bridge = Some(br);
            channel.ring_tone = false;
        }
        self.bridge_event(br, "ChannelEnteredBridge", Some(ch), &[]);
        self.hearing_in_bridge(br);
    }

    pub(crate) fn leave_bridge(&mut self, ch: Ch) {
        let Some(br) = self
            .channels
            .get_mut(&ch)
            .and_then(|channel| channel.bridge.take())
        else {
            return;
        };
        if let Some(bridge) = self.bridges.get_mut(&br) {
            bridge.members.retain(|member| *member != ch);
        }
        self.bridge_event(br, "ChannelLeftBridge", Some(ch), &[]);
        self.hearing_changed(ch);
        self.hearing_in_bridge(br);
    }

    /// Who else talks in the bridge of this channel: the first other member that is answered.
    pub(crate) fn other_party(&self, ch: Ch) -> Option<String> {
        let bridge = self.bridges.get(&self.channels.get(&ch)?.bridge?)?;
        let others = bridge.members.iter().filter(|member| **member != ch);
        others
            .filter_map(|member| self.channels.get(member))
            .find(|other| other.state == State::Up && !other.ending)
            .map(|other| other.who())
    }

    /// The bridge as ARI shows it.
    pub(crate) fn bridge_json(&self, bridge: &Bridge) -> Value {
        let channels: Vec<&str> = bridge
            .members
            .iter()
            .filter_map(|ch| Some(self.channels.get(ch)?.id.as_str()))
            .collect();
        let technology = if bridge.kind.contains("holding") {
            "holding_bridge"
        } else if bridge.playing.is_some() || channels.len() > 2 {
            "softmix"
        } else if channels.len() == 2 && !bridge.kind.contains("proxy_media") {
            "native_rtp"
        } else {
            "simple_bridge"
        };
        json!({
            "id": bridge.id,
            "technology": technology,
            "bridge_type": if bridge.kind.contains("holding") { "holding" } else { "mixing" },
            "bridge_class": if bridge.dialplan { "basic" } else { "stasis" },
            "creator": if bridge.dialplan { "" } else { "Stasis" },
            "name": bridge.name,
            "channels": channels,
            "creationtime": self.stamp_at(bridge.created_at),
            "video_mode": "talker",
        })
    }
}
