//! One connection of the load: a socket and two buffers, the same for every protocol.
//!
//! What is to be sent piles up in `output` and leaves with as few writes as the socket takes; what comes is read in
//! large pieces into `input`, from which a dialect takes whole replies. So every server gets its requests in the same
//! lumps, and what the load costs per record is the same few copies.

use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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
        self.input.reserve(self.read_bytes);
        loop {
            let (mut from, mut to) = self.socket.split();
            // By the runtime's own readers: a read that empties the socket is not followed by one that finds nothing.
            tokio::select! {
                biased;
                sent = to.write_buf(&mut self.output), if !self.output.is_empty() => {
                    sent.map_err(Error::io("sending"))?;
                }
                received = from.read_buf(&mut self.input) => {
                    return match received.map_err(Error::io("receiving"))? {
                        0 => Err(Error::Closed),
                        _ => Ok(()),
                    };
                }
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
}
