//! The WebSocket of a page: how the broker is each second, what happens as it happens, and messages of the filters that
//! it watches. [RFC 6455]
//!
//! What finds no room is dropped and counted, whatever it is: a page that does not read holds no message, and
//! publishers never wait for it.

use super::house::House;
use super::json;
use super::local::Local;
use super::rights::{CLIENT_ID, Rights, Visitor};
use super::route;
use crate::acl::explain;
use crate::bridge::Heard;
use crate::io::helpers::answers::{put_value, text_line};
use crate::io::helpers::known::unix_s;
use crate::io::link::websocket::frames::{self, Fault, Frames, Opcode};
use crate::limits;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

/// See the module.
pub struct Live {
    visitor: Visitor,
    frames: Frames,
    /// What the page has said and was not understood yet.
    said: Vec<u8>,
    filters: BTreeSet<Box<str>>,
    /// Watches them, from the first one on.
    pub local: Option<Local>,
    /// When it is told next how the broker is.
    next_status: Instant,
    /// Messages that it is told of in this second still.
    messages_left: u32,
    /// What it was not told of since the last status.
    lost: u64,
    /// Frames for it. The connection takes them.
    pub output: Vec<u8>,
    /// Our last frame is among them.
    pub is_over: bool,
}

impl Live {
    /// Just opened.
    pub fn new(visitor: Visitor, now: Instant) -> Live {
        Live {
            visitor,
            frames: Frames::with_text(),
            said: Vec::new(),
            filters: BTreeSet::new(),
            local: None,
            next_status: now,
            messages_left: limits::HTTP_LIVE_MESSAGES_PER_S,
            lost: 0,
            output: Vec::new(),
            is_over: false,
        }
    }

    /// When it must turn.
    pub fn due(&self) -> Instant {
        self.next_status
    }

    /// Tells it something, if there is room. `unsent`: what the connection has not sent.
    pub fn tell(&mut self, text: &str, unsent: usize) {
        let size = self.output.len() + unsent + text.len();
        match size <= limits::HTTP_LIVE_UNSENT_BYTES_MAX && !self.is_over {
            true => frames::append(&mut self.output, Opcode::Text, text.as_bytes()),
            false => self.lost += 1,
        }
    }

    fn tell_error(&mut self, text: &str, unsent: usize) {
        self.tell(&line(&json!({ "error": text })), unsent);
    }

    /// Ends it with a status code. [RFC 6455 7.4.1]
    pub fn close(&mut self, code: u16) {
        if !std::mem::replace(&mut self.is_over, true) {
            frames::append(&mut self.output, Opcode::Close, &code.to_be_bytes());
        }
    }

    /// These bytes have come of the page.
    pub fn receive(&mut self, bytes: &[u8], house: &House, id: u64, unsent: usize) {
        let read = self.frames.read(bytes, &mut self.said);
        if let Err(fault) = read {
            return self.close(Fault::code(fault));
        }
        if self.frames.closed().is_some() {
            return self.close(1000);
        }
        if let Some(payload) = self.frames.take_pinged() {
            frames::append(&mut self.output, Opcode::Pong, &payload);
        }
        // Each message is one JSON object, so that their ends are seen without their frames.
        let said = std::mem::take(&mut self.said);
        if json::has_many_values(&said) {
            return self.close(1009);
        }
        let mut values = serde_json::Deserializer::from_slice(&said).into_iter::<Value>();
        let (mut at, mut rights) = (0, None);
        while let Some(value) = values.next() {
            match value {
                Ok(value) => {
                    at = values.byte_offset();
                    self.on_said(&value, &mut rights, house, id, unsent);
                }
                Err(error) if error.is_eof() => break,
                // What a text frame holds must be UTF-8, and ours JSON.
                Err(_) => return self.close(1007),
            }
        }
        self.said = said[at..].to_vec();
        if self.said.len() > limits::HTTP_LIVE_REQUEST_BYTES_MAX {
            self.close(1009);
        }
    }

