//! QoS 1 and 2 messages sent to a Client and not yet acknowledged to the end, in the order of their first sending.
//! [v3.1.1 4.4, 4.6]

use crate::invariant::{Broken, invariant};
use crate::limits::{DELIVERY_BYTES, PACKET_ID_MOST};
use crate::session::Message;
use crate::session::queue::{Extras, Share, extra_bytes};
use crate::wire::{PacketId, QoS};
use std::collections::VecDeque;
use std::rc::Rc;

/// How far a delivery has come.
#[derive(Debug)]
pub enum Stage {
    /// PUBLISH sent; PUBACK or PUBREC awaited.
    Published {
        /// Kept for a resend; others may hold it too.
        message: Rc<Message>,
        /// 1 or 2.
        qos: QoS,
        /// RETAIN as first sent; a resend says the same.
        retain: bool,
        /// Subscription Identifiers and group, where there are any.
        extras: Option<Box<Extras>>,
    },
    /// PUBREC received and PUBREL sent; PUBCOMP awaited. The message itself is gone. [v3.1.1 MQTT-4.3.3-1]
    Released,
}

/// A delivery whose message need not be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndedDelivery {
    /// The group it came from.
    pub share: Option<Share>,
}

impl Stage {
    /// PUBREC is a valid answer to it, for the first time or again.
    fn awaits_pubrec(&self) -> bool {
        match self {
            Stage::Published { qos, .. } => *qos == QoS::ExactlyOnce,
            Stage::Released => true,
        }
    }

    /// What it takes besides its place in the window and its message, which others may hold too.
    #[inline]
    fn extra_bytes(&self) -> usize {
        match self {
            Stage::Published { extras, .. } => extra_bytes(extras),
            Stage::Released => 0,
        }
    }

    fn ended(&self) -> EndedDelivery {
        let share = match self {
            Stage::Published { extras, .. } => extras.as_ref().and_then(|extras| extras.share),
            Stage::Released => None,
        };
        EndedDelivery { share }
    }
}

/// Places that a window without deliveries keeps for the next ones: more than are under way by default. A window that
/// had more of them under way gives all its places back.
const PLACES_KEPT: usize = 64;

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Delivering>() <= DELIVERY_BYTES);

/// What an acknowledgement of the Client means for the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acknowledged {
    /// It is valid for this delivery, which goes on or has ended.
    Known(EndedDelivery),
    /// No delivery has its Packet Identifier. This is no error: the delivery may have ended with an earlier connection,
    /// or because it was too large for the Client.
    Unknown,
    /// A delivery has its Packet Identifier, but awaits another packet: the Client breaks the protocol flow of its QoS.
    /// [v5 4.3]
    WrongKind,
}

/// One delivery under way.
#[derive(Debug)]
pub struct Delivering {
    /// That of the PUBLISH, in use until the delivery ends. [v5 MQTT-2.2.1-4]
    pub packet_id: PacketId,
    /// How far it has come.
    pub stage: Stage,
    /// It is not sent for the first time before the changes up to this number are kept. 0: at once.
    after: u64,
}

/// The window of one Session. Small: `Config` bounds it, 20 by default, so a search is a short walk and
/// acknowledgements, which come in order, are found at its first step.
///
/// Most Sessions never have a delivery under way: then it takes two words.
#[derive(Default, Debug)]
pub struct Inflight {
    window: Option<Box<Window>>,
    last_packet_id: u16,
}

/// See [`Inflight`]. Made with the first delivery.
#[derive(Default, Debug)]
struct Window {
    items: VecDeque<Delivering>,
    /// Sum of [`Stage::extra_bytes`].
    extra_bytes: usize,
    /// Of those at the end, how many have not been sent again on the present connection. At most
    /// [`PACKET_ID_MOST`] are under way.
    unsent: u16,
    /// Of those, how many at the end have never been sent: they wait for the store, or behind one that does.
    fresh: u16,
}

impl Inflight {
    /// Deliveries under way.
    #[inline]
    pub fn count(&self) -> usize {
        self.window.as_ref().map_or(0, |window| window.items.len())
    }

