//! Frames that come: what the peer has framed and masked becomes the bytes it means. [RFC 6455 5]
//!
//! MQTT takes the frames of a WebSocket as a stream of bytes: a packet may lie across frames, and a frame may hold many
//! packets [v3.1.1 MQTT-6.0.0-2, v5 MQTT-6.0.0-2]. So nothing is assembled here. The payloads of data frames are
//! unmasked as they come, whatever the lengths that frames announce:
//!
//! ```text
//! received   [head payload][head payl          the next read begins with "oad"
//! becomes          payload  payl
//! ```
//!
//! Control frames may come between the fragments of a message. Their payload, 125 bytes at most, is kept until it is
//! whole; it is the only memory that a peer can make grow here.
//!
//! Cost: O(bytes).

/// The longest head of a frame: two bytes, a length of eight, a mask of four. [RFC 6455 5.2]
const HEAD_BYTES_MAX: usize = 14;
/// The longest payload of a control frame. [RFC 6455 5.5]
const CONTROL_BYTES_MAX: u64 = 125;

/// Room that is made for small messages at once. More would be cleared in vain where other frames lie between them.
const SMALL_BYTES_AT_ONCE: usize = 2 * 1024;
/// Bytes that are unmasked at once; the compiler makes it as many as the processor takes.
const STEP: usize = 32;
/// A small message in whole steps.
const SMALL_ROOM: usize = 4 * STEP;
const _: () = assert!(SMALL_ROOM >= 125 && STEP.is_multiple_of(4));

/// What a frame is, by its opcode. [RFC 6455 5.2]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opcode {
    /// More of the message that was begun.
    Continuation = 0x0,
    /// UTF-8, where the other end is no client of MQTT but the page.
    Text = 0x1,
    /// MQTT: the only messages there may be. [v3.1.1 MQTT-6.0.0-1, v5 MQTT-6.0.0-1]
    Binary = 0x2,
    /// The last frame of its sender.
    Close = 0x8,
    /// Wants a [`Opcode::Pong`].
    Ping = 0x9,
    /// The answer to a [`Opcode::Ping`], or a sign of life.
    Pong = 0xA,
}

/// A rule of WebSocket that the peer broke.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A text frame. [v3.1.1 MQTT-6.0.0-1, v5 MQTT-6.0.0-1]
    Text,
    /// A reserved bit is set, and no extension was agreed to. [RFC 6455 5.2]
    ReservedBit,
    /// An opcode that means nothing yet. [RFC 6455 5.2]
    ReservedOpcode,
    /// A Client masks every frame. [RFC 6455 5.1]
    Unmasked,
    /// A control frame is one frame. [RFC 6455 5.5]
    ControlFragmented,
    /// A control frame has 125 bytes at most. [RFC 6455 5.5]
    ControlTooLong,
    /// The length is written in the fewest bytes. [RFC 6455 5.2]
    LengthNotMinimal,
    /// The most significant bit of a length of 64 is 0. [RFC 6455 5.2]
    LengthTooLarge,
    /// A continuation, and no message was begun. [RFC 6455 5.4]
    NothingToContinue,
    /// A message began inside another. [RFC 6455 5.4]
    MessageInMessage,
    /// A Close frame whose body has one byte. [RFC 6455 5.5.1]
    CloseTooShort,
    /// A status code that is never sent, or that nobody may use yet. [RFC 6455 7.4]
    CloseCode,
    /// The reason of a Close frame is UTF-8. [RFC 6455 5.5.1]
    CloseReason,
}

impl Fault {
    /// The status code of the Close frame that answers it. [RFC 6455 7.4.1]
    pub fn code(self) -> u16 {
        match self {
            Fault::Text => 1003,
            Fault::CloseReason => 1007,
            _ => 1002,
        }
    }

