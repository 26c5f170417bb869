//! `mqttfast explain`: whether a Client may publish or subscribe, by the files alone. No broker is asked.

use crate::acl::explain::{self, Asker, Explanation};
use crate::config::mosquitto::{self, Refused};
use crate::io::disk::Disk;
use crate::io::helpers::rules::{Faults, read_file};
use std::path::PathBuf;

/// What is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// To publish to a Topic Name.
    Publish,
    /// To subscribe to a Topic Filter.
    Subscribe,
}

/// A question.
#[derive(Debug)]
pub struct Question {
    /// To do what.
    pub wanted: Wanted,
    /// `None`: without a user name.
    pub user: Option<String>,
    /// Client id.
    pub client: String,
    /// Topic Name or Topic Filter.
    pub topic: String,
    /// ACL file. It goes before that of `config`.
    pub acl: Option<PathBuf>,
    /// A `mosquitto.conf` that names ACL files.
    pub config: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// The topic is none: a sentence.
    Topic(String),
    /// The configuration file has faults.
    Configuration(Refused),
    /// An ACL file has faults, or cannot be read.
    Rules(Faults),
}

/// An ACL file, or none, and the listeners that have it.
struct Case {
    listeners: Vec<String>,
    acl: Option<PathBuf>,
}

impl Question {
    /// Reads the files and answers, for each ACL file of the listeners apart. `allowed`: by all of them.
    ///
    /// Errors: as [`NoAnswer`] says.
    pub fn answer(&self) -> Result<Explanation, NoAnswer> {
        let topic = self.checked_topic()?;
        let cases = self.cases()?;
        let mut whole = Explanation {
            allowed: true,
            text: String::new(),
        };
        let asker = Asker {
            user: self.user.as_deref(),
            client: &self.client,
        };
        for case in &cases {
            if cases.len() > 1 {
                whole.text += &format!("{}:\n", case.listeners.join(", "));
            }
            let acl = case.acl.as_deref().map(read_file).transpose();
            let acl = acl.map_err(NoAnswer::Rules)?;
            let answer = match self.wanted {
                Wanted::Publish => explain::publish(acl.as_ref(), asker, topic),
                Wanted::Subscribe => explain::subscribe(acl.as_ref(), asker, topic),
            };
            whole.allowed &= answer.allowed;
            whole.text += &answer.text;
        }
        Ok(whole)
    }

    /// The topic that rules are about: of a Shared Subscription the filter behind its name.
    fn checked_topic(&self) -> Result<&str, NoAnswer> {
        let checked = match self.wanted {
            Wanted::Publish => explain::topic_name(&self.topic),
            Wanted::Subscribe => explain::topic_filter(&self.topic),
        };
        checked.map_err(NoAnswer::Topic)
    }

    fn cases(&self) -> Result<Vec<Case>, NoAnswer> {
        let config = match &self.config {
            Some(config) if self.acl.is_none() => config,
            _ => {
                return Ok(vec![Case {
                    listeners: Vec::new(),
                    acl: self.acl.clone(),
                }]);
            }
        };
        let file = mosquitto::read(config, &Disk).map_err(NoAnswer::Configuration)?;
        let mut cases: Vec<Case> = Vec::new();
        for listener in &file.listeners {
            let place = match &listener.place {
                Some(place) => format!("the listener at {place}"),
                None => "the listener of this machine alone".to_owned(),
            };
            let acl = listener.security.acl_file.as_ref();
            let acl = acl.map(|file| file.value.clone());
            match cases.iter_mut().find(|case| case.acl == acl) {
                Some(case) => case.listeners.push(place),
                None => cases.push(Case {
                    listeners: vec![place],
                    acl,
                }),
            }
        }
        Ok(cases)
    }
}
