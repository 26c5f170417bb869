//! Writes one legal Control Packet of any version as its sender might, from bytes that choose, and says what it says.
//! Written from the standard, with no code of `mqttfast::wire`, which is to read it.

use super::said::{NAMES, Said, Saying};
use arbitrary::{Result, Unstructured};

/// 3, 4 or 5.
pub type Level = u8;

/// One packet in the making.
pub struct Composer<'c, 'b> {
    chance: &'c mut Unstructured<'b>,
    level: Level,
    /// It may have a payload of megabytes.
    large: bool,
    bytes: Vec<u8>,
    pub said: Said,
}

/// The type of a Property on the wire [v5 §2.2.2.2].
enum Form {
    Flag,
    Two,
    Four,
    Variable,
    Text,
    Binary,
    Pair,
}

fn form(id: u8) -> Form {
    match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Form::Flag,
        0x13 | 0x21 | 0x22 | 0x23 => Form::Two,
        0x02 | 0x11 | 0x18 | 0x27 => Form::Four,
        0x0B => Form::Variable,
        0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Form::Text,
        0x09 | 0x16 => Form::Binary,
        0x26 => Form::Pair,
        _ => panic!("no such Property"),
    }
}

const USER_PROPERTY: u8 = 0x26;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
const MESSAGE: [u8; 6] = [0x01, 0x02, 0x03, 0x08, 0x09, USER_PROPERTY];
/// What a Server does not pass on with a message.
const NOT_PASSED_ON: [u8; 4] = [0x02, SUBSCRIPTION_IDENTIFIER, 0x23, 0x18];

/// A whole packet of this level: its bytes and what they say. Only a `large` one has more than some 300,000.
pub fn compose(
    level: Level,
    large: bool,
    chance: &mut Unstructured<'_>,
) -> Result<(Vec<u8>, Said)> {
    let mut composer = Composer {
        chance,
        level,
        large,
        bytes: Vec::new(),
        said: Said::default(),
    };
    let first = composer.packet()?;
    let mut packet = vec![first];
    variable(composer.bytes.len() as u32, &mut packet);
    packet.extend(composer.bytes);
    Ok((packet, composer.said))
}

fn variable(mut value: u32, out: &mut Vec<u8>) {
    loop {
        let low = (value % 128) as u8;
        value /= 128;
        out.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return;
        }
    }
}

fn with_length(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend(bytes);
}

impl Composer<'_, '_> {
    fn v5(&self) -> bool {
        self.level == 5
    }

    fn below(&mut self, bound: usize) -> Result<usize> {
        Ok(usize::from(self.chance.arbitrary::<u8>()?) % bound)
    }

    fn flag(&mut self) -> Result<bool> {
        Ok(self.below(2)? == 1)
    }

    fn one_of(&mut self, of: &[u8]) -> Result<u8> {
        Ok(of[self.below(of.len())?])
    }

    fn say(&mut self, name: &'static str, value: impl std::fmt::Debug) {
        self.said.say(name, value);
    }

    /// A size, now and then one where the length of a length changes.
    fn size(&mut self, most: usize) -> Result<usize> {
        let pick = self.below(64)?;
        let size = match pick {
            0..40 => pick % 9,
            40..56 => 110 + pick,
            56..60 => 16_384 - 40 + self.below(64)?,
            60..62 => 65_535,
            62 if self.large => 2_097_152 - 40 + self.below(64)?,
            _ => self.below(256)?,
        };
        Ok(size.min(most))
    }

    /// 0 to `most` characters but U+0000 and those of `without`; a long text repeats one.
    fn text(&mut self, most: usize, without: &[char]) -> Result<String> {
        const CHARACTERS: [char; 14] = [
            'a', 'b', '/', '+', '#', '$', ' ', 'é', '日', '😀', '\u{FEFF}', '\u{1}', '\u{7F}',
            '\u{FFFF}',
        ];
        let size = self.size(65_535)?.min(most);
        let mut text = String::new();
        for _ in 0..size.min(12) {
            let pick = CHARACTERS[self.below(CHARACTERS.len())?];
            text.push(if without.contains(&pick) { 'c' } else { pick });
        }
        while text.len() < size {
            text.push('x');
        }
        if text.len() > most {
            text = "too long".into();
        }
        Ok(text)
    }

    fn binary(&mut self, most: usize) -> Result<Vec<u8>> {
        let size = self.size(most)?;
        let mut bytes = vec![self.chance.arbitrary()?; size];
        for byte in bytes.iter_mut().take(4) {
            *byte = self.chance.arbitrary()?;
        }
        Ok(bytes)
    }

