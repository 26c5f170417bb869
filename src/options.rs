//! The command line of `mqttfast`, turned into a `Config` or into one sentence that says what is wrong.

use argh::{FromArgs, SubCommands};
use mqttfast::config::{
    ClientIdTakeover, Control, Durability, Flags, Hosts, HttpOn, Io, ListenOn, Logs, Network,
    Scheme, StoreConfig,
};
use mqttfast::io::bridge_test::BridgeTest;
use mqttfast::io::console;
use mqttfast::io::doctor::Doctor;
use mqttfast::io::explain::{Question, Wanted};
use mqttfast::io::migrate::{CONFIGURATION, Migration};
use mqttfast::io::store_tool;
use mqttfast::language::Language;
use mqttfast::random::Secret;
use mqttfast::{limits, passwd};
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

/// What the command line asks for.
pub enum Request {
    /// Print this and end well.
    Print(String),
    Passwd(passwd::Command),
    Store(store_tool::Command),
    /// To serve, by a configuration file if one is named.
    Serve(Flags, Option<PathBuf>),
    /// To say what that would be.
    Check(Flags, PathBuf),
    /// Say whether a Client may do something: by files, or by a running broker if none are named.
    Explain(Question, Option<PathBuf>),
    /// Say what is wrong with a set-up.
    Doctor(Doctor),
    /// Ask a running broker.
    Console(console::Command),
    /// Say what becomes of a Mosquitto's lines.
    Migrate(Migration),
    /// Try the other broker of a bridge.
    BridgeTest(BridgeTest),
}

