//! A client that tries the other broker for an operator: it logs in as the bridge does, subscribes to what comes in,
//! and leaves. It publishes nothing, not even a will, and leaves no Session behind.
//!
//! Its client id is that of the bridge and `-test`, so that a bridge that runs is not taken over.

use super::client::{Client, Outgoing};
use super::event::Why;
use super::mapping::Way;
use super::terms::Terms;
use crate::time::Time;
use crate::wire::{
    self, ConnAck, Disconnect, Frame, Packet, PacketId, QoS, ReasonCode, RetainHandling, SubAck,
    Version, packet_type,
};

/// What has come of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The other broker has accepted it.
    Accepted {
        /// The highest QoS that it takes.
        qos_max: QoS,
        /// It takes retained messages.
        retain: bool,
    },
    /// A filter was answered in SUBACK.
    Subscribed {
        /// Which.
        filter: Box<str>,
        /// A QoS, or why not.
        code: u8,
    },
}

/// The client.
#[derive(Debug)]
pub struct Probe {
    terms: Terms,
    client_id: String,
    client: Client,
    done: bool,
}

impl Probe {
    /// Of the bridge that goes by these.
    pub fn new(terms: Terms) -> Probe {
        let client = Client::new(terms.version, terms.packet_bytes_max, 0);
        Probe {
            client_id: format!("{}-test", terms.remote_client_id),
            client,
            done: false,
            terms,
        }
    }

    /// Its client id.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The connection is there.
    pub fn begin(&mut self) {
        self.client
            .reset(self.terms.bridge.topic_alias_max, Time(0));
        let mut connect = self.terms.connect();
        connect.client_id = &self.client_id;
        connect.clean_start = true;
        connect.properties.session_expiry_interval_s = 0;
        connect.will = None;
        connect.encode(self.client.outgoing.bytes());
    }

    /// What is to be sent.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.client.outgoing
    }

    /// All is tried; what is left to be sent is its farewell.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// These bytes have come. Appends what they say.
    ///
    /// Errors: the other broker refuses, or breaks a rule.
    pub fn receive(&mut self, bytes: &[u8], seen: &mut Vec<Seen>) -> Result<(), Why> {
        let received = self.client.take_received(bytes, Time(0));
        let mut at = 0;
        while !self.done {
            let Some(frame) = self.client.frame(&received[at..])? else {
                break;
            };
            self.on_frame(&frame, seen)?;
            at += frame.bytes.len();
        }
        self.client.put_received(received, at);
        Ok(())
    }

    fn on_frame(&mut self, frame: &Frame<'_>, seen: &mut Vec<Seen>) -> Result<(), Why> {
        let packet = wire::decode(Some(self.client.version), frame).map_err(Why::Malformed)?;
        match packet {
            Packet::ConnAck(connack) if !self.client.accepted => self.on_connack(&connack, seen),
            Packet::SubAck(suback) if self.client.accepted => self.on_suback(&suback, seen),
            // A retained message. It is not acknowledged, and goes with the Session.
            Packet::Publish(_) if self.client.accepted => Ok(()),
            Packet::Disconnect(disconnect) if self.client.version == Version::V5 => {
                Err(Why::disconnected(&disconnect))
            }
            _ => Err(Why::Unexpected(frame.packet_type())),
        }
    }

    fn on_connack(&mut self, connack: &ConnAck<'_>, seen: &mut Vec<Seen>) -> Result<(), Why> {
        if connack.code != 0 {
            return Err(Why::refused(self.client.version, connack));
        }
        self.client.accept(connack, 0);
        seen.push(Seen::Accepted {
            qos_max: self.client.takes.qos_max,
            retain: self.client.takes.retain,
        });
        let wanted = self.terms.mapping.filters(Way::In);
        let retain_handling = RetainHandling::DoNotSend;
        if !self
            .client
            .subscribe(PacketId::MAX, &wanted, retain_handling)
        {
            self.leave();
        }
        Ok(())
    }

    fn on_suback(&mut self, suback: &SubAck<'_>, seen: &mut Vec<Seen>) -> Result<(), Why> {
        let answers = self.terms.mapping.answers(Way::In, suback.codes);
        let answers = answers.ok_or(Why::Unexpected(packet_type::SUBACK))?;
        seen.extend(answers.map(|(filter, code)| Seen::Subscribed {
            filter: filter.into(),
            code,
        }));
        self.leave();
        Ok(())
    }

    fn leave(&mut self) {
        let bytes = self.client.outgoing.bytes();
        Disconnect::new(ReasonCode::SUCCESS).encode(self.client.version, bytes);
        self.done = true;
    }
}
