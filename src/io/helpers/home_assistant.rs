//! The broker as a device of Home Assistant: one retained message that describes it, and one topic below `$SYS` with
//! its state. [<https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>]
//!
//! Home Assistant subscribes to the state when it has seen the description, so the state is published while Home
//! Assistant is there and not otherwise.

use crate::broker::OwnMessage;
use crate::ids::ShardId;
use crate::io::mail::{Shards, ToShard};
use crate::wire::QoS;
use serde_json::{Map, Value, json};

/// Where Home Assistant looks for devices. `homeassistant` is its prefix unless it is set otherwise.
const CONFIG_TOPIC: &str = "homeassistant/device/mqttfast/config";
/// Below `$SYS/broker/`.
pub const HEALTH_TOPIC: &str = "mqttfast/health";

/// What the state says; each is an entity.
#[derive(Clone, PartialEq, Debug)]
pub struct Health {
    /// Connected Clients.
    pub clients: u64,
    /// PUBLISH packets of Clients, a second, since the last state.
    pub received_per_s: f64,
    /// PUBLISH packets to Clients, a second, since the last state.
    pub sent_per_s: f64,
    /// Retained messages, those below `$SYS` too.
    pub retained: u64,
    /// Bytes of the process that are no file's.
    pub memory_bytes: u64,
    /// Since the start.
    pub uptime_s: u64,
    /// `none` without one.
    pub store: String,
}

impl Health {
    /// One JSON object.
    pub fn state(&self) -> String {
        let tenths = |rate: f64| (rate * 10.0).round() / 10.0;
        let state = json!({
            "clients": self.clients,
            "received_per_s": tenths(self.received_per_s),
            "sent_per_s": tenths(self.sent_per_s),
            "retained": self.retained,
            "memory_bytes": self.memory_bytes,
            "uptime_s": self.uptime_s,
            "version": env!("CARGO_PKG_VERSION"),
            "store": self.store,
        });
        state.to_string()
    }
}

/// An entity: its field of the state, its name, and what Home Assistant is told of the value.
struct Entity {
    field: &'static str,
    name: &'static str,
    unit: Option<&'static str>,
    class: Option<&'static str>,
    is_measured: bool,
    is_diagnostic: bool,
}

const fn entity(field: &'static str, name: &'static str) -> Entity {
    Entity {
        field,
        name,
        unit: None,
        class: None,
        is_measured: false,
        is_diagnostic: false,
    }
}

const ENTITIES: [Entity; 8] = [
    Entity {
        unit: Some("clients"),
        is_measured: true,
        ..entity("clients", "Connected clients")
    },
    Entity {
        unit: Some("msg/s"),
        is_measured: true,
        ..entity("received_per_s", "Messages in")
    },
    Entity {
        unit: Some("msg/s"),
        is_measured: true,
        ..entity("sent_per_s", "Messages out")
    },
    Entity {
        unit: Some("messages"),
        is_measured: true,
        ..entity("retained", "Retained messages")
    },
    Entity {
        unit: Some("B"),
        class: Some("data_size"),
        is_measured: true,
        is_diagnostic: true,
        ..entity("memory_bytes", "Memory")
    },
    Entity {
        unit: Some("s"),
        class: Some("duration"),
        is_measured: true,
        is_diagnostic: true,
        ..entity("uptime_s", "Uptime")
    },
    Entity {
        is_diagnostic: true,
        ..entity("version", "Version")
    },
    Entity {
        is_diagnostic: true,
        ..entity("store", "Store")
    },
];

/// The description: a device, who says so, and its entities.
fn description() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut components = Map::new();
    for entity in ENTITIES {
        let id = format!("mqttfast_{}", entity.field);
        let mut component = json!({
            "p": "sensor",
            "unique_id": id,
            "name": entity.name,
            "value_template": format!("{{{{ value_json.{} }}}}", entity.field),
        });
        let mut put = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                component[name] = Value::from(value);
            }
        };
        put("unit_of_measurement", entity.unit);
        put("device_class", entity.class);
        put("state_class", entity.is_measured.then_some("measurement"));
        put(
            "entity_category",
            entity.is_diagnostic.then_some("diagnostic"),
        );
        components.insert(id, component);
    }
    let description = json!({
        "dev": {
            "ids": "mqttfast",
            "name": "mqttfast",
            "mf": "mqttfast",
            "mdl": "MQTT broker",
            "sw": version,
        },
        "o": { "name": "mqttfast", "sw": version },
        "cmps": components,
        "state_topic": format!("$SYS/broker/{HEALTH_TOPIC}"),
    });
    description.to_string()
}

/// Publishes the description, or takes it back.
pub fn announce(shards: &Shards, wanted: bool) {
    let text = match wanted {
        true => description(),
        false => String::new(),
    };
    let message = OwnMessage::new(CONFIG_TOPIC, text.as_bytes(), QoS::AtLeastOnce, true);
    if let Ok(message) = message {
        shards.tell_surely(ShardId(0), ToShard::Publish(message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each entity has what Home Assistant asks for, and its value is in the state.
    #[test]
    fn entities_and_state_fit_each_other() {
        let health = Health {
            clients: 3,
            received_per_s: 1.26,
            sent_per_s: 0.0,
            retained: 7,
            memory_bytes: 4_096,
            uptime_s: 60,
            store: "none".to_owned(),
        };
        let state: Value = serde_json::from_str(&health.state()).unwrap();
        let fields = state.as_object().unwrap();
        assert_eq!(
            (&state["clients"], &state["received_per_s"]),
            (&3.into(), &1.3.into())
        );
        let said: Value = serde_json::from_str(&description()).unwrap();
        assert_eq!(said["state_topic"], "$SYS/broker/mqttfast/health");
        assert!(said["dev"]["ids"].is_string() && said["o"]["name"].is_string());
        let components = said["cmps"].as_object().unwrap();
        assert_eq!(components.len(), fields.len());
        for (id, component) in components {
            assert_eq!(component["unique_id"], **id);
            assert_eq!(component["p"], "sensor");
            let template = component["value_template"].as_str().unwrap();
            let field = template.strip_prefix("{{ value_json.").unwrap();
            let field = field.strip_suffix(" }}").unwrap();
            // A state class is for numbers, and numbers have a unit.
            let is_number = fields[field].is_number();
            assert_eq!(component["state_class"] == "measurement", is_number, "{id}");
            assert_eq!(
                component["unit_of_measurement"].is_string(),
                is_number,
                "{id}"
            );
        }
    }
}
