"""Starts brokers and the load generator, one of each at a time, each on its core. What `perf/run` and `perf/curves` share.

Standard library only. Every run starts a fresh broker.
"""

import csv
import ctypes
import io
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PERF = Path(__file__).resolve().parent
REPOSITORY = PERF.parent
LOAD = PERF / "target/release/mqttfast-load"
TOOLS = PERF / ".tools"

MOSQUITTO_CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
log_dest none
max_queued_messages 0
set_tcp_nodelay true
"""

# For clients without a user name. The generator writes and reads below the last four.
ACL_RULES = [f"topic readwrite house/room-{room}/#" for room in range(96)]
ACL_RULES += [f"topic readwrite {top}/#" for top in ("bench", "site", "kept", "idle")]

RUMQTTD_CONFIG = """\
id = 0
[router]
id = 0
max_connections = 10100
max_outgoing_packet_count = 5000
max_segment_size = 104857600
max_segment_count = 10
[v4.1]
name = "v4-1"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 0
[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = 2097152
max_inflight_count = 500
dynamic_filters = true
"""


class Broker:
    """How to start one broker, and how it is spoken to: "tcp", "tls", "ws" or "wss". `argv` and `config` may use {port},
    {config}, {mqttfast}, {tools}, {acl}, {cert} and {key}."""

    def __init__(self, argv, config=None, cores="broker", version=None, transport="tcp"):
        self.argv, self.config, self.cores, self.version, self.transport = argv, config, cores, version, transport

    def over(self, transport):
        """The same broker with another transport; `None`: it has none."""
        if self.argv[0] == "mosquitto":
            more = "protocol websockets\n" if transport in ("ws", "wss") else ""
            more += "certfile {cert}\nkeyfile {key}\n" if transport in ("tls", "wss") else ""
            return Broker(self.argv, self.config + more, self.cores, self.version, transport)
        if "--port" not in self.argv:
            return None
        at = self.argv.index("--port")
        words = ["--listen", {"tls": "mqtts", "ws": "ws", "wss": "wss"}[transport] + "://127.0.0.1:{port}"]
        words += ["--cert", "{cert}", "--key", "{key}"] if transport in ("tls", "wss") else []
        return Broker(self.argv[:at] + words + self.argv[at + 2 :], self.config, self.cores, self.version, transport)

    def ruled(self):
        """The same broker with an ACL file of 100 rules."""
        if self.argv[0] == "mosquitto":
            return Broker(self.argv, self.config + "acl_file {acl}\n", self.cores, self.version, self.transport)
        return Broker(self.argv + ["--acl", "{acl}"], self.config, self.cores, self.version, self.transport)


OURS = ["{mqttfast}", "--quiet", "--port", "{port}"]

# To add a broker, add a line. `cores` is "broker" (the one pinned core), "load" (that of the generator) or "all".
BROKERS = {
    "mosquitto": Broker(["mosquitto", "-c", "{config}"], MOSQUITTO_CONFIG, version=["mosquitto", "-h"]),
    # The same again: shows how much of a ratio is noise.
    "mosquitto-b": Broker(["mosquitto", "-c", "{config}"], MOSQUITTO_CONFIG, version=["mosquitto", "-h"]),
    # Quiet, as mosquitto's log is off above; otherwise `connect` would compare two lines of log with none.
    "mqttfast": Broker(OURS + ["--shards", "1"], version=["{mqttfast}", "--version"]),
    "mqttfast-log": Broker(["{mqttfast}", "--port", "{port}", "--shards", "1"]),
    "mqttfast-uring": Broker(OURS + ["--shards", "1", "--io", "uring"]),
    "mqttfast-epoll": Broker(OURS + ["--shards", "1", "--io", "epoll"]),
    "mqttfast-2": Broker(OURS + ["--shards", "2"], cores="all"),
    "mqttfast-4": Broker(OURS + ["--shards", "4"], cores="all"),
    # Not a broker: it forwards whole reads of a pair and nothing else, the bound of an epoll design.
    "relay": Broker([str(PERF / "target/release/relay"), "{port}"]),
    # The others, where `perf/peers` could install them.
    "rumqttd": Broker(["{tools}/bin/rumqttd", "-c", "{config}"], RUMQTTD_CONFIG, version=["{tools}/bin/rumqttd", "--version"]),
    "aedes": Broker(["node", str(PERF / "aedes.mjs"), "{port}"], version=["node", "--version"]),
}

# Each of them inside TLS, over WebSockets, and over WebSockets inside TLS: `mosquitto-tls`, `mqttfast-epoll-wss` ...
for _name, _broker in list(BROKERS.items()):
    for _transport in ("tls", "ws", "wss"):
        if _over := _broker.over(_transport) if _name != "relay" else None:
            BROKERS[f"{_name}-{_transport}"] = _over

# Each of these two with an ACL file: what the rules cost.
for _name in ("mosquitto", "mqttfast"):
    BROKERS[f"{_name}-acl"] = BROKERS[_name].ruled()

NICE = 0

# Keys of the broker's certificate: words for `openssl req`.
KEYS = {"p256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["-newkey", "rsa:2048"], "ed25519": ["-newkey", "ed25519"]}


def make_certificate(folder, key):
    """A certificate of localhost with a key of this kind, and that key, as files of this folder."""
    cert, key_file = Path(folder) / "cert.pem", Path(folder) / "key.pem"
    argv = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost", *KEYS[key]]
    argv += ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
    done = subprocess.run(argv + ["-out", str(cert), "-keyout", str(key_file)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"openssl: {done.stderr.strip()}")
    # mosquitto reads it when it is root no more.
    key_file.chmod(0o644)
    return cert, key_file



def die_with_parent():
    """In a child: be killed when this script is, even by SIGKILL; and take the priority asked for."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if NICE:
        os.setpriority(os.PRIO_PROCESS, 0, NICE)


class Running:
    """One started broker, of `BROKERS` unless another is given; a context manager that always stops it."""

    def __init__(self, name, arguments, broker=None):
        self.name, self.broker, self.arguments = name, broker or BROKERS[name], arguments

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mqttfast-perf-")
        # mosquitto gives up root and must still read its file.
        os.chmod(self.folder.name, 0o755)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = Path(self.folder.name) / "config.toml"  # rumqttd goes by the name; mosquitto does not care.
        words = {"port": self.port, "config": config, "mqttfast": self.arguments.mqttfast, "tools": TOOLS}
        words["acl"] = Path(self.folder.name) / "acl"
        words["acl"].write_text("\n".join(ACL_RULES) + "\n")
        # mosquitto reads it when it is root no more.
        words["acl"].chmod(0o644)
        # For the generator.
        self.words = ["--websocket"] if self.broker.transport in ("ws", "wss") else []
        if self.broker.transport in ("tls", "wss"):
            words["cert"], words["key"] = make_certificate(self.folder.name, getattr(self.arguments, "key", "p256"))
            self.words += ["--tls", str(words["cert"])]
        if self.broker.config:
            config.write_text(self.broker.config.format(**words))
        argv = [word.format(**words) for word in self.broker.argv]
        core = {"broker": self.arguments.broker_core, "load": self.arguments.load_core}.get(self.broker.cores)
        if core is not None:
            argv = ["taskset", "-c", str(core)] + argv
        self.log = open(Path(self.folder.name) / "log", "w+")
        try:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=die_with_parent
            )
        except OSError as error:
            self.folder.cleanup()
            raise Failure(f"{argv[0]}: {error.strerror}")
        try:
            self.wait_for_port()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait_for_port(self):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failure(f"{self.name} ended at once (exit code {self.process.returncode}): {self.last_words()}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    # Where nobody listens, a socket may meet itself.
                    if probe.getsockname() != probe.getpeername():
                        time.sleep(0.1)
                        return
            except OSError:
                time.sleep(0.02)
        raise Failure(f"{self.name} does not listen after 10 s: {self.last_words()}")

    def last_words(self):
        self.log.flush()
        self.log.seek(0)
        lines = self.log.read()[-2000:].strip().splitlines()
        return " / ".join(lines[-3:]) or "it said nothing"

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                print(f"  {self.name} ignored SIGTERM for 5 s: killed", file=sys.stderr)
                self.process.kill()
                self.process.wait(5)
        self.log.close()
        self.folder.cleanup()




class Failure(Exception):
    """One run failed; the others go on."""


def run_once(name, words, arguments, seconds):
    """One run of the generator, `words` its scenario and options, against a fresh broker. Answers its line as a dictionary."""
    with Running(name, arguments) as running:
        argv = ["taskset", "-c", str(arguments.load_core), str(LOAD), *words, *running.words, "--csv"]
        argv += ["--port", str(running.port), "--pid", str(running.process.pid)]
        argv += ["--seconds", str(seconds), "--warm-up", str(arguments.warm_up)]
        tracer = start_tracer(running) if getattr(arguments, "syscalls", False) else None
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds + arguments.warm_up + 120,
                preexec_fn=die_with_parent,
            )
        except subprocess.TimeoutExpired:
            raise Failure("the generator did not end in time")
        finally:
            calls = stop_tracer(tracer, running) if tracer else None
        if done.returncode != 0:
            said = done.stderr.strip() or f"the generator ended by signal {-done.returncode}"
            if running.process.poll() is not None:
                said += f"; the broker ended with {running.process.returncode}: {running.last_words()}"
            raise Failure(said)
        row = next(csv.DictReader(io.StringIO(done.stdout)))
        if calls is not None:
            row["syscalls_each"] = f"{calls / max(1, int(row.get('due') or row['count'])):.4f}"
        return row


