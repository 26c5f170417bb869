//! ACL files that a `mosquitto.conf` names, each for its listener.

use crate::{OPEN, anonymous};
use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process::{Broker, Client, Folder, free_port, reference};
use nix::sys::signal::Signal;

on_1_and_2_shards!(
    an_acl_file_holds_for_its_listener,
    a_retained_message_needs_a_publisher_who_may_still_write_it,
);

/// `check_retain_source`: after a reload that takes the right away, what was retained by it is not sent any more.
fn a_retained_message_needs_a_publisher_who_may_still_write_it(shards: usize) {
    for (check, heard) in [(false, true), (true, false)] {
        let folder = Folder::new();
        let acl = folder.path("acl");
        std::fs::write(&acl, "topic read #\npattern write of/%c/#\n").expect("an ACL file");
        let text = format!(
            "{OPEN}acl_file {}\ncheck_retain_source {check}\n",
            acl.display()
        );
        let broker = Broker::configured(shards, &text);
        for name in ["gone", "stays"] {
            let mut client = Client::connect(&broker, name);
            client.publish(&format!("of/{name}/t"), b"x", 1, true);
            client.disconnect();
        }
        let rules = "topic read #\ntopic write of/stays/#\n";
        std::fs::write(&acl, rules).expect("an ACL file");
        let mark = broker.log_len();
        broker.signal(Signal::SIGHUP);
        broker.logged_since(mark, &[if reference() { "Reloading" } else { "2 rules" }]);
        let mut ear = Client::connect(&broker, "ear");
        if heard {
            ear.subscribe("of/gone/#", 1);
            ear.expect_message("of/gone/t", b"x", 1);
        } else {
            ear.subscribe("of/gone/#", 1);
            ear.expect_alive();
        }
        ear.subscribe("of/stays/#", 1);
        ear.expect_message("of/stays/t", b"x", 1);
    }
}

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
