//! The world as a stage: what every test asks of the broker it meets.

use super::super::ear::Ear;
use super::super::packets::Version;
use super::super::stage::{Client, Stage};
use super::Place;
use super::World;
use mqttfast::broker::{CloseCause, Input};

impl Stage for World {
    fn has_sockets(&self) -> bool {
        false
    }

    fn shards(&self) -> usize {
        self.shards.len()
    }

    fn allow_user(&mut self, user_name: &str, password: &[u8]) {
        self.credentials
            .push((user_name.to_owned(), password.to_vec()));
    }

    fn open(&mut self, version: Version) -> Client {
        let shard = self.next_accept;
        self.next_accept = (shard + 1) % self.shards();
        self.open_at(shard, version)
    }

    fn version(&self, client: Client) -> Version {
        self.clients[client.0].ear.version
    }

    fn send_bytes(&mut self, client: Client, bytes: &[u8]) {
        let state = &mut self.clients[client.0];
        state.unread.extend(bytes);
        state.ear.sends(bytes);
        self.settle();
    }

    fn send_together(&mut self, sends: &[(Client, Vec<u8>)]) {
        let held = std::mem::replace(&mut self.lanes_held, true);
        for (client, bytes) in sends {
            self.send_bytes(*client, bytes);
        }
        self.lanes_held = held;
        self.settle();
    }

    fn leave_alone(&mut self, _: Client) {}

    fn drop_connection(&mut self, client: Client) {
        self.settle();
        self.cut(client, CloseCause::PeerClosed);
        self.settle();
    }

    fn reset_connection(&mut self, client: Client) {
        self.cut(client, CloseCause::Reset);
        self.settle();
    }

    fn ear(&mut self, client: Client) -> &mut Ear {
        &mut self.clients[client.0].ear
    }

    fn unused_packet_id(&mut self, client: Client) -> u16 {
        self.clients[client.0].ear.packet_id()
    }

    fn is_closed(&mut self, client: Client) -> bool {
        self.clients[client.0].closed
    }

    fn is_open(&mut self, client: Client) -> bool {
        self.clients[client.0].place != Place::Gone
    }

    fn log(&self) -> Vec<String> {
        self.log.iter().map(|(_, text)| text.clone()).collect()
    }

    fn shut_down(&mut self) {
        for shard in 0..self.shards() {
            self.handle(shard, Input::Shutdown);
        }
        self.settle();
    }

    fn pass(&mut self, ms: u64) {
        self.advance(ms);
    }

    fn pass_long(&mut self, ms: u64) {
        self.advance(ms);
    }

    #[track_caller]
    fn closes_after(&mut self, client: Client, least_ms: u64, most_ms: u64) {
        // Time stood still since the Client sent something.
        self.advance(least_ms - 1);
        assert!(self.is_open(client), "closed before {least_ms} ms");
        self.advance(most_ms - least_ms + 1);
        assert!(self.is_closed(client), "open after {most_ms} ms");
    }

    fn now_ms(&mut self) -> u64 {
        self.now.0
    }

    #[track_caller]
    fn hears_after(&mut self, client: Client, since_ms: u64, least_ms: u64, most_ms: u64) {
        let until = |world: &mut World, ms: u64| {
            let now = world.now.0;
            world.advance((since_ms + ms).saturating_sub(now));
        };
        until(self, least_ms - 1);
        let inbox = &self.ear(client).inbox;
        assert!(inbox.is_empty(), "{inbox:?} before {least_ms} ms");
        until(self, most_ms);
        let heard = !self.ear(client).inbox.is_empty();
        assert!(heard, "nothing after {most_ms} ms");
    }

    fn as_shards(&mut self) -> Option<&mut World> {
        Some(self)
    }
}
