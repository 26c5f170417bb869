//! One bridge with its sockets.

use super::dial::{Dial, Dialled, Options};
use super::entry::Entry;
use super::house::House;
use super::socket::Socket;
use super::words;
use crate::bridge::mapping::Way;
use crate::bridge::terms::STATES;
use crate::bridge::{Action, Actions, Event, Machine, Side, State, Terms, Told};
use crate::broker::{Found, Happening, LogLevel, OwnMessage, Report, Survey, UNIX_PEER};
use crate::config::mosquitto::Bridge;
use crate::ids::{ListenerId, ShardId};
use crate::io::clock::Clock;
use crate::io::disk::Disk;
use crate::io::link::bridged::{Joint, SharedLoops};
use crate::io::link::tls::outward;
use crate::io::link::{Link, Wrapping};
use crate::io::mail::ToShard;
use crate::io::words::Shown;
use crate::limits;
use crate::session::Message;
use crate::time::Time;
use crate::wire::QoS;
use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::EventFd;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

/// A connection that the machine has given up, and its last bytes.
struct Farewell {
    socket: Socket,
    bytes: Vec<u8>,
    until: Time,
}

/// Where the sockets of a bridge are in what was polled.
#[derive(Default)]
pub struct Waits {
    sides: [Option<usize>; 2],
    dial: Option<usize>,
    shaking: Option<usize>,
}

/// What the shards have said of the Session here, so far.
struct Answers {
    reports: Receiver<Box<Report>>,
    count: usize,
    dropped: u64,
}

/// Retained messages here, asked for a page at a time.
struct Comparison {
    /// What is still to be asked, the next one last.
    surveys: Vec<Survey>,
    /// Of the one that is asked.
    reports: Receiver<Box<Report>>,
}

/// What came up while actions were carried out.
enum Later {
    Opened(Side),
    Closed(Side, String),
}

impl Comparison {
    /// Asks for the next page; `None`: that was the last. Shard 0 has all retained messages, as each has.
    fn ask(mut surveys: Vec<Survey>, house: &House) -> Option<Comparison> {
        let survey = Box::new(surveys.pop()?);
        let (reply, reports) = channel();
        house
            .shards
            .tell_surely(ShardId(0), ToShard::Survey { survey, reply });
        Some(Comparison { surveys, reports })
    }
}

/// A bridge.
pub struct Running {
    terms: Terms,
    joint: Arc<Joint>,
    wake: Arc<EventFd>,
    sockets: [Option<Socket>; 2],
    dial: Option<Dial>,
    /// Connected to the other broker; its TLS is not agreed yet.
    shaking: Option<Socket>,
    /// A shard is to carry its packets.
    handing_over: Option<TcpStream>,
    farewells: Vec<Farewell>,
    later: VecDeque<Later>,
    /// The answers to the last question how many messages wait.
    waiting: Option<Answers>,
    comparison: Option<Comparison>,
    /// When that is asked next, while messages cross.
    look: Time,
    leaving: bool,
    /// What it becomes when its connection ends.
    next: Option<Box<Bridge>>,
}

const SIDES: [Side; 2] = [Side::Local, Side::Remote];

fn index(side: Side) -> usize {
    match side {
        Side::Local => 0,
        Side::Remote => 1,
    }
}

/// What each of its connections gets.
pub fn options(bridge: &Bridge) -> Options {
    Options {
        bind_address: bridge.bind_address.clone(),
        keepalive: bridge.tcp_keepalive,
        user_timeout_ms: bridge.tcp_user_timeout_ms,
    }
}

/// Do these say the same, whatever their lines are?
pub fn is_same(one: &Bridge, other: &Bridge) -> bool {
    let mut other = other.clone();
    other.place.clone_from(&one.place);
    if one.topics.len() == other.topics.len() {
        for (topic, of) in other.topics.iter_mut().zip(&one.topics) {
            topic.place.clone_from(&of.place);
        }
    }
    *one == other
}

