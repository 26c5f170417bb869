//! A shard with Clients and no sockets, for benches and `tests/alloc.rs`: what is sent is taken at once and given back.

// Each bench and test uses a part of it.
#![allow(dead_code)]

use mqttfast::broker::{CloseCause, Input, Output, Outputs, Shard};
use mqttfast::buffer::{Chunk, Chunks};
use mqttfast::config::Settings;
use mqttfast::ids::{ConnectionId, ListenerId, ShardId};
use mqttfast::time::Time;

/// The protocol levels that a CONNECT names [v3.1.1 MQTT-3.1.2-2, v5 §3.1.2.2].
pub const V311: u8 = 4;
pub const V5: u8 = 5;

/// One shard of one, and what it says. All its Clients are of one protocol level.
pub struct Rig {
    pub shard: Shard,
    level: u8,
    out: Outputs,
    now: Time,
    /// While a Client is watched. Benches watch none: what is counted of a turn is the broker's.
    pub watched: Option<Watched>,
}

/// What is seen of all that is sent, since it was asked for.
pub struct Watched {
    client: ConnectionId,
    /// Bytes that this Client has got.
    pub got: Vec<u8>,
    /// Bytes that were copied for one Client, the others being shared.
    pub copied: usize,
}

impl Watched {
    /// Nothing has been sent yet. `got` is for this Client.
    pub fn new(client: ConnectionId) -> Watched {
        Watched {
            client,
            got: Vec::new(),
            copied: 0,
        }
    }

    #[cold]
    fn on_send(&mut self, client: ConnectionId, chunks: &Chunks) {
        let own = chunks.iter().filter(|c| matches!(c, Chunk::Block(_)));
        self.copied += own.map(|chunk| chunk.bytes().len()).sum::<usize>();
        if client == self.client {
            chunks
                .iter()
                .for_each(|chunk| self.got.extend(chunk.bytes()));
        }
    }
}

impl Rig {
    pub fn new(level: u8) -> Rig {
        Rig::with(level, Settings::default())
    }

    pub fn with(level: u8, settings: Settings) -> Rig {
        let shard = Shard::new(ShardId(0), 1, settings);
        Rig {
            shard,
            level,
            out: Outputs::default(),
            now: Time(1),
            watched: None,
        }
    }

    /// A connected Client with clean session and no Keep Alive; `index` is its slot and its name.
    pub fn client(&mut self, index: u32) -> ConnectionId {
        let connection = ConnectionId {
            index,
            generation: 0,
        };
        self.open(connection);
        let name = format!("client-{index}");
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', self.level, 2, 0, 0];
        push_no_properties(&mut body, self.level);
        push_string(&mut body, &name);
        let connack = self.turn(connection, &packet(0x10, &body));
        assert!(connack == 4 || connack > 4 && self.level == V5, "CONNACK");
        connection
    }

    /// A Network Connection that has sent nothing.
    pub fn open(&mut self, connection: ConnectionId) {
        let input = Input::Opened {
            connection,
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 1000)),
            listener: ListenerId(0),
            crowded: false,
        };
        self.shard.handle(self.now, input, &mut self.out);
    }

    /// The peer is gone.
    pub fn close(&mut self, connection: ConnectionId) {
        let cause = CloseCause::PeerClosed;
        let input = Input::Closed { connection, cause };
        self.shard.handle(self.now, input, &mut self.out);
        self.out.list.clear();
    }

    pub fn subscribe(&mut self, connection: ConnectionId, filter: &str, qos: u8) {
        let mut body = vec![0, 1];
        push_no_properties(&mut body, self.level);
        push_string(&mut body, filter);
        body.push(qos);
        let suback = self.turn(connection, &packet(0x82, &body));
        let properties = usize::from(self.level == V5);
        assert_eq!(suback, 5 + properties, "SUBACK of one filter");
    }

    /// One turn: these bytes come, the outboxes leave. Returns the bytes sent to all Clients together.
    pub fn turn(&mut self, connection: ConnectionId, bytes: &[u8]) -> usize {
        self.hear(connection, bytes);
        self.end_turn()
    }

    /// These bytes come, and the turn goes on.
    pub fn hear(&mut self, connection: ConnectionId, bytes: &[u8]) {
        self.shard
            .handle(self.now, Input::Bytes { connection, bytes }, &mut self.out);
    }

    /// The outboxes leave. Returns the bytes sent to all Clients together.
    pub fn end_turn(&mut self) -> usize {
        self.shard.flush(self.now, &mut self.out);
        let mut sent = 0;
        let mut list = std::mem::take(&mut self.out.list);
        for output in list.drain(..) {
            if let Output::Send { connection, chunks } = output {
                let bytes = chunks.iter().map(|chunk| chunk.bytes().len()).sum();
                if let Some(watched) = &mut self.watched {
                    watched.on_send(connection, &chunks);
                }
                sent += bytes;
                let input = Input::Sent {
                    connection,
                    bytes,
                    returned: Some(chunks),
                };
                self.shard.handle(self.now, input, &mut self.out);
            }
        }
        assert!(self.out.list.is_empty(), "all that was to be sent has been");
        self.out.list = list;
        sent
    }
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let more = u8::from(rest > 127) << 7;
        packet.push((rest % 128) as u8 | more);
        rest /= 128;
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// A PUBLISH of this protocol level, without Properties; Packet Identifier `id` if `qos` is above 0.
pub fn publish(level: u8, topic: &str, payload: &[u8], qos: u8, id: u16) -> Vec<u8> {
    let mut body = Vec::new();
    push_string(&mut body, topic);
    if qos > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    push_no_properties(&mut body, level);
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1, &body)
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The length of Properties that are none, where the level has them.
fn push_no_properties(out: &mut Vec<u8>, level: u8) {
    if level == V5 {
        out.push(0);
    }
}