    /// For the log.
    pub fn reason(self) -> &'static str {
        match self {
            Fault::Text => {
                "a WebSocket text frame: MQTT goes in binary frames, so the client must send its data as bytes"
            }
            Fault::ReservedBit => "a WebSocket frame of an extension that was not agreed to",
            Fault::ReservedOpcode => "a WebSocket frame of an unknown kind",
            Fault::Unmasked => "a WebSocket frame without a mask, which every client's frame has",
            Fault::ControlFragmented => "a WebSocket control frame in fragments",
            Fault::ControlTooLong => "a WebSocket control frame of more than 125 bytes",
            Fault::LengthNotMinimal => "a WebSocket frame whose length is not in its shortest form",
            Fault::LengthTooLarge => "a WebSocket frame of 2^63 bytes or more",
            Fault::NothingToContinue => "a WebSocket fragment that continues nothing",
            Fault::MessageInMessage => "a WebSocket message that begins inside another one",
            Fault::CloseTooShort => "a WebSocket Close frame with half a status code",
            Fault::CloseCode => "a WebSocket Close frame with a status code that may not be sent",
            Fault::CloseReason => "a WebSocket Close frame whose reason is not UTF-8",
        }
    }
}

/// The head of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head {
    fin: bool,
    opcode: Opcode,
    length: u64,
    mask: [u8; 4],
}

impl Head {
    /// The head at the start of `bytes` and its size. `None`: more must come. What the first bytes alone break is told
    /// before the rest has come.
    fn read(bytes: &[u8], takes_text: bool) -> Result<Option<(Head, usize)>, Fault> {
        let &[first, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Fault::ReservedBit);
        }
        let fin = first & 0x80 != 0;
        let opcode = match first & 0x0F {
            0x0 => Opcode::Continuation,
            0x1 if takes_text => Opcode::Text,
            0x1 => return Err(Fault::Text),
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            _ => return Err(Fault::ReservedOpcode),
        };
        let is_control = opcode as u8 & 0x8 != 0;
        if is_control && !fin {
            return Err(Fault::ControlFragmented);
        }
        let &[second, ref rest @ ..] = rest else {
            return Ok(None);
        };
        if second & 0x80 == 0 {
            return Err(Fault::Unmasked);
        }
        let short = u64::from(second & 0x7F);
        if is_control && short > CONTROL_BYTES_MAX {
            return Err(Fault::ControlTooLong);
        }
        let (length, least, size) = match short {
            126 => match rest.first_chunk() {
                Some(length) => (u16::from_be_bytes(*length).into(), 126, 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(length) => (u64::from_be_bytes(*length), 0x1_0000, 10),
                None => return Ok(None),
            },
            length => (length, 0, 2),
        };
        if length < least {
            return Err(Fault::LengthNotMinimal);
        }
        if length >> 63 != 0 {
            return Err(Fault::LengthTooLarge);
        }
        let Some(&mask) = bytes[size..].first_chunk() else {
            return Ok(None);
        };
        let head = Head {
            fin,
            opcode,
            length,
            mask,
        };
        Ok(Some((head, size + mask.len())))
    }
}

/// Where the peer's stream of frames is.
#[derive(Debug)]
pub struct Frames {
    /// A head of which a part has come.
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: u8,
    opcode: Opcode,
    /// The last data frame was not the last of its message.
    in_message: bool,
    /// Text is taken too.
    takes_text: bool,
    /// For the next byte of the payload first.
    mask: [u8; 4],
    /// Bytes of the payload that have not come; 0: a head comes next.
    left: u64,
    /// The payload of the Ping or Close under way, or of the last Ping while it is not answered. Who answers only the
    /// last of many Pings does enough, so many of them take no memory. [RFC 6455 5.5.3]
    control: Vec<u8>,
    /// `control` is that of a Ping to be answered.
    pinged: bool,
    /// The peer sends no more.
    closed: Option<Closed>,
}

/// The body of a Close frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed {
    /// `None`: it has no body.
    pub code: Option<u16>,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames {
            head: [0; HEAD_BYTES_MAX],
            head_bytes: 0,
            opcode: Opcode::Continuation,
            in_message: false,
            takes_text: false,
            mask: [0; 4],
            left: 0,
            control: Vec::new(),
            pinged: false,
            closed: None,
        }
    }
}

impl Frames {
    /// Of a peer that sends text. Whether it is UTF-8 is for who reads it.
    pub fn with_text() -> Frames {
        Frames {
            takes_text: true,
            ..Frames::default()
        }
    }

