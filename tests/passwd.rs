//! `mqttfast passwd` and the files it writes: its flags, prompts and exit codes, what it does to a file and what it
//! leaves alone, and that Debian's Mosquitto and its `mosquitto_passwd` read and write the same files.

mod passwd {
    pub mod fixture;
}

use mqttfast::passwd::{Check, PasswordFile};
use passwd::fixture::{
    Folder, Mosquitto, Run, is_root, mosquitto_passwd, mqttfast, mqttfast_with_input, nobody,
};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// `alice` / `secret` and `old` / `oldpw`, made by mosquitto_passwd 2.0.11.
const VECTORS: &str = "\
alice:$7$101$dJRVb0YElmDAtSWM$LGtgXLEgC1nJ/xzVh3QQNF4LzoAYc79t3AZ6WktAyZeu9eyDX10vVhkkMqwFwuYAdL+hQg/pZ6ah35YIfE5Xbg==
old:$6$PeS/X1OZ/ASKpDs/$w3n3MEI696QaTsBk12qY58as69W/BiBDNQlXlBEiTmBib5zzBb6ChmVjS1SZd8IQxbrADluvoFIZ9mE60VSQew==
";

fn check(file: &Path, user_name: &str, password: &str) -> Check {
    PasswordFile::load(file)
        .unwrap_or_else(|error| panic!("{error}"))
        .check(user_name, password.as_bytes())
}

fn assert_accepted(file: &Path, users: &[(&str, &str)]) {
    for (user_name, password) in users {
        assert_eq!(
            check(file, user_name, password),
            Check::Accepted,
            "{user_name}"
        );
        assert_eq!(
            check(file, user_name, "another"),
            Check::WrongPassword,
            "{user_name}"
        );
    }
}

/// Exit code 0, and nothing said but the note about a new file of root's.
fn assert_done(run: Run) {
    let said = run
        .stderr
        .lines()
        .filter(|line| !line.contains("only root can read the new file"));
    assert_eq!((run.code, said.count()), (Some(0), 0), "{}", run.stderr);
}

fn assert_refused(run: Run, code: i32, expected: &str) {
    assert_eq!(run.stderr, format!("mqttfast passwd: {expected}\n"));
    assert_eq!(run.code, Some(code), "{expected}");
}

#[test]
fn the_vectors_are_accepted() {
    let folder = Folder::new();
    let file = folder.file("passwd", VECTORS);
    assert_accepted(&file, &[("alice", "secret"), ("old", "oldpw")]);
}

#[test]
fn users_are_added_changed_and_deleted() {
    let folder = Folder::new();
    let file = folder.path("passwd");
    assert_done(mqttfast(&folder, &["-c", "-b", "passwd", "alice", "one"]));
    assert_done(mqttfast(&folder, &["-b", "passwd", "bob", "two"]));
    assert_done(mqttfast(
        &folder,
        &["-b", "passwd", "Zoé Réfrigérateur", "naïf €"],
    ));
    assert_accepted(
        &file,
        &[
            ("alice", "one"),
            ("bob", "two"),
            ("Zoé Réfrigérateur", "naïf €"),
        ],
    );
    assert_done(mqttfast(&folder, &["-b", "passwd", "alice", "three"]));
    assert_accepted(&file, &[("alice", "three"), ("bob", "two")]);
    assert_done(mqttfast(&folder, &["-D", "passwd", "bob"]));
    assert_eq!(check(&file, "bob", "two"), Check::UnknownUser);
    assert_refused(
        mqttfast(&folder, &["-D", "passwd", "bob"]),
        1,
        "there is no user 'bob' in passwd; nothing was changed",
    );
    let run = mqttfast(&folder, &["-c", "-b", "passwd", "carol", "four"]);
    assert_eq!(
        run.stderr,
        "mqttfast passwd: note: -c has overwritten passwd with 2 user(s) in it\n"
    );
    assert_eq!(run.code, Some(0));
    assert_eq!(
        PasswordFile::load(&file).map(|file| file.len()).ok(),
        Some(1)
    );
}

