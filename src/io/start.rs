//! The life of the process: reads what the operator wants, finds out what the machine allows, binds, starts the
//! shards and the helpers, and serves signals until the end.

use crate::broker::{LogLevel, OwnMessage};
use crate::buffer::{Stock, code, heap};
use crate::config::mosquitto::{Exit, Kind, LogDestination};
use crate::config::{
    Address, Beside, Config, Hosts, HttpListener, Io, Listener, Logs, Settings, memory_bound,
};
use crate::ids::ShardId;
use crate::io::clock::Clock;
use crate::io::crossing::LANE_BOUNDS;
use crate::io::helpers::bridge::{Bridges, House};
use crate::io::helpers::certificates::Certificates;
use crate::io::helpers::control::{self, End, Served, Signals};
use crate::io::helpers::control_socket;
use crate::io::helpers::control_socket::place::{self, ControlSocket};
use crate::io::helpers::destinations::Publisher;
use crate::io::helpers::handshakes::Handshakes;
use crate::io::helpers::home_assistant;
use crate::io::helpers::http::{self, Site};
use crate::io::helpers::known::{Facts, Known};
use crate::io::helpers::log::Log;
use crate::io::helpers::notify::{Notify, Watchdog};
use crate::io::helpers::passwords::{Checker, Users};
use crate::io::helpers::recent::Recent;
use crate::io::helpers::reload::Reload;
use crate::io::helpers::rules::{self, Faults, RuleFiles};
use crate::io::helpers::sys::Sys;
use crate::io::host::{self, DriverKind, Threads};
use crate::io::listening::ListeningSocket;
use crate::io::mail::{Shards, ToShard};
use crate::io::seat::{Common, seats};
use crate::io::start_error::{StartError, refused};
use crate::io::store::place::Wanted;
use crate::io::store::recovery::{self, Store};
use crate::io::user::{PidFile, RunAs};
use crate::io::{cpu, files, listener, memory};
use crate::limits;
use crate::mesh::{Places, lanes};
use crate::wire::QoS;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::rlim_t;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Serves until SIGTERM or SIGINT.
///
/// Errors: the broker could not start, or a shard was lost. Blocks the signals it serves in the calling thread.
pub fn run(config: Config) -> Result<(), StartError> {
    heap::give_large_blocks_back();
    let clock = Clock::start();
    let signals = Signals::block().map_err(|e| refused("cannot block signals")(e.into()))?;
    let log = Log::start(config.logs, config.logging.as_ref())
        .map_err(refused("cannot start the log's thread"))?;
    let notify = Notify::from_environment().unwrap_or_else(|error| {
        let text = format!("the service manager cannot be notified: NOTIFY_SOCKET: {error}");
        log.line(LogLevel::Warning, text);
        Notify::NOBODY
    });
    let result = serve(config, clock, &signals, &log, &notify);
    if let Err(error) = &result {
        notify.status(&error.to_string());
    }
    log.finish(Duration::from_millis(limits::SHUTDOWN_GRACE_MS));
    result
}

