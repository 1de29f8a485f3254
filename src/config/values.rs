//! The types of settings that the standard library does not have, to and from text.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use bytesize::ByteSize;
use streamkeeper_protocol::limits::TOKEN_BYTES_MAX;
use tracing_subscriber::filter::Targets;

use super::layers::Value;
use crate::server::ListenAddress;
use crate::types::StorageKind;

/// A number of bytes; as text with a unit (`8MiB`, `64KiB`, `2MB`) or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteCount(pub u64);

impl Value for ByteCount {
    const NEED: &'static str = "a size such as 8MiB, 64KiB or 4096";
}

impl FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ByteSize::from_str(text).map(|size| Self(size.as_u64()))
    }
}

impl fmt::Display for ByteCount {
    /// Exact: the largest binary unit that divides the count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let fits = |(shift, _): &(u32, &str)| self.0 != 0 && self.0.trailing_zeros() >= *shift;
        match units.into_iter().find(fits) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A ceiling, or `auto` for none but the sum of what it would limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling(pub Option<u64>);

impl Value for Ceiling {
    const NEED: &'static str = "`auto` or a size such as 256MiB";
}

impl FromStr for Ceiling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(None));
        }
        text.parse().map(|ByteCount(bytes)| Self(Some(bytes)))
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => ByteCount(bytes).fmt(f),
            None => f.write_str("auto"),
        }
    }
}

impl Value for humantime::Duration {
    const NEED: &'static str = "a time such as 15s, 500ms or 2h";
}

impl Value for u32 {
    const NEED: &'static str = "a whole number";
}

impl Value for bool {
    const NEED: &'static str = "`true` or `false`";
}

impl Value for ListenAddress {
    const NEED: &'static str = "HOST:PORT or unix:PATH";
}

/// Where probes and metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Http {
    /// Nowhere, written `off`.
    Off,
    /// At `HOST:PORT`.
    At(String),
}

impl Value for Http {
    const NEED: &'static str = "HOST:PORT or `off`";
}

impl FromStr for Http {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "off" => Ok(Self::Off),
            _ => match text.parse() {
                Ok(ListenAddress::Tcp(address)) => Ok(Self::At(address)),
                _ => Err(()),
            },
        }
    }
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => f.write_str(address),
        }
    }
}

/// An origin of web pages, or `*` for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub String);

impl Value for Origin {
    const NEED: &'static str = "`*` or an origin such as https://example.com";
}

impl FromStr for Origin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let named = |host: &str| {
            !host.is_empty() && !host.contains('/') && host.bytes().all(|b| b.is_ascii_graphic())
        };
        if text == "*" || host.is_some_and(named) {
            Ok(Self(text.to_owned()))
        } else {
            Err(())
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The root under which clients reach the HTTP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicUrl {
    /// What the `Host` of each request says, written `auto`.
    Auto,
    /// Here; without a slash at its end.
    At(String),
}

impl Value for PublicUrl {
    const NEED: &'static str = "`auto` or a URL such as https://streams.example.com";
}

impl FromStr for PublicUrl {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let url = url::Url::parse(text).map_err(|_syntax| ())?;
        let is_root = matches!(url.scheme(), "http" | "https")
            && url.query().is_none()
            && url.fragment().is_none();
        let root = || Self::At(text.trim_end_matches('/').to_owned());
        is_root.then(root).ok_or(())
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::At(root) => f.write_str(root),
        }
    }
}

/// A token; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// The token itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Value for Secret {
    const NEED: &'static str = "a text of 1 to 2048 visible ASCII characters";
}

impl FromStr for Secret {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let allowed = (1..=TOKEN_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic());
        allowed.then(|| Self(Box::from(text))).ok_or(())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(<redacted>)")
    }
}

/// Where streams live whose creator does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultStorage(pub StorageKind);

impl Value for DefaultStorage {
    const NEED: &'static str = "`durable` or `memory`";
}

impl FromStr for DefaultStorage {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "durable" => Ok(Self(StorageKind::Durable)),
            "memory" => Ok(Self(StorageKind::Memory)),
            _ => Err(()),
        }
    }
}

impl fmt::Display for DefaultStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            StorageKind::Durable => "durable",
            StorageKind::Memory => "memory",
        })
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Value for LogFormat {
    const NEED: &'static str = "`text` or `json`";
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// What is logged: a level, or directives such as `info,streamkeeper=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel(String);

impl LogLevel {
    /// The filter for `tracing`.
    pub fn filter(&self) -> Targets {
        self.0.parse().unwrap_or_default()
    }
}

impl Value for LogLevel {
    const NEED: &'static str =
        "error, warn, info, debug, trace, or directives such as `info,streamkeeper=debug`";
}

impl FromStr for LogLevel {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        // `Targets` takes any single word for the name of a target, so a misspelt level would log nothing.
        let is_level = text.parse::<tracing::Level>().is_ok() || text == "off";
        let is_directives = text.contains(['=', ',']) && text.parse::<Targets>().is_ok();
        (is_level || is_directives)
            .then(|| Self(text.to_owned()))
            .ok_or(())
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A directory, which need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory(pub(super) PathBuf);

impl Value for Directory {
    const NEED: &'static str = "a path";
}

impl FromStr for Directory {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(PathBuf::from(text)))
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}
