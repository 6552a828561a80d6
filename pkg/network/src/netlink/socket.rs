//! Requests and answers of the netlink protocol (`netlink(7)`).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::sys::socket::{MsgFlags, SetSockOpt, recv, send, sockopt};
use nix::sys::time::TimeVal;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_MULTI: u16 = 2;
/// The dumped table changed meanwhile: the answer may lack objects.
const NLM_F_DUMP_INTR: u16 = 16;
/// The kernel never sends a larger datagram (`NLMSG_GOODSIZE`, and 32 KiB in dumps).
const BUFFER: usize = 64 * 1024;
/// The kernel answers at once; this bounds a kernel that does not.
const PATIENCE_S: i64 = 10;
const DUMP_ATTEMPTS: usize = 10;

/// One message of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) kind: u16,
    pub(super) payload: Vec<u8>,
}

/// A socket that does one request at a time.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    pub(super) fn open(protocol: i32) -> io::Result<Self> {
        let fd = raw_socket(protocol)?;
        sockopt::ReceiveTimeout.set(&fd, &TimeVal::new(PATIENCE_S, 0))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends a request and collects all messages of its answer; a dump that was disturbed is asked for again.
    pub(super) fn request(&mut self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<Vec<Answer>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(answers) = self.attempt(kind, flags, payload)? {
                return Ok(answers);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EINTR))
    }

    fn attempt(&mut self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<Option<Vec<Answer>>> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = frame(kind, flags, self.sequence, payload);
        send(self.fd.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut collected = Collected::default();
        let mut buffer = vec![0; BUFFER];
        while !collected.complete {
            let length = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            collected.add(buffer.get(..length).unwrap_or_default(), self.sequence)?;
        }
        Ok((!collected.disturbed).then_some(collected.answers))
    }
}

fn frame(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend(length.to_ne_bytes());
    frame.extend(kind.to_ne_bytes());
    frame.extend(flags.to_ne_bytes());
    frame.extend(sequence.to_ne_bytes());
    frame.extend(0u32.to_ne_bytes());
    frame.extend(payload);
    frame
}

#[derive(Debug, Default)]
struct Collected {
    answers: Vec<Answer>,
    complete: bool,
    disturbed: bool,
}

impl Collected {
    /// Reads the messages of one datagram; those of an earlier request that was given up are skipped.
    fn add(&mut self, mut datagram: &[u8], sequence: u32) -> io::Result<()> {
        while let Some(message) = Message::parse(datagram) {
            datagram = datagram.get(message.length.next_multiple_of(4)..).unwrap_or_default();
            if message.sequence == sequence {
                self.take(&message)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, message: &Message<'_>) -> io::Result<()> {
        self.disturbed |= message.flags & NLM_F_DUMP_INTR != 0;
        match message.kind {
            NLMSG_ERROR | NLMSG_DONE => {
                self.complete = true;
                match message.payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code)) {
                    0 => Ok(()),
                    code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
                }
            }
            kind => {
                self.complete |= message.flags & NLM_F_MULTI == 0;
                self.answers.push(Answer { kind, payload: message.payload.to_vec() });
                Ok(())
            }
        }
    }
}

struct Message<'a> {
    length: usize,
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let (flags, rest) = rest.split_first_chunk()?;
        let (sequence, _port) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
        Some(Self {
            length,
            kind: u16::from_ne_bytes(*kind),
            flags: u16::from_ne_bytes(*flags),
            sequence: u32::from_ne_bytes(*sequence),
            payload: bytes.get(HEADER..length)?,
        })
    }
}

#[allow(unsafe_code, reason = "nix knows only some of the netlink protocols, and the call is one line")]
fn raw_socket(protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes three numbers; a result that is not negative is a descriptor that nobody else owns.
    unsafe {
        match libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_collected_until_done_and_others_are_skipped() {
        let mut datagram = frame(20, NLM_F_MULTI, 7, &[1, 2, 3, 4]);
        datagram.extend(frame(20, NLM_F_MULTI, 6, &[9; 4]));
        datagram.extend(frame(NLMSG_DONE, NLM_F_MULTI, 7, &0i32.to_ne_bytes()));
        let mut collected = Collected::default();
        collected.add(&datagram, 7).unwrap();
        assert!(collected.complete);
        assert_eq!(collected.answers.iter().map(|answer| answer.payload.clone()).collect::<Vec<_>>(), [[1, 2, 3, 4]]);
    }

    #[test]
    fn an_error_is_the_kernels_number() {
        let refused = frame(NLMSG_ERROR, 0, 1, &(-libc::EEXIST).to_ne_bytes());
        let error = Collected::default().add(&refused, 1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
    }

    #[test]
    fn garbage_is_no_answer() {
        let mut cut = frame(20, 0, 1, &[0; 8]);
        cut.truncate(20);
        let mut collected = Collected::default();
        for garbage in [&[][..], &[1, 2, 3], &cut, &[0; 16]] {
            collected.add(garbage, 1).unwrap();
        }
        assert!(collected.answers.is_empty() && !collected.complete);
    }
}
