//! One of the two clients of a bridge: its stream of packets, the terms it agreed on, its Topic Aliases.

use super::event::Why;
use crate::limits;
use crate::time::Time;
use crate::wire::publish::PACKET_BYTES_MAX;
use crate::wire::{
    ConnAck, Frame, Packet, PacketId, QoS, RetainHandling, SubscriptionOptions, Version,
    append_subscribe, encode, next_frame,
};
use std::collections::BTreeMap;

/// Bytes on their way to a broker. The driver takes from the front what its socket takes.
#[derive(Default, Debug)]
pub struct Outgoing {
    bytes: Vec<u8>,
    start: usize,
}

impl Outgoing {
    /// What has not been taken.
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Has all been taken?
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// So many bytes were taken, at most all.
    pub fn taken(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.bytes.len());
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
            // The room of one large message is not kept for ever.
            self.bytes.shrink_to(limits::BRIDGE_UNSENT_BYTES_MAX);
        } else if self.start > limits::BRIDGE_READ_BYTES && self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Where packets are appended.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn clear(&mut self) {
        *self = Outgoing::default();
    }
}

/// What the broker takes, as its CONNACK has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Takes {
    /// QoS 1 and 2 messages that it has not acknowledged.
    pub receive_maximum: u16,
    /// The highest QoS of a PUBLISH.
    pub qos_max: QoS,
    /// RETAIN may be set.
    pub retain: bool,
    /// The largest packet.
    pub packet_bytes_max: usize,
}

impl Default for Takes {
    fn default() -> Takes {
        Takes {
            receive_maximum: u16::MAX,
            qos_max: QoS::ExactlyOnce,
            retain: true,
            packet_bytes_max: PACKET_BYTES_MAX,
        }
    }
}

/// A client.
#[derive(Debug)]
pub struct Client {
    /// What it speaks.
    pub version: Version,
    /// What it has to send.
    pub outgoing: Outgoing,
    /// What its broker takes.
    pub takes: Takes,
    /// Its broker has accepted it.
    pub accepted: bool,
    /// Bytes that were received and not handled.
    received: Vec<u8>,
    packet_bytes_max: u32,
    keep_alive_ms: u64,
    sent_at: Time,
    received_at: Time,
    /// Since when a PINGREQ waits for an answer; later where bytes have left since.
    pinged: Option<Time>,
    /// Topic Names that the broker has given aliases, by alias - 1; empty: none.
    aliases: Vec<Box<str>>,
    /// Topic Names that we have given aliases, by alias - 1.
    own_aliases: Vec<Box<str>>,
    own_aliases_max: usize,
}

impl Client {
    /// Not connected. `keep_alive_s` 0: no PINGREQ.
    pub fn new(version: Version, packet_bytes_max: u32, keep_alive_s: u16) -> Client {
        Client {
            version,
            outgoing: Outgoing::default(),
            takes: Takes::default(),
            accepted: false,
            received: Vec::new(),
            packet_bytes_max,
            keep_alive_ms: u64::from(keep_alive_s) * 1000,
            sent_at: Time(0),
            received_at: Time(0),
            pinged: None,
            aliases: Vec::new(),
            own_aliases: Vec::new(),
            own_aliases_max: 0,
        }
    }

    /// Forgets the last connection.
    pub fn reset(&mut self, alias_max: u16, now: Time) {
        self.outgoing.clear();
        self.takes = Takes::default();
        self.accepted = false;
        self.received = Vec::new();
        self.sent_at = now;
        self.received_at = now;
        self.pinged = None;
        self.aliases = vec![Box::default(); usize::from(alias_max)];
        self.own_aliases = Vec::new();
        self.own_aliases_max = 0;
    }

