//! Byte streams to a server, and what opens them.
//!
//! [`Dial`] is the seam for anything that is neither TCP nor a Unix socket: TLS, a tunnel, or an in-memory
//! pipe in a test. The connection task asks it for a fresh stream at the first connection and at every reconnect,
//! one at a time. It does not speak the protocol, and timeouts are the caller's.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::Address;

/// A byte stream in both directions that can be sent between threads.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// The future of [`Dial::dial`].
pub type Dialing<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Transport>>> + Send + 'a>>;

/// Opens a byte stream to the server, anew for each connection.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// What errors and logs call the server.
    fn name(&self) -> String;

    /// Opens one stream.
    ///
    /// # Errors
    /// Whatever stood in the way; the client reports it as [`crate::Error::Connect`] and, on a reconnect,
    /// tries again after the pause its policy asks for.
    ///
    /// # Cancel safety
    /// Must be safe to drop: the connect timeout does so.
    fn dial(&self) -> Dialing<'_>;
}

impl Dial for Address {
    fn name(&self) -> String {
        self.to_string()
    }

    fn dial(&self) -> Dialing<'_> {
        Box::pin(async move {
            match self {
                Self::Tcp(address) => {
                    let socket = TcpStream::connect(address.as_str()).await?;
                    // Writes are already coalesced; waiting for an acknowledgement would only add delay.
                    socket.set_nodelay(true)?;
                    Ok(Box::new(socket) as Box<dyn Transport>)
                }
                #[cfg(unix)]
                Self::Unix(path) => {
                    Ok(Box::new(UnixStream::connect(path).await?) as Box<dyn Transport>)
                }
                #[cfg(not(unix))]
                Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            }
        })
    }
}
