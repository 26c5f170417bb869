//! UNSUBSCRIBE [v5 §3.10, v3.1.1 §3.10, v3.1 §3.10].

use super::cursor::{Cursor, append_binary_data};
use super::frame::Frame;
use super::property::{self, IdSet, UserProperties, id};
use super::varint;
use super::{Malformed, PacketId, RESERVED_FLAGS, Version, packet_type};

const FIRST_BYTE: u8 = packet_type::UNSUBSCRIBE << 4 | RESERVED_FLAGS;

/// A request to end subscriptions.
#[derive(Clone, Copy)]
pub struct Unsubscribe<'a> {
    /// That of the UNSUBACK to come.
    pub packet_id: PacketId,
    /// Empty in v3.
    pub user_properties: UserProperties<'a>,
    /// The decoded payload: at least one filter.
    payload: &'a [u8],
}

const ALLOWED: IdSet = IdSet::new(&[id::USER_PROPERTY]);

impl<'a> Unsubscribe<'a> {
    /// Decodes an UNSUBSCRIBE. Strings are checked, the form of a Topic Filter is not.
    ///
    /// Errors: `PacketIdZero`; `NoTopicFilter` [v5 MQTT-3.10.3-2]; those of strings and Properties; `Truncated`.
    pub fn decode(version: Version, frame: &Frame<'a>) -> Result<Self, Malformed> {
        let unsubscribe = Self::head(version, frame)?;
        let mut at = 0;
        while let Some((next, _)) = unsubscribe.filter_at(at)? {
            at = next;
        }
        Ok(unsubscribe)
    }

    /// Decodes what stands before the filters, which are looked at part by part, by [`Unsubscribe::filter_at`].
    ///
    /// Errors: those of [`Unsubscribe::decode`] but for strings of filters.
    pub fn head(version: Version, frame: &Frame<'a>) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(frame.body());
        let packet_id = cursor.packet_id()?;
        let mut user_properties = UserProperties::default();
        if version == Version::V5 {
            let mut any = false;
            let raw = property::decode_block(&mut cursor, ALLOWED, |_, _| any = true)?;
            user_properties = UserProperties::of_block(raw, any);
        }
        let payload = cursor.rest();
        if payload.is_empty() {
            return Err(Malformed::NoTopicFilter);
        }
        Ok(Self {
            packet_id,
            user_properties,
            payload,
        })
    }

    /// The filter that begins `at` bytes behind the head, and where the next one begins; `None`: that is the end.
    ///
    /// Errors: those of strings.
    #[inline]
    pub fn filter_at(&self, at: usize) -> Result<Option<(usize, &'a str)>, Malformed> {
        let mut cursor = Cursor::new(&self.payload[at..]);
        if cursor.is_empty() {
            return Ok(None);
        }
        let filter = cursor.utf8_string()?;
        Ok(Some((self.payload.len() - cursor.rest().len(), filter)))
    }

    /// Each Topic Filter as it came; at least one.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut cursor = Cursor::new(self.payload);
        // `decode` saw every filter without an error; one here would only end the walk.
        std::iter::from_fn(move || cursor.utf8_string().ok())
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        append(
            version,
            self.packet_id,
            &self.user_properties,
            self.filters(),
            out,
        );
    }
}

/// Appends an UNSUBSCRIBE with these filters, for Clients.
pub fn append_unsubscribe(
    version: Version,
    packet_id: PacketId,
    filters: &[&str],
    out: &mut Vec<u8>,
) {
    let user_properties = UserProperties::default();
    append(
        version,
        packet_id,
        &user_properties,
        filters.iter().copied(),
        out,
    );
}

fn append<'a>(
    version: Version,
    packet_id: PacketId,
    user_properties: &UserProperties<'_>,
    filters: impl Iterator<Item = &'a str>,
    out: &mut Vec<u8>,
) {
    out.push(FIRST_BYTE);
    varint::append_with_length(out, |out| {
        out.extend_from_slice(&packet_id.get().to_be_bytes());
        if version == Version::V5 {
            property::append_block(&[], user_properties, out);
        }
        for filter in filters {
            append_binary_data(filter.as_bytes(), out);
        }
    });
}

impl PartialEq for Unsubscribe<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.packet_id == other.packet_id
            && self.user_properties == other.user_properties
            && self.filters().eq(other.filters())
    }
}

impl std::fmt::Debug for Unsubscribe<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unsubscribe")
            .field("packet_id", &self.packet_id)
            .field("user_properties", &self.user_properties)
            .field("filters", &self.filters().collect::<Vec<_>>())
            .finish()
    }
}
