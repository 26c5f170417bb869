//! Wills: kept with the Session, published when the connection ends without a proper DISCONNECT. [v3.1.1 3.1.2.5]

use crate::broker::happening::{Happening, LogLevel};
use crate::broker::outputs::Outputs;
use crate::broker::passing::{Origin, routing_of};
use crate::broker::shard::Shard;
use crate::ids::SessionId;
use crate::session::StoredWill;
use std::rc::Rc;

impl Shard {
    /// Publishes a will as its Client would have.
    pub(in crate::broker) fn publish_will(
        &mut self,
        session: SessionId,
        will: StoredWill,
        out: &mut Outputs,
    ) {
        let mut message = will.message;
        self.clients.book_message(session, &mut message);
        let message = Rc::new(match will.message_expiry_interval_s {
            None => message,
            Some(seconds) => message.expiring(self.turn.now().plus_s(seconds)),
        });
        let origin = Origin {
            session: Some(session),
            connection: None,
        };
        if let Some(session) = self.clients.session(session) {
            out.tell(self.logs, LogLevel::Packet, || Happening::WillPublished {
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
