//! The numbers of `docs/limits.md` are those of `src/limits/` and of the sum that the broker says at its start.

use mqttfast::config::{Beside, ListenerSettings, Settings, memory_bound};
use mqttfast::limits;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/limits.md");
    fs::read_to_string(path).expect("docs/limits.md")
}

/// The cells of the rows below the row that begins with this cell.
fn table(page: &str, head: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = page.lines().skip_while(|line| cells(line)[0] != head);
    assert!(lines.next().is_some() && lines.next().is_some(), "{head}");
    lines
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

macro_rules! figures {
    ($($name:ident),* $(,)?) => {
        [$((concat!("`", stringify!($name), "`"), limits::$name as u64)),*]
    };
}

#[test]
fn the_figures_of_the_page_are_those_of_the_source() {
    let figures = figures![
        MEMORY_BYTES_LEAST,
        MEMORY_FREE_PERCENT,
        MEMORY_PART_PERCENT,
        MEMORY_STEPS,
        FREED_BYTES_MUCH,
        GIVE_BACK_AFTER_MS,
        GIVE_BACK_EVERY_MS,
        OWNER_BYTES,
        SESSION_BYTES,
        FILTER_BYTES,
        LEVEL_BYTES,
        LEVELS_FREE,
        GROUP_BYTES,
        MESSAGE_BYTES,
        DELIVERY_BYTES,
        RETAINED_BYTES,
        QUEUED_OVERHEAD_BYTES,
        REPLAY_BYTES,
        UNACCEPTED_BYTES_FREE,
        UNACCEPTED_BYTES_MAX,
        CONNECT_PACKET_BYTES_MAX,
        PACKET_BYTES_MAX_DEFAULT,
        SESSION_QUEUE_BYTES_MAX_DEFAULT,
        FILTERS_PER_SESSION_MAX,
        SHARED_FILTERS_PER_SESSION_MAX,
        TOPIC_LEVELS_MAX,
        USER_PROPERTIES_MAX,
        OUTBOX_HIGH_BYTES,
        OUTBOX_LOW_BYTES,
        OUTBOX_BYTES_MAX,
        ANSWERS_BYTES_MAX,
        HTTP_LIST_BYTES_MAX,
        HTTP_ALL_UNSENT_BYTES_MAX,
        CONTROL_ALL_UNSENT_BYTES_MAX,
        ANSWER_MS,
        ANSWER_BYTES_PER_S,
        LANE_BYTES_MAX,
        SPILL_HIGH_BYTES,
        LOG_BYTES_WAITING_MAX,
        PASSWORD_CHECKS_WAITING_BYTES_MAX,
        STORE_WAITING_BYTES_MAX,
        STORE_WAITING_BOOKED,
    ];
    let figures: BTreeMap<String, u64> = figures
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let page = page();
    let rows = table(&page, "name in `src/limits/`");
    let told: BTreeMap<String, u64> = rows
        .into_iter()
        .map(|row| {
            (
                row[0].clone(),
                row[1].replace(',', "").parse().expect("a number"),
            )
        })
        .collect();
    assert_eq!(told, figures);
}

/// The page says in words what page and bridges add.
#[test]
fn what_page_and_bridges_may_hold_is_that_of_the_start() {
    let page = page();
    let alone = memory_bound(&Settings::default(), 1, &Beside::default());
    let mib = |beside: &Beside| {
        let bound = memory_bound(&Settings::default(), 1, beside);
        (bound.fixed_bytes - alone.fixed_bytes).div_ceil(1 << 20)
    };
    let of_page = Beside {
        page: true,
        ..Beside::default()
    };
    let of_control = Beside {
        control: true,
        ..Beside::default()
    };
    let of_bridge = Beside {
        bridges: vec![limits::BRIDGE_PACKET_BYTES_MAX],
        ..Beside::default()
    };
    for (told, beside) in [
        ("The page takes {} MiB at most", of_page),
        ("the control socket {} MiB at most", of_control),
        ("Each bridge takes {} MiB at most", of_bridge),
    ] {
        let told = told.replace("{}", &mib(&beside).to_string());
        assert!(page.contains(&told), "docs/limits.md: {told}");
    }
}

#[test]
fn the_sums_of_the_page_are_those_of_the_start() {
    let page = page();
    let rows = table(&page, "machine");
    assert_eq!(rows.len(), 6);
    for (row, (machine, shards)) in rows.iter().zip([
        (512 << 20, 1),
        (512 << 20, 4),
        (1 << 30, 1),
        (1 << 30, 4),
        (8_u64 << 30, 4),
        (8 << 30, 8),
    ]) {
        let listener = ListenerSettings {
            passwords: true,
            ..ListenerSettings::default()
        };
        let settings = Settings {
            memory_bytes_max: machine / 4,
            ..Settings::with_listener(listener)
        };
        let beside = Beside {
            control: true,
            ..Beside::default()
        };
        let bound = memory_bound(&settings, shards, &beside);
        let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
        let expected = [
            if machine < 1 << 30 {
                mib(machine)
            } else {
                format!("{} GiB", machine >> 30)
            },
            shards.to_string(),
            mib(bound.clients_bytes_max),
            mib(bound.allocator_bytes_max),
            mib(bound.fixed_bytes),
            mib(bound.whole()),
        ];
        assert_eq!(*row, expected);
        assert!(
            bound.whole() < machine * 3 / 5,
            "{} of {machine}",
            bound.whole()
        );
    }
}