    /// What the deliveries take besides their messages: the places that there are for them, in use or not, and what
    /// few of them have. So it mostly stays the same from one delivery to the next.
    #[inline]
    pub fn own_bytes(&self) -> usize {
        self.window.as_ref().map_or(0, |window| window.own_bytes())
    }

    /// Bytes of the payloads that are not acknowledged at all. O(deliveries).
    pub fn payload_bytes(&self) -> usize {
        let payload = |delivering: &Delivering| match &delivering.stage {
            Stage::Published { message, .. } => message.payload().len(),
            Stage::Released => 0,
        };
        self.iter().map(payload).sum()
    }

    /// Nothing waits for an acknowledgement.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// In the order of first sending.
    pub fn iter(&self) -> impl Iterator<Item = &Delivering> {
        self.window.iter().flat_map(|window| window.items.iter())
    }

    /// All deliveries were sent again on the present connection. No new delivery may start before that, because it
    /// would overtake older messages. [v3.1.1 MQTT-4.6.0-1, v5 MQTT-4.6.0-1]
    #[inline]
    pub fn is_resent(&self) -> bool {
        self.window.as_ref().is_none_or(|window| window.unsent == 0)
    }

    /// All that was sent was sent again on the present connection, so a new delivery may start. It is sent at once, or
    /// behind those that wait for the store.
    #[inline]
    pub fn may_start(&self) -> bool {
        self.window.as_ref().is_none_or(|window| window.may_start())
    }

    /// Deliveries wait for the store before they are sent for the first time.
    pub fn has_fresh(&self) -> bool {
        self.window.as_ref().is_some_and(|window| window.fresh > 0)
    }

    /// A new connection: all are to be sent, those that were sent before with DUP.
    pub fn begin_resend(&mut self) {
        if let Some(window) = &mut self.window {
            window.unsent = window.items.len() as u16; // `start` and `restore` let no more in.
        }
    }

    /// The next delivery to send, which now counts as sent, and whether it was sent before. `None` while `window`
    /// deliveries are under way, because a Client may come back with a smaller Receive Maximum [v5 MQTT-3.3.4-9], or
    /// while the delivery waits for changes that are not among the first `kept`.
    ///
    /// As long as one is left, at least `window` are in [`Inflight::count`], so nothing new overtakes it.
    pub fn next_resend(&mut self, window: usize, kept: u64) -> Option<(&Delivering, bool)> {
        self.window.as_mut()?.next_resend(window, kept)
    }

    /// Enters a message and gives it a Packet Identifier that is not in use, not 0 and at most [`PACKET_ID_MOST`].
    /// [v3.1.1 MQTT-2.3.1-1, v5 MQTT-2.2.1-4]
    ///
    /// There must be room (fewer than that under way), and [`Inflight::may_start`] must be true. `after`: the
    /// number of the changes that must be kept before it is sent, 0 for none. Returns `true` if it is to be sent now.
    pub fn start(&mut self, stage: Stage, after: u64) -> Result<(PacketId, bool), Broken> {
        let window = self.window.get_or_insert_default();
        let ids = usize::from(PACKET_ID_MOST);
        invariant!(window.items.len() < ids, "a packet id is free")?;
        invariant!(window.may_start(), "all was sent again before new starts")?;
        let packet_id = loop {
            self.last_packet_id = match self.last_packet_id {
                last if last >= PACKET_ID_MOST => 1,
                last => last + 1,
            };
            if let Some(id) = PacketId::new(self.last_packet_id)
                && !window.items.iter().any(|d| d.packet_id == id)
            {
                break id;
            }
        };
        window.extra_bytes += stage.extra_bytes();
        window.items.push_back(Delivering {
            packet_id,
            stage,
            after,
        });
        let now = after == 0 && window.unsent == 0;
        window.unsent += u16::from(!now);
        window.fresh += u16::from(!now);
        Ok((packet_id, now))
    }

