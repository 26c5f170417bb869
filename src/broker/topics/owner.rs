//! The state of [`Topics`], and what may be read of it.

use super::group::Groups;
use super::member::Members;
use super::replay::{Replay, Replays};
use super::sweep::Sweep;
use super::value::{Departed, Retained};
use crate::broker::change::{Change, Changes};
use crate::broker::passing::{RetainVersion, Subscriber, Subscription};
use crate::buffer::account::{Account, Arc};
use crate::ids::{SessionId, ShardId};
use crate::session::Message;
use crate::topic::{FilterTrie, Kept, Matches, RetainTree, Routes};
use crate::wire::TopicName;
use std::collections::VecDeque;
use std::rc::Rc;

pub struct Topics {
    pub(super) id: ShardId,
    pub(super) shards: usize,
    pub(super) trie: FilterTrie<Subscriber, Subscription>,
    routes: Routes<Subscriber, Subscription>,
    /// The answer to [`Topics::find`], kept so that a warm turn allocates nothing.
    found: Matches<Subscriber, Subscription>,
    /// Where the last sifted answer is kept.
    kept: Kept,
    pub(super) groups: Groups,
    pub(super) members: Members,
    /// Ended Sessions, and their subscriptions that are still in the trie.
    pub(super) departed: VecDeque<Departed>,
    /// The sequence that peers must have answered before more of these are taken out.
    pub(super) departed_sequence: u64,
    pub(super) retained: RetainTree<Retained>,
    /// Topics of deleted retained messages whose mark is kept.
    pub(super) deletion_marks: usize,
    /// Each is a message without payload, which counts for whoever deleted the topic.
    pub(super) marks: VecDeque<(Rc<Message>, RetainVersion)>,
    /// What a store must know.
    pub(super) changes: Changes,
    pub(super) replays: Replays,
    pub(super) sweep: Sweep,
    /// Scratch for the Topic Name of a retained message, or a Topic Filter.
    pub(super) text: String,
}

impl Topics {
    pub fn new(id: ShardId, shards: usize, store: bool) -> Topics {
        Topics {
            id,
            shards,
            trie: FilterTrie::default(),
            routes: Routes::default(),
            found: Matches::new(),
            kept: Kept::default(),
            groups: Groups::default(),
            members: Members::default(),
            departed: VecDeque::new(),
            departed_sequence: 0,
            retained: RetainTree::default(),
            deletion_marks: 0,
            marks: VecDeque::new(),
            changes: Changes::new(store),
            replays: Replays::default(),
            sweep: Sweep::default(),
            text: String::new(),
        }
    }

    /// Finds the subscribers of a topic, see [`Topics::found`]. Returns the cost: the number of trie nodes visited.
    #[inline]
    pub fn find(&mut self, topic: TopicName<'_>) -> usize {
        self.routes
            .matches(&self.trie, topic, &mut self.found, |_| false);
        self.found.visited
    }

    /// The same where not all who subscribe get the messages: `sift` takes those out who do not. What it leaves is kept
    /// for the next message of the topic, until a subscription changes or [`Topics::forget_found`]. It returns `true`
    /// if it takes nobody out.
    pub fn find_sifted(
        &mut self,
        topic: TopicName<'_>,
        sift: impl FnOnce(&mut Matches<Subscriber, Subscription>) -> bool,
    ) -> usize {
        self.kept = self
            .routes
            .matches(&self.trie, topic, &mut self.found, sift);
        self.found.visited
    }

    /// What `sift` would leave has changed: answers that were kept are not given any more.
    pub fn forget_found(&mut self) {
        self.trie.renew();
    }

    /// The Session was noted as one that may write to the topic of the last [`Topics::find_sifted`].
    #[inline]
    pub fn is_noted_writer(&self, session: SessionId) -> bool {
        self.routes
            .is_noted(self.kept, Subscriber::Session(session))
    }

    /// Notes the Session as one that may write to the topic of the last [`Topics::find_sifted`], as long as that answer
    /// is kept.
    #[inline]
    pub fn note_writer(&mut self, session: SessionId) {
        self.routes.note(self.kept, Subscriber::Session(session));
    }

    /// The subscribers of the topic of the last [`Topics::find`].
    #[inline]
    pub fn found(&self) -> &Matches<Subscriber, Subscription> {
        &self.found
    }

    /// The memberships of this shard's Sessions in Shared Subscriptions.
    pub fn members(&self) -> &Members {
        &self.members
    }

    pub fn members_mut(&mut self) -> &mut Members {
        &mut self.members
    }

    /// What a store must know.
    #[inline]
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Takes the changes of this turn.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.changes.take()
    }

    /// Replays of retained messages.
    pub fn replays(&self) -> &Replays {
        &self.replays
    }

    /// The same, to say which of them may begin.
    pub fn replays_mut(&mut self) -> &mut Replays {
        &mut self.replays
    }

    /// A Session gets the retained messages of a filter, as fast as its Client takes them. Their replay counts for
    /// `account`.
    pub fn add_replay(
        &mut self,
        session: SessionId,
        replay: Replay,
        account: Option<&Arc<Account>>,
    ) {
        self.replays.add(session, replay, account);
    }

    /// A new turn begins: the Sessions whose replays go on, with a fresh share of work. `None` where there is none, as
    /// in most turns.
    #[inline]
    pub fn begin_replays(&mut self) -> Option<VecDeque<SessionId>> {
        self.replays.begin_turn()
    }

    /// Some Session, of this shard or of another, subscribes to something below `$SYS`.
    pub fn is_sys_wanted(&self) -> bool {
        self.trie.has_node("$SYS")
    }

    /// Subscriptions and retained messages.
    pub fn counts(&self) -> (usize, usize) {
        (
            (self.trie.subscriptions() + self.members.count()).saturating_sub(self.groups.count()),
            self.retained.len().saturating_sub(self.deletion_marks),
        )
    }

    /// What is still held after all Sessions and retained messages are gone, by name. For tests.
    pub fn leftovers(&self) -> [(&'static str, usize); 9] {
        [
            ("slots of groups that ended", self.groups.withheld()),
            ("nodes of filters", self.trie.nodes()),
            ("retained", self.retained.len()),
            ("replays", self.replays.count()),
            ("groups", self.groups.count()),
            ("memberships", self.members.count()),
            ("joins to answer", self.groups.joins()),
            ("joins unanswered", self.members.unanswered()),
            ("deletion marks", self.deletion_marks),
        ]
    }

    /// Walks everything and panics where one part contradicts another; for tests. `filters` is the number of
    /// subscriptions that the Sessions of this shard hold.
    pub fn check_invariants(&self, filters: usize) {
        self.trie.check_invariants();
        let departed: usize = self.departed.iter().map(|gone| gone.nodes.len()).sum();
        assert_eq!(
            filters + departed + self.groups.count(),
            self.trie.subscriptions()
        );
        self.groups.check_invariants();
        self.members.check_invariants();
        self.replays.check_invariants();
    }
}
