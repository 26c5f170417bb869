//! What an owner who has had his share is refused.

/// What was refused because its owner has had his share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// A new Session: its CONNECT is refused with 0x97, or 3 before v5.
    Session,
    /// A new subscription: refused in SUBACK with 0x97, or 0x80 before v5.
    Filter,
    /// A message of QoS 1 or 2, or a retained one.
    Message,
    /// QoS 0.
    Unacknowledged,
    /// A message for a Session whose owner has had his share.
    Delivery,
    /// A large packet half received: its connection closes.
    Packet,
    /// Bytes of a connection before it is accepted: it is told "server busy" and closes.
    Unaccepted,
}

impl Refused {
    /// Every kind once, in the order of its number as an array index.
    pub const ALL: [Refused; 7] = [
        Refused::Session,
        Refused::Filter,
        Refused::Message,
        Refused::Unacknowledged,
        Refused::Delivery,
        Refused::Packet,
        Refused::Unaccepted,
    ];
}
