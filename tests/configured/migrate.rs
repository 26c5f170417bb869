//! `mqttfast migrate`: each line of a Mosquitto's files with what becomes of it, the exit code, and what `--write`
//! writes.

use crate::configured::fixtures::{FIXTURES, Installed};
use crate::{ALICE, OPEN, anonymous, code};
use mqttfast_rig::process::broker::Options;
use mqttfast_rig::process::packet::Connect;
use mqttfast_rig::process::{Broker, Client, DEADLINE, Folder, free_port, program, reference};
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Exit code, standard output and standard error.
fn migrate(file: &Path, more: &[&str]) -> (i32, String, String) {
    let output = Command::new(program())
        .args(["migrate", "-c"])
        .arg(file)
        .args(more)
        .env("LC_ALL", "C")
        .output()
        .expect("run mqttfast");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let code = output.status.code().expect("an exit code");
    (code, text(output.stdout), text(output.stderr))
}

/// A `mosquitto.conf` in a folder of its own.
fn written(text: &str) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let file = folder.path("mosquitto.conf");
    let text = text.replace("{folder}", &folder.0.display().to_string());
    fs::write(&file, text).expect("write mosquitto.conf");
    (folder, file)
}

/// Everything below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.insert(path);
    }
    found
}

/// The exit code is that of a start, every line that says something is told, and nothing is written.
#[test]
fn the_fixtures_are_told_line_by_line() {
    if reference() {
        return;
    }
    let table = fs::read_to_string(format!("{FIXTURES}/expected.tsv")).expect("the table");
    for row in table.lines().skip(1) {
        let row: Vec<&str> = row.split('\t').collect();
        let (file, exit, wanted) = (row[0], row[1], row[6]);
        let installed = Installed::new(file);
        let before = files(&installed.folder.0);
        let main = installed.path("etc/mosquitto/mosquitto.conf");
        let (code, text, errors) = migrate(&main, &[]);
        assert_eq!(errors, "", "{file}");
        assert_eq!(files(&installed.folder.0), before, "{file}");
        let check = Command::new(program())
            .args(["--check", "-c"])
            .arg(&main)
            .current_dir(main.parent().expect("a folder"))
            .output()
            .expect("run mqttfast");
        let starts = check.status.success();
        match (wanted, starts) {
            ("refuse", _) => assert_eq!(code.to_string(), exit, "{file}: {text}"),
            (_, true) => assert!(code == 0 || code == 4, "{file}: {code} {text}"),
            // It wants what is not there yet.
            (_, false) => assert_eq!(Some(code), check.status.code(), "{file}: {text}"),
        }
        assert_eq!(code == 0 || code == 4, starts, "{file}: {text}");
        let lines = fs::read_to_string(&main).expect("it is there");
        for (line, number) in lines.lines().zip(1..) {
            let place = format!("{}:{number}: ", main.display());
            let rows = text.lines().filter_map(|row| row.get(15..));
            let said = rows.filter(|row| row.starts_with(&place)).count();
            let says_something = !line.trim().is_empty() && !line.starts_with('#');
            assert_eq!(said, usize::from(says_something), "{file}:{number}: {text}");
        }
        // What to type is told where typing it would do.
        assert_eq!(
            starts,
            text.contains("sudo systemctl disable --now mosquitto")
        );
    }
}

#[test]
fn lines_are_the_same_different_or_not_supported() {
    if reference() {
        return;
    }
    let text = "listener 1883\npassword_file {folder}/passwd\nacl_file {folder}/acl\nmax_keepalive 600\nretry_interval 5\n\
         persistence true\npersistence_location {folder}\nconnection cloud\naddress example.org\ntopic a/# out\n\
         remote_username u\nremote_password very-secret\n";
    let (folder, file) = written(text);
    fs::write(folder.path("passwd"), format!("{ALICE}bert:plain\n")).expect("a password file");
    fs::write(folder.path("acl"), "# mine\ntopic read\nuser alice\n").expect("an ACL file");
    let (code, said, _) = migrate(&file, &[]);
    let row = |word: &str, rest: &str| {
        let found = said
            .lines()
            .any(|line| line.starts_with(word) && line.contains(rest));
        assert!(found, "{word} {rest}: {said}");
    };
    let conf = file.display();
    row("same", &format!("{conf}:1: listener 1883"));
    row("different", &format!("{conf}:4: max_keepalive 600"));
    row("different", &format!("{conf}:5: retry_interval 5"));
    row("different", &format!("{conf}:6: persistence true"));
    row("same", &format!("{conf}:12: remote_password …"));
    row("same", "/passwd:1: alice ($7$, 101 iterations)");
    row("same", "/acl:2: topic read");
    row("same", "mosquitto.db: not there");
    assert!(said.contains("refused, as the manual says"), "{said}");
    assert!(said.contains("the password is plain text"), "{said}");
    assert!(
        said.contains("gives read and write on a topic called `read`"),
        "{said}"
    );
    assert!(
        !said.contains("very-secret") && !said.contains("$7$101"),
        "{said}"
    );
    assert!(!said.contains("/acl:1"), "{said}");
    let lines = said.lines().rev().take(3).collect::<Vec<_>>();
    assert!(lines[2].contains("disable --now mosquitto"), "{said}");
    assert!(lines[1].contains(&format!("-c {conf}")), "{said}");
    assert!(lines[0].contains("restart mqttfast"), "{said}");
    if said.contains("not implemented yet") {
        assert_eq!(code, 4, "a bridge is missing");
    } else {
        assert_eq!(code, 0);
    }
    let (code, said, _) = migrate(Path::new("/no/such/mosquitto.conf"), &[]);
    assert_eq!(code, 3, "{said}");
    assert!(
        said.starts_with("not supported  /no/such/mosquitto.conf: "),
        "{said}"
    );
}

