//! Ports for programs that cannot choose one themselves, as by a line of a `mosquitto.conf`.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// Below the ports that Linux gives, unless told otherwise, to whoever binds port 0 or connects: none of these comes
/// between the moment in which a port is found free and that in which the program listens on it.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What holds the ports of this process: abstract unix sockets with a port in their name. The system gives such a name
/// to one process at a time, and takes it back when that ends.
static HELD: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port of this machine on which nobody listens. No other call gets it, in whichever process, while this one lives.
pub fn free_port() -> u16 {
    let count = usize::from(PORTS.end - PORTS.start);
    // Test processes begin apart, since each passes over the ports of the others.
    let first = (std::process::id() as usize).wrapping_mul(127) % count;
    for port in PORTS.cycle().skip(first).take(count) {
        let name = SocketAddr::from_abstract_name(format!("mqttfast-test-port-{port}"));
        let Ok(held) = UnixListener::bind_addr(&name.expect("a short name")) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            HELD.lock().unwrap().push(held);
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}
