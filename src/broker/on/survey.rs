//! The answer to a survey: one page, of bounded work and size, from the shard's own structures. Nothing is copied or
//! locked for it beforehand.
//!
//! Sessions are walked by their slots, which never move; filters of a Session by rising node, its Shared Subscriptions
//! by rising name, retained messages by the cursor of replays. Each of these finds what stays exactly once. A page
//! costs at most `limits::SURVEY_STEPS_MAX` steps of O(1) to O(levels).

use crate::broker::event::Output;
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;
use crate::broker::survey::{
    ConnectionReport, Found, Last, Report, RetainedReport, SessionReport, Statistics, Subject,
    SubscriptionReport, Sums, Survey,
};
use crate::ids::SessionId;
use crate::limits;
use crate::session::Session;
use crate::topic::{RetainCursor, RetainStep};

/// What the page may still hold.
struct Room {
    items: usize,
    bytes: usize,
    steps: usize,
}

impl Room {
    fn new(items: usize) -> Room {
        Room {
            items,
            bytes: limits::SURVEY_BYTES_MAX,
            steps: limits::SURVEY_STEPS_MAX,
        }
    }

    fn is_left(&self) -> bool {
        self.items > 0 && self.bytes > 0 && self.steps > 0
    }

    fn step(&mut self) {
        self.steps = self.steps.saturating_sub(1);
    }

