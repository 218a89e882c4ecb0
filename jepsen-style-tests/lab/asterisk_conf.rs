//! The configuration folder of a real Asterisk in the lab.
//!
//! The queue's dialplan is not written here: it is included from `config/asterisk`, so that what
//! we ship is what is tested. The lab's own dialplan, for callers without registration:
//!
//! | dialled | what happens |
//! | --- | --- |
//! | `q-NAME` | the queue NAME, as shipped |
//! | `qt-NAME-SECS` | the same with the argument `timeout=SECS` |
//! | `qp-NAME-PRIO` | the same with the argument `priority=PRIO` |
//! | `*45` `*46` `*47` `*48` | agent codes, from an agent's number |
//! | `raw` | `Stasis(QueueARI,raw)` at once: not answered, no music, no guard |
//! | `held` | answered, 10 s of silence in the dialplan, no Stasis |
//! | `quiet` | `Answer()`, then Stasis |
//! | `fast` | `Answer(,i)`, then Stasis |
//! | `short` | `q-support` with an absolute timeout of 2 s |
//! | `st-APP-ARG` | `Answer(,i)`, then `Stasis(APP,ARG)`: some other application than Holdfast's |
//! | `lua` | the queue `support` by the shipped extensions.lua |
//!
//! and where a lab has asked for app_queue, to measure beside it:
//!
//! | dialled | what happens |
//! | --- | --- |
//! | `aq-NAME` | Asterisk's own queue NAME |
//! | `m-NAME` | the queue NAME, as shipped; what came of it is not kept |
//! | `stay` | answered, ten minutes of silence in the dialplan |

use std::net::Ipv4Addr;
use std::path::Path;

use super::{APP, ARI_PASSWORD, ARI_USER, LabError};

/// Port of ARI.
pub const HTTP_PORT: u16 = 8088;
/// Port of SIP.
pub const SIP_PORT: u16 = 5060;

const MODULES: &str = include_str!("../../deploy/testbed/modules.conf");

/// Phones for measuring, where a lab has asked for app_queue: see [`Phones`](super::Phones).
pub const CROWD_PHONES: std::ops::RangeInclusive<u32> = 2001..=2060;

/// Where one Asterisk lives.
pub struct Place<'a> {
    /// `a`, `b`, `c`.
    pub name: &'a str,
    /// Its address.
    pub ip: Ipv4Addr,
    /// The others: name and address.
    pub others: &'a [(String, Ipv4Addr)],
    /// Its folder.
    pub folder: &'a Path,
    /// Root of the unpacked packages.
    pub root: &'a Path,
    /// The repository.
    pub repository: &'a Path,
    /// The queues.conf of app_queue, where that is loaded too: to be compared with, never for drills.
    pub app_queue: Option<&'a str>,
}

/// Writes the whole folder.
pub fn write(place: &Place) -> Result<(), LabError> {
    let failed = |what: &Path| {
        let what = what.display().to_string();
        move |source| LabError::Io { what, source }
    };
    let folders = [
        "etc",
        "var",
        "log",
        "run",
        "spool",
        "spool/recording",
        "db",
        "moh",
        "spool/monitor",
    ];
    for folder in folders {
        let path = place.folder.join(folder);
        std::fs::create_dir_all(&path).map_err(failed(&path))?;
    }
    let etc = place.folder.join("etc");
    for (name, text) in files(place) {
        let path = etc.join(name);
        std::fs::write(&path, text).map_err(failed(&path))?;
    }
    let music = place.folder.join("moh/tone.wav");
    std::fs::write(&music, wav()).map_err(failed(&music))
}

