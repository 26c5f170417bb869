//! The part of MQTT 3.1.1 and 5.0 a load generator needs, written from the specification and not from the broker's
//! `wire`: an encoder of client packets and a decoder of server packets. Borrows; allocates nothing.

/// Packet types, the high half of the first byte [3.1.1 §2.2.1].
pub const CONNACK: u8 = 2;
pub const PUBLISH: u8 = 3;
pub const PUBACK: u8 = 4;
pub const PUBREC: u8 = 5;
pub const PUBREL: u8 = 6;
pub const PUBCOMP: u8 = 7;
pub const SUBACK: u8 = 9;

/// One packet as received.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packet<'a> {
    pub first: u8,
    pub body: &'a [u8],
    /// The whole packet, Fixed Header included.
    pub bytes: usize,
}

/// One PUBLISH as received.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Publish<'a> {
    pub qos: u8,
    pub topic: &'a [u8],
    /// 0 at QoS 0.
    pub packet_id: u16,
    pub payload: &'a [u8],
}

/// The packet at the start of `bytes`. `Ok(None)`: more bytes are needed.
///
/// Errors: the Remaining Length has a fifth byte [3.1.1 §2.2.3].
#[inline]
pub fn next_packet(bytes: &[u8]) -> Result<Option<Packet<'_>>, String> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let mut remaining = 0usize;
    for index in 0..4 {
        let Some(&byte) = bytes.get(1 + index) else {
            return Ok(None);
        };
        remaining |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let start = 2 + index;
            return Ok(bytes.get(start..start + remaining).map(|body| Packet {
                first,
                body,
                bytes: start + remaining,
            }));
        }
    }
    Err("Remaining Length of more than four bytes".into())
}

impl<'a> Packet<'a> {
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The Packet Identifier at the start of the body of an acknowledgement.
    pub fn packet_id(&self) -> Result<u16, String> {
        match self.body {
            [high, low, ..] => Ok(u16::from_be_bytes([*high, *low])),
            _ => Err("packet too short for a Packet Identifier".into()),
        }
    }

    /// Errors: it ends inside its head, or (`v5`) its Properties are longer than 127 bytes.
    #[inline]
    pub fn publish(&self, v5: bool) -> Result<Publish<'a>, String> {
        let qos = self.first >> 1 & 3;
        let short = || "PUBLISH too short".to_string();
        let (length, rest) = self.body.split_at_checked(2).ok_or_else(short)?;
        let topic_bytes = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let (topic, rest) = rest.split_at_checked(topic_bytes).ok_or_else(short)?;
        let (packet_id, rest) = match rest {
            _ if qos == 0 => (0, rest),
            [high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]), rest),
            _ => return Err(short()),
        };
        let payload = match rest {
            _ if !v5 => rest,
            [length @ ..=127, rest @ ..] => rest.get(usize::from(*length)..).ok_or_else(short)?,
            _ => {
                return Err(
                    "PUBLISH without Properties, or with more than 127 bytes of them".into(),
                );
            }
        };
        Ok(Publish {
            qos,
            topic,
            packet_id,
            payload,
        })
    }
}