/// MQTT broker. Without --passwd and --allow-anonymous it serves this machine alone.
#[derive(FromArgs)]
#[argh(
    help_triggers("-h", "--help"),
    example = "A broker with one user, alice:\n  mqttfast passwd -c passwd alice\n  mqttfast --passwd passwd",
    note = "Sizes are bytes, or whole numbers followed by K, M or G (1024 each)."
)]
struct Options {
    /// a mosquitto.conf; what other arguments say goes before it
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// say what a start with --config would do, and exit
    #[argh(switch)]
    check: bool,
    /// TCP port, 1883 unless given; 0 lets the system choose
    #[argh(option, short = 'p', arg_name = "port", from_str_fn(parse_port))]
    port: Option<u16>,
    /// IP address to listen on; may be given several times
    #[argh(option, arg_name = "addr", from_str_fn(parse_address))]
    bind: Vec<IpAddr>,
    /// listener in the place of --bind and --port, such as mqtts://:8883, mqtt://127.0.0.1:1883, or ws://:9001 and
    /// wss://:9001 for browsers; may be given several times
    #[argh(option, arg_name = "url", from_str_fn(parse_listen))]
    listen: Vec<ListenOn>,
    /// certificate of TLS listeners (mqtts, wss) with its chain, PEM; may be given several times, as RSA and ECDSA
    #[argh(option, arg_name = "file")]
    cert: Vec<PathBuf>,
    /// private key of --cert, PEM
    #[argh(option, arg_name = "file")]
    key: Vec<PathBuf>,
    /// CAs of client certificates, PEM
    #[argh(option, arg_name = "file")]
    ca: Option<PathBuf>,
    /// let in by TLS who shows a certificate of --ca, and nobody else
    #[argh(switch)]
    require_certificate: bool,
    /// largest TLS record sent, for clients with small buffers: 512 to 16384 bytes, 16384 unless given
    #[argh(option, arg_name = "size", from_str_fn(parse_fragment))]
    max_fragment_size: Option<u16>,
    /// proxy, or network such as 10.0.0.0/8, whose X-Forwarded-For is believed by WebSocket listeners; may be given
    /// several times
    #[argh(option, arg_name = "addr", from_str_fn(parse_network))]
    trusted_proxy: Vec<Network>,
    /// password file, as mqttfast passwd or mosquitto_passwd makes it
    #[argh(option, arg_name = "file")]
    passwd: Option<PathBuf>,
    /// ACL file, as Mosquitto reads it: who may read and write which topics
    #[argh(option, arg_name = "file")]
    acl: Option<PathBuf>,
    /// refuse subscriptions of which the ACL file lets a client hear nothing, instead of granting them
    #[argh(switch)]
    refuse_subscriptions: bool,
    /// let clients without a user name connect, from all interfaces
    #[argh(switch)]
    allow_anonymous: bool,
    /// appear in Home Assistant as a device, with clients, messages, memory and store
    #[argh(switch)]
    home_assistant: bool,
    /// publish whether each client is connected: $SYS/broker/clients/CLIENT/state, online or offline
    #[argh(switch)]
    presence: bool,
    /// shards, each a thread on a core of its own; as many as cores unless given, but one on one or two cores
    #[argh(option, arg_name = "n", from_str_fn(parse_shards))]
    shards: Option<u8>,
    /// how sockets are driven: auto, uring or epoll
    #[argh(option, arg_name = "io", default = "Io::Auto", from_str_fn(parse_io))]
    io: Io,
    /// connections at a time, as many as the limit of open files allows unless given
    #[argh(option, arg_name = "n", from_str_fn(parse_connections))]
    max_connections: Option<usize>,
    /// largest packet accepted, 16M unless given
    #[argh(option, arg_name = "size", from_str_fn(parse_packet_size))]
    max_packet_size: Option<u32>,
    /// messages of QoS 1 and 2 on their way to one client at a time, 20 unless given
    #[argh(option, arg_name = "n", from_str_fn(parse_inflight))]
    max_inflight: Option<u16>,
    /// queue of one client that is absent or slow, 16M unless given
    #[argh(option, arg_name = "size", from_str_fn(parse_queue_size))]
    max_queued_bytes: Option<u32>,
    /// memory of all that clients can make grow, a quarter of the machine's unless given
    #[argh(option, arg_name = "size", from_str_fn(parse_memory))]
    memory_limit: Option<u64>,
    /// who may take over a session by its client id: owner, the user who made it, or any; owner unless given
    #[argh(
        option,
        arg_name = "who",
        default = "ClientIdTakeover::Owner",
        from_str_fn(parse_takeover)
    )]
    client_id_takeover: ClientIdTakeover,
    /// whether sessions and retained messages survive a restart: on or off; on unless given
    #[argh(option, arg_name = "on|off", from_str_fn(parse_persistence))]
    persistence: Option<bool>,
    /// when messages are on the disk: strict, before they are acknowledged; batched, 100 ms later; lazy, 5 s later
    #[argh(
        option,
        arg_name = "how",
        default = "Durability::Batched",
        from_str_fn(parse_durability)
    )]
    durability: Durability,
    /// milliseconds from a message to the disk with --durability batched, 100 unless given
    #[argh(
        option,
        arg_name = "ms",
        default = "limits::STORE_WINDOW_MS_DEFAULT",
        from_str_fn(parse_store_window)
    )]
    store_window: u64,
    /// where sessions and retained messages are kept; a folder of its own for each port unless given
    #[argh(option, arg_name = "dir")]
    store_dir: Option<PathBuf>,
    /// largest file of the store, 256M unless given
    #[argh(
        option,
        arg_name = "size",
        default = "limits::STORE_FILE_BYTES_DEFAULT",
        from_str_fn(parse_store_size)
    )]
    store_max_bytes: u64,
    /// where operators ask the broker, with mqttfast status and the like: a path, or off; in the folder of the service
    /// or of its user unless given
    #[argh(
        option,
        arg_name = "path|off",
        default = "Control::Default",
        from_str_fn(parse_control)
    )]
    control: Control,
    /// show a page about the broker in a browser, metrics for Prometheus and an API: such as 127.0.0.1:8080; for other
    /// machines --passwd and --cert are needed
    #[argh(option, arg_name = "addr:port", from_str_fn(parse_http))]
    http: Option<HttpOn>,
    /// log every packet received
    #[argh(switch, short = 'v')]
    verbose: bool,
    /// log warnings and errors only, no client that comes or goes
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// print the version
    #[argh(switch)]
    version: bool,
    #[argh(subcommand)]
    command: Option<Subcommand>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Subcommand {
    Passwd(passwd::Command),
    Explain(Explain),
    Store(store_tool::Command),
    Migrate(Migrate),
    Bridge(BridgeOptions),
    Doctor(DoctorOptions),
    Status(console::Status),
    Clients(console::Clients),
    Kick(console::Kick),
    Sessions(console::Sessions),
    Retained(console::Retained),
    Denials(console::Denials),
    Log(console::Log),
    Top(console::Top),
}

