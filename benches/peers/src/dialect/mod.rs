//! The protocols of the servers, behind one trait.
//!
//! A dialect turns what the load wants (create, append, follow) into bytes and replies into counts and records; it
//! never touches a socket and never waits. To be comparable, each does the same amount of work:
//!
//! - The unchanging part of an append is laid out once per stream. An append copies it, sets the numbers that change,
//!   and copies the record.
//! - Replies are counted without allocating, and each is looked at: a refusal ends the run, and where a confirm names
//!   the stream and the position (NATS, Streamkeeper), it must be the next one.
//! - Records are read by the way that the server pushes best: XREAD BLOCK with the next request sent as soon as the
//!   last entry came (Redis), an ordered push consumer with flow control (NATS), a subscription under credit
//!   (Streamkeeper).
//!
//! A dialect numbers the streams of its connection from 0 ("local"); their names are made of the run's numbers.

mod cursor;
mod nats;
mod redis;
mod streamkeeper;
#[cfg(test)]
mod tests;

use bytes::BytesMut;

use crate::error::Error;
use crate::record::Payload;

pub(crate) use nats::Nats;
pub(crate) use redis::Redis;
pub(crate) use streamkeeper::Streamkeeper;

/// Takes one record.
pub(crate) type Each<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Error>;

/// See the module.
pub(crate) trait Dialect: Send {
    /// Writes what opens a connection.
    fn hello(&mut self, output: &mut BytesMut);

    /// Whether the server has answered that.
    fn greeted(&mut self, input: &mut BytesMut) -> Result<bool, Error>;

    /// Writes the request that makes a stream; false if there is no such thing, and the first append does it.
    fn create(&mut self, local: usize, output: &mut BytesMut) -> bool;

    /// Writes one append of one record.
    fn append(&mut self, local: usize, record: &Payload, output: &mut BytesMut);

    /// Takes the whole replies off `input`; gives how many creates and appends they confirm.
    fn replies(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<u64, Error>;

    /// Writes the request for all records of a stream from its beginning, and all that come later. From then on
    /// [`Dialect::records`] takes what comes. Once per connection.
    fn follow(&mut self, local: usize, output: &mut BytesMut);

    /// How many records the server said the stream has, once it follows it.
    fn held(&self) -> Option<u64>;

    /// Takes whole records off `input`, and writes what keeps more of them coming.
    fn records(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        each: Each<'_>,
    ) -> Result<(), Error>;
}

/// The name of a stream of the run.
pub(crate) fn name(stream: u32) -> String {
    format!("s{stream}")
}
