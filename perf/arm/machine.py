"""An emulated ARM board: four Cortex-A53 cores and 512 MiB by default, Debian's arm64 kernel, a root file system in memory.

`Machine` boots it and runs shell commands inside, through its serial console. Nothing inside reaches the network; one port
leads in. Works with what `perf/arm/setup board` unpacked; standard library only.
"""

import ctypes
import datetime
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ARM = Path(__file__).resolve().parent
REPOSITORY = ARM.parent.parent
TOOLS = REPOSITORY / "perf/.tools/arm"
TARGETS = {"arm64": "aarch64-unknown-linux-gnu", "armhf": "armv7-unknown-linux-gnueabihf"}
# Of an architecture: the loader, and the folder of its libraries.
LOADERS = {"arm64": ("ld-linux-aarch64.so.1", "aarch64-linux-gnu"), "armhf": ("ld-linux-armhf.so.3", "arm-linux-gnueabihf")}
LIBRARIES = ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libgcc_s.so.1"]
MODULES = ["failover", "net_failover", "virtio_net", "virtio_mmio"]

INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for m in {modules}; do insmod /lib/modules/$m.ko; done
ip link set lo up; ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
ulimit -n 65536
stty -echo -opost
echo @@ready
# Its output through a pipe, so that the shell is no interactive one.
sh 2>&1 | cat
poweroff -f
"""


class Failure(Exception):
    """Something inside, or the machine itself, did not do what it should."""


def die_with_parent():
    """In a child: be killed when this script is, even by SIGKILL."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def built(architecture, program):
    """Where `perf/arm/build` leaves it."""
    folder = {"arm64": "arm", "armhf": "arm-32"}[architecture]
    return REPOSITORY / "perf/target" / folder / TARGETS[architecture] / "release" / program


def binary(architecture):
    """The broker."""
    return built(architecture, "mqttfast")


def image(folder, files):
    """A compressed root file system; `files` maps paths inside to files here."""
    root = folder / "root"
    for name in ["bin", "proc", "sys", "dev", "tmp", "etc", "lib/modules"]:
        (root / name).mkdir(parents=True)
    shutil.copy(TOOLS / "machine/busybox", root / "bin/busybox")
    for module in MODULES:
        shutil.copy(TOOLS / f"machine/modules/{module}.ko", root / "lib/modules")
    for architecture, (loader, where) in LOADERS.items():
        source = TOOLS / f"root-{architecture}/lib" / where
        (root / "lib" / where).mkdir()
        shutil.copy(source / loader, root / "lib" / loader)
        for library in LIBRARIES:
            shutil.copy(source / library, root / "lib" / where)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nmosquitto:x:65534:65534::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nmosquitto:x:65534:\n")
    for inside, here in files.items():
        (root / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(here, root / inside)
        (root / inside).chmod(0o755)
    (root / "init").write_text(INIT.format(modules=" ".join(MODULES)))
    (root / "init").chmod(0o755)
    packed = folder / "image.gz"
    subprocess.run("find . | cpio -o -H newc --quiet | gzip -1 > ../image.gz", shell=True, cwd=root, check=True)
    shutil.rmtree(root)
    return packed


class Machine:
    """A context manager; the machine is killed at its end, whatever happens."""

    def __init__(self, files, cores=4, memory_mib=512, cpu="cortex-a53", options=()):
        self.files, self.cores, self.memory_mib, self.cpu, self.options = files, cores, memory_mib, cpu, list(options)
        self.port = free_port()

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mqttfast-board-")
        try:
            packed = image(Path(self.folder.name), self.files)
            argv = ["nice", "-n", "10", "qemu-system-aarch64", "-M", "virt", "-cpu", self.cpu]
            argv += ["-smp", str(self.cores), "-m", str(self.memory_mib)]
            argv += ["-display", "none", "-nodefaults", "-serial", "stdio", "-no-reboot"]
            argv += ["-kernel", str(TOOLS / "machine/vmlinuz"), "-initrd", str(packed)]
            argv += ["-append", "console=ttyAMA0 quiet loglevel=2 panic=-1"]
            argv += ["-netdev", f"user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:1883"]
            argv += ["-device", "virtio-net-device,netdev=n", *self.options]
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, bufsize=0, preexec_fn=die_with_parent)
            self.selector = selectors.DefaultSelector()
            self.selector.register(self.process.stdout, selectors.EVENT_READ)
            self.unread = b""
            self.until(b"@@ready", 300)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if getattr(self, "process", None):
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def until(self, mark, timeout_s):
        """What the console says before the next line that begins with `mark`, and the rest of that line."""
        end = time.monotonic() + timeout_s
        lines = []
        while True:
            while b"\n" in self.unread:
                line, self.unread = self.unread.split(b"\n", 1)
                line = line.rstrip(b"\r")
                # What was printed without an end of line stands before it.
                if mark in line:
                    before, after = line.split(mark, 1)
                    return b"\n".join(lines + [before]).decode(errors="replace"), after.decode()
                lines.append(line)
            if not self.selector.select(max(0, end - time.monotonic())):
                raise Failure(f"no answer from inside within {timeout_s} s; it said: {lines[-20:]} {self.unread!r}")
            read = os.read(self.process.stdout.fileno(), 65536)
            if not read:
                raise Failure(f"the machine ended; it said: {lines[-20:]} {self.unread!r}")
            self.unread += read

    def run(self, command, timeout_s=120, check=True):
        """Runs one command line inside; answers what it printed. Errors: `check` and an exit code that is not 0."""
        # The mark is spelled so that an echo of the line itself is not taken for it.
        try:
            self.process.stdin.write(f"{command}\necho @@'done' $?\n".encode())
        except BrokenPipeError:
            raise Failure(f"the machine ended; it said: {self.unread + self.process.stdout.read()!r}")
        said, code = self.until(b"@@done", timeout_s)
        if check and int(code) != 0:
            raise Failure(f"{command}: exit code {code.strip()}: {said}")
        return said.strip()


