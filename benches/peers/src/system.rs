//! The systems that are measured: three servers, two of them in two modes of syncing.
//!
//! Everything is as installed, but for: the sync mode in question; Redis takes no snapshots and rewrites no append-only
//! file while it is measured (both would cost it time); ports and directories.

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;

use crate::dialect::{Dialect, Nats, Redis, Streamkeeper};
use crate::error::Error;
use crate::parts::Parts;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Product {
    /// The broker of this repository.
    Streamkeeper,
    /// NATS with its streams on disk.
    Nats,
    /// Redis Streams.
    Redis,
}

/// One column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum System {
    /// Confirms after a sync, many appends to one.
    Streamkeeper,
    /// `sync_interval: always`.
    NatsAlways,
    /// As installed.
    NatsDefault,
    /// `appendfsync always`.
    RedisAlways,
    /// `appendfsync everysec`.
    RedisEverysec,
}

impl System {
    pub(crate) const ALL: [Self; 5] = [
        Self::Streamkeeper,
        Self::NatsAlways,
        Self::NatsDefault,
        Self::RedisAlways,
        Self::RedisEverysec,
    ];

    pub(crate) const fn product(self) -> Product {
        match self {
            Self::Streamkeeper => Product::Streamkeeper,
            Self::NatsAlways | Self::NatsDefault => Product::Nats,
            Self::RedisAlways | Self::RedisEverysec => Product::Redis,
        }
    }

    /// Names it in files.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Streamkeeper => "streamkeeper",
            Self::NatsAlways => "nats-always",
            Self::NatsDefault => "nats-default",
            Self::RedisAlways => "redis-always",
            Self::RedisEverysec => "redis-everysec",
        }
    }

    /// The mode, in its own words.
    pub(crate) const fn mode(self) -> &'static str {
        match self {
            Self::Streamkeeper => "",
            Self::NatsAlways => "sync_interval: always",
            Self::NatsDefault => "default",
            Self::RedisAlways => "appendfsync always",
            Self::RedisEverysec => "appendfsync everysec",
        }
    }

    /// What a confirm means there.
    pub(crate) const fn promise(self) -> &'static str {
        match self {
            Self::Streamkeeper | Self::RedisAlways => "synced, many to a sync",
            Self::NatsAlways => "synced, one by one",
            Self::NatsDefault => "not synced (every 2 min)",
            Self::RedisEverysec => "not synced (every second)",
        }
    }

    /// Whether a confirmed record is on disk.
    pub(crate) const fn syncs(self) -> bool {
        !matches!(self, Self::NatsDefault | Self::RedisEverysec)
    }

    /// The mode to fill a store in that is only to be read: how it was synced makes no difference to that.
    pub(crate) const fn to_fill(self) -> Self {
        match self {
            Self::NatsAlways => Self::NatsDefault,
            Self::RedisAlways => Self::RedisEverysec,
            other => other,
        }
    }

    /// A dialect for one connection that uses these streams.
    pub(crate) fn dialect(self, connection: u64, streams: &[u32]) -> Box<dyn Dialect> {
        match self.product() {
            Product::Streamkeeper => Box::new(Streamkeeper::new(streams)),
            Product::Nats => Box::new(Nats::new(connection, streams)),
            Product::Redis => Box::new(Redis::new(streams)),
        }
    }

    /// How it is started on a port of the loopback, with its files in `directory`.
    pub(crate) fn command(
        self,
        parts: &Parts,
        port: u16,
        directory: &Path,
    ) -> Result<Command, Error> {
        match self.product() {
            Product::Streamkeeper => Ok(streamkeeper(parts, port, directory)),
            Product::Nats => self.nats(parts, port, directory),
            Product::Redis => Ok(self.redis(parts, port, directory)),
        }
    }

    fn nats(self, parts: &Parts, port: u16, directory: &Path) -> Result<Command, Error> {
        let sync = match self {
            Self::NatsAlways => "sync_interval: always",
            _ => "",
        };
        let store = directory.display();
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{\n  store_dir: \"{store}\"\n  {sync}\n}}\n"
        );
        let file = directory.join("nats.conf");
        std::fs::write(&file, text).map_err(Error::io("writing a configuration"))?;
        let mut command = Command::new(&parts.nats);
        command.arg("--config").arg(file);
        Ok(command)
    }

    fn redis(self, parts: &Parts, port: u16, directory: &Path) -> Command {
        let fsync = match self {
            Self::RedisAlways => "always",
            _ => "everysec",
        };
        let mut command = Command::new(&parts.redis);
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--appendonly", "yes", "--appendfsync", fsync])
            .args(["--save", "", "--auto-aof-rewrite-percentage", "0"])
            .arg("--dir")
            .arg(directory);
        command
    }
}

fn streamkeeper(parts: &Parts, port: u16, directory: &Path) -> Command {
    let mut command = Command::new(&parts.streamkeeper);
    command
        .arg("serve")
        .arg("--data")
        .arg(directory)
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(["--http", "127.0.0.1:0", "--log-level", "warn"]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STREAMKEEPER_") {
            command.env_remove(name);
        }
    }
    command
}
