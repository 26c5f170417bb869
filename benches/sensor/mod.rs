//! Packets of a sensor, for the benches of the codec.

use mqttfast::wire::{
    self, Connect, ConnectProperties, Delivery, Packet, PacketId, Publish, PublishProperties, QoS,
    TopicName, Version, Will,
};

/// 22 bytes in four levels, as a sensor would have.
const TOPIC: &str = "site/hall-07/temp/1234";

pub fn publish(qos: QoS, payload: &[u8]) -> Publish<'_> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(TopicName::new(TOPIC).expect("a Topic Name")),
        packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
        properties: PublishProperties::default(),
        payload,
    }
}

/// A CONNECT whose Will has the given payload.
pub fn connect(version: Version, payload: &[u8]) -> Connect<'_> {
    Connect {
        version,
        bridge: false,
        clean_start: true,
        keep_alive_s: 60,
        properties: ConnectProperties::default(),
        client_id: "hall-07-sensor-1234",
        will: Some(Will {
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: TopicName::new(TOPIC).expect("a Topic Name"),
            payload,
            delay_interval_s: 0,
            properties: PublishProperties::default(),
        }),
        user_name: Some("hall-07"),
        password: Some(b"correct horse battery staple"),
    }
}

pub fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode(packet, version, &mut bytes);
    bytes
}

/// The head of the same PUBLISH as the broker writes it for a subscriber.
pub fn delivery(qos: QoS, payload_bytes: usize) -> Delivery<'static> {
    Delivery {
        dup: false,
        qos,
        retain: false,
        topic: TOPIC,
        packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
        topic_alias: None,
        message_expiry_interval_s: None,
        subscription_identifiers: &[],
        passed_on: &[],
        payload_bytes,
    }
}
