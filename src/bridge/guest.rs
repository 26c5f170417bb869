//! An MQTT client of this broker for a person at its page: it publishes what they publish, and hears what they watch,
//! by the same rules as every Client of that name. It speaks MQTT 5.0, which says why something is refused.

use super::client::{Client, Outgoing};
use super::event::Why;
use crate::time::Time;
use crate::wire::{
    self, Ack, AckKind, Connect, ConnectProperties, Disconnect, Frame, Packet, PacketId, Publish,
    PublishProperties, QoS, ReasonCode, RetainHandling, SubscriptionOptions, TopicName, Version,
    append_subscribe, append_unsubscribe,
};

/// What it hears of the broker.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Heard<'a> {
    /// It is let in.
    Accepted,
    /// What was published has arrived, or was refused.
    Published {
        /// A refusal, or success.
        code: ReasonCode,
        /// Why, if the broker says so.
        reason: Option<&'a str>,
    },
    /// A filter is not heard.
    Refused(ReasonCode),
    /// A message of a filter that is watched.
    Message {
        /// Whole.
        topic: &'a str,
        /// Any bytes.
        payload: &'a [u8],
        /// As it was sent here: 0.
        qos: QoS,
        /// It was retained.
        retain: bool,
    },
    /// It is not let in, or not any more.
    Gone {
        /// Why.
        code: ReasonCode,
        /// In words, if the broker says so.
        reason: Option<&'a str>,
    },
}

/// The client.
#[derive(Debug)]
pub struct Guest {
    client: Client,
    next_id: PacketId,
    /// A message of QoS 0 is followed by a PINGREQ, whose answer says that it was handled.
    awaits_pong: bool,
}

impl Guest {
    /// Its CONNECT is to be sent.
    pub fn new(client_id: &str, user_name: Option<&str>, packet_bytes_max: u32) -> Guest {
        let mut client = Client::new(Version::V5, packet_bytes_max, 0);
        client.reset(0, Time(0));
        let connect = Connect {
            version: Version::V5,
            bridge: false,
            clean_start: true,
            keep_alive_s: 0,
            properties: ConnectProperties {
                maximum_packet_size: Some(packet_bytes_max),
                ..Default::default()
            },
            client_id,
            will: None,
            user_name,
            password: None,
        };
        connect.encode(client.outgoing.bytes());
        Guest {
            client,
            next_id: PacketId::MIN,
            awaits_pong: false,
        }
    }

