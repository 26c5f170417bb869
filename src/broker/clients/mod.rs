//! Who is here: the Network Connections and Sessions of this shard, and everything that is sent to a Client.
//!
//! [`Clients`] owns them; nobody else changes a connection, a Session, an outbox, a window or a queue. It knows nothing
//! of subscriptions or peer shards. Where a change concerns them, the method returns it, and `broker::on` does the
//! rest: [`Clients::take_ended`] for deliveries of Shared Subscriptions, [`Clients::close`] and [`life`] for a Session
//! that ends.

mod alias;
mod allowance;
mod answer;
mod booking;
mod broken;
mod connections;
mod encode;
mod ended_queues;
mod exactly_once;
mod fan_out;
mod held;
mod life;
mod owner;
mod pace;
mod plain;
mod received;
mod remains;
mod restore;
mod rights;
mod shapes;
mod storage;
mod store_state;
mod timers;
pub(super) mod unaccepted;
mod watch;
mod window;

pub(super) use connections::Overdue;
pub(super) use owner::Clients;
pub(super) use owner::Concerned;
pub(super) use plain::NOBODY;
pub(super) use window::Progress;
