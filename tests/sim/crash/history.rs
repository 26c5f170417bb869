//! What was published, acknowledged and received, and what must be true of it.

use std::collections::BTreeMap;

/// A PUBLISH of a Client, by its number, which is its payload.
#[derive(Clone, Debug)]
pub struct Published {
    pub by: usize,
    pub topic: usize,
    pub qos: u8,
    pub retain: bool,
    /// When it was first given to the broker.
    pub at: u64,
    /// PUBACK or PUBREC said that it was taken.
    pub taken: bool,
    /// It deletes the retained message.
    pub empty: bool,
    /// It is the will of a connection.
    pub is_will: bool,
    /// A will that must not be published any more, since when: its Client came back in time.
    pub void: Option<u64>,
}

impl Published {
    /// It goes to one member of a group.
    pub fn is_for_group(&self) -> bool {
        self.topic >= GROUP_TOPICS
    }
}

/// One subscription of a Session, from SUBSCRIBE to UNSUBACK.
#[derive(Clone, Debug)]
pub struct Interval {
    pub filter: usize,
    pub suback: Option<u64>,
    pub unsubscribed: Option<u64>,
    pub unsuback: Option<u64>,
}

/// Of one Client: what it was sent, in the order of first receipts.
#[derive(Default, Debug)]
pub struct Receipts {
    /// By message: how often as a new one at QoS 2, and how often in all.
    counts: BTreeMap<usize, (usize, usize)>,
    /// By publisher, topic and QoS: the last first receipt.
    last: BTreeMap<(usize, usize, u8), usize>,
}

/// The last two are of groups alone.
pub const TOPICS: [&str; 6] = ["a/1", "a/2", "b/1", "b/2", "g/r/1", "g/r/2"];
pub const GROUP_TOPICS: usize = 4;
/// The last two are of groups, each with a topic of its own; the one before is not played where there are groups.
pub const FILTERS: [&str; 6] = ["a/#", "a/1", "+/2", "#", "$share/s/g/r/1", "$share/t/g/r/2"];
pub const GROUP_FILTERS: usize = 4;

/// Whether a filter of the list matches a topic of the list.
pub fn matches(filter: usize, topic: usize) -> bool {
    match filter {
        0 => topic < 2,
        1 => topic == 0,
        2 => topic < GROUP_TOPICS && topic % 2 == 1,
        3 => true,
        group => topic == group,
    }
}

impl Receipts {
    /// A PUBLISH came that is no repeat by its Packet Identifier.
    pub fn receive(
        &mut self,
        number: usize,
        qos: u8,
        replayed: bool,
        published: &[Published],
        intervals: &[Interval],
    ) -> Result<(), String> {
        let message = published
            .get(number)
            .ok_or("a message that nobody published")?;
        if replayed {
            return Ok(());
        }
        if message.void.is_some() && !self.counts.contains_key(&number) {
            return Err(format!("{number} is the will of a Client that came back"));
        }
        let subscribed = intervals.iter().any(|interval| {
            matches(interval.filter, message.topic)
                && interval.unsuback.is_none_or(|at| at > message.at)
        });
        if !subscribed {
            return Err(format!("{number} was published after UNSUBACK"));
        }
        let (exactly, all) = self.counts.entry(number).or_default();
        *all += 1;
        if qos == 2 {
            *exactly += 1;
            // A will that is being published when the broker ends may be published again.
            if *exactly > 1 && !message.is_will {
                return Err(format!("{number} of QoS 2 came twice"));
            }
        }
        if message.is_will || message.is_for_group() {
            return Ok(()); // Of no order.
        }
        // One that its publisher sends again may come late to whom it was not for at first.
        let for_it = intervals.iter().any(|interval| {
            matches(interval.filter, message.topic)
                && interval.suback.is_some_and(|at| at < message.at)
                && interval.unsubscribed.is_none()
        });
        if *all == 1 && for_it {
            let key = (message.by, message.topic, qos);
            let last = self.last.insert(key, number);
            if let Some(last) = last.filter(|last| *last > number) {
                return Err(format!(
                    "{number} came after {last} of the same publisher and topic"
                ));
            }
        }
        Ok(())
    }

    /// How often a message came: as a new one at QoS 2, and in all.
    fn count(&self, number: usize) -> (usize, usize) {
        self.counts.get(&number).copied().unwrap_or_default()
    }

    /// Nothing that was acknowledged is missing.
    pub fn check_complete(
        &self,
        published: &[Published],
        intervals: &[Interval],
    ) -> Result<(), String> {
        for (number, message) in published.iter().enumerate() {
            let owed = intervals.iter().any(|interval| {
                matches(interval.filter, message.topic)
                    && interval.suback.is_some_and(|at| at < message.at)
                    && interval.unsubscribed.is_none()
            });
            // A deletion carries no number, so its receipts are not told from others. What a group is owed is judged
            // over all its members.
            let owed = owed && !message.empty && !message.is_for_group();
            if message.taken && message.qos > 0 && owed && !self.counts.contains_key(&number) {
                return Err(format!(
                    "{number} was acknowledged and is lost: {message:?}"
                ));
            }
        }
        Ok(())
    }
}

/// What groups were given: each message that was acknowledged goes to a member, if one was there all the time, and at
/// QoS 2 to one alone.
pub fn check_groups(
    published: &[Published],
    members: &[(&Receipts, &[Interval])],
) -> Result<(), String> {
    for (number, message) in published.iter().enumerate() {
        if !message.is_for_group() {
            continue;
        }
        let counts = members.iter().map(|(receipts, _)| receipts.count(number));
        let (exactly, all) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if exactly > 1 {
            return Err(format!("{exactly} members were given {number} of QoS 2"));
        }
        let stayed = |interval: &Interval| {
            matches(interval.filter, message.topic)
                && interval.suback.is_some_and(|at| at < message.at)
                && interval.unsubscribed.is_none()
        };
        let owed = members
            .iter()
            .any(|(_, intervals)| intervals.iter().any(stayed));
        if message.taken && message.qos > 0 && owed && all == 0 {
            return Err(format!(
                "{number} was acknowledged and is lost to its group: {message:?}"
            ));
        }
    }
    Ok(())
}

/// What a topic may have as its retained message at rest: `None` is none.
pub fn check_retained(
    topic: usize,
    found: Option<usize>,
    published: &[Published],
) -> Result<(), String> {
    // One Client alone writes a topic, so numbers are the order of writes.
    let writes = || {
        let all = published.iter().enumerate();
        all.filter(|(_, message)| message.retain && message.topic == topic)
    };
    let acknowledged = writes().rfind(|(_, message)| message.taken && message.qos > 0);
    let least = acknowledged.map(|(number, _)| number);
    match found {
        Some(found) => {
            let write = writes().find(|(number, _)| *number == found);
            if write.is_none_or(|(_, message)| message.empty) {
                return Err(format!(
                    "retained {found} of {} was never written",
                    TOPICS[topic]
                ));
            }
            if least.is_some_and(|least| found < least) {
                return Err(format!(
                    "retained {found} is older than the acknowledged {least:?}"
                ));
            }
        }
        None => {
            // The last acknowledged write deletes, or a later one may have.
            let deleted = writes().any(|(number, message)| {
                message.empty && least.is_none_or(|least| number >= least)
            });
            if least.is_some() && !deleted {
                return Err(format!(
                    "the retained message {least:?} of {} is lost",
                    TOPICS[topic]
                ));
            }
        }
    }
    Ok(())
}
