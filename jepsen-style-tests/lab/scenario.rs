//! The sipp scenarios of callers and phones.
//!
//! A scenario is steered from outside by requests with the call's own Call-ID, because sipp knows
//! no other way in: NOTIFY means "hang up", MESSAGE means "press the key in X-Key". What happens is
//! written by `<log>` as one line each, see `sipp.rs` for who reads them.

use super::{CallSpec, Habit};

/// SIP statuses that end a call which is not answered.
const REFUSALS: [u16; 20] = [
    400, 401, 403, 404, 405, 408, 410, 415, 480, 481, 482, 483, 484, 486, 488, 500, 501, 503, 600,
    603,
];

fn sdp(rtp_port: u16) -> String {
    format!(
        "v=0\no=lab 1 1 IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0\n\
         m=audio {rtp_port} RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=ptime:20\n"
    )
}

fn message(text: &str) -> String {
    format!("<send><![CDATA[\n\n{text}\n\n]]></send>\n")
}

/// Text inside an XML CDATA section and a quoted SIP string.
fn display(name: &str) -> String {
    name.chars()
        .filter(|c| !c.is_control() && !"\"\\[]".contains(*c))
        .collect()
}

/// A caller: INVITE, then whatever comes.
pub fn caller(spec: &CallSpec, rtp_port: u16) -> String {
    let number = &spec.number;
    let from = if spec.name.is_empty() {
        format!("<sip:{number}@[local_ip]:[local_port]>;tag=[call_number]c")
    } else {
        format!(
            "\"{}\" <sip:{number}@[local_ip]:[local_port]>;tag=[call_number]c",
            display(&spec.name)
        )
    };
    let to = format!("<sip:{}@[remote_ip]:[remote_port]>", spec.exten);
    let head = |method: &str, cseq: u32, branch: &str, to_tag: &str| {
        format!(
            "{method} sip:{}@[remote_ip]:[remote_port] SIP/2.0\n\
             Via: SIP/2.0/UDP [local_ip]:[local_port];branch=z9hG4bK-{branch}-[call_number]-[pid]\n\
             From: {from}\nTo: {to}{to_tag}\nCall-ID: [call_id]\nCSeq: {cseq} {method}\n\
             Contact: <sip:{number}@[local_ip]:[local_port]>\nMax-Forwards: 70\n",
            spec.exten
        )
    };
    let body = sdp(rtp_port);
    let invite = format!(
        "{}Content-Type: application/sdp\nContent-Length: [len]\n\n{body}",
        head("INVITE", 1, "invite", "")
    );
    let ack = format!(
        "{}Content-Length: 0\n",
        head("ACK", 1, "ack", "[peer_tag_param]")
    );
    let refused_ack = format!(
        "{}Content-Length: 0\n",
        head("ACK", 1, "invite", "[peer_tag_param]")
    );
    let cancel = format!("{}Content-Length: 0\n", head("CANCEL", 1, "invite", ""));
    let bye = format!(
        "{}Content-Length: 0\n",
        head("BYE", 90, "bye", "[peer_tag_param]")
    );
    let info = format!(
        "INFO sip:{exten}@[remote_ip]:[remote_port] SIP/2.0\n\
         Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]\n\
         From: {from}\nTo: {to}[peer_tag_param]\nCall-ID: [call_id]\nCSeq: [cseq] INFO\n\
         Contact: <sip:{number}@[local_ip]:[local_port]>\nMax-Forwards: 70\n\
         Content-Type: application/dtmf-relay\nContent-Length: [len]\n\n\
         Signal=[$key]\nDuration=120\n",
        exten = spec.exten
    );
    let refusals: String = REFUSALS
        .iter()
        .map(|status| {
            format!(
                "<recv response=\"{status}\" optional=\"true\" next=\"5\"><action>\
                 <log message=\"REFUSED {status}\"/></action></recv>\n"
            )
        })
        .collect();
    let answered = "<recv response=\"200\"><action>\
         <ereg regexp=\"m=audio ([0-9]+)\" search_in=\"body\" assign_to=\"media,port\"/>\
         <log message=\"ANSWERED [$port]\"/></action></recv>\n<Reference variables=\"media\"/>\n";
    let mut text =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<scenario name=\"caller\">\n");
    text += &message(&invite).replace("<send>", "<send retrans=\"500\">");
    for status in [100, 180, 183] {
        text += &format!("<recv response=\"{status}\" optional=\"true\"/>\n");
    }
    text += "<recv request=\"NOTIFY\" optional=\"true\" next=\"4\"/>\n";
    text += &refusals;
    text += answered;
    text += &message(&ack);
    text += "<label id=\"1\"/>\n";
    text += "<recv request=\"NOTIFY\" optional=\"true\" next=\"3\"/>\n";
    text += "<recv request=\"MESSAGE\" optional=\"true\" next=\"2\"><action>\
             <ereg regexp=\"[0-9A-D*#]\" search_in=\"hdr\" header=\"X-Key:\" assign_to=\"key\"/>\
             </action></recv>\n";
    text += "<recv request=\"BYE\"><action><log message=\"BYE\"/></action></recv>\n";
    text += &message(
        "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\n\
         Content-Length: 0\n",
    )
    .replace("<send>", "<send next=\"9\">");
    // A key.
    text += "<label id=\"2\"/>\n";
    text += &message(&info);
    text += "<recv response=\"200\" next=\"1\"/>\n";
    // Hang up after the answer.
    text += "<label id=\"3\"/>\n";
    text += &message(&bye).replace("<send>", "<send retrans=\"500\">");
    text += "<recv response=\"481\" optional=\"true\" next=\"8\"/>\n";
    text += "<recv request=\"BYE\" optional=\"true\"/>\n";
    text += "<recv response=\"200\" next=\"8\"/>\n";
    // Hang up before the answer.
    text += "<label id=\"4\"/>\n";
    text += &message(&cancel).replace("<send>", "<send retrans=\"500\">");
    text +=
        "<recv response=\"180\" optional=\"true\"/>\n<recv response=\"183\" optional=\"true\"/>\n";
    text += "<recv response=\"200\"/>\n<recv response=\"487\"/>\n";
    text += &message(&refused_ack).replace("<send>", "<send next=\"8\">");
    // Refused.
    text += "<label id=\"5\"/>\n";
    text += &message(&refused_ack).replace("<send>", "<send next=\"9\">");
    text += "<label id=\"8\"/>\n<nop><action><log message=\"HUNG_UP\"/></action></nop>\n";
    text += "<label id=\"9\"/>\n<nop/>\n</scenario>\n";
    text
}