fn files(place: &Place) -> Vec<(&'static str, String)> {
    let mut files = vec![
        ("asterisk.conf", asterisk(place)),
        ("modules.conf", modules(place)),
        (
            "logger.conf",
            "[general]\n[logfiles]\nfull => notice,warning,error,verbose\n".into(),
        ),
        ("http.conf", http(place)),
        ("ari.conf", ari()),
        ("pjsip.conf", pjsip(place)),
        ("extensions.conf", extensions(place)),
        ("musiconhold.conf", music(place)),
        (
            "rtp.conf",
            "[general]\nrtpstart=30000\nrtpend=39998\nstrictrtp=no\n".into(),
        ),
        ("cdr.conf", "[general]\nenable=no\n".into()),
        ("extensions.lua", lua(place)),
        (
            "indications.conf",
            "[general]
country=us
[us]
description=US
ringcadence=2000,4000
dial=350+440
\
             busy=480+620/500,0/500
ring=440+480/2000,0/4000
\
             congestion=480+620/250,0/250
"
            .into(),
        ),
    ];
    let empty = [
        "cel.conf",
        "features.conf",
        "acl.conf",
        "udptl.conf",
        "pjproject.conf",
        "ccss.conf",
        "stasis.conf",
        "websocket_client.conf",
        "codecs.conf",
        "sorcery.conf",
    ];
    files.extend(empty.map(|name| (name, String::new())));
    files.extend(place.app_queue.map(|text| ("queues.conf", text.to_owned())));
    files
}

fn modules(place: &Place) -> String {
    let more = place.app_queue.map_or("", |_| "load = app_queue.so\n");
    format!("{MODULES}{more}")
}

fn asterisk(place: &Place) -> String {
    let root = place.root.display();
    let own = place.folder.display();
    let number = place.ip.octets()[3];
    format!(
        "[directories]\nastetcdir => {own}/etc\n\
         astmoddir => {root}/usr/lib/x86_64-linux-gnu/asterisk/modules\n\
         astvarlibdir => {own}/var\nastdbdir => {own}/db\nastkeydir => {own}/var\n\
         astdatadir => {root}/usr/share/asterisk\nastagidir => {own}/var\n\
         astspooldir => {own}/spool\nastrundir => {own}/run\nastlogdir => {own}/log\n\
         [options]\nsystemname = {name}\nentityid = 02:00:00:00:00:{number:02x}\n\
         live_dangerously = no\nverbose = {verbose}\nnocolor = yes\n",
        name = place.name,
        // Each step of the dialplan, where nobody measures.
        verbose = if place.app_queue.is_some() { 0 } else { 3 },
    )
}

fn http(place: &Place) -> String {
    format!(
        "[general]\nenabled=yes\nbindaddr={}\nbindport={HTTP_PORT}\n",
        place.ip
    )
}

fn ari() -> String {
    format!(
        "[general]\nenabled=yes\n\
         [{ARI_USER}]\ntype=user\nread_only=no\npassword={ARI_PASSWORD}\n\
         [watcher]\ntype=user\nread_only=yes\npassword={ARI_PASSWORD}\n"
    )
}

/// Bound to one address, calls ask no resolver for this machine's own name, even when none answers;
/// only the start of Asterisk then takes 20 s longer.
fn pjsip(place: &Place) -> String {
    let ip = place.ip;
    let mut text = format!(
        "[global]\ntype=global\nendpoint_identifier_order=username,ip,anonymous\n\
         default_from_user=pbx\n\
         [udp]\ntype=transport\nprotocol=udp\nbind={ip}:{SIP_PORT}\n\
         external_media_address={ip}\nexternal_signaling_address={ip}\nlocal_net=127.0.0.0/8\n\
         [line](!)\ntype=endpoint\ntransport=udp\ndisallow=all\nallow=ulaw\ndirect_media=no\n\
         media_address={ip}\nbind_rtp_to_media_address=yes\nfrom_domain={ip}\n\
         rtp_symmetric=no\nforce_rport=yes\ndtmf_mode=auto_info\n\
         [anonymous](line)\ncontext=lab-in\n"
    );
    let crowd = CROWD_PHONES.filter(|_| place.app_queue.is_some());
    for number in (1001..=1012).chain(crowd) {
        text.push_str(&format!(
            "[{number}](line)\ncontext=lab-agents\naors={number}\n\
             [{number}]\ntype=aor\nmax_contacts=1\nremove_existing=yes\n"
        ));
    }
    for (name, other) in place.others {
        text.push_str(&format!(
            "[trunk-{name}](line)\ncontext=holdfast-trunk\naors=trunk-{name}\n\
             [trunk-{name}]\ntype=aor\ncontact=sip:{other}:{SIP_PORT}\n\
             [trunk-{name}]\ntype=identify\nendpoint=trunk-{name}\nmatch={other}/32\n"
        ));
    }
    text
}

