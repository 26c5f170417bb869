//! What a Client asks for in CONNECT, in a form that outlives the packet. It is read once, waits while the password is
//! checked, and moves with the connection when that is handed over to another shard.

use crate::session::{Message, StoredWill};
use crate::time::Time;
use crate::wire::{Connect, Version, Will};
use std::fmt;

/// A CONNECT that was read.
pub struct ConnectRequest {
    /// The one the Client asks for; it is served.
    pub version: Version,
    /// The Client says that it is a bridge of another broker. Before v5 only.
    pub bridge: bool,
    /// Before v5: Clean Session.
    pub clean_start: bool,
    /// Seconds; 0 is off.
    pub keep_alive_s: u16,
    /// The Keep Alive is the Server's, in the place of what the Client asked for. [v5 3.2.2.3.14]
    pub keep_alive_is_ours: bool,
    /// The Session Expiry Interval is. [v5 3.2.2.3.2]
    pub session_expiry_is_ours: bool,
    /// Seconds; `u32::MAX` is for ever. Before v5, Clean Session 0 means for ever and 1 means 0.
    pub session_expiry_interval_s: u32,
    /// QoS 1 and 2 PUBLISH packets that the Client takes unacknowledged; 65,535 before v5. [v5 §3.1.2.11.3]
    pub receive_maximum: u16,
    /// The highest Topic Alias that the Client takes; 0 before v5: none.
    pub topic_alias_maximum: u16,
    /// Maximum Packet Size; without one, the largest packet there can be.
    pub packet_bytes_max: usize,
    /// Request Problem Information was 0. [v5 3.1.2.11.7]
    pub silent_about_problems: bool,
    /// Empty if the Server must assign one.
    pub client_id: Box<str>,
    /// As it was sent; not checked yet.
    pub user_name: Option<Box<str>>,
    /// `None`: CONNECT had none.
    pub will: Option<Box<StoredWill>>,
    /// Empty if there is none; an empty password is never right. Kept because the home of the Session may have to check
    /// it again.
    pub password: Box<[u8]>,
}

impl fmt::Debug for ConnectRequest {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("user_name", &self.user_name)
            .finish_non_exhaustive()
    }
}

impl ConnectRequest {
    /// Copies client id, user name, password and will.
    pub fn new(connect: &Connect<'_>) -> ConnectRequest {
        let properties = &connect.properties;
        ConnectRequest {
            version: connect.version,
            bridge: connect.bridge,
            clean_start: connect.clean_start,
            keep_alive_s: connect.keep_alive_s,
            keep_alive_is_ours: false,
            session_expiry_is_ours: false,
            session_expiry_interval_s: match connect.version {
                Version::V5 => properties.session_expiry_interval_s,
                Version::V31 | Version::V311 if connect.clean_start => 0,
                Version::V31 | Version::V311 => u32::MAX,
            },
            receive_maximum: properties.receive_maximum,
            topic_alias_maximum: properties.topic_alias_maximum,
            packet_bytes_max: connect.packet_bytes_max(),
            silent_about_problems: !properties.request_problem_information,
            client_id: connect.client_id.into(),
            user_name: connect.user_name.map(Into::into),
            will: connect.will.as_ref().map(stored),
            password: connect.password.unwrap_or_default().into(),
        }
    }

    /// One that asks for a clean Session and nothing more.
    #[cfg(test)]
    pub fn plain(client_id: &str) -> ConnectRequest {
        ConnectRequest::new(&Connect {
            version: Version::V5,
            bridge: false,
            clean_start: true,
            keep_alive_s: 0,
            properties: Default::default(),
            client_id,
            will: None,
            user_name: None,
            password: None,
        })
    }

    /// Bytes of its texts and its will.
    pub fn bytes(&self) -> usize {
        let user_name = self.user_name.as_deref().map_or(0, str::len);
        let will = self.will.as_ref().map_or(0, |will| will.message.bytes());
        self.client_id.len() + user_name + self.password.len() + will
    }

    /// The same with the copies of user name and password that wait to be checked.
    pub fn bytes_while_checked(&self) -> usize {
        let user_name = self.user_name.as_deref().map_or(0, str::len);
        self.bytes() + user_name + self.password.len()
    }
}

/// A will in a form that outlives its CONNECT.
fn stored(will: &Will<'_>) -> Box<StoredWill> {
    let mut passed_on = Vec::new();
    will.properties.append_passed_on(&mut passed_on);
    let message = Message::new(
        will.topic,
        &passed_on,
        will.payload,
        will.qos,
        will.retain,
        Time::NEVER,
    );
    Box::new(StoredWill {
        message,
        delay_interval_s: will.delay_interval_s,
        message_expiry_interval_s: will.properties.message_expiry_interval_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{QoS, TopicName};

    #[test]
    fn all_that_a_peer_chose_counts() {
        let mut request = ConnectRequest::plain("id");
        assert_eq!(request.bytes(), 2);
        request.user_name = Some("user".into());
        request.password = (*b"password").into();
        assert_eq!(request.bytes(), 2 + 4 + 8);
        assert_eq!(request.bytes_while_checked(), 2 + 2 * (4 + 8));
        let will = stored(&Will {
            qos: QoS::AtMostOnce,
            retain: false,
            topic: TopicName::new("t").expect("a Topic Name"),
            payload: &[0; 1000],
            delay_interval_s: 0,
            properties: Default::default(),
        });
        let will_bytes = will.message.bytes();
        assert!(will_bytes >= 1000);
        request.will = Some(will);
        assert_eq!(request.bytes(), 2 + 4 + 8 + will_bytes);
    }
}
