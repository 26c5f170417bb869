//! What makes of one test a `#[test]` at each end, and runs it in every setting of that end.

use super::process::reference;
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
    /// The running broker, with 1 and with 2 shards.
    Sockets,
}

thread_local! {
    static END: Cell<End> = const { Cell::new(End::Shards) };
}

/// Runs a test of this thread at that end.
pub fn at(end: End, test: impl FnOnce()) {
    END.set(end);
    test();
}

/// Makes `#[test]`s of functions without arguments: `NAME::on_shards` and `NAME::over_sockets`.
#[macro_export]
macro_rules! table {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            use $crate::table::ends::{End, at};
            #[test]
            fn on_shards() {
                at(End::Shards, super::$name);
            }
            #[test]
            fn over_sockets() {
                at(End::Sockets, super::$name);
            }
        })+
    };
}

/// The same for tests that by their nature have no run over sockets: `NAME::on_shards` alone. The reason stands before
/// the names.
#[macro_export]
macro_rules! on_shards_alone {
    ($($reason:literal: $($name:ident),+;)+) => {
        $($(mod $name {
            #[test]
            fn on_shards() {
                const { assert!(!$reason.is_empty()) };
                $crate::table::ends::at($crate::table::ends::End::Shards, super::$name);
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
        End::Sockets => side_by_side(versions, settings, test),
    }
}

/// Runs a test over sockets for each version, with 1 and with 2 shards, all at the same time: one that has to wait
/// waits once.
fn side_by_side(
    versions: &[Version],
    settings: &Settings,
    test: impl Fn(&mut World, Version) + Sync,
) {
    if reference() {
        println!(
            "left out: these tests know the choices of this broker, which are not the reference's"
        );
        return;
    }
    let test = &test;
    std::thread::scope(|scope| {
        for version in versions.iter().copied() {
            for shards in [1, 2] {
                std::thread::Builder::new()
                    .name(format!("{version:?}, over sockets, {shards} shards"))
                    .spawn_scoped(scope, move || {
                        test(&mut Sockets::new(shards, settings.clone()), version);
                    })
                    .expect("a thread");
            }
        }
    });
}

/// Runs a test of 5.0 alone in every setting.
pub fn each5(test: impl Fn(&mut World) + Sync) {
    each5_with(&Settings::default(), test);
}

/// The same with other settings.
pub fn each5_with(settings: &Settings, test: impl Fn(&mut World) + Sync) {
    each_with(ONLY_V5, settings, |world, _| test(world));
}

/// Runs a long test of one version with one shard alone where there are no sockets.
pub fn once_with(version: Version, settings: &Settings, test: impl Fn(&mut World, Version) + Sync) {
    match END.get() {
        End::Shards => test(
            &mut shard::World::with(1, Order::Fair, settings.clone()),
            version,
        ),
        End::Sockets => side_by_side(&[version], settings, test),
    }
}