    /// Books an entry with so many bytes of names and values.
    fn take(&mut self, bytes: usize) {
        self.items -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Shard {
    pub(in crate::broker) fn on_survey(&mut self, survey: Survey, out: &mut Outputs) {
        let Survey { subject, items_max } = survey;
        let room = Room::new(items_max);
        let (found, rest) = match subject {
            Subject::Sums => (Found::Sums(Box::new(self.sums())), None),
            Subject::Statistics {
                slot,
                queued,
                unsent_bytes,
            } => self.page_of_statistics(slot, (queued, unsent_bytes)),
            Subject::Topics => (Found::Topics(Box::new(self.clients.watched())), None),
            Subject::Sessions { slot } => self.page_of_sessions(slot, room),
            Subject::Subscriptions { slot, after } => self.page_of_subscriptions(slot, after, room),
            Subject::Retained { cursor, values } => self.page_of_retained(cursor, values, room),
            Subject::Rules => (Found::Rules(self.rights.shared()), None),
            Subject::Session { client_id } => {
                let id = self.clients.find_session(&client_id);
                let session = id.and_then(|id| Some((id, self.clients.session(id)?)));
                let found = session.map(|(id, session)| self.session_report(id, session));
                (Found::Sessions(found.into_iter().collect()), None)
            }
        };
        let next = rest.map(|subject| Survey { subject, items_max });
        out.push(Output::Report(Box::new(Report {
            shard: self.id,
            now: self.turn.now(),
            found,
            next,
        })));
    }

    fn sums(&self) -> Sums {
        let (connections, sessions, subscriptions, retained) = self.sizes();
        Sums {
            counters: self.clients.counters().clone(),
            connections,
            sessions,
            subscriptions,
            retained,
            queued_bytes: self.clients.queued_bytes(),
            held_bytes: self.clients.book().bytes() as u64,
            largest_owners: self.clients.book().largest(limits::OWNERS_TOLD),
            refused: self.clients.book().refused(),
            store: self
                .clients
                .settings()
                .store
                .then(|| self.clients.store_state()),
            statistics: None,
        }
    }

    /// Adds what waits in some slots to what waits in those before; the last page has the sums.
    fn page_of_statistics(&self, slot: u32, before: (usize, usize)) -> (Found, Option<Subject>) {
        let last = self.clients.slots_end();
        let end = last.min(slot.saturating_add(limits::SURVEY_STEPS_MAX as u32));
        let more = self.clients.waiting(slot..end);
        let (queued, unsent_bytes) = (before.0 + more.0, before.1 + more.1);
        if end < last {
            let rest = Subject::Statistics {
                slot: end,
                queued,
                unsent_bytes,
            };
            return (Found::Counting, Some(rest));
        }
        let mut sums = self.sums();
        sums.statistics = Some(Statistics {
            queued,
            unsent_bytes,
            shared_subscriptions: self.topics.members().count(),
            is_wanted: self.topics.is_sys_wanted(),
        });
        (Found::Sums(Box::new(sums)), None)
    }

    fn page_of_sessions(&self, mut slot: u32, mut room: Room) -> (Found, Option<Subject>) {
        let mut page = Vec::new();
        while room.is_left() && slot < self.clients.sessions_end() {
            room.step();
            if let Some(id) = self.clients.session_at(slot)
                && let Some(session) = self.clients.session(id)
            {
                page.push(self.session_report(id, session));
                let user_bytes = session.user_name().map_or(0, str::len);
                room.take(session.client_id.len() + user_bytes);
            }
            slot += 1;
        }
        let more = slot < self.clients.sessions_end();
        let rest = more.then_some(Subject::Sessions { slot });
        (Found::Sessions(page), rest)
    }

    fn session_report(&self, id: SessionId, session: &Session) -> SessionReport {
        let connection = session
            .connection
            .and_then(|id| self.clients.connection(id));
        let connection = connection.map(|connection| ConnectionReport {
            address: connection.address,
            listener: connection.listener,
            version: connection.version,
            since: connection.since,
            keep_alive_s: connection.keep_alive_s,
            received_bytes: connection.received_bytes,
            sent_bytes: connection.sent_bytes,
            unsent_bytes: connection.unsent_bytes,
        });
        SessionReport {
            client_id: (&session.client_id).into(),
            user_name: session.user_name().map(Into::into),
            connection,
            ends: session.ends,
            subscriptions: session.filters.len() + self.topics.members().count_of(id),
            queued: session.queue.count(),
            queued_bytes: session.queue.bytes(),
            dropped: session.queue.dropped(),
            in_flight: session.inflight.count(),
        }
    }

    fn page_of_subscriptions(
        &self,
        mut slot: u32,
        mut after: Option<(SessionId, Last)>,
        mut room: Room,
    ) -> (Found, Option<Subject>) {
        let mut page = Vec::new();
        while room.is_left() && slot < self.clients.sessions_end() {
            room.step();
            let Some(id) = self.clients.session_at(slot) else {
                (slot, after) = (slot + 1, None);
                continue;
            };
            // If the slot has a new Session since the last page, its report begins with its first subscription.
            let last = after
                .take()
                .filter(|(of, _)| *of == id)
                .map(|(_, last)| last);
            match self.subscription_after(id, last) {
                Some((report, last)) => {
                    room.take(report.client_id.len() + report.filter.len());
                    page.push(report);
                    after = Some((id, last));
                }
                None => slot += 1,
            }
        }
        let more = slot < self.clients.sessions_end();
        let rest = more.then_some(Subject::Subscriptions { slot, after });
        (Found::Subscriptions(page), rest)
    }

    /// The first subscription of a Session, or the one behind `last`.
    fn subscription_after(
        &self,
        id: SessionId,
        last: Option<Last>,
    ) -> Option<(SubscriptionReport, Last)> {
        let session = self.clients.session(id)?;
        let client_id = (&session.client_id).into();
        let (node, shared) = match last {
            None => (session.filters.after(None), None),
            Some(Last::Filter(node)) => (session.filters.after(Some(node)), None),
            Some(Last::Shared(filter)) => (None, Some(filter)),
        };
        if let Some((node, ())) = node {
            let (filter, subscription) = self.topics.subscription_at(node, id);
            let report = SubscriptionReport {
                client_id,
                filter: filter.into(),
                options: subscription.map(|subscription| subscription.options),
            };
            return Some((report, Last::Filter(node)));
        }
        let filter = self.topics.members().after(id, shared.as_deref())?;
        let report = SubscriptionReport {
            client_id,
            filter: filter.into(),
            options: None,
        };
        Some((report, Last::Shared(filter.into())))
    }

    fn page_of_retained(
        &self,
        mut cursor: Box<RetainCursor>,
        values: bool,
        mut room: Room,
    ) -> (Found, Option<Subject>) {
        let mut page = Vec::new();
        let mut topic = String::new();
        while room.is_left() {
            topic.clear();
            match self
                .topics
                .next_retained(&mut cursor, &mut topic, &mut room.steps)
            {
                RetainStep::Message(found) => {
                    if let Some((message, version)) =
                        found.filter(|(message, _)| message.expires() > self.turn.now())
                    {
                        let payload_bytes = message.payload().len();
                        // Who asks holds what the page has, whatever becomes of it here.
                        room.take(topic.len() + if values { payload_bytes } else { 0 });
                        page.push(RetainedReport {
                            topic: topic.as_str().into(),
                            qos: message.qos,
                            payload_bytes,
                            expires: message.expires(),
                            written_s: version.written_s(),
                            value: values.then(|| message.clone()),
                        });
                    }
                }
                RetainStep::Pause => break,
                RetainStep::End => return (Found::Retained(page), None),
            }
        }
        (
            Found::Retained(page),
            Some(Subject::Retained { cursor, values }),
        )
    }
}