fn append_length(mut remaining: usize, out: &mut Vec<u8>) {
    loop {
        let byte = (remaining & 0x7f) as u8;
        remaining >>= 7;
        if remaining == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

fn append_string(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The length of no Properties, where the version has them.
fn no_properties(v5: bool) -> &'static [u8] {
    if v5 { &[0] } else { &[] }
}

/// CONNECT with a clean session, no will, no user.
pub fn append_connect(v5: bool, client_id: &str, keep_alive_s: u16, out: &mut Vec<u8>) {
    out.push(0x10);
    append_length(10 + no_properties(v5).len() + 2 + client_id.len(), out);
    append_string("MQTT", out);
    out.extend_from_slice(&[if v5 { 5 } else { 4 }, 0x02]);
    out.extend_from_slice(&keep_alive_s.to_be_bytes());
    out.extend_from_slice(no_properties(v5));
    append_string(client_id, out);
}

/// SUBSCRIBE of all `filters` at one QoS.
pub fn append_subscribe(v5: bool, packet_id: u16, filters: &[String], qos: u8, out: &mut Vec<u8>) {
    out.push(0x82);
    append_length(
        2 + no_properties(v5).len() + filters.iter().map(|filter| filter.len() + 3).sum::<usize>(),
        out,
    );
    out.extend_from_slice(&packet_id.to_be_bytes());
    out.extend_from_slice(no_properties(v5));
    for filter in filters {
        append_string(filter, out);
        out.push(qos);
    }
}

/// Where the changing parts of a PUBLISH lie: offset of the Packet Identifier (0 at QoS 0) and of the payload.
#[derive(Clone, Copy, Debug)]
pub struct PublishShape {
    pub packet_id_at: usize,
    pub payload_at: usize,
}

/// PUBLISH whose payload is `payload_bytes` of filler, to be stamped by the caller.
pub fn append_publish(
    v5: bool,
    topic: &str,
    qos: u8,
    retain: bool,
    payload_bytes: usize,
    out: &mut Vec<u8>,
) -> PublishShape {
    let start = out.len();
    let id_bytes = if qos > 0 { 2 } else { 0 };
    out.push(0x30 | qos << 1 | u8::from(retain));
    append_length(
        2 + topic.len() + id_bytes + no_properties(v5).len() + payload_bytes,
        out,
    );
    append_string(topic, out);
    let packet_id_at = if qos > 0 { out.len() - start } else { 0 };
    out.resize(out.len() + id_bytes, 0);
    out.extend_from_slice(no_properties(v5));
    let payload_at = out.len() - start;
    out.resize(out.len() + payload_bytes, b'.');
    PublishShape {
        packet_id_at,
        payload_at,
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub fn append_ack(kind: u8, packet_id: u16, out: &mut Vec<u8>) {
    let flags = if kind == PUBREL { 2 } else { 0 };
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[kind << 4 | flags, 2, high, low]);
}

pub const DISCONNECT: [u8; 2] = [0xe0, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publish_round_trip() {
        let payloads = [(0, 0), (0, 64), (1, 200), (2, 20_000)];
        for (v5, (qos, payload_bytes)) in [false, true]
            .into_iter()
            .flat_map(|v5| payloads.map(|of| (v5, of)))
        {
            let mut out = Vec::new();
            let shape = append_publish(v5, "a/b", qos, false, payload_bytes, &mut out);
            if qos > 0 {
                out[shape.packet_id_at + 1] = 7;
            }
            for cut in 0..out.len().min(300) {
                assert_eq!(next_packet(&out[..cut]), Ok(None));
            }
            let packet = next_packet(&out).unwrap().unwrap();
            assert_eq!(packet.bytes, out.len());
            let publish = packet.publish(v5).unwrap();
            assert_eq!(
                (publish.qos, publish.topic, publish.payload.len()),
                (qos, &b"a/b"[..], payload_bytes)
            );
            assert_eq!(publish.packet_id, if qos > 0 { 7 } else { 0 });
        }
    }

    #[test]
    fn known_bytes() {
        let mut out = Vec::new();
        append_connect(false, "c", 60, &mut out);
        assert_eq!(out, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c");
        out.clear();
        append_subscribe(false, 1, &["a/#".into()], 1, &mut out);
        assert_eq!(out, b"\x82\x08\x00\x01\x00\x03a/#\x01");
        out.clear();
        append_connect(true, "c", 60, &mut out);
        assert_eq!(out, b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c");
        out.clear();
        append_subscribe(true, 1, &["a/#".into()], 1, &mut out);
        assert_eq!(out, b"\x82\x09\x00\x01\x00\x00\x03a/#\x01");
        out.clear();
        append_ack(PUBREL, 0x102, &mut out);
        assert_eq!(out, [0x62, 2, 1, 2]);
        assert!(next_packet(&[0x30, 0x80, 0x80, 0x80, 0x80, 0]).is_err());
    }
}
