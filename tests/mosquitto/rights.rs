//! Asks a running broker what an ACL file lets a Client do: Debian's Mosquitto over a unix socket, mqttfast over TCP.

use super::reference::Folder;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
/// May do everything that a rule can allow, so that it can ask on behalf of others.
const ADMIN: &str = "admin";
const ADMIN_ID: &str = "admin-of-rights";
/// Where it tells the others that a message was refused or routed.
pub const ADMIN_RULES: &str =
    "user admin\ntopic readwrite #\ntopic readwrite $a/#\ntopic read $SYS/#\n";

/// A Mosquitto with an ACL file.
pub struct Mosquitto {
    child: Child,
    socket: String,
}

impl Mosquitto {
    /// `None`: it does not take the file.
    pub fn start(folder: &Folder, rules: &str) -> Option<Mosquitto> {
        let socket = folder.path("/rights.sock");
        let _ = fs::remove_file(&socket);
        fs::write(folder.path("/acl"), format!("{rules}\n{ADMIN_RULES}")).unwrap();
        let text =
            b"listener 0 @/rights.sock\nallow_anonymous true\nsys_interval 0\nacl_file @/acl\n";
        let child = Command::new("sh")
            .args(["-c", "PATH=$PATH:/usr/sbin; exec mosquitto -c \"$0\""])
            .arg(folder.configuration(text))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut mosquitto = Mosquitto { child, socket };
        let start = Instant::now();
        while UnixStream::connect(&mosquitto.socket).is_err() {
            if mosquitto.child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(start.elapsed() < PATIENCE, "Mosquitto does not listen");
            sleep(Duration::from_millis(2));
        }
        Some(mosquitto)
    }

    pub fn connect(&self, user: Option<&str>, client: &str) -> Client {
        let socket = UnixStream::connect(&self.socket).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client::over(socket, user, client)
    }

    pub fn admin(&self) -> Client {
        self.connect(Some(ADMIN), ADMIN_ID)
    }
}

/// The same, to mqttfast.
pub fn connect_tcp(address: SocketAddr, user: Option<&str>, client: &str) -> Client {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    Client::over(socket, user, client)
}

pub fn admin_tcp(address: SocketAddr) -> Client {
    connect_tcp(address, Some(ADMIN), ADMIN_ID)
}

impl Client {
    fn over(socket: impl Socket + 'static, user: Option<&str>, client: &str) -> Client {
        let mut client_side = Client {
            socket: Box::new(socket),
        };
        let flags = if user.is_some() { 0x82 } else { 0x02 };
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 0];
        string(&mut body, client);
        if let Some(user) = user {
            string(&mut body, user);
        }
        client_side.send(0x10, &body);
        assert_eq!(
            client_side.packet(),
            (0x20, vec![0, 0]),
            "{user:?} {client}"
        );
        client_side
    }
}

pub trait Socket: Read + Write {}
impl<T: Read + Write> Socket for T {}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Network Connection of MQTT 3.1.1.
pub struct Client {
    socket: Box<dyn Socket>,
}

impl Client {
    fn send(&mut self, first: u8, body: &[u8]) {
        assert!(body.len() < 128);
        let mut packet = vec![first, body.len() as u8];
        packet.extend_from_slice(body);
        self.socket.write_all(&packet).unwrap();
    }

    fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.socket.read_exact(&mut head).unwrap();
        assert!(head[1] < 128);
        let mut body = vec![0; usize::from(head[1])];
        self.socket.read_exact(&mut body).unwrap();
        (head[0], body)
    }

    pub fn subscribe(&mut self, filter: &str) {
        let mut body = vec![0, 1];
        string(&mut body, filter);
        body.push(0);
        self.send(0x82, &body);
        assert_eq!(self.packet(), (0x90, vec![0, 1, 0]), "{filter}");
    }

    pub fn unsubscribe(&mut self, filter: &str) {
        let mut body = vec![0, 2];
        string(&mut body, filter);
        self.send(0xA2, &body);
        assert_eq!(self.packet(), (0xB0, vec![0, 2]), "{filter}");
    }

    /// At QoS 1: with the acknowledgement the message is on its way to all who hear it.
    pub fn publish(&mut self, name: &str) {
        let mut body = Vec::new();
        string(&mut body, name);
        body.extend_from_slice(&[0, 7, b'x']);
        self.send(0x32, &body);
        loop {
            let (first, _) = self.packet();
            if first == 0x40 {
                return;
            }
            assert_eq!(first & 0xF0, 0x30);
        }
    }

    /// May it read and write this name? The admin says and hears what tells.
    pub fn may(&mut self, name: &str, admin: &mut Client) -> (bool, bool) {
        self.subscribe(name);
        admin.publish(name);
        let reads = self.heard() == 1;
        admin.subscribe(name);
        self.publish(name);
        let writes = admin.heard() == 1;
        admin.unsubscribe(name);
        (reads, writes)
    }

    /// How many messages have come, by a PINGREQ whose answer follows them.
    pub fn heard(&mut self) -> usize {
        self.send(0xC0, &[]);
        let mut messages = 0;
        loop {
            match self.packet() {
                (0xD0, _) => return messages,
                (first, _) if first & 0xF0 == 0x30 => messages += 1,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn string(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&(text.len() as u16).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}