fn serve(
    mut config: Config,
    clock: Clock,
    signals: &Signals,
    log: &Log,
    notify: &Notify,
) -> Result<(), StartError> {
    for note in &config.notes {
        let level = match note.kind {
            Kind::Warning => LogLevel::Warning,
            Kind::NoEffect | Kind::Remark => LogLevel::Info,
        };
        log.line(level, note.to_string());
    }
    let by_mistake = config.listeners.iter().find_map(Listener::open_by_mistake);
    if let Some(address) = by_mistake {
        return Err(StartError::new(format!(
            "--bind {address} lets other machines in without a password: add --passwd FILE, or --allow-anonymous to allow it"
        )));
    }
    let users = users(&config)?;
    for warning in users.warnings() {
        log.line(LogLevel::Warning, warning);
    }
    // A listener that only names without a file are refused at, has a checker as well: a reload may bring a file.
    let checks = config.password_files().iter().any(Option::is_some) || config.source.is_some();
    let checker = checks.then(|| Checker::new(users));
    let run_as = RunAs::of(config.user.as_ref())?;
    let _pid_file = match &config.pid_file {
        Some(file) => Some(PidFile::write(file, run_as.as_ref())?),
        None => None,
    };
    let read = rules(&config)?;
    for warning in read.warnings {
        log.line(LogLevel::Warning, warning);
    }
    if config.listeners.len() > limits::LISTENERS_MAX {
        let (count, max) = (config.listeners.len(), limits::LISTENERS_MAX);
        return Err(StartError::new(format!("{count} listeners: at most {max}")));
    }
    config
        .memory_bytes_max
        .get_or_insert_with(memory::limit_default);
    files::raise_limit(log);
    let allowed = cpu::allowed().map_err(|e| refused("cannot ask for the cores")(e.into()))?;
    let count = match config.shards {
        Some(0) => return Err(StartError::new("--shards 0: at least one shard is needed")),
        Some(count) if usize::from(count) > limits::SHARDS_MAX => {
            let max = limits::SHARDS_MAX;
            return Err(StartError::new(format!("--shards {count}: at most {max}")));
        }
        Some(count) => usize::from(count),
        None => cpu::shards_default(allowed.len()),
    };
    let cores = cpu::placement(count, &allowed);
    let (certificates, told) = certificates(&config)?;
    for warning in told {
        log.line(LogLevel::Warning, warning);
    }
    let listeners = listener::listen_all(&config, &certificates.wrappings(&config))?;
    let http = listener::listen_http(&config)?;
    DriverKind::raise_limits(count);
    let port = config.listeners.first().map_or(0, Listener::port);
    let persists = config.store.persistence != Some(false);
    let wanted = persists.then(|| Wanted::of(&config.store, port));
    let control = match place::open(&config.control, port)? {
        Some(Ok(socket)) => Some(socket),
        Some(Err(why)) => {
            log.line(LogLevel::Info, format!("there is no control socket: {why}"));
            None
        }
        None => None,
    };
    if let Some(run_as) = &run_as {
        for path in control.iter().flat_map(ControlSocket::made) {
            run_as.give(path);
        }
        for path in wanted.iter().flat_map(Wanted::make) {
            run_as.give(&path);
        }
        if let Some(folder) = wanted.as_ref().and_then(Wanted::directory) {
            run_as.give_store(folder);
        }
        for path in listeners.sockets.iter().filter_map(ListeningSocket::path) {
            run_as.give(path);
        }
        if let Some(logging) = &config.logging {
            for destination in &logging.destinations {
                if let LogDestination::File(path) = destination {
                    run_as.give_file(path);
                }
            }
        }
        run_as.take_over()?;
        log.line(LogLevel::Info, format!("runs as user {}", run_as.name));
        for warning in certificates.out_of_reach(&run_as.name) {
            log.line(LogLevel::Warning, warning);
        }
    }
    let (kind, why) = choose_driver(config.io)?;
    // After the sockets are bound, so that a port in use is found before a store is made for it. Nothing is accepted
    // before the shards remember what the store has.
    let recovered = match &wanted {
        Some(wanted) => recovery::recover(&config.store, wanted, count, log)?,
        None => None,
    };

    let common = Common {
        listeners,
        // Their number is known when all shards serve.
        places: Arc::new(Places::new(
            usize::MAX,
            limits::EXTRA_CONNECTIONS,
            &config.connections_max_by_listener(),
        )),
        memory: Arc::new(Stock::new(
            config
                .memory_bytes_max
                .unwrap_or(limits::MEMORY_BYTES_DEFAULT),
            count,
        )),
        checker,
        handshakes: Handshakes::default(),
        log: log.clone(),
        recent: match control.is_some() || !config.http.is_empty() {
            true => Recent::keeping(),
            false => Recent::default(),
        },
        sys: Sys::default(),
        store: recovered.is_some(),
        clock,
    };
    config.core.calendar_zero_s = clock.zero_s();
    if common.recent.keeps() {
        // Who asks why a device has trouble is told, whatever goes to the log.
        config.core.logs = config.core.logs.max(Logs::Events);
    }
    let settings = Settings {
        rules: read.rules,
        store: common.store,
        ..config.settings()
    };
    let start = |kind| start_shards(kind, &settings, &cores, &common);
    let (running, why) = match start(kind) {
        Ok(running) => (running, why),
        // One ring could be had, and one for each shard could not.
        Err(cause) if config.io == Io::Auto && kind != DriverKind::Epoll => {
            (start(DriverKind::Epoll)?, format!("epoll, as {cause}"))
        }
        Err(cause) => return Err(cause),
    };
    let Running {
        shards,
        ended,
        threads,
    } = running;
    if let Some(checker) = &common.checker {
        checker
            .start(shards.clone(), clock)
            .map_err(refused("cannot start the password thread"))?;
    }
    if certificates.are_any() {
        let directory = wanted.as_ref().and_then(Wanted::directory);
        let directory = directory.filter(|_| common.store);
        certificates.take_keys(directory);
        let threads = (allowed.len() / 2).clamp(1, limits::TLS_HELPERS_MAX);
        common
            .handshakes
            .start(shards.clone(), threads)
            .map_err(refused("cannot start the threads of handshakes"))?;
    }
    let watchdog = Watchdog::new(notify, &shards, Instant::now())
        .map_err(|e| refused("cannot make eventfds")(e.into()))?;
    let (room, _) = files::places(count, None)?;
    let (places, files) = files::places(count, config.connections_max)?;
    common.places.set_most(places);
    let store = match recovered {
        Some(recovered) => {
            // Users by certificates stand in no file, and which Session is theirs is not stored.
            let mut listeners = config.listeners.iter();
            let by_files = !listeners.any(|listener| listener.settings.certificate_names);
            let mut gone = match &common.checker {
                Some(checker) if by_files => checker.missing(recovered.users()),
                _ => Vec::new(),
            };
            // The users of bridges need no password.
            let of_bridges = config
                .bridges
                .iter()
                .filter_map(|bridge| bridge.local_user.as_deref());
            let of_bridges: Vec<&str> = of_bridges.collect();
            gone.retain(|user| !of_bridges.contains(&&**user));
            if !gone.is_empty() {
                let text = format!(
                    "store: the sessions of users who are gone end: {}",
                    Checker::named(&gone)
                );
                log.line(LogLevel::Info, text);
            }
            let store = recovered.serve(&shards, gone, log, clock)?;
            // What was read was here twice: as the tables gave it, and as the shards hold it.
            heap::give_free_pages_back();
            Some(store)
        }
        None => None,
    };
    announce(&config, &cores, &why, log);
    if certificates.are_any() {
        let ciphers = Certificates::ciphers().join(", ");
        log.line(
            LogLevel::Info,
            format!("TLS ciphers, the first before the others: {ciphers}"),
        );
    }
    for file in read.files {
        log.line(LogLevel::Info, file);
    }
    announce_places(&config, places, files, log);
    let addresses = common.listeners.addresses();
    for address in &addresses {
        log.line(LogLevel::Info, format!("listening on {address}"));
    }
    let status = format!("listening on {}; {}", addresses.join(", "), access(&config));
    control::tell_ready(notify, &status, log);

    let bridges = Bridges::new(House {
        shards: shards.clone(),
        listener: config.bridges_listener(),
        nameless_listener: config.nameless_bridges_listener(),
        log: log.clone(),
        recent: common.recent.clone(),
        clock,
    });
    common.sys.tell_of(bridges.board());
    if config.home_assistant {
        common.sys.tell_health(true);
        home_assistant::announce(&shards, true);
        if config.sys_interval_s.is_none() {
            let text = "Home Assistant gets no values with `sys_interval 0`: remove the line";
            log.line(LogLevel::Warning, text);
        }
    }
    common.sys.set_interval(config.sys_interval_s);
    common
        .sys
        .start(shards.clone())
        .map_err(refused("cannot start the thread of $SYS"))?;
    if certificates.are_any() {
        let directory = wanted.as_ref().and_then(Wanted::directory);
        let directory = directory.filter(|_| common.store).map(Path::to_owned);
        let sys = config.sys_interval_s.is_some();
        certificates
            .start(shards.clone(), log, directory, sys)
            .map_err(refused("cannot start the thread of certificates"))?;
    }
    log.publish_by(publisher(shards.clone()));
    let control_path = control.as_ref().map(|socket| socket.path.clone());
    let store_directory = wanted.as_ref().and_then(Wanted::directory);
    let known = Known {
        shards: shards.clone(),
        clock,
        log: log.clone(),
        recent: common.recent.clone(),
        bridges: bridges.board(),
        facts: Facts {
            io: why,
            listeners: addresses,
            configuration: config.source.as_ref().map(|source| source.file.clone()),
            passwd: config.only_password_file(),
            memory_bytes_max: settings.memory_bytes_max,
            store: store_directory.filter(|_| common.store).map(Path::to_owned),
        },
    };
    if let Some(socket) = control {
        log.line(
            LogLevel::Info,
            format!("control socket {}", socket.path.display()),
        );
        control_socket::start(socket, known.clone())
            .map_err(refused("cannot start the thread of the control socket"))?;
    }
    if !http.is_empty() {
        let sites = sites(&config, http, &certificates);
        for line in sites.iter().flat_map(Site::lines) {
            log.line(LogLevel::Info, line);
        }
        http::start(sites, known, common.checker.clone(), common.sys.clone())
            .map_err(refused("cannot start the thread of the page"))?;
    }
    bridges
        .exchange(&config.bridges)
        .map_err(refused("cannot start the thread of bridges"))?;
    let checker = common.checker.clone();
    let mut again = Reload::new(
        config,
        checker,
        certificates,
        (Arc::clone(&common.places), room),
        (common.sys.clone(), bridges.clone()),
        shards.clone(),
        (log.clone(), common.recent.keeps()),
    );
    let served = Served {
        shards: &shards,
        clock,
        store: store.as_ref().map(Store::inlet),
    };
    // Options, files and certificates are read once.
    code::let_go();
    let end = control::serve(signals, &ended, served, &mut again, log, notify, watchdog);
    bridges.stop();
    common.listeners.remove_files();
    if let Some(path) = &control_path {
        // As with those: the next start replaces it.
        let _ = std::fs::remove_file(path);
    }
    // With all shards ended, joining does not wait.
    let joined = (end == End::Asked).then(|| threads.join());
    if let Some(store) = store {
        store.stop(matches!(joined, Some(Ok(()))), log);
    }
    match end {
        End::Asked => {
            log.line(LogLevel::Info, "stopped");
            joined
                .unwrap_or(Ok(()))
                .map_err(refused("a shard ended badly"))
        }
        End::Hurried => {
            log.line(LogLevel::Warning, "stopped before all shards had finished");
            Ok(())
        }
        End::ShardLost => Err(StartError::new(
            "a shard ended unexpectedly, see the log; the broker stops so that all of it can be started again",
        )),
    }
}