impl Running {
    /// Not begun.
    pub fn new(
        terms: Terms,
        seed: u64,
        wake: Arc<EventFd>,
        loops: SharedLoops,
        clock: Clock,
    ) -> Running {
        let machine = Machine::new(terms.clone(), seed);
        let joint = Joint::new(machine, loops, clock, Arc::clone(&wake));
        Running {
            terms,
            joint: Arc::new(joint),
            wake,
            sockets: [None, None],
            dial: None,
            shaking: None,
            handing_over: None,
            farewells: Vec::new(),
            later: VecDeque::new(),
            waiting: None,
            comparison: None,
            look: Time(0),
            leaving: false,
            next: None,
        }
    }

    /// What it goes by.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Begins.
    pub fn start(&mut self, now: Time, house: &House) {
        let mut actions = Actions::new();
        self.joint.with(|machine| machine.start(now, &mut actions));
        self.carry_out(actions, now, house);
        self.settle(now, house);
    }

    /// Ends, whatever it is doing. It is there until its last bytes have left.
    pub fn stop(&mut self, now: Time, house: &House) {
        self.leaving = true;
        self.handle(now, Event::Stop, house);
        self.settle(now, house);
    }

    /// It need not end at once to be this bridge: it is that already, or becomes that later.
    pub fn may_go_on_as(&self, bridge: &Bridge) -> bool {
        let own = &self.terms().bridge;
        let later = own.name == bridge.name && !bridge.reload_at_once;
        is_same(own, bridge) || later && self.is_up()
    }

    /// From the end of its connection on it is this bridge.
    pub fn becomes(&mut self, bridge: Bridge, house: &House) {
        if is_same(&self.terms().bridge, &bridge) {
            self.next = None;
            return;
        }
        let text = format!(
            "bridge {}: its changes are in force from its next connection on; `bridge_reload_type immediate` makes them so at once",
            Shown(&bridge.name)
        );
        house.log.line(LogLevel::Info, text);
        self.next = Some(Box::new(bridge));
    }

    /// Its connection has ended: what it becomes now.
    pub fn is_due(&mut self) -> Option<Box<Bridge>> {
        if self.is_up() || self.leaving {
            return None;
        }
        self.next.take()
    }

    fn is_up(&self) -> bool {
        self.state().0 == State::Up
    }

    /// Where it is, and since when.
    fn state(&self) -> (State, Time) {
        self.joint.with(|machine| machine.state())
    }

    fn wants(&self, side: Side) -> bool {
        self.joint.with(|machine| machine.wants(side))
    }

    /// It was stopped.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Last bytes are on their way.
    pub fn has_farewells(&self) -> bool {
        !self.farewells.is_empty() || self.leaving && self.joint.has_link()
    }

    /// It was stopped, and its last bytes have left.
    pub fn is_gone(&self) -> bool {
        self.leaving && !self.has_farewells()
    }

    /// Writes down how it is. Only the counts where nothing else has changed, as they change all the time.
    pub fn write(&self, entry: &mut Entry) {
        let terms = self.terms();
        let (state, since) = self.state();
        entry.joint = Some(Arc::clone(&self.joint));
        if (entry.state, entry.since) == (words::state(state), since)
            && entry.name == terms.bridge.name
        {
            return;
        }
        let status = self.joint.with(|machine| machine.status());
        *entry = Entry {
            name: terms.bridge.name.clone(),
            state: words::state(state),
            address: words::address(terms, status.address),
            since,
            seconds: 0,
            last_error: status.last.as_ref().map(words::why),
            counts: status.counts,
            joint: Some(Arc::clone(&self.joint)),
            waiting: None,
            local_client_id: terms.local_client_id.clone(),
        };
    }

    /// When it must turn, whatever its sockets do.
    pub fn next_deadline(&self, now: Time) -> Time {
        let farewells = self.farewells.iter().map(|farewell| farewell.until);
        farewells
            .chain([self.joint.next_deadline(), self.look_deadline()])
            // Shards wake nobody who has asked them.
            .chain(
                self.comparison
                    .as_ref()
                    .map(|_| now + limits::BRIDGE_COMPARE_MS),
            )
            .min()
            .unwrap_or(Time::NEVER)
    }

