//! Properties [v5 §2.2.2]: their types and ranges, written once, and the block of them that a packet carries.
//!
//! A packet's decoder says which Properties it may carry and takes them one by one; unknown, forbidden, repeated
//! and out-of-range ones never reach it. `O(bytes)` however many there are.

use super::Malformed;
use super::cursor::{Cursor, append_binary_data};
use super::varint;
use crate::limits::USER_PROPERTIES_MAX;

/// Writes each Property once: identifier, name, type on the wire, and a check of its value.
macro_rules! properties {
    ($($id:literal $constant:ident $name:ident($type:ty) $form:ident $check:ident;)*) => {
        /// One Property with its value. Names and identifiers are those of [v5 §2.2.2.2].
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Property<'a> {
            $(
                #[doc = concat!("Identifier ", stringify!($id), "; `", stringify!($form), "` on the wire.")]
                $name($type),
            )*
        }

        /// The identifiers.
        pub mod id {
            $(
                #[doc = concat!("Of [`Property::", stringify!($name), "`](super::Property::", stringify!($name), ").")]
                pub const $constant: u8 = $id;
            )*
        }

        /// Every identifier there is, as a set.
        const KNOWN: IdSet = IdSet::new(&[$($id,)*]);

        impl<'a> Property<'a> {
            /// The byte that names it on the wire, one of [`id`].
            pub fn id(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $id,)*
                }
            }

            /// Reads the value of the Property `id`.
            fn decode(id: u8, cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
                match id {
                    $($id => Ok(Self::$name(check::$check(form::$form(cursor)?)?)),)*
                    _ => Err(Malformed::UnknownProperty),
                }
            }

            /// Appends identifier and value.
            pub fn append(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name(value) => {
                        out.push($id);
                        append::$form(*value, out);
                    })*
                }
            }
        }
    };
}