/// The listeners of the page with their sockets.
fn sites(
    config: &Config,
    sockets: Vec<Vec<TcpListener>>,
    certificates: &Certificates,
) -> Vec<Site> {
    let servers = certificates.of_http(config.listeners.len());
    let listeners = config.http.iter().zip(sockets).zip(servers).enumerate();
    listeners
        .map(|(index, ((http, sockets), tls))| Site {
            listener: config.http_listener(index),
            sockets,
            tls,
            login: http.passwd.is_some(),
            anonymous: http.anonymous,
        })
        .collect()
}

/// Publishes lines of the log as messages of the broker's own, which nobody retains.
fn publisher(shards: Shards) -> Publisher {
    Box::new(move |topic, text| {
        if let Ok(message) = OwnMessage::new(topic, text, QoS::ExactlyOnce, false) {
            shards.tell(ShardId(0), ToShard::Publish(message));
        }
    })
}

/// Shards that serve.
struct Running {
    shards: Shards,
    /// Counts the shards that have ended.
    ended: Arc<EventFd>,
    threads: Threads,
}

fn start_shards(
    kind: DriverKind,
    settings: &Settings,
    cores: &[usize],
    common: &Common,
) -> Result<Running, StartError> {
    let count = cores.len();
    let shards = Shards::new(count).map_err(|e| refused("cannot make eventfds")(e.into()))?;
    let ended = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
    let ended = Arc::new(ended.map_err(|e| refused("cannot make an eventfd")(e.into()))?);
    let endpoints = lanes(count, &LANE_BOUNDS);
    let seats = seats(&shards, endpoints, common);
    let threads = host::start(kind, seats, cores, settings, &ended, &shards)
        .map_err(|error| StartError::new(kind.explain(&error, count)))?;
    Ok(Running {
        shards,
        ended,
        threads,
    })
}

