//! `mqttfast-load`: puts one kind of load on an MQTT broker and prints what it cost.
//!
//! One thread, one scenario, one run; `perf/run` starts brokers and repeats. See `perf/README.md`.

mod client;
mod connects;
mod histogram;
mod memory;
mod report;
mod retained;
mod shell;
mod traffic;
mod usage;
mod websocket;
mod wire;

use argh::FromArgs;
use client::Target;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use report::Report;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use traffic::{Pacing, Place, Plan, Shape};
use usage::Processes;

/// Clients, filters or messages of a warm-up.
const WARM_UP: usize = 10;

/// Loads an MQTT 3.1.1 or 5.0 broker and prints its CPU time per message, memory, latency, order and loss.
#[derive(FromArgs)]
struct Arguments {
    /// pairs_rt, pairs, fanin, fanout, fanin_4k, qos1, qos2, subs, topics, retained, connect, rate, thin, flood, idle,
    /// base, filters, retained_mem, stuck or stuck_qos1
    #[argh(positional)]
    scenario: String,
    /// address of the broker; default 127.0.0.1
    #[argh(option, default = "Ipv4Addr::LOCALHOST")]
    host: Ipv4Addr,
    /// port of the broker; default 1883
    #[argh(option, default = "1883")]
    port: u16,
    /// process of the broker, for CPU and memory; may be repeated
    #[argh(option)]
    pid: Vec<i32>,
    /// how long to measure; default 3
    #[argh(option, default = "3.0")]
    seconds: f64,
    /// how long to run before measuring; default 0.5
    #[argh(option, default = "0.5")]
    warm_up: f64,
    /// connections: of idle, and at once in connect
    #[argh(option)]
    connections: Option<usize>,
    /// publishers and subscribers of the scenarios made of pairs
    #[argh(option)]
    pairs: Option<usize>,
    /// publishers of fanin and fanout
    #[argh(option)]
    publishers: Option<usize>,
    /// subscribers of fanin and fanout
    #[argh(option)]
    subscribers: Option<usize>,
    /// payload bytes, at least 13
    #[argh(option)]
    payload: Option<usize>,
    /// messages of one publisher sent and not yet delivered (nor acknowledged, above QoS 0)
    #[argh(option)]
    window: Option<u64>,
    /// qos of publishers and subscribers
    #[argh(option)]
    qos: Option<u8>,
    /// messages a second over all publishers, open loop, latency from the time each was due
    #[argh(option)]
    rate: Option<f64>,
    /// messages a second of one more pair, timed, beside the load
    #[argh(option)]
    probe_rate: Option<f64>,
    /// filters, or retained messages, where the scenario has them; MiB sent to those who never read
    #[argh(option)]
    items: Option<usize>,
    /// connections with one subscription each that do nothing, beside the traffic
    #[argh(option, default = "0")]
    bystanders: usize,
    /// where publishers are by their client ids, in a broker of two shards: same or other than their subscribers
    #[argh(option)]
    place: Option<String>,
    /// speak MQTT 5.0
    #[argh(switch)]
    v5: bool,
    /// speak MQTT over WebSocket; not of connect
    #[argh(switch)]
    websocket: bool,
    /// speak inside TLS, to the broker with this certificate (PEM), whose name is localhost
    #[argh(option)]
    tls: Option<String>,
    /// version of TLS, 1.2 or 1.3
    #[argh(option)]
    tls_version: Option<String>,
    /// come back by session tickets, after the first connection
    #[argh(switch)]
    tls_resume: bool,
    /// what client ids begin with, where several generators load one broker
    #[argh(option, default = "String::new()")]
    name: String,
    /// topic of the publishers, to which /0, /1 ... is added
    #[argh(option)]
    topic: Option<String>,
    /// topics each publisher of a pair goes round, each with a filter
    #[argh(option)]
    topics: Option<usize>,
    /// print a header and a line of comma-separated values
    #[argh(switch)]
    csv: bool,
}

