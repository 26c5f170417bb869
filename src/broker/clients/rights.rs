//! What one Client may do: the question to the rules in force, on behalf of its Session.

use super::booking::book_session;
use super::owner::Clients;
use crate::acl::{Act, Cause, Reach, Verdict, may_without_file};
use crate::broker::counters::Dropped;
use crate::broker::happening::{Denied, Happening, LogLevel};
use crate::broker::outputs::Outputs;
use crate::broker::rights::Rights;
use crate::budget::Book;
use crate::ids::{ConnectionId, SessionId};
use crate::session::queue::Share;
use crate::session::{ConnectRequest, Message, Session, Source};

/// What the rules say to a Session has a place from the first question on.
fn book_rights(book: &mut Book, session: &mut Session) {
    if session.rights.is_none() {
        session.rights = Some(Box::default());
        book_session(book, session);
    }
}

impl Clients {
    /// May the Client read, or write, messages of this Topic Name?
    pub fn may(&mut self, id: SessionId, rights: &Rights, act: Act, name: &str) -> Verdict {
        let Some(session) = self.sessions.get_mut(id) else {
            // What is for a Session that has ended is delivered to nobody; and nobody writes for it.
            return match act {
                Act::Read => Verdict::Allowed(Cause::NoRule),
                Act::Write => Verdict::Refused(Cause::NoRule),
            };
        };
        let Some(rules) = rights.of(session.listener) else {
            return may_without_file(session.bridge, act, name);
        };
        book_rights(&mut self.book, session);
        let user = session.given_name.as_deref();
        let known = session.rights.get_or_insert_default();
        known.may(rules, user, &session.client_id, act, name)
    }

    /// The Client may have what was queued for it, or sent to an earlier connection, or is to come out of a group.
    #[inline]
    pub fn may_read(&mut self, id: SessionId, rights: &Rights, name: &str) -> bool {
        !rights.are_in_force() || self.may(id, rights, Act::Read, name).is_allowed()
    }

    /// How much of a Topic Filter the Client may hear, and how many rules were looked at.
    pub fn reach(&mut self, id: SessionId, rights: &Rights, filter: &str) -> (Reach, usize) {
        let Some(session) = self.sessions.get_mut(id) else {
            return (Reach::All, 0);
        };
        let Some(rules) = rights.of(session.listener) else {
            return (Reach::All, 0);
        };
        book_rights(&mut self.book, session);
        let user = session.given_name.as_deref();
        let known = session.rights.get_or_insert_default();
        known.reach(rules, user, &session.client_id, filter)
    }

    /// Something was refused to a Client: tells it, at most once in `limits::DENIALS_TOLD_EVERY_MS`.
    pub fn tell_denied(
        &mut self,
        id: SessionId,
        rights: &Rights,
        cause: Cause,
        topic: &str,
        what: Denied,
        out: &mut Outputs,
    ) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        book_rights(&mut self.book, session);
        let known = session.rights.get_or_insert_default();
        if let Some(untold) = known.note_refusal(self.now) {
            out.tell(self.settings.logs, LogLevel::Info, || {
                let acl = rights.of(session.listener).map(|(_, acl)| acl);
                let rule = match (cause, acl) {
                    (Cause::Rule { line }, Some(acl)) => acl.rule(line),
                    _ => None,
                };
                // It is asked for by the address of a device, too.
                let connection = session.connection.and_then(|id| self.connections.get(id));
                Happening::Denied {
                    address: connection.map(|connection| connection.address),
                    client_id: (&session.client_id).into(),
                    user_name: session.given_name.clone(),
                    what,
                    topic: topic.into(),
                    cause,
                    file: acl.map_or("", |acl| acl.file()).into(),
                    rule: rule.map_or(String::new(), |rule| rule.to_string()).into(),
                    untold,
                }
            });
        }
    }

    /// Notes the Client as the publisher of a message that will be retained, where the rules ask for that.
    pub fn sign(&self, id: SessionId, rights: &Rights, message: &mut Message) {
        if !(message.retain && rights.rules().check_retain_source) {
            return;
        }
        if let Some(session) = self.sessions.get(id) {
            message.sign(Source {
                user_name: session.given_name.clone(),
                client_id: (&session.client_id).into(),
                listener: session.listener,
                bridge: session.bridge,
            });
        }
    }

    /// A message for the Session may not be read by its Client.
    pub fn drop_denied(&mut self, session: SessionId, share: Option<Share>) {
        self.counters.drop_messages(Dropped::Denied, 1);
        self.note_ended(session, share);
    }

    /// The connection's Client has other rights than the Client that had the Session before: another user name, another
    /// listener, or it is a bridge or none.
    pub fn will_change_rights(
        &self,
        session: SessionId,
        connection: ConnectionId,
        request: &ConnectRequest,
    ) -> bool {
        let (Some(session), Some(connection)) =
            (self.sessions.get(session), self.connections.get(connection))
        else {
            return false;
        };
        session.given_name != request.user_name
            || session.listener != connection.listener
            || session.bridge != request.bridge
    }
}
