//! `/bridges`: making, filling, playing to and destroying them.

use serde_json::Value;

use crate::bridge::Br;
use crate::channel::Ch;
use crate::pbx::{BRIDGES_MAX, Pbx, Request, Response};
use crate::playback::Target;
use crate::rest::{Failed, class_or_default, error, no_content, not_found, ok, wrong_verb};

const TYPES: [&str; 7] = [
    "mixing",
    "holding",
    "dtmf_events",
    "proxy_media",
    "video_sfu",
    "video_single",
    "sdp_label",
];

impl Pbx {
    pub(crate) fn route_bridges(
        &mut self,
        token: u64,
        verb: &str,
        rest: &[&str],
        request: &Request,
    ) -> Failed<Option<Response>> {
        match (rest, verb) {
            ([], "GET") => {
                let all = self.bridges.values().map(|bridge| self.bridge_json(bridge));
                Ok(Some(ok(Value::Array(all.collect()))))
            }
            ([], "POST") => self.create_bridge(request, None).map(Some),
            ([id], "POST") => self
                .create_bridge(request, Some((*id).to_owned()))
                .map(Some),
            ([id], "GET") => {
                let br = self.bridge(id)?;
                Ok(Some(ok(self
                    .bridges
                    .get(&br)
                    .map(|bridge| self.bridge_json(bridge)))))
            }
            ([id], "DELETE") => {
                let br = self.bridge(id)?;
                self.destroy_bridge(br);
                Ok(Some(no_content()))
            }
            ([id, "addChannel"], "POST") => self.members(token, id, true, request),
            ([id, "removeChannel"], "POST") => self.members(token, id, false, request),
            ([id, "play"], "POST") => self.bridge_play(id, None, request).map(Some),
            ([id, "play", playback], "POST") => self
                .bridge_play(id, Some((*playback).to_owned()), request)
                .map(Some),
            ([id, "moh"], "POST" | "DELETE") => self.bridge_moh(id, verb, request).map(Some),
            ([id, "record" | "videoSource"], "POST") => {
                self.bridge(id)?;
                Err(error(501, "Method not implemented"))
            }
            ([] | [_] | [_, "addChannel" | "removeChannel" | "play" | "moh"], _) => {
                Err(wrong_verb())
            }
            _ => Err(not_found()),
        }
    }

    fn bridge(&self, id: &str) -> Failed<Br> {
        self.bridge_ids
            .get(id)
            .copied()
            .ok_or_else(|| error(404, "Bridge not found"))
    }

    fn create_bridge(&mut self, request: &Request, id: Option<String>) -> Failed<Response> {
        let id = id
            .or_else(|| request.param("bridgeId"))
            .filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| self.uuid());
        let kind = request.param("type").unwrap_or("mixing".to_owned());
        if self.bridge_ids.contains_key(&id) {
            return Err(error(409, &format!("Bridge with id '{id}' already exists")));
        }
        if !kind.split(',').all(|kind| TYPES.contains(&kind)) || self.bridges.len() >= BRIDGES_MAX {
            let message = "Unable to create bridge. Possible duplicate bridge id";
            return Err(error(500, message));
        }
        let br = self.new_bridge(id, request.param("name").unwrap_or_default(), kind);
        Ok(ok(self
            .bridges
            .get(&br)
            .map(|bridge| self.bridge_json(bridge))))
    }

    /// `addChannel` and `removeChannel`: all of the channels, or none.
    fn members(
        &mut self,
        token: u64,
        id: &str,
        add: bool,
        request: &Request,
    ) -> Failed<Option<Response>> {
        let br = self.bridge(id)?;
        let ids = request.list("channel");
        if ids.is_empty() {
            return Err(error(400, "Missing parameter channel"));
        }
        let mut channels: Vec<Ch> = Vec::new();
        for id in &ids {
            let ch = *self
                .ids
                .get(id)
                .ok_or_else(|| error(400, "Channel not found"))?;
            let channel = self
                .channels
                .get(&ch)
                .ok_or_else(|| error(400, "Channel not found"))?;
            if channel.app().is_none() {
                return Err(error(422, "Channel not in Stasis application"));
            }
            if !add && channel.bridge != Some(br) {
                return Err(error(422, "Channel not in this bridge"));
            }
            channels.push(ch);
        }
        self.start_bridge_op(token, br, add, channels);
        Ok(None)
    }

    fn bridge_play(
        &mut self,
        id: &str,
        playback: Option<String>,
        request: &Request,
    ) -> Failed<Response> {
        let br = self.bridge(id)?;
        let refusal = "Could not create playback channel";
        self.play_on(Target::Bridge(br), playback, request, refusal)
    }

    fn bridge_moh(&mut self, id: &str, verb: &str, request: &Request) -> Failed<Response> {
        let br = self.bridge(id)?;
        if let Some(bridge) = self.bridges.get_mut(&br) {
            if verb == "POST" {
                let class = request.param("mohClass").unwrap_or_default();
                bridge.moh = Some(class_or_default(&class));
            } else if bridge.moh.take().is_none() {
                return Err(error(409, "Bridge isn't playing music"));
            }
        }
        self.hearing_in_bridge(br);
        Ok(no_content())
    }

    pub(crate) fn bridge_watchers(&self, br: Br) -> Vec<String> {
        let Some(bridge) = self.bridges.get(&br) else {
            return Vec::new();
        };
        let mut apps: Vec<String> = bridge
            .members
            .iter()
            .filter_map(|ch| self.channels.get(ch)?.app())
            .map(str::to_owned)
            .collect();
        let subscribed = self
            .apps
            .iter()
            .filter(|(_, app)| app.all_bridges || app.bridges.contains(&br));
        apps.extend(subscribed.map(|(name, _)| name.clone()));
        apps.sort();
        apps.dedup();
        apps
    }
}