def start_tracer(running):
    """strace counts the system calls; it slows the broker down, so its runs say nothing else."""
    output = Path(running.folder.name) / "strace"
    argv = ["strace", "-f", "-c", "-U", "calls,name", "-o", str(output), "-p", str(running.process.pid)]
    tracer = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
    time.sleep(0.5)
    return tracer


def stop_tracer(tracer, running):
    tracer.send_signal(signal.SIGINT)
    try:
        tracer.wait(10)
    except subprocess.TimeoutExpired:
        tracer.kill()
        tracer.wait(5)
        return None
    try:
        total = re.search(r"^\s*(\d+)\s+total", (Path(running.folder.name) / "strace").read_text(), re.M)
    except OSError:
        return None
    return int(total.group(1)) if total else None


def first_line(argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines and done.returncode in (0, 1, 3) else "unknown"


def machine_model():
    """The board's name, or else the processor's."""
    try:
        return Path("/proc/device-tree/model").read_text().strip("\0\n ")
    except OSError:
        pass
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return found.group(1).strip() if found else os.uname().machine


def slug(text):
    text = re.sub(r"\((R|TM|C)\)", "", text, flags=re.I).lower()
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-") or "unknown"


def facts(arguments, brokers, runs):
    """What a reader of a record must know, a line each; `runs`: how often and how long."""
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    lines = [
        f"date       {arguments.started:%Y-%m-%d %H:%M} UTC",
        f"processor  {machine_model()}, {os.cpu_count()} cores, {os.uname().machine}",
        f"memory     {int(memory.group(1)) // 1024 if memory else 0} MiB",
        f"kernel     {os.uname().sysname} {os.uname().release}",
        f"compiler   {first_line(['rustc', '--version'])}",
        f"source     {first_line(['git', '-C', str(REPOSITORY), 'describe', '--always', '--dirty', '--abbrev=12'])}",
        f"cores      broker {arguments.broker_core}, load {arguments.load_core}",
        f"runs       {runs}" + (f", nice {arguments.nice}" if arguments.nice else ""),
        f"load       {' '.join(Path('/proc/loadavg').read_text().split()[:3])} at the start",
    ]
    for name in brokers:
        version = BROKERS[name].version
        said = first_line([word.format(mqttfast=arguments.mqttfast, tools=TOOLS) for word in version]) if version else ""
        start = " ".join(BROKERS[name].argv).replace("{mqttfast}", "mqttfast").replace(str(PERF), "perf").replace("{tools}", "perf/.tools")
        lines.append(f"broker     {name}: {start}" + (f" ({said})" if said else ""))
    return "\n".join(lines) + "\n"


def write_record(arguments, rows, text, prefix=""):
    """Keeps the rows as .csv and the text as .txt, named after the day; nothing is overwritten."""
    folder = Path(arguments.records) / arguments.machine
    folder.mkdir(parents=True, exist_ok=True)
    day, count = f"{prefix}{arguments.started:%Y-%m-%d}", 1
    name = day
    while (folder / f"{name}.csv").exists():
        count += 1
        name = f"{day}.{count}"
    columns = []
    for row in rows:
        columns += [column for column in row if column not in columns]
    with open(folder / f"{name}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (folder / f"{name}.txt").write_text(text)
    print(f"record: {folder / name}.csv and .txt")


def add_arguments(parser):
    """The options every program here has."""
    cores = sorted(os.sched_getaffinity(0))
    parser.add_argument("--machine", default=slug(machine_model()), help="folder of the record; default from the processor: %(default)s")
    parser.add_argument("--records", default=str(PERF / "records"), help="default perf/records")
    parser.add_argument("--no-record", action="store_true", help="only print")
    parser.add_argument("--mqttfast", default=str(REPOSITORY / "target/release/mqttfast"), help="default target/release/mqttfast")
    parser.add_argument("--broker-core", type=int, default=cores[0], help="default the first")
    parser.add_argument("--load-core", type=int, default=cores[-1], help="default the last")
    parser.add_argument("--nice", type=int, default=0, help="priority of broker and load; below 0 (root) against a busy machine")
    parser.add_argument("--no-build", action="store_true", help="do not call cargo")


def prepare(arguments, brokers):
    """What every program here does before its first run."""
    global NICE
    NICE = arguments.nice
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # Debian keeps mosquitto there.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    build(arguments, brokers)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < 10_100:
        print(f"only {hard} open files allowed: 10,000 connections need 10,100", file=sys.stderr)
    if arguments.broker_core == arguments.load_core:
        print("broker and load share a core: the figures say little", file=sys.stderr)


def build(arguments, brokers):
    jobs = [(PERF / "load/Cargo.toml", PERF / "target", [])]
    if any("{mqttfast}" in BROKERS[name].argv[0] for name in brokers) and not arguments.no_build:
        if arguments.mqttfast == str(REPOSITORY / "target/release/mqttfast"):
            jobs.append((REPOSITORY / "Cargo.toml", REPOSITORY / "target", ["--bin", "mqttfast"]))
    for manifest, target, more in [] if arguments.no_build else jobs:
        argv = ["cargo", "build", "--release", "--quiet", "--locked", "--manifest-path", str(manifest)]
        if subprocess.run(argv + ["--target-dir", str(target)] + more).returncode != 0:
            sys.exit(f"{manifest} does not build")
    for name in brokers:
        program = BROKERS[name].argv[0].format(mqttfast=arguments.mqttfast, tools=TOOLS)
        if not shutil.which(program):
            sys.exit(f"{program} is missing: " + ("apt install mosquitto" if program == "mosquitto" else "perf/peers installs the others"))
    for tool in ["taskset"] + (["strace"] if getattr(arguments, "syscalls", False) else []):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing")
