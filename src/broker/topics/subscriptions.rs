//! Subscriptions of Sessions: each comes and goes in one method here.

use super::ReplayNumber;
use super::owner::Topics;
use super::value::Departed;
use crate::broker::passing::{Subscriber, Subscription};
use crate::buffer::account::Booked;
use crate::ids::{NodeId, SessionId, ShardId};
use crate::limits;
use crate::topic::{Subscribed, Unsubscribed};
use crate::wire::TopicFilter;

impl Topics {
    /// The Session has this very filter.
    pub fn has(&self, filter: &str, session: SessionId) -> bool {
        let subscriber = Subscriber::Session(session);
        self.trie.options(filter, subscriber).is_some()
    }

    /// The filter of a node in use, and how this Session subscribed to it.
    pub fn subscription_at(
        &self,
        node: NodeId,
        session: SessionId,
    ) -> (String, Option<Subscription>) {
        let mut filter = String::new();
        self.trie.filter_text(node, &mut filter);
        let subscriber = Subscriber::Session(session);
        (filter, self.trie.options_at(node, subscriber))
    }

    /// Adds a subscription, or replaces the one there is and ends its replay: the same filter again begins a new
    /// replay, whose place a new one takes. [v3.1.1 MQTT-3.8.4-3]
    pub fn subscribe(
        &mut self,
        session: SessionId,
        filter: TopicFilter<'_>,
        subscription: Subscription,
    ) -> (Subscribed<Subscription>, Option<ReplayNumber>) {
        let subscriber = Subscriber::Session(session);
        let done = self.trie.subscribe(filter, subscriber, subscription);
        let ended = self.replays.end_for_another(session, done.node);
        (done, ended)
    }

    /// Removes a subscription and its replay. Returns `None` if there was none.
    pub fn unsubscribe(&mut self, session: SessionId, filter: &str) -> Option<Unsubscribed> {
        let done = self
            .trie
            .unsubscribe(filter, Subscriber::Session(session))?;
        self.replays.stop(session, done.node);
        Some(done)
    }

    /// A Session has ended: its replays end and its subscriptions leave the trie. Appends the filters that peers need
    /// no longer serve to `removed`. Returns `false` if the subscriptions are too many for one turn:
    /// [`Topics::forget_some`] goes on with them, and `booked` counts them until then. It is `None` if they are few.
    pub fn depart(
        &mut self,
        session: SessionId,
        nodes: Vec<NodeId>,
        booked: Option<Booked>,
        removed: &mut Vec<String>,
    ) -> bool {
        self.replays.forget(session);
        if booked.is_some() {
            self.departed.push_back(Departed {
                session,
                nodes,
                booked,
            });
            return false;
        }
        for node in nodes {
            removed.extend(self.forget(session, node));
        }
        true
    }

    /// Subscriptions of Sessions that have ended are still in the trie.
    pub fn has_departed(&self) -> bool {
        !self.departed.is_empty()
    }

    /// Subscriptions of ended Sessions are in the trie, and every peer has handled the part before.
    pub fn may_forget_some(&self, in_force: u64) -> bool {
        self.has_departed() && in_force >= self.departed_sequence
    }

    /// The next part waits until peers have come to this sequence.
    pub fn await_peers(&mut self, sequence: u64) {
        self.departed_sequence = sequence;
    }

    /// Takes a part of these out. They match nobody any more, but a quarter of a million at once would delay all
    /// Clients and fill the lanes. `Some`: all of this Session's are out now.
    pub fn forget_some(&mut self, removed: &mut Vec<String>) -> Option<SessionId> {
        let Departed {
            session,
            mut nodes,
            booked,
        } = self.departed.pop_front()?;
        let mut work = 0;
        for _ in 0..limits::FILTERS_AT_ONCE {
            if work > limits::WORK_OF_PART {
                break;
            }
            let Some(node) = nodes.pop() else {
                break;
            };
            let nodes_before = self.trie.nodes();
            let text = self.forget(session, node);
            let freed = nodes_before - self.trie.nodes();
            let bytes = self.text.len();
            work += limits::WORK_OF_FILTER
                + freed * limits::WORK_OF_LEVEL
                + bytes / limits::FILTER_BYTES_PER_WORK;
            removed.extend(text);
        }
        if nodes.is_empty() {
            return Some(session);
        }
        self.departed.push_front(Departed {
            session,
            nodes,
            booked,
        });
        None
    }

    /// Takes one subscription of a Session that has ended out of the trie; `text` has its filter then. `Some`: no
    /// Session of this shard has this filter any more, and there are peers to tell.
    fn forget(&mut self, session: SessionId, node: NodeId) -> Option<String> {
        self.text.clear();
        self.trie.filter_text(node, &mut self.text);
        let done = self
            .trie
            .unsubscribe_node(node, Subscriber::Session(session));
        let last = done.is_some_and(|done| done.last);
        (last && self.shards > 1).then(|| self.text.clone())
    }

    /// A peer shard has a Session that subscribed to this filter now.
    pub fn add_shard(&mut self, filter: TopicFilter<'_>, shard: ShardId) {
        self.trie.add_shard(filter, shard);
    }

    /// A peer shard has no subscriber of this filter any more.
    pub fn remove_shard(&mut self, filter: &str, shard: ShardId) {
        self.trie.remove_shard(filter, shard);
    }
}
