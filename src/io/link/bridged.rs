//! A bridge whose packets a shard carries: between the socket of the other broker and the shard there is the machine of
//! the bridge, and no thread.
//!
//! ```text
//! other broker ─ socket ─ [remote client] ─ relay ─ [local client] ─ shard
//!                         \________ bridge::Machine ________/
//! ```
//!
//! The shard receives and sends on that socket as on every other. What it receives goes into the machine as the other
//! broker's; what the machine has for this broker is opened, and what it has for the other one is the link's own bytes.
//! What the shard sends is swallowed at once: how much may wait for the other broker is the machine's to say.
//!
//! The thread of the bridges makes the connection and logs in, then hands it over ([`Joint::carry`]). From then on it
//! only does what the machine asks for beside packets: deadlines, the log, the next attempt. Both hold the machine
//! behind a lock for the handling of one event, which waits for nothing.

use super::layers::Broken;
use crate::bridge::{Action, Actions, Event, Loops, Machine, Side};
use crate::buffer::{Chunk, Chunks};
use crate::io::clock::Clock;
use crate::limits;
use crate::time::Time;
use nix::sys::eventfd::EventFd;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Loops are found across all bridges.
pub type SharedLoops = Arc<Mutex<Loops>>;

const GIVEN_UP: Broken = Broken("the bridge has given up the connection");

/// One bridge, as its thread and the shard that carries its packets share it.
pub struct Joint {
    inner: Mutex<Inner>,
    loops: SharedLoops,
    clock: Clock,
    /// Wakes the thread of the bridges.
    wake: Arc<EventFd>,
}

struct Inner {
    machine: Machine,
    /// What the machine has asked of the thread.
    actions: Actions,
    /// The link that carries packets now. Each has its own number.
    carrier: Option<u64>,
    /// Links made so far, and those that are still there.
    made: u64,
    there: u64,
    /// What a link still has to bring that was given up.
    last: Last,
    /// When the thread looks at the deadline of the machine.
    looks: Time,
}

/// The last bytes of the link of this number.
#[derive(Default)]
struct Last {
    number: u64,
    local: Vec<u8>,
    remote: Vec<u8>,
}

