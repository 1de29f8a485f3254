//! Where a server listens, as text: `HOST:PORT` or `unix:PATH`.
//!
//! Parsing happens once, in the builder; names are resolved at each connection attempt, so that a reconnect
//! follows a changed DNS answer. Nothing here opens a socket.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Error;

/// The address of a Streamkeeper server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// `HOST:PORT`, resolved at each attempt.
    Tcp(String),
    /// The path of a Unix socket, written `unix:PATH`.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Error;

    /// # Errors
    /// [`Error::Address`] if there is no port, the port is no number up to 65535, or the path is empty.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |reason| Error::Address {
            address: text.to_owned(),
            reason,
        };
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(refused("the path after `unix:` is empty"));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(refused("a port is missing: write HOST:PORT or unix:PATH"));
        };
        if host.is_empty() {
            return Err(refused("the host is empty"));
        }
        if port.parse::<u16>().is_err() {
            return Err(refused("the port is not a number from 0 to 65535"));
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_and_unix_addresses_survive_a_round_trip() {
        for text in [
            "127.0.0.1:4438",
            "[::1]:4438",
            "broker.local:1",
            "unix:/run/sk.sock",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_address_without_port_or_path_is_refused() {
        for text in [
            "",
            "localhost",
            ":4438",
            "localhost:",
            "localhost:70000",
            "unix:",
        ] {
            assert!(
                matches!(text.parse::<Address>(), Err(Error::Address { address, .. }) if address == text)
            );
        }
    }
}