/// Say line by line what becomes of a Mosquitto's configuration, users, rules and database here, and what to type to
/// change over. Writes nothing unless --write is given. Exit code 0: mqttfast starts with these files; 4: it does,
/// without something that they ask for; else the code that a start ends with: 3, 13 or 1.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "migrate",
    help_triggers("-h", "--help"),
    example = "Before Mosquitto is stopped:\n  sudo mqttfast migrate"
)]
struct Migrate {
    /// configuration of Mosquitto, /etc/mosquitto/mosquitto.conf unless given
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// write corrected copies, and what the service needs, below this folder; nothing that is there is overwritten
    #[argh(option, arg_name = "dir")]
    write: Option<PathBuf>,
}

/// Say what is wrong with a set-up, why that matters, and what to write or to type. Works without a running broker and
/// changes nothing. Flags of the broker go before the command: mqttfast --passwd FILE doctor; without any, and without
/// --config, those of the service count. Exit code 0: nothing is wrong; 1: something does not work; 4: something should
/// be looked at.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "doctor",
    help_triggers("-h", "--help"),
    example = "What is wrong here, and why does the lamp not connect?\n  sudo mqttfast doctor -c /etc/mosquitto/mosquitto.conf\n  mqttfast doctor --client 192.168.1.50"
)]
struct DoctorOptions {
    /// a mosquitto.conf that the broker is to be started with
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// explain what this device had trouble with: its client id, user name or address
    #[argh(option, arg_name = "who")]
    client: Option<String>,
    /// control socket of the running broker, where it is not in its usual place
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

/// The options file of the service.
const SERVICE_OPTIONS: &str = "/etc/mqttfast/options";
/// And its user.
const SERVICE_USER: &str = "mqttfast";

/// The words of the last `MQTTFAST_OPTIONS=` of the service's options, if they are there.
fn service_options() -> Option<Vec<String>> {
    let text = std::fs::read_to_string(SERVICE_OPTIONS).ok()?;
    let lines = text.lines().map(str::trim);
    let value = lines
        .filter_map(|line| line.strip_prefix("MQTTFAST_OPTIONS="))
        .next_back();
    let value = value.unwrap_or_default().trim_matches(['"', '\'']);
    Some(value.split_whitespace().map(str::to_owned).collect())
}

/// `said`: flags were given; else those of the service count.
fn doctor(doctor: DoctorOptions, mut options: Options, said: bool) -> Result<Request, String> {
    let mut service_user = None;
    let mut all: Vec<String> = std::env::args().skip(1).collect();
    if !said
        && doctor.config.is_none()
        && let Some(words) = service_options()
    {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        options = Options::from_args(&["mqttfast"], &words).map_err(|exit| {
            format!(
                "{SERVICE_OPTIONS}: {}",
                explain(&exit.output, "mqttfast --help")
            )
        })?;
        service_user = Some(SERVICE_USER.to_owned());
        all = words.into_iter().map(str::to_owned).collect();
    }
    let config = doctor.config.or_else(|| options.config.take());
    Ok(Request::Doctor(Doctor {
        flags: flags(options)?,
        config,
        service_user,
        client: doctor.client,
        control: doctor.control,
        words: all,
    }))
}

/// Say whether a client may publish or subscribe, which rule of the ACL file says so, and what to write to change it.
/// With --acl or --config by these files; without them the running broker is asked. Exit code 1: it may not.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "explain",
    help_triggers("-h", "--help"),
    example = "May alice's lamp write here?\n  mqttfast explain publish --acl acl --user alice --client lamp --topic house/lamp"
)]
struct Explain {
    /// publish or subscribe
    #[argh(positional, from_str_fn(parse_wanted))]
    wanted: Wanted,
    /// user name; without it, a client without one
    #[argh(option, arg_name = "name")]
    user: Option<String>,
    /// client id
    #[argh(option, arg_name = "id", default = "String::new()")]
    client: String,
    /// topic to publish to, or filter to subscribe to
    #[argh(option, arg_name = "topic")]
    topic: String,
    /// ACL file
    #[argh(option, arg_name = "file")]
    acl: Option<PathBuf>,
    /// configuration of Mosquitto that names the ACL file
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
    /// control socket of the broker to ask, where it is not in its usual place
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
}

