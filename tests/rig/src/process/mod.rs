//! What the tests over real sockets share: a broker process ([`broker`]), a raw MQTT client ([`client`]) that writes
//! bytes of its own making ([`packet`]), other programs under a deadline ([`tool`]), two users ([`users`]), a
//! pair of well-behaved clients ([`pair`]), and ports that nobody else gets ([`ports`]).
//!
//! Nothing here uses the library of mqttfast: a mistake in `wire` must not cancel itself out.
//!
//! With `MQTTFAST_TEST_IO=epoll` or `uring` in the environment every broker drives its sockets that way.
//!
//! With `MQTTFAST_TEST_BROKER=mosquitto` in the environment the same tests run against Debian's Mosquitto, the
//! reference. What only mqttfast promises (exact closes, log lines, deadlines) is left out then.

pub mod broker;
pub mod certificates;
pub mod client;
pub mod disk;
pub mod failing_disk;
pub mod machine;
pub mod packet;
pub mod packet5;
pub mod pair;
pub mod ports;
mod preload;
pub mod tool;
pub mod users;
pub mod wall_clock;

pub use broker::{Broker, Options, reference};
pub use certificates::certificates;
pub use client::{Answer, Client};
pub use packet::{Connect, Level, Published};
pub use ports::free_port;
pub use tool::Tool;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a test waits for what must come. Long, since a loaded machine is slow; reached only by a failing test.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Makes of `fn name(shards: usize)` the three tests `name::on_1_shard`, `name::on_2_shards` and, by the driver that
/// mqttfast does not choose where it has the choice, `name::on_2_shards_by_epoll`.
#[macro_export]
macro_rules! on_1_and_2_shards {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn on_1_shard() {
                super::$name(1)
            }
            #[test]
            fn on_2_shards() {
                // The reference knows no shards: one run of it is enough.
                if !$crate::process::reference() {
                    super::$name(2)
                }
            }
            #[test]
            fn on_2_shards_by_epoll() {
                use $crate::process::broker::{by_epoll, io_of_all_tests};
                if !$crate::process::reference() && io_of_all_tests().is_none() {
                    by_epoll(|| super::$name(2));
                }
            }
        })+
    };
}

/// Where cargo builds this profile: the folder of the program under test. The test runs as `deps/NAME-HASH` in it.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.ancestors().nth(2).expect("it lies in deps/");
    folder.to_owned()
}

fn target_folder() -> PathBuf {
    let folder = profile_folder();
    folder
        .parent()
        .expect("a profile is a folder of it")
        .to_owned()
}

/// The program `mqttfast` that cargo has built for this test, or that `MQTTFAST_TEST_PROGRAM` in the environment names.
pub fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("MQTTFAST_TEST_PROGRAM") {
        return named.into();
    }
    let program = profile_folder().join("mqttfast");
    assert!(program.exists(), "{} is not built", program.display());
    program
}

/// The repository.
pub fn repository() -> PathBuf {
    let rig = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    rig.ancestors().nth(2).expect("tests/rig/").to_owned()
}

/// Lets this process, and the brokers that inherit it, open so many files.
pub fn raise_descriptor_limit(files: u64) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the descriptor limit");
    if soft < files {
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(files), hard)
            .expect("raise the descriptor limit");
    }
}

/// A path in the system's folder for such things, with the number of this process in it. What is there is taken away:
/// an earlier process of the same number has left it.
pub fn left_by_nobody(name: &str) -> PathBuf {
    let name = format!("mqttfast-{name}-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&path);
    path
}

/// A fresh folder below `target/tmp`, removed when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = Folder::of(target_folder().join("tmp").join(name));
        std::fs::create_dir_all(&folder.0).expect("a folder below target/tmp");
        folder
    }

    /// A place where a folder may be made. What is there is taken away: a process of the same number has left it, for
    /// numbers of processes come again.
    pub fn of(path: PathBuf) -> Folder {
        let folder = Folder(path);
        let _ = std::fs::remove_dir_all(&folder.0);
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Default for Folder {
    fn default() -> Self {
        Folder::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
