//! How slow the machine itself is just now: the longest time that one byte took between two threads of the test and back, over a
//! socket of loopback. A test that asserts a short time must know this, since it may share its cores with anything.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two bytes.
const PAUSE: Duration = Duration::from_millis(10);

/// Measures until it is asked.
pub struct Machine {
    stop: Arc<AtomicBool>,
    measuring: JoinHandle<Duration>,
}

impl Machine {
    pub fn start() -> Machine {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let mut near =
            TcpStream::connect(listener.local_addr().expect("its address")).expect("connect to it");
        let (mut far, _) = listener.accept().expect("the connection");
        near.set_nodelay(true).expect("set TCP_NODELAY");
        far.set_nodelay(true).expect("set TCP_NODELAY");
        std::thread::spawn(move || {
            let mut byte = [0];
            while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let measuring = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let start = Instant::now();
                let mut byte = [0];
                near.write_all(&byte).expect("a byte leaves");
                near.read_exact(&mut byte).expect("it comes back");
                longest = longest.max(start.elapsed());
                std::thread::sleep(PAUSE);
            }
            longest
        });
        Machine { stop, measuring }
    }

    /// The longest time so far.
    pub fn finish(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.measuring.join().expect("the measuring thread")
    }
}
