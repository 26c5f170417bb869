//! The settings a test has to hold in.

use super::packets::{ONLY_V5, Version};
use super::world::{Order, World};
use mqttfast::config::Settings;

/// Shards tell a store what changes, and wait for it.
pub fn with_store() -> Settings {
    Settings {
        store: true,
        ..Settings::default()
    }
}

/// Runs a test in every setting it must hold in: each version, 1, 2 and 4 shards, fair and seeded orders, whole
/// reads and reads of one byte. A failure's last printed line names the setting.
pub fn each(versions: &[Version], test: impl Fn(&mut World, Version)) {
    each_with(versions, &Settings::default(), test);
}

/// The same with other settings.
pub fn each_with(versions: &[Version], settings: &Settings, test: impl Fn(&mut World, Version)) {
    const WHOLE: usize = 16 * 1024;
    let variations = [
        (1, Order::Fair, WHOLE),
        (1, Order::Seeded(1), 1),
        (2, Order::Fair, WHOLE),
        (2, Order::Seeded(2), WHOLE),
        (2, Order::Seeded(3), 1),
        (4, Order::Fair, WHOLE),
        (4, Order::Seeded(4), WHOLE),
        (4, Order::Seeded(5), 3),
    ];
    for version in versions {
        for (shards, order, read_bytes_max) in variations {
            println!("{version:?}, {shards} shards, {order:?}, reads of {read_bytes_max} bytes");
            let mut world = World::with(shards, order, settings.clone());
            world.read_bytes_max = read_bytes_max;
            test(&mut world, *version);
            world.settle();
        }
    }
}

/// Runs a test of 5.0 alone in every setting.
pub fn each5(test: impl Fn(&mut World)) {
    each5_with(&Settings::default(), test);
}

/// The same with other settings.
pub fn each5_with(settings: &Settings, test: impl Fn(&mut World)) {
    each_with(ONLY_V5, settings, |world, _| test(world));
}
