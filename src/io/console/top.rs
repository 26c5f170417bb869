//! `mqttfast top`: a running broker on a terminal, once a second; in a pipe one picture, and the end.
//!
//! [`View`] is pure: what the broker says goes in by [`View::take`], lines of the terminal's size come out of
//! [`View::lines`]. The rest is the terminal: raw while it is shown, and as it was when it ends.

use super::client::queue;
use super::shown::{self, list, number, size, text};
use super::status::{bridge, dropped};
use super::{Broker, Failure, print};
use crate::io::words::units::{bytes, count, span};
use argh::FromArgs;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is asked.
const EACH: Duration = Duration::from_secs(1);
/// Asking takes no more than this part of the time.
const PART: u32 = 10;
/// Bridges above the table.
const BRIDGES_SHOWN: usize = 3;

/// Watch a running broker: who sends most, what waits, who holds the memory, what is dropped. q ends it. In a pipe it
/// prints one picture.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "top", help_triggers("-h", "--help"))]
pub struct Top {
    /// control socket of the broker, where it is not in its usual place
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

impl Top {
    pub(super) fn run(&self) -> Result<u8, Failure> {
        let mut broker = Broker::find(self.control.as_deref())?;
        broker.streams = true;
        let mut view = View::default();
        if !stdout().is_terminal() || !stdin().is_terminal() {
            sample(&mut broker, &mut view)?;
            thread::sleep(EACH);
            sample(&mut broker, &mut view)?;
            let lines = view.lines(usize::MAX, usize::MAX, false);
            return print(&(lines.join("\n") + "\n")).map(|()| 0);
        }
        let screen = Screen::begin()?;
        let ended = watch(&mut broker, &mut view);
        drop(screen);
        ended.map(|()| 0)
    }
}

/// Asks for everything that is shown.
fn sample(broker: &mut Broker, view: &mut View) -> Result<(), Failure> {
    let status = broker.ask_one(&json!({ "ask": "status" }))?;
    let clients = broker.ask_all(&json!({ "ask": "clients" }))?;
    // A broker of an earlier version knows no topics.
    let topics = broker.ask_all(&json!({ "ask": "topics" }));
    let topics = topics.unwrap_or_default();
    view.take(status, &clients, &topics, Instant::now());
    Ok(())
}

/// Until somebody ends it.
fn watch(broker: &mut Broker, view: &mut View) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("the terminal: {error}"));
    loop {
        let started = Instant::now();
        if !view.paused {
            sample(broker, view)?;
        }
        let until = started + EACH.max(started.elapsed() * PART);
        loop {
            draw(view)?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !event::poll(left).map_err(failed)? {
                break;
            }
            match event::read().map_err(failed)? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    let control = key.modifiers.contains(KeyModifiers::CONTROL);
                    if !view.press(key.code, control) {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }
}

fn draw(view: &mut View) -> Result<(), Failure> {
    let (width, height) = terminal::size().unwrap_or((80, 24));
    let lines = view.lines(width.into(), height.into(), shown::colours());
    // Over what is there, line by line, so that nothing flickers.
    let picture = lines.join("\x1b[K\r\n");
    print(&format!("\x1b[H{picture}\x1b[K\x1b[J"))
}

/// The terminal while it is ours.
struct Screen;

impl Screen {
    fn begin() -> Result<Screen, Failure> {
        terminal::enable_raw_mode()
            .map_err(|error| Failure::new(format!("the terminal: {error}")))?;
        let screen = Screen;
        // Another screen, no cursor, and no line goes on in the next.
        print("\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J")?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = print("\x1b[?7h\x1b[?25h\x1b[?1049l");
        let _ = terminal::disable_raw_mode();
    }
}

/// What the rows are sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum By {
    #[default]
    In,
    Out,
    Queue,
    Name,
}

