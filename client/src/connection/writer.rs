//! The writing half: takes everything the outbox holds and writes it with as few system calls as it takes.
//!
//! While one write waits for the socket, callers fill the outbox; the next write carries all of it. When the peer does
//! not read, the write waits, the link's room runs out, and callers wait: nothing grows.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt, WriteHalf};

use crate::Error;
use crate::link::{Link, Outbox};
use crate::transport::Transport;

/// Writes until the socket fails, and returns why it did.
pub(super) async fn run(link: &Arc<Link>, mut socket: WriteHalf<Box<dyn Transport>>) -> Error {
    let mut outbox = Outbox::default();
    loop {
        link.take(&mut outbox).await;
        if let Err(source) = write(&mut socket, &mut outbox).await {
            return Error::Broken {
                address: link.config.address.clone(),
                source: Arc::new(source),
            };
        }
    }
}

async fn write(socket: &mut WriteHalf<Box<dyn Transport>>, outbox: &mut Outbox) -> io::Result<()> {
    while !outbox.is_empty() {
        socket.write_all_buf(outbox).await?;
    }
    socket.flush().await
}