    /// Enters a delivery of before a restart at the end, with the Packet Identifier it has. `false`: the identifier is
    /// in use.
    ///
    /// O(deliveries).
    pub fn restore(&mut self, packet_id: PacketId, stage: Stage) -> bool {
        if self.iter().any(|d| d.packet_id == packet_id) {
            return false;
        }
        let window = self.window.get_or_insert_default();
        window.extra_bytes += stage.extra_bytes();
        window.items.push_back(Delivering {
            packet_id,
            stage,
            after: 0,
        });
        true
    }

    /// The next Packet Identifier is the one after `last`, or a later one. After a restart that is a random one,
    /// because a message may have been sent of which the store does not know.
    pub fn start_after(&mut self, last: u16) {
        self.last_packet_id = last;
    }

    /// PUBACK: ends a QoS 1 delivery.
    pub fn acknowledge(&mut self, packet_id: PacketId) -> Acknowledged {
        self.end(
            packet_id,
            |stage| matches!(stage, Stage::Published { qos, .. } if *qos == QoS::AtLeastOnce),
        )
    }

    /// PUBREC: a QoS 2 delivery goes on to `Released`. A repeated PUBREC is valid too, because a Client answers each
    /// PUBLISH and one was sent again.
    pub fn receive(&mut self, packet_id: PacketId) -> Acknowledged {
        let window = self.window.as_mut();
        window.map_or(Acknowledged::Unknown, |window| window.receive(packet_id))
    }

    /// PUBREC with a failure code: ends a QoS 2 delivery, whatever an earlier PUBREC said. [v5 4.3.3]
    pub fn refuse(&mut self, packet_id: PacketId) -> Acknowledged {
        self.end(packet_id, Stage::awaits_pubrec)
    }

    /// PUBCOMP: ends a released delivery.
    pub fn complete(&mut self, packet_id: PacketId) -> Acknowledged {
        self.end(packet_id, |stage| matches!(stage, Stage::Released))
    }

    #[inline]
    fn end(&mut self, packet_id: PacketId, expected: impl Fn(&Stage) -> bool) -> Acknowledged {
        match &mut self.window {
            Some(window) => window.end(packet_id, expected),
            None => Acknowledged::Unknown,
        }
    }

    /// Panics if an identifier is there twice.
    pub fn check_invariants(&self) {
        let Some(window) = &self.window else { return };
        let items = &window.items;
        assert!(window.fresh <= window.unsent && usize::from(window.unsent) <= items.len());
        let extra_bytes: usize = items.iter().map(|d| d.stage.extra_bytes()).sum();
        assert_eq!(extra_bytes, window.extra_bytes);
        assert!(!items.is_empty() || items.capacity() <= PLACES_KEPT);
        let mut ids: Vec<u16> = items.iter().map(|d| d.packet_id.get()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), items.len());
    }
}

impl Window {
    #[inline]
    fn own_bytes(&self) -> usize {
        self.items.capacity() * DELIVERY_BYTES + self.extra_bytes
    }

    #[inline]
    fn may_start(&self) -> bool {
        self.unsent == self.fresh
    }

    fn next_resend(&mut self, window: usize, kept: u64) -> Option<(&Delivering, bool)> {
        let sent = self.items.len() - usize::from(self.unsent);
        if self.unsent == 0 || sent >= window {
            return None;
        }
        let next = self.items.get(sent).filter(|next| next.after <= kept)?;
        let again = self.unsent > self.fresh;
        self.unsent -= 1;
        self.fresh -= u16::from(!again);
        Some((next, again))
    }

    fn receive(&mut self, packet_id: PacketId) -> Acknowledged {
        match self.items.iter_mut().find(|d| d.packet_id == packet_id) {
            Some(delivering) if delivering.stage.awaits_pubrec() => {
                let ended = delivering.stage.ended();
                self.extra_bytes -= delivering.stage.extra_bytes();
                delivering.stage = Stage::Released;
                Acknowledged::Known(ended)
            }
            Some(_) => Acknowledged::WrongKind,
            None => Acknowledged::Unknown,
        }
    }

