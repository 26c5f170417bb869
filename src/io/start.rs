//! The life of the process: reads what the operator wants, finds out what the machine allows, binds, starts the
//! shards and the helpers, and serves signals until the end.

use crate::broker::LogLevel;
use crate::buffer::heap;
use crate::config::{Config, Io, memory_bound};
use crate::io::clock::Clock;
use crate::io::crossing::LANE_BOUNDS;
use crate::io::helpers::control::{self, End, Signals};
use crate::io::helpers::log::Log;
use crate::io::helpers::notify::{Notify, Watchdog};
use crate::io::helpers::passwords::Checker;
use crate::io::host::{self, DriverKind, Threads};
use crate::io::mail::Shards;
use crate::io::seat::{Common, seats};
use crate::io::start_error::{StartError, refused};
use crate::io::{cpu, files, listener, memory};
use crate::limits;
use crate::mesh::{Capacity, lanes};
use crate::passwd::PasswordFile;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::rlim_t;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Serves until SIGTERM or SIGINT.
///
/// Errors: the broker could not start, or a shard was lost. Blocks the signals it serves in the calling thread.
pub fn run(config: Config) -> Result<(), StartError> {
    heap::give_large_blocks_back();
    let clock = Clock::start();
    let signals = Signals::block().map_err(|e| refused("cannot block signals")(e.into()))?;
    let log = Log::start(config.logs).map_err(refused("cannot start the log's thread"))?;
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
    if let Some(address) = config.open_by_mistake() {
        return Err(StartError::new(format!(
            "--bind {address} lets other machines in without a password: add --passwd FILE, or --allow-anonymous to allow it"
        )));
    }
    let checker = match &config.passwd {
        Some(path) => {
            let file = PasswordFile::load(path).map_err(|e| StartError::new(e.to_string()))?;
            for warning in file.warnings(path) {
                log.line(LogLevel::Warning, warning);
            }
            Some(Checker::new(path, file))
        }
        None => None,
    };
    if config.listeners.len() > limits::LISTENERS_MAX {
        let (count, max) = (config.listeners.len(), limits::LISTENERS_MAX);
        return Err(StartError::new(format!("{count} listeners: at most {max}")));
    }
    config
        .memory_bytes_max
        .get_or_insert_with(memory::limit_default);
    let (kind, why) = choose_driver(config.io)?;
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
    let listeners = listener::listen_all(&config)?;

    let common = Common {
        listeners,
        // Their number is known when all shards serve.
        capacity: Arc::new(Capacity::new(usize::MAX, limits::EXTRA_CONNECTIONS)),
        checker,
        log: log.clone(),
        clock,
    };
    let start = |kind| start_shards(kind, &config, &cores, &common);
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
    let watchdog = Watchdog::new(notify, &shards, Instant::now())
        .map_err(|e| refused("cannot make eventfds")(e.into()))?;
    let (places, files) = files::places(count, config.connections_max)?;
    common.capacity.set_most(places);
    announce(&config, &cores, &why, log);
    announce_places(&config, places, files, log);
    let addresses: Vec<String> = common
        .listeners
        .sockets
        .iter()
        .filter_map(|listener| listener.local_addr().ok())
        .map(|address| address.to_string())
        .collect();
    for address in &addresses {
        log.line(LogLevel::Info, format!("listening on {address}"));
    }
    let status = format!("listening on {}; {}", addresses.join(", "), access(&config));
    control::tell_ready(notify, &status, log);

    let checker = common.checker.as_ref();
    let end = control::serve(signals, &ended, &shards, checker, log, notify, watchdog);
    match end {
        End::Asked => {
            // All have said that they end, so this does not wait.
            let joined = threads.join();
            log.line(LogLevel::Info, "stopped");
            joined.map_err(refused("a shard ended badly"))
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

/// Shards that serve.
struct Running {
    shards: Shards,
    /// Counts the shards that have ended.
    ended: Arc<EventFd>,
    threads: Threads,
}

fn start_shards(
    kind: DriverKind,
    config: &Config,
    cores: &[usize],
    common: &Common,
) -> Result<Running, StartError> {
    let count = cores.len();
    let shards = Shards::new(count).map_err(|e| refused("cannot make eventfds")(e.into()))?;
    let ended = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
    let ended = Arc::new(ended.map_err(|e| refused("cannot make an eventfd")(e.into()))?);
    let endpoints = lanes(count, &LANE_BOUNDS);
    let seats = seats(&shards, endpoints, common);
    let threads = host::start(kind, seats, cores, &config.settings(), &ended, &shards)
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
    info(memory_bound(&config.settings(), cores.len()).to_string());
    info(access(config));
}

/// Who may connect.
fn access(config: &Config) -> String {
    match (&config.passwd, config.allow_anonymous) {
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
