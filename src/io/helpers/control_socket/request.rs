//! A line becomes work, or an error line.

use super::lines::refuse;
use super::work::{Deletion, Listing, Work};
use crate::acl::explain;
use crate::broker::Survey;
use crate::io::helpers::answers::{Fields, Wrong, retained_of, text_line};
use crate::io::helpers::known::Known;
use crate::io::helpers::recent::Kind;
use serde_json::Value;

/// What is asked for. `None`: it is answered, or refused.
pub fn take(line: &[u8], known: &Known, out: &mut Vec<u8>) -> Option<Work> {
    match read(line, known) {
        Ok(work) => Some(work),
        Err((code, text)) => {
            refuse(code, &text, out);
            None
        }
    }
}

type Fault = (&'static str, String);

fn wrong(text: impl Into<String>) -> Fault {
    ("wrong_request", text.into())
}

impl From<Wrong> for Fault {
    fn from(Wrong(text): Wrong) -> Fault {
        wrong(text)
    }
}

/// Retained messages of a Topic Filter; without one, all but those whose topic begins with `$`.
fn retained(fields: &Fields, values: bool) -> Result<Survey, Wrong> {
    retained_of(fields.text("filter")?.unwrap_or("#"), values)
}

fn read(line: &[u8], known: &Known) -> Result<Work, Fault> {
    let fields = match serde_json::from_slice(line) {
        Ok(Value::Object(fields)) => Fields(fields),
        Ok(_) => return Err(("not_json", "a request is one JSON object".to_owned())),
        Err(error) => return Err(("not_json", format!("a request is one JSON object: {error}"))),
    };
    Ok(match fields.needed("ask")? {
        "version" => Work::Version,
        "status" => Work::Status,
        "clients" => Work::List(Listing::clients(known)),
        "sessions" => Work::List(Listing::sessions(known)),
        "bridges" => Work::Bridges,
        "topics" => Work::Topics,
        "subscriptions" => Work::List(Listing::subscriptions(known, fields.text("client")?)),
        "retained" => {
            let older_s = fields.number("older_s")?;
            let values = fields.truth("values")?;
            Work::List(Listing::retained(
                retained(&fields, values)?,
                older_s,
                values,
            ))
        }
        "remove_retained" => {
            let filter = fields.needed("filter")?;
            let older_s = fields.number("older_s")?;
            let is_trial = fields.truth("dry_run")?;
            let survey = retained_of(filter, false)?;
            Work::Remove(Deletion::new(survey, older_s, is_trial))
        }
        "disconnect" => Work::Disconnect(fields.needed("client")?.into()),
        "end_session" => Work::EndSession {
            client_id: fields.needed("client")?.into(),
            only_absent: fields.truth("only_absent")?,
        },
        "explain" => {
            let topic = fields.needed("topic")?;
            let (publish, checked) = match fields.needed("what")? {
                "publish" => (true, explain::topic_name(topic)),
                "subscribe" => (false, explain::topic_filter(topic)),
                _ => return Err(wrong("`what` is \"publish\" or \"subscribe\"")),
            };
            let topic = checked.map_err(wrong)?;
            Work::Explain {
                publish,
                user: fields.text("user")?.map(Into::into),
                client_id: fields.text("client")?.unwrap_or_default().into(),
                topic: topic.into(),
            }
        }
        "happenings" => {
            let kinds = match fields.0.get("kinds") {
                None | Some(Value::Null) => Kind::ALL.to_vec(),
                Some(Value::Array(names)) => names.iter().map(kind).collect::<Result<_, _>>()?,
                Some(_) => return Err(wrong("`kinds` is a list of names")),
            };
            Work::Happenings {
                kinds,
                whom: fields.text("client")?.map(Into::into),
            }
        }
        "log" => Work::Log {
            from: known
                .log
                .tail_next()
                .saturating_sub(fields.number("lines")?.unwrap_or(20)),
            follow: fields.truth("follow")?,
        },
        other => {
            let text = format!("there is no request {}", text_line(other));
            return Err(("unknown_request", text));
        }
    })
}

fn kind(name: &Value) -> Result<Kind, Fault> {
    let found = Kind::ALL
        .into_iter()
        .find(|kind| name.as_str() == Some(kind.name()));
    found.ok_or_else(|| wrong("`kinds` has \"denial\", \"refusal\", \"end\" and \"bridge\""))
}