    /// What is to be sent.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.client.outgoing
    }

    fn id(&mut self) -> PacketId {
        let id = self.next_id;
        self.next_id = id.checked_add(1).unwrap_or(PacketId::MIN);
        id
    }

    /// Publishes; once at a time, as there is one answer.
    ///
    /// Errors: `topic` is no Topic Name [v5 4.7].
    pub fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) -> Result<(), Why> {
        let topic = TopicName::new(topic).map_err(Why::Malformed)?;
        let packet_id = (qos != QoS::AtMostOnce).then(|| self.id());
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic: Some(topic),
            packet_id,
            properties: PublishProperties::default(),
            payload,
        };
        let bytes = self.client.outgoing.bytes();
        publish.encode(Version::V5, bytes);
        if packet_id.is_none() {
            wire::encode(&Packet::PingReq, Version::V5, bytes);
            self.awaits_pong = true;
        }
        Ok(())
    }

    /// Watches a Topic Filter, what is retained there first.
    pub fn watch(&mut self, filter: &str) {
        let id = self.id();
        let options = SubscriptionOptions {
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: true,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        let bytes = self.client.outgoing.bytes();
        append_subscribe(Version::V5, id, None, &[(filter, options)], bytes);
    }

    /// Watches it no more.
    pub fn unwatch(&mut self, filter: &str) {
        let id = self.id();
        let bytes = self.client.outgoing.bytes();
        append_unsubscribe(Version::V5, id, &[filter], bytes);
    }

    /// Leaves.
    pub fn leave(&mut self) {
        let bytes = self.client.outgoing.bytes();
        Disconnect::new(ReasonCode::SUCCESS).encode(Version::V5, bytes);
    }

    /// These bytes have come: tells what they say.
    ///
    /// Errors: this broker does not speak MQTT to us.
    pub fn receive(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Heard<'_>)) -> Result<(), Why> {
        let received = self.client.take_received(bytes, Time(0));
        let mut at = 0;
        while let Some(frame) = self.client.frame(&received[at..])? {
            self.on_frame(&frame, tell)?;
            at += frame.bytes.len();
        }
        self.client.put_received(received, at);
        Ok(())
    }

    fn on_frame(&mut self, frame: &Frame<'_>, tell: &mut dyn FnMut(Heard<'_>)) -> Result<(), Why> {
        match wire::decode(Some(Version::V5), frame).map_err(Why::Malformed)? {
            Packet::ConnAck(connack) if connack.code == 0 => {
                self.client.accept(&connack, 0);
                tell(Heard::Accepted);
            }
            Packet::ConnAck(connack) => tell(Heard::Gone {
                code: ReasonCode(connack.code),
                reason: connack.properties.reason_string,
            }),
            Packet::Publish(publish) => {
                if let Some(topic) = publish.topic {
                    tell(Heard::Message {
                        topic: topic.as_str(),
                        payload: publish.payload,
                        qos: publish.qos,
                        retain: publish.retain,
                    });
                }
            }
            Packet::Ack(AckKind::PubRec, ack) if !ack.reason.is_failure() => {
                let release = Ack::new(ack.packet_id, ReasonCode::SUCCESS);
                let bytes = self.client.outgoing.bytes();
                release.encode(AckKind::PubRel, Version::V5, bytes);
            }
            Packet::Ack(_, ack) => tell(Heard::Published {
                code: ack.reason,
                reason: ack.reason_string,
            }),
            Packet::PingResp if std::mem::take(&mut self.awaits_pong) => {
                tell(Heard::Published {
                    code: ReasonCode::SUCCESS,
                    reason: None,
                });
            }
            Packet::SubAck(suback) => {
                let codes = suback.codes.iter().map(|code| ReasonCode(*code));
                for code in codes.filter(|code| code.is_failure()) {
                    tell(Heard::Refused(code));
                }
            }
            Packet::UnsubAck(_) => {}
            Packet::Disconnect(disconnect) => tell(Heard::Gone {
                code: disconnect.reason,
                reason: disconnect.reason_string,
            }),
            _ => return Err(Why::Unexpected(frame.packet_type())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(guest: &mut Guest, bytes: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        let mut tell = |heard: Heard<'_>| all.push(format!("{heard:?}"));
        // Cut anywhere.
        for byte in bytes {
            guest.receive(&[*byte], &mut tell).unwrap();
        }
        all
    }

    fn sent(guest: &mut Guest) -> Vec<u8> {
        let bytes = guest.outgoing().unsent().to_vec();
        guest.outgoing().taken(bytes.len());
        bytes
    }

    #[test]
    fn each_qos_has_one_answer() {
        let mut guest = Guest::new("page", Some("ann"), 1000);
        assert_eq!(sent(&mut guest)[0], 0x10);
        assert_eq!(heard(&mut guest, &[0x20, 3, 0, 0, 0]), ["Accepted"]);
        assert!(guest.publish("a/#", b"x", QoS::AtMostOnce, true).is_err());
        guest.publish("a", b"x", QoS::AtMostOnce, true).unwrap();
        assert_eq!(sent(&mut guest), [0x31, 5, 0, 1, b'a', 0, b'x', 0xC0, 0]);
        let done = format!(
            "Published {{ code: {:?}, reason: None }}",
            ReasonCode::SUCCESS
        );
        assert_eq!(heard(&mut guest, &[0xD0, 0]), [done.as_str()]);
        guest.publish("a", b"x", QoS::ExactlyOnce, false).unwrap();
        assert_eq!(sent(&mut guest), [0x34, 7, 0, 1, b'a', 0, 1, 0, b'x']);
        assert!(heard(&mut guest, &[0x50, 2, 0, 1]).is_empty());
        assert_eq!(sent(&mut guest), [0x62, 2, 0, 1]);
        assert_eq!(heard(&mut guest, &[0x70, 2, 0, 1]), [done]);
        guest.publish("a", b"x", QoS::AtLeastOnce, false).unwrap();
        let refused = [0x40, 7, 0, 2, 0x87, 3, 31, 0, 0];
        let refused = heard(&mut guest, &refused);
        let code = ReasonCode::NOT_AUTHORIZED;
        assert_eq!(
            refused,
            [format!(
                "Published {{ code: {code:?}, reason: Some(\"\") }}"
            )]
        );
    }
}