    /// The broker has accepted us. It is given at most so many Topic Aliases.
    pub fn accept(&mut self, connack: &ConnAck<'_>, aliases_max: usize) {
        let properties = &connack.properties;
        let most = properties.maximum_packet_size;
        self.accepted = true;
        self.takes = Takes {
            receive_maximum: properties.receive_maximum.unwrap_or(u16::MAX),
            qos_max: properties.maximum_qos.unwrap_or(QoS::ExactlyOnce),
            retain: properties.retain_available.unwrap_or(true),
            packet_bytes_max: most.map_or(PACKET_BYTES_MAX, |bytes| bytes as usize),
        };
        if let Some(seconds) = properties.server_keep_alive_s {
            self.keep_alive_ms = u64::from(seconds) * 1000;
        }
        let aliases = usize::from(properties.topic_alias_maximum.unwrap_or(0));
        self.own_aliases_max = aliases.min(aliases_max);
    }

    /// Appends a SUBSCRIBE for these filters, each at its QoS. `false`: there are none.
    pub fn subscribe(
        &mut self,
        packet_id: PacketId,
        wanted: &BTreeMap<&str, QoS>,
        retain_handling: RetainHandling,
    ) -> bool {
        let options = |qos| SubscriptionOptions {
            qos,
            no_local: true,
            retain_as_published: true,
            retain_handling,
        };
        let filters: Vec<_> = wanted
            .iter()
            .map(|(filter, qos)| (*filter, options(*qos)))
            .collect();
        if !filters.is_empty() {
            let bytes = self.outgoing.bytes();
            append_subscribe(self.version, packet_id, None, &filters, bytes);
        }
        !filters.is_empty()
    }

    /// Takes what was received and not handled, to be given back by [`Client::put_received`].
    pub fn take_received(&mut self, bytes: &[u8], now: Time) -> Vec<u8> {
        if !bytes.is_empty() {
            self.received_at = now;
            self.pinged = None;
        }
        let mut received = std::mem::take(&mut self.received);
        received.extend_from_slice(bytes);
        received
    }

    /// Bytes wait that were not handled: a part of a packet, or packets that must wait.
    pub fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// Bytes of packets, received or not sent.
    pub fn held_bytes(&self) -> usize {
        self.received.len() + self.outgoing.bytes.len()
    }

    /// Forgets them.
    pub fn drop_received(&mut self) {
        self.received = Vec::new();
    }

    /// The bytes from `at` on were not handled.
    pub fn put_received(&mut self, mut received: Vec<u8>, at: usize) {
        received.drain(..at);
        if received.is_empty() {
            received.shrink_to(limits::BRIDGE_READ_BYTES);
        }
        self.received = received;
    }