#[test]
fn the_line_written_is_what_every_mosquitto_since_2_0_reads() {
    let folder = Folder::new();
    assert_done(mqttfast(&folder, &["-c", "-b", "passwd", "alice", "one"]));
    assert_done(mqttfast(
        &folder,
        &["-b", "-I", "7", "passwd", "bob", "two"],
    ));
    assert_done(mqttfast(
        &folder,
        &["-b", "-H", "sha512", "passwd", "old", "three"],
    ));
    let text = fs::read_to_string(folder.path("passwd")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("alice:$7$1000$")
            && lines[1].starts_with("bob:$7$7$")
            && lines[2].starts_with("old:$6$")
    );
    for line in lines {
        let fields: Vec<&str> = line.split('$').collect();
        let [.., salt, digest] = fields[..] else {
            panic!("{line}")
        };
        assert_eq!((salt.len(), digest.len()), (16, 88), "{line}");
    }
    assert_accepted(
        &folder.path("passwd"),
        &[("alice", "one"), ("bob", "two"), ("old", "three")],
    );
}

#[test]
fn a_password_may_look_like_a_flag() {
    let folder = Folder::new();
    for password in ["-x", "--help", "help", "-c", "--"] {
        assert_done(mqttfast(
            &folder,
            &["-c", "-b", "-I", "2", "passwd", "u", password],
        ));
        fs::rename(folder.path("passwd"), folder.path("done")).unwrap();
        assert_accepted(&folder.path("done"), &[("u", password)]);
    }
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let folder = Folder::new();
    folder.file("passwd", VECTORS);
    for (arguments, expected) in [
        (
            &["passwd"][..],
            "the user name is missing: mqttfast passwd FILE USER",
        ),
        (
            &["-b", "passwd"],
            "the user name is missing: mqttfast passwd FILE USER",
        ),
        (
            &["-b", "passwd", "u"],
            "-b wants the password too: mqttfast passwd -b FILE USER PASSWORD",
        ),
        (
            &["passwd", "u", "p"],
            "a password on the command line wants -b; leave it away to be asked for it",
        ),
        (
            &["-c", "-D", "passwd", "u"],
            "-c and -D cannot be used together; -D alone deletes a user",
        ),
        (
            &["-D", "passwd", "u", "p"],
            "-D takes no password: mqttfast passwd -D FILE USER",
        ),
        (
            &["-U", "passwd", "u"],
            "-U takes the file alone: mqttfast passwd -U FILE",
        ),
        (
            &["-U", "-c", "passwd"],
            "-U takes the file alone: mqttfast passwd -U FILE",
        ),
        (
            &["-H", "sha512", "-I", "5", "passwd", "u"],
            "-I counts the iterations of sha512-pbkdf2; leave it away, or take -H sha512-pbkdf2",
        ),
        (
            &["-b", "passwd", "u", "p", "q"],
            "'q' is one argument too many; put quotes around a name or password with blanks in it",
        ),
    ] {
        assert_refused(mqttfast(&folder, arguments), 2, expected);
    }
    for (arguments, expected) in [
        (
            ["-I", "0"],
            "'-I' '0': give a whole number from 1 to 500000",
        ),
        (
            ["-I", "500001"],
            "'-I' '500001': give a whole number from 1 to 500000",
        ),
        (
            ["-H", "bcrypt"],
            "'-H' 'bcrypt': this hash is not known; give sha512-pbkdf2, argon2id or sha512",
        ),
    ] {
        let run = mqttfast(&folder, &[arguments[0], arguments[1], "passwd", "u"]);
        assert_eq!(
            (run.stderr, run.code),
            (format!("mqttfast: {expected}\n"), Some(2))
        );
    }
    assert_eq!(fs::read_to_string(folder.path("passwd")).unwrap(), VECTORS);
}