    fn append_text(&mut self, name: &'static str) -> Result<()> {
        let text = self.text(65_535, &[])?;
        with_length(text.as_bytes(), &mut self.bytes);
        self.say(name, text);
        Ok(())
    }

    fn append_topic(&mut self, name: &'static str) -> Result<()> {
        let mut topic = self.text(65_535, &['+', '#'])?;
        if topic.is_empty() {
            topic.push('t');
        }
        with_length(topic.as_bytes(), &mut self.bytes);
        self.say(name, topic);
        Ok(())
    }

    fn append_packet_id(&mut self) -> Result<()> {
        let packet_id = self.chance.arbitrary::<u16>()?.max(1);
        self.bytes.extend(packet_id.to_be_bytes());
        self.say("packet_id", packet_id);
        Ok(())
    }

    /// The first byte; the rest of the packet is in `bytes`.
    fn packet(&mut self) -> Result<u8> {
        let types = if self.v5() { 15 } else { 14 };
        let packet_type = 1 + self.below(types)? as u8;
        self.say("packet_type", packet_type);
        let flags = match packet_type {
            1 => self.connect()?,
            2 => self.connack()?,
            3 => self.publish()?,
            4 | 5 => self.ack(&[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99], 0)?,
            6 => self.ack(&[0x00, 0x92], 2)?,
            7 => self.ack(&[0x00, 0x92], 0)?,
            8 => self.subscribe()?,
            9 => {
                let codes: &[u8] = match self.level {
                    3 => &[0, 1, 2],
                    4 => &[0, 1, 2, 0x80],
                    _ => &[
                        0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2,
                    ],
                };
                self.codes(codes)?
            }
            10 => self.unsubscribe()?,
            11 if self.v5() => self.codes(&[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91])?,
            11 => {
                self.append_packet_id()?;
                0
            }
            14 => self.disconnect()?,
            15 => self.auth()?,
            _ => 0,
        };
        Ok(packet_type << 4 | flags)
    }

