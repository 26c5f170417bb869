//! Programs that lost their state when a broker ended. Each subscribes once, with a session that is to last, and gets
//! what was published while it was away, whether the broker was stopped, killed, or lost its power meanwhile.

use mqttfast_rig::process as support;

use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use support::disk::{Image, Unsynced, Watched, read};
use support::tool::{installed, script};
use support::{Broker, Client, Folder, Options, Tool, reference};

/// How a broker ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Stopped,
    Killed,
    /// Of its disk there is what was synced.
    PowerCut,
}

/// An address that stays while brokers come and go. Connections pass to the one that is there; without one they are
/// refused.
struct Door {
    address: SocketAddr,
    at_work: Option<AtWork>,
}

struct AtWork {
    /// All streams, or `None` once it closes.
    streams: Arc<Mutex<Option<Vec<TcpStream>>>>,
    thread: JoinHandle<()>,
}

impl Door {
    fn new() -> Door {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Door {
            address: free.local_addr().expect("its address"),
            at_work: None,
        }
    }

    fn open(&mut self, broker: &Broker) {
        let listener = TcpListener::bind(self.address).expect("the port is free again");
        let streams = Arc::new(Mutex::new(Some(Vec::new())));
        let (all, broker) = (streams.clone(), broker.address());
        let thread = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut all = all.lock().expect("no panic");
                let Some(all) = all.as_mut() else { return };
                let Ok(broker) = TcpStream::connect(broker) else {
                    continue;
                };
                for (from, to) in [(&client, &broker), (&broker, &client)] {
                    let from = from.try_clone().expect("a second handle");
                    let to = to.try_clone().expect("a second handle");
                    thread::spawn(move || pass(from, to));
                }
                all.extend([client, broker]);
            }
        });
        self.at_work = Some(AtWork { streams, thread });
    }

    fn close(&mut self) {
        let AtWork { streams, thread } = self.at_work.take().expect("it was open");
        let all = streams.lock().expect("no panic").take();
        for stream in all.into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The thread waits for one more.
        let _ = TcpStream::connect(self.address);
        thread.join().expect("no panic");
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut block = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut block) {
        if to.write_all(&block[..len]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// A broker with a store in this folder.
fn start(shards: usize, folder: &Folder, store: &str, end: End) -> Broker {
    let store = folder.path(store);
    let mut options = Options {
        shards,
        arguments: vec!["--store-dir".to_owned(), store.display().to_string()],
        ..Options::default()
    };
    if end == End::PowerCut {
        options
            .arguments
            .extend(["--durability".to_owned(), "strict".to_owned()]);
        let watched = Watched {
            under: store,
            record: Some(folder.path("record")),
            sync_us: Some(0),
            ..Watched::default()
        };
        options.launcher = watched.launcher(folder);
    }
    Broker::start_with(options)
}

fn publish(broker: &Broker, payload: &str) {
    let mut client = Client::connect(broker, "publisher");
    client.publish("restart/topic", payload.as_bytes(), 1, false);
    client.disconnect();
}

/// `program` prints "ready" when it has subscribed, and a line for each message.
fn survives(shards: usize, program: impl Fn(SocketAddr) -> Tool) {
    if reference() {
        return;
    }
    for end in [End::Stopped, End::Killed, End::PowerCut] {
        let folder = Folder::new();
        let mut door = Door::new();
        let mut broker = start(shards, &folder, "store", end);
        door.open(&broker);
        let mut tool = program(door.address);
        tool.skip_to("ready");
        publish(&broker, "live");
        assert_eq!(tool.line(), "restart/topic live", "{end:?}");

        door.close();
        publish(&broker, "while away");
        let mut store = "store";
        match end {
            End::Stopped => assert!(broker.end_by(Signal::SIGTERM).0.success()),
            End::Killed => drop(broker),
            End::PowerCut => {
                drop(broker);
                let changes = read(&folder.path("record"));
                let image = Image::after(&changes, changes.len(), Unsynced::Dropped, |_| 0);
                store = "after the cut";
                image.lay_out(&folder.path(store));
            }
        }
        let broker = start(shards, &folder, store, end);
        publish(&broker, "after the restart");
        door.open(&broker);
        // What it had not acknowledged may come again.
        let mut line = tool.line();
        if line == "restart/topic live" {
            line = tool.line();
        }
        assert_eq!(line, "restart/topic while away", "{end:?}");
        assert_eq!(tool.line(), "restart/topic after the restart", "{end:?}");
        publish(&broker, "live again");
        assert_eq!(tool.line(), "restart/topic live again", "{end:?}");
    }
}

pub fn umqtt_robust_over_restarts(shards: usize) {
    survives(shards, |door| by("python3", "restart_umqtt.py", door));
}

pub fn paho_over_restarts(shards: usize) {
    survives(shards, |door| by("python3", "restart_paho.py", door));
}

pub fn mqtt_js_over_restarts(shards: usize) {
    installed("node");
    survives(shards, |door| by("node", "restart_mqttjs.mjs", door));
}

fn by(program: &str, name: &str, door: SocketAddr) -> Tool {
    let mut command = Command::new(program);
    command
        .env("PYTHONPATH", installed("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script(name))
        .args(["127.0.0.1", &door.port().to_string()]);
    Tool::start_command(command, name)
}

/// It subscribes at each connection, and its session is what brings the messages between.
pub fn mosquitto_sub_over_restarts(shards: usize) {
    survives(shards, |door| {
        let port = door.port().to_string();
        let arguments = [
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-c",
            "-i",
            "restart-sub",
            "-q",
            "1",
            "-v",
            "-t",
            "restart/#",
        ];
        let mut waiting = Tool::start("mosquitto_sub", &[&arguments[..], &["-E"]].concat());
        // With -E it ends once it is subscribed: then the session is there.
        waiting.input("");
        waiting.succeed();
        let script = format!(
            "echo ready; exec stdbuf -oL mosquitto_sub {}",
            arguments.join(" ")
        );
        Tool::start("sh", &["-c", &script])
    });
}
