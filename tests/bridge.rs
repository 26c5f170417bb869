//! Bridges: the machines against model brokers with cuts and refusals ([`bridge::sim`]), and the program against
//! Mosquitto and itself ([`bridge::live`]), and while it is
//! killed ([`bridge::kills`]), and `mqttfast bridge test` ([`bridge::trial`]).

mod bridge {
    pub mod kills;
    pub mod live;
    pub mod model;
    pub mod sim;
    pub mod trial;
}