    /// The next packet of `bytes`; `None`: it is not complete.
    pub fn frame<'a>(&self, bytes: &'a [u8]) -> Result<Option<Frame<'a>>, Why> {
        next_frame(bytes, self.packet_bytes_max).map_err(Why::Malformed)
    }

    /// Bytes were appended to what is to be sent.
    pub fn appended(&mut self, now: Time) {
        self.sent_at = now;
    }

    /// The socket has taken bytes: the other side lives, or its system does.
    pub fn left(&mut self, now: Time) {
        if let Some(pinged) = &mut self.pinged {
            *pinged = now;
        }
    }

    /// Nothing is read from the broker.
    pub fn held(&mut self, now: Time) {
        self.received_at = now;
        self.left(now);
    }

    /// A PINGREQ is due, or its answer.
    pub fn ping_deadline(&self) -> Time {
        match self.pinged {
            _ if self.keep_alive_ms == 0 || !self.accepted => Time::NEVER,
            Some(pinged) => pinged + limits::BRIDGE_PING_ANSWER_MS.min(self.keep_alive_ms),
            None => self.sent_at.min(self.received_at) + self.keep_alive_ms,
        }
    }

    /// Sends a PINGREQ if it is due. `false`: the last one was not answered in time.
    pub fn ping(&mut self, now: Time) -> bool {
        if self.ping_deadline() > now {
            return true;
        }
        if self.pinged.is_some() {
            return false;
        }
        encode(&Packet::PingReq, self.version, self.outgoing.bytes());
        self.sent_at = now;
        self.pinged = Some(now);
        true
    }

    /// The Topic Name of a PUBLISH that has come with these.
    pub fn name<'a>(
        &'a mut self,
        topic: Option<&'a str>,
        alias: Option<u16>,
    ) -> Result<&'a str, Why> {
        let Some(alias) = alias else {
            return topic.ok_or(Why::TopicAlias);
        };
        // A decoded alias is never 0.
        let known = self.aliases.get_mut(usize::from(alias).wrapping_sub(1));
        let known = known.ok_or(Why::TopicAlias)?;
        if let Some(topic) = topic {
            *known = topic.into();
        }
        match known.is_empty() {
            true => Err(Why::TopicAlias),
            false => Ok(known),
        }
    }

    /// The alias of a Topic Name towards the broker, and whether the broker knows it. `None`: it has none.
    pub fn alias(&mut self, topic: &str) -> Option<(u16, bool)> {
        if self.own_aliases_max == 0 || topic.len() < limits::ALIASED_TOPIC_BYTES_MIN {
            return None;
        }
        if let Some(index) = self.own_aliases.iter().position(|own| **own == *topic) {
            return Some((index as u16 + 1, true));
        }
        if self.own_aliases.len() < self.own_aliases_max {
            self.own_aliases.push(topic.into());
            return Some((self.own_aliases.len() as u16, false));
        }
        None
    }

    /// The PUBLISH that would have told the broker of the newest alias is not sent.
    pub fn forget_last_alias(&mut self) {
        self.own_aliases.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        let mut client = Client::new(Version::V5, 1000, 60);
        client.reset(2, Time(0));
        let connack = ConnAck {
            session_present: false,
            code: 0,
            properties: crate::wire::ConnAckProperties {
                topic_alias_maximum: Some(2),
                ..Default::default()
            },
        };
        client.accept(&connack, 16);
        client
    }

    #[test]
    fn pings_when_nothing_is_heard_and_gives_up_without_an_answer() {
        let mut client = client();
        assert_eq!(client.ping_deadline(), Time(60_000));
        // What is sent into the void does not put it off.
        client.appended(Time(59_000));
        assert!(client.ping(Time(60_000)));
        assert_eq!(client.outgoing.unsent(), [0xC0, 0]);
        let answer = Time(60_000 + limits::BRIDGE_PING_ANSWER_MS);
        assert_eq!(client.ping_deadline(), answer);
        client.left(Time(61_000));
        assert!(client.ping(answer));
        assert!(!client.ping(answer + 1_000));
        client.take_received(b"x", answer + 1_000);
        assert!(client.ping(answer + 1_000));
    }

    #[test]
    fn a_broker_that_is_not_read_is_not_silent() {
        let mut client = client();
        assert!(client.ping(Time(60_000)));
        for at in (60_000..600_000).step_by(10_000) {
            client.held(Time(at));
            assert!(client.ping(Time(at)));
        }
        let answer = Time(590_000 + limits::BRIDGE_PING_ANSWER_MS);
        assert!(!client.ping(answer));
    }

    #[test]
    fn aliases_of_both_sides() {
        let mut client = client();
        assert_eq!(client.alias("a"), None);
        assert_eq!(client.alias("long/enough"), Some((1, false)));
        assert_eq!(client.alias("long/enough"), Some((1, true)));
        assert_eq!(client.alias("another/topic"), Some((2, false)));
        assert_eq!(client.alias("a/third/topic"), None);
        assert_eq!(client.name(Some("t"), None), Ok("t"));
        assert_eq!(client.name(None, Some(2)), Err(Why::TopicAlias));
        assert_eq!(client.name(Some("u"), Some(2)), Ok("u"));
        assert_eq!(client.name(None, Some(2)), Ok("u"));
        assert_eq!(client.name(Some("u"), Some(3)), Err(Why::TopicAlias));
        assert_eq!(client.name(Some("u"), Some(0)), Err(Why::TopicAlias));
    }

    #[test]
    fn what_was_taken_is_gone() {
        let mut outgoing = Outgoing::default();
        outgoing.bytes().extend_from_slice(&[7; 200_000]);
        outgoing.taken(150_000);
        outgoing.bytes().push(8);
        assert_eq!(outgoing.unsent().len(), 50_001);
        assert_eq!(outgoing.unsent().last(), Some(&8));
        outgoing.taken(50_001);
        assert!(outgoing.is_empty() && outgoing.unsent().is_empty());
    }
}