def build(architectures, **environment):
    """Binaries, by `perf/arm/build`."""
    subprocess.run([ARM / "build", *[TARGETS[name] for name in architectures]], check=True, env={**os.environ, **environment})


def first_line(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()


def facts(box):
    """Lines that say what a figure was measured on; `box`: the machine, if it was on one."""
    lines = [
        f"date       {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC",
        f"emulator   {first_line('qemu-system-aarch64', '--version')}",
    ]
    if box:
        memory_kib = int(box.run("grep MemTotal /proc/meminfo").split()[1])
        lines.append(f"machine    {box.cpu}, {box.run('nproc')} cores, {memory_kib // 1024} MiB for Linux {box.run('uname -rm')}")
    return lines + [
        f"compiler   {first_line(str(TOOLS / 'rust/rustc'), '--version')}",
        *[
            f"binary     {TARGETS[name]}: source {binary(name).with_suffix('.source').read_text().strip()}, {binary(name).stat().st_size} bytes"
            for name in TARGETS
            if binary(name).exists()
        ],
    ]


def record(name, lines):
    """Keeps what was said under perf/records/emulated-a53."""
    folder = REPOSITORY / "perf/records/emulated-a53"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.txt"
    file.write_text("\n".join(lines) + "\n")
    print(f"record: {file.relative_to(REPOSITORY)}")


class Broker:
    """A broker inside a `Machine`: started, and stopped at the end."""

    def __init__(self, machine, argv, log="/tmp/log"):
        self.machine, self.argv, self.log = machine, argv, log

    def __enter__(self):
        run = self.machine.run
        run(f"{self.argv} >{self.log} 2>&1 &")
        self.pid = int(run("echo $!").split()[-1])
        # Port 1883 in hexadecimal, state LISTEN; and a broker that says so has written its first lines by then.
        listens = "grep -q ':075B 0*:0000 0A' /proc/net/tcp"
        if "mqttfast" in self.argv:
            listens += f" && grep -q 'listening on' {self.log}"
        for _ in range(300):
            if run(f"{listens} && echo yes", check=False) == "yes":
                return self
            if run(f"test -d /proc/{self.pid} && echo alive", check=False) != "alive":
                break
            time.sleep(0.1)
        raise Failure(f"{self.argv} does not listen: {run(f'cat {self.log}')}")

    def stop(self, signal="TERM"):
        """Its exit code."""
        self.machine.run(f"kill -{signal} {self.pid}")
        said = self.machine.run(f"wait {self.pid}; echo code $?", check=False)
        self.pid = None
        return int(said.split("code ")[1].split()[0])

    def __exit__(self, *_):
        if self.pid is not None:
            try:
                self.stop("KILL")
            except Failure:
                pass

    def said(self):
        return self.machine.run(f"cat {self.log}")
