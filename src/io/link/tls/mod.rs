//! TLS 1.2 and 1.3 as a [`Layer`], by rustls.
//!
//! ```text
//! Hello ─ the ClientHello is whole ─→ Shaking ─ handshake over ─→ Open ─→ (farewell, end)
//!                                      ↕ a helper's, where it would hold the shard up
//! ```
//!
//! - [`server`]: what the connections of a listener have in common; exchanged as a whole when files are read again.
//! - [`terms`]: one reading of those files, ready for handshakes.
//! - [`handshake`]: the part of a handshake that takes time, on the shard or elsewhere.
//! - [`outward`]: the other way round, as a bridge to another broker needs it.
//! - [`socket`]: a socket inside TLS for threads that are no shard's.
//! - [`trust`]: certificates of Clients. [`x509`] and [`der`] read what webpki does not, [`name`] makes user names.
//! - [`tickets`]: what a Client shows to come back without a whole handshake.
//! - [`words`]: sentences for what goes wrong.
//!
//! A connection at rest holds what rustls keeps of it: about 7 KiB, see `limits::TLS_CONNECTION_BYTES`. Bytes that have
//! not become MQTT yet are bounded by [`limits::TLS_HANDSHAKE_BYTES_MAX`] before the handshake is over and by one
//! record later; sealed bytes of one send by [`limits::TLS_SEAL_BYTES`].

pub mod der;
pub mod handshake;
pub mod look;
pub mod name;
pub mod outward;
pub mod props;
pub mod server;
pub mod socket;
pub mod terms;
pub mod tickets;
pub mod trust;
pub mod words;
pub mod x509;

use super::layers::{Broken, Layer};
use super::websocket::Last;
use crate::buffer::{Chunk, Chunks};
use crate::limits;
use handshake::{Handshake, Outcome, write_own};
use rustls::ServerConnection;
use rustls::server::Acceptor;
use server::Server;
use smallvec::SmallVec;
use std::fmt;
use std::io::{IoSlice, Write};
use std::sync::Arc;
use terms::Terms;

/// Chunks that are seldom more in a turn.
const PARTS_USUAL: usize = 8;

/// One connection's TLS.
pub struct Tls {
    state: State,
    /// Bytes that came before the handshake was over.
    handshake_bytes: usize,
    /// Alerts and handshake messages, ready to be sent before anything that is sealed later.
    own: Vec<u8>,
    ended: bool,
    farewell_said: bool,
    /// Of the sealed send under way.
    sealed: Sealed,
    /// The Client's user name by its certificate, until it is taken.
    user_name: Option<Box<str>>,
    /// The handshake is just over: what came behind it. It is opened when the user name has been taken.
    behind: Option<Vec<u8>>,
}

enum State {
    Hello(Arc<Server>, Box<Acceptor>),
    /// The handshake goes on, with the terms it began with.
    Shaking(Arc<Terms>, Box<ServerConnection>),
    /// As `Shaking`, but a helper has it. What comes meanwhile waits here: at most one receive, as nothing is read.
    Away(Option<Box<Handshake>>, Vec<u8>),
    Open(Box<ServerConnection>),
    /// Nothing is opened or sealed any more.
    Over,
}

/// How far a sealed send has come.
#[derive(Default)]
struct Sealed {
    /// Bytes as they were given to be sealed, of the part under way, and those told to have left.
    plain: usize,
    told: usize,
    /// Bytes as they are sent, and those that have left.
    bytes: usize,
    left: usize,
    /// What is to be sealed when the part under way has left, and how much of its first chunk is sealed already.
    rest: Chunks,
    skip: usize,
}

impl Tls {
    /// Before its first byte.
    pub fn new(server: Arc<Server>) -> Tls {
        Tls {
            state: State::Hello(server, Box::default()),
            handshake_bytes: 0,
            own: Vec::new(),
            ended: false,
            farewell_said: false,
            sealed: Sealed::default(),
            user_name: None,
            behind: None,
        }
    }

    /// Breaks the connection; an alert may be in the own bytes. What is not sealed yet never is.
    fn broken(&mut self, reason: &'static str) -> Broken {
        self.state = State::Over;
        self.sealed.rest = Chunks::new();
        self.farewell_said = true;
        Broken(reason)
    }

