//! `mqttfast explain` of a running broker: by the rules that are in force.

use super::{Broker, Failure, shown};
use serde_json::json;
use std::path::Path;

/// What is asked.
pub struct Question<'a> {
    /// Else to subscribe.
    pub publish: bool,
    /// `None`: without a user name.
    pub user: Option<&'a str>,
    /// Client id.
    pub client: &'a str,
    /// Topic Name or Topic Filter.
    pub topic: &'a str,
}

/// The answer: it may, by the rules of every listener it may come by; and some lines that say why.
///
/// Errors: no broker can be asked, or the topic is none.
pub fn ask(question: &Question<'_>, control: Option<&Path>) -> Result<(bool, String), Failure> {
    let mut broker = Broker::find(control)?;
    let what = match question.publish {
        true => "publish",
        false => "subscribe",
    };
    let request = json!({
        "ask": "explain",
        "what": what,
        "user": question.user,
        "client": question.client,
        "topic": question.topic,
    });
    let (mut allowed, mut text) = (true, String::new());
    let mut answers = Vec::new();
    let asked = broker.ask(&request, |line, _| {
        answers.push(line);
        Ok(())
    });
    asked.map_err(|failure| match failure.text.contains("is no topic") {
        true => Failure::asked_wrongly(failure.text),
        false => failure,
    })?;
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
    Ok((allowed, text))
}