properties! {
    0x01 PAYLOAD_FORMAT_INDICATOR PayloadFormatIndicator(bool) flag any;
    0x02 MESSAGE_EXPIRY_INTERVAL MessageExpiryInterval(u32) four any;
    0x03 CONTENT_TYPE ContentType(&'a str) text any;
    0x08 RESPONSE_TOPIC ResponseTopic(&'a str) text no_wildcard;
    0x09 CORRELATION_DATA CorrelationData(&'a [u8]) binary any;
    0x0B SUBSCRIPTION_IDENTIFIER SubscriptionIdentifier(u32) variable not_zero;
    0x11 SESSION_EXPIRY_INTERVAL SessionExpiryInterval(u32) four any;
    0x12 ASSIGNED_CLIENT_IDENTIFIER AssignedClientIdentifier(&'a str) text any;
    0x13 SERVER_KEEP_ALIVE ServerKeepAlive(u16) two any;
    0x15 AUTHENTICATION_METHOD AuthenticationMethod(&'a str) text any;
    0x16 AUTHENTICATION_DATA AuthenticationData(&'a [u8]) binary any;
    0x17 REQUEST_PROBLEM_INFORMATION RequestProblemInformation(bool) flag any;
    0x18 WILL_DELAY_INTERVAL WillDelayInterval(u32) four any;
    0x19 REQUEST_RESPONSE_INFORMATION RequestResponseInformation(bool) flag any;
    0x1A RESPONSE_INFORMATION ResponseInformation(&'a str) text any;
    0x1C SERVER_REFERENCE ServerReference(&'a str) text any;
    0x1F REASON_STRING ReasonString(&'a str) text any;
    0x21 RECEIVE_MAXIMUM ReceiveMaximum(u16) two not_zero;
    0x22 TOPIC_ALIAS_MAXIMUM TopicAliasMaximum(u16) two any;
    0x23 TOPIC_ALIAS TopicAlias(u16) two alias;
    0x24 MAXIMUM_QOS MaximumQos(bool) flag any;
    0x25 RETAIN_AVAILABLE RetainAvailable(bool) flag any;
    0x26 USER_PROPERTY UserProperty((&'a str, &'a str)) pair any;
    0x27 MAXIMUM_PACKET_SIZE MaximumPacketSize(u32) four not_zero;
    0x28 WILDCARD_SUBSCRIPTION_AVAILABLE WildcardSubscriptionAvailable(bool) flag any;
    0x29 SUBSCRIPTION_IDENTIFIER_AVAILABLE SubscriptionIdentifierAvailable(bool) flag any;
    0x2A SHARED_SUBSCRIPTION_AVAILABLE SharedSubscriptionAvailable(bool) flag any;
}

/// How each type is read.
mod form {
    use super::{Cursor, Malformed};

    /// A byte that is 0 or 1. Errors: `PropertyOutOfRange`.
    pub fn flag(cursor: &mut Cursor<'_>) -> Result<bool, Malformed> {
        match cursor.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::PropertyOutOfRange),
        }
    }

    pub fn two(cursor: &mut Cursor<'_>) -> Result<u16, Malformed> {
        cursor.two_byte_integer()
    }

    pub fn four(cursor: &mut Cursor<'_>) -> Result<u32, Malformed> {
        cursor.four_byte_integer()
    }

    pub fn variable(cursor: &mut Cursor<'_>) -> Result<u32, Malformed> {
        cursor.variable_byte_integer()
    }

    pub fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Malformed> {
        cursor.utf8_string()
    }

    pub fn binary<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Malformed> {
        cursor.binary_data()
    }

    /// UTF-8 String Pair [v5 §1.5.7].
    pub fn pair<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a str, &'a str), Malformed> {
        Ok((cursor.utf8_string()?, cursor.utf8_string()?))
    }
}

/// What a value has to be besides its type.
mod check {
    use super::Malformed;

    pub fn any<T>(value: T) -> Result<T, Malformed> {
        Ok(value)
    }

    pub fn not_zero<T: PartialEq + Default>(value: T) -> Result<T, Malformed> {
        if value == T::default() {
            return Err(Malformed::PropertyOutOfRange);
        }
        Ok(value)
    }

    /// [v5 MQTT-3.3.2-8]
    pub fn alias(value: u16) -> Result<u16, Malformed> {
        if value == 0 {
            return Err(Malformed::TopicAliasZero);
        }
        Ok(value)
    }

    /// [v5 MQTT-3.3.2-14]
    pub fn no_wildcard(text: &str) -> Result<&str, Malformed> {
        if memchr::memchr2(b'+', b'#', text.as_bytes()).is_some() {
            return Err(Malformed::WildcardInResponseTopic);
        }
        Ok(text)
    }
}

/// How each type is written.
mod append {
    use super::{append_binary_data, varint};

    pub fn flag(value: bool, out: &mut Vec<u8>) {
        out.push(u8::from(value));
    }

    pub fn two(value: u16, out: &mut Vec<u8>) {
        out.extend_from_slice(&value.to_be_bytes());
    }

    pub fn four(value: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&value.to_be_bytes());
    }

    pub fn variable(value: u32, out: &mut Vec<u8>) {
        varint::append(value, out);
    }

    pub fn text(value: &str, out: &mut Vec<u8>) {
        append_binary_data(value.as_bytes(), out);
    }

    pub fn binary(value: &[u8], out: &mut Vec<u8>) {
        append_binary_data(value, out);
    }

    pub fn pair((name, value): (&str, &str), out: &mut Vec<u8>) {
        text(name, out);
        text(value, out);
    }
}

/// A set of Property identifiers; all are below 64.
#[derive(Clone, Copy)]
pub(super) struct IdSet(u64);

impl IdSet {
    pub(super) const fn new(ids: &[u8]) -> Self {
        let (mut set, mut index) = (0, 0);
        while index < ids.len() {
            assert!(ids[index] < 64);
            set |= 1 << ids[index];
            index += 1;
        }
        Self(set)
    }

    fn holds(self, id: u8) -> bool {
        id < 64 && self.0 >> id & 1 == 1
    }
}

/// Those that may stand in one packet any number of times. A Server sends several Subscription Identifiers.
const REPEATABLE: IdSet = IdSet::new(&[id::USER_PROPERTY]);
const REPEATABLE_IN_PUBLISH: IdSet = IdSet::new(&[id::USER_PROPERTY, id::SUBSCRIPTION_IDENTIFIER]);

/// Reads the Property Length and all Properties, hands each to `take` together with its bytes, and gives the
/// block without its length.
///
/// Errors: `Truncated` if a Property or the block runs past its end; `UnknownProperty`;
/// `PropertyNotAllowed` if it is not in `allowed`; `DuplicateProperty`; `TooManyUserProperties`; what the value breaks.
pub(super) fn decode_block<'a>(
    cursor: &mut Cursor<'a>,
    allowed: IdSet,
    take: impl FnMut(Property<'a>, &'a [u8]),
) -> Result<&'a [u8], Malformed> {
    decode_block_with(cursor, allowed, REPEATABLE, take)
}

/// As [`decode_block`], with as many Subscription Identifiers as there are.
pub(super) fn decode_publish_block<'a>(
    cursor: &mut Cursor<'a>,
    allowed: IdSet,
    take: impl FnMut(Property<'a>, &'a [u8]),
) -> Result<&'a [u8], Malformed> {
    decode_block_with(cursor, allowed, REPEATABLE_IN_PUBLISH, take)
}

fn decode_block_with<'a>(
    cursor: &mut Cursor<'a>,
    allowed: IdSet,
    repeatable: IdSet,
    mut take: impl FnMut(Property<'a>, &'a [u8]),
) -> Result<&'a [u8], Malformed> {
    let length = cursor.variable_byte_integer()?;
    let raw = cursor.take(length as usize)?;
    let mut block = Cursor::new(raw);
    let mut seen = IdSet(0);
    let mut user_properties = 0;
    while !block.is_empty() {
        let before = block.rest();
        let id = block.byte()?;
        if !KNOWN.holds(id) {
            return Err(Malformed::UnknownProperty);
        }
        if !allowed.holds(id) {
            return Err(Malformed::PropertyNotAllowed);
        }
        if seen.holds(id) && !repeatable.holds(id) {
            return Err(Malformed::DuplicateProperty);
        }
        seen.0 |= 1 << id;
        if id == id::USER_PROPERTY {
            user_properties += 1;
            if user_properties > USER_PROPERTIES_MAX {
                return Err(Malformed::TooManyUserProperties);
            }
        }
        let property = Property::decode(id, &mut block)?;
        take(property, &before[..before.len() - block.rest().len()]);
    }
    Ok(raw)
}

