//! Which answer a path has.

use super::answer::Answer;
use super::errand::Message;
use super::house::House;
use super::json;
use super::listing::{Clients, Retained, SysTree, Topics};
use super::metrics;
use super::removal::Removal;
use super::request::{Method, Request};
use super::rights::{Rights, Visitor};
use crate::acl::explain;
use crate::broker::{Found, Survey};
use crate::ids::ShardId;
use crate::io::helpers::answers::{self, Fields, Times, Wrong};
use crate::io::helpers::known::VERSION;
use crate::io::helpers::recent::Kind;
use crate::limits;
use crate::wire::QoS;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::time::Duration;

/// What may be asked of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// To be read.
    Read,
    /// To be done.
    Do,
    /// A WebSocket.
    Live,
    /// There is nothing.
    Nowhere,
}

/// Of a path.
pub fn place(path: &str) -> Place {
    match path {
        "/" | "/healthz" | "/metrics" => Place::Read,
        _ => match path.strip_prefix("/api/v1/") {
            Some(
                "version" | "me" | "status" | "listeners" | "clients" | "topics" | "retained"
                | "retained/value" | "systree" | "denials" | "bridges" | "store",
            ) => Place::Read,
            Some("retained/remove" | "publish") => Place::Do,
            Some("live") => Place::Live,
            _ => Place::Nowhere,
        },
    }
}

/// Its answer has values of any size in it.
pub fn may_be_large(path: &str) -> bool {
    matches!(path, "/api/v1/retained" | "/api/v1/retained/value")
}

/// The way in to a path is wrong. `None`: it is right.
pub fn refusal(request: &Request) -> Option<Answer> {
    match (place(&request.path), request.method) {
        (Place::Nowhere, _) => Some(Answer::error(
            404,
            "unknown_request",
            "there is nothing here",
        )),
        (Place::Read, Method::Get | Method::Head) | (Place::Do, Method::Post) => None,
        (Place::Live, Method::Get) => match request.websocket {
            Some(_) => None,
            None => Some(
                Answer::error(426, "wrong_request", "this is a WebSocket")
                    .with("Upgrade", "websocket")
                    .with("Sec-WebSocket-Version", "13"),
            ),
        },
        (Place::Read | Place::Live, _) => Some(
            Answer::error(405, "wrong_request", "this can only be read").with("Allow", "GET, HEAD"),
        ),
        (Place::Do, _) => {
            Some(Answer::error(405, "wrong_request", "this takes a POST").with("Allow", "POST"))
        }
    }
}

/// The broker serves: every shard answers in time.
pub fn health(house: &House) -> Answer {
    let most = Duration::from_millis(limits::SURVEY_WAIT_MS);
    match house.known.shards.wait_for_all(most) {
        Ok(true) => Answer::text(200, "ok"),
        _ => Answer::text(503, "a shard of the broker does not answer"),
    }
}

/// What is to be read.
pub fn read(request: &Request, visitor: &Visitor, house: &House) -> Answer {
    let result = match &*request.path {
        "/" => Ok(page(request, house)),
        "/healthz" => Ok(health(house)),
        "/metrics" => figures(house),
        path => match path.strip_prefix("/api/v1/").unwrap_or_default() {
            "version" => {
                let mut answer = answers::broker();
                answer["protocol"] = json!(VERSION);
                Ok(Answer::json(&answer))
            }
            "me" => Ok(Answer::json(
                &json!({ "user": visitor.user, "loopback": visitor.is_local }),
            )),
            "status" => status(house).map(|status| Answer::json(&status)),
            "store" => status(house).map(|status| Answer::json(&status["store"])),
            "listeners" => Ok(Answer::json(
                &json!({ "listeners": house.known.facts.listeners }),
            )),
            "clients" => clients(request),
            "topics" => topics(request, visitor, house),
            "retained" => retained(request, visitor, house),
            "retained/value" => value(request, visitor, house),
            "systree" => systree(visitor, house),
            "denials" => happenings(request, house),
            "bridges" => {
                let bridges = answers::bridges(&house.known);
                Ok(Answer::json(&json!({ "bridges": bridges })))
            }
            _ => Err(Answer::error(
                404,
                "unknown_request",
                "there is nothing here",
            )),
        },
    };
    result.unwrap_or_else(|refused| refused)
}