/// Look at the bridges of a mosquitto.conf.
#[derive(FromArgs)]
#[argh(subcommand, name = "bridge", help_triggers("-h", "--help"))]
struct BridgeOptions {
    #[argh(subcommand)]
    act: BridgeAct,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum BridgeAct {
    Test(BridgeTestOptions),
}

/// Connect to the other broker of a bridge as the bridge would, log in and subscribe, and say of each step how long it
/// took or what to do. Nothing is published, no session stays, and a bridge that runs is not disturbed. Exit code 1: a
/// step failed.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "test",
    help_triggers("-h", "--help"),
    example = "Why is the bridge of `connection cloud` down?\n  sudo mqttfast bridge test cloud"
)]
struct BridgeTestOptions {
    /// the word behind `connection`
    #[argh(positional, arg_name = "name")]
    name: String,
    /// a mosquitto.conf; /etc/mosquitto/mosquitto.conf unless given
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<PathBuf>,
}

fn console(command: console::Command) -> Result<Request, String> {
    Ok(Request::Console(command))
}

/// Reads the arguments after the program's name.
///
/// Errors: one sentence, for exit code 2.
pub fn parse(arguments: Vec<OsString>) -> Result<Request, String> {
    let arguments: Vec<String> = arguments
        .into_iter()
        .map(OsString::into_string)
        .collect::<Result<_, _>>()
        .map_err(|argument| format!("{argument:?} is not UTF-8; type the argument again"))?;
    let arguments = with_password_apart(arguments);
    // Mosquitto's words for the same.
    let arguments: Vec<String> = arguments
        .into_iter()
        .map(|argument| match argument.as_str() {
            "--config-file" => "--config".to_owned(),
            "--test-config" => "--check".to_owned(),
            _ => argument,
        })
        .collect();
    let help = match arguments.first() {
        Some(first) if Subcommand::COMMANDS.iter().any(|known| known.name == first) => {
            format!("mqttfast {first} --help")
        }
        _ => "mqttfast --help".to_owned(),
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let options = match Options::from_args(&["mqttfast"], &arguments) {
        Ok(options) => options,
        Err(exit) if exit.status.is_ok() => {
            return Ok(Request::Print(format!("{}\n", exit.output.trim_end())));
        }
        Err(exit) => return Err(explain(&exit.output, &help)),
    };
    if options.version {
        let version = concat!("mqttfast ", env!("CARGO_PKG_VERSION"), "\n");
        return Ok(Request::Print(version.into()));
    }
    match options.command {
        Some(Subcommand::Passwd(command)) => Ok(Request::Passwd(command)),
        Some(Subcommand::Store(command)) => Ok(Request::Store(command)),
        Some(Subcommand::Explain(explain)) => {
            let question = Question {
                wanted: explain.wanted,
                user: explain.user,
                client: explain.client,
                topic: explain.topic,
                acl: explain.acl,
                config: explain.config,
            };
            Ok(Request::Explain(question, explain.control))
        }
        Some(Subcommand::Doctor(command)) => {
            // Flags that were given go before the command.
            let said = arguments.first().is_some_and(|first| *first != "doctor");
            doctor(
                command,
                Options {
                    command: None,
                    ..options
                },
                said,
            )
        }
        Some(Subcommand::Status(command)) => console(console::Command::Status(command)),
        Some(Subcommand::Clients(command)) => console(console::Command::Clients(command)),
        Some(Subcommand::Kick(command)) => console(console::Command::Kick(command)),
        Some(Subcommand::Sessions(command)) => console(console::Command::Sessions(command)),
        Some(Subcommand::Retained(command)) => console(console::Command::Retained(command)),
        Some(Subcommand::Denials(command)) => console(console::Command::Denials(command)),
        Some(Subcommand::Log(command)) => console(console::Command::Log(command)),
        Some(Subcommand::Top(command)) => console(console::Command::Top(command)),
        Some(Subcommand::Bridge(bridge)) => {
            let BridgeAct::Test(test) = bridge.act;
            Ok(Request::BridgeTest(BridgeTest {
                name: test.name,
                config: test.config.unwrap_or_else(|| CONFIGURATION.into()),
            }))
        }
        Some(Subcommand::Migrate(migrate)) => {
            let config = migrate.config.unwrap_or_else(|| CONFIGURATION.into());
            Ok(Request::Migrate(Migration {
                config,
                flags: flags(Options {
                    command: None,
                    ..options
                })?,
                write: migrate.write,
                language: Language::of(|name| std::env::var_os(name)),
            }))
        }
        None => {
            let (file, check) = (options.config.clone(), options.check);
            let flags = flags(options)?;
            match (file, check) {
                (Some(file), true) => Ok(Request::Check(flags, file)),
                (None, true) => Err("--check: give the file to check with --config FILE".into()),
                (file, false) => Ok(Request::Serve(flags, file)),
            }
        }
    }
}

/// A password may start with `-`, as with `mosquitto_passwd`: after `passwd`, FILE and USER no flags are looked for.
fn with_password_apart(mut arguments: Vec<String>) -> Vec<String> {
    let is_passwd = arguments.first().is_some_and(|first| first == "passwd");
    let mut positional = 0;
    let mut index = 1;
    while is_passwd && index < arguments.len() && arguments[index] != "--" {
        match arguments[index].as_str() {
            "-H" | "-I" | "--hash" | "--iterations" => index += 1,
            flag if flag.starts_with('-') => {}
            _ => positional += 1,
        }
        index += 1;
        if positional == 2 {
            arguments.insert(index, "--".into());
            break;
        }
    }
    arguments
}

fn flags(options: Options) -> Result<Flags, String> {
    let logs = match (options.quiet, options.verbose) {
        (true, true) => {
            return Err("--quiet and --verbose: give one of the two".into());
        }
        (true, false) => Some(Logs::Warnings),
        (false, false) => None,
        (false, true) => Some(Logs::Packets),
    };
    check_listeners(&options)?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| {
        format!("the system gives no random numbers: {error}; is /dev/urandom there?")
    })?;
    Ok(Flags {
        port: options.port,
        bind: options.bind,
        listen: options.listen,
        cert: options.cert,
        key: options.key,
        ca: options.ca,
        require_certificate: options.require_certificate,
        fragment_bytes_max: options.max_fragment_size,
        trusted_proxies: options.trusted_proxy,
        passwd: options.passwd,
        allow_anonymous: options.allow_anonymous,
        home_assistant: options.home_assistant,
        presence: options.presence,
        shards: options.shards,
        io: options.io,
        connections_max: options.max_connections,
        packet_bytes_max: options.max_packet_size,
        inflight_max: options.max_inflight,
        session_queue_bytes_max: options.max_queued_bytes,
        memory_bytes_max: options.memory_limit,
        client_id_takeover: options.client_id_takeover,
        logs,
        secret: Secret::new(secret),
        acl: options.acl,
        refuse_subscriptions: options.refuse_subscriptions,
        store: StoreConfig {
            persistence: options.persistence,
            durability: options.durability,
            window_ms: options.store_window,
            directory: options.store_dir,
            bytes_max: options.store_max_bytes,
            import: None,
        },
        control: options.control,
        http: options.http,
    })
}