#[test]
fn names_and_passwords_that_would_not_come_back_are_refused() {
    let folder = Folder::new();
    let long = "x".repeat(65_536);
    for (user_name, password, expected) in [
        ("", "p", "the user name is empty; give one"),
        (
            "a:b",
            "p",
            "a user name must not contain ':', which ends it in the file; choose another",
        ),
        (
            "a\nb",
            "p",
            "a user name must not contain control characters; choose another",
        ),
        (
            "a\u{85}b",
            "p",
            "a user name must not contain control characters; choose another",
        ),
        (
            "#a",
            "p",
            "a user name must not start with '#', which makes a line a comment; choose another",
        ),
        (
            " a",
            "p",
            "a user name must not start or end with a blank; choose another",
        ),
        (
            "a ",
            "p",
            "a user name must not start or end with a blank; choose another",
        ),
        (
            &long,
            "p",
            "the user name is longer than the 65535 bytes MQTT allows; choose a shorter one",
        ),
        (
            "u",
            "",
            "the password is empty; give at least one character",
        ),
        (
            "u",
            &long,
            "the password is longer than the 65535 bytes MQTT allows; choose a shorter one",
        ),
    ] {
        assert_refused(
            mqttfast(&folder, &["-c", "-b", "passwd", user_name, password]),
            1,
            expected,
        );
    }
    assert!(!folder.path("passwd").exists());
}

#[test]
fn the_password_is_asked_twice_and_read_from_a_pipe() {
    let folder = Folder::new();
    let ask = |input: &str| mqttfast_with_input(&folder, &["-c", "passwd", "u"], input);
    let run = ask("secret\nsecret\n");
    assert_eq!(run.stdout, "Password: \nReenter password: \n");
    assert_done(run);
    assert_accepted(&folder.path("passwd"), &[("u", "secret")]);
    // Line ends of another system, and none at the end.
    ask("two\r\ntwo");
    assert_accepted(&folder.path("passwd"), &[("u", "two")]);
    let before = fs::read(folder.path("passwd")).unwrap();
    assert_refused(
        ask("a\nb\n"),
        2,
        "the passwords do not match; nothing was changed, try again",
    );
    assert_refused(
        ask("a\n"),
        2,
        "the passwords do not match; nothing was changed, try again",
    );
    for input in ["", "\n", "\n\n"] {
        assert_refused(
            ask(input),
            1,
            "the password is empty; type at least one character",
        );
    }
    let long = "x".repeat(65_536);
    assert_refused(
        ask(&format!("{long}\n{long}\n")),
        1,
        "the password is longer than the 65535 bytes MQTT allows; choose a shorter one",
    );
    assert_eq!(fs::read(folder.path("passwd")).unwrap(), before);
}

#[test]
fn plain_text_is_hashed_once() {
    let folder = Folder::new();
    let text = format!("# our users\r\n\n bob : s3cr et \r\ncarol:$7\u{20ac}\n{VECTORS}#end");
    folder.file("odd", &text);
    let run = mqttfast(&folder, &["-U", "odd"]);
    let expected = "password file odd, line 4: the password starts with $ but is none of $6$, $7$ and $argon2id$; set it again with: mqttfast passwd odd USER";
    assert_refused(run, 1, expected);
    assert_eq!(fs::read_to_string(folder.path("odd")).unwrap(), text);

    let file = folder.file("passwd", &text.replace("carol:$7", "carol:7"));
    assert_done(mqttfast(&folder, &["-U", "passwd"]));
    assert_accepted(
        &file,
        &[
            ("bob", "s3cr et"),
            ("carol", "7€"),
            ("alice", "secret"),
            ("old", "oldpw"),
        ],
    );
    let once = fs::read_to_string(&file).unwrap();
    assert!(
        once.starts_with("# our users\r\n\n bob :$7$1000$")
            && once.ends_with(&format!("{VECTORS}#end"))
    );
    let inode = fs::metadata(&file).unwrap().ino();
    assert_done(mqttfast(&folder, &["-U", "passwd"]));
    assert_eq!(fs::read_to_string(&file).unwrap(), once);
    assert_eq!(
        fs::metadata(&file).unwrap().ino(),
        inode,
        "written though nothing changed"
    );

    folder.file("colon", "bob:a:b\n");
    assert_refused(
        mqttfast(&folder, &["-U", "colon"]),
        1,
        "password file colon, line 1: the plain password has a ':' in it, where Mosquitto would cut it; nothing was changed, delete the line and set the password with: mqttfast passwd colon USER",
    );
    folder.file("bad", "bob:secret\nalice\n");
    assert_refused(
        mqttfast(&folder, &["-U", "bad"]),
        1,
        "password file bad, line 2: there is no ':' between user name and password; delete the line, or start it with # if it is a comment",
    );
}

