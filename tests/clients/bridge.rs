//! Mosquitto as a bridge, `topic # both 1`: what is published on either side arrives once on both, and what is retained
//! stays so.

use crate::support::tool::path;
use crate::support::{Broker, DEADLINE, Folder, Tool};
use nix::sys::signal::Signal;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// A Mosquitto that bridges to a broker, and the port it listens on.
fn bridge_to(broker: &Broker, folder: &Folder) -> (Tool, u16) {
    // It cannot choose its own port, and the one we found free may be taken meanwhile: it gets several tries.
    for _ in 0..5 {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let mut text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\n\
             connection hub\naddress 127.0.0.1:{}\nremote_clientid bridge-of-hub\ntopic # both 1\ntry_private true\n\
             bridge_protocol_version mqttv311\nrestart_timeout 1\n",
            broker.port()
        );
        if nix::unistd::geteuid().is_root() {
            text += "user root\n";
        }
        let file = folder.path("bridge.conf");
        std::fs::write(&file, text).expect("write bridge.conf");
        let mut command = Command::new("mosquitto");
        command.env("PATH", path()).arg("-c").arg(&file);
        let mosquitto = Tool::start_command(command, "mosquitto");
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return (mosquitto, port);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    panic!("Mosquitto found no port in {DEADLINE:?}");
}

/// `mosquitto_sub` that says RETAIN, topic and payload of what comes; subscribed.
fn listen(port: u16, topic: &str) -> Tool {
    let port = port.to_string();
    let arguments = ["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic];
    let mut tool = Tool::start(
        "mosquitto_sub",
        &[&arguments[..], &["-F", "%r %t %p", "-d"]].concat(),
    );
    tool.skip_to("Subscribed (mid: 1)");
    tool
}

fn publish(port: u16, topic: &str, payload: &str, retain: bool) {
    let port = port.to_string();
    let mut arguments = vec!["-h", "127.0.0.1", "-p", &port, "-q", "1"];
    arguments.extend(["-t", topic, "-m", payload]);
    if retain {
        arguments.push("-r");
    }
    Tool::start("mosquitto_pub", &arguments).succeed();
}

pub fn bridge_of_mosquitto(shards: usize) {
    if crate::support::reference() {
        return;
    }
    let broker = Broker::start(shards);
    let folder = Folder::new();
    let (mosquitto, theirs) = bridge_to(&broker, &folder);
    let ours = broker.port();
    let state = "$SYS/broker/connection/bridge-of-hub/state";
    // Retained, whether it is there already or comes now.
    let mut states = listen(ours, "$SYS/broker/connection/+/state");
    let first = crate::message(&mut states);
    assert!(first.ends_with(&format!("{state} 1")), "{first}");
    let mut here = listen(ours, "#");
    let mut there = listen(theirs, "#");
    // The bridge may not have subscribed yet: what is retained it gets all the same. Then both directions are open.
    publish(ours, "probe", "x", true);
    for listener in [&mut here, &mut there] {
        assert_eq!(crate::message(listener), "0 probe x");
    }
    // Both ways, live and retained, one after the other.
    for (port, topic, retain) in [
        (ours, "from/ours", false),
        (theirs, "from/theirs", false),
        (ours, "kept/ours", true),
        (theirs, "kept/theirs", true),
        (ours, "end/ours", false),
        (theirs, "end/theirs", false),
    ] {
        publish(port, topic, "x", retain);
        for listener in [&mut here, &mut there] {
            // RETAIN 0: they were subscribed before. An echo would come as one more.
            assert_eq!(crate::message(listener), format!("0 {topic} x"));
        }
    }
    for port in [ours, theirs] {
        for topic in ["kept/ours", "kept/theirs"] {
            let mut late = listen(port, topic);
            assert_eq!(crate::message(&mut late), format!("1 {topic} x"));
        }
        let mut late = listen(port, "from/#");
        publish(port, "from/again", "y", false);
        assert_eq!(crate::message(&mut late), "0 from/again y", "not retained");
        for listener in [&mut here, &mut there] {
            assert_eq!(crate::message(listener), "0 from/again y");
        }
    }
    // Its will says that it is gone.
    mosquitto.signal(Signal::SIGKILL);
    assert_eq!(crate::message(&mut states), format!("0 {state} 0"));
    let mut late = listen(ours, "$SYS/broker/connection/+/state");
    assert_eq!(crate::message(&mut late), format!("1 {state} 0"));
}