    /// `rights`: once for all that has come, as the shard may take its time to tell them.
    fn on_said(
        &mut self,
        said: &Value,
        rights: &mut Option<Option<Rights>>,
        house: &House,
        id: u64,
        unsent: usize,
    ) {
        match (said["watch"].as_str(), said["unwatch"].as_str()) {
            (Some(filter), _) => {
                if let Err(text) = self.watch(filter, rights, house, id) {
                    self.tell_error(&text, unsent);
                }
            }
            (_, Some(filter)) => {
                if self.filters.remove(filter)
                    && let Some(local) = &mut self.local
                {
                    local.guest.unwatch(filter);
                }
            }
            _ => self.tell_error("say {\"watch\":FILTER} or {\"unwatch\":FILTER}", unsent),
        }
    }

    fn watch(
        &mut self,
        filter: &str,
        rights: &mut Option<Option<Rights>>,
        house: &House,
        id: u64,
    ) -> Result<(), String> {
        if explain::topic_filter(filter)? != filter {
            return Err(
                "shared subscriptions are not watched: they would take messages away".into(),
            );
        }
        if self.filters.contains(filter) {
            return Ok(());
        }
        if self.filters.len() >= limits::HTTP_LIVE_FILTERS_MAX {
            let most = limits::HTTP_LIVE_FILTERS_MAX;
            return Err(format!("at most {most} filters are watched at a time"));
        }
        if !self.visitor.may_act {
            return Err("clients without a user name may not come in here, so nothing is watched without a login".into());
        }
        let rights = rights.get_or_insert_with(|| Rights::of(&self.visitor, house));
        let rights = rights.as_ref().ok_or("the broker is busy: ask again")?;
        rights.may_watch(filter)?;
        if self.local.is_none() {
            let local = Local::open(&self.visitor, house, id);
            self.local = Some(local.map_err(|error| error.to_string())?);
        }
        if let Some(local) = &mut self.local {
            local.guest.watch(filter);
            self.filters.insert(filter.into());
        }
        Ok(())
    }

    /// Tells what is due.
    pub fn turn(&mut self, house: &House, now: Instant, unsent: usize) {
        self.hear(unsent);
        if self.next_status > now || self.is_over {
            return;
        }
        self.next_status = now + Duration::from_millis(limits::HTTP_LIVE_STATUS_MS);
        self.messages_left = limits::HTTP_LIVE_MESSAGES_PER_S;
        // A shard that does not answer is told of by what is missing.
        let Ok(status) = route::status(house) else {
            return;
        };
        let (lost, before) = (self.lost, self.output.len());
        self.tell(&line(&json!({ "status": status, "lost": lost })), unsent);
        if self.output.len() > before {
            self.lost = 0;
        } else {
            // The status itself does not count.
            self.lost = lost;
        }
    }

    /// Takes what has come of the broker.
    fn hear(&mut self, unsent: usize) {
        let Some(mut local) = self.local.take() else {
            return;
        };
        let at = unix_s(SystemTime::now());
        let mut gone = None;
        let turned = local.turn(&mut |heard| match heard {
            Heard::Message {
                topic,
                payload,
                qos,
                retain,
            } => {
                if self.messages_left == 0 {
                    self.lost += 1;
                    return;
                }
                self.messages_left -= 1;
                let mut message = json!({
                    "topic": topic,
                    "bytes": payload.len(),
                    "qos": qos as u8,
                    "retain": retain,
                    "at": at,
                });
                put_value(&mut message, payload, limits::HTTP_LIVE_VALUE_BYTES_MAX);
                self.tell(&line(&json!({ "message": message })), unsent);
            }
            Heard::Refused(code) => self.tell_error(code.name(), unsent),
            Heard::Gone { code, reason } => gone = Some(reason.unwrap_or(code.name()).to_owned()),
            Heard::Accepted | Heard::Published { .. } => {}
        });
        match gone.map_or(turned, Err) {
            Ok(()) => self.local = Some(local),
            Err(why) => {
                // The page may watch anew.
                self.filters.clear();
                self.tell_error(&format!("nothing is watched any more: {why}"), unsent);
            }
        }
    }
}

/// One line of JSON.
pub fn line(value: &Value) -> String {
    text_line(&value.to_string())
}

/// Is this one of our own clients?
pub fn is_own(client_id: &str) -> bool {
    client_id.starts_with(CLIENT_ID)
}
