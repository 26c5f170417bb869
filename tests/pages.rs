//! The manual pages and the table of flags in the README name the options that `--help` names, all of them and no
//! others. The pages for contributors name files, test targets and numbers that are there.

#[path = "pages/french.rs"]
mod french;
#[path = "planted/table.rs"]
#[allow(dead_code)]
mod table;

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
    // Of a command without notes they are the last.
    let help = format!("{help}\n\n");
    let options = section(&help, "Options:\n", "\n\n");
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
    let acts = ["show", "check", "compact", "import"];
    let options: BTreeSet<String> = acts
        .iter()
        .flat_map(|act| offered(&help(&["store", act])))
        .collect();
    assert!(options.contains("--store-dir") && options.contains("--json"));
    assert_eq!(defined(&read("packaging/man/mqttfast-store.1")), options);
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
    for page in ["mqttfast.1", "mqttfast-passwd.1", "mqttfast-store.1"] {
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

/// The pages that tell contributors where things are.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    for entry in fs::read_dir(root.join("docs")).expect("docs") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        // The changelog tells of files that are gone, too.
        if name.ends_with(".md") && name != "CHANGELOG.md" {
            names.push(format!("docs/{name}"));
        }
    }
    names.into_iter().map(|name| (read(&name), name)).collect()
}

/// What stands between backquotes, on one line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Is this a path in the repository, such as `tests/sim/found.rs`, or one below `src/`, such as `broker/turn.rs`? What
/// is only made by building or installing begins with a dot or stands in capitals.
fn is_path(word: &str) -> bool {
    let mut parts = word.split('/');
    let top = parts.next().unwrap_or_default();
    let here = [
        "src",
        "tests",
        "benches",
        "fuzz",
        "perf",
        "packaging",
        "docs",
    ];
    let below_src = [
        "acl", "broker", "buffer", "config", "io", "mesh", "passwd", "session", "topic", "wire",
    ];
    let plain = |part: &str| {
        !part.starts_with('.')
            && !part.contains(char::is_uppercase)
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    word.contains('/') && (here.contains(&top) || below_src.contains(&top)) && parts.all(plain)
}

#[test]
fn the_files_that_pages_name_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut missing, mut seen) = (Vec::new(), 0);
    for (text, page) in pages() {
        for word in quoted(&text).filter(|word| is_path(word)) {
            seen += 1;
            if !root.join(word).exists() && !root.join("src").join(word).exists() {
                missing.push(format!("{page}: {word}"));
            }
        }
    }
    assert!(seen > 150, "only {seen} paths are seen");
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn the_test_targets_that_pages_name_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let planted = read("tests/planted/Cargo.toml");
    let (mut missing, mut seen) = (Vec::new(), 0);
    for (text, page) in pages() {
        for (at, option) in text.match_indices("--test ") {
            let rest = &text[at + option.len()..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let name = &rest[..end.unwrap_or(rest.len())];
            seen += 1;
            let file = |folder: &str| {
                let folder = root.join(folder);
                folder.join(format!("{name}.rs")).exists()
                    || folder.join(name).join("main.rs").exists()
            };
            if !name.chars().all(char::is_uppercase)
                && !file("tests")
                && !file("tests/planted/tests")
                && !planted.contains(&format!("name = \"{name}\""))
            {
                missing.push(format!("{page}: --test {name}"));
            }
        }
    }
    assert!(seen > 20, "only {seen} targets are seen");
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

/// The figures of `docs/testing.md` that can be counted.
#[test]
fn the_numbers_of_the_pages_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut rows = 0;
    for entry in fs::read_dir(root.join("tests/wire")).expect("tests/wire") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a table");
        rows += text
            .lines()
            .filter(|line| line.contains('|') && !line.starts_with('#'))
            .count();
    }
    let page = read("docs/testing.md");
    assert!(
        page.contains("more than 900") && rows > 900 && rows < 1_100,
        "{rows} rows"
    );
    let said = |words: &str| {
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        let (before, _) = page
            .split_once(words)
            .unwrap_or_else(|| panic!("no {words:?}"));
        let number = before.trim_end().rsplit(' ').next().unwrap();
        number.parse::<usize>().expect("a number before it")
    };
    let faults = table::parse(&read("tests/planted/edits.txt")).expect("a table");
    // "More than", so that not every new one changes the page.
    let some = |words: &str, count: usize| {
        let least = said(words);
        assert!(count > least && count < 2 * least, "{count} {words}");
    };
    some("mistakes with an edit each or more", faults.len());
    let models = read("tests/loom.rs").matches("#[test]").count();
    some("models, each under every schedule", models);
}

/// Names of files in a folder, and of folders with a `main.rs`.
fn programs(folder: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).expect("a folder")
    {
        let path = entry.expect("an entry").path();
        let is_file = path.extension().is_some_and(|extension| extension == "rs");
        if is_file || path.join("main.rs").exists() {
            let name = path.file_stem().expect("a name");
            names.insert(name.to_string_lossy().into_owned());
        }
    }
    names
}

#[test]
fn the_benches_crates_features_and_fuzz_targets_that_pages_name_are_there() {
    let (benches, targets) = (programs("benches"), programs("fuzz/fuzz_targets"));
    let manifest = read("Cargo.toml");
    let mut missing = Vec::new();
    for (text, page) in pages() {
        for line in text.lines() {
            let words: Vec<&str> = line.split([' ', '`', ',', ';', ')', '|']).collect();
            for pair in words.windows(2) {
                let name = pair[1];
                let fine = match pair[0] {
                    _ if name.chars().all(|c| c.is_uppercase() || c == '-') => true,
                    "--bench" => benches.contains(name),
                    "--features" => manifest.contains(&format!("\n{name} = [")),
                    "-p" if name.starts_with("mqttfast-") => {
                        manifest.contains(&format!("\"tests/{}\"", &name["mqttfast-".len()..]))
                    }
                    "run" if line.contains("fuzz run") && !name.starts_with('-') => {
                        targets.contains(name)
                    }
                    _ => true,
                };
                if !fine {
                    missing.push(format!("{page}: {} {name}", pair[0]));
                }
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

/// `docs/testing.md` says of each test target and each fuzz target what it is for.
#[test]
fn the_page_of_tests_has_all_of_them() {
    let page = read("docs/testing.md");
    for target in programs("fuzz/fuzz_targets") {
        assert!(page.contains(&format!("| `{target}` |")), "{target}");
    }
    for test in programs("tests") {
        let forms = [format!("tests/{test}.rs"), format!("tests/{test}/")];
        let named = forms.iter().any(|form| page.contains(form));
        assert!(
            named || page.contains(&format!("--test {test}")),
            "tests/{test}"
        );
    }
}
