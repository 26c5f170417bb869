//! SUBSCRIBE [v5 §3.8, v3.1.1 §3.8, v3.1 §3.8]. The Subscription Options are here too.

use super::cursor::{Cursor, append_binary_data};
use super::frame::Frame;
use super::property::{self, IdSet, Property, UserProperties, id};
use super::varint;
use super::{Malformed, PacketId, QoS, RESERVED_FLAGS, Version, packet_type};

const FIRST_BYTE: u8 = packet_type::SUBSCRIBE << 4 | RESERVED_FLAGS;

// Subscription Options [v5 §3.8.3.1]; v3 has the QoS alone.
const QOS: u8 = 0x03;
const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const RETAIN_HANDLING_SHIFT: u8 = 4;
const RESERVED: u8 = 0xC0;

/// When retained messages are sent for a subscription [v5 MQTT-3.3.1-9, -10, -11].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE; v3 knows no other way.
    #[default]
    SendAtSubscribe = 0,
    /// Only if the subscription is new.
    SendIfNew = 1,
    /// At no SUBSCRIBE.
    DoNotSend = 2,
}

/// How a subscription wants its messages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SubscriptionOptions {
    /// The most it wants.
    pub qos: QoS,
    /// Not what the same Client publishes.
    pub no_local: bool,
    /// RETAIN as the publisher set it.
    pub retain_as_published: bool,
    /// Whether retained messages are sent when it is made.
    pub retain_handling: RetainHandling,
}

impl SubscriptionOptions {
    /// One with the given QoS, as v3 says it.
    pub fn new(qos: QoS) -> Self {
        Self {
            qos,
            ..Self::default()
        }
    }

    /// Reads the byte of a SUBSCRIBE.
    ///
    /// Errors: `ReservedOptionBits` [v5 MQTT-3.8.3-5, v3.1.1 MQTT-3.8.3-4], not in v3.1, which leaves them unused;
    /// `SubscriptionQos3`, `RetainHandling3` [v5 §3.8.3.1].
    pub fn from_byte(version: Version, byte: u8) -> Result<Self, Malformed> {
        let byte = match version {
            Version::V31 => byte & QOS,
            Version::V311 if byte & !QOS != 0 => return Err(Malformed::ReservedOptionBits),
            Version::V5 if byte & RESERVED != 0 => return Err(Malformed::ReservedOptionBits),
            _ => byte,
        };
        Ok(Self {
            qos: QoS::from_bits(byte).ok_or(Malformed::SubscriptionQos3)?,
            no_local: byte & NO_LOCAL != 0,
            retain_as_published: byte & RETAIN_AS_PUBLISHED != 0,
            retain_handling: match byte >> RETAIN_HANDLING_SHIFT & 0x03 {
                0 => RetainHandling::SendAtSubscribe,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(Malformed::RetainHandling3),
            },
        })
    }

    /// The byte of a v5 SUBSCRIBE; with options v3 does not know left at their defaults, of a v3 one too.
    pub fn to_byte(self) -> u8 {
        let mut byte = self.qos as u8 | (self.retain_handling as u8) << RETAIN_HANDLING_SHIFT;
        if self.no_local {
            byte |= NO_LOCAL;
        }
        if self.retain_as_published {
            byte |= RETAIN_AS_PUBLISHED;
        }
        byte
    }
}

/// A request for subscriptions.
#[derive(Clone, Copy)]
pub struct Subscribe<'a> {
    /// That of the SUBACK to come.
    pub packet_id: PacketId,
    /// 1..=268,435,455.
    pub subscription_identifier: Option<u32>,
    /// Empty in v3.
    pub user_properties: UserProperties<'a>,
    /// The decoded payload: at least one filter with its byte of options.
    payload: &'a [u8],
    /// Whose options they are.
    version: Version,
}

const ALLOWED: IdSet = IdSet::new(&[id::SUBSCRIPTION_IDENTIFIER, id::USER_PROPERTY]);

impl<'a> Subscribe<'a> {
    /// Decodes a SUBSCRIBE. Strings and options are checked, the form of a Topic Filter is not: the broker does, and
    /// its log names the one that is wrong.
    ///
    /// Errors: `PacketIdZero`; `NoTopicFilter` [v5 MQTT-3.8.3-2]; `NoLocalOnSharedSubscription` [v5
    /// MQTT-3.8.3-4]; those of options, strings and Properties; `Truncated`.
    pub fn decode(version: Version, frame: &Frame<'a>) -> Result<Self, Malformed> {
        let subscribe = Self::head(version, frame)?;
        let mut at = 0;
        while let Some((next, _, _)) = subscribe.filter_at(at)? {
            at = next;
        }
        Ok(subscribe)
    }

    /// Decodes what stands before the filters: a packet of a million of these is looked at part by part, by
    /// [`Subscribe::filter_at`].
    ///
    /// Errors: those of [`Subscribe::decode`] but for options and strings of filters.
    pub fn head(version: Version, frame: &Frame<'a>) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(frame.body());
        let packet_id = cursor.packet_id()?;
        let mut subscription_identifier = None;
        let mut user_properties = UserProperties::default();
        if version == Version::V5 {
            let mut any_user_property = false;
            let raw = property::decode_block(&mut cursor, ALLOWED, |property, _| match property {
                Property::SubscriptionIdentifier(value) => subscription_identifier = Some(value),
                _ => any_user_property = true,
            })?;
            user_properties = UserProperties::of_block(raw, any_user_property);
        }
        let payload = cursor.rest();
        if payload.is_empty() {
            return Err(Malformed::NoTopicFilter);
        }
        Ok(Self {
            packet_id,
            subscription_identifier,
            user_properties,
            payload,
            version,
        })
    }