    /// Bytes of the ClientHello.
    fn on_hello(
        &mut self,
        server: Arc<Server>,
        mut acceptor: Box<Acceptor>,
        mut bytes: &[u8],
    ) -> Result<(), Broken> {
        if self.handshake_bytes == bytes.len()
            && let Some(reason) = words::no_tls(bytes)
        {
            return Err(self.broken(reason));
        }
        while !bytes.is_empty() {
            // It fails when its buffer is full, which the bound of a handshake comes before.
            if acceptor.read_tls(&mut bytes).is_err() {
                return Err(self.broken(words::LONG_HANDSHAKE));
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let handshake = Handshake::begin(server.terms(), accepted, bytes.to_vec());
                    return self.shake(handshake);
                }
                Err((error, mut alert)) => {
                    // Writing to a vector cannot fail.
                    let _ = alert.write_all(&mut self.own);
                    return Err(self.broken(words::of_error(&error)));
                }
            }
        }
        self.state = State::Hello(server, acceptor);
        Ok(())
    }

    /// Goes on with a handshake, here or by a helper.
    fn shake(&mut self, mut handshake: Handshake) -> Result<(), Broken> {
        if handshake.is_long() {
            self.state = State::Away(Some(Box::new(handshake)), Vec::new());
            return Ok(());
        }
        handshake.run();
        self.after(handshake)
    }

    /// Takes over what a handshake has come to.
    fn after(&mut self, handshake: Handshake) -> Result<(), Broken> {
        let (terms, outcome, own, rest) = handshake.end();
        self.own.extend(own);
        match outcome {
            Outcome::Broken(reason) => Err(self.broken(reason)),
            Outcome::Shaking(connection) if rest.is_empty() => {
                self.state = State::Shaking(terms, connection);
                Ok(())
            }
            // These came while a helper had it.
            Outcome::Shaking(connection) => self.shake(Handshake::go_on(terms, connection, rest)),
            Outcome::Open(connection, user_name) => {
                self.user_name = user_name;
                self.behind = Some(rest);
                self.state = State::Open(connection);
                Ok(())
            }
        }
    }

    /// Bytes of an established connection. Those that came with the end of the handshake may be in it already.
    fn on_open(
        &mut self,
        mut connection: Box<ServerConnection>,
        mut bytes: &[u8],
        inside: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        loop {
            match connection.process_new_packets() {
                Ok(state) => {
                    let bytes = state.plaintext_bytes_to_read();
                    inside.reserve(bytes);
                    drain(&mut connection, bytes, inside);
                    if state.peer_has_closed() {
                        self.ended = true;
                        break;
                    }
                }
                Err(error) => {
                    // Records before the one at fault are open.
                    drain(&mut connection, usize::MAX, inside);
                    write_own(&mut connection, &mut self.own);
                    return Err(self.broken(words::of_error(&error)));
                }
            }
            if bytes.is_empty() {
                break;
            }
            // Its buffers are empty but for the beginning of one record, so there is room.
            if connection.read_tls(&mut bytes).is_err() {
                return Err(self.broken(words::MALFORMED));
            }
        }
        write_own(&mut connection, &mut self.own);
        self.state = State::Open(connection);
        Ok(())
    }
}

/// Appends what was decrypted, `bytes` at most.
fn drain(connection: &mut ServerConnection, mut bytes: usize, inside: &mut Vec<u8>) {
    use std::io::BufRead;
    let mut reader = connection.reader();
    while bytes > 0 {
        match reader.fill_buf() {
            Ok(chunk) if !chunk.is_empty() => {
                let length = chunk.len();
                inside.extend_from_slice(chunk);
                reader.consume(length);
                bytes = bytes.saturating_sub(length);
            }
            _ => break,
        }
    }
}

impl Layer for Tls {
    fn open(&mut self, outside: &[u8], inside: &mut Vec<u8>) -> Result<(), Broken> {
        let state = std::mem::replace(&mut self.state, State::Over);
        if !matches!(state, State::Open(_)) {
            // Behind the end of the handshake, a receive may be full of other things.
            if self.handshake_bytes > limits::TLS_HANDSHAKE_BYTES_MAX {
                return Err(self.broken(words::LONG_HANDSHAKE));
            }
            self.handshake_bytes += outside.len();
        }
        match state {
            State::Open(connection) => match self.behind.take() {
                None => self.on_open(connection, outside, inside),
                Some(mut behind) => {
                    behind.extend_from_slice(outside);
                    self.on_open(connection, &behind, inside)
                }
            },
            State::Hello(server, acceptor) => self.on_hello(server, acceptor, outside),
            State::Shaking(terms, connection) => {
                self.shake(Handshake::go_on(terms, connection, outside.to_vec()))
            }
            State::Away(handshake, mut held) => {
                held.extend_from_slice(outside);
                self.state = State::Away(handshake, held);
                Ok(())
            }
            State::Over => Ok(()),
        }
    }

