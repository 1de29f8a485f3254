//! The table of settings: name, default, and what the help says.
//!
//! A row here is a flag (`--heartbeat`), an environment variable (`STREAMKEEPER_HEARTBEAT`) and a file key
//! (`heartbeat`). The type of a setting and its range are fixed where [`super::Config`] takes it.

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name in the file, in lower case with underscores.
    pub name: &'static str,
    /// Its value if nobody says otherwise; empty for an empty list.
    pub default: &'static str,
    /// What stands for the value in the help.
    pub placeholder: &'static str,
    /// Whether it takes several values.
    pub many: bool,
    /// Whether its value must not be shown.
    pub secret: bool,
    /// What it does, in one line.
    pub help: &'static str,
}

impl Key {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("STREAMKEEPER_{}", self.name.to_ascii_uppercase())
    }

    /// The flag, without its dashes.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }
}

const fn key(
    name: &'static str,
    default: &'static str,
    placeholder: &'static str,
    help: &'static str,
) -> Key {
    Key {
        name,
        default,
        placeholder,
        many: false,
        secret: false,
        help,
    }
}

/// Every setting, in the order in which help and `--print-config` show them.
pub const KEYS: &[Key] = &[
    key(
        "data",
        "./streamkeeper-data",
        "DIR",
        "Data directory, created if it is missing",
    ),
    Key {
        many: true,
        ..key(
            "listen",
            "127.0.0.1:4438",
            "ADDR",
            "Serve clients here: HOST:PORT or unix:PATH",
        )
    },
    key(
        "http",
        "127.0.0.1:4437",
        "ADDR",
        "Serve streams over HTTP, probes and metrics here; `off` for not at all",
    ),
    Key {
        many: true,
        secret: true,
        ..key(
            "auth_token",
            "",
            "TOKEN",
            "Token that clients must show (better not as a flag, which others see)",
        )
    },
    key(
        "storage",
        "durable",
        "KIND",
        "Where streams live whose creator does not say: `durable` or `memory`",
    ),
    key(
        "log_format",
        "text",
        "FORMAT",
        "Log lines as `text` or `json`",
    ),
    key(
        "log_level",
        "info",
        "LEVEL",
        "error, warn, info, debug, trace, or filter directives",
    ),
    key(
        "connections_max",
        "10000",
        "COUNT",
        "Most connections at a time",
    ),
    key(
        "heartbeat",
        "15s",
        "TIME",
        "Silence after which a peer is probed, and cut off after as much again",
    ),
    key(
        "handshake_timeout",
        "5s",
        "TIME",
        "Time a peer has for its CONNECT",
    ),
    key(
        "write_timeout",
        "30s",
        "TIME",
        "Time a peer may leave what is sent to it unread",
    ),
    key("frame_bytes_max", "4160KiB", "SIZE", "Largest frame"),
    key("record_bytes_max", "1MiB", "SIZE", "Largest record"),
    key(
        "batch_records_max",
        "65536",
        "COUNT",
        "Most records in one append",
    ),
    key(
        "subscriptions_max",
        "1024",
        "COUNT",
        "Most subscriptions of one connection",
    ),
    key(
        "memory_max",
        "auto",
        "SIZE",
        "Ceiling for the memory of the process, divided among the bounds below; `auto`: their sum",
    ),
    key(
        "queue_bytes_max",
        "8MiB",
        "SIZE",
        "Appends that may wait for a commit, all streams together",
    ),
    key(
        "stream_queue_bytes_max",
        "2MiB",
        "SIZE",
        "Appends of one stream that may wait for a commit",
    ),
    key(
        "hot_tail_bytes_max",
        "48MiB",
        "SIZE",
        "Newest records kept in memory until they are folded",
    ),
    key(
        "memory_streams_bytes_max",
        "64MiB",
        "SIZE",
        "Records of all memory streams together",
    ),
    key(
        "store_cache_bytes",
        "16MiB",
        "SIZE",
        "Page cache of the store file",
    ),
    key(
        "fold_bytes",
        "12MiB",
        "SIZE",
        "Journal bytes that one fold moves to the store",
    ),
    key(
        "commit_bytes_max",
        "512KiB",
        "SIZE",
        "Most bytes in one commit",
    ),
    key(
        "http_body_bytes_max",
        "8MiB",
        "SIZE",
        "Largest body of an HTTP request",
    ),
    key(
        "http_bodies_bytes_max",
        "32MiB",
        "SIZE",
        "Bodies of all HTTP requests that are being read or appended",
    ),
    key(
        "http_answers_bytes_max",
        "64MiB",
        "SIZE",
        "Answers over HTTP that wait to be taken, all together",
    ),
    key(
        "incoming_bytes_max",
        "64MiB",
        "SIZE",
        "Frames of clients that are not whole or wait for their queue, all together; then large ones come in one by one",
    ),
    key(
        "unsent_bytes_max",
        "64MiB",
        "SIZE",
        "Deliveries that wait to be taken, all clients together; then no more is read from the store",
    ),
    key(
        "long_poll_timeout",
        "30s",
        "TIME",
        "Time that a long-poll waits for data",
    ),
    Key {
        many: true,
        ..key(
            "cors_origins",
            "*",
            "ORIGIN",
            "Origins whose pages may use the streams; `*` for any",
        )
    },
    key(
        "public_url",
        "auto",
        "URL",
        "Root under which workers reach the HTTP port; `auto`: the Host of the request that subscribes",
    ),
    key(
        "webhooks_allow_loopback",
        "false",
        "BOOL",
        "For development: webhooks may go to localhost, also by plain http",
    ),
    key(
        "drain_grace",
        "10s",
        "TIME",
        "Time that a shutdown may take; peers that have not gone are cut off when a tenth of it is left, at most a second",
    ),
];

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The setting whose name is most like `name`, if any is alike enough to be what was meant.
pub fn nearest(name: &str) -> Option<&'static Key> {
    let wanted = name.replace('-', "_").to_ascii_lowercase();
    let likeness = |key: &&'static Key| strsim::jaro_winkler(&wanted, key.name);
    let best = KEYS
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    // Below this the two names share little more than a letter or two.
    (likeness(&best) > 0.7).then_some(best)
}
