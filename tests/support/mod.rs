//! What the tests over real sockets share: a broker process ([`broker`]), a raw MQTT client ([`client`]) that writes
//! bytes of its own making ([`packet`]), other programs under a deadline ([`tool`]), and a pair of well-behaved clients
//! ([`pair`]).
//!
//! Nothing here uses the library of mqttfast: a mistake in `wire` must not cancel itself out.
//!
//! With `MQTTFAST_TEST_IO=epoll` or `uring` in the environment every broker drives its sockets that way.
//!
//! With `MQTTFAST_TEST_BROKER=mosquitto` in the environment the same tests run against Debian's Mosquitto, the
//! reference. What only mqttfast promises (exact closes, log lines, deadlines) is left out then.

// Each test crate compiles this module for itself and uses a part of it.
#![allow(dead_code, unused_imports)]

pub mod broker;
pub mod client;
pub mod machine;
pub mod packet;
pub mod packet5;
pub mod pair;
pub mod tool;
pub mod wall_clock;

pub use broker::{Broker, Options, reference};
pub use client::{Answer, Client};
pub use packet::{Connect, Level, Published};
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
                if !$crate::support::reference() {
                    super::$name(2)
                }
            }
            #[test]
            fn on_2_shards_by_epoll() {
                use $crate::support::broker::{by_epoll, io_of_all_tests};
                if !$crate::support::reference() && io_of_all_tests().is_none() {
                    by_epoll(|| super::$name(2));
                }
            }
        })+
    };
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
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a folder below target/tmp");
        Folder(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
