//! Many callers by one sipp process, for measuring: sixty processes would keep a small machine busy
//! with themselves. They call one after another, listen to nothing, and wait until somebody hangs up.
//!
//! Who needs one caller to do something needs a [`RealCaller`](super::RealCaller).

use std::ffi::OsString;
use std::net::UdpSocket;

use super::sipp::{Sipp, Site};
use super::{LabError, RealAsterisk, scenario};

/// Callers with the numbers `prefix1`, `prefix2` ...
#[derive(Debug)]
pub struct Crowd {
    sipp: Sipp,
    /// Where their audio goes. Nobody reads it, so the system throws it away.
    _ears: UdpSocket,
}

impl Crowd {
    /// Lets `count` callers call this extension, one every `every_ms` milliseconds.
    pub async fn call(
        pbx: &RealAsterisk,
        exten: &str,
        prefix: &str,
        count: usize,
        every_ms: u64,
    ) -> Result<Crowd, LabError> {
        let site = Site::of(pbx);
        let ears = UdpSocket::bind(site.block.people_port()).map_err(|source| LabError::Io {
            what: "audio port of a crowd".into(),
            source,
        })?;
        let port = ears.local_addr().map_or(0, |at| at.port());
        let text = scenario::crowd(exten, prefix, port);
        let (count, every) = (count.to_string(), every_ms.max(1).to_string());
        let calls = ["-m", &count, "-l", &count, "-r", "1", "-rp", &every].map(OsString::from);
        let sipp = Sipp::start(&site, site.block.people_port(), &text, &calls).await?;
        Ok(Crowd { sipp, _ears: ears })
    }

    /// How many have been hung up so far, after they were answered.
    pub fn served(&self) -> usize {
        let lines = self.sipp.lines();
        lines.iter().filter(|line| line.as_str() == "BYE").count()
    }
}