/// What is to drive the sockets, and the words that say why.
fn choose_driver(io: Io) -> Result<(DriverKind, String), StartError> {
    if io == Io::Epoll {
        return Ok((DriverKind::Epoll, "epoll, as asked".to_owned()));
    }
    match (io, DriverKind::uring()) {
        (Io::Uring, Ok(kind)) => Ok((kind, "io_uring, as asked".to_owned())),
        (Io::Uring, Err(cause)) => Err(StartError::new(cause)),
        (_, Ok(kind)) => Ok((kind, "io_uring: this kernel has all it needs".to_owned())),
        (_, Err(cause)) => Ok((DriverKind::Epoll, format!("epoll, as {cause}"))),
    }
}

/// The lines of a start.
fn announce(config: &Config, cores: &[usize], why: &str, log: &Log) {
    let info = |text: String| log.line(LogLevel::Info, text);
    info(format!(
        "mqttfast {}, process {}",
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    ));
    info(format!("sockets by {why}"));
    let names: Vec<String> = cores.iter().map(usize::to_string).collect();
    info(match names.as_slice() {
        [core] => format!("1 shard on core {core}"),
        names => format!("{} shards on cores {}", names.len(), names.join(", ")),
    });
    info(memory_bound(&config.settings(), cores.len(), &Beside::of(config)).to_string());
    info(access(config));
}

