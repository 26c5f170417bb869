//! Other settings are in force: the operator has read the configuration again.

use crate::broker::event::Ending;
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;
use crate::config::Settings;
use crate::ids::ConnectionId;
use std::sync::Arc;

impl Shard {
    /// They hold from the next packet on. What a Client was told in CONNACK, its window and its Keep Alive stay those
    /// of its connection. Who could not come in any more without a login is sent away, as Mosquitto does; the Session
    /// stays.
    ///
    /// The listeners are the same ones, in the same order: the caller has made sure. O(connections).
    pub(in crate::broker) fn on_settings(&mut self, settings: &Settings, out: &mut Outputs) {
        let shut = self.clients.shut_by(settings);
        self.logs = settings.logs;
        self.on_rules(Arc::clone(&settings.rules));
        self.clients.replace_settings(settings);
        for connection in shut {
            self.send_away(connection, out);
        }
    }

    fn send_away(&mut self, connection: ConnectionId, out: &mut Outputs) {
        self.close(connection, Ending::LoginNeeded, out);
    }
}