/// What is said of listeners must fit together.
fn check_listeners(options: &Options) -> Result<(), String> {
    let listen = &options.listen;
    let has_tls = listen.iter().any(|on| on.scheme.has_tls());
    let of_tls = !options.cert.is_empty()
        || !options.key.is_empty()
        || options.ca.is_some()
        || options.max_fragment_size.is_some();
    // The page has TLS where other machines reach it, and no client certificates.
    let page_has_tls = options.http.is_some() && !options.require_certificate;
    let wrong = if !listen.is_empty() && (!options.bind.is_empty() || options.port.is_some()) {
        "--listen and --bind or --port: --listen says address and port of all listeners, so leave out the others"
    } else if listen.len() > limits::LISTENERS_MAX {
        return Err(format!(
            "--listen: at most {} listeners",
            limits::LISTENERS_MAX
        ));
    } else if has_tls && options.cert.is_empty() {
        "--listen mqtts:// or wss://: give the certificate and its key with --cert FILE and --key FILE"
    } else if options.cert.len() != options.key.len() {
        "--cert and --key: give one key for each certificate, in the same order"
    } else if options.require_certificate && options.ca.is_none() {
        "--require-certificate: give the CA of client certificates with --ca FILE"
    } else if (of_tls || options.require_certificate) && !has_tls && !page_has_tls {
        "--cert, --key, --ca, --require-certificate and --max-fragment-size are for TLS: add --listen mqtts://:8883"
    } else {
        return Ok(());
    };
    Err(wrong.to_owned())
}