/// What the names mean; every number can be changed by its option. `perf/README.md` has the table.
fn plan(arguments: &Arguments) -> Option<Plan> {
    let mut plan = Plan {
        publishers: 50,
        subscribers: 50,
        shape: Shape::Pairs,
        pacing: Pacing::Window(256),
        payload_bytes: 64,
        qos: 0,
        topic: format!("bench/{}", arguments.scenario),
        topics: arguments.topics.unwrap_or(1),
        name: arguments.name.clone(),
        probe_rate: 0.0,
        place: match arguments.place.as_deref() {
            Some("same") => Some(Place::SameShard),
            Some("other") => Some(Place::OtherShard),
            _ => None,
        },
        latency: false,
        warm_up_s: arguments.warm_up,
        seconds: arguments.seconds,
    };
    match arguments.scenario.as_str() {
        "pairs_rt" => (plan.pacing, plan.latency) = (Pacing::Window(1), true),
        "pairs" => {}
        "fanin" => (plan.shape, plan.subscribers) = (Shape::All, 1),
        "fanin_4k" => {
            (plan.shape, plan.subscribers) = (Shape::All, 1);
            (plan.payload_bytes, plan.pacing) = (4096, Pacing::Window(16));
        }
        "fanout" => (plan.shape, plan.publishers, plan.subscribers) = (Shape::All, 1, 100),
        "qos1" => (plan.qos, plan.pacing) = (1, Pacing::Window(20)),
        "qos2" => (plan.qos, plan.pacing) = (2, Pacing::Window(20)),
        "topics" => {
            (plan.topic, plan.topics) = ("site/3".into(), arguments.topics.unwrap_or(2_000))
        }
        "subs" => plan.topic = memory::BYSTANDER_TOPIC.into(),
        "rate" => {
            (plan.publishers, plan.subscribers, plan.pacing) = (100, 100, Pacing::Open(5000.0))
        }
        "thin" => {
            (plan.publishers, plan.subscribers, plan.pacing) = (100, 100, Pacing::Open(100.0))
        }
        "flood" => {
            (plan.publishers, plan.subscribers) = (20, 20);
            (plan.pacing, plan.probe_rate) = (Pacing::Flood, 100.0);
        }
        _ => return None,
    }
    let pairs = arguments.pairs;
    plan.publishers = arguments.publishers.or(pairs).unwrap_or(plan.publishers);
    plan.subscribers = arguments.subscribers.or(pairs).unwrap_or(plan.subscribers);
    plan.payload_bytes = arguments.payload.unwrap_or(plan.payload_bytes);
    plan.qos = arguments.qos.unwrap_or(plan.qos);
    plan.probe_rate = arguments.probe_rate.unwrap_or(plan.probe_rate);
    if let Some(topic) = &arguments.topic {
        plan.topic.clone_from(topic);
    }
    if let Some(window) = arguments.window {
        plan.pacing = Pacing::Window(window.max(1));
    }
    if let Some(rate) = arguments.rate {
        plan.pacing = Pacing::Open(rate);
    }
    Some(plan)
}

fn check(arguments: &Arguments, plan: &Plan) -> Result<(), String> {
    let wrong = if plan.payload_bytes < traffic::PAYLOAD_BYTES_MIN {
        "--payload is below 13, the bytes of publisher and sequence number"
    } else if plan.topics == 0 || plan.topics > traffic::TOPICS_MAX {
        "--topics is not within 1..=99999"
    } else if plan.topics > 1 && plan.shape != Shape::Pairs {
        "--topics is for scenarios made of pairs"
    } else if !matches!(arguments.place.as_deref(), None | Some("same" | "other")) {
        "--place is neither same nor other"
    } else if plan.qos > 2 {
        "--qos is above 2"
    } else if plan.publishers == 0 || plan.subscribers == 0 {
        "there must be a publisher and a subscriber"
    } else if plan.shape == Shape::Pairs && plan.publishers != plan.subscribers {
        "this scenario has pairs: use --pairs"
    } else if matches!(plan.pacing, Pacing::Window(window) if window > 60_000 && plan.qos > 0) {
        "--window is above 60,000, near the number of Packet Identifiers"
    } else if matches!(plan.pacing, Pacing::Open(rate) if rate.is_nan() || rate <= 0.0) {
        "--rate is not above 0"
    } else if !(arguments.seconds > 0.0 && arguments.seconds <= 3000.0 && arguments.warm_up >= 0.0)
    {
        "--seconds is not within 0..=3000, or --warm-up below 0"
    } else {
        return Ok(());
    };
    Err(wrong.into())
}

