//! A question on a terminal, whose answer is not shown.
//!
//! What is typed arrives byte by byte, ^C as a character too: so the terminal is as it was before this process is told
//! of it. A terminal that shows nothing of what is typed would otherwise be left to whoever breaks off.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The terminal of the process, wherever its input and output go.
const TERMINAL: &str = "/dev/tty";
/// ^H, which some keyboards send to take a character back.
const BACKSPACE: u8 = 8;

/// Asks, and gives what was typed up to the end of the line, at most `limit` bytes and one more; `None` where there is no
/// terminal.
///
/// # Errors
///
/// [`io::ErrorKind::Interrupted`] after ^C, which the process is told of by its signal; [`io::ErrorKind::UnexpectedEof`]
/// after ^D; those of the terminal.
pub(super) fn ask(prompt: &str, limit: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let Ok(terminal) = OpenOptions::new().read(true).write(true).open(TERMINAL) else { return Ok(None) };
    if !isatty(&terminal) {
        return Ok(None);
    }
    let answer = Hidden::new(&terminal).and_then(|hidden| {
        (&terminal).write_all(prompt.as_bytes())?;
        read_line(&terminal, &hidden.before, limit)
    });
    if answer.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
        kill_process(getpid(), Signal::INT)?;
    }
    answer.map(Some)
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Hidden<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Hidden<'t> {
    fn new(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO
            | LocalModes::ECHONL
            | LocalModes::ICANON
            | LocalModes::ISIG
            | LocalModes::IEXTEN;
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Drain, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // The line break was not shown either. A terminal that is gone needs neither.
        let _ = self.terminal.write_all(b"\n");
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}

fn read_line(mut terminal: &File, before: &Termios, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let key = |index| before.special_codes[index];
    // Never moved, so no copy of it is left anywhere.
    let mut line = Zeroizing::new(Vec::with_capacity(limit.saturating_add(1)));
    let mut byte = Zeroizing::new([0_u8]);
    loop {
        match terminal.read(byte.as_mut_slice()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let [typed] = *byte;
        match typed {
            b'\n' | b'\r' => return Ok(line),
            typed if typed == key(SpecialCodeIndex::VINTR) || typed == key(SpecialCodeIndex::VQUIT) => {
                return Err(io::ErrorKind::Interrupted.into());
            }
            typed if typed == key(SpecialCodeIndex::VEOF) && line.is_empty() => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            typed if typed == key(SpecialCodeIndex::VERASE) || typed == BACKSPACE => {
                // All of a character: the bytes of UTF-8 that continue one, then the one that begins it.
                while line.pop().is_some_and(|last| last & 0b1100_0000 == 0b1000_0000) {}
            }
            typed if typed == key(SpecialCodeIndex::VKILL) => line.clear(),
            typed if line.len() <= limit => line.push(typed),
            // Too long already.
            _ => {}
        }
    }
}
