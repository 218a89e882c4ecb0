//! Requests about bridges: make, fill, empty, destroy.
//!
//! A bridge never ends by itself, and a channel that is left alone in one hears silence; both are
//! for the consumer to clean up.

use reqwest::Method;

use crate::client::{AriClient, unreadable};
use crate::error::AriError;
use crate::grammar::ChannelId;
use crate::http::{Lane, encode, segment};
use crate::model::Bridge;

impl AriClient {
    /// Makes a mixing bridge under an id that we choose (`POST /bridges/{id}`).
    /// [`AriError::Conflict`] means that it is there already.
    pub async fn create_bridge(&self, id: &ChannelId) -> Result<(), AriError> {
        let path = format!("/bridges?type=mixing&bridgeId={}", encode(id.as_str()));
        self.post("create bridge", &path, None).await.map(drop)
    }

    /// Puts channels into a bridge (`POST /bridges/{id}/addChannel`), all or none: one that is
    /// gone gives [`AriError::Invalid`] and changes nothing. Stop music and playbacks first.
    pub async fn add_channels(&self, bridge: &str, channels: &[&str]) -> Result<(), AriError> {
        let mut ids = Vec::with_capacity(channels.len());
        for id in channels {
            ids.push(segment("channel id", id)?);
        }
        let path = bridge_path(bridge, &format!("/addChannel?channel={}", ids.join(",")))?;
        self.post("add to bridge", &path, None).await.map(drop)
    }

    /// Takes a channel out of a bridge (`POST /bridges/{id}/removeChannel`). It stays in Stasis.
    pub async fn remove_channel(&self, bridge: &str, channel: &str) -> Result<(), AriError> {
        let tail = format!("/removeChannel?channel={}", segment("channel id", channel)?);
        self.post("remove from bridge", &bridge_path(bridge, &tail)?, None)
            .await
            .map(drop)
    }

    /// Ends a bridge (`DELETE /bridges/{id}`). Its channels stay in Stasis.
    pub async fn destroy_bridge(&self, bridge: &str) -> Result<(), AriError> {
        self.delete(Lane::Urgent, "destroy bridge", &bridge_path(bridge, "")?)
            .await
    }

    /// Every bridge of this Asterisk, with its channels (`GET /bridges`).
    pub async fn bridges(&self) -> Result<Vec<Bridge>, AriError> {
        let bytes = self
            .http
            .send(Lane::Ordinary, "bridges", Method::GET, "/bridges", None)
            .await?;
        let value = crate::http::json("bridges", &bytes)?;
        let list = value.as_array().ok_or_else(|| unreadable("bridges"))?;
        Ok(list.iter().filter_map(Bridge::from_value).collect())
    }
}

fn bridge_path(id: &str, tail: &str) -> Result<String, AriError> {
    Ok(format!("/bridges/{}{tail}", segment("bridge id", id)?))
}
