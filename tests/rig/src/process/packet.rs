//! Control Packets of MQTT 3.1 and 3.1.1 as a test writes and reads them: plain bytes, valid or, where a test wants it,
//! not.

/// DISCONNECT.
pub const DISCONNECT: [u8; 2] = [0xE0, 0];
/// PINGREQ and its answer.
pub const PINGREQ: [u8; 2] = [0xC0, 0];
pub const PINGRESP: [u8; 2] = [0xD0, 0];
/// First byte of the acknowledgements.
pub const PUBACK: u8 = 0x40;
pub const PUBREC: u8 = 0x50;
pub const PUBREL: u8 = 0x62;
pub const PUBCOMP: u8 = 0x70;

/// The protocol a CONNECT names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    V31,
    V311,
}

/// A CONNECT with its flags set as the fields say.
#[derive(Clone, Debug)]
pub struct Connect<'a> {
    pub level: Level,
    pub client_id: &'a [u8],
    pub clean_session: bool,
    pub keep_alive_s: u16,
    pub will: Option<Will<'a>>,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
}

#[derive(Clone, Debug)]
pub struct Will<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: u8,
    pub retain: bool,
}

impl Default for Connect<'_> {
    fn default() -> Self {
        Connect {
            level: Level::V311,
            client_id: b"",
            clean_session: true,
            keep_alive_s: 60,
            will: None,
            user: None,
            password: None,
        }
    }
}

impl Connect<'_> {
    pub fn bytes(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean_session) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(self.password.is_some()) << 6 | u8::from(self.user.is_some()) << 7;
        let mut body = Vec::new();
        match self.level {
            Level::V31 => body.extend(b"\0\x06MQIsdp\x03"),
            Level::V311 => body.extend(b"\0\x04MQTT\x04"),
        }
        body.push(flags);
        body.extend(self.keep_alive_s.to_be_bytes());
        string(&mut body, self.client_id);
        if let Some(will) = &self.will {
            string(&mut body, will.topic.as_bytes());
            string(&mut body, will.payload);
        }
        for text in [self.user, self.password].into_iter().flatten() {
            string(&mut body, text.as_bytes());
        }
        packet(0x10, &body)
    }
}

/// Appends a string or binary field: two bytes of length, then the bytes.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(
        u16::try_from(text.len())
            .expect("a field of at most 65,535 bytes")
            .to_be_bytes(),
    );
    out.extend(text);
}

/// A packet of this first byte and body, its Remaining Length in the shortest form.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut left = body.len();
    loop {
        let byte = u8::try_from(left % 128).expect("below 128");
        left /= 128;
        out.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

/// A PUBLISH; `packet_id` is written for QoS above 0 alone.
pub fn publish(topic: &[u8], payload: &[u8], qos: u8, packet_id: u16, retain: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    string(&mut body, topic);
    if qos > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    body.extend(payload);
    packet(0x30 | qos << 1 | u8::from(retain), &body)
}

pub fn subscribe(packet_id: u16, filters: &[(&[u8], u8)]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    for (filter, options) in filters {
        string(&mut body, filter);
        body.push(*options);
    }
    packet(0x82, &body)
}

pub fn unsubscribe(packet_id: u16, filters: &[&[u8]]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    for filter in filters {
        string(&mut body, filter);
    }
    packet(0xA2, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub fn acknowledgement(first: u8, packet_id: u16) -> Vec<u8> {
    packet(first, &packet_id.to_be_bytes())
}

/// How many bytes the packet at the start of `bytes` has, once its header is there. Panics on a header no broker may
/// send.
pub fn packet_len(bytes: &[u8]) -> Option<usize> {
    let mut remaining = 0;
    for (index, byte) in bytes.get(1..)?.iter().enumerate() {
        assert!(
            index < 4,
            "a Remaining Length of five bytes from the broker: {bytes:02x?}"
        );
        remaining |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(index + 2 + remaining);
        }
    }
    None
}

/// A PUBLISH as received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    /// 0 with QoS 0.
    pub packet_id: u16,
}

impl Published {
    /// Reads a whole packet; `None` if it is another kind.
    pub fn read(packet: &[u8]) -> Option<Published> {
        if packet[0] >> 4 != 3 {
            return None;
        }
        let qos = packet[0] >> 1 & 3;
        let header = 1
            + packet[1..]
                .iter()
                .take_while(|byte| **byte & 0x80 != 0)
                .count()
            + 1;
        let body = &packet[header..];
        let topic_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic =
            String::from_utf8(body[2..2 + topic_len].to_vec()).expect("a Topic Name in UTF-8");
        let rest = &body[2 + topic_len..];
        let (packet_id, payload) = match qos {
            0 => (0, rest),
            _ => (u16::from_be_bytes([rest[0], rest[1]]), &rest[2..]),
        };
        assert!(
            qos == 0 || packet_id != 0,
            "a QoS {qos} PUBLISH with packet id 0"
        );
        Some(Published {
            topic,
            payload: payload.to_vec(),
            qos,
            retain: packet[0] & 1 != 0,
            dup: packet[0] & 8 != 0,
            packet_id,
        })
    }
}
