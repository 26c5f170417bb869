//! Asks for a password twice, without echo on a terminal; what comes through a pipe is read line by line.
//!
//! By hand, since the crate for it (rpassword 7.5) leaves a mute terminal behind when a signal ends the program, and
//! reads `/dev/tty` where `mosquitto_passwd` and scripts around it mean standard input.

use super::failure::Failure;
use crate::limits;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;

/// Bytes of a line with its end.
const LINE_BYTES_MAX: usize = limits::PASSWORD_BYTES_MAX + 2;

/// The password, typed twice alike. The prompts and exit codes are those of `mosquitto_passwd`.
pub fn ask_twice() -> Result<Vec<u8>, Failure> {
    let mut input = Input::open().map_err(failure)?;
    let password = input.ask("Password: ")?;
    if password.is_empty() {
        return Err(Failure::refused(
            "the password is empty; type at least one character",
        ));
    }
    if input.ask("Reenter password: ")? != password {
        return Err(Failure {
            exit_code: 2,
            text: "the passwords do not match; nothing was changed, try again".into(),
        });
    }
    Ok(password)
}

/// A password that is there, typed once.
pub fn ask_once() -> Result<Vec<u8>, Failure> {
    Input::open().map_err(failure)?.ask("Password: ")
}

fn failure(error: io::Error) -> Failure {
    Failure::refused(format!(
        "the password cannot be read from standard input: {error}"
    ))
}

/// Standard input; with a terminal behind it, or lines of a pipe or file.
struct Input {
    terminal: Option<HiddenTerminal>,
}

impl Input {
    fn open() -> io::Result<Input> {
        let terminal = io::stdin().is_terminal().then(HiddenTerminal::new);
        Ok(Input {
            terminal: terminal.transpose()?,
        })
    }

    /// One line, without its end.
    fn ask(&mut self, prompt: &str) -> Result<Vec<u8>, Failure> {
        // A prompt that nobody can see is no reason to fail.
        let mut stdout = io::stdout();
        let _ = write!(stdout, "{prompt}").and_then(|()| stdout.flush());
        let mut line = match &mut self.terminal {
            Some(terminal) => terminal.read_line(),
            None => read_line(io::stdin().lock()),
        }
        .map_err(failure)?;
        if self.terminal.is_none() {
            let _ = writeln!(stdout);
        }
        while let Some(b'\n' | b'\r') = line.last() {
            line.pop();
        }
        if line.len() > limits::PASSWORD_BYTES_MAX {
            return Err(Failure::refused(format!(
                "the password is longer than the {} bytes MQTT allows; choose a shorter one",
                limits::PASSWORD_BYTES_MAX
            )));
        }
        Ok(line)
    }
}

fn read_line(input: impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input
        .take(LINE_BYTES_MAX as u64 + 1)
        .read_until(b'\n', &mut line)?;
    Ok(line)
}

/// A terminal that shows nothing of what is typed, as long as this lives. Signals that would end the program wait
/// meanwhile: it must not leave a mute terminal behind.
struct HiddenTerminal {
    shown: Termios,
    waiting: SigSet,
    signals: SignalFd,
}

impl HiddenTerminal {
    fn new() -> io::Result<HiddenTerminal> {
        let stdin = io::stdin();
        let shown = tcgetattr(stdin.as_fd())?;
        let waiting = SigSet::from_iter([
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGTSTP,
        ]);
        let signals = SignalFd::with_flags(&waiting, SfdFlags::SFD_CLOEXEC)?;
        waiting.thread_block()?;
        let mut hidden = shown.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        // The end of the line is still shown, so that the next prompt starts a line.
        hidden.local_flags.insert(LocalFlags::ECHONL);
        // Made before the terminal changes: its drop undoes the change however this ends.
        let terminal = HiddenTerminal {
            shown,
            waiting,
            signals,
        };
        tcsetattr(stdin.as_fd(), SetArg::TCSAFLUSH, &hidden)?;
        Ok(terminal)
    }

    /// The terminal hands out whole lines; the standard library's buffer is passed by, since `poll` does not see it.
    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let stdin = io::stdin();
        let mut line = Vec::new();
        let mut bytes = [0; 4096];
        while line.last() != Some(&b'\n') && line.len() <= LINE_BYTES_MAX {
            let mut ready = [
                PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                polled => polled?,
            };
            if ready[1].any() == Some(true) {
                return Err(self.end_by_signal());
            }
            match nix::unistd::read(stdin.as_fd(), &mut bytes)? {
                0 => break,
                count => line.extend_from_slice(&bytes[..count]),
            }
        }
        Ok(line)
    }

    /// Lets the signal do what it would have done, with the terminal as it was. Comes back only if it was ignored.
    fn end_by_signal(&mut self) -> io::Error {
        let number = match self.signals.read_signal() {
            Ok(Some(signal)) => signal.ssi_signo,
            Ok(None) => return io::ErrorKind::Interrupted.into(),
            Err(errno) => return errno.into(),
        };
        self.show();
        println!();
        if let Ok(signal) = Signal::try_from(number as i32) {
            let _ = raise(signal);
        }
        io::ErrorKind::Interrupted.into()
    }

    fn show(&mut self) {
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSADRAIN, &self.shown);
        let _ = self.waiting.thread_unblock();
    }
}

impl Drop for HiddenTerminal {
    fn drop(&mut self) {
        self.show();
    }
}
