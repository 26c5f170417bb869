//! One message of who is at the page, on its way into the broker.

use super::answer::Answer;
use super::house::House;
use super::local::Local;
use super::rights::Visitor;
use crate::bridge::Heard;
use crate::wire::{QoS, ReasonCode};
use serde_json::json;
use std::io;

/// See the module.
pub struct Errand {
    /// Its connection.
    pub local: Local,
    message: Message,
    is_sent: bool,
}

/// What is published.
pub struct Message {
    /// A Topic Name; it was checked.
    pub topic: Box<str>,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
}

impl Errand {
    /// Connects.
    ///
    /// Errors: the system gives no sockets.
    pub fn new(message: Message, visitor: &Visitor, house: &House, id: u64) -> io::Result<Errand> {
        Ok(Errand {
            local: Local::open(visitor, house, id)?,
            message,
            is_sent: false,
        })
    }

    /// Goes on as far as it can. The answer, when there is one.
    pub fn turn(&mut self) -> Option<Answer> {
        let (mut accepted, mut answer) = (false, None);
        let turned = self.local.turn(&mut |heard| match heard {
            Heard::Accepted => accepted = true,
            Heard::Published { code, reason } | Heard::Gone { code, reason } => {
                // What comes first counts.
                if answer.is_none() {
                    answer = Some(outcome(code, reason));
                }
            }
            Heard::Refused(_) | Heard::Message { .. } => {}
        });
        if accepted && !std::mem::replace(&mut self.is_sent, true) {
            let Message {
                topic,
                payload,
                qos,
                retain,
            } = &self.message;
            let published = self.local.guest.publish(topic, payload, *qos, *retain);
            if published.is_err() {
                answer = Some(Answer::wrong("`topic` is no topic name"));
            }
            // The packet has it now.
            self.message.payload = Vec::new();
            return answer.or_else(|| self.turn());
        }
        if answer.is_none()
            && let Err(why) = turned
        {
            answer = Some(Answer::error(503, "busy", &why));
        }
        answer
    }
}

fn outcome(code: ReasonCode, reason: Option<&str>) -> Answer {
    if !code.is_failure() {
        return Answer::json(&json!({ "done": true }));
    }
    let text = match reason {
        Some(reason) if !reason.is_empty() => format!("{} ({})", reason, code.name()),
        _ => code.name().to_owned(),
    };
    match code {
        ReasonCode::SERVER_BUSY | ReasonCode::QUOTA_EXCEEDED | ReasonCode::SERVER_UNAVAILABLE => {
            Answer::error(503, "busy", &text)
        }
        _ => Answer::error(403, "not_authorized", &text),
    }
}
