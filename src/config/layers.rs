//! What was said where, as text, and the resolving of it: the highest layer that speaks wins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::keys::{self, Key};
use super::print::Entry;
use super::{ByteCount, ConfigError, Resolved};

/// Where a value came from, lowest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// Nobody said anything but what it follows from.
    Derived {
        /// The setting that was said.
        from: &'static str,
    },
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// Line of the key, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A flag.
    Flag {
        /// The flag, with its dashes.
        flag: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Derived { from } => write!(f, "from {from}"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { flag } => write!(f, "flag {flag}"),
        }
    }
}

/// All that was said, before it is understood.
#[derive(Debug, Default)]
pub struct Layers {
    /// The configuration file, if one is named.
    pub file: Option<PathBuf>,
    said: BTreeMap<&'static str, (Source, Vec<String>)>,
}

impl Layers {
    /// Notes that `key` was said to be `values`, unless a higher layer has spoken already.
    pub fn say(&mut self, key: &'static Key, source: Source, values: Vec<String>) {
        match self.said.get(key.name) {
            Some((spoken, _)) if *spoken > source => {}
            _ => {
                self.said.insert(key.name, (source, values));
            }
        }
    }
}

/// A value of a setting, to and from text.
pub(super) trait Value: FromStr + fmt::Display {
    /// What a text must be to be one: completes "it must be ...".
    const NEED: &'static str;
}

/// Takes settings out of the layers one by one and keeps a record of each for `--print-config`.
#[derive(Debug)]
pub(super) struct Resolver {
    said: BTreeMap<&'static str, (Source, Vec<String>)>,
    entries: Vec<Entry>,
}

impl Resolver {
    pub(super) fn new(layers: Layers) -> Self {
        Self {
            said: layers.said,
            entries: Vec::new(),
        }
    }

    /// What a setting is that nobody speaks of, if not its default.
    pub(super) fn derive(&mut self, name: &'static str, from: &'static str, value: &impl Value) {
        let source = Source::Derived { from };
        let values = vec![value.to_string()];
        self.said.entry(name).or_insert((source, values));
    }

    /// All of them, in the order of the table.
    pub(super) fn finish(mut self) -> Resolved {
        let place = |entry: &Entry| keys::KEYS.iter().position(|key| key.name == entry.key.name);
        self.entries.sort_by_key(place);
        Resolved::new(self.entries)
    }

    /// A setting of one value.
    pub(super) fn one<T: Value>(&mut self, name: &'static str) -> Result<T, ConfigError> {
        self.checked(name, |_| None)
    }

    /// A setting of several values.
    pub(super) fn list<T: Value>(&mut self, name: &'static str) -> Result<Vec<T>, ConfigError> {
        let (key, source, texts) = self.look_up(name);
        let parse = |text: &String| parse(key, &source, text);
        let values = texts.iter().map(parse).collect::<Result<Vec<T>, _>>()?;
        if values.is_empty() && !key.default.is_empty() {
            let need = String::from("at least one");
            return Err(ConfigError::Invalid {
                key: name,
                value: "empty".into(),
                need,
                place: source,
            });
        }
        let shown = values.iter().map(ToString::to_string).collect();
        self.entries.push(Entry {
            key,
            source,
            values: shown,
        });
        Ok(values)
    }

    /// A whole number from `min` to `max`.
    pub(super) fn count(
        &mut self,
        name: &'static str,
        min: u32,
        max: u32,
    ) -> Result<u32, ConfigError> {
        let need = || format!("a whole number from {min} to {max}");
        self.checked(name, |value| (!(min..=max).contains(value)).then(need))
    }

    /// A time of at least `min`.
    pub(super) fn duration(
        &mut self,
        name: &'static str,
        min: Duration,
    ) -> Result<Duration, ConfigError> {
        let need = || format!("a time of at least {}", humantime::format_duration(min));
        let value: humantime::Duration = self.checked(name, |value: &humantime::Duration| {
            (**value < min).then(need)
        })?;
        Ok(*value)
    }

    /// A number of bytes, at least `min`.
    pub(super) fn bytes(&mut self, name: &'static str, min: u64) -> Result<u64, ConfigError> {
        self.bytes_within(name, min, u64::MAX)
    }

    /// A number of bytes in a range that 32 bits hold.
    pub(super) fn bytes32(
        &mut self,
        name: &'static str,
        (min, max): (u32, u32),
    ) -> Result<u32, ConfigError> {
        let bytes = self.bytes_within(name, min.into(), max.into())?;
        Ok(u32::try_from(bytes).unwrap_or(max))
    }

    fn bytes_within(&mut self, name: &'static str, min: u64, max: u64) -> Result<u64, ConfigError> {
        let need = || match max {
            u64::MAX => format!("a size of at least {}", ByteCount(min)),
            _ => format!("a size from {} to {}", ByteCount(min), ByteCount(max)),
        };
        self.checked(name, |ByteCount(value)| {
            (!(min..=max).contains(value)).then(need)
        })
        .map(|ByteCount(value)| value)
    }

    /// A setting of one value about which `objection` may still say what it must be.
    fn checked<T: Value>(
        &mut self,
        name: &'static str,
        objection: impl FnOnce(&T) -> Option<String>,
    ) -> Result<T, ConfigError> {
        let (key, source, texts) = self.look_up(name);
        let [text] = texts.as_slice() else {
            let value = format!("{texts:?}");
            let need = String::from("a single value");
            return Err(ConfigError::Invalid {
                key: name,
                value,
                need,
                place: source,
            });
        };
        let value: T = parse(key, &source, text)?;
        if let Some(need) = objection(&value) {
            return Err(invalid(key, &source, text, need));
        }
        self.entries.push(Entry {
            key,
            source,
            values: vec![value.to_string()],
        });
        Ok(value)
    }

    fn look_up(&mut self, name: &'static str) -> (&'static Key, Source, Vec<String>) {
        let key = keys::find(name).expect("every setting that Config takes is in the table");
        let (source, texts) = self.said.remove(name).unwrap_or_else(|| {
            let default = Some(key.default).filter(|default| !default.is_empty());
            (
                Source::Default,
                default.map(String::from).into_iter().collect(),
            )
        });
        (key, source, texts)
    }
}

fn parse<T: Value>(key: &'static Key, source: &Source, text: &str) -> Result<T, ConfigError> {
    // The type's own error is left out on purpose: `NEED` says what to write instead.
    text.trim()
        .parse()
        .ok()
        .ok_or_else(|| invalid(key, source, text, T::NEED.to_owned()))
}

fn invalid(key: &'static Key, source: &Source, text: &str, need: String) -> ConfigError {
    let value = if key.secret {
        String::from("what it is")
    } else {
        format!("`{text}`")
    };
    ConfigError::Invalid {
        key: key.name,
        value,
        need,
        place: source.clone(),
    }
}
