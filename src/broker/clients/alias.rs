//! Topic Aliases of Clients: short names for the Topic Names they publish to. [v5 3.3.2.3.4]

use super::owner::{Clients, mark_dirty};
use crate::broker::violation::Violation;
use crate::ids::ConnectionId;
use crate::invariant::Broken;
use crate::wire::TopicName;

impl Clients {
    /// The Topic Name of a PUBLISH with an alias.
    pub fn resolve_alias(
        &mut self,
        id: ConnectionId,
        topic: Option<TopicName<'_>>,
        alias: Option<u16>,
    ) -> Result<String, Violation> {
        let alias = alias.ok_or(Violation::TopicAliasUnknown)?;
        let most = self.listener(id).map_or(0, |l| l.topic_alias_max);
        if alias == 0 || alias > most {
            return Err(Violation::TopicAliasInvalid(most));
        }
        let no_alias = || Broken::new("an alias comes on a connection of version 5");
        let connection = self.connections.get_mut(id).ok_or_else(no_alias)?;
        let inward = &mut connection.aliases.get_or_insert_default().inward;
        let index = usize::from(alias) - 1;
        if let Some(topic) = topic {
            if inward.len() <= index {
                inward.resize(index + 1, Box::from(""));
            }
            inward[index] = topic.as_str().into();
            connection.booked_more = true;
            mark_dirty(connection, &mut self.dirty); // It is booked as the turn ends.
            return Ok(topic.as_str().to_owned());
        }
        match inward.get(index) {
            Some(topic) if !topic.is_empty() => Ok(topic.to_string()),
            _ => Err(Violation::TopicAliasUnknown),
        }
    }
}
