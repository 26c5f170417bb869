//! A bridge to another broker, as a state machine: no socket, no clock, no thread.
//!
//! A bridge is two MQTT clients back to back, one at this broker, one at the other. Packet Identifiers are the same on
//! both sides, and each acknowledgement is passed on:
//!
//! ```text
//!   this broker                  bridge                  other broker
//!   PUBLISH id 7, QoS 2 ───────► renamed ──────────────► PUBLISH id 7
//!   PUBREC 7 ◄────────────────────────────────────────── PUBREC 7
//!   PUBREL 7 ──────────────────────────────────────────► PUBREL 7
//!   PUBCOMP 7 ◄───────────────────────────────────────── PUBCOMP 7
//! ```
//!
//! So the bridge keeps no message. What one side has not acknowledged is in the Session of the other side, with its
//! order and its stage, and comes again when both connections are there again: after a cut, and after the death of
//! either broker. Both connections live and die together.
//!
//! - [`mapping`]: which Topic Name is which on the other side.
//! - [`backoff`]: when the next attempt is made, and to which address.
//! - [`client`]: one of the two clients: its stream of packets, its terms, its Topic Aliases.
//! - [`loops`]: messages that go round.
//! - [`event`]: what the machine is told and what it asks for.
//! - [`terms`]: what one bridge goes by.
//! - [`asked`]: what is asked first of both brokers.
//! - [`relay`]: what becomes of each packet while both connections are there.
//! - [`retained`]: what was deleted at the other broker meanwhile.
//! - [`machine`]: the life of a bridge around that.
//! - [`guest`]: a client of this broker, for who is at its page.
//! - [`probe`]: a client that tries the other broker, for `mqttfast bridge test`.
//! - [`props`]: bridges of tests and fuzz targets.

pub mod asked;
pub mod backoff;
pub mod client;
pub mod event;
pub mod guest;
pub mod loops;
pub mod machine;
pub mod mapping;
pub mod probe;
pub mod props;
pub mod relay;
pub mod retained;
pub mod terms;

pub use event::{Action, Actions, Counts, Event, Side, State, Status, Told, Why};
pub use guest::{Guest, Heard};
pub use loops::Loops;
pub use machine::Machine;
pub use probe::{Probe, Seen};
pub use terms::Terms;
