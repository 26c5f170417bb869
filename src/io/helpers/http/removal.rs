//! Retained messages are deleted, as by an empty message from outside: subscribers hear of it, and the store forgets.

use super::answer::{Pieces, Step};
use super::house::House;
use super::rights::Rights;
use crate::broker::{Found, OwnMessage, Survey};
use crate::ids::ShardId;
use crate::io::helpers::answers::text_line;
use crate::io::helpers::known::Older;
use crate::io::mail::ToShard;
use crate::limits;
use crate::wire::QoS;
use serde_json::json;

/// Of a filter, those that may be written.
pub struct Removal {
    next: Option<Survey>,
    older: Older,
    rights: Rights,
    /// Nothing is deleted.
    is_trial: bool,
    begun: bool,
    count: usize,
}

impl Removal {
    /// Of a survey.
    pub fn new(survey: Survey, older_s: Option<u64>, rights: Rights, is_trial: bool) -> Removal {
        Removal {
            next: Some(survey.in_pages_of(limits::CONTROL_REMOVALS_AT_ONCE)),
            older: Older::by(older_s),
            rights,
            is_trial,
            begun: false,
            count: 0,
        }
    }

    fn tell(&mut self, topic: &str, out: &mut Vec<u8>) {
        if self.count < limits::HTTP_ITEMS_MAX {
            if self.count > 0 {
                out.push(b',');
            }
            out.extend_from_slice(text_line(&json!(topic).to_string()).as_bytes());
        }
        self.count += 1;
    }
}

impl Pieces for Removal {
    /// The next page is asked for behind the deletions of this one, in the same mail: so they cannot get ahead of the
    /// shard.
    fn step(&mut self, house: &House, out: &mut Vec<u8>) -> Step {
        let shard = ShardId(0);
        let Some(survey) = self.next.take() else {
            // What was told last is done before the answer ends.
            if !self.is_trial && house.known.ask(shard, Survey::sums()).is_none() {
                return Step::Busy;
            }
            let (count, is_trial) = (self.count, self.is_trial);
            out.extend_from_slice(
                format!("],\"count\":{count},\"dry_run\":{is_trial}}}").as_bytes(),
            );
            return Step::Done;
        };
        let Some(report) = house.known.ask(shard, survey) else {
            return Step::Busy;
        };
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(b"{\"removed\":[");
        }
        if let Found::Retained(page) = &report.found {
            for found in page {
                if !self.older.holds(found.written_s) || !self.rights.may_write(&found.topic) {
                    continue;
                }
                if !self.is_trial
                    && let Ok(deletion) = OwnMessage::new(&found.topic, &[], QoS::AtMostOnce, true)
                {
                    house
                        .known
                        .shards
                        .tell_surely(shard, ToShard::Publish(deletion));
                }
                self.tell(&found.topic, out);
            }
        }
        self.next = report.next;
        Step::More
    }
}