    /// When it looks what was lost in the queue here. While nothing crosses, each attempt to connect looks.
    fn look_deadline(&self) -> Time {
        match self.state() {
            (State::Up, since) => self.look.max(since + limits::BRIDGE_DROPS_TOLD_MS),
            _ => Time::NEVER,
        }
    }

    /// Adds what it waits for.
    pub fn wait<'a>(&'a self, polled: &mut Vec<PollFd<'a>>) -> Waits {
        let mut waits = Waits::default();
        for side in SIDES {
            let Some(socket) = &self.sockets[index(side)] else {
                continue;
            };
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, self.wants(side));
            let has_unsent = self.joint.with(|machine| machine.has_unsent(side));
            let unsent = has_unsent || socket.wants_write();
            flags.set(PollFlags::POLLOUT, unsent);
            if flags.is_empty() {
                // A hang-up is told whatever is asked for, and nobody would look at it.
                continue;
            }
            waits.sides[index(side)] = Some(polled.len());
            polled.push(PollFd::new(socket.as_fd(), flags));
        }
        if let Some(socket) = self.dial.as_ref().and_then(Dial::socket) {
            waits.dial = Some(polled.len());
            polled.push(PollFd::new(socket.as_fd(), PollFlags::POLLOUT));
        }
        if let Some(socket) = &self.shaking {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, socket.wants_write());
            waits.shaking = Some(polled.len());
            polled.push(PollFd::new(socket.as_fd(), flags));
        }
        for farewell in &self.farewells {
            polled.push(PollFd::new(farewell.socket.as_fd(), PollFlags::POLLOUT));
        }
        waits
    }

    /// Does what has come up.
    pub fn turn(
        &mut self,
        waits: &Waits,
        ready: &[PollFlags],
        now: Time,
        house: &House,
        buffer: &mut [u8],
    ) {
        let is_ready = |at: Option<usize>| at.is_some_and(|at| !ready[at].is_empty());
        let actions = self.joint.take_actions();
        self.carry_out(actions, now, house);
        self.send_farewells(now);
        if self.dial.is_some() {
            self.go_on_dialling(is_ready(waits.dial), now, house);
        }
        if is_ready(waits.shaking) {
            self.shake();
            self.settle(now, house);
        }
        for side in SIDES {
            let ready = is_ready(waits.sides[index(side)]) || self.has_opened(side);
            if ready && self.wants(side) {
                self.receive(side, now, house, buffer);
            }
        }
        self.look_at_waiting(now, house);
        self.compare(now, house);
        if self.joint.next_deadline() <= now {
            self.handle(now, Event::Tick, house);
        }
        if self.look_deadline() <= now {
            self.look = now + limits::BRIDGE_DROPS_TOLD_MS;
            self.ask_waiting(house);
        }
        self.settle(now, house);
    }

    /// Bytes wait that TLS has opened, of which the system tells nothing.
    fn has_opened(&self, side: Side) -> bool {
        self.sockets[index(side)]
            .as_ref()
            .is_some_and(Socket::has_opened)
    }

    /// There is something to do without waiting.
    pub fn is_busy(&self) -> bool {
        SIDES
            .into_iter()
            .any(|side| self.has_opened(side) && self.wants(side))
    }

    /// Goes on with the handshake of TLS.
    fn shake(&mut self) {
        let Some(mut socket) = self.shaking.take() else {
            return;
        };
        match socket.shake() {
            Ok(true) => {
                self.sockets[index(Side::Remote)] = Some(socket);
                self.later.push_back(Later::Opened(Side::Remote));
            }
            Ok(false) => self.shaking = Some(socket),
            Err(error) => {
                let how = error.to_string();
                self.later.push_back(Later::Closed(Side::Remote, how));
            }
        }
    }

    /// Tells the machine, and carries out what it asks for.
    fn handle(&mut self, now: Time, event: Event<'_>, house: &House) {
        let actions = self.joint.handle(now, event);
        self.carry_out(actions, now, house);
    }

    /// Sends what is to be sent, and handles what came up by that.
    fn settle(&mut self, now: Time, house: &House) {
        loop {
            while let Some(later) = self.later.pop_front() {
                match later {
                    Later::Opened(side) => {
                        self.handle(now, Event::Opened(side), house);
                        self.hand_over(house);
                    }
                    Later::Closed(side, how) => {
                        self.handle(now, Event::Closed(side, &how), house);
                    }
                }
            }
            let mut made_room = false;
            for side in SIDES {
                let held = !self.wants(side.other());
                self.send(side, now);
                made_room |= held && self.wants(side.other());
            }
            if made_room {
                // What waited behind full outgoing bytes.
                self.handle(now, Event::Bytes(Side::Remote, &[]), house);
            } else if self.later.is_empty() {
                break;
            }
        }
        if self.joint.has_news() {
            house.shards.tell_all(|| ToShard::Bridges);
        }
    }

    fn carry_out(&mut self, actions: Actions, now: Time, house: &House) {
        for action in actions {
            match action {
                Action::Connect(index) => self.connect(index),
                Action::OpenLocal => self.open_local(house),
                Action::Close(side) => self.close(side, now),
                Action::Publish { up } => self.publish(up, house),
                Action::AskWaiting => self.ask_waiting(house),
                Action::AskRetained => self.ask_retained(house),
                Action::Tell(told) => self.tell(&told, house),
            }
        }
    }

    fn tell(&self, told: &Told, house: &House) {
        let terms = self.terms();
        let (level, text) = words::sentence(terms, told);
        if let Some(change) = words::change(told) {
            house.recent.note(Box::new(Happening::Bridge {
                name: terms.bridge.name.as_str().into(),
                change,
                level,
                text: text.as_str().into(),
            }));
        }
        house.log.line(level, text);
    }

    fn connect(&mut self, address: usize) {
        let bridge = &self.terms.bridge;
        let Some((host, port)) = bridge.addresses.get(address) else {
            return;
        };
        let options = options(bridge);
        let wake = Arc::clone(&self.wake);
        let mut dial = Dial::new(host, *port, options, move || {
            let _ = wake.write(1);
        });
        let dialled = dial.go_on(false);
        self.dial = Some(dial);
        self.after_dialling(dialled);
    }

    fn go_on_dialling(&mut self, writable: bool, now: Time, house: &House) {
        if let Some(dial) = &mut self.dial {
            let dialled = dial.go_on(writable);
            self.after_dialling(dialled);
            self.settle(now, house);
        }
    }

    fn after_dialling(&mut self, dialled: Dialled) {
        match dialled {
            Dialled::NotYet => {}
            Dialled::There(stream) => {
                self.dial = None;
                let terms = &self.terms;
                let address = self.joint.with(|machine| machine.status().address);
                let host = terms.bridge.addresses.get(address);
                let host = host.map_or("", |(host, _)| host);
                let tls = terms.bridge.tls.as_ref();
                match tls.map(|tls| outward::connection(tls, host, &Disk)) {
                    None => {
                        self.sockets[index(Side::Remote)] = Some(Socket::Remote(stream));
                        self.later.push_back(Later::Opened(Side::Remote));
                    }
                    Some(Ok(tls)) => {
                        self.shaking = Some(Socket::sealed(stream, tls));
                        self.shake();
                    }
                    Some(Err(how)) => self.later.push_back(Later::Closed(Side::Remote, how)),
                }
            }
            Dialled::Failed(how) => {
                self.dial = None;
                self.later.push_back(Later::Closed(Side::Remote, how));
            }
        }
    }

    /// By which listener it comes in here.
    fn listener(&self, house: &House) -> ListenerId {
        match self.terms().bridge.local_user {
            Some(_) => house.listener,
            None => house.nameless_listener,
        }
    }

    /// The shard that carries the packets has its first ones: it gets the connection to the other broker.
    fn hand_over(&mut self, house: &House) {
        let Some(stream) = self.handing_over.take() else {
            return;
        };
        let bridged = self.joint.carry();
        let listener = self.listener(house);
        let link = Link::bridged(stream.into(), UNIX_PEER, listener, bridged);
        house
            .shards
            .tell_surely(ShardId(0), ToShard::Connected(Box::new(link)));
    }

    /// Gives the connection to the other broker to a shard. Where there is none, or it is inside TLS, a shard gets one
    /// end of a pair of sockets, and the packets cross here.
    fn open_local(&mut self, house: &House) {
        let remote = &mut self.sockets[index(Side::Remote)];
        if let Some(Socket::Remote(stream)) = remote
            && stream.set_nonblocking(false).is_ok()
            && let Some(Socket::Remote(stream)) = remote.take()
        {
            self.handing_over = Some(stream);
            self.later.push_back(Later::Opened(Side::Local));
            return;
        }
        let pair = UnixStream::pair().and_then(|(ours, theirs)| {
            ours.set_nonblocking(true)?;
            Ok((ours, theirs))
        });
        match pair {
            Ok((ours, theirs)) => {
                let wrapping = Wrapping::default();
                let link = Link::new(theirs.into(), UNIX_PEER, self.listener(house), &wrapping);
                house
                    .shards
                    .tell_surely(ShardId(0), ToShard::Connected(Box::new(link)));
                self.sockets[index(Side::Local)] = Some(Socket::Local(ours));
                self.later.push_back(Later::Opened(Side::Local));
            }
            Err(error) => {
                let how = error.to_string();
                self.later.push_back(Later::Closed(Side::Local, how));
            }
        }
    }

    /// Closes when the last bytes have left.
    fn close(&mut self, side: Side, now: Time) {
        let of_side = |later: &Later| match later {
            Later::Opened(of) | Later::Closed(of, _) => *of == side,
        };
        self.later.retain(|later| !of_side(later));
        if side == Side::Remote {
            self.dial = None;
            self.shaking = None;
            self.handing_over = None;
        }
        let bytes = self.joint.with(|machine| {
            let outgoing = machine.outgoing(side);
            let bytes = outgoing.unsent().to_vec();
            outgoing.taken(bytes.len());
            bytes
        });
        if let Some(socket) = self.sockets[index(side)].take() {
            self.farewells.push(Farewell {
                socket,
                bytes,
                until: now + limits::BRIDGE_FAREWELL_MS,
            });
            self.send_farewells(now);
        }
    }

    fn send_farewells(&mut self, now: Time) {
        self.farewells.retain_mut(|farewell| {
            while !farewell.bytes.is_empty() {
                match farewell.socket.write(&farewell.bytes) {
                    Ok(count) if count > 0 => drop(farewell.bytes.drain(..count)),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return farewell.until > now;
                    }
                    Ok(_) | Err(_) => return false,
                }
            }
            // What TLS has sealed leaves too.
            matches!(farewell.socket.finish(), Ok(false)) && farewell.until > now
        });
    }

    /// Publishes the state here.
    fn publish(&self, up: bool, house: &House) {
        let Some(topic) = &self.terms().notification else {
            return;
        };
        let payload = STATES[usize::from(up)];
        if let Ok(message) = OwnMessage::new(topic, payload, QoS::AtLeastOnce, true) {
            house
                .shards
                .tell_surely(ShardId(0), ToShard::Publish(message));
        }
    }

    fn ask_waiting(&mut self, house: &House) {
        let (reply, reports) = channel();
        let client_id = &self.terms.local_client_id;
        house.shards.tell_all(|| ToShard::Survey {
            survey: Box::new(Survey::session(client_id)),
            reply: reply.clone(),
        });
        self.waiting = Some(Answers {
            reports,
            count: 0,
            dropped: 0,
        });
    }

    fn ask_retained(&mut self, house: &House) {
        let filters = self.terms().mapping.targets(Way::In);
        let surveys = filters
            .iter()
            .filter_map(|filter| Survey::retained_of(filter, true).ok());
        self.comparison = Comparison::ask(surveys.collect(), house);
    }

    fn compare(&mut self, now: Time, house: &House) {
        while let Some(mut comparison) = self.comparison.take() {
            let report = match comparison.reports.try_recv() {
                Ok(report) => *report,
                Err(TryRecvError::Empty) => {
                    self.comparison = Some(comparison);
                    return;
                }
                // The shard has ended.
                Err(TryRecvError::Disconnected) => return,
            };
            comparison.surveys.extend(report.next);
            self.comparison = Comparison::ask(comparison.surveys, house);
            if let Found::Retained(page) = report.found {
                for found in &page {
                    let payload = found.value.as_ref().map_or(&[][..], Message::payload);
                    let event = Event::Retained(&found.topic, payload);
                    self.handle(now, event, house);
                }
            }
            if self.comparison.is_none() {
                self.handle(now, Event::RetainedEnd, house);
            }
        }
    }

    /// Looks whether all shards have answered; they wake nobody for that.
    fn look_at_waiting(&mut self, now: Time, house: &House) {
        let Some(answers) = &mut self.waiting else {
            return;
        };
        loop {
            match answers.reports.try_recv() {
                Ok(report) => {
                    if let Found::Sessions(sessions) = &report.found {
                        for session in sessions {
                            answers.count += session.queued + session.in_flight;
                            answers.dropped += session.dropped;
                        }
                    }
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => break,
            }
        }
        let Answers { count, dropped, .. } = *answers;
        self.waiting = None;
        self.handle(now, Event::Waiting { count, dropped }, house);
    }

    fn receive(&mut self, side: Side, now: Time, house: &House, buffer: &mut [u8]) {
        let Some(socket) = &mut self.sockets[index(side)] else {
            return;
        };
        match socket.read(buffer) {
            Ok(0) => self.closed(side, "the other broker has closed the connection"),
            Ok(count) => self.handle(now, Event::Bytes(side, &buffer[..count]), house),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => self.closed(side, &error.to_string()),
        }
    }

    fn send(&mut self, side: Side, now: Time) {
        while let Some(socket) = &mut self.sockets[index(side)] {
            let sent = self.joint.with(|machine| {
                let unsent = machine.outgoing(side).unsent();
                if unsent.is_empty() {
                    return None;
                }
                let sent = socket.write(unsent);
                if let Ok(count) = sent {
                    machine.sent(side, count, now);
                }
                Some(sent)
            });
            let Some(sent) = sent else {
                if let Err(error) = socket.flush() {
                    self.closed(side, &error.to_string());
                }
                return;
            };
            match sent {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return self.closed(side, &error.to_string()),
            }
        }
    }

    /// The connection is gone.
    fn closed(&mut self, side: Side, how: &str) {
        self.sockets[index(side)] = None;
        self.later.push_back(Later::Closed(side, how.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::props::terms;
    use crate::bridge::{Actions, Loops};
    use nix::poll::{PollTimeout, poll};

    /// The other broker hangs up while nothing is read from it: `poll` would tell that again and again.
    #[test]
    fn a_socket_of_which_nothing_is_wanted_wakes_nobody() {
        let terms = terms("topic a out\nlocal_cleansession true\n");
        let wake = Arc::new(EventFd::new().unwrap());
        let mut running = Running::new(terms, 1, wake, SharedLoops::default(), Clock::start());
        let (ours, theirs) = UnixStream::pair().unwrap();
        running.sockets[index(Side::Remote)] = Some(Socket::Local(ours));
        let now = Time(1);
        running.joint.with(|machine| {
            let (mut loops, mut actions) = (Loops::default(), Actions::new());
            machine.start(now, &mut actions);
            // CONNACK: now this broker is asked, and the other one waits.
            for event in [
                Event::Opened(Side::Remote),
                Event::Bytes(Side::Remote, &[0x20, 2, 0, 0]),
            ] {
                machine.handle(now, event, &mut loops, &mut actions);
            }
            machine.sent(Side::Remote, usize::MAX, now);
            assert!(!machine.wants(Side::Remote));
        });
        drop(theirs);
        let mut polled = Vec::new();
        running.wait(&mut polled);
        assert_eq!(poll(&mut polled, PollTimeout::ZERO), Ok(0));
    }
}
