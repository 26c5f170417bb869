//! Debian's headless Chromium, driven over the two pipes of its DevTools protocol: one JSON object for each command,
//! answer and event, a NUL behind each.

use mqttfast_rig::process::{DEADLINE, Folder, tool};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A browser with one page.
pub struct Browser {
    child: Child,
    input: ChildStdin,
    lines: Receiver<Value>,
    session: Option<String>,
    commands: u64,
    /// Events so far, each with `method` and `params`.
    events: Vec<Value>,
    _profile: Folder,
}

/// A size of a window, in CSS pixels.
pub type Size = (u32, u32);
pub const DESKTOP: Size = (1280, 800);
pub const PHONE: Size = (390, 844);

/// Runs before any script of a page: notes how long the page's own steps take, as it measures them.
const WATCH: &str =
    "window.steps = []; new PerformanceObserver((list) => { for (const entry of list.getEntries())
    steps.push([entry.name, entry.duration]); }).observe({ entryTypes: ['measure'] });";

impl Browser {
    /// Starts it with an empty page that asks for English.
    pub fn start() -> Browser {
        let profile = Folder::new();
        let names = ["chromium", "chromium-browser", "google-chrome"];
        // The browser reads commands from descriptor 3, and writes to 4.
        let script = "for name in \"$@\"; do
            if command -v \"$name\" >/dev/null; then
                exec \"$name\" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \\
                    --disable-extensions --disable-background-networking --disable-component-update --hide-scrollbars \\
                    --remote-debugging-pipe --user-data-dir=\"$PROFILE\" about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1
            fi
        done";
        let mut child = Command::new("sh")
            .args(["-c", script, "sh"])
            .args(names)
            .env("PATH", tool::path())
            .env("PROFILE", &profile.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let input = child.stdin.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            while reader.read_until(0, &mut line).unwrap_or(0) > 0 {
                let line = std::mem::take(&mut line);
                let text = line.strip_suffix(&[0]).unwrap_or(&line);
                let Ok(value) = serde_json::from_slice(text) else {
                    return;
                };
                if tell.send(value).is_err() {
                    return;
                }
            }
        });
        let mut browser = Browser {
            child,
            input,
            lines,
            session: None,
            commands: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": WATCH }),
        );
        browser.languages("en");
        browser
    }

    /// One command. Panics with the browser's word for it if it does not work.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.commands += 1;
        let mut command = json!({ "id": self.commands, "method": method, "params": params });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.input
            .write_all(&bytes)
            .expect("no Chromium takes commands: tests/setup installs it");
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| {
                panic!("no answer of Chromium to {method}: tests/setup installs it")
            });
            if line["id"] == self.commands {
                assert!(line["error"].is_null(), "{method}: {}", line["error"]);
                return line["result"].clone();
            }
            self.events.push(line);
        }
    }

    /// What the browser says it wants: `Accept-Language`.
    pub fn languages(&mut self, accept: &str) {
        let headers = json!({ "Accept-Language": accept });
        self.call("Network.setExtraHTTPHeaders", json!({ "headers": headers }));
    }

    /// The page's window gets this size.
    pub fn resize(&mut self, (width, height): Size) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Loads a page, and waits until it is there.
    pub fn open(&mut self, url: &str) {
        let found = self.call("Page.navigate", json!({ "url": url }));
        assert!(found["errorText"].is_null(), "{url}: {found}");
        self.until("the page is loaded", "document.readyState === 'complete'");
    }

    /// The value of an expression in the page; of a promise, what becomes of it.
    pub fn get(&mut self, expression: &str) -> Value {
        let found = self.call(
            "Runtime.evaluate",
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true }),
        );
        let fault = &found["exceptionDetails"];
        assert!(fault.is_null(), "{expression}: {fault}");
        found["result"]["value"].clone()
    }

    /// Waits until the expression is true, and says how long that took.
    pub fn until(&mut self, what: &str, expression: &str) -> Duration {
        let start = Instant::now();
        while self.get(&format!("Boolean({expression})")) != true {
            if start.elapsed() > DEADLINE {
                let text = self.get("document.body.innerText");
                panic!("not so after {DEADLINE:?}: {what}. The page has: {text}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        start.elapsed()
    }

    /// Waits until the page shows this text.
    pub fn shows(&mut self, text: &str) -> Duration {
        let expression = format!("document.body.innerText.includes({})", json!(text));
        self.until(text, &expression)
    }

    /// Presses a key.
    pub fn key(&mut self, key: &str) {
        for kind in ["rawKeyDown", "keyUp"] {
            let code = match key {
                "ArrowDown" => 40,
                "ArrowRight" => 39,
                "ArrowLeft" => 37,
                "Enter" => 13,
                "Tab" => 9,
                _ => 0,
            };
            self.call(
                "Input.dispatchKeyEvent",
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code }),
            );
        }
    }

    /// What went wrong in the page so far: its console, exceptions, what the browser itself objected to.
    pub fn faults(&mut self) -> Vec<String> {
        self.get("0");
        let faults = self.events.iter().filter(|event| {
            let params = &event["params"];
            match event["method"].as_str() {
                Some("Runtime.exceptionThrown" | "Audits.issueAdded") => true,
                Some("Runtime.consoleAPICalled") => params["type"] == "error",
                Some("Log.entryAdded") => params["entry"]["level"] == "error",
                _ => false,
            }
        });
        let faults = faults.map(|event| event.to_string());
        // On a machine that is busy the broker may say that it is, and the page asks again.
        faults
            .filter(|fault| !fault.contains("status of 503"))
            .collect()
    }

    /// The addresses that pages have asked for so far.
    pub fn requests(&mut self) -> Vec<String> {
        self.get("0");
        let asked = self
            .events
            .iter()
            .filter_map(|event| match event["method"].as_str() {
                Some("Network.requestWillBeSent") => event["params"]["request"]["url"].as_str(),
                Some("Network.webSocketCreated") => event["params"]["url"].as_str(),
                _ => None,
            });
        asked.map(str::to_owned).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        let line = b"{\"id\":0,\"method\":\"Browser.close\"}\0";
        let _ = self.input.write_all(line);
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