/// The Properties of a block that was decoded before, each with its bytes.
#[derive(Clone, Debug)]
pub struct Properties<'a> {
    block: Cursor<'a>,
}

impl<'a> Properties<'a> {
    /// `raw`: a block without its length.
    pub fn new(raw: &'a [u8]) -> Self {
        Self {
            block: Cursor::new(raw),
        }
    }
}

impl<'a> Iterator for Properties<'a> {
    type Item = (Property<'a>, &'a [u8]);

    /// Ends where the block ends; a block that nobody decoded ends at its first fault.
    fn next(&mut self) -> Option<Self::Item> {
        let before = self.block.rest();
        let id = self.block.byte().ok()?;
        let property = Property::decode(id, &mut self.block).ok()?;
        Some((property, &before[..before.len() - self.block.rest().len()]))
    }
}

/// The User Properties of a packet, in their order [v5 MQTT-1.5.7-1]. Equal if their pairs are.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a> {
    /// A decoded block, other Properties among them; empty if there is no User Property in it.
    raw: &'a [u8],
}

impl<'a> UserProperties<'a> {
    /// Of a decoded block, which has User Properties if `any`.
    pub(super) fn of_block(raw: &'a [u8], any: bool) -> Self {
        Self {
            raw: if any { raw } else { &[] },
        }
    }

