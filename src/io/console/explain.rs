//! `mqttfast explain` of a running broker: by the rules that are in force.

use super::{Broker, Failure, shown};
use crate::acl::explain::Explanation;
use crate::io::explain::{Question, Wanted};
use serde_json::json;
use std::path::Path;

/// The answer, for all listeners it may come by. The files of the question are not read.
///
/// Errors: no broker can be asked, or the topic is none.
pub fn ask(question: &Question, control: Option<&Path>) -> Result<Explanation, Failure> {
    let mut broker = Broker::find(control)?;
    let what = match question.wanted {
        Wanted::Publish => "publish",
        Wanted::Subscribe => "subscribe",
    };
    let request = json!({
        "ask": "explain",
        "what": what,
        "user": question.user,
        "client": question.client,
        "topic": question.topic,
    });
    let (mut allowed, mut text) = (true, String::new());
    let answers = broker.ask_all(&request)?;
    for line in &answers {
        if answers.len() > 1 {
            text += &format!("listener {}:\n", shown::number(line, "listener"));
        }
        allowed &= line["allowed"] == true;
        for said in line["text"].as_str().unwrap_or_default().lines() {
            text += &shown::whole(said);
            text.push('\n');
        }
    }
    Ok(Explanation { allowed, text })
}
