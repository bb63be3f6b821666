//! How coordinator, guard and second stage talk: length-prefixed JSON over a socket pair, descriptors beside it.

use std::{
    ffi::OsString,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Largest message in bytes; Linux allows about 2 MiB of arguments and environment, and JSON takes up to four for one.
const MESSAGE_LIMIT: usize = 16 << 20;
/// Most descriptors beside a message.
const DESCRIPTORS: usize = 2;

/// What to execute; to the guard, and from it to the second stage. With it travel the replica's lock (to the guard only)
/// and the command's standard input if it is piped.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Command {
    /// NODE/REPLICA.
    pub(super) name: String,
    /// Absolute path of the file to execute.
    pub(super) path: OsString,
    /// As the pipeline file writes it; programs look at it.
    pub(super) arg0: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) dir: OsString,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) stdin_piped: bool,
}

/// Coordinator to guard, after [`Command`]. The end of the stream asks for the same with the default grace.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) grace: Duration,
}

/// Guard to coordinator.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The command runs.
    Started { pid: u32 },
    /// It could not be executed; nothing was left running.
    NotStarted(NotStarted),
    /// The command itself has ended; what it left behind is being ended.
    Exited { code: Option<i32>, signal: Option<i32> },
}

/// Why a command was not executed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NotStarted {
    /// What was tried.
    pub(super) step: String,
    /// The system's error, if it was one.
    pub(super) os_error: Option<i32>,
    /// For a person.
    pub(super) message: String,
}

impl NotStarted {
    pub(super) fn new(step: impl Into<String>, error: &io::Error) -> Self {
        Self { step: step.into(), os_error: error.raw_os_error(), message: error.to_string() }
    }
}

/// The step of [`NotStarted`] at which the file itself is executed.
pub(super) const EXECUTE: &str = "execute";

fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    if body.len() > MESSAGE_LIMIT {
        return Err(rustix::io::Errno::TOOBIG.into());
    }
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    Ok([&length.to_le_bytes()[..], &body].concat())
}

fn checked_length(prefix: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > MESSAGE_LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not a message of a meshloom coordinator"));
    }
    Ok(length)
}

/// Sends a message and descriptors; blocks only if the message is larger than the socket's buffer.
pub(super) fn send_with(
    mut socket: &UnixStream,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = encode(message)?;
    let sent = send_first(socket, &bytes, descriptors)?;
    socket.write_all(&bytes[sent..])
}

/// As [`send_with`], without ever blocking the runtime.
pub(super) async fn send_with_async(
    socket: &mut tokio::net::UnixStream,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = encode(message)?;
    socket.writable().await?;
    let sent = send_first(&*socket, &bytes, descriptors)?;
    socket.write_all(&bytes[sent..]).await
}

/// Descriptors go with the first byte, which is sent with them and alone, so that neither can be cut off.
fn send_first(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    assert!(descriptors.len() <= DESCRIPTORS);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)), "there is space for {DESCRIPTORS}");
    }
    Ok(sendmsg(socket, &[IoSlice::new(&bytes[..1])], &mut control, SendFlags::empty())?)
}

/// Receives a message and the descriptors beside it; `None` at the end of the stream. Blocks.
pub(super) fn receive_with<T: DeserializeOwned>(mut socket: &UnixStream) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut prefix = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut prefix[..1])], &mut control, flags)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    #[cfg(not(target_os = "linux"))]
    for descriptor in &descriptors {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
    }
    socket.read_exact(&mut prefix[1..])?;
    let mut body = vec![0; checked_length(prefix)?];
    socket.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, descriptors)))
}

/// Sends a message.
pub(super) async fn send(socket: &mut (impl AsyncWriteExt + Unpin), message: &impl Serialize) -> io::Result<()> {
    socket.write_all(&encode(message)?).await
}

/// Receives a message; `None` at the end of the stream. Not cancel-safe: keep one future until it is done.
pub(super) async fn receive<T: DeserializeOwned>(socket: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Option<T>> {
    let mut prefix = [0; 4];
    if socket.read(&mut prefix[..1]).await? == 0 {
        return Ok(None);
    }
    socket.read_exact(&mut prefix[1..]).await?;
    let mut body = vec![0; checked_length(prefix)?];
    socket.read_exact(&mut body).await?;
    Ok(Some(serde_json::from_slice(&body)?))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Seek};

    use super::*;

    #[test]
    fn a_message_larger_than_the_socket_brings_its_descriptors() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"through").unwrap();
        file.rewind().unwrap();
        let text = "x".repeat(2 << 20);
        let sender = std::thread::spawn({
            let text = text.clone();
            move || send_with(&near, &text, &[file.as_fd()])
        });
        let (received, mut descriptors) = receive_with::<String>(&far).unwrap().unwrap();
        sender.join().unwrap().unwrap();
        assert_eq!(received, text);
        let mut read = String::new();
        File::from(descriptors.remove(0)).read_to_string(&mut read).unwrap();
        assert_eq!(read, "through");
        assert!(receive_with::<String>(&far).unwrap().is_none());
    }

    #[test]
    fn a_length_past_the_limit_is_refused_before_it_is_allocated() {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert_eq!(receive_with::<String>(&far).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
