//! ACL files that a `mosquitto.conf` names, each for its listener.

use crate::{OPEN, anonymous, free_port};
use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process::{Broker, Client, Folder};

on_1_and_2_shards!(an_acl_file_holds_for_its_listener);

/// `acl_file` below one listener says nothing of another.
fn an_acl_file_holds_for_its_listener(shards: usize) {
    let second = free_port();
    let folder = Folder::new();
    let acl = folder.path("acl");
    std::fs::write(&acl, "topic readwrite a/#\n").expect("an ACL file");
    let text = format!(
        "per_listener_settings true\n{OPEN}\
         listener {second} 127.0.0.1\nallow_anonymous true\nacl_file {}\n",
        acl.display()
    );
    let broker = Broker::configured(shards, &text);
    let mut ear = Client::connect(&broker, "ear");
    ear.subscribe("#", 1);
    let mut bound = Client::connect_at(second, &anonymous("bound"));
    // Acknowledged, and nobody hears it.
    bound.publish("b/1", b"x", 1, false);
    bound.publish("a/1", b"x", 1, false);
    ear.expect_message("a/1", b"x", 1);
    let mut free = Client::connect(&broker, "free");
    free.publish("b/2", b"x", 1, false);
    ear.expect_message("b/2", b"x", 1);
    bound.subscribe("#", 1);
    free.publish("b/3", b"x", 1, false);
    free.publish("a/3", b"x", 1, false);
    bound.expect_message("a/3", b"x", 1);
}
