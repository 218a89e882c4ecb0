//! Many callers by one sipp process, and many phones by one, for measuring: sixty processes would keep a
//! small machine busy with themselves. Callers call one after another and wait until somebody hangs up;
//! phones answer at once and hang up after a talk of one length. Nobody says or hears anything.
//!
//! Who needs one of them to do something needs a [`RealCaller`](super::RealCaller) or a
//! [`RealPhone`](super::RealPhone).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::UdpSocket;

use super::sipp::{Sipp, Site, register};
use super::{Habit, LabError, RealAsterisk, scenario};

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
        let (ears, port) = ears(&site)?;
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

/// Where nobody listens.
fn ears(site: &Site) -> Result<(UdpSocket, u16), LabError> {
    let ears = UdpSocket::bind(site.block.people_port()).map_err(|source| LabError::Io {
        what: "audio port of a crowd".into(),
        source,
    })?;
    let port = ears.local_addr().map_or(0, |at| at.port());
    Ok((ears, port))
}

/// Longest registration.
const EXPIRES_S: u32 = 3600;

/// Agents' phones, see [`CROWD_PHONES`](super::CROWD_PHONES) for their numbers.
#[derive(Debug)]
pub struct Phones {
    sipp: Sipp,
    _ears: UdpSocket,
}

impl Phones {
    /// Registers these phones; each talks for so long.
    pub async fn register(
        pbx: &RealAsterisk,
        numbers: &[String],
        talk_ms: u64,
    ) -> Result<Phones, LabError> {
        let site = Site::of(pbx);
        let (ears, port) = ears(&site)?;
        let at = site.block.people_port();
        let habit = Habit::Answer {
            after_ms: 1,
            talk_ms: Some(talk_ms),
        };
        let text = scenario::phone("phones", habit, port);
        let sipp = Sipp::start(&site, at, &text, &[]).await?;
        sipp.wait_listening().await?;
        for number in numbers {
            register(&site, number, at, EXPIRES_S).await?;
        }
        Ok(Phones { sipp, _ears: ears })
    }

    /// How many calls were answered so far.
    pub fn answered(&self) -> usize {
        let lines = self.sipp.lines();
        let answers = lines.iter().filter(|line| line.starts_with("ANSWER "));
        answers.count()
    }

    /// The most calls at one phone at the same time: above 1, an agent was taken twice.
    pub fn concurrent_max(&self) -> usize {
        concurrent_max(&self.sipp.lines())
    }
}

fn concurrent_max(lines: &[String]) -> usize {
    let mut phone_of: BTreeMap<&str, &str> = BTreeMap::new();
    let mut busy: BTreeMap<&str, usize> = BTreeMap::new();
    let mut most = 0;
    for line in lines {
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let call = words.next().unwrap_or_default();
        match word {
            "RING" => {
                // Whom it is for stands last, in the header that names him.
                let named = line.rsplit("sip:").next().unwrap_or_default();
                let phone = named.split('@').next().unwrap_or_default();
                phone_of.insert(call, phone);
                let calls = busy.entry(phone).or_default();
                *calls += 1;
                most = most.max(*calls);
            }
            "CANCEL" | "BYE" | "HUNG_UP" => {
                let calls = phone_of.remove(call).and_then(|phone| busy.get_mut(phone));
                if let Some(calls) = calls {
                    *calls -= 1;
                }
            }
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::concurrent_max;

    #[test]
    fn calls_are_counted_by_the_phone_that_they_are_for() {
        let ring = |call: &str, phone: &str| {
            format!(
                "RING {call} 30000 <sip:6011@127.0.0.1>;tag=1 To: <sip:{phone}@127.0.0.1:20001>"
            )
        };
        let mut lines = vec![ring("1", "2001"), ring("2", "2002"), "HUNG_UP 1".to_owned()];
        lines.push(ring("3", "2001"));
        assert_eq!(concurrent_max(&lines), 1);
        lines.push(ring("4", "2002"));
        assert_eq!(concurrent_max(&lines), 2);
    }
}