    /// Takes received bytes and appends those of data frames to `plain`. Nothing behind a Close frame is looked at.
    ///
    /// Errors: the peer broke a rule; this is not called again.
    pub fn read(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), Fault> {
        while !bytes.is_empty() && self.closed.is_none() {
            if self.left == 0 {
                bytes = self.read_small(bytes, plain);
                if !bytes.is_empty() {
                    let taken = self.read_head(bytes)?;
                    bytes = &bytes[taken..];
                }
                continue;
            }
            let taken =
                usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (payload, rest) = bytes.split_at(taken);
            let to = match self.opcode {
                Opcode::Continuation | Opcode::Text | Opcode::Binary => Some(&mut *plain),
                Opcode::Ping | Opcode::Close => Some(&mut self.control),
                Opcode::Pong => None,
            };
            if let Some(to) = to {
                let from = to.len();
                to.extend_from_slice(payload);
                unmask(&mut to[from..], self.mask);
            }
            self.mask.rotate_left(taken % 4);
            self.left -= taken as u64;
            bytes = rest;
            if self.left == 0 {
                self.on_end()?;
            }
        }
        Ok(())
    }

    /// Takes small messages of one frame each, as long as they are whole: Clients mostly send these, one behind the
    /// other where they send much. Returns what is behind them.
    #[inline]
    fn read_small<'a>(&self, mut bytes: &'a [u8], plain: &mut Vec<u8>) -> &'a [u8] {
        if self.in_message || self.head_bytes > 0 {
            return bytes;
        }
        while bytes.first() == Some(&0x82) {
            let from = plain.len();
            // Room for some of them at once; what stays unused is cut off again.
            let room = bytes.len().min(SMALL_BYTES_AT_ONCE) + SMALL_ROOM;
            plain.resize(from + room, 0);
            let (taken, written) = take_small(bytes, &mut plain[from..]);
            plain.truncate(from + written);
            if taken == 0 {
                break;
            }
            bytes = &bytes[taken..];
        }
        bytes
    }

    /// Takes bytes of a head, all that there are or to its end. Returns how many.
    #[inline]
    fn read_head(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        if self.head_bytes == 0
            && let Some((head, size)) = Head::read(bytes, self.takes_text)?
        {
            self.on_head(head)?;
            return Ok(size);
        }
        self.keep_head(bytes)
    }

    /// The head comes in pieces.
    #[cold]
    fn keep_head(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        for (taken, byte) in bytes.iter().enumerate() {
            self.head[usize::from(self.head_bytes)] = *byte;
            self.head_bytes += 1;
            if let Some((head, _)) =
                Head::read(&self.head[..usize::from(self.head_bytes)], self.takes_text)?
            {
                self.head_bytes = 0;
                self.on_head(head)?;
                return Ok(taken + 1);
            }
        }
        Ok(bytes.len())
    }

    fn on_head(&mut self, head: Head) -> Result<(), Fault> {
        match (head.opcode, self.in_message) {
            (Opcode::Continuation, false) => return Err(Fault::NothingToContinue),
            (Opcode::Text | Opcode::Binary, true) => return Err(Fault::MessageInMessage),
            (Opcode::Continuation | Opcode::Text | Opcode::Binary, _) => {
                self.in_message = !head.fin
            }
            (Opcode::Close | Opcode::Ping, _) => {
                self.control.clear();
                self.pinged = false;
            }
            (Opcode::Pong, _) => {}
        }
        self.opcode = head.opcode;
        self.mask = head.mask;
        self.left = head.length;
        if self.left == 0 {
            self.on_end()?;
        }
        Ok(())
    }

    /// The payload of a frame is whole.
    fn on_end(&mut self) -> Result<(), Fault> {
        match self.opcode {
            Opcode::Continuation | Opcode::Text | Opcode::Binary | Opcode::Pong => {}
            Opcode::Ping => self.pinged = true,
            Opcode::Close => self.closed = Some(Closed::read(&std::mem::take(&mut self.control))?),
        }
        Ok(())
    }

    /// The peer has said that it sends no more.
    pub fn closed(&self) -> Option<Closed> {
        self.closed
    }

    /// A Ping waits for its answer.
    pub fn is_pinged(&self) -> bool {
        self.pinged
    }

    /// Takes the payload of the Ping to be answered.
    pub fn take_pinged(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.pinged).then(|| std::mem::take(&mut self.control))
    }
}

