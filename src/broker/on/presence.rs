//! Presence: `$SYS/broker/clients/CLIENT/state` says of each Session whether its Client is connected, where the
//! operator wants that (`Settings::presence`).
//!
//! ```text
//! CONNACK accepts          online, retained
//! the connection ends      offline, retained while the Session goes on
//! the Session ends         the retained message is deleted
//! ```
//!
//! A takeover is no end. The messages are the broker's own, and count in the account book for the owner of the Session:
//! there is one for each Session at most, and none where memory is short and the owner has had a fair share. Like all
//! below `$SYS` they are not stored: after a restart of the broker a Client has its topic again when it is back.

use crate::broker::event::Ending;
use crate::broker::outputs::Outputs;
use crate::broker::passing::OwnMessage;
use crate::broker::shard::Shard;
use crate::budget::Refused;
use crate::ids::SessionId;
use crate::wire::QoS;
use std::fmt::Write;

const ONLINE: &[u8] = b"online";
const OFFLINE: &[u8] = b"offline";

/// The Topic Name for a client id. What no single level can hold, and `%` itself, is written as in a URL: `%2F` for
/// `/`. Longer than 65,535 bytes it is no Topic Name.
fn topic_of(client_id: &str) -> String {
    let mut topic = String::from("$SYS/broker/clients/");
    for character in client_id.chars() {
        match character {
            '/' | '+' | '#' | '%' => {
                let _ = write!(topic, "%{:02X}", u32::from(character));
            }
            character => topic.push(character),
        }
    }
    topic.push_str("/state");
    topic
}

impl Shard {
    /// CONNACK has accepted the Client.
    pub(super) fn show_online(&mut self, id: SessionId, out: &mut Outputs) {
        self.show(id, ONLINE, true, out);
    }

    /// The Network Connection of the Session has ended. `goes_on`: the Session has not.
    pub(super) fn show_offline(
        &mut self,
        id: SessionId,
        ending: Ending,
        goes_on: bool,
        out: &mut Outputs,
    ) {
        if !matches!(ending, Ending::TakenOver { .. }) {
            self.show(id, OFFLINE, goes_on, out);
        }
    }

    /// The Session is about to end.
    pub(super) fn forget_presence(&mut self, id: SessionId, out: &mut Outputs) {
        self.show(id, b"", true, out);
    }

    fn show(&mut self, id: SessionId, state: &[u8], retain: bool, out: &mut Outputs) {
        if !self.clients.settings().presence {
            return;
        }
        let Some(session) = self.clients.session(id) else {
            return;
        };
        let topic = topic_of(&session.client_id);
        let is_new = retain && !self.topics.frees(&topic, 0);
        // Of a Session that came out of the store there may be none to delete.
        if is_new && state.is_empty() {
            return;
        }
        let Ok(OwnMessage(mut message)) = OwnMessage::new(&topic, state, QoS::AtLeastOnce, retain)
        else {
            return;
        };
        if is_new
            && self.clients.is_short()
            && !self
                .clients
                .may_take(id, topic.len(), Refused::Message, out)
        {
            return;
        }
        self.clients.book_message(id, &mut message);
        self.publish_own(OwnMessage(message), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_id_is_one_level_and_its_own() {
        for (client_id, level) in [
            ("lamp", "lamp"),
            ("a/b", "a%2Fb"),
            ("a%2Fb", "a%252Fb"),
            ("#", "%23"),
            ("+é$", "%2Bé$"),
        ] {
            assert_eq!(
                topic_of(client_id),
                format!("$SYS/broker/clients/{level}/state")
            );
        }
    }
}
