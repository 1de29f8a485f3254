//! The TOML file: one flat table whose keys are the settings.
//!
//! It is read as a document with positions and not through serde, so that every complaint names its line and an
//! unknown key is answered with the setting that was probably meant.

use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{ConfigError, Layers, Source, keys};

/// Reads `path` into `layers`.
pub(super) fn read(path: &Path, layers: &mut Layers) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
        path: path.to_owned(),
        error,
    })?;
    parse(path, &text, layers)
}

fn parse(path: &Path, text: &str, layers: &mut Layers) -> Result<(), ConfigError> {
    let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    })?;
    for (name, value) in document.get_ref() {
        let line = line_of(text, name.span());
        let place = Source::File {
            path: path.to_owned(),
            line,
        };
        let Some(key) = keys::find(name.get_ref()) else {
            return Err(ConfigError::UnknownKey {
                path: path.to_owned(),
                line,
                key: name.get_ref().to_string(),
                nearest: keys::nearest(name.get_ref()).map(|key| key.name),
            });
        };
        let Some(values) = texts(value.get_ref()) else {
            let need = "a text, a number or a list of them".to_owned();
            let value = format!("a {}", value.get_ref().type_str());
            return Err(ConfigError::Invalid {
                key: key.name,
                value,
                need,
                place,
            });
        };
        layers.say(key, place, values);
    }
    Ok(())
}

/// The texts of a value, or of each element of an array; `None` for what no setting can be.
fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    match value {
        DeValue::Array(elements) => elements
            .iter()
            .map(|element| scalar(element.get_ref()))
            .collect(),
        other => scalar(other).map(|text| vec![text]),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        DeValue::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn line_of(text: &str, span: Range<usize>) -> usize {
    let before = text.as_bytes().iter().take(span.start);
    1 + before.filter(|byte| **byte == b'\n').count()
}
