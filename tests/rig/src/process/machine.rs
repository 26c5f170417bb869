//! How slow the machine itself is just now: the longest time that one byte took between two threads of the test and
//! back, over a socket of loopback. A test that asserts a short time must know this, since it may share its cores with
//! anything.

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

/// How much of the time that a process wanted to run its threads ran, from here on: the machine may have others to
/// serve.
pub struct Starvation {
    pid: u32,
    ran: Duration,
    waited: Duration,
}

impl Starvation {
    pub fn of(pid: u32) -> Starvation {
        let (ran, waited) = scheduled(pid);
        Starvation { pid, ran, waited }
    }

    /// 1 on a machine that ran it whenever it wanted, 10 on one that gave it a tenth of that.
    pub fn factor(&self) -> f64 {
        let (ran, waited) = scheduled(self.pid);
        let ran = (ran - self.ran).as_secs_f64();
        let waited = waited.saturating_sub(self.waited).as_secs_f64();
        if ran > 0.0 { 1.0 + waited / ran } else { 1.0 }
    }
}

/// Time on a processor and time in a queue for one, of all threads, from `/proc`; nothing where the kernel does not
/// tell.
fn scheduled(pid: u32) -> (Duration, Duration) {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let (mut ran, mut waited) = (0, 0);
    for task in tasks.into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(|n| n.parse().unwrap_or(0));
        ran += numbers.next().unwrap_or(0);
        waited += numbers.next().unwrap_or(0);
    }
    (Duration::from_nanos(ran), Duration::from_nanos(waited))
}
