//! What the broker keeps of a Network Connection; gone when it closes.

use crate::buffer::Outbox;
use crate::ids::{ConnectionId, ListenerId, OwnerId, SessionId};
use crate::limits;
use crate::session::ConnectRequest;
use crate::session::alias::OutwardAliases;
use crate::session::progress::{OutboxPart, Patience};
use crate::time::Time;
use crate::wire::Version;
use crate::wire::publish::PACKET_BYTES_MAX;
use std::net::SocketAddr;

/// How far a connection has come.
#[derive(Debug)]
pub enum Phase {
    /// Its CONNECT has not come completely.
    AwaitConnect,
    /// Its password is checked. `received` holds what came behind CONNECT.
    Authenticating(Box<ConnectRequest>),
    /// CONNACK 0 was sent.
    Connected(SessionId),
    /// It has ended, has no Session any more, and nothing more is read from it. It closes after its last answers, at
    /// this time at the latest.
    Closing {
        /// At this time it closes without the answers that are still missing.
        until: Time,
    },
}

/// Topic Aliases of a v5 connection. [v5 3.3.2.3.4]
#[derive(Debug, Default)]
pub struct Aliases {
    /// Topic Names by alias - 1, as the Client set them.
    pub inward: Vec<Box<str>>,
    /// Towards the Client, if it takes any.
    pub outward: Option<Box<OutwardAliases>>,
}

impl Aliases {
    /// Memory of all aliases.
    pub fn bytes(&self) -> usize {
        let inward: usize = self.inward.iter().map(|name| name.len()).sum();
        inward + self.outward.as_ref().map_or(0, |outward| outward.bytes())
    }
}

/// A Network Connection.
#[derive(Debug)]
pub struct Connection {
    /// Holds until the connection closes; its slot is then used again with another generation.
    pub id: ConnectionId,
    /// The other end's, for the log.
    pub address: SocketAddr,
    /// The listener that accepted it, whose rules apply.
    pub listener: ListenerId,
    /// How far its life has come.
    pub phase: Phase,
    /// 3.1.1 until its CONNECT has been read.
    pub version: Version,
    /// Keep Alive; 0: none.
    pub keep_alive_s: u16,
    /// When CONNACK accepted it; before that, when it opened.
    pub since: Time,
    /// When the connection opened or, once it is accepted, last sent something.
    pub heard: Time,
    /// Bytes that came since CONNACK accepted it, and bytes that have left.
    pub received_bytes: u64,
    /// Bytes that have left since CONNACK accepted it.
    pub sent_bytes: u64,
    /// An incomplete packet, or packets withheld while its reading is stopped. No capacity when empty.
    pub received: Vec<u8>,
    /// Bytes that lie between its socket and MQTT.
    pub link_bytes: u32,
    /// Bytes it takes of the shard's allowance for connections before they are accepted. 0 once it is accepted.
    pub charged_bytes: u32,
    /// The connection limit was reached: its CONNECT will be refused.
    pub crowded: bool,
    /// The driver's reading is on.
    pub reading: bool,
    /// It sends large packets, so the driver reads it in large parts.
    pub reads_large: bool,
    /// Number of reasons not to read from it: slow subscribers, and full lanes it published to.
    pub paced: u32,
    /// SUBSCRIBEs whose SUBACK waits for other shards.
    pub answers_awaited: u32,
    /// While it is paced, the bytes already read wait too: a subscriber of it is very far behind.
    pub withheld: bool,
    /// What this shard is about to send to it.
    pub outbox: Outbox,
    /// Bytes in `outbox` and in the send under way.
    pub unsent_bytes: usize,
    /// A send is under way.
    pub sending: bool,
    /// It is in the shard's list of connections to flush.
    pub dirty: bool,
    /// Answers to the Client's own packets that have not left.
    pub answers: OutboxPart,
    /// Payloads in the outbox that others may hold too; made with the first.
    pub shared: Option<Box<OutboxPart>>,
    /// Its reading is stopped until those have left.
    pub answers_full: bool,
    /// Others waited too long for it; they wait no more, and QoS 0 for it is dropped.
    pub stalled: bool,
    /// Publishers that wait for it, and how long they may.
    pub patience: Patience,
    /// Largest number of QoS 1 and 2 deliveries under way.
    pub window: u16,
    /// The Client's Maximum Packet Size; without one, the largest packet there can be. [v5 3.1.2.11.4]
    pub packet_bytes_max: u32,
    /// Made with the first alias of the Client, or if it takes some.
    pub aliases: Option<Box<Aliases>>,
    /// Request Problem Information was 0. [v5 3.1.2.11.7]
    pub silent_about_problems: bool,
    /// Whose it is, once it is accepted, and what it takes of that one's account.
    pub owner: Option<OwnerId>,
    /// Bytes of it that are booked to `owner` now.
    pub booked_bytes: usize,
    /// What is booked may be more than most connections take, or what it takes has grown since.
    pub booked_more: bool,
}