/// A phone with a person beside it.
pub fn phone(number: &str, habit: Habit, rtp_port: u16) -> String {
    let reply = |status: &str, more: &str| {
        format!(
            "SIP/2.0 {status}\n[last_Via:]\n[last_From:]\n[last_To:];tag=[call_number]p[pid]\n\
             [last_Call-ID:]\n[last_CSeq:]\n\
             Contact: <sip:{number}@[local_ip]:[local_port]>\n{more}"
        )
    };
    let plain = "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n\
                 [last_CSeq:]\nContent-Length: 0\n";
    let ringing = reply("180 Ringing", "Content-Length: 0\n");
    let cancelled = "<Reference variables=\"reason\"/>\n<label id=\"5\"/>\n".to_string()
        + &message(plain)
        + &message(
            "SIP/2.0 487 Request Terminated\n[last_Via:]\n[last_From:]\n\
             [last_To:];tag=[call_number]p[pid]\n[last_Call-ID:]\nCSeq: [$cseq] INVITE\n\
             Content-Length: 0\n",
        )
        + "<recv request=\"ACK\" next=\"9\"/>\n";
    let cause = |word: &str| {
        format!(
            "<action><ereg regexp=\"Q.850;cause=([0-9]+)\" search_in=\"msg\" \
             assign_to=\"reason,cause\"/><log message=\"{word} [call_id] [$cause]\"/></action>"
        )
    };
    let until_cancelled = format!(
        "<recv request=\"CANCEL\" next=\"5\">{}</recv>\n",
        cause("CANCEL")
    );
    let refuse = |status: u16| {
        message(&reply(&format!("{status} No"), "Content-Length: 0\n"))
            + "<recv request=\"ACK\" next=\"9\"/>\n"
    };

    let mut text =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<scenario name=\"phone\">\n");
    text += "<recv request=\"INVITE\"><action>\
             <ereg regexp=\"[0-9]+\" search_in=\"hdr\" header=\"CSeq:\" assign_to=\"cseq\"/>\
             <ereg regexp=\"m=audio ([0-9]+)\" search_in=\"body\" assign_to=\"media,port\"/>\
             <ereg regexp=\".*\" search_in=\"hdr\" header=\"From:\" assign_to=\"peer\"/>\
             <ereg regexp=\".*\" search_in=\"hdr\" header=\"To:\" assign_to=\"own\"/>\
             <log message=\"RING [call_id] [$port] [$peer] [$own]\"/></action></recv>\n\
             <Reference variables=\"media,cseq,port,peer,own\"/>\n";
    match habit {
        Habit::Busy => text += &refuse(486),
        Habit::Reject => text += &refuse(603),
        Habit::Fail { sip } => text += &refuse(sip),
        Habit::Silent => {
            text += &until_cancelled;
            text += &cancelled;
        }
        Habit::NoAnswer => {
            text += &message(&ringing);
            text += &until_cancelled;
            text += &cancelled;
        }
        Habit::Answer { after_ms, talk_ms } => {
            text += &message(&ringing);
            text += &until_cancelled.replace(
                "next=\"5\"",
                &format!("next=\"5\" timeout=\"{}\" ontimeout=\"2\"", after_ms.max(1)),
            );
            text += "<label id=\"2\"/>\n";
            let more = format!(
                "Content-Type: application/sdp\nContent-Length: [len]\n\n{}",
                sdp(rtp_port)
            );
            text += &message(&reply("200 OK", &more)).replace("<send>", "<send retrans=\"500\">");
            text += "<recv request=\"ACK\"><action><log message=\"ANSWER [call_id]\"/></action></recv>\n";
            let wait = match talk_ms {
                Some(ms) => format!(" timeout=\"{}\" ontimeout=\"3\"", ms.max(1)),
                None => String::new(),
            };
            text += &format!("<recv request=\"NOTIFY\" optional=\"true\" next=\"3\"{wait}/>\n");
            text += &format!("<recv request=\"BYE\"{wait}>{}</recv>\n", cause("BYE"));
            text += &message(plain).replace("<send>", "<send next=\"9\">");
            text += "<label id=\"3\"/>\n";
            // Roles are turned round for a BYE of ours: our address is the one they wrote in To.
            text += &message(
                "BYE sip:pbx@[remote_ip]:[remote_port] SIP/2.0\n\
                 Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]\n\
                 From: [$own];tag=[call_number]p[pid]\nTo: [$peer]\nCall-ID: [call_id]\nCSeq: 2 BYE\nMax-Forwards: 70\n\
                 Content-Length: 0\n",
            )
            .replace("<send>", "<send retrans=\"500\">");
            text += "<recv request=\"BYE\" optional=\"true\"/>\n\
                     <recv response=\"481\" optional=\"true\" next=\"4\"/>\n<recv response=\"200\"/>\n\
                     <label id=\"4\"/>\n\
                     <nop next=\"9\"><action><log message=\"HUNG_UP [call_id]\"/></action></nop>\n";
            text += &cancelled;
        }
    }
    text += "<label id=\"9\"/>\n<nop/>\n</scenario>\n";
    text
}

