//! A signer that is somebody else's program: a KMS client, a smart-card tool, `openssl`.
//!
//! It gets the bytes to sign on its standard input and prints the signature as 128 hex digits. Its standard error goes
//! where ours goes; what it prints on standard output is never repeated in a message.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use aegis_crypto::{PublicKey, Signature};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::sign::{PayloadSigner, SignerError};

/// The most bytes that are read of what a command prints.
pub const MAX_COMMAND_OUTPUT: usize = 4096;

/// How often an ended command is looked for once its output has ended.
const EXIT_POLL: Duration = Duration::from_millis(2);

/// Signs by running a command in `/bin/sh`.
#[derive(Debug, Clone)]
pub struct CommandSigner {
    /// The command line.
    pub command: String,
    /// The public half of the key that it signs with.
    pub public_key: PublicKey,
    /// How long it may take.
    pub timeout: Duration,
}

impl PayloadSigner for CommandSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn sign(&self, payload: &[u8]) -> Result<Signature, SignerError> {
        let mut running = Running::start(&self.command)?;
        let result = running.finish(payload, self.timeout);
        if result.is_err() {
            running.kill();
        }
        let (status, output) = result?;
        if !status.success() {
            return Err(SignerError::CommandFailed { status });
        }
        parse_output(&output)
    }
}

/// Exactly 128 hex digits in either case; white space at the end is tolerated.
fn parse_output(output: &[u8]) -> Result<Signature, SignerError> {
    let text = output.trim_ascii_end();
    if text.is_empty() {
        return Err(SignerError::CommandSilent);
    }
    let found = text.len();
    if found != 2 * Signature::LEN {
        return Err(SignerError::CommandOutputLength { found });
    }
    if let Some(at) = text.iter().position(|byte| !byte.is_ascii_hexdigit()) {
        return Err(SignerError::CommandOutputNotHex { position: at + 1 });
    }
    // What is left cannot fail; if it did, the parser's own error would repeat a character of the output.
    let text = std::str::from_utf8(text).unwrap_or_default();
    Signature::from_hex(text).map_err(|_| SignerError::CommandOutputLength { found })
}

struct Running {
    child: Child,
    group: Group,
}

/// Whom to kill when the time is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    /// The command leads a process group of its own: it and all that it started.
    Own,
    /// The command shares ours, the one in the foreground of a terminal: the shell alone.
    Shared,
}

impl Running {
    fn start(command: &str) -> Result<Self, SignerError> {
        // A process group of its own would be in the background of the terminal, where a program that asks for a
        // passphrase is stopped and an interrupt typed at the keyboard does not arrive.
        let group = if has_terminal() { Group::Shared } else { Group::Own };
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        if group == Group::Own {
            shell.process_group(0);
        }
        let child = shell.spawn().map_err(|source| SignerError::CommandStart { source })?;
        Ok(Self { child, group })
    }

    /// Gives it the payload, takes its output and waits for its end, all within `timeout`.
    fn finish(&mut self, payload: &[u8], timeout: Duration) -> Result<(ExitStatus, Vec<u8>), SignerError> {
        // A timeout beyond what the clock can hold is none.
        let deadline = Instant::now().checked_add(timeout);
        let (sender, receiver) = mpsc::channel();
        if let Some(stdin) = self.child.stdin.take() {
            write_payload(stdin, payload.to_vec());
        }
        if let Some(stdout) = self.child.stdout.take() {
            thread::spawn(move || sender.send(read_output(stdout)));
        }
        let output = match deadline {
            Some(deadline) => receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            None => receiver.recv().map_err(RecvTimeoutError::from),
        };
        let output = output
            .map_err(|_| SignerError::CommandTimeout { timeout })?
            .map_err(|source| SignerError::CommandLost { source })?;
        if output.len() > MAX_COMMAND_OUTPUT {
            return Err(SignerError::CommandOutputTooLong { limit: MAX_COMMAND_OUTPUT });
        }
        loop {
            let ended = self.child.try_wait().map_err(|source| SignerError::CommandLost { source })?;
            if let Some(status) = ended {
                return Ok((status, output));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(SignerError::CommandTimeout { timeout });
            }
            thread::sleep(EXIT_POLL);
        }
    }