// There is one for each Client, most of them idle. With the allocator's own, 256 bytes.
#[cfg(all(target_pointer_width = "64", not(feature = "loom")))]
const _: () = assert!(size_of::<Connection>() <= 248);

impl Connection {
    /// A connection just accepted or adopted.
    pub fn new(
        id: ConnectionId,
        address: SocketAddr,
        listener: ListenerId,
        now: Time,
    ) -> Connection {
        Connection {
            id,
            address,
            listener,
            phase: Phase::AwaitConnect,
            version: Version::V311,
            keep_alive_s: 0,
            since: now,
            heard: now,
            received_bytes: 0,
            sent_bytes: 0,
            received: Vec::new(),
            charged_bytes: 0,
            link_bytes: 0,
            crowded: false,
            reading: true,
            reads_large: false,
            paced: 0,
            answers_awaited: 0,
            withheld: false,
            outbox: Outbox::default(),
            unsent_bytes: 0,
            sending: false,
            dirty: false,
            answers: OutboxPart::default(),
            shared: None,
            answers_full: false,
            stalled: false,
            patience: Patience::default(),
            window: 0,
            packet_bytes_max: PACKET_BYTES_MAX as u32,
            aliases: None,
            silent_about_problems: false,
            owner: None,
            booked_bytes: 0,
            booked_more: false,
        }
    }

    /// Notes what CONNECT says about the form of packets: version, sizes, Reason Strings.
    pub fn note_terms(&mut self, request: &ConnectRequest) {
        self.version = request.version;
        self.packet_bytes_max = request.packet_bytes_max.min(PACKET_BYTES_MAX) as u32;
    }

    /// The largest packet that may be sent to it.
    #[inline]
    pub fn packet_bytes_most(&self) -> usize {
        self.packet_bytes_max as usize
    }

    /// The Session it serves.
    #[inline]
    pub fn session(&self) -> Option<SessionId> {
        match self.phase {
            Phase::Connected(session) => Some(session),
            Phase::AwaitConnect | Phase::Authenticating(_) | Phase::Closing { .. } => None,
        }
    }

    /// So long a Client may be silent: 1.5 times its Keep Alive. 0: for ever.
    pub fn silence_ms_max(&self) -> u64 {
        u64::from(self.keep_alive_s) * 1500
    }

    /// Bytes of shared payloads that have not left, at most.
    #[inline]
    pub fn shared_bytes(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.bytes())
    }

    /// A Reason String may be sent to it. [v5 3.1.2.11.7]
    pub fn takes_reasons(&self) -> bool {
        self.version == Version::V5 && !self.silent_about_problems
    }

    /// It has ended and waits for its last answers.
    pub fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// The next moment at which something is due: CONNECT deadline, Keep Alive, or a check of its progress.
    pub fn deadline(&self) -> Time {
        let silence = match self.phase {
            // Bytes before CONNACK do not count as a sign of life, or one byte now and then would keep the connection
            // for ever.
            Phase::AwaitConnect | Phase::Authenticating(_) => {
                self.heard + limits::CONNECT_DEADLINE_MS
            }
            Phase::Closing { until } => until,
            Phase::Connected(_) if self.keep_alive_s == 0 => Time::NEVER,
            // The Client was not silent: its packets came and are withheld here.
            Phase::Connected(_) if !self.reading => Time::NEVER,
            Phase::Connected(_) => self.heard + self.silence_ms_max(),
        };
        if self.patience.is_idle() {
            silence
        } else {
            silence.min(self.patience.ends())
        }
    }

    /// It has more answers before it than it takes, and must not bring about more.
    #[inline]
    pub fn is_full_of_answers(&self) -> bool {
        self.answers.bytes() > limits::ANSWERS_BYTES_MAX
    }

    /// Publishers wait for it, or did until it was given up.
    #[inline]
    pub fn holds_back(&self) -> bool {
        self.stalled || !self.patience.is_idle()
    }

    /// QoS 0 messages for it are dropped rather than added to what it does not take.
    pub fn overfull(&self) -> bool {
        self.unsent_bytes >= limits::OUTBOX_BYTES_MAX
            || (self.stalled && self.unsent_bytes >= limits::OUTBOX_HIGH_BYTES)
    }
}