impl Joint {
    /// Of a machine that nobody carries. `wake`: of the thread.
    pub fn new(machine: Machine, loops: SharedLoops, clock: Clock, wake: Arc<EventFd>) -> Joint {
        Joint {
            inner: Mutex::new(Inner {
                machine,
                actions: Actions::new(),
                carrier: None,
                made: 0,
                there: 0,
                last: Last::default(),
                looks: Time::NEVER,
            }),
            loops,
            clock,
            wake,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks or changes the machine otherwise than by an event.
    pub fn with<T>(&self, ask: impl FnOnce(&mut Machine) -> T) -> T {
        ask(&mut self.lock().machine)
    }

    /// Tells the machine, and gives what it asks for, with what it had asked for while a shard had it.
    pub fn handle(&self, now: Time, event: Event<'_>) -> Actions {
        let mut inner = self.lock();
        inner.handle(now, event, &self.loops);
        std::mem::take(&mut inner.actions)
    }

    /// What the machine has asked for while a shard had it.
    pub fn take_actions(&self) -> Actions {
        std::mem::take(&mut self.lock().actions)
    }

    /// When the machine must be told the time. The thread is woken if that changes to an earlier one.
    pub fn next_deadline(&self) -> Time {
        let mut inner = self.lock();
        inner.looks = inner.machine.next_deadline();
        inner.looks
    }

    /// From now on a shard carries the packets.
    pub fn carry(self: &Arc<Self>) -> Bridged {
        let mut inner = self.lock();
        inner.made += 1;
        inner.there += 1;
        inner.carrier = Some(inner.made);
        Bridged {
            joint: Arc::clone(self),
            number: inner.made,
            swallowed: None,
            last: None,
            told: false,
            is_reading: true,
            has_more: true,
            has_own: false,
            is_held: true,
        }
    }

    /// A shard carries the packets, or is to send the last of them.
    pub fn has_link(&self) -> bool {
        self.lock().there > 0
    }

    /// There is something that the shard does not know of: bytes, or the end.
    pub fn has_news(&self) -> bool {
        let inner = self.lock();
        let machine = &inner.machine;
        let unsent = machine.has_unsent(Side::Local) || machine.has_unsent(Side::Remote);
        inner.there > 0 && (unsent || inner.carrier.is_none())
    }
}

impl Inner {
    fn handle(&mut self, now: Time, event: Event<'_>, loops: &SharedLoops) {
        let before = self.actions.len();
        let mut loops = loops.lock().unwrap_or_else(PoisonError::into_inner);
        self.machine
            .handle(now, event, &mut loops, &mut self.actions);
        let closes = |action: &Action| matches!(action, Action::Close(_));
        if let Some(number) = self.carrier
            && self.actions[before..].iter().any(closes)
        {
            // Both connections end together. What follows is of the next ones.
            self.carrier = None;
            self.last = Last {
                number,
                local: take_all(&mut self.machine, Side::Local),
                remote: take_all(&mut self.machine, Side::Remote),
            };
            self.actions.retain(|action| !closes(action));
        }
    }

    /// Wakes the thread if it has something to do.
    fn wake(&mut self, wake: &EventFd) {
        let deadline = self.machine.next_deadline();
        if !self.actions.is_empty() || deadline < self.looks {
            self.looks = self.looks.min(deadline);
            let _ = wake.write(1);
        }
    }
}

fn take_all(machine: &mut Machine, side: Side) -> Vec<u8> {
    let outgoing = machine.outgoing(side);
    let bytes = outgoing.unsent().to_vec();
    outgoing.taken(bytes.len());
    bytes
}

/// The shard's end of it, which moves with the [`Link`](super::Link).
pub struct Bridged {
    joint: Arc<Joint>,
    number: u64,
    /// What the shard has sent and was not told to have left.
    swallowed: Option<(usize, Chunks)>,
    /// The bridge has given up the connection; the bytes for the other broker that still leave.
    last: Option<Vec<u8>>,
    /// The shard knows that.
    told: bool,
    /// The shard takes bytes.
    is_reading: bool,
    has_more: bool,
    has_own: bool,
    is_held: bool,
}

impl Bridged {
    /// Applies an event of this link, if the bridge has not given it up, and looks what there is then.
    fn handle(&mut self, event: Option<Event<'_>>) {
        let joint = Arc::clone(&self.joint);
        let mut inner = joint.lock();
        if inner.carrier == Some(self.number)
            && let Some(event) = event
        {
            inner.handle(joint.clock.now(), event, &joint.loops);
        }
        self.look(&mut inner);
        inner.wake(&joint.wake);
    }

    fn look(&mut self, inner: &mut Inner) {
        if inner.carrier == Some(self.number) {
            let machine = &inner.machine;
            self.has_more = machine.has_unsent(Side::Local);
            self.has_own = machine.has_unsent(Side::Remote);
            self.is_held = !machine.wants(Side::Remote);
            return;
        }
        if self.last.is_none() {
            let is_own = inner.last.number == self.number;
            let last = is_own.then(|| std::mem::take(&mut inner.last.remote));
            self.last = Some(last.unwrap_or_default());
        }
        let last = self.last.as_ref();
        self.has_own = last.is_some_and(|last| !last.is_empty());
        (self.has_more, self.is_held) = (false, false);
    }

    /// As [`super::Link::open`]; with nothing received, what there is for this broker.
    pub fn open(&mut self, received: &[u8], inside: &mut Vec<u8>) -> Option<Broken> {
        if self.told {
            return None;
        }
        let joint = Arc::clone(&self.joint);
        let mut inner = joint.lock();
        let now = joint.clock.now();
        if inner.carrier == Some(self.number) && !received.is_empty() {
            inner.handle(now, Event::Bytes(Side::Remote, received), &joint.loops);
        }
        if inner.carrier == Some(self.number) && self.is_reading {
            let was_held = !inner.machine.wants(Side::Remote);
            let unsent = inner.machine.outgoing(Side::Local).unsent();
            let count = unsent.len().min(limits::BRIDGE_READ_BYTES);
            inside.extend_from_slice(&unsent[..count]);
            inner.machine.sent(Side::Local, count, now);
            if was_held && inner.machine.wants(Side::Remote) {
                // What waited behind full outgoing bytes.
                inner.handle(now, Event::Bytes(Side::Remote, &[]), &joint.loops);
            }
        }
        if inner.carrier != Some(self.number) && inner.last.number == self.number {
            inside.append(&mut inner.last.local);
        }
        self.look(&mut inner);
        inner.wake(&joint.wake);
        self.told = self.last.is_some();
        self.told.then_some(GIVEN_UP)
    }

    /// What the shard sends. It has left by [`Bridged::take_swallowed`].
    pub fn swallow(&mut self, chunks: Chunks) {
        for chunk in &chunks {
            self.handle(Some(Event::Bytes(Side::Local, chunk.bytes())));
        }
        let bytes: usize = chunks.iter().map(|chunk| chunk.bytes().len()).sum();
        match &mut self.swallowed {
            Some((before, earlier)) => {
                *before += bytes;
                earlier.extend(chunks);
            }
            None => self.swallowed = Some((bytes, chunks)),
        }
    }

    /// Bytes that the shard has sent and that have left, as far as it is concerned, and their chunks.
    pub fn take_swallowed(&mut self) -> Option<(usize, Chunks)> {
        self.swallowed.take()
    }

    /// Bytes for the other broker, a part of them if they are many.
    pub fn own_bytes(&mut self) -> Option<Chunks> {
        let joint = Arc::clone(&self.joint);
        let mut inner = joint.lock();
        self.look(&mut inner);
        let bytes = match &mut self.last {
            Some(last) => std::mem::take(last),
            None => {
                let unsent = inner.machine.outgoing(Side::Remote).unsent();
                let bytes = unsent[..unsent.len().min(limits::BRIDGE_READ_BYTES)].to_vec();
                // The part before this one has left.
                inner
                    .machine
                    .sent(Side::Remote, bytes.len(), joint.clock.now());
                bytes
            }
        };
        self.look(&mut inner);
        (!bytes.is_empty()).then(|| Chunks::from_iter([Chunk::Block(bytes)]))
    }

    /// The shard takes bytes, or does not.
    pub fn set_reading(&mut self, is_reading: bool) {
        self.is_reading = is_reading;
    }

    /// The connection to the other broker is gone.
    pub fn lost(&mut self, how: &str) {
        self.handle(Some(Event::Closed(Side::Remote, how)));
    }

    /// This broker has ended the connection: the last bytes for the other one are in the own bytes.
    pub fn farewell(&mut self) {
        self.handle(Some(Event::Closed(Side::Local, "")));
    }

    /// There is something for this broker, which takes it.
    pub fn has_more(&self) -> bool {
        self.has_more && self.is_reading
    }

    /// There is something for the other broker.
    pub fn has_own_bytes(&self) -> bool {
        self.has_own
    }

    /// Nothing is to be received.
    pub fn is_held(&self) -> bool {
        self.is_held
    }
}

impl Drop for Bridged {
    fn drop(&mut self) {
        self.handle(Some(Event::Closed(Side::Local, "")));
        self.joint.lock().there -= 1;
        // It may wait for this end.
        let _ = self.joint.wake.write(1);
    }
}

impl fmt::Debug for Joint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Joint")
    }
}