fn run(arguments: &Arguments) -> Result<Report, String> {
    let tls = match &arguments.tls {
        None => None,
        Some(certificate) => {
            let terms = shell::TlsTerms {
                certificate: certificate.clone(),
                version: arguments.tls_version.clone(),
                resume: arguments.tls_resume,
            };
            // For the life of the process, so that copies of the target share it.
            Some(&*Box::leak(Box::new(terms.config()?)))
        }
    };
    let to = Target {
        tls,
        address: SocketAddrV4::new(arguments.host, arguments.port),
        v5: arguments.v5,
        websocket: arguments.websocket,
    };
    let processes = Processes(arguments.pid.clone());
    let payload_bytes = arguments.payload.unwrap_or(64);
    let items = |default: usize| arguments.items.unwrap_or(default);
    if let Some(plan) = plan(arguments) {
        check(arguments, &plan)?;
        let mut held = Vec::new();
        if arguments.scenario == "subs" || arguments.items.is_some() {
            held = memory::hold(to, &memory::filters(items(100_000), false))?;
        }
        held.extend(memory::idle_clients(to, arguments.bystanders)?);
        let outcome = traffic::run(to, &plan, &processes)?;
        drop(held);
        return Ok(Report::traffic(&arguments.scenario, &plan, outcome));
    }
    let grown = match arguments.scenario.as_str() {
        "connect" => {
            let at_once = arguments.connections.unwrap_or(16);
            let outcome = connects::run(
                to,
                &processes,
                at_once,
                arguments.warm_up,
                arguments.seconds,
            )?;
            return Ok(Report::connects(at_once, outcome, processes.memory()?));
        }
        "retained" => {
            let outcome = retained::run(
                to,
                &processes,
                items(20_000),
                payload_bytes,
                arguments.seconds,
            )?;
            return Ok(Report::retained(
                payload_bytes,
                outcome,
                processes.memory()?,
            ));
        }
        "base" => memory::grow(&processes, 0, arguments.seconds, || Ok(()), || Ok(()))?,
        "idle" => {
            let count = arguments.connections.unwrap_or(10_000);
            let clients = |count| memory::idle_clients(to, count);
            let warm_up = || clients(WARM_UP).map(drop);
            memory::grow(&processes, count, arguments.seconds, warm_up, || {
                clients(count)
            })?
        }
        "filters" => {
            let filters = memory::filters(items(100_000), true);
            let first = &filters[..filters.len().min(WARM_UP)];
            let warm_up = || memory::hold(to, first).map(drop);
            memory::grow(&processes, filters.len(), 0.0, warm_up, || {
                memory::hold(to, &filters)
            })?
        }
        "retained_mem" => {
            let count = items(100_000);
            let store = |count| memory::store_retained(to, count, payload_bytes);
            let warm_up = || store(WARM_UP.min(count)).map(drop);
            memory::grow(&processes, count, 0.0, warm_up, || store(count))?
        }
        "stuck" | "stuck_qos1" => {
            let clients = arguments.connections.unwrap_or(4);
            let bytes = items(32) << 20;
            let qos = u8::from(arguments.scenario == "stuck_qos1");
            let warm_up = || memory::idle_clients(to, WARM_UP).map(drop);
            memory::grow(&processes, clients, 0.0, warm_up, || {
                memory::never_reading(to, clients, qos, bytes)
            })?
        }
        other => return Err(format!("no scenario \"{other}\"; --help lists them")),
    };
    Ok(Report::growth(&arguments.scenario, grown))
}

fn main() -> ExitCode {
    let arguments: Arguments = argh::from_env();
    // Whatever a broker does, this process ends: by SIGALRM, if by nothing else.
    let longest_s = (arguments.seconds + arguments.warm_up).clamp(0.0, 3600.0) as u32 + 90;
    nix::unistd::alarm::set(longest_s);
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    // Timers of the open loop are as exact as the kernel has them, not 50 us late.
    let _ = nix::sys::prctl::set_timerslack(1);
    match run(&arguments) {
        Ok(report) => {
            print!(
                "{}",
                if arguments.csv {
                    report.csv()
                } else {
                    report.text()
                }
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mqttfast-load: {}: {error}", arguments.scenario);
            ExitCode::FAILURE
        }
    }
}
