//! Retained messages of a filter are deleted, and told by their topics.

use super::answer::{Pieces, Step};
use super::house::House;
use super::rights::Rights;
use crate::broker::Survey;
use crate::io::helpers::answers::text_line;
use crate::io::helpers::known;
use crate::limits;
use serde_json::json;

/// Of a filter, those that may be written.
pub struct Removal {
    removal: known::Removal,
    rights: Rights,
    is_trial: bool,
    begun: bool,
    count: usize,
}

impl Removal {
    /// Of a survey.
    pub fn new(survey: Survey, older_s: Option<u64>, rights: Rights, is_trial: bool) -> Removal {
        Removal {
            removal: known::Removal::new(survey, older_s, is_trial),
            rights,
            is_trial,
            begun: false,
            count: 0,
        }
    }
}

impl Pieces for Removal {
    fn step(&mut self, house: &House, out: &mut Vec<u8>) -> Step {
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(b"{\"removed\":[");
        }
        let done = self.removal.step(&house.known, |found, _| {
            if !self.rights.may_write(&found.topic) {
                return false;
            }
            if self.count < limits::HTTP_ITEMS_MAX {
                if self.count > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(text_line(&json!(found.topic).to_string()).as_bytes());
            }
            self.count += 1;
            true
        });
        match done {
            None => Step::Busy,
            Some(false) => Step::More,
            Some(true) => {
                let (count, is_trial) = (self.count, self.is_trial);
                let end = format!("],\"count\":{count},\"dry_run\":{is_trial}}}");
                out.extend_from_slice(end.as_bytes());
                Step::Done
            }
        }
    }
}
