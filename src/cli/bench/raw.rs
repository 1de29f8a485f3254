//! What the machine itself takes: a synced write, and a round trip over the loopback. Blocking, on purpose: no runtime
//! is in the way of what is measured.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

/// One page, the least that a database writes.
const PAGE_BYTES: usize = 4096;

/// About the size of an append frame and of its confirm.
const MESSAGE_BYTES: usize = 256;

/// A file that is appended to and synced.
#[derive(Debug)]
pub(super) struct SyncedFile {
    file: File,
    page: [u8; PAGE_BYTES],
}

impl SyncedFile {
    /// An unnamed file in `directory`: it is gone with this value.
    pub(super) fn create_in(directory: &Path) -> io::Result<Self> {
        let file = tempfile::tempfile_in(directory)?;
        Ok(Self {
            file,
            page: [0xA5; PAGE_BYTES],
        })
    }

    pub(super) fn append_and_sync(&mut self) -> io::Result<()> {
        self.file.write_all(&self.page)?;
        self.file.sync_data()
    }
}

/// A peer on the loopback that sends back what it gets.
#[derive(Debug)]
pub(super) struct LoopbackEcho {
    socket: TcpStream,
    message: [u8; MESSAGE_BYTES],
}

impl LoopbackEcho {
    /// Starts the peer on a thread of its own; it ends when this value is dropped.
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let socket = TcpStream::connect(listener.local_addr()?)?;
        let (peer, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        peer.set_nodelay(true)?;
        std::thread::Builder::new()
            .name("echo".into())
            .spawn(move || echo(peer))?;
        Ok(Self {
            socket,
            message: [0x5A; MESSAGE_BYTES],
        })
    }

    pub(super) fn round_trip(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.message)?;
        self.socket.read_exact(&mut self.message)
    }
}

fn echo(mut peer: TcpStream) {
    let mut message = [0; MESSAGE_BYTES];
    while peer.read_exact(&mut message).is_ok() && peer.write_all(&message).is_ok() {}
}
