//! What a packet says, as a list of names and values: the one form in which a packet as composed and a packet as
//! decoded are compared.

use mqttfast::wire::{
    Ack, AckKind, ConnAck, Connect, Packet, Publish, PublishProperties, QoS, UserProperties,
    Version, Will,
};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// By name; the last word counts.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Said(BTreeMap<&'static str, String>);

/// Whose Properties are read or written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Saying {
    Plain,
    Publish,
    Will,
}

/// The name under which each Property is said, by its identifier.
pub const NAMES: [&str; 0x2B] = {
    let mut names = [""; 0x2B];
    names[0x01] = "payload_format_utf8";
    names[0x02] = "message_expiry_interval_s";
    // Content Type and Correlation Data are only passed on.
    names[0x03] = "-";
    names[0x08] = "response_topic";
    names[0x09] = "-";
    names[0x0B] = "subscription_identifiers";
    names[0x11] = "session_expiry_interval_s";
    names[0x12] = "assigned_client_identifier";
    names[0x13] = "server_keep_alive_s";
    names[0x15] = "authentication_method";
    names[0x16] = "authentication_data";
    names[0x17] = "request_problem_information";
    names[0x18] = "delay_interval_s";
    names[0x19] = "request_response_information";
    names[0x1A] = "response_information";
    names[0x1C] = "server_reference";
    names[0x1F] = "reason_string";
    names[0x21] = "receive_maximum";
    names[0x22] = "topic_alias_maximum";
    names[0x23] = "topic_alias";
    names[0x24] = "maximum_qos";
    names[0x25] = "retain_available";
    names[0x26] = "user_properties";
    names[0x27] = "maximum_packet_size";
    names[0x28] = "wildcard_subscription_available";
    names[0x29] = "subscription_identifier_available";
    names[0x2A] = "shared_subscription_available";
    names
};

impl Saying {
    /// The name of a Property, in a Will with that before it.
    pub fn name(self, name: &'static str) -> &'static str {
        match (self, name) {
            (Saying::Will, "payload_format_utf8") => "will_payload_format_utf8",
            (Saying::Will, "message_expiry_interval_s") => "will_message_expiry_interval_s",
            (Saying::Will, "response_topic") => "will_response_topic",
            (Saying::Will, "delay_interval_s") => "will_delay_interval_s",
            (Saying::Will, "passed_on") => "will_passed_on",
            (_, name) => name,
        }
    }

    pub fn is_of_a_message(self) -> bool {
        self != Saying::Plain
    }
}

impl Said {
    pub fn say(&mut self, name: &'static str, value: impl Debug) {
        if name != "-" {
            self.0.insert(name, format!("{value:?}"));
        }
    }

    /// Their number and a hash (FNV-1a): there may be millions.
    pub fn say_bytes(&mut self, name: &'static str, bytes: &[u8]) {
        let hash = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        self.say(name, (bytes.len(), hash));
    }

    fn say_if(&mut self, name: &'static str, value: Option<impl Debug>) {
        if let Some(value) = value {
            self.say(name, value);
        }
    }

    fn users(&mut self, user_properties: &UserProperties<'_>) {
        self.say(
            "user_properties",
            user_properties.iter().collect::<Vec<_>>(),
        );
    }

    /// What a decoded packet says.
    pub fn of(packet: &Packet<'_>, version: Version) -> Said {
        let mut said = Said::default();
        let packet_type: u8 = match packet {
            Packet::Connect(connect) => {
                said.connect(connect);
                1
            }
            Packet::ConnAck(connack) => {
                said.connack(connack);
                2
            }
            Packet::Publish(publish) => {
                said.publish(publish);
                3
            }
            Packet::Ack(AckKind::PubAck, ack) => said.ack(ack, 4),
            Packet::Ack(AckKind::PubRec, ack) => said.ack(ack, 5),
            Packet::Ack(AckKind::PubRel, ack) => said.ack(ack, 6),
            Packet::Ack(AckKind::PubComp, ack) => said.ack(ack, 7),
            Packet::Subscribe(subscribe) => {
                said.say("packet_id", subscribe.packet_id);
                let identifier = subscribe.subscription_identifier;
                said.say_if(NAMES[0x0B], identifier.map(|identifier| [identifier]));
                said.users(&subscribe.user_properties);
                let filters = subscribe.filters().map(|(filter, options)| {
                    let handling = options.retain_handling as u8;
                    let qos = options.qos as u8;
                    (
                        filter,
                        qos,
                        options.no_local,
                        options.retain_as_published,
                        handling,
                    )
                });
                said.say("filters", filters.collect::<Vec<_>>());
                8
            }
            Packet::SubAck(suback) => {
                said.say("packet_id", suback.packet_id);
                said.say("codes", suback.codes);
                said.say_if("reason_string", suback.reason_string);
                said.users(&suback.user_properties);
                9
            }
            Packet::Unsubscribe(unsubscribe) => {
                said.say("packet_id", unsubscribe.packet_id);
                said.users(&unsubscribe.user_properties);
                said.say("filters", unsubscribe.filters().collect::<Vec<_>>());
                10
            }
            Packet::UnsubAck(unsuback) => {
                said.say("packet_id", unsuback.packet_id);
                if version == Version::V5 {
                    said.say("codes", unsuback.codes);
                    said.users(&unsuback.user_properties);
                }
                said.say_if("reason_string", unsuback.reason_string);
                11
            }
            Packet::PingReq => 12,
            Packet::PingResp => 13,
            Packet::Disconnect(disconnect) => {
                said.say("code", disconnect.reason.0);
                said.say_if(NAMES[0x11], disconnect.session_expiry_interval_s);
                said.say_if(NAMES[0x1C], disconnect.server_reference);
                said.say_if(NAMES[0x1F], disconnect.reason_string);
                said.users(&disconnect.user_properties);
                14
            }
            Packet::Auth(auth) => {
                said.say("code", auth.reason.0);
                said.say_if(NAMES[0x15], auth.authentication_method);
                said.say_if(NAMES[0x16], auth.authentication_data);
                said.say_if(NAMES[0x1F], auth.reason_string);
                said.users(&auth.user_properties);
                15
            }
        };
        said.say("packet_type", packet_type);
        said
    }

