//! Bridges: the machines against model brokers with cuts and refusals ([`bridge::sim`]) and against a hostile one
//! ([`bridge::corpus`]), and the program against Mosquitto and itself ([`bridge::live`]), against a broker that a test
//! plays ([`bridge::scripted`]), while it is killed ([`bridge::kills`]), and `mqttfast bridge test`
//! ([`bridge::trial`]).

mod bridge {
    #[path = "../../fuzz/properties/bridge_remote.rs"]
    pub mod bridge_remote;
    #[path = "../../fuzz/properties/chance.rs"]
    pub mod chance;
    pub mod corpus;
    pub mod kills;
    pub mod live;
    pub mod model;
    pub mod scripted;
    pub mod sim;
    pub mod trial;
}