    /// Ends it, and all that it started if they have a group of their own; leaves no zombie.
    fn kill(&mut self) {
        if self.group == Group::Own {
            // The leader has not been waited for, so its id cannot have passed to another group.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether there is a terminal at which somebody could be asked for a passphrase.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Writes in a thread of its own: a command that prints before it reads, or never reads, stops nobody.
fn write_payload(mut stdin: ChildStdin, payload: Vec<u8>) {
    thread::spawn(move || {
        // A command that closes its input early may still know what to sign; its signature is verified in any case.
        let _ = stdin.write_all(&payload);
    });
}

/// Everything up to one byte more than the limit.
fn read_output(stdout: ChildStdout) -> io::Result<Vec<u8>> {
    let mut output = Vec::with_capacity(MAX_COMMAND_OUTPUT + 1);
    stdout.take(MAX_COMMAND_OUTPUT as u64 + 1).read_to_end(&mut output)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::samples::{public, skipped};

    /// An Ed25519 signature by itself is only 64 bytes here: whether it holds is judged by the caller.
    const HEX: &str = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";

    fn signer(command: &str) -> CommandSigner {
        let public_key = public(7);
        CommandSigner { command: command.to_owned(), public_key, timeout: Duration::from_secs(20) }
    }

    fn run(command: &str) -> Result<Signature, SignerError> {
        signer(command).sign(b"payload")
    }

    #[test]
    fn takes_128_hex_digits_in_either_case() {
        for command in [
            format!("printf {HEX}"),
            format!("echo {HEX}"),
            format!("printf '{HEX}\\r\\n \\t\\n'"),
            format!("cat >/dev/null; echo {}", HEX.to_uppercase()),
        ] {
            assert_eq!(run(&command).unwrap(), Signature::from_hex(HEX).unwrap(), "{command}");
        }
    }

    #[test]
    fn gives_the_exact_bytes_on_standard_input() {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy");
        let payload: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        let command = format!("cat > {} && echo {HEX}", copy.display());
        signer(&command).sign(&payload).unwrap();
        assert_eq!(std::fs::read(copy).unwrap(), payload);
    }

    #[test]
    fn passes_the_environment_through() {
        assert!(run(&format!("test -n \"$PATH\" && echo {HEX}")).is_ok());
    }

    #[test]
    fn a_command_that_never_reads_stops_nobody() {
        // More than any pipe holds.
        let payload = vec![0; 4 << 20];
        assert!(signer(&format!("echo {HEX}")).sign(&payload).is_ok());
        assert!(signer(&format!("exec <&-; sleep 0.1; echo {HEX}")).sign(&payload).is_ok());
    }

    #[test]
    fn refuses_what_is_not_a_signature_and_repeats_none_of_it() {
        let silent = ["true", "printf '\\n \\n'"];
        for command in silent {
            assert!(matches!(run(command), Err(SignerError::CommandSilent)), "{command}");
        }
        let length = [
            format!("printf {}", &HEX[1..]),
            format!("printf {HEX}0"),
            format!("printf ' {HEX}'"),
            format!("echo {HEX}; echo {HEX}"),
            format!("printf 0x{HEX}"),
            "printf '\\377\\376'".to_owned(),
            "echo hunter2-secret".to_owned(),
        ];
        for command in length {
            let error = run(&command).unwrap_err();
            assert!(matches!(error, SignerError::CommandOutputLength { .. }), "{command}: {error}");
            assert!(!format!("{error} {error:?} {:?}", error.help()).contains("hunter2"), "{error}");
        }
        let not_hex = [
            (format!("printf 'g{}'", &HEX[1..]), 1),
            (format!("printf '{}g'", &HEX[1..]), 128),
            (format!("printf '{}\\n{}'", &HEX[..64], &HEX[65..]), 65),
            (format!("printf '\\000{}'", &HEX[1..]), 1),
            (format!("printf '{}\\303\\251'", &HEX[2..]), 127),
        ];
        for (command, at) in not_hex {
            assert!(
                matches!(run(&command), Err(SignerError::CommandOutputNotHex { position }) if position == at),
                "{command}"
            );
        }
        for command in
            [format!("printf {HEX}; head -c 5000 /dev/zero"), "cat /dev/zero".to_owned(), "yes".to_owned()]
        {
            assert!(matches!(run(&command), Err(SignerError::CommandOutputTooLong { .. })), "{command}");
        }
    }

    #[test]
    fn a_failed_command_has_not_signed() {
        for command in [
            format!("echo {HEX}; exit 3"),
            format!("echo {HEX}; kill -9 $$"),
            "exit 1".to_owned(),
            "/no/such/program 2>/dev/null".to_owned(),
        ] {
            let error = run(&command).unwrap_err();
            assert!(matches!(error, SignerError::CommandFailed { .. }), "{command}: {error}");
        }
        assert!(run("exit 7").unwrap_err().to_string().contains('7'));
    }

    #[test]
    fn kills_a_slow_command_and_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let late = dir.path().join("late");
        let commands = [
            format!("sleep 30; echo {HEX}"),
            format!("echo {HEX}; exec >&-; sleep 30"),
            format!("(sleep 1; touch {}) & sleep 30", late.display()),
        ];
        for command in &commands {
            let started = Instant::now();
            let slow = CommandSigner { timeout: Duration::from_millis(200), ..signer(command) };
            assert!(matches!(slow.sign(b""), Err(SignerError::CommandTimeout { .. })), "{command}");
            assert!(started.elapsed() < Duration::from_secs(10), "{command}");
        }
        if has_terminal() {
            skipped(
                "in part: on a terminal the command shares our process group, and only the shell is killed",
            );
            return;
        }
        thread::sleep(Duration::from_millis(1500));
        assert!(!late.exists(), "a process that the command started outlived it");
    }

    #[test]
    fn a_timeout_longer_than_time_is_none() {
        let patient = CommandSigner { timeout: Duration::MAX, ..signer(&format!("echo {HEX}")) };
        assert!(patient.sign(b"").is_ok());
    }
}