/// Callers of a crowd: INVITE, then they wait for the end.
pub fn crowd(exten: &str, prefix: &str, rtp_port: u16) -> String {
    let head = |method: &str, branch: &str, to_tag: &str| {
        format!(
            "{method} sip:{exten}@[remote_ip]:[remote_port] SIP/2.0\n\
             Via: SIP/2.0/UDP [local_ip]:[local_port];branch=z9hG4bK-{branch}-[call_number]-[pid]\n\
             From: <sip:{prefix}[call_number]@[local_ip]:[local_port]>;tag=[call_number]c\n\
             To: <sip:{exten}@[remote_ip]:[remote_port]>{to_tag}\nCall-ID: [call_id]\n\
             CSeq: 1 {method}\nContact: <sip:{prefix}[call_number]@[local_ip]:[local_port]>\n\
             Max-Forwards: 70\n"
        )
    };
    let invite = format!(
        "{}Content-Type: application/sdp\nContent-Length: [len]\n\n{}",
        head("INVITE", "invite", ""),
        sdp(rtp_port)
    );
    let mut text =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<scenario name=\"crowd\">\n");
    text += &message(&invite).replace("<send>", "<send retrans=\"500\">");
    for status in [100, 180, 183] {
        text += &format!("<recv response=\"{status}\" optional=\"true\"/>\n");
    }
    text += "<recv response=\"200\"/>\n";
    text += &message(&format!(
        "{}Content-Length: 0\n",
        head("ACK", "ack", "[peer_tag_param]")
    ));
    text += "<recv request=\"BYE\"><action><log message=\"BYE\"/></action></recv>\n";
    text += &message(
        "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\n\
         Content-Length: 0\n",
    );
    text += "</scenario>\n";
    text
}