/// Copies mean the same, better written; what nobody can guess stays, and is refused there too.
#[test]
fn corrected_copies_are_written_where_it_is_asked_for() {
    if reference() {
        return;
    }
    let text = "listner 1883 127.0.0.1\nallow_anonymous = false\npersistence yes\nmax_queued_messages \"500\"\n";
    let (folder, file) = written(text);
    let (code, said, _) = migrate(&file, &[]);
    assert_eq!(code, 3, "{said}");
    let out = folder.path("out");
    let (code, said, errors) = migrate(&file, &["--write", &out.display().to_string()]);
    assert_eq!((code, errors.as_str()), (3, ""), "{said}");
    let copy = out.join(file.strip_prefix("/").expect("absolute"));
    let mode = fs::metadata(&copy).expect("a copy").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it may hold passwords of bridges");
    assert_eq!(
        fs::read_to_string(&copy).expect("a copy"),
        "listener 1883 127.0.0.1\nallow_anonymous false\npersistence yes\nmax_queued_messages \"500\"\n"
            .replace("listener 1883 127.0.0.1", "# mqttfast: `listner` is no option of Mosquitto; write instead: listener 1883 127.0.0.1\nlistner 1883 127.0.0.1")
    );
    let options = fs::read_to_string(out.join("etc/mqttfast/options")).expect("options");
    assert_eq!(
        options,
        format!("MQTTFAST_OPTIONS=\"-c {}\"\n", file.display())
    );
    assert!(
        out.join("etc/systemd/system/mqttfast.service.d/mosquitto.conf")
            .exists()
    );
    // Nothing is written over what is there.
    let (code, _, errors) = migrate(&file, &["--write", &out.display().to_string()]);
    assert_eq!(code, 1);
    assert!(errors.contains("is there already"), "{errors}");
    // What would open stays as it is, below its reason.
    for line in [
        "allow_anonymous yes",
        "plugin /usr/lib/x.so",
        "certfile /none",
    ] {
        let (folder, file) = written(&format!("listener 1883\n{line}\n"));
        let out = folder.path("out");
        let (code, said, _) = migrate(&file, &["--write", &out.display().to_string()]);
        assert!(code == 3 || code == 1, "{said}");
        let copy = out.join(file.strip_prefix("/").expect("absolute"));
        let copied = fs::read_to_string(&copy).expect("a copy");
        assert!(copied.ends_with(&format!("\n{line}\n")), "{copied}");
        assert!(copied.contains("\n# mqttfast: "), "{copied}");
        let (again, said, _) = migrate(&copy, &[]);
        assert_eq!(again, code, "{said}");
    }
}

/// What a Mosquitto has kept under another name: told before, and taken over by the first start.
#[test]
fn a_database_comes_in_with_the_first_start() {
    if reference() {
        return;
    }
    let port = free_port();
    let folder = Folder::new();
    let kept = folder.path("kept");
    fs::create_dir(&kept).expect("a folder");
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
         persistence_file house.db\nuser root\n",
        kept.display()
    );
    let file = folder.path("mosquitto.conf");
    fs::write(&file, &text).expect("a configuration");
    let mut mosquitto = Command::new("mosquitto")
        .arg("-c")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mosquitto was not started");
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < DEADLINE, "mosquitto does not listen");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let connect = Connect {
        client_id: b"lamp",
        ..Connect::default()
    };
    let mut client = Client::connect_at(port, &connect);
    client.publish("house/lamp", b"on", 1, true);
    client.disconnect();
    let (_, said, _) = migrate(&file, &[]);
    assert!(said.contains("house.db: not there"), "{said}");
    let pid = nix::unistd::Pid::from_raw(mosquitto.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signalled");
    mosquitto.wait().expect("ended");
    let (code, said, _) = migrate(&file, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("house.db: version 6: "), "{said}");
    assert!(said.contains(" 1 retained; "), "{said}");
    assert_eq!(files(&kept).len(), 1, "nothing but Mosquitto's own file");
    let broker = Broker::start_with(Options {
        no_bind: true,
        arguments: vec!["-c".into(), file.display().to_string()],
        ..Options::default()
    });
    broker.logged(&["house.db was imported"]);
    let mut ear = Client::connect_at(port, &anonymous("ear"));
    ear.subscribe("house/#", 0);
    assert_eq!(ear.receive().payload, b"on");
    assert!(kept.join("house.db").exists());
}

/// Of a start with all lines as they are.
#[test]
fn a_broker_runs_by_what_migrate_calls_the_same() {
    if reference() {
        return;
    }
    let broker = Broker::configured(1, OPEN);
    let (exit, said, _) = migrate(&broker.file("mosquitto.conf"), &[]);
    assert_eq!(exit, 0, "{said}");
    assert!(
        said.contains(" lines the same, 0 different, 0 not supported."),
        "{said}"
    );
    assert_eq!(code(&broker, &anonymous("a")), Some(0));
}