    fn kept_bytes(&self) -> usize {
        match self.state {
            State::Over => 0,
            _ => limits::TLS_CONNECTION_BYTES,
        }
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn has_own_bytes(&self) -> bool {
        !self.own.is_empty()
    }

    fn own_bytes(&mut self) -> Option<Chunks> {
        let own = std::mem::take(&mut self.own);
        (!own.is_empty()).then(|| Chunks::from_iter([Chunk::Block(own)]))
    }

    fn seal(&mut self, chunks: Chunks, _framed: &mut Last) -> Chunks {
        self.sealed = Sealed {
            rest: chunks,
            ..Sealed::default()
        };
        self.seal_part()
    }

    fn has_rest(&self) -> bool {
        !self.sealed.rest.is_empty()
    }

    fn seal_rest(&mut self) -> Option<Chunks> {
        self.has_rest().then(|| self.seal_part())
    }

    fn sent(&mut self, bytes: usize, whole: bool) -> usize {
        let sealed = &mut self.sealed;
        sealed.left += bytes;
        let left = match whole {
            true => sealed.plain,
            // The part of the record under way counts as if it could be read already.
            false => {
                (sealed.plain as u64 * sealed.left as u64 / sealed.bytes.max(1) as u64) as usize
            }
        };
        let more = left.saturating_sub(sealed.told);
        sealed.told = left;
        more
    }

    fn farewell(&mut self) {
        let said = std::mem::replace(&mut self.farewell_said, true);
        if let State::Open(connection) | State::Shaking(_, connection) = &mut self.state
            && !said
        {
            connection.send_close_notify();
            write_own(connection, &mut self.own);
        }
    }

    fn take_handshake(&mut self) -> Option<Box<Handshake>> {
        match &mut self.state {
            State::Away(handshake, _) => handshake.take(),
            _ => None,
        }
    }

    fn is_away(&self) -> bool {
        matches!(self.state, State::Away(..))
    }

    fn has_more(&self) -> bool {
        self.behind.is_some()
    }

    fn end_handshake(&mut self, mut handshake: Box<Handshake>) -> Result<(), Broken> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Away(_, held) => {
                handshake.append(&held);
                self.after(*handshake)
            }
            // It was closed meanwhile.
            state => {
                self.state = state;
                Ok(())
            }
        }
    }

    fn take_user_name(&mut self) -> Option<Box<str>> {
        self.user_name.take()
    }
}

impl Tls {
    /// Seals the next bytes, at most [`limits::TLS_SEAL_BYTES`] of them: a large payload must not hold the shard up,
    /// nor be in memory once for each of its subscribers.
    fn seal_part(&mut self) -> Chunks {
        let State::Open(connection) = &mut self.state else {
            // Nothing is sealed before the handshake is over, and nothing after a break.
            self.sealed = Sealed::default();
            return Chunks::new();
        };
        let sealed = &mut self.sealed;
        let mut room = limits::TLS_SEAL_BYTES;
        let mut block = std::mem::take(&mut self.own);
        let (mut whole_chunks, mut skip) = (0, sealed.skip);
        let mut parts = SmallVec::<[IoSlice<'_>; PARTS_USUAL]>::new();
        for chunk in &sealed.rest {
            let bytes = &chunk.bytes()[skip..];
            let part = &bytes[..bytes.len().min(room)];
            parts.push(IoSlice::new(part));
            room -= part.len();
            if part.len() < bytes.len() {
                skip += part.len();
                break;
            }
            whole_chunks += 1;
            skip = 0;
            if room == 0 {
                break;
            }
        }
        // All at once: records end where they are full, not where chunks do. It takes all of it, as it has no limit and
        // the handshake is over; it fails only on a connection that had failed before.
        let written = connection.writer().write_vectored(&parts);
        drop(parts);
        if written.is_err() {
            self.state = State::Over;
            self.sealed = Sealed::default();
            return Chunks::new();
        }
        sealed.skip = skip;
        for chunk in sealed.rest.drain(..whole_chunks) {
            // The first block that is done with becomes the block of what is sent.
            if let Chunk::Block(mut done) = chunk
                && block.capacity() == 0
            {
                done.clear();
                block = done;
            }
        }
        sealed.plain = limits::TLS_SEAL_BYTES - room;
        (sealed.told, sealed.left) = (0, 0);
        write_own(connection, &mut block);
        sealed.bytes = block.len();
        Chunks::from_iter([Chunk::Block(block)])
    }
}

impl fmt::Debug for Tls {
    /// Without any secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Hello(..) => "Tls(hello)",
            State::Shaking(..) => "Tls(handshake)",
            State::Away(..) => "Tls(handshake elsewhere)",
            State::Open(_) => "Tls(open)",
            State::Over => "Tls(over)",
        })
    }
}