    /// No User Property is there, so nothing needs to be passed on.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        Properties::new(self.raw).filter_map(|(property, _)| match property {
            Property::UserProperty(pair) => Some(pair),
            _ => None,
        })
    }

    pub(super) fn append(&self, out: &mut Vec<u8>) {
        for pair in self.iter() {
            Property::UserProperty(pair).append(out);
        }
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl std::fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Appends a block: its length, each of `properties` that is there, then the User Properties.
pub(super) fn append_block(
    properties: &[Option<Property<'_>>],
    user_properties: &UserProperties<'_>,
    out: &mut Vec<u8>,
) {
    varint::append_with_length(out, |out| {
        for property in properties.iter().flatten() {
            property.append(out);
        }
        user_properties.append(out);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: &[u8], allowed: IdSet) -> Result<Vec<Property<'_>>, Malformed> {
        let mut list = Vec::new();
        decode_block(&mut Cursor::new(bytes), allowed, |property, _| {
            list.push(property)
        })?;
        Ok(list)
    }

    #[test]
    fn a_property_comes_back_as_it_was_appended() {
        let list = [
            Property::PayloadFormatIndicator(true),
            Property::MessageExpiryInterval(7),
            Property::CorrelationData(&[0, 1]),
            Property::SubscriptionIdentifier(300),
            Property::ServerKeepAlive(9),
            Property::UserProperty(("a", "b")),
            Property::UserProperty(("", "")),
        ];
        let mut bytes = Vec::new();
        varint::append_with_length(&mut bytes, |out| {
            list.iter().for_each(|property| property.append(out));
        });
        assert_eq!(block(&bytes, KNOWN).unwrap(), list);
        let again: Vec<_> = Properties::new(&bytes[1..])
            .map(|(property, _)| property)
            .collect();
        assert_eq!(again, list);
        let raw: Vec<u8> = Properties::new(&bytes[1..])
            .flat_map(|(_, raw)| raw.to_vec())
            .collect();
        assert_eq!(raw, &bytes[1..]);
    }

    #[test]
    fn each_fault_has_its_rule() {
        let two = IdSet::new(&[id::TOPIC_ALIAS_MAXIMUM, id::RECEIVE_MAXIMUM]);
        for (bytes, rule) in [
            (&[][..], Malformed::Truncated),
            (&[1], Malformed::Truncated),
            (&[1, 0x22], Malformed::Truncated),
            (&[2, 0x22, 0], Malformed::Truncated),
            (&[1, 0x04], Malformed::UnknownProperty),
            (&[1, 0x2B], Malformed::UnknownProperty),
            (&[1, 0xFF], Malformed::UnknownProperty),
            (&[1, 0x01], Malformed::PropertyNotAllowed),
            (&[6, 0x22, 0, 1, 0x22, 0, 1], Malformed::DuplicateProperty),
            (&[3, 0x21, 0, 0], Malformed::PropertyOutOfRange),
        ] {
            assert_eq!(block(bytes, two), Err(rule), "{bytes:?}");
        }
        assert_eq!(
            block(&[2, 0x01, 2], KNOWN),
            Err(Malformed::PropertyOutOfRange)
        );
        assert_eq!(
            block(&[3, 0x23, 0, 0], KNOWN),
            Err(Malformed::TopicAliasZero)
        );
        assert_eq!(
            block(&[4, 0x08, 0, 1, b'#'], KNOWN),
            Err(Malformed::WildcardInResponseTopic)
        );
    }

    #[test]
    fn user_properties_are_equal_by_pairs() {
        let pair = [0x26, 0, 1, b'a', 0, 1, b'b'];
        let mut with_another = vec![0x22, 0, 1];
        with_another.extend_from_slice(&pair);
        let left = UserProperties::of_block(&pair, true);
        let right = UserProperties::of_block(&with_another, true);
        assert_eq!(left, right);
        assert_eq!(left.iter().collect::<Vec<_>>(), [("a", "b")]);
        assert_ne!(left, UserProperties::default());
        assert!(UserProperties::of_block(&with_another[..3], false).is_empty());
    }

    #[test]
    fn user_properties_have_a_limit() {
        let of = |count: usize| {
            let pairs = [0x26, 0, 0, 0, 0].repeat(count);
            let mut bytes = Vec::new();
            varint::append_with_length(&mut bytes, |out| out.extend_from_slice(&pairs));
            block(&bytes, KNOWN).map(|list| list.len())
        };
        assert_eq!(of(USER_PROPERTIES_MAX), Ok(USER_PROPERTIES_MAX));
        let rule = Malformed::TooManyUserProperties;
        assert_eq!(of(USER_PROPERTIES_MAX + 1), Err(rule));
        assert_eq!(of(100_000), Err(rule));
    }
}