impl Closed {
    fn read(body: &[u8]) -> Result<Closed, Fault> {
        let Some((code, reason)) = body.split_first_chunk() else {
            return match body {
                [] => Ok(Closed { code: None }),
                _ => Err(Fault::CloseTooShort),
            };
        };
        let code = u16::from_be_bytes(*code);
        // 1004 has no meaning, 1005, 1006 and 1015 are never sent, those to 2999 have none yet. [RFC 6455 7.4; IANA]
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return Err(Fault::CloseCode);
        }
        match std::str::from_utf8(reason) {
            Ok(_) => Ok(Closed { code: Some(code) }),
            Err(_) => Err(Fault::CloseReason),
        }
    }
}

/// XORs each byte with the mask, which begins with the byte for the first of them. Eight bytes at a time, which the
/// compiler makes as many as the processor takes at once.
#[inline]
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Unmasks small messages of one frame each, as long as they are whole and have room, into `out`, which has
/// [`SMALL_ROOM`] more than a message. Returns the bytes that were taken and written.
///
/// Where so much can be read and written, a payload is taken in steps of 32 bytes, the last of them reaching beyond its
/// end: what that writes is overwritten by the next message or cut off. So no byte is done alone, and no length is
/// looked at twice.
#[inline]
fn take_small(bytes: &[u8], out: &mut [u8]) -> (usize, usize) {
    let (mut at, mut to) = (0, 0);
    while let Some(&[0x82, second, a, b, c, d]) = bytes[at..].first_chunk() {
        // Above 125 too where the mask bit is not set.
        let length = usize::from(second.wrapping_sub(0x80));
        if length >= 126 {
            break;
        }
        let payload = &bytes[at + 6..];
        let mask = [a, b, c, d];
        let whole_steps = payload.first_chunk::<SMALL_ROOM>();
        if let (Some(payload), Some(out)) = (whole_steps, out[to..].first_chunk_mut()) {
            let out: &mut [u8; SMALL_ROOM] = out;
            let steps = out.as_chunks_mut::<STEP>().0.iter_mut();
            let steps = steps.zip(payload.as_chunks::<STEP>().0);
            for (out, payload) in steps.take(length.div_ceil(STEP)) {
                for ((out, payload), mask) in out.iter_mut().zip(payload).zip(&repeated(mask)) {
                    *out = payload ^ mask;
                }
            }
        } else if payload.len() < length || out.len() - to < length {
            break;
        } else {
            let out = &mut out[to..to + length];
            out.copy_from_slice(&payload[..length]);
            unmask(out, mask);
        }
        (at, to) = (at + 6 + length, to + length);
    }
    (at, to)
}

/// A mask as often as a step takes it.
#[inline]
fn repeated([a, b, c, d]: [u8; 4]) -> [u8; STEP] {
    std::array::from_fn(|at| [a, b, c, d][at % 4])
}

/// Appends a frame of ours: whole, and without a mask, as a Server's are. [RFC 6455 5.1]
pub fn append(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let (head, size) = head(opcode, payload.len());
    out.extend_from_slice(&head[..size]);
    out.extend_from_slice(payload);
}

/// The head of a frame of ours, and its size: 2, 4 or 10.
#[inline]
pub fn head(opcode: Opcode, length: usize) -> ([u8; 10], usize) {
    let mut head = [0; 10];
    head[0] = 0x80 | opcode as u8;
    match length {
        0..126 => {
            head[1] = length as u8;
            (head, 2)
        }
        126..0x1_0000 => {
            head[1] = 126;
            head[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            (head, 4)
        }
        _ => {
            head[1] = 127;
            head[2..].copy_from_slice(&(length as u64).to_be_bytes());
            (head, 10)
        }
    }
}

/// The size of [`head`].
#[inline]
pub fn head_bytes(length: usize) -> usize {
    match length {
        0..126 => 2,
        126..0x1_0000 => 4,
        _ => 10,
    }
}