/// What becomes of a POST.
pub enum Act {
    /// It is answered.
    Answer(Answer),
    /// A message goes its way first.
    Publish(Message),
}

/// What is to be done.
pub fn act(request: &Request, body: &[u8], visitor: &Visitor, house: &House) -> Act {
    let done = || {
        if json::has_many_values(body) {
            let text = "the body has more values than any request";
            return Err(Answer::error(413, "too_long", text));
        }
        let fields = match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Fields(fields),
            _ => {
                return Err(Answer::error(
                    400,
                    "not_json",
                    "the body is one JSON object",
                ));
            }
        };
        if !visitor.may_act {
            let text = "clients without a user name may not come in here (allow_anonymous), so nothing can be done without a login";
            return Err(Answer::error(403, "not_authorized", text));
        }
        match &*request.path {
            "/api/v1/retained/remove" => remove(&fields, visitor, house).map(Act::Answer),
            "/api/v1/publish" => publish(&fields, visitor, house).map(Act::Publish),
            _ => Err(Answer::error(
                404,
                "unknown_request",
                "there is nothing here",
            )),
        }
    };
    done().unwrap_or_else(Act::Answer)
}

impl From<Wrong> for Answer {
    fn from(Wrong(text): Wrong) -> Answer {
        Answer::wrong(&text)
    }
}

/// What is to be published, if this user may.
fn publish(fields: &Fields, visitor: &Visitor, house: &House) -> Result<Message, Answer> {
    let topic = explain::topic_name(fields.needed("topic")?)
        .map_err(|why| Answer::wrong(&format!("`topic`: {why}")))?;
    let payload = match (fields.text("payload")?, fields.text("payload_base64")?) {
        (Some(_), Some(_)) => {
            return Err(Answer::wrong(
                "`payload` or `payload_base64`: one of the two",
            ));
        }
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, Some(text)) => BASE64_STANDARD
            .decode(text)
            .map_err(|_| Answer::wrong("`payload_base64` is no Base64"))?,
        (None, None) => Vec::new(),
    };
    let qos = match fields.number("qos")? {
        None | Some(0) => QoS::AtMostOnce,
        Some(1) => QoS::AtLeastOnce,
        Some(2) => QoS::ExactlyOnce,
        Some(_) => return Err(Answer::wrong("`qos` is 0, 1 or 2")),
    };
    let retain = fields.truth("retain")?;
    rights(visitor, house)?
        .may_publish(topic)
        .map_err(|text| Answer::error(403, "not_authorized", text.trim_end()))?;
    Ok(Message {
        topic: topic.into(),
        payload,
        qos,
        retain,
    })
}

/// `$SYS`, which is there for who asks for it.
fn systree(visitor: &Visitor, house: &House) -> Result<Answer, Answer> {
    if !house.sys.ask(Duration::from_millis(limits::SURVEY_WAIT_MS)) {
        return Err(Answer::busy());
    }
    let survey = Survey::retained_of("$SYS/#", true);
    let survey = survey.map_err(|why| Answer::error(500, "busy", &why.to_string()))?;
    let rights = rights(visitor, house)?;
    Ok(Answer::pieces(SysTree::new(survey, rights)))
}

fn remove(fields: &Fields, visitor: &Visitor, house: &House) -> Result<Answer, Answer> {
    let survey = answers::retained_of(fields.needed("filter")?, false)?;
    let (older_s, is_trial) = (fields.number("older_s")?, fields.truth("dry_run")?);
    let rights = rights(visitor, house)?;
    Ok(Answer::pieces(Removal::new(
        survey, older_s, rights, is_trial,
    )))
}

fn page(request: &Request, house: &House) -> Answer {
    let french = request.wants_french;
    let language = if french { "fr" } else { "en" };
    let html = house.page.html(french);
    Answer::page(html, house.page.policy(), language).with("Vary", "Accept-Language")
}

