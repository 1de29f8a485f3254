//! What can be wrong with a configuration, always with the place to look at.

use std::path::PathBuf;

use super::Source;

/// The configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {error}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path}: {reason}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the TOML parser says, with line and column.
        reason: String,
    },
    /// The file has a key that is no setting.
    #[error("{path}, line {line}: unknown key `{key}`{hint}", path = path.display(),
        hint = nearest.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Line of the key, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The setting most like it.
        nearest: Option<&'static str>,
    },
    /// A value is not one that the setting takes.
    #[error("{place}: `{key}` cannot be {value}: it must be {need}")]
    Invalid {
        /// The setting.
        key: &'static str,
        /// The value, quoted; secrets are left out.
        value: String,
        /// What the setting takes.
        need: String,
        /// Where the value came from.
        place: Source,
    },
}
