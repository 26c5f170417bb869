//! French: each sentence that an operator reads before the broker serves has its row in `fr.txt`; and `README.fr.md`
//! has the commands of README.md.
//!
//! The code is read as text. A sentence is a string with a blank and two words in it; comments and tests are not
//! looked at.

use crate::read;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where sentences for operators are made. Of a folder all files.
const SOURCES: &[&str] = &[
    "src/acl/file.rs",
    "src/config/file.rs",
    "src/config/http.rs",
    "src/config/mosquitto",
    "src/io/console",
    "src/io/doctor",
    "src/io/files.rs",
    "src/io/helpers/control_socket/place.rs",
    "src/io/helpers/rules.rs",
    "src/io/holder.rs",
    "src/io/host.rs",
    "src/io/listener.rs",
    "src/io/migrate",
    "src/io/start.rs",
    "src/io/store/import.rs",
    "src/io/store/place.rs",
    "src/io/uring/probe.rs",
    "src/io/user.rs",
    "src/io/words/remedies.rs",
    "src/passwd/fault.rs",
    "src/passwd/file.rs",
    "src/passwd/open.rs",
];

/// Not shown to operators.
const NOT_SHOWN: &[&str] = &["props.rs", "table.rs", "tests.rs"];

/// The strings of a source file: outside of comments and of its tests, line continuations joined.
fn strings(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
    let mut found = Vec::new();
    let mut rest = source;
    loop {
        let Some(at) = rest.find(['"', '/', '\'']) else {
            return found;
        };
        rest = &rest[at..];
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(after) = rest.strip_prefix('"') {
            let (text, after) = string(after);
            found.push(text);
            rest = after;
        } else {
            // A character, or a lifetime.
            let character = ["'\\''", "'\"'", "'\\\"'", "'\\\\'"];
            let skip = character.iter().find(|c| rest.starts_with(**c));
            rest = &rest[skip.map_or(1, |c| c.len())..];
        }
    }
}

/// Without what `--help` says, which is English.
fn without_help(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("#[argh(") {
        out.push_str(before);
        rest = after.split_once(")]\n").map_or("", |(_, rest)| rest);
    }
    out + rest
}

/// A string behind its first quote, and what follows it.
fn string(source: &str) -> (String, &str) {
    let mut text = String::new();
    let mut characters = source.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (text, &source[at + 1..]),
            '\\' => match characters.next() {
                Some((at, '\n')) => {
                    let rest = &source[at + 1..];
                    let blanks = rest.len() - rest.trim_start().len();
                    for _ in 0..rest[..blanks].chars().count() {
                        characters.next();
                    }
                }
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, escaped)) => text.push(escaped),
                None => break,
            },
            character => text.push(character),
        }
    }
    (text, "")
}