/// One connected Client.
#[derive(Clone, Default, Debug)]
struct Row {
    client: String,
    user: String,
    address: String,
    /// Bytes a second.
    received: u64,
    sent: u64,
    /// As it is shown.
    queue: String,
    queued_bytes: u64,
}

/// A topic that Clients publish to; `name` is empty for all that have no row of their own.
#[derive(Clone, Default, Debug)]
struct Busy {
    name: String,
    /// Messages, and bytes of their payloads, a second.
    messages: f64,
    bytes: u64,
}

impl Busy {
    /// Of a line of the control socket. `None`: nothing was counted yet.
    fn of(line: &Value) -> Option<Busy> {
        let seconds = number(line, "over_ms") as f64 / 1_000.0;
        let messages = number(line, "messages");
        if seconds <= 0.0 || messages == 0 {
            return None;
        }
        Some(Busy {
            name: line["topic"]
                .as_str()
                .map_or_else(String::new, shown::whole),
            messages: messages as f64 / seconds,
            bytes: (number(line, "payload_bytes") as f64 / seconds).round() as u64,
        })
    }

    /// Fewer than ten with a decimal place.
    fn rate(&self) -> String {
        match self.messages < 9.95 {
            true => format!("{:.1}", self.messages),
            false => count(self.messages.round() as u64),
        }
    }
}

/// What the table is of.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Of {
    #[default]
    Clients,
    Topics,
}

/// See the module.
#[derive(Default, Debug)]
struct View {
    status: Value,
    rows: Vec<Row>,
    /// The busiest first.
    topics: Vec<Busy>,
    of: Of,
    /// Sums of the sample before.
    before: Option<(Instant, Value)>,
    seconds: f64,
    earlier: HashMap<String, (u64, u64)>,
    by: By,
    first: usize,
    paused: bool,
}

impl View {
    /// `clients` and `topics` as the control socket has them.
    fn take(&mut self, status: Value, clients: &[Value], topics: &[Value], now: Instant) {
        let last = std::mem::take(&mut self.status);
        if let Some((at, _)) = &self.before {
            self.seconds = now.saturating_duration_since(*at).as_secs_f64();
        }
        self.before = Some((now, last));
        let mut earlier = HashMap::new();
        self.rows.clear();
        for line in clients {
            // A client id is asked for whole, and shown short.
            let id = line["client"].as_str().unwrap_or_default().to_owned();
            let sums = (number(line, "received_bytes"), number(line, "sent_bytes"));
            let known = self.earlier.get(&id).copied();
            // A new connection counts from 0; one that was not seen before has no rate yet.
            let (received, sent) = match known {
                Some((received, sent)) if sums.0 >= received && sums.1 >= sent => {
                    (self.rate(sums.0 - received), self.rate(sums.1 - sent))
                }
                _ => (0, 0),
            };
            self.rows.push(Row {
                client: text(line, "client", 60),
                user: text(line, "user", 16),
                address: text(line, "address", 45),
                received,
                sent,
                queue: queue(line),
                queued_bytes: number(line, "queued_bytes"),
            });
            earlier.insert(id, sums);
        }
        self.earlier = earlier;
        self.status = status;
        self.topics = topics.iter().filter_map(Busy::of).collect();
    }

    /// So many a second.
    fn rate(&self, more: u64) -> u64 {
        match self.seconds > 0.0 {
            true => (more as f64 / self.seconds).round() as u64,
            false => 0,
        }
    }

    /// `false`: it is to end.
    fn press(&mut self, key: KeyCode, control: bool) -> bool {
        match key {
            KeyCode::Char('c') if control => return false,
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('i') => self.by = By::In,
            KeyCode::Char('o') => self.by = By::Out,
            KeyCode::Char('u') => self.by = By::Queue,
            KeyCode::Char('n') => self.by = By::Name,
            KeyCode::Char('t') => {
                self.first = 0;
                self.of = match self.of {
                    Of::Clients => Of::Topics,
                    Of::Topics => Of::Clients,
                };
            }
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Down => self.first += 1,
            KeyCode::Up => self.first = self.first.saturating_sub(1),
            KeyCode::PageDown => self.first += 10,
            KeyCode::PageUp => self.first = self.first.saturating_sub(10),
            KeyCode::Home => self.first = 0,
            _ => {}
        }
        true
    }