#[test]
fn other_lines_stay_as_they_are_and_what_the_broker_will_not_take_is_said() {
    let folder = Folder::new();
    let file = folder.file(
        "passwd",
        "# c\n\nbroken line\nbob:$7$x\nbob:again\neve:$argon2id$v=19$x\n dan : p",
    );
    let run = mqttfast(&folder, &["-b", "passwd", "bob", "new"]);
    assert_eq!(run.code, Some(0));
    assert_eq!(
        run.stderr,
        "mqttfast passwd: warning: done, but the broker will say: password file passwd:3 skipped: there is no ':' between user name and password; delete the line, or start it with # if it is a comment\n\
         mqttfast passwd: warning: done, but the broker will say: password file passwd:5 skipped, user 'eve': this is no $argon2id$v=19$m=KIB,t=PASSES,p=LANES$salt$tag; set the password again with: mqttfast passwd passwd USER\n\
         mqttfast passwd: warning: done, but the broker will say: password file passwd:6 skipped, user 'dan': the password is plain text; hash the whole file with: mqttfast passwd -U passwd\n"
    );
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.split('\n').collect();
    assert_eq!(
        [lines[0], lines[1], lines[2], lines[4], lines[5]],
        ["# c", "", "broken line", "eve:$argon2id$v=19$x", " dan : p"]
    );
    assert!(lines[3].starts_with("bob:$7$1000$") && lines.len() == 6);
    mqttfast(&folder, &["-b", "passwd", "new", "p"]);
    let appended = fs::read_to_string(&file).unwrap();
    assert!(appended.starts_with(&format!("{text}\nnew:$7$")) && appended.ends_with("==\n"));
}

/// `$7$` unless Argon2 is asked for, whose lines Mosquitto reads from 2.1 on; all three kinds side by side let in.
#[test]
fn argon2_is_written_where_it_is_asked_for() {
    let folder = Folder::new();
    let file = folder.path("passwd");
    assert_done(mqttfast(&folder, &["-c", "-b", "passwd", "plain", "one"]));
    assert_done(mqttfast(
        &folder,
        &["--argon2", "-b", "passwd", "hard", "two"],
    ));
    assert_done(mqttfast(
        &folder,
        &["-H", "argon2id", "-b", "passwd", "same", "three"],
    ));
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("plain:$7$1000$"), "{text}");
    for (line, user_name) in lines[1..].iter().zip(["hard", "same"]) {
        let start = format!("{user_name}:$argon2id$v=19$m=47104,t=1,p=1$");
        assert!(line.starts_with(&start) && !line.ends_with('='), "{line}");
    }
    assert_accepted(
        &file,
        &[("plain", "one"), ("hard", "two"), ("same", "three")],
    );
    assert_refused(
        mqttfast(
            &folder,
            &["--argon2", "-H", "sha512", "-b", "passwd", "u", "p"],
        ),
        2,
        "--argon2 and -H: give one of the two",
    );
    assert_refused(
        mqttfast(&folder, &["--argon2", "-I", "5", "-b", "passwd", "u", "p"]),
        2,
        "-I counts the iterations of sha512-pbkdf2; leave it away, or take -H sha512-pbkdf2",
    );
}