    /// A block of Properties, each of `allowed` at most once but for User Properties and, in a PUBLISH, Subscription
    /// Identifiers.
    fn properties(&mut self, saying: Saying, allowed: &[u8]) -> Result<()> {
        let (mut block, mut passed_on) = (Vec::new(), Vec::<u8>::new());
        let (mut seen, mut users, mut identifiers) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.below(8)? {
            let id = self.one_of(allowed)?;
            let repeats =
                id == USER_PROPERTY || id == SUBSCRIPTION_IDENTIFIER && saying == Saying::Publish;
            if seen.contains(&id) && !repeats {
                continue;
            }
            // Data of an authentication wants its method. [v5 §3.1.2.11.10]
            if id == 0x16 && !seen.contains(&0x15) {
                continue;
            }
            seen.push(id);
            let start = block.len();
            block.push(id);
            let name = saying.name(NAMES[usize::from(id)]);
            match form(id) {
                Form::Flag => {
                    let value = self.flag()?;
                    block.push(u8::from(value));
                    self.say(name, value);
                }
                Form::Two => {
                    let least = u16::from(matches!(id, 0x21 | 0x23));
                    let value = self.chance.arbitrary::<u16>()?.max(least);
                    block.extend(value.to_be_bytes());
                    self.say(name, value);
                }
                Form::Four => {
                    let value = self.chance.arbitrary::<u32>()?.max(u32::from(id == 0x27));
                    block.extend(value.to_be_bytes());
                    self.say(name, value);
                }
                Form::Variable => {
                    let bits = self.below(28)?;
                    let value = (self.chance.arbitrary::<u32>()? & ((2 << bits) - 1)).max(1);
                    variable(value, &mut block);
                    identifiers.push(value);
                }
                Form::Text => {
                    let without: &[char] = if id == 0x08 { &['+', '#'] } else { &[] };
                    let text = self.text(65_535, without)?;
                    with_length(text.as_bytes(), &mut block);
                    self.say(name, text);
                }
                Form::Binary => {
                    let data = self.binary(65_535)?;
                    with_length(&data, &mut block);
                    self.say(name, data);
                }
                Form::Pair => {
                    let pair = (self.text(200, &[])?, self.text(200, &[])?);
                    with_length(pair.0.as_bytes(), &mut block);
                    with_length(pair.1.as_bytes(), &mut block);
                    users.push(pair);
                }
            }
            if !NOT_PASSED_ON.contains(&id) {
                passed_on.extend(&block[start..]);
            }
        }
        variable(block.len() as u32, &mut self.bytes);
        self.bytes.extend(block);
        if saying.is_of_a_message() {
            self.said.say_bytes(saying.name("passed_on"), &passed_on);
        } else {
            self.say("user_properties", users);
        }
        if !identifiers.is_empty() {
            self.say(
                saying.name(NAMES[usize::from(SUBSCRIPTION_IDENTIFIER)]),
                identifiers,
            );
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<u8> {
        let name: &[u8] = if self.level == 3 { b"MQIsdp" } else { b"MQTT" };
        with_length(name, &mut self.bytes);
        let bridge = !self.v5() && self.below(8)? == 0;
        self.bytes.push(self.level | if bridge { 0x80 } else { 0 });
        let (clean_start, will) = (self.flag()?, self.flag()?);
        let (user_name, mut password) = (self.flag()?, self.flag()?);
        password &= user_name || self.v5();
        let mut flags = u8::from(clean_start) << 1;
        let mut will_flags = (0, false);
        if will {
            will_flags = (self.below(3)? as u8, self.flag()?);
            flags |= 0x04 | will_flags.0 << 3 | u8::from(will_flags.1) << 5;
        }
        flags |= u8::from(password) << 6 | u8::from(user_name) << 7;
        self.bytes.push(flags);
        let keep_alive_s: u16 = self.chance.arbitrary()?;
        self.bytes.extend(keep_alive_s.to_be_bytes());
        self.say("level", self.level);
        self.say("bridge", bridge);
        self.say("clean_start", clean_start);
        self.say("keep_alive_s", keep_alive_s);
        // What an absent one says.
        self.say("session_expiry_interval_s", 0);
        self.say("receive_maximum", u16::MAX);
        self.say("topic_alias_maximum", 0);
        self.say("request_response_information", false);
        self.say("request_problem_information", true);
        if self.v5() {
            let allowed = [
                0x11,
                0x15,
                0x16,
                0x17,
                0x19,
                0x21,
                0x22,
                USER_PROPERTY,
                0x27,
            ];
            self.properties(Saying::Plain, &allowed)?;
        } else {
            self.say("user_properties", [(); 0]);
        }
        self.append_text("client_id")?;
        if will {
            self.say("will_qos", will_flags.0);
            self.say("will_retain", will_flags.1);
            self.say("will_delay_interval_s", 0);
            self.say("will_payload_format_utf8", false);
            self.said.say_bytes("will_passed_on", &[]);
            if self.v5() {
                let allowed = [&MESSAGE[..], &[0x18]].concat();
                self.properties(Saying::Will, &allowed)?;
            }
            self.append_topic("will_topic")?;
            let payload = self.binary(65_535)?;
            with_length(&payload, &mut self.bytes);
            self.said.say_bytes("will_payload", &payload);
        }
        if user_name {
            self.append_text("user_name")?;
        }
        if password {
            let password = self.binary(65_535)?;
            with_length(&password, &mut self.bytes);
            self.say("password", password);
        }
        Ok(0)
    }

    fn connack(&mut self) -> Result<u8> {
        let codes: &[u8] = if self.v5() {
            &[
                0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90,
                0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
            ]
        } else {
            &[0, 1, 2, 3, 4, 5]
        };
        let code = self.one_of(codes)?;
        let session_present = self.flag()? && code == 0 && self.level != 3;
        self.bytes.extend([u8::from(session_present), code]);
        self.say("session_present", session_present);
        self.say("code", code);
        if self.v5() {
            let allowed = [
                0x11,
                0x12,
                0x13,
                0x15,
                0x16,
                0x1A,
                0x1C,
                0x1F,
                0x21,
                0x22,
                0x24,
                0x25,
                USER_PROPERTY,
                0x27,
                0x28,
                0x29,
                0x2A,
            ];
            self.properties(Saying::Plain, &allowed)?;
        } else {
            self.say("user_properties", [(); 0]);
        }
        Ok(0)
    }

    fn publish(&mut self) -> Result<u8> {
        let qos = self.below(3)? as u8;
        let dup = self.flag()? && (qos > 0 || self.level == 3);
        let retain = self.flag()?;
        self.say("dup", dup);
        self.say("qos", qos);
        self.say("retain", retain);
        let by_alias = self.v5() && self.below(4)? == 0;
        if by_alias {
            self.bytes.extend([0, 0]);
        } else {
            self.append_topic("topic")?;
        }
        if qos > 0 {
            self.append_packet_id()?;
        }
        self.say("payload_format_utf8", false);
        self.said.say_bytes("passed_on", &[]);
        if by_alias {
            // Alone, so that it is surely there.
            let alias = self.chance.arbitrary::<u16>()?.max(1);
            self.bytes.extend([3, 0x23]);
            self.bytes.extend(alias.to_be_bytes());
            self.say("topic_alias", alias);
        } else if self.v5() {
            let allowed = [&MESSAGE[..], &[SUBSCRIPTION_IDENTIFIER, 0x23]].concat();
            self.properties(Saying::Publish, &allowed)?;
        }
        let payload = self.binary(usize::MAX)?;
        self.bytes.extend(&payload);
        self.said.say_bytes("payload", &payload);
        Ok(u8::from(dup) << 3 | qos << 1 | u8::from(retain))
    }

    /// v5: the Reason Code and the Properties may be left out if they say nothing.
    fn ack(&mut self, codes: &[u8], flags: u8) -> Result<u8> {
        self.append_packet_id()?;
        self.reason(codes, &[0x1F, USER_PROPERTY])?;
        Ok(flags)
    }

    fn reason(&mut self, codes: &[u8], allowed: &[u8]) -> Result<()> {
        self.say("code", 0);
        self.say("user_properties", [(); 0]);
        let parts = if self.v5() { self.below(3)? } else { 0 };
        if parts > 0 {
            let code = self.one_of(codes)?;
            self.bytes.push(code);
            self.say("code", code);
        }
        if parts > 1 {
            self.properties(Saying::Plain, allowed)?;
        }
        Ok(())
    }

    fn subscribe(&mut self) -> Result<u8> {
        self.append_packet_id()?;
        self.say("user_properties", [(); 0]);
        if self.v5() {
            self.properties(Saying::Plain, &[SUBSCRIPTION_IDENTIFIER, USER_PROPERTY])?;
        }
        let mut filters = Vec::new();
        for _ in 0..1 + self.below(4)? {
            let filter = self.text(65_535, &[])?;
            let qos = self.below(3)? as u8;
            let (mut no_local, mut as_published, mut handling) = (false, false, 0);
            if self.v5() {
                no_local = self.flag()? && !filter.starts_with("$share/");
                as_published = self.flag()?;
                handling = self.below(3)? as u8;
            }
            with_length(filter.as_bytes(), &mut self.bytes);
            let byte = qos | u8::from(no_local) << 2 | u8::from(as_published) << 3 | handling << 4;
            self.bytes.push(byte);
            filters.push((filter, qos, no_local, as_published, handling));
        }
        self.say("filters", filters);
        Ok(2)
    }

    fn unsubscribe(&mut self) -> Result<u8> {
        self.append_packet_id()?;
        self.say("user_properties", [(); 0]);
        if self.v5() {
            self.properties(Saying::Plain, &[USER_PROPERTY])?;
        }
        let mut filters = Vec::new();
        for _ in 0..1 + self.below(4)? {
            let filter = self.text(65_535, &[])?;
            with_length(filter.as_bytes(), &mut self.bytes);
            filters.push(filter);
        }
        self.say("filters", filters);
        Ok(2)
    }

    /// SUBACK and UNSUBACK.
    fn codes(&mut self, codes: &[u8]) -> Result<u8> {
        self.append_packet_id()?;
        self.say("user_properties", [(); 0]);
        if self.v5() {
            self.properties(Saying::Plain, &[0x1F, USER_PROPERTY])?;
        }
        let mut list = Vec::new();
        for _ in 0..1 + self.below(150)? {
            list.push(self.one_of(codes)?);
        }
        self.bytes.extend(&list);
        self.say("codes", list);
        Ok(0)
    }

    fn disconnect(&mut self) -> Result<u8> {
        let codes = [
            0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90,
            0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0,
            0xA1, 0xA2,
        ];
        self.reason(&codes, &[0x11, 0x1C, 0x1F, USER_PROPERTY])?;
        Ok(0)
    }

    fn auth(&mut self) -> Result<u8> {
        self.say("code", 0);
        self.say("user_properties", [(); 0]);
        if self.flag()? {
            return Ok(0);
        }
        let code = self.one_of(&[0x00, 0x18, 0x19])?;
        // The method alone, so that it is surely there; with data now and then.
        let method = self.text(100, &[])?;
        let data = if self.flag()? {
            Some(self.binary(100)?)
        } else {
            None
        };
        let mut block = vec![0x15];
        with_length(method.as_bytes(), &mut block);
        if let Some(data) = data {
            block.push(0x16);
            with_length(&data, &mut block);
            self.say("authentication_data", data);
        }
        self.bytes.push(code);
        variable(block.len() as u32, &mut self.bytes);
        self.bytes.extend(block);
        self.say("code", code);
        self.say("authentication_method", method);
        Ok(0)
    }
}
