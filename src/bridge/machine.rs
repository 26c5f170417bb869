//! The life of one bridge.
//!
//! ```text
//! Preparing ─► Connecting ─► LoggingIn ─► OpeningLocal ─► Relaying
//!     │            ▲  │           │             │             │
//!     ▼            │  └───────────┴──── Lost ───┴─────────────┘
//!   Asleep ────────┴── Waiting ◄───────────────┘
//! ```
//!
//! *Preparing* makes the Session at this broker and subscribes there, so that messages wait while the other broker is
//! away. Then the connection to this broker is given up until the other broker has accepted us: a Client that is
//! connected and does not read would hold publishers back.
//!
//! The order of calls: [`Machine::start`] once; [`Machine::handle`] for each event, whose actions are carried out
//! before the next event; [`Machine::outgoing`] gives what is to be sent; [`Machine::wants`] says whether a socket is
//! read; [`Event::Tick`] at [`Machine::next_deadline`].

use super::asked::{Asked, STATE_ID, append_state, subscribe_local};
use super::backoff::{Addresses, Backoff};
use super::client::Outgoing;
use super::event::{Action, Actions, Counts, Event, Side, State, Status, Told, Why};
use super::loops::Loops;
use super::mapping::Way;
use super::relay::{Relay, Stop};
use super::terms::Terms;
use crate::config::mosquitto::StartType;
use crate::limits;
use crate::random::SplitMix64;
use crate::time::Time;
use crate::wire::{
    self, ConnAck, Disconnect, Frame, Packet, ReasonCode, RetainHandling, SubAck, Version,
    packet_type,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The Session here is made.
    Preparing {
        until: Time,
    },
    /// Until then nothing is tried.
    Waiting {
        until: Time,
    },
    /// A lazy bridge, and when it looks again.
    Asleep {
        look: Time,
    },
    Connecting {
        until: Time,
    },
    /// The other broker has our CONNECT.
    LoggingIn {
        until: Time,
    },
    /// The other broker has accepted us; this one is asked.
    OpeningLocal {
        until: Time,
    },
    /// Packets cross. Until then the first answers must be there.
    Relaying {
        until: Time,
    },
    /// Nothing more is tried.
    Ended,
}

/// One bridge.
#[derive(Debug)]
pub struct Machine {
    terms: Terms,
    relay: Relay,
    phase: Phase,
    state: State,
    since: Time,
    last: Option<Why>,
    /// The Session here is made.
    prepared: bool,
    /// The state here is 1.
    is_up: bool,
    /// The Session at the other broker was there.
    session_present: bool,
    /// What is asked first.
    asked: Asked,
    address: usize,
    addresses: Addresses,
    backoff: Backoff,
    random: SplitMix64,
    /// Retained messages that were deleted here and told of.
    deleted_told: u64,
    /// The other broker has refused a subscription of this connection.
    is_refused: bool,
    /// Messages that found the queue of the present Session here full, as far as it was asked.
    queue_dropped: u64,
    /// Drops that were told of, and when.
    dropped_told: u64,
    told: Time,
}

impl Machine {
    /// `seed`: of the jitter.
    pub fn new(terms: Terms, seed: u64) -> Machine {
        let bridge = &terms.bridge;
        Machine {
            relay: Relay::new(&terms),
            phase: Phase::Ended,
            state: State::Starting,
            since: Time(0),
            last: None,
            prepared: false,
            is_up: false,
            session_present: false,
            asked: Asked::default(),
            address: 0,
            addresses: Addresses::new(bridge.addresses.len(), bridge.round_robin),
            backoff: Backoff::new(bridge.restart_base_s, bridge.restart_cap_s),
            random: SplitMix64::new(seed),
            deleted_told: 0,
            is_refused: false,
            queue_dropped: 0,
            dropped_told: 0,
            told: Time(0),
            terms,
        }
    }

    /// What it goes by.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Where it is, and since when.
    pub fn state(&self) -> (State, Time) {
        (self.state, self.since)
    }

    /// What has crossed.
    pub fn counts(&self) -> Counts {
        self.relay.counts
    }

    /// How it is.
    pub fn status(&self) -> Status {
        Status {
            state: self.state,
            since: self.since,
            address: self.address,
            last: self.last.clone(),
            counts: self.relay.counts,
        }
    }

