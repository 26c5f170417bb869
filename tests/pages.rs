//! The manual pages and the table of flags in the README name the options that `--help` names, all of them and no
//! others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
        .args(arguments)
        .arg("--help")
        .output()
        .expect("mqttfast was not started");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

/// The lines between two headings.
fn section<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).expect(from) + from.len();
    let length = text[start..].find(to).expect(to);
    &text[start..start + length]
}

/// Words that begin with `-`, such as `-p` and `--port`; what may be around one in a sentence is cut off.
fn flags(text: &str) -> BTreeSet<String> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '-'))
        .filter(|word| {
            let name = word.trim_start_matches('-');
            let dashes = word.len() - name.len();
            !name.is_empty() && (dashes == 2 || dashes == 1 && name.len() == 1)
        })
        .map(str::to_owned)
        .collect()
}

/// The same words where a manual page defines an option: in the line after `.TP`.
fn defined(page: &str) -> BTreeSet<String> {
    let page = page.replace("\\-", "-");
    let options = section(&page, ".SH OPTIONS\n", ".SH ");
    let lines: Vec<&str> = options.lines().collect();
    let heads = lines.windows(2).filter(|pair| pair[0] == ".TP");
    heads.flat_map(|pair| flags(pair[1])).collect()
}

/// Where the help defines its options: at the beginning of a line.
fn offered(help: &str) -> BTreeSet<String> {
    let options = section(help, "Options:\n", "\n\n");
    let heads = options.lines().filter(|line| line.starts_with("  -"));
    heads
        .flat_map(|line| flags(line.trim().split("  ").next().unwrap_or("")))
        .collect()
}

#[test]
fn the_manual_pages_have_all_options() {
    let page = read("packaging/man/mqttfast.1");
    let options = offered(&help(&[]));
    assert!(options.contains("--port") && options.contains("-p"));
    assert_eq!(defined(&page), options);
    let options = offered(&help(&["passwd"]));
    assert!(options.contains("-U") && options.contains("--iterations"));
    assert_eq!(defined(&read("packaging/man/mqttfast-passwd.1")), options);
}

#[test]
fn the_manual_page_shows_every_option_in_its_synopsis() {
    let page = read("packaging/man/mqttfast.1");
    // Without changes of the font.
    let page = page
        .replace("\\fR", " ")
        .replace("\\fB", " ")
        .replace("\\-", "-");
    let synopsis = flags(section(&page, ".SH SYNOPSIS\n", ".SH "));
    // Short ones stand for their long ones; the rest ends at once.
    for option in offered(&help(&[])) {
        let short = [
            "--port",
            "--quiet",
            "--verbose",
            "--help",
            "-h",
            "--version",
        ];
        assert!(
            short.contains(&option.as_str()) || synopsis.contains(&option),
            "{option} is not in the synopsis"
        );
    }
}

#[test]
fn the_readme_has_all_options() {
    let readme = read("README.md");
    let table: String = section(&readme, "| flag | what it does |", "\n\n")
        .lines()
        .filter_map(|line| line.split("` |").next())
        .collect();
    let mut options = offered(&help(&[]));
    for told_by_every_program in ["-h", "--help", "--version"] {
        assert!(options.remove(told_by_every_program));
    }
    assert_eq!(flags(&table), options);
}

#[test]
fn the_versions_agree() {
    let version = env!("CARGO_PKG_VERSION");
    for page in ["mqttfast.1", "mqttfast-passwd.1"] {
        let text = read(&format!("packaging/man/{page}"));
        let head = text.lines().next().expect("a head");
        assert!(head.contains(&format!("\"mqttfast {version}\"")), "{head}");
    }
    let changelog = read("packaging/debian/changelog");
    assert!(
        changelog.starts_with(&format!("mqttfast ({version}-")),
        "{changelog}"
    );
}
