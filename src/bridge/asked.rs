//! What is asked first, when both brokers have accepted a bridge, and whether it is answered.
//!
//! This broker is asked for what goes out. The other one is asked for what comes in, is asked to forget what an older
//! configuration may have subscribed to, and is told the state.

use super::mapping::Way;
use super::relay::Relay;
use super::terms::{STATES, Terms};
use crate::limits;
use crate::wire::{Delivery, PacketId, QoS, RetainHandling, append_unsubscribe};

/// Packet Identifiers of what is asked first. This broker's messages cross with identifiers of its choice, which are
/// all below.
const SUBSCRIBE_ID: PacketId = PacketId::MAX;
const UNSUBSCRIBE_ID: PacketId = PacketId::new(65_534).expect("not 0");
/// Of the PUBLISH that tells the other broker the state.
pub const STATE_ID: PacketId = PacketId::new(65_533).expect("not 0");
const _: () = assert!(STATE_ID.get() > limits::PACKET_ID_MOST);

/// What the brokers have not answered yet.
#[derive(Default, Debug)]
pub struct Asked {
    /// Of the other broker: SUBSCRIBE, UNSUBSCRIBE, state.
    ids: Vec<PacketId>,
    /// The other broker is asked when this one has answered SUBSCRIBE.
    asks_later: bool,
}

impl Asked {
    /// Both brokers have accepted us. Where the Session here is new, the other broker is asked when this one has
    /// answered SUBSCRIBE: who sees the state 1 may publish at once, and nothing of that is missed. An older Session is
    /// subscribed already.
    pub fn begin(&mut self, local_present: bool, terms: &Terms, relay: &mut Relay) {
        self.ids.clear();
        let subscribes = subscribe_local(RetainHandling::SendAtSubscribe, terms, relay);
        self.asks_later = subscribes && !local_present;
        if !self.asks_later {
            self.ask_remote(terms, relay);
        }
    }

    /// This broker has answered SUBSCRIBE.
    pub fn local_answered(&mut self, terms: &Terms, relay: &mut Relay) {
        if std::mem::take(&mut self.asks_later) {
            self.ask_remote(terms, relay);
        }
    }

    fn ask_remote(&mut self, terms: &Terms, relay: &mut Relay) {
        let only_out = terms.mapping.only_out();
        if terms.bridge.unsubscribe && !only_out.is_empty() {
            let bytes = relay.remote.outgoing.bytes();
            append_unsubscribe(terms.version, UNSUBSCRIBE_ID, &only_out, bytes);
            self.ids.push(UNSUBSCRIBE_ID);
        }
        let wanted = terms.mapping.filters(Way::In);
        let retain_handling = RetainHandling::SendAtSubscribe;
        if relay
            .remote
            .subscribe(SUBSCRIBE_ID, &wanted, retain_handling)
        {
            self.ids.push(SUBSCRIBE_ID);
        }
        if append_state(true, terms, relay) {
            self.ids.push(STATE_ID);
        }
    }

    /// The other broker has answered this; `false`: it was not asked.
    pub fn remote_answered(&mut self, id: PacketId) -> bool {
        let index = self.ids.iter().position(|asked| *asked == id);
        index.map(|index| self.ids.swap_remove(index)).is_some()
    }

    /// All is answered.
    pub fn is_over(&self) -> bool {
        self.ids.is_empty() && !self.asks_later
    }
}

/// Subscribes at this broker to what goes out. `false`: nothing does.
pub fn subscribe_local(retain_handling: RetainHandling, terms: &Terms, relay: &mut Relay) -> bool {
    let wanted = terms.mapping.filters(Way::Out);
    relay
        .local
        .subscribe(SUBSCRIBE_ID, &wanted, retain_handling)
}

/// Appends the state for the other broker; `true`: with QoS 1. `false`: there is no such topic there, or it takes QoS 0
/// alone.
pub fn append_state(up: bool, terms: &Terms, relay: &mut Relay) -> bool {
    let Some(topic) = terms.remote_notification() else {
        return false;
    };
    let takes = relay.remote.takes;
    let qos = takes.qos_max.min(QoS::AtLeastOnce);
    let payload = STATES[usize::from(up)];
    let bytes = relay.remote.outgoing.bytes();
    Delivery {
        dup: false,
        qos,
        retain: takes.retain,
        topic,
        packet_id: (qos == QoS::AtLeastOnce).then_some(STATE_ID),
        topic_alias: None,
        message_expiry_interval_s: None,
        subscription_identifiers: &[],
        passed_on: &[],
        payload_bytes: payload.len(),
    }
    .append_head(terms.version, bytes);
    bytes.extend_from_slice(payload);
    qos == QoS::AtLeastOnce
}
