//! What the machine itself takes: a record appended to a file and synced, and a round trip of a record over the loopback.
//! Blocking, on purpose: no runtime is in the way of what is measured.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

/// A file that is appended to and synced.
#[derive(Debug)]
pub(super) struct SyncedFile {
    file: File,
    record: Vec<u8>,
}

impl SyncedFile {
    /// An unnamed file in `directory`: it is gone with this value.
    pub(super) fn create_in(directory: &Path, record: Vec<u8>) -> io::Result<Self> {
        let file = tempfile::tempfile_in(directory)?;
        Ok(Self { file, record })
    }

    pub(super) fn append_and_sync(&mut self) -> io::Result<()> {
        self.file.write_all(&self.record)?;
        self.file.sync_data()
    }
}

/// A peer on the loopback that sends back what it gets.
#[derive(Debug)]
pub(super) struct LoopbackEcho {
    socket: TcpStream,
    record: Vec<u8>,
}

impl LoopbackEcho {
    /// Starts the peer on a thread of its own; it ends when this value is dropped.
    pub(super) fn start(record: Vec<u8>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let socket = TcpStream::connect(listener.local_addr()?)?;
        let (peer, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        peer.set_nodelay(true)?;
        let message = vec![0; record.len()];
        std::thread::Builder::new()
            .name("echo".into())
            .spawn(move || echo(peer, message))?;
        Ok(Self { socket, record })
    }

    pub(super) fn round_trip(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.record)?;
        self.socket.read_exact(&mut self.record)
    }
}

fn echo(mut peer: TcpStream, mut message: Vec<u8>) {
    while peer.read_exact(&mut message).is_ok() && peer.write_all(&message).is_ok() {}
}
