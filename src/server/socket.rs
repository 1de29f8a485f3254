//! What every TCP socket of the broker is set to, of either port.

use tokio::net::TcpStream;

/// What the system may take from us ahead of what the network does, per connection. Left alone it takes megabytes for a peer that
/// does not read: memory of the container that no bound of ours covers. Fits what one write brings.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 << 10;

/// Prepares an accepted socket. What cannot be set is never a reason to refuse a peer.
pub(crate) fn prepare(socket: &TcpStream) {
    // Without it frames may be held back for tens of milliseconds.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY is not set");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT is not set");
    }
}