/// The exit code says it, and nothing of the password is ever shown.
#[test]
fn a_password_is_held_against_its_line() {
    let folder = Folder::new();
    let file = folder.file("passwd", VECTORS);
    let before = fs::read(&file).unwrap();
    let verify = |user: &str, password: &str| {
        let given = mqttfast(&folder, &["--verify", "-b", "passwd", user, password]);
        let typed = format!("{password}\n");
        let asked = mqttfast_with_input(&folder, &["--verify", "passwd", user], &typed);
        assert_eq!(given.code, asked.code);
        assert_eq!(given.stderr, asked.stderr);
        for shown in [&given.stdout, &given.stderr, &asked.stdout, &asked.stderr] {
            assert!(
                !shown.contains(password) && !shown.contains("$7$"),
                "{shown}"
            );
        }
        (given.code.unwrap(), given.stderr)
    };
    assert_eq!(verify("alice", "secret"), (0, String::new()));
    assert_eq!(verify("old", "oldpw"), (0, String::new()));
    let wrong = "mqttfast passwd: it is not the password of user 'alice'\n";
    assert_eq!(verify("alice", "oldpw"), (1, wrong.to_owned()));
    let unknown = "mqttfast passwd: no line of passwd lets in user 'carol'\n";
    assert_eq!(verify("carol", "secret"), (1, unknown.to_owned()));
    assert_eq!(fs::read(&file).unwrap(), before);
    let missing = mqttfast(&folder, &["--verify", "-b", "none", "alice", "secret"]);
    assert_eq!(missing.code, Some(13), "{}", missing.stderr);
    for more in [&["-c"][..], &["-D"], &["-U"], &["--argon2"], &["-I", "9"]] {
        let arguments = [&["--verify"], more, &["passwd", "alice"]].concat();
        assert_eq!(mqttfast(&folder, &arguments).code, Some(2), "{more:?}");
    }
}

#[test]
fn owner_group_and_mode_stay_and_a_new_file_is_for_its_owner() {
    let folder = Folder::new();
    let file = folder.path("passwd");
    assert_done(mqttfast(&folder, &["-c", "-b", "passwd", "u", "p"]));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    for (mode, create) in [(0o640, false), (0o664, true), (0o600, false)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&file, Some(nobody()), Some(nobody())).unwrap();
        }
        let before = fs::metadata(&file).unwrap();
        let arguments = if create {
            ["-c", "-b", "passwd", "u", "q"]
        } else {
            ["-b", "-I", "9", "passwd", "u"]
        };
        let arguments: Vec<&str> = arguments
            .into_iter()
            .chain((!create).then_some("q"))
            .collect();
        assert_eq!(mqttfast(&folder, &arguments).code, Some(0));
        let after = fs::metadata(&file).unwrap();
        assert_eq!(
            (after.mode(), after.uid(), after.gid()),
            (before.mode(), before.uid(), before.gid())
        );
        assert_ne!(
            after.ino(),
            before.ino(),
            "written in place, where a reader sees a part"
        );
        assert_accepted(&file, &[("u", "q")]);
    }
}

#[test]
fn a_link_stays_a_link_and_its_target_changes() {
    let folder = Folder::new();
    fs::create_dir(folder.path("real")).unwrap();
    symlink("real/passwd", folder.path("inner")).unwrap();
    symlink(folder.path("inner"), folder.path("outer")).unwrap();
    // The second time there is a file behind the links.
    for password in ["one", "two"] {
        mqttfast(&folder, &["-c", "-b", "outer", "u", password]);
        assert_accepted(&folder.path("real/passwd"), &[("u", password)]);
        assert!(folder.path("outer").is_symlink() && folder.path("inner").is_symlink());
    }
    assert_eq!(
        fs::read_dir(folder.path("real")).unwrap().count(),
        1,
        "something was left behind"
    );
    symlink("round", folder.path("round")).unwrap();
    assert_eq!(
        mqttfast(&folder, &["-c", "-b", "round", "u", "p"]).code,
        Some(1)
    );
}

#[test]
fn parallel_runs_lose_no_update() {
    let folder = Folder::new();
    let file = folder.file("passwd", VECTORS);
    std::thread::scope(|scope| {
        for run in 0..20 {
            let folder = &folder;
            scope.spawn(move || {
                let user_name = format!("user{run}");
                assert_done(mqttfast(
                    folder,
                    &["-b", "-I", "5", "passwd", &user_name, &user_name],
                ));
            });
        }
    });
    let users = PasswordFile::load(&file).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(users.len(), 22);
    for run in 0..20 {
        let user_name = format!("user{run}");
        assert_eq!(
            users.check(&user_name, user_name.as_bytes()),
            Check::Accepted
        );
    }
    assert_eq!(
        fs::read_dir(folder.path(".")).unwrap().count(),
        1,
        "something was left behind"
    );
}

