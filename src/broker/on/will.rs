//! Wills: kept with the Session, published when the connection ends without a proper DISCONNECT. [v3.1.1 3.1.2.5]

use crate::broker::happening::{Happening, Level};
use crate::broker::outputs::Outputs;
use crate::broker::passing::{Origin, routing_of};
use crate::broker::shard::Shard;
use crate::ids::SessionId;
use crate::session::{Message, StoredWill};
use crate::time::Time;
use crate::wire;
use std::rc::Rc;

/// A will in a form that outlives its CONNECT.
pub(super) fn stored(will: &wire::Will<'_>) -> Box<StoredWill> {
    let mut passed_on = Vec::new();
    will.properties.append_passed_on(&mut passed_on);
    let message = Message::new(
        will.topic.as_str(),
        &passed_on,
        will.payload,
        will.qos,
        will.retain,
        Time::NEVER,
    );
    Box::new(StoredWill {
        message: Rc::new(message),
        delay_interval_s: will.delay_interval_s,
        message_expiry_interval_s: will.properties.message_expiry_interval_s,
    })
}

impl Shard {
    /// Publishes a will as its Client would have.
    pub(in crate::broker) fn publish_will(
        &mut self,
        session: SessionId,
        will: StoredWill,
        out: &mut Outputs,
    ) {
        let message = match will.message_expiry_interval_s {
            None => will.message,
            Some(seconds) => Rc::new(will.message.expiring(self.turn.now().plus_s(seconds))),
        };
        let origin = Origin {
            session: Some(session),
            connection: None,
        };
        if let Some(session) = self.clients.session(session) {
            out.tell(self.logs, Level::Packet, || Happening::WillPublished {
                client_id: session.client_id.clone(),
                topic: message.topic().into(),
                qos: message.qos,
                retain: message.retain,
                payload_bytes: message.payload().len(),
            });
        }
        self.publish(&mut routing_of(&message), origin, out);
    }
}