/// With every hole alike, and without the place before it and blanks and line ends around it.
fn skeleton(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{')
        && let Some((_, after)) = after.split_once('}')
    {
        out.push_str(before);
        out.push_str("{}");
        rest = after;
    }
    out.push_str(rest);
    let out = out.trim().replace('\n', "\\n");
    // The place of a line stays as it is.
    out.strip_prefix("{}: ").unwrap_or(&out).to_owned()
}

fn is_sentence(text: &str) -> bool {
    let words = skeleton(text).replace("{}", " ");
    let words = words.split(|c: char| !c.is_ascii_alphabetic());
    let lower = |word: &&str| word.len() >= 2 && word.bytes().all(|b| b.is_ascii_lowercase());
    text.contains(' ') && words.filter(lower).count() >= 2
}

fn files(path: &Path, found: &mut Vec<String>) {
    if !path.is_dir() {
        let name = path.to_string_lossy().into_owned();
        let shown = name.ends_with(".rs") && !NOT_SHOWN.iter().any(|not| name.ends_with(not));
        found.extend(shown.then_some(name));
        return;
    }
    for entry in fs::read_dir(path).expect("a folder") {
        files(&entry.expect("an entry").path(), found);
    }
}

/// What `fr.txt` has: sentences with a translation, and texts that need none.
fn rows() -> BTreeSet<String> {
    let table = read("src/language/fr.txt");
    let english = table
        .lines()
        .filter_map(|line| line.strip_prefix("en ").or(line.strip_prefix("-- ")));
    english.map(skeleton).collect()
}

#[test]
fn every_sentence_for_operators_has_its_french() {
    let rows = rows();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for source in SOURCES {
        files(&root.join(source), &mut paths);
    }
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    for path in paths {
        let source = fs::read_to_string(&path).expect("a file");
        for text in strings(&without_help(&source))
            .iter()
            .filter(|text| is_sentence(text))
        {
            seen += 1;
            if !rows.contains(&skeleton(text)) {
                let path = path
                    .strip_prefix(env!("CARGO_MANIFEST_DIR"))
                    .unwrap_or(&path);
                missing.insert(format!("{path}: {text:?}"));
            }
        }
    }
    // The notes of the options are sentences too.
    for line in read("src/config/mosquitto/options.txt").lines() {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let shown = columns.len() == 7 && (columns[5] != "I" && columns[5] != "I!");
        if shown && !columns[6].is_empty() && !line.starts_with('#') {
            seen += 1;
            if !rows.contains(&skeleton(columns[6])) {
                missing.insert(format!("options.txt: {:?}", columns[6]));
            }
        }
    }
    assert!(seen > 300, "only {seen} sentences are seen");
    let missing: Vec<String> = missing.into_iter().collect();
    assert!(
        missing.is_empty(),
        "no row in fr.txt:\n{}",
        missing.join("\n")
    );
}

#[test]
fn what_counts_as_a_sentence() {
    let source = "// \"a comment of words\"\nlet c = '\"'; f(\"one sentence of {n}\\n\"); g(\"name\"); \
        h(\"joined \\\n        words\");\n#[cfg(test)]\nmod tests { \"not of tests\" }";
    let found = strings(source);
    assert_eq!(found, ["one sentence of {n}\n", "name", "joined words"]);
    assert!(is_sentence(&found[0]) && !is_sentence(&found[1]) && is_sentence(&found[2]));
    assert_eq!(skeleton(&found[0]), "one sentence of {}");
    assert!(!is_sentence("{a} {b}: {c}"));
}

/// By the program, in the language of its environment.
#[test]
fn the_program_speaks_the_language_of_its_environment() {
    let folder = std::env::temp_dir().join(format!("mqttfast-test-french-{}", std::process::id()));
    // An earlier process of the same number may have left its own.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).expect("a folder");
    let file = folder.join("mosquitto.conf");
    let run = |arguments: &[&str], text: &str, lang: &str| {
        fs::write(&file, text).expect("a configuration");
        let output = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
            .args(arguments)
            .arg("-c")
            .arg(&file)
            .env_remove("LC_ALL")
            .env_remove("LC_MESSAGES")
            .env("LANG", lang)
            .output()
            .expect("mqttfast was not started");
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8(all).expect("UTF-8")
    };
    let bad = "lisener 1883\n";
    let open = "listener 1883\nallow_anonymous true\nretry_interval 5\n";
    for (arguments, text, french, english) in [
        (
            &["--check"][..],
            bad,
            ":1: `lisener` n'est pas une option de Mosquitto ; écrivez plutôt : listener 1883",
            ":1: `lisener` is no option of Mosquitto; write instead: listener 1883",
        ),
        // A start.
        (
            &[],
            bad,
            "n'est pas une option de Mosquitto",
            "is no option of Mosquitto",
        ),
        (
            &["--check"],
            open,
            "MQTT: tout le monde, avec n'importe quel nom d'utilisateur ou sans ; tous les topics leur sont ouverts",
            "MQTT: anybody, with any user name or none; every topic is open to them",
        ),
        (
            &["migrate"],
            open,
            "\ndifférent           ",
            "\ndifferent      ",
        ),
        (
            &["migrate"],
            open,
            "2 lignes identiques, 1 différentes, 0 non prises en charge.",
            "2 lines the same, 1 different, 0 not supported.",
        ),
        (
            &[],
            "password_file /nulle/part\n",
            "/nulle/part n'existe pas",
            "/nulle/part does not exist",
        ),
    ] {
        let said = run(arguments, text, "fr_FR.UTF-8");
        assert!(said.contains(french), "{french}: {said}");
        let said = run(arguments, text, "en_GB.UTF-8");
        assert!(said.contains(english), "{english}: {said}");
        assert_eq!(run(arguments, text, "C"), said);
    }
    fs::remove_dir_all(&folder).expect("it is there");
}

/// What is typed is the same in both.
#[test]
fn the_first_page_has_the_same_commands_in_french() {
    let commands = |page: &str| -> BTreeSet<String> {
        let text = read(page);
        let blocks = text.split("```sh\n").skip(1);
        let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or("").lines());
        let words = ["sudo ", "mqttfast ", "cargo ", "perf/", "scp "];
        lines
            .map(|line| line.split(" #").next().unwrap_or("").trim().to_owned())
            .filter(|line| words.iter().any(|word| line.starts_with(word)))
            .collect()
    };
    let (french, english) = (commands("README.fr.md"), commands("README.md"));
    assert!(french.len() > 10, "{french:?}");
    let others: Vec<&String> = french.difference(&english).collect();
    assert!(others.is_empty(), "README.md has no {others:?}");
}
