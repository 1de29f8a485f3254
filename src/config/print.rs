//! `--print-config`: the outcome as a configuration file, each value with the place it came from.

use std::fmt;

use super::keys::Key;
use super::{ConfigError, Source};

/// One setting as resolved.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: &'static Key,
    pub(super) source: Source,
    pub(super) values: Vec<String>,
}

/// Every setting as resolved, and where it came from. Displays as a valid configuration file.
#[derive(Clone, Debug)]
pub struct Resolved {
    entries: Vec<Entry>,
}

impl Resolved {
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    /// Where the value of this setting came from; the default for a name that is no setting.
    pub fn source(&self, name: &str) -> Source {
        let entry = self.entries.iter().find(|entry| entry.key.name == name);
        entry.map_or(Source::Default, |entry| entry.source.clone())
    }

    /// The error for a setting that contradicts another.
    pub(super) fn contradiction(&self, name: &'static str, need: String) -> ConfigError {
        let entry = self.entries.iter().find(|entry| entry.key.name == name);
        let value = entry
            .map(|entry| format!("`{}`", entry.values.join(", ")))
            .unwrap_or_default();
        ConfigError::Invalid {
            key: name,
            value,
            need,
            place: self.source(name),
        }
    }
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Entry {
            key,
            source,
            values,
        } in &self.entries
        {
            let quoted = |value: &String| toml::Value::from(value.as_str()).to_string();
            let value = match values.as_slice() {
                [one] if !key.many => match one.parse::<u32>() {
                    Ok(number) => number.to_string(),
                    Err(_) => quoted(one),
                },
                all => format!(
                    "[{}]",
                    all.iter().map(quoted).collect::<Vec<_>>().join(", ")
                ),
            };
            // A redacted value must not take effect when this is used as a file.
            let comment = if key.secret && !values.is_empty() {
                "# "
            } else {
                ""
            };
            writeln!(f, "{comment}{} = {value}  # {source}", key.name)?;
        }
        Ok(())
    }
}