    /// The picture: at most `height` lines of at most `width` characters.
    fn lines(&mut self, width: usize, height: usize, colours: bool) -> Vec<String> {
        let mut lines = self.head();
        let is_endless = height == usize::MAX;
        let keys = match (self.paused, self.of) {
            (true, _) => "paused   p go on   q quit",
            (false, Of::Clients) => {
                "sort: i in  o out  u queue  n name   t topics   p pause   arrows   q quit"
            }
            (false, Of::Topics) => "t clients   p pause   arrows move   q quit",
        };
        let title_at = lines.len();
        let below = usize::from(!is_endless);
        let room = height.saturating_sub(lines.len() + 1 + below);
        match self.of {
            Of::Clients => self.clients(&mut lines, width, room),
            Of::Topics => self.topics(&mut lines, width, room),
        }
        if is_endless {
            lines.push(String::new());
            self.topics(&mut lines, width, room);
        } else {
            lines.resize(height.saturating_sub(1), String::new());
            lines.push(shown::say(keys));
        }
        lines.truncate(height);
        for (index, line) in lines.iter_mut().enumerate() {
            let cut: String = line.trim_end().chars().take(width).collect();
            *line = match colours && (index == title_at || index + 1 == height) {
                true => format!("\x1b[7m{cut}\x1b[0m"),
                false => cut,
            };
        }
        lines
    }

    /// Adds the title of the table of Clients, and the rows that there is room for.
    fn clients(&mut self, lines: &mut Vec<String>, width: usize, room: usize) {
        let by = self.by;
        self.rows.sort_by(|a, b| {
            let names = a.client.cmp(&b.client);
            match by {
                By::In => b.received.cmp(&a.received).then(names),
                By::Out => b.sent.cmp(&a.sent).then(names),
                By::Queue => b.queued_bytes.cmp(&a.queued_bytes).then(names),
                By::Name => names,
            }
        });
        // What is left of the width is the client id's. On a narrow terminal addresses are left out.
        let has_addresses = width >= 100;
        let beside = 10 + 9 + 9 + 16 + 4 * 2 + if has_addresses { 22 + 2 } else { 0 };
        let id = width.min(120).saturating_sub(beside);
        let row = |cells: [String; 6]| {
            let [client, user, address, received, sent, queue] = cells;
            let client = shown::name(&client, id);
            let user = shown::name(&user, 10);
            let address = match has_addresses {
                true => format!("{:22}  ", shown::name(&address, 22)),
                false => String::new(),
            };
            format!("{client:id$}  {user:10}  {address}{received:>9}  {sent:>9}  {queue:>16}")
        };
        let titles = ["CLIENT", "USER", "ADDRESS", "IN/s", "OUT/s", "QUEUE"];
        lines.push(row(titles.map(shown::say)));
        self.first = self.first.min(self.rows.len().saturating_sub(room));
        lines.extend(self.rows.iter().skip(self.first).take(room).map(|found| {
            row([
                found.client.clone(),
                found.user.clone(),
                found.address.clone(),
                bytes(found.received),
                bytes(found.sent),
                found.queue.clone(),
            ])
        }));
    }

