//! What an input leads to: one file a packet or event. These are the only rooms that see both who is here (`clients`)
//! and who wants what (`topics`); each step of theirs is a call of an owner.

mod acknowledge;
mod admit;
mod bytes;
mod changes;
mod connect;
mod deliver;
mod disconnect;
mod large;
mod peer;
mod publish;
mod session;
mod share;
mod subscribe;
mod survey;
mod tick;
mod unsubscribe;
mod users_gone;
mod will;
