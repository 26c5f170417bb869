//! `mqttfast top` on terminals of tmux, and in a pipe.

use mqttfast_rig::process::{Broker, Client, Folder, Options};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A tmux server of a test's own.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .args(["-f", "/dev/null"])
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "xterm")
            .output()
            .expect("tmux; tests/setup installs it");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    /// The picture, when it has all of these words.
    #[track_caller]
    fn shows(&self, words: &[&str]) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let (_, picture) = self.run(&["capture-pane", "-p", "-t", "top"]);
            if words.iter().all(|word| picture.contains(word)) {
                return picture;
            }
            assert!(Instant::now() < end, "no {words:?} in:\n{picture}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

#[test]
fn top_is_shown_on_terminals_and_in_a_pipe() {
    let folder = Folder::new();
    let control = folder.path("control");
    let broker = Broker::start_with(Options {
        arguments: vec!["--control".to_owned(), control.display().to_string()],
        ..Options::default()
    });
    let evil = "evil\u{1b}[2J\u{1b}[?25h";
    let mut clients: Vec<Client> = (0..50)
        .map(|n| Client::connect(&broker, &format!("c{n:02}")))
        .collect();
    clients.push(Client::connect(&broker, evil));
    let program = env!("CARGO_BIN_EXE_mqttfast");
    let top = format!(
        "{program} top --control {}; echo ended $?; sleep 60",
        control.display()
    );
    for (width, height) in [(80, 24), (120, 40)] {
        let terminal = Terminal {
            socket: folder.path(&format!("tmux-{width}")),
        };
        let (width_text, height_text) = (width.to_string(), height.to_string());
        let start = [
            "new-session",
            "-d",
            "-s",
            "top",
            "-x",
            &width_text,
            "-y",
            &height_text,
            &top,
        ];
        assert!(terminal.run(&start).0, "tmux did not start");
        let picture = terminal.shows(&["51 connections", "CLIENT", "q quit", "c00"]);
        let lines: Vec<&str> = picture.trim_end_matches('\n').split('\n').collect();
        assert_eq!(lines.len(), height, "{picture}");
        assert!(
            lines.iter().all(|line| line.chars().count() <= width),
            "{picture}"
        );
        assert!(lines[height - 1].contains("q quit"), "{picture}");
        // Whoever sends comes first, within two seconds; a name does nothing to the terminal.
        clients[50].publish("x", &[b'x'; 3_000], 1, false);
        let started = Instant::now();
        terminal.shows(&["evil\\u{1b}[2J"]);
        assert!(started.elapsed() < Duration::from_secs(5));
        terminal.run(&["send-keys", "-t", "top", "n"]);
        terminal.run(&["send-keys", "-t", "top", "p"]);
        terminal.shows(&["paused"]);
        terminal.run(&["send-keys", "-t", "top", "q"]);
        let picture = terminal.shows(&["ended 0"]);
        // The terminal is as it was before.
        assert!(!picture.contains("CLIENT"), "{picture}");
    }
    let output = Command::new(program)
        .args(["top", "--control"])
        .arg(&control)
        .output()
        .expect("mqttfast was not started");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success());
    assert!(
        text.contains("51 connections") && text.contains("c49"),
        "{text}"
    );
    assert!(
        !text.contains('\u{1b}') && !text.contains("q quit"),
        "{text}"
    );
}