/// The whole broker.
pub fn status(house: &House) -> Result<Value, Answer> {
    let reports = house.known.statistics().ok_or_else(Answer::busy)?;
    Ok(answers::status(&house.known, &reports))
}

fn figures(house: &House) -> Result<Answer, Answer> {
    let status = status(house)?;
    let text = metrics::text(&status, &answers::bridges(&house.known));
    Ok(Answer::other(metrics::KIND, text))
}

/// How many entries are asked for.
fn limit(request: &Request, default: usize) -> Result<usize, Answer> {
    let most = limits::HTTP_ITEMS_MAX;
    match request.query("limit").map(str::parse) {
        None => Ok(default),
        Some(Ok(limit)) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => {
            let text = format!("`limit` is a number from 1 to {most}");
            Err(Answer::wrong(&text))
        }
    }
}

fn clients(request: &Request) -> Result<Answer, Answer> {
    let limit = limit(request, limits::HTTP_ITEMS_DEFAULT)?;
    match Clients::new(limit, request.query("after")) {
        Some(clients) => Ok(Answer::pieces(clients)),
        None => Err(Answer::wrong("`after` is the `next` of an earlier answer")),
    }
}

fn rights(visitor: &Visitor, house: &House) -> Result<Rights, Answer> {
    Rights::of(visitor, house).ok_or_else(Answer::busy)
}

fn topics(request: &Request, visitor: &Visitor, house: &House) -> Result<Answer, Answer> {
    let limit = limit(request, limits::HTTP_ITEMS_DEFAULT)?;
    let rights = rights(visitor, house)?;
    let (under, after) = (request.query("under"), request.query("after"));
    match Topics::new(under, rights, limit, after) {
        Some(topics) => Ok(Answer::pieces(topics)),
        None => Err(Answer::wrong("`under` is a topic, without + and #")),
    }
}

fn retained(request: &Request, visitor: &Visitor, house: &House) -> Result<Answer, Answer> {
    let limit = limit(request, limits::HTTP_ITEMS_DEFAULT)?;
    let filter = request.query("filter").unwrap_or("#");
    let values = request.query("values") == Some("1");
    let survey = answers::retained_of(filter, values)?;
    let rights = rights(visitor, house)?;
    let after = request.query("after");
    Ok(Answer::pieces(Retained::new(survey, rights, limit, after)))
}

/// One retained message with its whole value.
fn value(request: &Request, visitor: &Visitor, house: &House) -> Result<Answer, Answer> {
    let topic = request.query("topic");
    let topic = topic.filter(|topic| !topic.contains(['+', '#']));
    let survey = topic.and_then(|topic| Survey::retained_of(topic, true).ok());
    let (Some(topic), Some(survey)) = (topic, survey) else {
        return Err(Answer::wrong("`topic` is a topic, without + and #"));
    };
    let nothing = || Answer::error(404, "wrong_request", "nothing is retained there");
    // Whether there is something is not told to who may not read it.
    if !rights(visitor, house)?.may_read(topic) {
        return Err(nothing());
    }
    let mut next = Some(survey);
    while let Some(survey) = next {
        let report = house.known.ask(ShardId(0), survey);
        let report = report.ok_or_else(Answer::busy)?;
        let times = Times::of(&house.known, report.now);
        if let Found::Retained(page) = &report.found
            && let Some(found) = page.first()
        {
            let most = limits::CONTROL_VALUE_BYTES_MAX;
            return Ok(Answer::json(&answers::retained(found, &times, most)));
        }
        next = report.next;
    }
    Err(nothing())
}

/// What devices had trouble with, the newest first.
fn happenings(request: &Request, house: &House) -> Result<Answer, Answer> {
    let limit = limit(request, limits::HTTP_HAPPENINGS_DEFAULT)?;
    let entries = house
        .known
        .recent
        .entries(&Kind::ALL, request.query("client"));
    let told = entries.iter().take(limit);
    let lines: Vec<Value> = told
        .map(|entry| answers::happening(entry, &house.known))
        .collect();
    Ok(Answer::json(&json!({ "happenings": lines })))
}
