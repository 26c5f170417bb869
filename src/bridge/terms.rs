//! What one bridge goes by: its section of the configuration, with all names made.

use super::mapping::Mapping;
use crate::config::mosquitto::Bridge;
use crate::limits;
use crate::wire::{TopicName, Version};

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
