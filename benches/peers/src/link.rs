//! One connection of the load: a socket and two buffers, the same for every protocol.
//!
//! What is to be sent piles up in `output` and leaves with as few writes as the socket takes; what comes is read in
//! large pieces into `input`, from which a dialect takes whole replies. So every server gets its requests in the same
//! lumps, and what the load costs per record is the same few copies.

use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::error::Error;

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    socket: TcpStream,
    /// The least room for one read.
    read_bytes: usize,
    /// Received and not yet taken.
    pub(crate) input: BytesMut,
    /// To be sent.
    pub(crate) output: BytesMut,
}

impl Link {
    /// Connects; at least `read_bytes` are asked for at a time.
    pub(crate) async fn connect(address: SocketAddr, read_bytes: usize) -> Result<Self, Error> {
        let socket = TcpStream::connect(address).await;
        let socket = socket.map_err(Error::io("connecting"))?;
        socket.set_nodelay(true).map_err(Error::io("connecting"))?;
        Ok(Self {
            socket,
            read_bytes,
            input: BytesMut::new(),
            output: BytesMut::new(),
        })
    }

    /// Sends what the socket takes, and returns when something was received.
    ///
    /// # Cancel safety
    /// Safe: what was sent is gone from `output`, what was received is in `input`.
    pub(crate) async fn turn(&mut self) -> Result<(), Error> {
        loop {
            self.flush()?;
            let interest = if self.output.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            let ready = self.socket.ready(interest).await;
            let ready = ready.map_err(Error::io("waiting for a socket"))?;
            if ready.is_readable() && self.receive()? {
                return Ok(());
            }
        }
    }

    /// Sends what the socket takes now.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        while !self.output.is_empty() {
            match self.socket.try_write(&self.output) {
                Ok(sent) => self.output.advance(sent),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(Error::io("sending")(error)),
            }
        }
        Ok(())
    }

    /// Whether there was something.
    fn receive(&mut self) -> Result<bool, Error> {
        self.input.reserve(self.read_bytes);
        match self.socket.try_read_buf(&mut self.input) {
            Ok(0) => Err(Error::Closed),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(Error::io("receiving")(error)),
        }
    }
}