    fn end(&mut self, packet_id: PacketId, expected: impl Fn(&Stage) -> bool) -> Acknowledged {
        let Some(at) = self.items.iter().position(|d| d.packet_id == packet_id) else {
            return Acknowledged::Unknown;
        };
        if !expected(&self.items[at].stage) {
            return Acknowledged::WrongKind;
        }
        let ended = self.items[at].stage.ended();
        self.extra_bytes -= self.items[at].stage.extra_bytes();
        if at >= self.items.len() - usize::from(self.fresh) {
            self.fresh -= 1;
        }
        if at >= self.items.len() - usize::from(self.unsent) {
            self.unsent -= 1;
        }
        if at == 0 {
            self.items.pop_front();
        } else {
            self.items.remove(at);
        }
        if self.items.is_empty() && self.items.capacity() > PLACES_KEPT {
            self.items = VecDeque::new();
        }
        Acknowledged::Known(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;
    use crate::wire::TopicName;

    const KNOWN: Acknowledged = Acknowledged::Known(EndedDelivery { share: None });

    fn published(qos: QoS) -> Stage {
        let topic = TopicName::new("t").expect("it is one");
        let message = Rc::new(Message::new(topic, b"", b"x", qos, false, Time::NEVER));
        Stage::Published {
            message,
            qos,
            retain: false,
            extras: None,
        }
    }

    fn start(inflight: &mut Inflight, qos: QoS) -> PacketId {
        let (packet_id, now) = inflight.start(published(qos), 0).expect("there is room");
        assert!(now);
        packet_id
    }

    #[test]
    fn a_restart_makes_no_window() {
        let mut inflight = Inflight::default();
        inflight.start_after(700);
        assert!(inflight.window.is_none() && inflight.is_empty());
        assert_eq!(start(&mut inflight, QoS::AtLeastOnce).get(), 701);
    }

    #[test]
    fn a_window_takes_what_its_places_take_until_they_are_given_back() {
        let mut inflight = Inflight::default();
        let first = start(&mut inflight, QoS::AtLeastOnce);
        let few = inflight.own_bytes();
        assert!((DELIVERY_BYTES..=PLACES_KEPT * DELIVERY_BYTES).contains(&few));
        assert_eq!(inflight.acknowledge(first), KNOWN);
        assert_eq!(inflight.own_bytes(), few, "the next delivery finds a place");
        let ids: Vec<_> = (0..2 * PLACES_KEPT)
            .map(|_| start(&mut inflight, QoS::AtLeastOnce))
            .collect();
        assert!(inflight.own_bytes() >= ids.len() * DELIVERY_BYTES);
        for id in ids {
            inflight.check_invariants();
            assert_eq!(inflight.acknowledge(id), KNOWN);
        }
        inflight.check_invariants();
        assert_eq!(inflight.own_bytes(), 0);
    }

    #[test]
    fn identifiers_skip_zero_and_those_in_use() {
        let mut inflight = Inflight::default();
        let first = start(&mut inflight, QoS::AtLeastOnce);
        inflight.start_after(u16::MAX);
        assert_eq!(first.get(), 1);
        assert_eq!(start(&mut inflight, QoS::AtLeastOnce).get(), 2);
        inflight.check_invariants();
    }

    #[test]
    fn a_smaller_window_holds_resends_back() {
        let mut inflight = Inflight::default();
        let ids: Vec<_> = (0..4)
            .map(|_| start(&mut inflight, QoS::AtLeastOnce))
            .collect();
        inflight.begin_resend();
        let next = |inflight: &mut Inflight| inflight.next_resend(2, 0).map(|(d, _)| d.packet_id);
        assert_eq!(next(&mut inflight), Some(ids[0]));
        assert_eq!(next(&mut inflight), Some(ids[1]));
        assert_eq!(next(&mut inflight), None);
        assert_eq!(inflight.acknowledge(ids[0]), KNOWN);
        assert_eq!(next(&mut inflight), Some(ids[2]));
        // An acknowledgement, begun on the connection before, of a delivery that was not sent again.
        assert_eq!(inflight.acknowledge(ids[3]), KNOWN);
        assert_eq!(inflight.acknowledge(ids[1]), KNOWN);
        assert_eq!(next(&mut inflight), None, "none is left");
        inflight.check_invariants();
        assert_eq!(inflight.count(), 1);
    }

    #[test]
    fn an_acknowledgement_of_the_wrong_kind_changes_nothing() {
        let mut inflight = Inflight::default();
        let one = start(&mut inflight, QoS::AtLeastOnce);
        let two = start(&mut inflight, QoS::ExactlyOnce);
        assert_eq!(inflight.receive(one), Acknowledged::WrongKind);
        assert_eq!(inflight.refuse(one), Acknowledged::WrongKind);
        assert_eq!(inflight.complete(one), Acknowledged::WrongKind);
        assert_eq!(inflight.acknowledge(two), Acknowledged::WrongKind);
        assert_eq!(inflight.complete(two), Acknowledged::WrongKind);
        assert_eq!(inflight.receive(two), KNOWN);
        assert_eq!(inflight.receive(two), KNOWN, "a repeated PUBREC");
        assert_eq!(inflight.acknowledge(two), Acknowledged::WrongKind);
        assert_eq!(inflight.complete(two), KNOWN);
        assert_eq!(inflight.complete(two), Acknowledged::Unknown);
        assert_eq!(inflight.acknowledge(one), KNOWN);
        assert_eq!(inflight.acknowledge(one), Acknowledged::Unknown);
        assert!(inflight.is_empty());
    }

    #[test]
    fn a_failure_ends_a_released_delivery_too() {
        let mut inflight = Inflight::default();
        let two = start(&mut inflight, QoS::ExactlyOnce);
        assert_eq!(inflight.receive(two), KNOWN);
        assert_eq!(inflight.refuse(two), KNOWN);
        assert_eq!(inflight.receive(two), Acknowledged::Unknown);
        assert!(inflight.is_empty());
    }

    #[test]
    fn identifiers_begin_again_below_those_of_bridges() {
        let mut inflight = Inflight::default();
        for _ in 0..300 {
            start(&mut inflight, QoS::AtLeastOnce);
        }
        inflight.start_after(PACKET_ID_MOST - 1);
        let last = start(&mut inflight, QoS::AtLeastOnce);
        let next = start(&mut inflight, QoS::AtLeastOnce);
        assert_eq!((last.get(), next.get()), (65_532, 301));
        // A store of before this rule.
        inflight.start_after(65_534);
        assert_eq!(start(&mut inflight, QoS::AtLeastOnce).get(), 302);
    }

    /// One waits for the store, so all that start after it wait behind it, also where a connection comes between.
    #[test]
    fn nothing_overtakes_what_waits_for_the_store() {
        let mut inflight = Inflight::default();
        let sent = start(&mut inflight, QoS::AtLeastOnce);
        let wait = |inflight: &mut Inflight, qos, after| {
            let (packet_id, now) = inflight
                .start(published(qos), after)
                .expect("there is room");
            assert!(!now);
            packet_id
        };
        let first = wait(&mut inflight, QoS::ExactlyOnce, 7);
        let second = wait(&mut inflight, QoS::AtLeastOnce, 0);
        let third = wait(&mut inflight, QoS::ExactlyOnce, 8);
        let next = |inflight: &mut Inflight, kept| {
            inflight
                .next_resend(20, kept)
                .map(|(d, again)| (d.packet_id, again))
        };
        assert_eq!(next(&mut inflight, 6), None);
        inflight.begin_resend();
        assert!(!inflight.may_start());
        assert_eq!(next(&mut inflight, 6), Some((sent, true)));
        assert!(inflight.may_start() && !inflight.is_resent());
        assert_eq!(next(&mut inflight, 7), Some((first, false)));
        assert_eq!(next(&mut inflight, 7), Some((second, false)));
        assert_eq!(next(&mut inflight, 7), None);
        // A Client that guesses ends what was never sent.
        assert_eq!(inflight.refuse(third), KNOWN);
        assert!(inflight.is_resent() && !inflight.has_fresh());
        inflight.check_invariants();
    }
}