fn extensions(place: &Place) -> String {
    let shipped = place.repository.join("config/asterisk/extensions.conf");
    format!(
        r#"[general]
static=yes
writeprotect=yes
#include "{shipped}"

[lab-in]
exten => _q!,1,Set(HOLDFAST_AFTER=lab-after,s,1)
 same => n,GotoIf($["${{EXTEN:0:3}}" = "qt-"]?timed)
 same => n,GotoIf($["${{EXTEN:0:3}}" = "qp-"]?urgent)
 same => n,Goto(holdfast-in,${{EXTEN:2}},1)
 same => n(timed),Set(HOLDFAST_ARGS=timeout=${{CUT(EXTEN,-,3)}})
 same => n,Goto(holdfast-in,${{CUT(EXTEN,-,2)}},1)
 same => n(urgent),Set(HOLDFAST_ARGS=priority=${{CUT(EXTEN,-,3)}})
 same => n,Goto(holdfast-in,${{CUT(EXTEN,-,2)}},1)
exten => short,1,Set(HOLDFAST_AFTER=lab-after,s,1)
 same => n,Set(HOLDFAST_MAX_WAIT=2)
 same => n,Goto(holdfast-in,support,1)
exten => raw,1,Stasis({APP},raw)
 same => n,Set(GLOBAL(HF_${{CALLERID(num)}})=${{STASISSTATUS}})
 same => n,Hangup()
exten => held,1,Answer(,i)
 same => n,Wait(10)
exten => quiet,1,Answer()
 same => n,Stasis({APP},quiet)
exten => fast,1,Answer(,i)
 same => n,Stasis({APP},fast)
exten => _st-.,1,Answer(,i)
 same => n,Stasis(${{CUT(EXTEN,-,2)}},${{CUT(EXTEN,-,3)}})
exten => lua,1,Goto(lab-lua,support,1)
{app_queue}
[lab-after]
exten => s,1,Set(GLOBAL(HF_${{CALLERID(num)}})=${{QUEUESTATUS}})
 same => n,Set(GLOBAL(HFX_${{CALLERID(num)}})=wait=${{QUEUEWAIT}}:position=${{QUEUEPOSITION}}:abandoned=${{ABANDONED}}:member=${{MEMBERINTERFACE}})
 same => n,Hangup()
; A key by which a caller left the queue.
exten => _X,1,Goto(s,1)

[lab-agents]
include => holdfast-agent-codes
include => lab-in
"#,
        shipped = shipped.display(),
        app_queue = match place.app_queue {
            Some(_) => {
                "exten => _aq-.,1,Answer(,i)\n same => n,Queue(${EXTEN:3})\n\
                 exten => _m-.,1,Goto(holdfast-in,${EXTEN:2},1)\n\
                 exten => stay,1,Answer(,i)\n same => n,Wait(600)\n"
            }
            None => "",
        },
    )
}

fn lua(place: &Place) -> String {
    let shipped = place.repository.join("config/asterisk/extensions.lua");
    format!(
        r#"local holdfast = dofile("{shipped}")
extensions = {{ ["lab-lua"] = {{ ["support"] = function()
    local number = channel["CALLERID(num)"]:get()
    local status = holdfast.queue("support")
    channel["GLOBAL(HF_" .. number .. ")"]:set("lua " .. status)
    app.Hangup()
end }} }}
"#,
        shipped = shipped.display(),
    )
}

fn music(place: &Place) -> String {
    let folder = place.folder.join("moh");
    let folder = folder.display();
    format!("[default]\nmode=files\ndirectory={folder}\n[second]\nmode=files\ndirectory={folder}\n")
}

/// Two seconds of a 440 Hz tone, 8 kHz, 16 bit, mono.
fn wav() -> Vec<u8> {
    let samples: Vec<u8> = (0..16_000)
        .flat_map(|n| {
            let angle = f64::from(n) * 440.0 * std::f64::consts::TAU / 8_000.0;
            ((angle.sin() * 8_000.0) as i16).to_le_bytes()
        })
        .collect();
    let size = samples.len() as u32;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + size).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    for half in [1_u16, 1] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(8_000_u32.to_le_bytes());
    bytes.extend(16_000_u32.to_le_bytes());
    for half in [2_u16, 16] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(b"data");
    bytes.extend(size.to_le_bytes());
    bytes.extend(samples);
    bytes
}
