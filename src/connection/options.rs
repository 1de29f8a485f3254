//! Limits and times of the socket side of a connection.

use std::time::Duration;

use super::Incoming;

/// Limits and times of every connection of a server.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// The peer must be connected (CONNECT accepted) this long after the socket was.
    pub connect_timeout: Duration,
    /// A frame must be complete this long after its first byte. Time in which the broker does not read is not counted.
    pub frame_timeout: Duration,
    /// A peer whose socket takes nothing for this long, while something is to be written, is disconnected.
    pub write_timeout: Duration,
    /// How long a peer that was told that the connection ends may take to close its side.
    pub linger: Duration,
    /// How long answers under way are waited for after the peer has closed its sending side.
    pub half_closed_timeout: Duration,
    /// A peer that was told of a drain is waited for until it has asked for nothing for this long: what was on its way
    /// then is still answered.
    pub drain_quiet: Duration,
    /// The connection is not read further while this much waits to be written to it.
    pub unsent_bytes_max: usize,
    /// The connection is not read further while requests in this many bytes of frames wait for their answers.
    pub unanswered_bytes_max: usize,
    /// What all connections together hold of frames that are not whole, or wait for their queue.
    pub incoming: Incoming,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            frame_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            linger: Duration::from_secs(1),
            half_closed_timeout: Duration::from_secs(5),
            drain_quiet: Duration::from_millis(100),
            unsent_bytes_max: 1 << 20,
            // More than the write queues hold for one stream, so that they are what pushes back.
            unanswered_bytes_max: 16 << 20,
            incoming: Incoming::new(64 << 20),
        }
    }
}