    /// The same of topics. All that have no row of their own come last.
    fn topics(&mut self, lines: &mut Vec<String>, width: usize, room: usize) {
        let name_width = width.min(120).saturating_sub(2 * (12 + 2));
        let row = |name: &str, messages: &str, bytes: &str| {
            let name = shown::name(name, name_width);
            format!("{name:name_width$}  {messages:>12}  {bytes:>12}")
        };
        let [topic, messages, payload] = ["TOPIC", "MESSAGES/s", "PAYLOAD/s"].map(shown::say);
        lines.push(row(&topic, &messages, &payload));
        self.first = self.first.min(self.topics.len().saturating_sub(room));
        let busiest = self.topics.iter().skip(self.first).take(room);
        lines.extend(busiest.map(|busy| {
            let name = match busy.name.is_empty() {
                true => shown::say("all others"),
                false => busy.name.clone(),
            };
            row(&name, &busy.rate(), &bytes(busy.bytes))
        }));
    }

    /// What is above the table.
    fn head(&self) -> Vec<String> {
        let status = &self.status;
        let last = self.before.as_ref().map(|(_, last)| last);
        // A counter below `of`, as a rate.
        let rate = |of: &str, field: &str| {
            let before = last.map_or(0, |last| number(&last[of], field));
            self.rate(number(&status[of], field).saturating_sub(before))
        };
        let (messages, memory) = (&status["messages"], &status["memory"]);
        let owners: Vec<String> = list(&memory["owners"])
            .take(3)
            .map(|owner| format!("{} {}", text(owner, "name", 24), size(owner, "bytes")))
            .collect();
        let store = match &status["store"] {
            Value::Null => "none".to_owned(),
            store => format!(
                "{}, {}/s written, last commit {} ms, a power cut costs at most {} ms",
                text(store, "condition", 20),
                bytes(rate("store", "written_bytes")),
                number(store, "last_commit_ms"),
                number(store, "loss_window_ms")
            ),
        };
        let busiest: Vec<String> = self
            .topics
            .iter()
            .filter(|busy| !busy.name.is_empty())
            .take(3)
            .map(|busy| format!("{} {}/s", shown::name(&busy.name, 40), busy.rate()))
            .collect();
        let busiest = match busiest.is_empty() {
            true => "-".to_owned(),
            false => busiest.join(", "),
        };
        let mut head = vec![
            format!(
                "mqttfast {}  up {}  {} connections  {} sessions  {} subscriptions  {} retained",
                text(status, "version", 20),
                span(number(status, "uptime_s")),
                shown::count(status, "connections"),
                shown::count(status, "sessions"),
                shown::count(status, "subscriptions"),
                shown::count(status, "retained")
            ),
            format!(
                "messages  in {}/s  out {}/s   bytes  in {}/s  out {}/s",
                count(rate("messages", "received")),
                count(rate("messages", "sent")),
                bytes(rate("bytes", "received")),
                bytes(rate("bytes", "sent"))
            ),
            format!("topics    {busiest}"),
            format!(
                "waiting   {} messages ({}), {} on their way out",
                shown::count(status, "queued"),
                size(status, "queued_bytes"),
                size(status, "unsent_bytes")
            ),
            format!("dropped   {}", dropped(&messages["dropped"])),
            format!(
                "memory    {} held of {}, process {}; {}",
                size(memory, "held_bytes"),
                size(memory, "limit_bytes"),
                size(memory, "resident_bytes"),
                owners.join(", ")
            ),
            format!("store     {store}"),
        ];
        let bridges: Vec<&Value> = list(&status["bridges"]).collect();
        let shown_bridges = bridges.iter().take(BRIDGES_SHOWN);
        head.extend(shown_bridges.map(|found| format!("bridge    {}", bridge(found))));
        if bridges.len() > BRIDGES_SHOWN {
            let more = bridges.len() - BRIDGES_SHOWN;
            let text = shown::say(&format!("{more} more bridges: mqttfast status"));
            head.push(format!("          {text}"));
        }
        let mut head: Vec<String> = head.iter().map(|line| shown::say(line)).collect();
        head.push(String::new());
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(clients: usize) -> View {
        let mut view = View::default();
        let start = Instant::now();
        for second in 0..2_u64 {
            let status = json!({
                "version": "1", "uptime_s": 7_200, "connections": clients,
                "messages": { "received": 1_000 * second, "dropped": { "slow_reader": 4 } },
                "memory": { "owners": [{ "name": "user \u{1b}[2J", "bytes": 10 }] },
                "bridges": [{ "name": "office\u{1b}[2J", "state": "down" }],
            });
            let line = |index: usize| {
                json!({
                    "client": format!("client-{index:04}\u{1b}[31m{}", "x".repeat(300)),
                    "user": "ann", "address": "192.0.2.1:1",
                    "received_bytes": second * 1_024 * index as u64,
                    "sent_bytes": second, "queued": index, "queued_bytes": 100 * index,
                })
            };
            let lines: Vec<Value> = (0..clients).map(line).collect();
            let topic = |name: Value, messages: u64| {
                json!({
                    "topic": name, "messages": messages, "payload_bytes": 2_048 * messages, "over_ms": 1_000 * second,
                })
            };
            let topics = [
                topic(json!("home/\u{1b}[2J"), 25),
                topic(json!("x".repeat(300)), 3),
                topic(Value::Null, 1),
            ];
            view.take(status, &lines, &topics, start + Duration::from_secs(second));
        }
        view
    }

    #[test]
    fn the_picture_fits_every_terminal() {
        for clients in [0, 3, 2_000] {
            for (width, height) in [(80, 24), (120, 40), (40, 10), (10, 3), (1, 1), (200, 100)] {
                let lines = view(clients).lines(width, height, false);
                assert_eq!(lines.len(), height, "{width}x{height}");
                let widest = lines.iter().map(|line| line.chars().count()).max();
                assert!(widest <= Some(width), "{lines:#?}");
                assert!(!lines.concat().contains('\u{1b}'), "{lines:#?}");
            }
        }
    }

    #[test]
    fn rates_and_order_are_those_of_the_keys() {
        let mut view = view(30);
        let lines = view.lines(80, 24, false);
        assert!(lines[1].starts_with("messages  in 1,000/s"), "{}", lines[1]);
        assert!(
            lines[2].starts_with("topics    home/\\u{1b}[2J 25/s, xxx"),
            "{}",
            lines[2]
        );
        assert!(lines[4].contains("4 slow reader"), "{}", lines[4]);
        assert!(
            lines[7].starts_with("bridge    office\\u{1b}[2J down for -"),
            "{}",
            lines[7]
        );
        assert!(
            lines[10].starts_with("client-0029") && lines[10].contains("29.0 KiB"),
            "{}",
            lines[10]
        );
        assert!(lines[23].contains("q quit"));
        assert!(view.press(KeyCode::Char('n'), false));
        assert!(view.lines(80, 24, false)[10].starts_with("client-0000"));
        (0..100).for_each(|_| assert!(view.press(KeyCode::Down, false)));
        let lines = view.lines(80, 24, false);
        assert!(lines[22].starts_with("client-0029"), "{lines:#?}");
        assert!(view.press(KeyCode::Char('t'), false));
        let lines = view.lines(80, 24, false);
        assert!(
            lines[9].starts_with("TOPIC") && lines[9].ends_with("PAYLOAD/s"),
            "{lines:#?}"
        );
        assert!(
            lines[10].starts_with("home/\\u{1b}[2J ") && lines[10].ends_with("25      50.0 KiB"),
            "{lines:#?}"
        );
        assert!(lines[11].contains("…           3.0  "), "{lines:#?}");
        assert!(lines[12].starts_with("all others "), "{lines:#?}");
        assert!(view.press(KeyCode::Char('t'), false));
        assert!(!view.press(KeyCode::Char('q'), false));
        assert!(!view.press(KeyCode::Char('c'), true));
        assert!(view.press(KeyCode::Char('c'), false));
        // In a pipe everything is told.
        assert_eq!(
            view.lines(usize::MAX, usize::MAX, false).len(),
            9 + 1 + 30 + 2 + 3
        );
    }
}