/// argh's complaint as one sentence, with a hint for flags that people know from Mosquitto.
fn explain(output: &str, help: &str) -> String {
    let output = output.split_whitespace().collect::<Vec<_>>().join(" ");
    let output = output.trim_end_matches('.');
    // Our own parsers have said what to give instead.
    if let Some(rest) = output.strip_prefix("Error parsing option ") {
        return rest.replacen(" with value ", " ", 1);
    }
    let hint = match output.strip_prefix("Unrecognized argument: ") {
        Some("-d" | "--daemon") => {
            "mqttfast stays in the foreground; let systemd run it, or put & behind the command"
                .into()
        }
        _ => format!("{help} lists what there is"),
    };
    format!("{output}; {hint}")
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "give a port from 1 to 65535, or 0 to let the system choose".into())
}

fn parse_address(text: &str) -> Result<IpAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(text).parse() {
        return Ok(address);
    }
    if text.parse::<std::net::SocketAddr>().is_ok() {
        return Err("give the address alone, and the port with --port".into());
    }
    Err(
        "give an IP address of this machine such as 192.168.1.5, or 127.0.0.1, or :: for all"
            .into(),
    )
}

fn parse_listen(text: &str) -> Result<ListenOn, String> {
    let (scheme, rest) = match text.split_once("://") {
        Some(("mqtt", rest)) => (Scheme::Mqtt, rest),
        Some(("mqtts", rest)) => (Scheme::Mqtts, rest),
        Some(("ws", rest)) => (Scheme::Ws, rest),
        Some(("wss", rest)) => (Scheme::Wss, rest),
        _ => {
            return Err(
                "give mqtt://, mqtts://, ws:// or wss:// with address and port, such as ws://127.0.0.1:9001, or mqtts://:8883 for all addresses".into(),
            );
        }
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    // The colons of an IPv6 address are in brackets.
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let host = match host {
        "" | "*" => None,
        host => Some(parse_address(host)?),
    };
    let port = port.map_or(Ok(scheme.port()), parse_port)?;
    Ok(ListenOn { scheme, host, port })
}

fn parse_http(text: &str) -> Result<HttpOn, String> {
    let Some((host, port)) = text
        .rsplit_once(':')
        .filter(|(_, port)| !port.ends_with(']'))
    else {
        return Err("give address and port, such as 127.0.0.1:8080".into());
    };
    Ok(HttpOn {
        hosts: match host {
            "" | "*" => Hosts::All,
            "localhost" => Hosts::Loopback,
            host => Hosts::Named(vec![parse_address(host)?]),
        },
        port: parse_port(port)?,
    })
}

fn parse_network(text: &str) -> Result<Network, String> {
    text.parse()
}

fn parse_shards(text: &str) -> Result<u8, String> {
    match text.parse::<usize>() {
        Ok(shards @ 1..=limits::SHARDS_MAX) => Ok(shards as u8),
        _ => Err(format!("give a number from 1 to {}", limits::SHARDS_MAX)),
    }
}

fn parse_connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(connections) if connections > 0 => Ok(connections),
        _ => Err("give a number of at least 1".into()),
    }
}

