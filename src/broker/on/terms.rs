//! What the operator's settings make of a CONNECT and of a PUBLISH: what they forbid, and what they put in the place of
//! what a Client asks for.

use crate::broker::happening::Refusal;
use crate::broker::shard::Shard;
use crate::broker::violation::Violation;
use crate::config::{ListenerSettings, Settings};
use crate::ids::ConnectionId;
use crate::session::ConnectRequest;
use crate::wire::reason::ReasonCode;
use crate::wire::{Publish, TopicName, Version};

/// Changes a CONNECT to what it gets here.
///
/// Errors: it is refused, with the code of CONNACK.
pub(super) fn put_terms(
    request: &mut ConnectRequest,
    listener: &ListenerSettings,
    settings: &Settings,
) -> Result<(), (ReasonCode, Refusal)> {
    let before_v5 = request.version != Version::V5;
    if !listener.versions[request.version as usize] {
        let code = ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;
        return Err((code, Refusal::VersionNotServed));
    }
    if request.client_id.is_empty() && !listener.empty_client_id {
        let code = ReasonCode::CLIENT_IDENTIFIER_NOT_VALID;
        return Err((code, Refusal::NoClientId));
    }
    if listener.user_name_is_client_id {
        match &request.user_name {
            Some(user_name) if !user_name.is_empty() => request.client_id = user_name.clone(),
            _ => return Err((ReasonCode::NOT_AUTHORIZED, Refusal::NoUserName)),
        }
    }
    if let Some(prefix) = &settings.client_id_prefix
        && !request.client_id.starts_with(&**prefix)
    {
        return Err((ReasonCode::NOT_AUTHORIZED, Refusal::ClientIdPrefix));
    }
    if let Some(will) = &request.will {
        let too_large = |most: u32| will.message.payload().len() > most as usize;
        if will.message.qos as u8 > listener.qos_max {
            return Err((ReasonCode::QOS_NOT_SUPPORTED, Refusal::WillQos));
        }
        if will.message.retain && !settings.retain_available {
            return Err((ReasonCode::RETAIN_NOT_SUPPORTED, Refusal::WillRetain));
        }
        if settings.payload_bytes_max.is_some_and(too_large) {
            let code = match before_v5 {
                true => ReasonCode::NOT_AUTHORIZED,
                false => ReasonCode::PACKET_TOO_LARGE,
            };
            return Err((code, Refusal::WillTooLarge));
        }
    }
    if let Some(most) = settings.keep_alive_max_s
        && (request.keep_alive_s == 0 || request.keep_alive_s > most)
    {
        if before_v5 {
            // As Mosquitto has it: these versions have no word for the Keep Alive that holds instead.
            let code = ReasonCode::CLIENT_IDENTIFIER_NOT_VALID;
            return Err((code, Refusal::KeepAlive));
        }
        request.keep_alive_s = most;
        request.keep_alive_is_ours = true;
    }
    let expiry = settings.session_expiry_max_s;
    if request.session_expiry_interval_s > expiry {
        request.session_expiry_interval_s = expiry;
        request.session_expiry_is_ours = true;
    }
    Ok(())
}

impl Shard {
    /// Whether a PUBLISH, or a run of them, is what the operator allows. Who watches topics sees it in any case.
    ///
    /// Errors: the connection closes. `Ok(false)`: the message is dropped, and answered.
    #[cold]
    pub(super) fn is_publish_allowed(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: TopicName<'_>,
        packets: u32,
    ) -> Result<bool, Violation> {
        let payload_bytes = publish.payload.len();
        self.clients
            .watch_topic(topic.as_str(), packets, payload_bytes);
        let qos_max = self.clients.listener(id).map_or(2, |l| l.qos_max);
        if publish.qos as u8 > qos_max {
            return Err(Violation::QosNotSupported(qos_max));
        }
        let settings = self.clients.settings();
        if publish.retain && !settings.retain_available {
            return Err(Violation::RetainNotSupported);
        }
        let payload_max = settings.payload_bytes_max.unwrap_or(u32::MAX);
        Ok(payload_bytes <= payload_max as usize)
    }
}
