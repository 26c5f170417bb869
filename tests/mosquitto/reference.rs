//! Debian's Mosquitto, started on a configuration until it runs or ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What runs so long without a word has started.
const SILENCE: Duration = Duration::from_millis(1500);

/// A folder with the files that `lines.txt` names, gone at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mqttfast-test-mosquitto-{}-{count}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(name));
        // An earlier process of the same number may have left its own.
        let _ = fs::remove_dir_all(&folder.0);
        for path in ["empty.d", "two.d", "loop.d", "port.d", ".hid.d", "certs"] {
            fs::create_dir_all(folder.0.join(path)).unwrap();
        }
        let looped = format!("include_dir {}\n", folder.path("/loop.d"));
        for (name, text) in [
            (
                "passwd",
                "ann:$7$101$dJRVb0YElmDAtSWM$LGtgXLEgC1nJ/xzVh3QQNF4LzoAYc79t3AZ6WktAyZeu9eyDX10vVhkkMqwFwuYAdL+hQg/pZ6ah35YIfE5Xbg==\n",
            ),
            ("acl", ""),
            ("two.d/1.conf", "allow_anonymous false\n"),
            ("two.d/2.conf", "max_qos 1\n"),
            ("two.d/3.CONF", "nonsense\n"),
            ("loop.d/1.conf", looped.as_str()),
            ("port.d/1.conf", "listener 1885\n"),
            (".hid.d/.x.conf", "listener 1885\n"),
        ] {
            fs::write(folder.0.join(name), text).unwrap();
        }
        // Mosquitto becomes another user before it opens some of them.
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o777)).unwrap();
        certificate(&folder.0.join("certs"));
        folder
    }

    /// `""` is the folder itself.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.0.display())
    }

    /// Writes the configuration, `@` replaced.
    pub fn configuration(&self, text: &[u8]) -> PathBuf {
        let mut bytes = Vec::new();
        for (index, part) in text.split(|&byte| byte == b'@').enumerate() {
            // `root@host` stays.
            let is_path = part.starts_with(b"/");
            if index > 0 {
                bytes
                    .extend_from_slice(if is_path { self.path("") } else { "@".into() }.as_bytes());
            }
            bytes.extend_from_slice(part);
        }
        let path = self.0.join("mosquitto.conf");
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Files that OpenSSL takes, where there is one; else files that are merely there.
fn certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-keyout",
            "server.key",
            "-out",
            "server.crt",
        ])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        fs::write(folder.join("server.crt"), "").unwrap();
        fs::write(folder.join("server.key"), "").unwrap();
    }
    fs::set_permissions(folder.join("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::copy(folder.join("server.crt"), folder.join("ca.crt")).unwrap();
}

pub struct Outcome {
    /// `runs`, an exit code, or `-` and a signal's number.
    pub exit: String,
    pub said: String,
}

/// Starts Mosquitto in a network of its own; `None` where this is not allowed.
pub fn run(configuration: &Path) -> Option<Outcome> {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    let alone = || {
        Command::new("unshare")
            .args(["-n", "ip", "link", "set", "lo", "up"])
            .status()
    };
    if !ALLOWED.get_or_init(|| alone().is_ok_and(|status| status.success())) {
        return None;
    }
    let script = "ip link set lo up; PATH=$PATH:/usr/sbin; exec mosquitto -c \"$0\"";
    let folder = configuration.parent().unwrap();
    let log = folder.join("stderr");
    let mut child = Command::new("unshare")
        .args(["-n", "sh", "-c", script])
        .arg(configuration)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let exit = wait(&mut child, &log);
    let said = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    assert!(
        !said.contains("not found"),
        "mosquitto is not installed: tests/setup installs it"
    );
    Some(Outcome { exit, said })
}

fn wait(child: &mut Child, log: &Path) -> String {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return match (status.code(), status.signal()) {
                (Some(code), _) => code.to_string(),
                (None, signal) => format!("-{}", signal.unwrap_or(0)),
            };
        }
        let runs = fs::read(log).is_ok_and(|said| said.windows(8).any(|word| word == b" running"));
        if runs || start.elapsed() > SILENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            return "runs".to_owned();
        }
        sleep(Duration::from_millis(5));
    }
}
