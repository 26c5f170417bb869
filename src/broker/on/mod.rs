//! What an input leads to: one file for each packet or event. Only these files see both `clients` (who is here) and
//! `topics` (who wants what). Each of their steps is a call of an owner.

mod acknowledge;
mod admit;
mod broken;
mod bytes;
mod changes;
mod connect;
mod deliver;
mod disconnect;
mod large;
mod order;
mod peer;
mod presence;
mod publish;
mod restore;
mod rules;
mod session;
mod settings;
mod share;
mod subscribe;
mod survey;
mod terms;
mod tick;
mod unsubscribe;
mod users_gone;
mod will;
