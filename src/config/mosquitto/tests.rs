use super::props::configurations_are_taken_or_refused;
use super::*;
use crate::random::SplitMix64;

const VALUES: [&str; 40] = [
    "true",
    "false",
    "1",
    "0",
    "yes",
    "= true",
    "\"true\"",
    "# x",
    "",
    "abc",
    "-1",
    "5",
    "70000",
    "64MB",
    "/m/passwd",
    "/m/acl",
    "/m/ca",
    "/m/crt",
    "/m/key",
    "passwd",
    "passwd # x",
    "\"/m/acl\"",
    "/m/conf.d",
    "/nothing",
    "a/#",
    "x/# both 1 l/ r/",
    "\"\" out 0 a b",
    "1883",
    "1884 127.0.0.1",
    "0 /m/sock",
    "8883 0.0.0.0 # x",
    "websockets",
    "ipv4",
    "tlsv1.2",
    "3d",
    "3,4,5",
    "lazy",
    "mqttv50",
    "file /m/log",
    "host:1884 [::1]:5",
];

/// Every option with every value, somewhere; so each is stored, built and described by chance.
#[test]
fn any_lines_of_options_are_taken_or_refused() {
    let mut chance = SplitMix64::new(3);
    let rows = Table::get().rows();
    let glue = [" ", " ", " ", " ", "  ", "\t", "=", " = "];
    for _ in 0..6000 {
        let mut text = String::new();
        for _ in 0..chance.below(12) {
            let row = &rows[chance.below(rows.len())];
            // Sections more often than chance would have them.
            let name = match chance.below(8) {
                0 => "listener",
                1 => "connection",
                2 => "include_dir",
                _ => row.name,
            };
            let value = match (name, chance.below(3)) {
                ("include_dir", 0) => "/m/conf.d",
                ("connection", 0) => "a\naddress h\ntopic t",
                _ => VALUES[chance.below(VALUES.len())],
            };
            text.push_str(name);
            text.push_str(glue[chance.below(glue.len())]);
            text.push_str(value);
            text.push_str(if chance.below(10) == 0 {
                "\n%%\n"
            } else {
                "\n"
            });
        }
        configurations_are_taken_or_refused(text.as_bytes());
    }
}

#[test]
fn any_bytes_are_taken_or_refused() {
    let mut chance = SplitMix64::new(4);
    let alphabet = b"listener connection port 1883 true\n\n\n=#\t\r\0\xE9\xEF\xBB\xBF%%\n/m/.\"";
    for _ in 0..20_000 {
        let length = chance.below(100);
        let bytes: Vec<u8> = (0..length)
            .map(|_| alphabet[chance.below(alphabet.len())])
            .collect();
        configurations_are_taken_or_refused(&bytes);
    }
}

#[test]
fn each_name_stands_in_the_table_once_and_its_columns_agree() {
    let table = Table::get();
    for row in table.rows() {
        let same = table.rows().iter().filter(|other| other.name == row.name);
        assert_eq!(same.count(), 1, "{}", row.name);
        let first = table
            .find(row.option)
            .unwrap_or_else(|| panic!("{}", row.option));
        assert_eq!(first.option, first.name);
        assert_eq!(
            (first.scope, first.takes, first.support),
            (row.scope, row.takes, row.support),
            "{}",
            row.name
        );
        assert!(
            row.support != Support::Refuse || !row.note.is_empty(),
            "{}: no remedy",
            row.name
        );
        assert!(
            row.support != Support::Accept || !row.note.is_empty(),
            "{}: no reason",
            row.name
        );
    }
    assert!(table.find("plugin_opt_").is_none() && table.find("plugin_opt_x").is_some());
    assert!(table.find("").is_none() && table.guess("zzzzzzzz").is_none());
}

/// Read from the table of the program's own options: an option that is stored and never asked for would be lost in
/// silence.
#[test]
fn every_implemented_option_is_asked_for() {
    let sources = [
        include_str!("bridge.rs"),
        include_str!("build.rs"),
        include_str!("global.rs"),
        include_str!("reader.rs"),
    ]
    .join("\n");
    for row in Table::get().rows() {
        if row.support == Support::Implement && row.name == row.option {
            assert!(
                sources.contains(&format!("\"{}\"", row.name)),
                "{}",
                row.name
            );
        }
    }
}
