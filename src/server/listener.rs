//! One bound socket: how it is bound, accepted from, and removed.
//!
//! A Unix socket file that nobody listens on is left over from a crash and is removed; one that somebody listens on, or
//! a file that is no socket, is never touched. On drop the file is removed if it is still the one that was bound here.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::ListenAddress;

/// A peer that is turned away may have sent this much: a CONNECT and what it has pipelined behind it.
const UNREAD_BYTES_MAX: u64 = 64 << 10;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address.
    pub address: ListenAddress,
    /// Why.
    pub source: io::Error,
}

/// A peer that has connected.
pub(super) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Accepted {
    /// Writes `bytes` and closes, once the peer has closed its side: a reset before that could take them away.
    pub(super) async fn say_and_close(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => say_and_close(stream, bytes).await,
            Self::Unix(stream) => say_and_close(stream, bytes).await,
        }
    }
}

async fn say_and_close<S>(mut stream: S, bytes: &[u8]) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(bytes).await?;
    stream.shutdown().await?;
    let mut rest = stream.take(UNREAD_BYTES_MAX);
    tokio::io::copy(&mut rest, &mut tokio::io::sink())
        .await
        .map(drop)
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
}

/// A socket file, removed on drop if nobody has put another in its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |file: std::fs::Metadata| file.dev() == self.device && file.ino() == self.inode;
        if std::fs::symlink_metadata(&self.path).is_ok_and(ours)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "the socket file stays behind");
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    address: ListenAddress,
}

impl Listener {
    pub(super) async fn bind(address: &ListenAddress) -> Result<Self, BindError> {
        let bound = match address {
            ListenAddress::Tcp(host_and_port) => bind_tcp(host_and_port).await,
            ListenAddress::Unix(path) => bind_unix(path).await,
        };
        bound.map_err(|source| BindError {
            address: address.clone(),
            source,
        })
    }

    /// Where it listens, with the real port.
    pub(super) fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// The next peer. Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => listener.accept().await.map(|(peer, _)| Accepted::Tcp(peer)),
            Socket::Unix { listener, .. } => listener
                .accept()
                .await
                .map(|(peer, _)| Accepted::Unix(peer)),
        }
    }
}

async fn bind_tcp(host_and_port: &str) -> io::Result<Listener> {
    let listener = TcpListener::bind(host_and_port).await?;
    let address = ListenAddress::Tcp(listener.local_addr()?.to_string());
    Ok(Listener {
        socket: Socket::Tcp(listener),
        address,
    })
}

async fn bind_unix(path: &Path) -> io::Result<Listener> {
    remove_stale(path).await?;
    let listener = UnixListener::bind(path)?;
    let file = std::fs::symlink_metadata(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        device: file.dev(),
        inode: file.ino(),
    };
    let socket = Socket::Unix {
        listener,
        _file: file,
    };
    Ok(Listener {
        socket,
        address: ListenAddress::Unix(path.to_owned()),
    })
}

/// Removes a socket file that nobody listens on.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the file is no socket",
            ));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens there",
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        // A full backlog, or no permission: somebody may well listen there.
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_file_is_replaced_and_removed_at_the_end() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("keeper.sock");
        // Dropped by the standard library's listener, the file stays: as after a crash.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        let listener = Listener::bind(&ListenAddress::Unix(path.clone()))
            .await
            .expect("bound");
        let (accepted, _peer) = tokio::join!(listener.accept(), UnixStream::connect(&path));
        assert!(matches!(accepted, Ok(Accepted::Unix(_))));
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_live_socket_is_left_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("keeper.sock");
        let address = ListenAddress::Unix(path.clone());
        let first = Listener::bind(&address).await.expect("bound");
        let second = Listener::bind(&address).await.expect_err("in use");
        assert_eq!(second.source.kind(), io::ErrorKind::AddrInUse);
        let (accepted, peer) = tokio::join!(first.accept(), UnixStream::connect(&path));
        assert!(accepted.is_ok() && peer.is_ok());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("precious");
        std::fs::write(&path, "data").expect("written");
        let refused = Listener::bind(&ListenAddress::Unix(path.clone())).await;
        assert_eq!(
            refused.expect_err("refused").source.kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(std::fs::read(&path).expect("still there"), b"data");
    }
}
