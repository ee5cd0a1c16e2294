//! What supervisor and worker say to each other, over a socket that keeps messages apart; descriptors go with them.
//!
//! | from | message | with | answer |
//! |---|---|---|---|
//! | worker | `Hold` | a group | `Done`: should the worker die, the next one gets it |
//! | worker | `Ready` | | `Group` for each group of those before it, `Held` for each event read meanwhile, `Done` |
//! | worker | `CloseOthers` | | `Done`: all groups but the newest are closed |

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::compile::Mode;

const LEN: usize = 11;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Hold(Mode),
    Ready,
    CloseOthers,
    Done,
    Group,
    Held(Held),
}

/// An event that waits: which group, and what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) group: u8,
    pub(super) exec: bool,
    pub(super) number: i32,
    pub(super) pid: i32,
}

impl Message {
    pub(super) fn to_bytes(self) -> [u8; LEN] {
        let (kind, first, second, number, pid) = match self {
            Self::Hold(mode) => (1, u8::from(mode == Mode::Enforce), 0, 0, 0),
            Self::Ready => (2, 0, 0, 0, 0),
            Self::CloseOthers => (3, 0, 0, 0, 0),
            Self::Done => (4, 0, 0, 0, 0),
            Self::Group => (5, 0, 0, 0, 0),
            Self::Held(Held { group, exec, number, pid }) => (6, group, u8::from(exec), number, pid),
        };
        let mut bytes = [kind, first, second, 0, 0, 0, 0, 0, 0, 0, 0];
        let numbers = number.to_ne_bytes().into_iter().chain(i32::to_ne_bytes(pid));
        bytes.iter_mut().skip(3).zip(numbers).for_each(|(to, from)| *to = from);
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (&[kind, first, second], rest) = bytes.split_first_chunk::<3>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (pid, []) = rest.split_first_chunk::<4>()? else { return None };
        let (number, pid) = (i32::from_ne_bytes(*number), i32::from_ne_bytes(*pid));
        let message = match kind {
            1 => Self::Hold(if first == 0 { Mode::Audit } else { Mode::Enforce }),
            2 => Self::Ready,
            3 => Self::CloseOthers,
            4 => Self::Done,
            5 => Self::Group,
            6 => Self::Held(Held { group: first, exec: second != 0, number, pid }),
            _ => return None,
        };
        // One message, one spelling.
        (message.to_bytes().as_slice() == bytes).then_some(message)
    }
}

/// Sends one.
pub(super) fn send(socket: impl AsFd, message: Message, with: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = with.map(|fd| [fd]);
    if let Some(fds) = &fds
        && !control.push(SendAncillaryMessage::ScmRights(fds))
    {
        return Err(Errno::NOBUFS.into());
    }
    let bytes = message.to_bytes();
    let slices = [IoSlice::new(&bytes)];
    rustix::io::retry_on_intr(|| sendmsg(&socket, &slices, &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Waits for one. None: the other has ended.
///
/// # Errors
///
/// `InvalidData` for what is no message.
pub(super) fn receive(socket: impl AsFd) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    // One byte more than a message has, so that a longer one is seen.
    let mut bytes = [0_u8; LEN + 1];
    let received = loop {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        match recvmsg(&socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(None),
            other => break other?.bytes,
        }
    };
    if received == 0 {
        return Ok(None);
    }
    let mut with = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            fds.for_each(|fd| with = Some(fd));
        }
    }
    let message = bytes.get(..received).and_then(Message::read).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some((message, with)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_read_as_it_was_sent_and_nothing_else_is() {
        let held = Held { group: 3, exec: true, number: 17, pid: -4 };
        let messages = [
            Message::Hold(Mode::Enforce),
            Message::Hold(Mode::Audit),
            Message::Ready,
            Message::CloseOthers,
            Message::Done,
            Message::Group,
            Message::Held(held),
        ];
        for message in messages {
            let bytes = message.to_bytes();
            assert_eq!(Message::read(&bytes), Some(message));
            assert_eq!(Message::read(&bytes[..LEN - 1]), None);
            assert_eq!(Message::read(&[bytes.as_slice(), &[0]].concat()), None);
        }
        for bytes in [[0; LEN], [7; LEN], [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Message::read(&bytes), None, "{bytes:?}");
        }
    }
}
