//! What makes of one test a `#[test]` at each end, and runs it in every setting of that end.

use super::shard::{self, Order, Version};
use super::sockets::Sockets;
use super::{ONLY_V5, World};
use mqttfast::config::Settings;
use std::cell::Cell;

/// Where a test runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// 1, 2 and 4 shards in one thread, in several orders and cuts of the stream.
    Shards,
    /// The running broker with this many shards.
    Sockets(usize),
}

thread_local! {
    static END: Cell<End> = const { Cell::new(End::Shards) };
}

/// Runs a test of this thread at that end.
pub fn at(end: End, test: impl FnOnce()) {
    END.set(end);
    test();
}

/// Makes `#[test]`s of functions without arguments: `NAME::on_shards`, `NAME::over_sockets_1_shard` and `NAME::over_sockets_2_shards`.
#[macro_export]
macro_rules! table {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            use $crate::support::table::{End, at};
            #[test]
            fn on_shards() {
                at(End::Shards, super::$name);
            }
            #[test]
            fn over_sockets_1_shard() {
                at(End::Sockets(1), super::$name);
            }
            #[test]
            fn over_sockets_2_shards() {
                at(End::Sockets(2), super::$name);
            }
        })+
    };
}

/// The same for tests that by their nature have no run over sockets: `NAME::on_shards` alone. The reason stands before the names.
#[macro_export]
macro_rules! on_shards_alone {
    ($($reason:literal: $($name:ident),+;)+) => {
        $($(mod $name {
            #[test]
            fn on_shards() {
                const { assert!(!$reason.is_empty()) };
                $crate::support::table::at($crate::support::table::End::Shards, super::$name);
            }
        })+)+
    };
}

/// Runs a test in every setting of its end, for each version. A failure's last printed line names the setting.
pub fn each(versions: &[Version], test: impl Fn(&mut World, Version) + Sync) {
    each_with(versions, &Settings::default(), test);
}

/// The same with other settings.
pub fn each_with(
    versions: &[Version],
    settings: &Settings,
    test: impl Fn(&mut World, Version) + Sync,
) {
    match END.get() {
        End::Shards => shard::each_with(versions, settings, |world, version| test(world, version)),
        End::Sockets(shards) => std::thread::scope(|scope| {
            // Side by side: a test that has to wait waits once.
            for version in versions {
                let test = &test;
                scope.spawn(move || {
                    println!("{version:?}, over sockets, {shards} shards");
                    test(&mut Sockets::new(shards, settings.clone()), *version);
                });
            }
        }),
    }
}

/// Runs a test of 5.0 alone in every setting.
pub fn each5(test: impl Fn(&mut World) + Sync) {
    each5_with(&Settings::default(), test);
}

/// The same with other settings.
pub fn each5_with(settings: &Settings, test: impl Fn(&mut World) + Sync) {
    each_with(ONLY_V5, settings, |world, _| test(world));
}

/// Runs a long test in one setting of its end alone: one shard without sockets, or the broker as it is.
pub fn once_with(settings: &Settings, test: impl Fn(&mut World)) {
    match END.get() {
        End::Shards => test(&mut shard::World::with(1, Order::Fair, settings.clone())),
        End::Sockets(shards) => test(&mut Sockets::new(shards, settings.clone())),
    }
}
