//! Bridges: the machines against model brokers with cuts and refusals ([`bridge::sim`]), and the program against
//! Mosquitto and itself ([`bridge::live`]).

mod bridge {
    pub mod live;
    pub mod model;
    pub mod sim;
}
