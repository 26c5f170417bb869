//! What one bridge goes by: its section of the configuration, with all names made.

use super::mapping::Mapping;
use crate::config::mosquitto::Bridge;
use crate::limits;
use crate::wire::{Connect, ConnectProperties, QoS, TopicName, Version, Will};

/// What the state topic says.
pub const STATES: [&[u8]; 2] = [b"0", b"1"];

/// What a bridge goes by.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Its section.
    pub bridge: Bridge,
    /// Client id at the other broker.
    pub remote_client_id: String,
    /// Client id of its Session here.
    pub local_client_id: String,
    /// Which Topic Name is which.
    pub mapping: Mapping,
    /// What is spoken to the other broker.
    pub version: Version,
    /// Where 1 or 0 says whether it is connected; `None`: nowhere.
    pub notification: Option<String>,
    /// The largest packet it takes from the other broker.
    pub packet_bytes_max: u32,
}

impl Terms {
    /// `host`: the name of this machine.
    pub fn new(bridge: &Bridge, host: &str) -> Terms {
        let remote = bridge.remote_client_id.clone();
        let remote = remote.unwrap_or_else(|| format!("{host}.{}", bridge.name));
        let local = bridge.local_client_id.clone();
        let topic = match &bridge.notification_topic {
            Some(topic) => topic.clone(),
            None => format!("$SYS/broker/connection/{remote}/state"),
        };
        let usable = bridge.notifications && TopicName::new(&topic).is_ok();
        let most = limits::BRIDGE_PACKET_BYTES_MAX;
        Terms {
            local_client_id: local.unwrap_or_else(|| format!("local.{remote}")),
            remote_client_id: remote,
            mapping: Mapping::new(&bridge.topics),
            version: match bridge.protocol_version {
                3 => Version::V31,
                5 => Version::V5,
                _ => Version::V311,
            },
            notification: usable.then_some(topic),
            packet_bytes_max: bridge
                .packet_bytes_max
                .map_or(most, |bytes| bytes.min(most)),
            bridge: bridge.clone(),
        }
    }

    /// What is said to the other broker first.
    pub fn connect(&self) -> Connect<'_> {
        let bridge = &self.bridge;
        let user_name = bridge.remote_user.as_deref();
        let password = bridge.remote_password.as_deref().map(str::as_bytes);
        let v5 = self.version == Version::V5;
        let topic = self.remote_notification();
        Connect {
            version: self.version,
            bridge: bridge.try_private && !v5,
            clean_start: bridge.clean_session,
            keep_alive_s: bridge.keep_alive_s,
            properties: match v5 {
                true => ConnectProperties {
                    session_expiry_interval_s: match bridge.session_expiry_s {
                        0 if !bridge.clean_session => u32::MAX,
                        seconds => seconds,
                    },
                    receive_maximum: bridge.receive_maximum,
                    maximum_packet_size: Some(self.packet_bytes_max),
                    topic_alias_maximum: bridge.topic_alias_max,
                    ..Default::default()
                },
                false => ConnectProperties::default(),
            },
            client_id: &self.remote_client_id,
            will: topic
                .and_then(|topic| TopicName::new(topic).ok())
                .map(|topic| Will {
                    qos: QoS::AtLeastOnce,
                    retain: true,
                    topic,
                    payload: STATES[0],
                    delay_interval_s: 0,
                    properties: Default::default(),
                }),
            user_name,
            // Only v5 has a password without a name [v3.1.1 MQTT-3.1.2-22].
            password: password.filter(|_| v5 || user_name.is_some()),
        }
    }

    /// What is said to this broker first. `receive_maximum`: of the other broker.
    pub fn connect_local(&self, receive_maximum: u16) -> Connect<'_> {
        let clean = self.bridge.local_clean_session;
        Connect {
            version: Version::V5,
            bridge: false,
            clean_start: clean,
            keep_alive_s: 0,
            properties: ConnectProperties {
                session_expiry_interval_s: if clean { 0 } else { u32::MAX },
                receive_maximum,
                ..Default::default()
            },
            client_id: &self.local_client_id,
            will: None,
            user_name: self.bridge.local_user.as_deref(),
            password: None,
        }
    }

    /// The state topic at the other broker.
    pub fn remote_notification(&self) -> Option<&str> {
        let told = !self.bridge.notifications_local_only;
        self.notification.as_deref().filter(|_| told)
    }

    /// The other broker sends back what this bridge publishes there.
    pub fn is_echoed(&self) -> bool {
        self.version != Version::V5 && !self.bridge.try_private
    }
}