    /// The filter that begins `at` bytes behind the head, its options, and where the next one begins; `None`: that is
    /// the end.
    ///
    /// Errors: those of options and strings; `NoLocalOnSharedSubscription`.
    #[inline]
    pub fn filter_at(
        &self,
        at: usize,
    ) -> Result<Option<(usize, &'a str, SubscriptionOptions)>, Malformed> {
        let mut cursor = Cursor::new(&self.payload[at..]);
        if cursor.is_empty() {
            return Ok(None);
        }
        let filter = cursor.utf8_string()?;
        let options = SubscriptionOptions::from_byte(self.version, cursor.byte()?)?;
        if options.no_local && filter.starts_with("$share/") {
            return Err(Malformed::NoLocalOnSharedSubscription);
        }
        let next = self.payload.len() - cursor.rest().len();
        Ok(Some((next, filter, options)))
    }

    /// Each Topic Filter as it came, with its options; at least one.
    pub fn filters(&self) -> impl Iterator<Item = (&'a str, SubscriptionOptions)> + use<'a> {
        let mut cursor = Cursor::new(self.payload);
        let version = self.version;
        std::iter::from_fn(move || {
            // `decode` saw every filter without an error; one here would only end the walk.
            let filter = cursor.utf8_string().ok()?;
            let options = SubscriptionOptions::from_byte(version, cursor.byte().ok()?).ok()?;
            Some((filter, options))
        })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let properties = (self.subscription_identifier, self.user_properties);
        append(version, self.packet_id, properties, self.filters(), out);
    }
}

/// Appends a SUBSCRIBE with these filters, for Clients. v3 leaves out the identifier and all options but the QoS.
pub fn append_subscribe(
    version: Version,
    packet_id: PacketId,
    subscription_identifier: Option<u32>,
    filters: &[(&str, SubscriptionOptions)],
    out: &mut Vec<u8>,
) {
    let properties = (subscription_identifier, UserProperties::default());
    append(version, packet_id, properties, filters.iter().copied(), out);
}

fn append<'a>(
    version: Version,
    packet_id: PacketId,
    (subscription_identifier, user_properties): (Option<u32>, UserProperties<'_>),
    filters: impl Iterator<Item = (&'a str, SubscriptionOptions)>,
    out: &mut Vec<u8>,
) {
    out.push(FIRST_BYTE);
    varint::append_with_length(out, |out| {
        out.extend_from_slice(&packet_id.get().to_be_bytes());
        if version == Version::V5 {
            let identifier = subscription_identifier.map(Property::SubscriptionIdentifier);
            property::append_block(&[identifier], &user_properties, out);
        }
        for (filter, options) in filters {
            append_binary_data(filter.as_bytes(), out);
            out.push(match version {
                Version::V5 => options.to_byte(),
                _ => options.qos as u8,
            });
        }
    });
}

impl PartialEq for Subscribe<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.packet_id == other.packet_id
            && self.subscription_identifier == other.subscription_identifier
            && self.user_properties == other.user_properties
            && self.filters().eq(other.filters())
    }
}

impl std::fmt::Debug for Subscribe<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscribe")
            .field("packet_id", &self.packet_id)
            .field("subscription_identifier", &self.subscription_identifier)
            .field("user_properties", &self.user_properties)
            .field("filters", &self.filters().collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::next_frame;

    #[test]
    fn every_byte_of_options_is_itself_again_or_refused() {
        for byte in 0..=u8::MAX {
            match SubscriptionOptions::from_byte(Version::V5, byte) {
                Ok(options) => assert_eq!(options.to_byte(), byte),
                Err(rule) if byte >= 0x40 => assert_eq!(rule, Malformed::ReservedOptionBits),
                Err(rule) if byte & 3 == 3 => assert_eq!(rule, Malformed::SubscriptionQos3),
                Err(rule) => {
                    assert_eq!((rule, byte & 0x30), (Malformed::RetainHandling3, 0x30));
                }
            }
            let v311 = SubscriptionOptions::from_byte(Version::V311, byte);
            assert_eq!(v311.is_ok(), byte <= 2);
            let v31 = SubscriptionOptions::from_byte(Version::V31, byte);
            assert_eq!(
                v31,
                QoS::from_bits(byte)
                    .map(SubscriptionOptions::new)
                    .ok_or(Malformed::SubscriptionQos3)
            );
        }
    }

    #[test]
    fn what_a_client_appends_arrives() {
        let options = SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        };
        let filters = [
            ("a/+", options),
            ("#", SubscriptionOptions::new(QoS::AtLeastOnce)),
        ];
        for version in Version::ALL {
            let mut bytes = Vec::new();
            append_subscribe(version, PacketId::MAX, Some(7), &filters, &mut bytes);
            let frame = next_frame(&bytes, 1000).unwrap().unwrap();
            let subscribe = Subscribe::decode(version, &frame).unwrap();
            let v5 = version == Version::V5;
            assert_eq!(subscribe.subscription_identifier, v5.then_some(7));
            let expected = filters.map(|(filter, options)| match v5 {
                true => (filter, options),
                false => (filter, SubscriptionOptions::new(options.qos)),
            });
            assert_eq!(subscribe.filters().collect::<Vec<_>>(), expected);
        }
    }
}