    /// Begins.
    pub fn start(&mut self, now: Time, out: &mut Actions) {
        out.push(Action::Publish { up: false });
        self.since = now;
        self.begin(now, out);
    }

    /// The next thing to do: the Session here, or the other broker.
    fn begin(&mut self, now: Time, out: &mut Actions) {
        if !self.prepared && !self.terms.bridge.local_clean_session {
            let until = now + limits::BRIDGE_LOGIN_MS;
            self.phase = Phase::Preparing { until };
            out.push(Action::OpenLocal);
        } else if self.terms.bridge.start == StartType::Lazy && self.state != State::Connecting {
            self.enter(State::Asleep, now);
            self.phase = Phase::Asleep { look: now };
        } else {
            self.connect(now, out);
        }
    }

    fn connect(&mut self, now: Time, out: &mut Actions) {
        self.enter(State::Connecting, now);
        self.address = self.addresses.pick(now);
        let until = now + limits::BRIDGE_CONNECT_MS;
        self.phase = Phase::Connecting { until };
        out.push(Action::Tell(Told::Connecting(self.address)));
        out.push(Action::Connect(self.address));
        // What was lost while nobody was there to take it.
        out.push(Action::AskWaiting);
    }

    fn enter(&mut self, state: State, now: Time) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }

    /// Bytes of packets that it holds: received and not handled, or not sent yet.
    pub fn held_bytes(&self) -> usize {
        let clients = [&self.relay.local, &self.relay.remote];
        clients.iter().map(|client| client.held_bytes()).sum()
    }

    /// What is to be sent to this side.
    pub fn outgoing(&mut self, side: Side) -> &mut Outgoing {
        &mut self.relay.client(side).outgoing
    }

    /// Is there something to be sent to this side?
    pub fn has_unsent(&self, side: Side) -> bool {
        let client = match side {
            Side::Local => &self.relay.local,
            Side::Remote => &self.relay.remote,
        };
        !client.outgoing.is_empty()
    }

    /// A socket has taken so many bytes of that.
    pub fn sent(&mut self, side: Side, count: usize, now: Time) {
        let client = self.relay.client(side);
        client.outgoing.taken(count);
        client.left(now);
    }

    /// Is this side read from?
    pub fn wants(&self, side: Side) -> bool {
        !self.is_held(side)
    }

    /// Packets of this side wait.
    fn is_held(&self, side: Side) -> bool {
        match (self.phase, side) {
            (Phase::Relaying { .. }, _) => self.relay.is_full(side),
            (Phase::OpeningLocal { .. }, Side::Remote) => true,
            _ => false,
        }
    }

    /// When [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Time {
        let of_phase = match self.phase {
            Phase::Preparing { until }
            | Phase::Waiting { until }
            | Phase::Connecting { until }
            | Phase::LoggingIn { until }
            | Phase::OpeningLocal { until } => until,
            Phase::Relaying { until } => until
                .min(self.idle_deadline())
                .min(self.relay.retained.deadline()),
            Phase::Asleep { look } => look,
            Phase::Ended => Time::NEVER,
        };
        of_phase.min(self.relay.remote.ping_deadline())
    }

    /// When a lazy bridge has been idle long enough.
    fn idle_deadline(&self) -> Time {
        match self.terms.bridge.start {
            StartType::Lazy => self.relay.crossed.plus_s(self.terms.bridge.idle_timeout_s),
            StartType::Automatic | StartType::Once => Time::NEVER,
        }
    }

    /// Applies one event, and appends what must follow.
    pub fn handle(&mut self, now: Time, event: Event<'_>, loops: &mut Loops, out: &mut Actions) {
        let unsent = [&self.relay.local, &self.relay.remote].map(|c| c.outgoing.unsent().len());
        match event {
            Event::Tick => self.on_tick(now, out),
            Event::Opened(side) => self.on_opened(side, now, out),
            Event::Bytes(side, bytes) => self.on_bytes(side, bytes, loops, now, out),
            Event::Closed(side, how) => self.on_closed(side, how, now, out),
            Event::Waiting { count, dropped } => {
                let before = std::mem::replace(&mut self.queue_dropped, dropped);
                if dropped < before {
                    // That Session is gone, and another counts anew.
                    self.relay.counts.dropped_before += before;
                }
                if matches!(self.phase, Phase::Asleep { .. })
                    && count >= self.terms.bridge.threshold as usize
                {
                    self.connect(now, out);
                }
            }
            Event::Retained(topic, payload) => {
                let relaying = matches!(self.phase, Phase::Relaying { .. });
                if relaying && self.relay.retained.is_gone(topic, payload) {
                    self.relay.delete_here(topic);
                }
            }
            Event::RetainedEnd => {
                self.relay.retained.end();
                let deleted = self.relay.counts.deleted;
                let more = deleted - std::mem::replace(&mut self.deleted_told, deleted);
                if more > 0 {
                    out.push(Action::Tell(Told::Deleted(more)));
                }
            }
            Event::Stop => self.lose(Why::Stopped, now, out),
        }
        for (client, unsent) in [&mut self.relay.local, &mut self.relay.remote]
            .into_iter()
            .zip(unsent)
        {
            if client.outgoing.unsent().len() > unsent {
                client.appended(now);
            }
        }
        if matches!(self.phase, Phase::Relaying { .. }) && self.relay.is_unread() {
            self.lose(Why::Unread, now, out);
        }
        self.tell_drops(now, out);
    }

    fn tell_drops(&mut self, now: Time, out: &mut Actions) {
        let counts = &self.relay.counts;
        let (unsent, queue) = (counts.dropped, counts.dropped_before + self.queue_dropped);
        let dropped = unsent + queue;
        if dropped > self.dropped_told
            && (self.dropped_told == 0 || now.since_ms(self.told) >= limits::BRIDGE_DROPS_TOLD_MS)
        {
            (self.dropped_told, self.told) = (dropped, now);
            out.push(Action::Tell(Told::Dropping { unsent, queue }));
        }
    }

    fn on_tick(&mut self, now: Time, out: &mut Actions) {
        match self.phase {
            Phase::Waiting { until } if until <= now => self.begin_again(now, out),
            Phase::Asleep { look } if look <= now => {
                let look = now + limits::BRIDGE_LOOK_MS;
                self.phase = Phase::Asleep { look };
                out.push(Action::AskWaiting);
            }
            Phase::Connecting { until } if until <= now => {
                self.lose(Why::ConnectTimedOut, now, out)
            }
            Phase::LoggingIn { until } if until <= now => self.lose(Why::LoginTimedOut, now, out),
            Phase::Preparing { until } | Phase::OpeningLocal { until } if until <= now => {
                self.lose(Why::EndedHere, now, out);
            }
            Phase::Relaying { until } if until <= now => self.lose(Why::LoginTimedOut, now, out),
            Phase::Relaying { .. } if self.idle_deadline() <= now => {
                if self.relay.under_way() == 0 {
                    self.lose(Why::Idle, now, out);
                } else {
                    self.relay.crossed = now;
                }
            }
            _ => {}
        }
        if matches!(self.phase, Phase::Relaying { .. }) && self.relay.retained.deadline() <= now {
            let bytes = self.relay.remote.outgoing.bytes();
            wire::encode(&Packet::PingReq, self.terms.version, bytes);
            self.relay.retained.ask();
        }
        if self.is_held(Side::Remote) {
            // What is not read is no silence.
            self.relay.remote.held(now);
        }
        if !self.relay.remote.ping(now) {
            self.lose(Why::Silent, now, out);
        }
    }

    /// A pause is over. A lazy bridge that was connected sleeps; one that failed tries again.
    fn begin_again(&mut self, now: Time, out: &mut Actions) {
        if self.state == State::Down {
            self.enter(State::Connecting, now);
        }
        self.begin(now, out);
    }

    fn on_opened(&mut self, side: Side, now: Time, out: &mut Actions) {
        let aliases = match side {
            Side::Local => 0,
            Side::Remote => self.terms.bridge.topic_alias_max,
        };
        self.relay.client(side).reset(aliases, now);
        match (side, self.phase) {
            (Side::Remote, Phase::Connecting { .. }) => {
                let until = now + limits::BRIDGE_LOGIN_MS;
                self.phase = Phase::LoggingIn { until };
                let bytes = self.relay.remote.outgoing.bytes();
                self.terms.connect().encode(bytes);
            }
            (Side::Local, Phase::Preparing { .. } | Phase::OpeningLocal { .. }) => {
                // What is under way here is under way there.
                let receive_maximum = self.relay.remote.takes.receive_maximum;
                let bytes = self.relay.local.outgoing.bytes();
                self.terms.connect_local(receive_maximum).encode(bytes);
            }
            _ => out.push(Action::Close(side)),
        }
    }

    fn on_bytes(
        &mut self,
        side: Side,
        bytes: &[u8],
        loops: &mut Loops,
        now: Time,
        out: &mut Actions,
    ) {
        self.take(side, bytes, loops, now, out);
        // What one side has brought may have made room for the other.
        for side in [Side::Local, Side::Remote] {
            if self.relay.client(side).has_received() && !self.is_held(side) {
                self.take(side, &[], loops, now, out);
            }
        }
    }

    /// Handles whole packets until one must wait.
    fn take(&mut self, side: Side, bytes: &[u8], loops: &mut Loops, now: Time, out: &mut Actions) {
        let received = self.relay.client(side).take_received(bytes, now);
        let mut at = 0;
        while !self.is_held(side) {
            let frame = match self.relay.client(side).frame(&received[at..]) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(why) => return self.lose(why, now, out),
            };
            match self.on_frame(side, &frame, loops, now, out) {
                Ok(true) => {}
                // The connection is given up, and the rest with it.
                Ok(false) => return,
                Err(Stop::Because(why)) => return self.lose(why, now, out),
                Err(Stop::Loop { topic, line }) => return self.pause(topic, line, now, out),
            }
            at += frame.bytes.len();
        }
        self.relay.client(side).put_received(received, at);
    }

    /// `false`: the connection is given up.
    fn on_frame(
        &mut self,
        side: Side,
        frame: &Frame<'_>,
        loops: &mut Loops,
        now: Time,
        out: &mut Actions,
    ) -> Result<bool, Stop> {
        let client = self.relay.client(side);
        let packet = wire::decode(Some(client.version), frame).map_err(Why::Malformed)?;
        let relaying = matches!(self.phase, Phase::Relaying { .. });
        match packet {
            Packet::ConnAck(connack) if !self.relay.client(side).accepted => {
                return self.on_connack(side, &connack, now, out);
            }
            Packet::Publish(publish) if relaying => {
                self.relay
                    .publish(side, &publish, &self.terms, loops, now)?;
            }
            Packet::Ack(kind, ack) if relaying => {
                let of_state = side == Side::Remote
                    && kind == wire::AckKind::PubAck
                    && ack.packet_id == STATE_ID;
                if of_state && self.asked.remote_answered(STATE_ID) {
                    self.look_if_up(now, out);
                } else {
                    self.relay.acknowledge(side, kind, &ack)?;
                }
            }
            Packet::SubAck(suback) => return self.on_suback(side, &suback, now, out),
            Packet::UnsubAck(unsuback) if side == Side::Remote => {
                self.asked.remote_answered(unsuback.packet_id);
                self.look_if_up(now, out);
            }
            // The Session here has messages under way, but it is only made ready. They come again.
            Packet::Publish(_) | Packet::Ack(..) if side == Side::Local => {}
            Packet::PingResp => {
                let is_under_way = self.relay.is_inward_under_way();
                if side == Side::Remote && self.relay.retained.on_answer(is_under_way, now) {
                    out.push(Action::AskRetained);
                }
            }
            Packet::Disconnect(disconnect) if self.relay.client(side).version == Version::V5 => {
                return Err(match side {
                    Side::Local => Why::EndedHere,
                    Side::Remote => Why::disconnected(&disconnect),
                }
                .into());
            }
            _ => return Err(Why::Unexpected(frame.packet_type()).into()),
        }
        Ok(true)
    }

    fn on_connack(
        &mut self,
        side: Side,
        connack: &ConnAck<'_>,
        now: Time,
        out: &mut Actions,
    ) -> Result<bool, Stop> {
        if connack.code != 0 {
            return Err(match side {
                Side::Local => Why::RefusedHere(connack.code),
                Side::Remote => Why::refused(self.terms.version, connack),
            }
            .into());
        }
        match (side, self.phase) {
            (Side::Remote, Phase::LoggingIn { .. }) => {
                self.relay
                    .remote
                    .accept(connack, limits::OUTWARD_ALIASES_MAX);
                // 3.1 does not tell; its broker has the Session unless we asked for a clean one.
                self.session_present = match self.terms.version {
                    Version::V31 => !self.terms.bridge.clean_session,
                    Version::V311 | Version::V5 => connack.session_present,
                };
                let until = now + limits::BRIDGE_LOGIN_MS;
                self.phase = Phase::OpeningLocal { until };
                out.push(Action::OpenLocal);
            }
            (Side::Local, Phase::Preparing { .. }) => {
                self.relay.local.accept(connack, 0);
                if !subscribe_local(RetainHandling::DoNotSend, &self.terms, &mut self.relay) {
                    self.end_preparing(now, out);
                    return Ok(false);
                }
            }
            (Side::Local, Phase::OpeningLocal { .. }) => {
                self.relay.local.accept(connack, 0);
                self.begin_relay(connack.session_present, now, out);
            }
            _ => return Err(Why::Unexpected(packet_type::CONNACK).into()),
        }
        Ok(true)
    }

    /// Both brokers have accepted us.
    fn begin_relay(&mut self, local_present: bool, now: Time, out: &mut Actions) {
        self.relay.begin(local_present, self.session_present, now);
        self.is_refused = false;
        self.addresses.worked();
        let until = now + limits::BRIDGE_LOGIN_MS;
        self.phase = Phase::Relaying { until };
        self.asked
            .begin(local_present, &self.terms, &mut self.relay);
        self.look_if_up(now, out);
    }

    fn on_suback(
        &mut self,
        side: Side,
        suback: &SubAck<'_>,
        now: Time,
        out: &mut Actions,
    ) -> Result<bool, Stop> {
        let way = match side {
            Side::Local => Way::Out,
            Side::Remote => Way::In,
        };
        let answers = self.terms.mapping.answers(way, suback.codes);
        for (filter, code) in answers.ok_or(Why::Unexpected(packet_type::SUBACK))? {
            if ReasonCode(code).is_failure() {
                let filter = filter.into();
                self.is_refused |= side == Side::Remote;
                out.push(Action::Tell(Told::Refused { side, filter, code }));
            }
        }
        match (side, self.phase) {
            (Side::Local, Phase::Preparing { .. }) => {
                self.end_preparing(now, out);
                return Ok(false);
            }
            (Side::Remote, _) => {
                self.asked.remote_answered(suback.packet_id);
            }
            (Side::Local, _) => self.asked.local_answered(&self.terms, &mut self.relay),
        }
        self.look_if_up(now, out);
        Ok(true)
    }

    fn end_preparing(&mut self, now: Time, out: &mut Actions) {
        self.prepared = true;
        self.leave(Side::Local, ReasonCode::SUCCESS, out);
        self.phase = Phase::Ended;
        self.begin(now, out);
    }

    /// Says DISCONNECT and closes.
    fn leave(&mut self, side: Side, reason: ReasonCode, out: &mut Actions) {
        let client = self.relay.client(side);
        if client.accepted {
            Disconnect::new(reason).encode(client.version, client.outgoing.bytes());
        }
        client.accepted = false;
        out.push(Action::Close(side));
    }

    /// The bridge is up once all that was asked first is answered.
    fn look_if_up(&mut self, now: Time, out: &mut Actions) {
        if self.is_up || !matches!(self.phase, Phase::Relaying { .. }) || !self.asked.is_over() {
            return;
        }
        self.phase = Phase::Relaying { until: Time::NEVER };
        self.enter(State::Up, now);
        self.backoff.reset();
        self.is_up = true;
        // What may not be read does not come again, and is not gone for that.
        if !self.is_refused && self.relay.remote.takes.retain {
            self.relay.retained.listen(now);
        }
        out.push(Action::Publish { up: true });
        out.push(Action::Tell(Told::Connected {
            address: self.address,
            version: self.terms.version,
            session_present: self.session_present,
        }));
    }

    fn on_closed(&mut self, side: Side, how: &str, now: Time, out: &mut Actions) {
        match (side, self.phase) {
            (_, Phase::Waiting { .. } | Phase::Asleep { .. } | Phase::Ended) => {}
            (Side::Local, Phase::Connecting { .. } | Phase::LoggingIn { .. }) => {}
            (Side::Local, _) => {
                self.relay.local.accepted = false;
                self.lose(Why::EndedHere, now, out);
            }
            (Side::Remote, _) => {
                self.relay.remote.accepted = false;
                self.lose(Why::Broken(how.into()), now, out);
            }
        }
    }

    /// A message goes round: the bridge rests.
    fn pause(&mut self, topic: Box<str>, line: usize, now: Time, out: &mut Actions) {
        let pause_ms = limits::BRIDGE_LOOP_PAUSE_MS;
        out.push(Action::Tell(Told::Loop {
            topic,
            line,
            pause_ms,
        }));
        self.lose(Why::Loop, now, out);
    }

    /// Both connections end, or the attempt does.
    fn lose(&mut self, why: Why, now: Time, out: &mut Actions) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        self.leave_both(phase, &why, out);
        self.relay.local.drop_received();
        self.relay.remote.drop_received();
        if std::mem::take(&mut self.is_up) {
            out.push(Action::Publish { up: false });
        }
        let stable =
            self.state == State::Up && now.since_ms(self.since) >= limits::BRIDGE_STABLE_MS;
        let of_remote = !matches!(
            why,
            Why::RefusedHere(_) | Why::EndedHere | Why::Idle | Why::Loop | Why::Stopped
        );
        if of_remote {
            self.relay.counts.failures += 1;
            if !stable {
                self.addresses.failed(now);
            }
        }
        let (state, pause_ms) = match why {
            Why::Stopped => (State::Ended, None),
            Why::Loop => (State::Paused, Some(limits::BRIDGE_LOOP_PAUSE_MS)),
            Why::Idle => (State::Asleep, None),
            _ if self.terms.bridge.start == StartType::Once && self.prepared_or_clean() => {
                (State::Ended, None)
            }
            _ => (State::Down, Some(self.backoff.next_ms(&mut self.random))),
        };
        self.enter(state, now);
        self.phase = match (state, pause_ms) {
            (State::Asleep, _) => Phase::Asleep {
                look: now + limits::BRIDGE_LOOK_MS,
            },
            (_, Some(pause_ms)) => Phase::Waiting {
                until: now + pause_ms,
            },
            _ => Phase::Ended,
        };
        if !matches!(
            phase,
            Phase::Ended | Phase::Waiting { .. } | Phase::Asleep { .. }
        ) {
            out.push(Action::Tell(Told::Lost {
                why: why.clone(),
                pause_ms,
            }));
        }
        self.last = Some(why);
    }

    fn prepared_or_clean(&self) -> bool {
        self.prepared || self.terms.bridge.local_clean_session
    }

    fn leave_both(&mut self, phase: Phase, why: &Why, out: &mut Actions) {
        let remote = matches!(
            phase,
            Phase::Connecting { .. }
                | Phase::LoggingIn { .. }
                | Phase::OpeningLocal { .. }
                | Phase::Relaying { .. }
        );
        let local = matches!(
            phase,
            Phase::Preparing { .. } | Phase::OpeningLocal { .. } | Phase::Relaying { .. }
        );
        if remote {
            // One who broke a rule learns which in v5; before, the connection only ends, and the will says the rest.
            let reason = match why {
                Why::Malformed(_) => Some(ReasonCode::MALFORMED_PACKET),
                Why::Unexpected(_) => Some(ReasonCode::PROTOCOL_ERROR),
                Why::TopicAlias => Some(ReasonCode::TOPIC_ALIAS_INVALID),
                Why::ReceiveMaximum => Some(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED),
                Why::EndedHere | Why::RefusedHere(_) | Why::Idle | Why::Loop | Why::Stopped => {
                    Some(ReasonCode::SUCCESS)
                }
                _ => None,
            };
            let accepted = self.relay.remote.accepted;
            match reason {
                Some(ReasonCode::SUCCESS) if accepted => {
                    append_state(false, &self.terms, &mut self.relay);
                    self.leave(Side::Remote, ReasonCode::SUCCESS, out);
                }
                Some(reason) if accepted && self.terms.version == Version::V5 => {
                    self.leave(Side::Remote, reason, out);
                }
                _ => {
                    self.relay.remote.accepted = false;
                    out.push(Action::Close(Side::Remote));
                }
            }
        }
        if local {
            self.leave(Side::Local, ReasonCode::SUCCESS, out);
        }
    }
}
