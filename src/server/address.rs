//! Where to listen, as people write it: `HOST:PORT` or `unix:PATH`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port of SKP/1.
const DEFAULT_PORT: u16 = 4438;

/// What marks a path.
const UNIX: &str = "unix:";

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `HOST:PORT`; a host name stands for the first address it resolves to. Port 0 takes any free port.
    Tcp(String),
    /// A Unix socket at this path.
    Unix(PathBuf),
}

/// The text is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address to listen on: expected HOST:PORT or unix:PATH")]
pub struct ParseListenAddressError {
    /// What was given.
    pub text: String,
}

impl Default for ListenAddress {
    /// Loopback, port 4438.
    fn default() -> Self {
        Self::Tcp(format!("127.0.0.1:{DEFAULT_PORT}"))
    }
}

impl FromStr for ListenAddress {
    type Err = ParseListenAddressError;

    fn from_str(text: &str) -> Result<Self, ParseListenAddressError> {
        let wrong = || ParseListenAddressError {
            text: text.to_owned(),
        };
        if let Some(path) = text.strip_prefix(UNIX) {
            return if path.is_empty() {
                Err(wrong())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let is_bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || is_bare_ipv6 || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_their_text() {
        for text in [
            "127.0.0.1:4438",
            "localhost:0",
            "[::1]:4438",
            "unix:/run/keeper.sock",
        ] {
            let address: ListenAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
        }
        assert_eq!("unix:a".parse(), Ok(ListenAddress::Unix("a".into())));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "4438",
            "host",
            "host:",
            ":4438",
            "host:65536",
            "::1:80",
            "unix:",
        ] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }
}