fn parse_wanted(text: &str) -> Result<Wanted, String> {
    match text {
        "publish" => Ok(Wanted::Publish),
        "subscribe" => Ok(Wanted::Subscribe),
        _ => Err("give publish or subscribe".into()),
    }
}

fn parse_io(text: &str) -> Result<Io, String> {
    match text {
        "auto" => Ok(Io::Auto),
        "uring" => Ok(Io::Uring),
        "epoll" => Ok(Io::Epoll),
        _ => Err("give auto, uring or epoll".into()),
    }
}

fn parse_takeover(text: &str) -> Result<ClientIdTakeover, String> {
    match text {
        "owner" => Ok(ClientIdTakeover::Owner),
        "any" => Ok(ClientIdTakeover::Any),
        _ => Err("give owner or any".into()),
    }
}

fn parse_packet_size(text: &str) -> Result<u32, String> {
    parse_size(
        text,
        limits::PACKET_BYTES_MAX_LEAST,
        limits::PACKET_BYTES_MAX_MOST,
    )
}

fn parse_queue_size(text: &str) -> Result<u32, String> {
    parse_size(text, limits::SESSION_QUEUE_BYTES_MAX_LEAST, u32::MAX)
}

fn parse_memory(text: &str) -> Result<u64, String> {
    let bytes = bytes_of(text).filter(|bytes| *bytes >= limits::MEMORY_BYTES_LEAST);
    bytes.ok_or_else(|| "give at least 64M, or a size such as 512M or 2G".into())
}

fn parse_persistence(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("give on or off".into()),
    }
}

fn parse_control(text: &str) -> Result<Control, String> {
    match text {
        "" => Err("give the path of a socket, or off".into()),
        "off" => Ok(Control::Off),
        path => Ok(Control::At(path.into())),
    }
}

fn parse_durability(text: &str) -> Result<Durability, String> {
    match text {
        "strict" => Ok(Durability::Strict),
        "batched" => Ok(Durability::Batched),
        "lazy" => Ok(Durability::Lazy),
        _ => Err("give strict, batched or lazy".into()),
    }
}

fn parse_store_window(text: &str) -> Result<u64, String> {
    let (least, most) = (limits::STORE_WINDOW_MS_LEAST, limits::STORE_WINDOW_MS_MOST);
    match text.parse() {
        Ok(ms) if (least..=most).contains(&ms) => Ok(ms),
        _ => Err(format!("give milliseconds from {least} to {most}")),
    }
}

fn parse_store_size(text: &str) -> Result<u64, String> {
    let bytes = bytes_of(text).filter(|bytes| *bytes >= limits::STORE_FILE_BYTES_LEAST);
    bytes.ok_or_else(|| "give at least 8M, or a size such as 64M or 1G".into())
}

fn parse_size(text: &str, least: u32, most: u32) -> Result<u32, String> {
    bytes_of(text)
        .and_then(|bytes| u32::try_from(bytes).ok())
        .filter(|bytes| (least..=most).contains(bytes))
        .ok_or_else(|| format!("give bytes from {least} to {most}, or a size such as 64K or 16M"))
}

/// Bytes, or a whole number of units of 1024.
fn bytes_of(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1u64),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit))
}

fn parse_fragment(text: &str) -> Result<u16, String> {
    let (least, most) = (
        limits::TLS_FRAGMENT_BYTES_LEAST,
        limits::TLS_FRAGMENT_BYTES_MOST,
    );
    let bytes = text.parse().ok();
    let bytes = bytes.filter(|bytes| (least..=most).contains(bytes));
    bytes.ok_or_else(|| format!("give a number of bytes from {least} to {most}"))
}

fn parse_inflight(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("give a number from 1 to 65535".into()),
        Ok(inflight) => Ok(inflight),
    }
}