#[test]
fn what_a_killed_run_left_behind_is_no_obstacle() {
    let folder = Folder::new();
    folder.file(".mqttfast-passwd.new", "half a li");
    assert_done(mqttfast(&folder, &["-c", "-b", "passwd", "u", "p"]));
    assert!(!folder.path(".mqttfast-passwd.new").exists());
    assert_accepted(&folder.path("passwd"), &[("u", "p")]);
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = Folder::new();
    fs::create_dir(folder.path("passwd")).unwrap();
    let no_file = "password file passwd is not a regular file; give the path of a file made with mqttfast passwd";
    assert_refused(
        mqttfast(&folder, &["-c", "-b", "passwd", "u", "p"]),
        1,
        no_file,
    );
    assert_refused(mqttfast(&folder, &["-D", "passwd", "u"]), 1, no_file);
    assert_refused(
        mqttfast(&folder, &["-c", "-b", "none/passwd", "u", "p"]),
        1,
        "password file none/passwd does not exist: there is no directory none; check the path",
    );
    let pipe = folder.path("pipe");
    nix::unistd::mkfifo(
        &pipe,
        nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR,
    )
    .unwrap();
    assert_eq!(mqttfast(&folder, &["-b", "pipe", "u", "p"]).code, Some(1));
}

#[test]
fn a_missing_file_is_told_before_the_question_with_the_one_beside_it() {
    let folder = Folder::new();
    folder.file("passwd", VECTORS);
    let run = mqttfast_with_input(&folder, &["passwordfile", "u"], "p\np\n");
    assert_eq!(run.stdout, "");
    assert_refused(
        run,
        1,
        "password file passwordfile does not exist; did you mean passwd?",
    );
    assert_refused(
        mqttfast(&folder, &["-b", "users.txt", "u", "p"]),
        1,
        "password file users.txt does not exist; make it with: mqttfast passwd -c users.txt USER",
    );
}

/// What the broker says at start about a file it cannot use.
#[test]
fn the_broker_refuses_a_file_it_cannot_read_in_one_sentence() {
    let folder = Folder::new();
    let passwd = folder.file("passwd", VECTORS);
    fs::create_dir(folder.path("folder")).unwrap();
    let beside = passwd.parent().unwrap().display();
    for (name, expected) in [
        (
            "passwordfile",
            format!("does not exist; did you mean {beside}/passwd?"),
        ),
        (
            "nothing",
            format!("does not exist; make it with: mqttfast passwd -c {beside}/nothing USER"),
        ),
        ("folder", "is not a regular file".into()),
    ] {
        let path = folder.path(name);
        let arguments = ["--port", "0", "--passwd", path.to_str().unwrap()];
        let run = Run::broker(&folder, &arguments);
        let said = &run.stderr;
        assert!(
            said.contains(&format!("password file {}", path.display())),
            "{said}"
        );
        assert!(said.contains(&expected), "{said}");
        assert_eq!(run.code, Some(1));
        assert!(
            !said.contains("panicked") && !said.contains("backtrace"),
            "{said}"
        );
    }
}

/// As another user: neither file nor directory may be read.
#[test]
fn who_may_not_read_or_write_is_told_the_remedy() {
    let folder = Folder::new();
    let path = folder.file("passwd", VECTORS);
    let broker = ["--port", "0", "--passwd", path.to_str().unwrap()];
    if !is_root() {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        let run = Run::broker(&folder, &broker);
        assert_eq!(run.code, Some(1));
        assert!(
            run.stderr
                .contains(&format!("; run: chmod u+r {}", path.display())),
            "{}",
            run.stderr
        );
        return;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let run = Run::broker_as_nobody(&folder, &broker);
    assert_eq!(run.code, Some(1));
    let expected = format!(
        "{} cannot be read: it belongs to root:root with mode 0600, and this runs as ",
        path.display()
    );
    assert!(run.stderr.contains(&expected), "{}", run.stderr);
    assert!(
        run.stderr.contains("; run: sudo chown ")
            && run.stderr.contains(&format!("(uid {})", nobody())),
        "{}",
        run.stderr
    );

    let run = Run::broker_as_nobody(
        &folder,
        &["passwd", "-c", "-b", path.to_str().unwrap(), "u", "p"],
    );
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), VECTORS);

    fs::create_dir(folder.path("closed")).unwrap();
    let inner = folder.file("closed/passwd", VECTORS);
    fs::set_permissions(folder.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let run = Run::broker_as_nobody(
        &folder,
        &["--port", "0", "--passwd", inner.to_str().unwrap()],
    );
    let closed = folder.path("closed");
    let expected = format!(
        "directory {} belongs to root:root with mode 0700",
        closed.display()
    );
    assert!(run.stderr.contains(&expected), "{}", run.stderr);
    assert!(
        run.stderr
            .contains(&format!("; run: sudo chmod o+x {}", closed.display())),
        "{}",
        run.stderr
    );
}