impl fmt::Debug for Bridged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bridged({})", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::props::terms;

    /// A bridge that is up, and what it has asked of its thread.
    fn up() -> (Arc<Joint>, Bridged) {
        let machine = Machine::new(terms("topic # both 1\nlocal_cleansession true\n"), 1);
        let wake = Arc::new(EventFd::new().unwrap());
        let joint = Joint::new(machine, SharedLoops::default(), Clock::start(), wake);
        let joint = Arc::new(joint);
        let now = Time(1);
        joint.with(|machine| machine.start(now, &mut Actions::new()));
        for event in [
            Event::Opened(Side::Remote),
            Event::Bytes(Side::Remote, &[0x20, 2, 0, 0]),
            Event::Opened(Side::Local),
        ] {
            joint.handle(now, event);
        }
        joint.with(|machine| machine.sent(Side::Remote, usize::MAX, now));
        let mut link = joint.carry();
        assert!(link.is_held() && link.has_more());
        assert_eq!(opened(&mut link, &[])[0], 0x10);
        assert_eq!(swallowed(&mut link, &[0x20, 3, 0, 0, 0]), 5);
        assert!(!link.is_held());
        assert_eq!(opened(&mut link, &[])[0], 0x82);
        swallowed(&mut link, &[0x90, 4, 0xFF, 0xFF, 0, 1]);
        // SUBSCRIBE and the state.
        let own = link.own_bytes().unwrap();
        assert_eq!(own[0].bytes()[0], 0x82);
        assert!(opened(&mut link, &[0x90, 3, 0xFF, 0xFF, 1, 0x40, 2, 0xFF, 0xFD]).is_empty());
        assert!(joint.take_actions().contains(&Action::Publish { up: true }));
        (joint, link)
    }

    fn opened(link: &mut Bridged, received: &[u8]) -> Vec<u8> {
        let mut inside = Vec::new();
        assert_eq!(link.open(received, &mut inside), None);
        inside
    }

    /// What the shard hears to have left of it.
    fn swallowed(link: &mut Bridged, bytes: &[u8]) -> usize {
        link.swallow(Chunks::from_iter([Chunk::Block(bytes.to_vec())]));
        let (count, chunks) = link.take_swallowed().unwrap();
        assert_eq!(chunks[0].bytes(), bytes);
        assert!(link.take_swallowed().is_none());
        count
    }

    #[test]
    fn packets_cross_between_socket_and_shard() {
        let (joint, mut link) = up();
        // The other broker's has no properties, this one's has.
        let inside = opened(&mut link, &[0x30, 4, 0, 1, b'a', b'x']);
        assert_eq!(inside, [0x30, 5, 0, 1, b'a', 0, b'x']);
        assert!(!link.has_more() && !link.has_own_bytes());
        swallowed(&mut link, &[0x30, 5, 0, 1, b'b', 0, b'y']);
        assert!(link.has_own_bytes());
        let own = link.own_bytes().unwrap();
        assert_eq!(own[0].bytes(), [0x30, 4, 0, 1, b'b', b'y']);
        assert!(link.own_bytes().is_none());
        assert!(joint.take_actions().is_empty() && !joint.has_news());
    }

    #[test]
    fn both_sides_hear_the_end_once_whoever_makes_it() {
        let farewell = [0xE0, 0];
        // The thread.
        let (joint, mut link) = up();
        let actions = joint.handle(Time(2), Event::Stop);
        assert!(actions.contains(&Action::Publish { up: false }) && joint.has_news());
        assert!(
            !actions
                .iter()
                .any(|action| matches!(action, Action::Close(_)))
        );
        let mut inside = Vec::new();
        assert_eq!(link.open(&[], &mut inside), Some(GIVEN_UP));
        assert_eq!(inside, farewell);
        assert_eq!(link.open(&[], &mut inside), None);
        assert!(link.own_bytes().unwrap()[0].bytes().ends_with(&farewell));
        assert!(link.own_bytes().is_none() && joint.has_link());
        drop(link);
        assert!(!joint.has_link() && joint.take_actions().is_empty());
        // The shard.
        let (joint, mut link) = up();
        link.farewell();
        assert!(link.own_bytes().unwrap()[0].bytes().ends_with(&farewell));
        link.farewell();
        assert!(link.own_bytes().is_none());
        assert!(
            joint
                .take_actions()
                .contains(&Action::Publish { up: false })
        );
        // The other broker.
        let (joint, mut link) = up();
        link.lost("cut");
        assert_eq!(link.open(&[], &mut inside), Some(GIVEN_UP));
        assert!(link.own_bytes().is_none());
        assert!(
            joint
                .take_actions()
                .contains(&Action::Publish { up: false })
        );
        // Nobody: the link is dropped.
        let (joint, link) = up();
        drop(link);
        assert!(
            joint
                .take_actions()
                .contains(&Action::Publish { up: false })
        );
    }

    /// The next connection is another link's: what an older one still does changes nothing.
    #[test]
    fn a_link_that_was_given_up_does_nothing_more() {
        let (joint, mut old) = up();
        old.lost("cut");
        joint.handle(Time(2), Event::Tick);
        let mut next = joint.carry();
        old.swallow(Chunks::from_iter([Chunk::Block(vec![0xFF; 10])]));
        old.lost("again");
        drop(old);
        assert!(joint.has_link() && joint.take_actions().is_empty());
        assert_eq!(next.open(&[], &mut Vec::new()), None);
    }

    #[test]
    fn a_shard_that_takes_nothing_holds_the_other_broker_back() {
        let (_joint, mut link) = up();
        link.set_reading(false);
        let payload = vec![b'x'; 60_000];
        let mut packet = vec![0x30, 0xE3, 0xD4, 3, 0, 1, b'a'];
        packet.extend(&payload);
        let mut came = 0;
        while !link.is_held() {
            assert!(opened(&mut link, &packet).is_empty() && !link.has_more());
            came += 1;
            assert!(came * payload.len() < 2 * limits::BRIDGE_UNSENT_BYTES_MAX);
        }
        // One receive was under way.
        assert!(opened(&mut link, &packet).is_empty());
        link.set_reading(true);
        let mut bytes = 0;
        while link.has_more() {
            let some = opened(&mut link, &[]).len();
            assert!(some > 0 && some <= limits::BRIDGE_READ_BYTES);
            bytes += some;
        }
        assert!(!link.is_held());
        assert_eq!(bytes, (came + 1) * (packet.len() + 1));
    }
}
