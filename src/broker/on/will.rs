//! Wills: kept with the Session, published when the connection ends without a proper DISCONNECT. [v3.1.1 3.1.2.5]

use crate::broker::happening::{Happening, LogLevel};
use crate::broker::outputs::Outputs;
use crate::broker::passing::{Origin, routing_of};
use crate::broker::shard::Shard;
use crate::ids::SessionId;
use crate::session::{ConnectRequest, StoredWill};
use std::rc::Rc;

impl Shard {
    /// A Client connects. If it was connected when the broker ended and has no stored Session, it takes its will back.
    /// If it is another user's Client, that will is due. [v3.1.1 MQTT-3.1.2-8]
    pub(super) fn end_will_alone(
        &mut self,
        client_id: &str,
        request: &ConnectRequest,
        out: &mut Outputs,
    ) {
        let Some(id) = self.clients.find_session(client_id) else {
            return;
        };
        let Some(session) = self.clients.session(id) else {
            return;
        };
        if !session.is_will_alone() {
            return;
        }
        if session.user_name() == request.user_name.as_deref() {
            self.clients.take_will(id);
        }
        self.end_session(id, out);
    }

    /// Publishes a will as its Client would have.
    pub(in crate::broker) fn publish_will(
        &mut self,
        session: SessionId,
        will: StoredWill,
        out: &mut Outputs,
    ) {
        let mut message = will.message;
        self.clients.sign(session, &self.rights, &mut message);
        self.clients.book_message(session, &mut message);
        let most = self.retain_expiry_s(message.retain);
        let asked = will.message_expiry_interval_s;
        let expiry = match (asked, most) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (asked, most) => asked.or(most),
        };
        let message = Rc::new(match expiry {
            None => message,
            Some(seconds) => message.expiring(self.turn.now().plus_s(seconds)),
        });
        let origin = Origin {
            session: Some(session),
            connection: None,
        };
        if let Some(session) = self.clients.session(session) {
            out.tell(self.logs, LogLevel::Packet, || Happening::WillPublished {
                client_id: (&session.client_id).into(),
                topic: message.topic().into(),
                qos: message.qos,
                retain: message.retain,
                payload_bytes: message.payload().len(),
            });
        }
        self.publish::<false>(&mut routing_of(&message), origin, out);
    }
}