/// The users of all listeners.
///
/// Errors: a file cannot be read; with Mosquitto's exit code if a configuration names the file.
fn users(config: &Config) -> Result<Users, StartError> {
    Users::load(&config.password_files()).map_err(|error| {
        let error = StartError::new(error.to_string());
        match config.source {
            Some(_) => error.with_exit_code(Exit::Unreadable.code()),
            None => error,
        }
    })
}

/// Reads the certificates of all listeners.
fn certificates(config: &Config) -> Result<(Certificates, Vec<String>), StartError> {
    Certificates::load(config).map_err(|why| {
        let error = StartError::new(why);
        match config.source {
            Some(_) => error.with_exit_code(Exit::Unreadable.code()),
            None => error,
        }
    })
}

/// Reads the ACL files.
fn rules(config: &Config) -> Result<rules::Read, StartError> {
    let mut read = RuleFiles::of(config).read().map_err(|faults| {
        let code = match (&faults, &config.source) {
            (_, None) => 1,
            (Faults::Unreadable(_), Some(_)) => Exit::Unreadable.code(),
            (Faults::Lines(_), Some(_)) => Exit::Invalid.code(),
        };
        StartError::new(faults.sentences().join("\n")).with_exit_code(code)
    })?;
    let unchecked = config
        .listeners
        .iter()
        .find(|l| !l.settings.passwords && l.acl.is_some());
    if let Some(acl) = unchecked.and_then(|listener| listener.acl.as_ref()) {
        let remedy = match config.source {
            None => "add --passwd FILE",
            Some(_) => "add a password_file",
        };
        read.warnings.push(format!(
            "ACL file {}: without a password file nobody checks user names, so anyone may come as any of its users: {remedy}",
            acl.display()
        ));
    }
    Ok(read)
}