#[test]
fn a_terminal_shows_nothing_of_the_password() {
    let folder = Folder::new();
    let mut terminal = folder.terminal(&["-c", "passwd", "u"]);
    terminal.expect("Password: ");
    assert!(!terminal.echoes());
    terminal.type_in("secret\n");
    terminal.expect("Reenter password: ");
    terminal.type_in("secret\n");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
    assert_accepted(&folder.path("passwd"), &[("u", "secret")]);
}

#[test]
fn an_interrupted_question_leaves_the_terminal_as_it_was() {
    let folder = Folder::new();
    let mut terminal = folder.terminal(&["-c", "passwd", "u"]);
    terminal.expect("Password: ");
    terminal.interrupt();
    let echoes_again = terminal.echoes_after_end();
    let (code, shown) = terminal.end();
    assert_eq!(code, None, "{shown}");
    assert!(echoes_again, "{shown}");
    assert!(!folder.path("passwd").exists());
}

#[test]
fn files_of_mosquitto_passwd_are_read_and_changed_by_turns() {
    let folder = Folder::new();
    let file = folder.path("passwd");
    mosquitto_passwd(&folder, &["-c", "-b", "passwd", "alice", "one"]);
    mosquitto_passwd(&folder, &["-H", "sha512", "-b", "passwd", "old", "two"]);
    assert_accepted(&file, &[("alice", "one"), ("old", "two")]);
    assert_done(mqttfast(&folder, &["-b", "passwd", "bob", "three"]));
    assert_done(mqttfast(&folder, &["-b", "passwd", "alice", "four"]));
    mosquitto_passwd(&folder, &["-b", "passwd", "bob", "five"]);
    mosquitto_passwd(&folder, &["-D", "passwd", "old"]);
    assert_accepted(&file, &[("alice", "four"), ("bob", "five")]);
    assert_eq!(check(&file, "old", "two"), Check::UnknownUser);
    fs::write(folder.path("plain"), "carol:six\n").unwrap();
    mosquitto_passwd(&folder, &["-U", "plain"]);
    assert_accepted(&folder.path("plain"), &[("carol", "six")]);
}

#[test]
fn mosquitto_reads_what_we_write() {
    let folder = Folder::new();
    assert_done(mqttfast(&folder, &["-c", "-b", "passwd", "alice", "one"]));
    assert_done(mqttfast(
        &folder,
        &["-b", "-I", "1", "passwd", "bob", "two"],
    ));
    assert_done(mqttfast(
        &folder,
        &["-b", "-H", "sha512", "passwd", "old", "three"],
    ));
    fs::write(folder.path("more"), "carol:fo ur\n").unwrap();
    assert_done(mqttfast(&folder, &["-U", "more"]));
    let both = fs::read_to_string(folder.path("passwd")).unwrap()
        + &fs::read_to_string(folder.path("more")).unwrap();
    let file = folder.file("both", &both);
    let mosquitto = Mosquitto::start(&folder, &file);
    for (user_name, password) in [
        ("alice", "one"),
        ("bob", "two"),
        ("old", "three"),
        ("carol", "fo ur"),
    ] {
        assert_eq!(mosquitto.connack(user_name, password), 0, "{user_name}");
        assert_eq!(mosquitto.connack(user_name, "another"), 5, "{user_name}");
        assert_eq!(
            check(&file, user_name, password),
            Check::Accepted,
            "{user_name}"
        );
    }
}
