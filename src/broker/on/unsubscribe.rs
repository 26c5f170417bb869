//! UNSUBSCRIBE: takes the filters out of the trie and answers at once.

use crate::broker::filter_refusal::FilterRefusal;
use crate::broker::happening::{Happening, LogLevel};
use crate::broker::outputs::Outputs;
use crate::broker::pending::Unfinished;
use crate::broker::shard::Shard;
use crate::broker::topics::checked_filter;
use crate::broker::turn::work_of_filter;
use crate::broker::violation::Violation;
use crate::ids::{ConnectionId, SessionId};
use crate::limits;
use crate::wire;
use crate::wire::reason::ReasonCode;
use crate::wire::{Packet, UnsubAck, Unsubscribe, Version};

impl Shard {
    pub(in crate::broker) fn on_unsubscribe(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        version: Version,
        unsubscribe: &Unsubscribe<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        let mut part = self.pending.take_unfinished(id);
        let checked = self.check_filters(&mut part, |at| unsubscribe.filter_at(at))?;
        let Some(total) = checked else {
            self.put_unfinished(id, part);
            return Ok(());
        };
        self.check_answer(id, version, total)?;
        let work_before = self.turn.work();
        let mut left = Vec::new();
        for _ in 0..limits::FILTERS_AT_ONCE {
            if self.turn.is_enough_of_part(work_before) {
                break;
            }
            let found = unsubscribe.filter_at(part.at);
            let Some((next, filter)) = found.map_err(Violation::Malformed)? else {
                break;
            };
            part.at = next;
            self.turn.add_work(work_of_filter(filter));
            if let Some(session) = self.clients.session(session_id) {
                out.tell(self.logs, LogLevel::Packet, || Happening::Unsubscribed {
                    client_id: (&session.client_id).into(),
                    filter: filter.into(),
                });
            }
            if let Some(membership) = self.unsubscribe_shared(filter, session_id, out) {
                left.push(membership);
                self.clients.note_unsubscribed(session_id, None, filter);
                part.codes.push(ReasonCode::SUCCESS.0);
                continue;
            }
            let reason = match self.topics.unsubscribe(session_id, filter) {
                None if checked_filter(filter).is_err() => {
                    let refusal = FilterRefusal::TooManyLevels;
                    part.refusal.get_or_insert(refusal).reason_code()
                }
                None => ReasonCode::NO_SUBSCRIPTION_EXISTED,
                Some(done) => {
                    let node = Some(done.node);
                    self.clients.note_unsubscribed(session_id, node, filter);
                    if done.last {
                        self.peers.tell_filter_removed(filter, out);
                    }
                    ReasonCode::SUCCESS
                }
            };
            part.codes.push(reason.0);
        }
        self.hand_back_of(session_id, left, out);
        part.after = part.after.max(self.clients.state_of(session_id));
        if part.codes.len() < total {
            self.put_unfinished(id, part);
            self.peers.ask_in_force(out);
            self.pace_for_full_lanes(id, u64::MAX, out);
            return Ok(());
        }
        let Unfinished {
            mut codes,
            refusal,
            after,
            ..
        } = part;
        if version != Version::V5 {
            codes.clear(); // [v3.1.1 3.11.3]
        }
        self.clients.append_explained(
            id,
            after,
            &FilterRefusal::explain(refusal),
            |reason_string, block| {
                let unsuback = UnsubAck {
                    packet_id: unsubscribe.packet_id,
                    codes: &codes,
                    reason_string,
                    user_properties: Default::default(),
                };
                wire::encode(&Packet::UnsubAck(unsuback), version, block);
            },
        );
        self.pace_for_full_lanes(id, u64::MAX, out);
        Ok(())
    }
}