/// What a start would say of the files that a configuration names: a warning a line. For `--check`.
///
/// Errors: the start would fail at a file, or at the user who is to run it.
pub fn check(config: &Config) -> Result<Vec<String>, StartError> {
    RunAs::of(config.user.as_ref())?;
    if let Some(refusal) = config.http.iter().find_map(HttpListener::refusal) {
        return Err(StartError::new(refusal));
    }
    let mut warnings = users(config)?.warnings();
    warnings.extend(rules(config)?.warnings);
    warnings.extend(certificates(config)?.1);
    Ok(warnings)
}

/// Who may connect.
fn access(config: &Config) -> String {
    let mut said: Vec<String> = Vec::new();
    for listener in &config.listeners {
        let words = match config.source {
            Some(_) => access_by(listener),
            None => access_by_flags(listener),
        };
        if !said.contains(&words) {
            said.push(words);
        }
    }
    said.join("; ")
}

/// Who may connect by a listener of a configuration.
fn access_by(listener: &Listener) -> String {
    let tls = listener.transport.tls.as_ref();
    if listener.settings.certificate_names {
        return "clients with a certificate may connect; the name in it is the user".to_owned();
    }
    let certificates = tls.is_some_and(|tls| tls.client_certificate_required);
    let who = access_by_name(listener);
    match certificates {
        true => format!("{who}, and with a certificate alone"),
        false => who,
    }
}

/// Who may connect, by user name.
fn access_by_name(listener: &Listener) -> String {
    let who = match (&listener.passwd, listener.settings.anonymous) {
        (None, false) => {
            "nobody may connect: there is no `password_file`, and no `allow_anonymous true`"
                .to_owned()
        }
        (None, true) => "anyone may connect, with any user name or none".to_owned(),
        (Some(file), false) => format!("only the users of {} may connect", file.display()),
        (Some(file), true) => format!(
            "clients without a user name may connect; those with one need its password in {}",
            file.display()
        ),
    };
    match &listener.address {
        Address::Tcp {
            hosts: Hosts::Loopback,
            ..
        } => format!("{who}; from this machine only, as there is no `listener`"),
        _ => who,
    }
}

/// Who may connect by the listener of the command line.
fn access_by_flags(listener: &Listener) -> String {
    let by_name = listener
        .passwd
        .as_ref()
        .map_or(listener.may_be_reached, |_| listener.settings.anonymous);
    match (&listener.passwd, by_name) {
        (None, false) => "anyone may connect, from this machine only: open it with --passwd FILE, or to everyone with --allow-anonymous".to_owned(),
        (None, true) => "anyone may connect, without a user name".to_owned(),
        (Some(file), false) => format!("only the users of {} may connect", file.display()),
        (Some(file), true) => format!(
            "clients without a user name may connect; those with one need its password in {}",
            file.display()
        ),
    }
}

/// How many connections there may be, and whether that is what was asked for.
fn announce_places(config: &Config, places: usize, files: rlim_t, log: &Log) {
    let (level, more) = match config.connections_max {
        Some(wanted) if wanted > places => (
            LogLevel::Warning,
            format!(", not the {wanted} of --max-connections: raise LimitNOFILE= or ulimit -n"),
        ),
        _ => (LogLevel::Info, String::new()),
    };
    log.line(
        level,
        format!("at most {places} connections, by a limit of {files} open files{more}"),
    );
}