    fn ack(&mut self, ack: &Ack<'_>, packet_type: u8) -> u8 {
        self.say("packet_id", ack.packet_id);
        self.say("code", ack.reason.0);
        self.say_if("reason_string", ack.reason_string);
        self.users(&ack.user_properties);
        packet_type
    }

    fn message(&mut self, saying: Saying, properties: &PublishProperties<'_>) {
        self.say(saying.name(NAMES[0x01]), properties.payload_format_utf8);
        self.say_if(
            saying.name(NAMES[0x02]),
            properties.message_expiry_interval_s,
        );
        self.say_if(saying.name(NAMES[0x08]), properties.response_topic);
        self.say_if("topic_alias", properties.topic_alias);
        let identifiers: Vec<u32> = properties.subscription_identifiers().collect();
        self.say_if(
            NAMES[0x0B],
            (!identifiers.is_empty()).then_some(identifiers),
        );
        let mut passed_on = Vec::new();
        properties.append_passed_on(&mut passed_on);
        self.say_bytes(saying.name("passed_on"), &passed_on);
    }

    fn publish(&mut self, publish: &Publish<'_>) {
        self.say("dup", publish.dup);
        self.say("qos", publish.qos as u8);
        self.say("retain", publish.retain);
        self.say_if("topic", publish.topic.map(|topic| topic.as_str()));
        self.say_if("packet_id", publish.packet_id);
        self.message(Saying::Publish, &publish.properties);
        self.say_bytes("payload", publish.payload);
    }

    fn connect(&mut self, connect: &Connect<'_>) {
        let properties = &connect.properties;
        let level = match connect.version {
            Version::V31 => 3,
            Version::V311 => 4,
            Version::V5 => 5,
        };
        self.say("level", level);
        self.say("bridge", connect.bridge);
        self.say("clean_start", connect.clean_start);
        self.say("keep_alive_s", connect.keep_alive_s);
        self.say(NAMES[0x11], properties.session_expiry_interval_s);
        self.say(NAMES[0x21], properties.receive_maximum);
        self.say_if(NAMES[0x27], properties.maximum_packet_size);
        self.say(NAMES[0x22], properties.topic_alias_maximum);
        self.say(NAMES[0x19], properties.request_response_information);
        self.say(NAMES[0x17], properties.request_problem_information);
        self.say_if(NAMES[0x15], properties.authentication_method);
        self.say_if(NAMES[0x16], properties.authentication_data);
        self.users(&properties.user_properties);
        self.say("client_id", connect.client_id);
        if let Some(will) = &connect.will {
            self.will(will);
        }
        self.say_if("user_name", connect.user_name);
        self.say_if("password", connect.password);
    }

    fn will(&mut self, will: &Will<'_>) {
        self.say("will_qos", will.qos as u8);
        self.say("will_retain", will.retain);
        self.say("will_delay_interval_s", will.delay_interval_s);
        self.message(Saying::Will, &will.properties);
        self.say("will_topic", will.topic.as_str());
        self.say_bytes("will_payload", will.payload);
    }

    fn connack(&mut self, connack: &ConnAck<'_>) {
        let properties = &connack.properties;
        self.say("session_present", connack.session_present);
        self.say("code", connack.code);
        self.say_if(NAMES[0x11], properties.session_expiry_interval_s);
        self.say_if(NAMES[0x12], properties.assigned_client_identifier);
        self.say_if(NAMES[0x13], properties.server_keep_alive_s);
        self.say_if(NAMES[0x15], properties.authentication_method);
        self.say_if(NAMES[0x16], properties.authentication_data);
        self.say_if(NAMES[0x1A], properties.response_information);
        self.say_if(NAMES[0x1C], properties.server_reference);
        self.say_if(NAMES[0x1F], properties.reason_string);
        self.say_if(NAMES[0x21], properties.receive_maximum);
        self.say_if(NAMES[0x22], properties.topic_alias_maximum);
        let one = properties.maximum_qos.map(|qos| qos == QoS::AtLeastOnce);
        self.say_if(NAMES[0x24], one);
        self.say_if(NAMES[0x25], properties.retain_available);
        self.users(&properties.user_properties);
        self.say_if(NAMES[0x27], properties.maximum_packet_size);
        self.say_if(NAMES[0x28], properties.wildcard_subscription_available);
        self.say_if(NAMES[0x29], properties.subscription_identifier_available);
        self.say_if(NAMES[0x2A], properties.shared_subscription_available);
    }
}
