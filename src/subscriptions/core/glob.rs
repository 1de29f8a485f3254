//! Patterns over stream names, by segments: `*` is any one segment, `**` any number of them, none included.
//!
//! A star stands for whole segments only; `order-*` is refused when the pattern is made, since it would match nothing anybody
//! meant. A segment with a literal star is written with `%2A`. Matching takes at most segments times segments steps: only
//! the last `**` is ever gone back to, which is enough because an earlier one can give up nothing that helps.

use std::fmt;
use std::str::FromStr;

use streamkeeper_protocol::limits::STREAM_NAME_BYTES_MAX;

/// A pattern that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    segments: Box<[Segment]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    One,
    Many,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing is left without the slashes around it.
    #[error("a pattern must not be empty")]
    Empty,
    /// No stream name is that long.
    #[error("a pattern has at most {STREAM_NAME_BYTES_MAX} bytes")]
    TooLong,
    /// A star among other characters.
    #[error("`*` and `**` stand for whole segments; write a star that is part of a name as `%2A`")]
    PartialStar,
}

impl Pattern {
    /// Whether `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        let names: smallvec::SmallVec<[&str; 16]> = name.split('/').collect();
        let (mut at, mut name_at) = (0, 0);
        // The last `**` met, and how far the names went that it stands for.
        let mut back: Option<(usize, usize)> = None;
        while let Some(name) = names.get(name_at) {
            match self.segments.get(at) {
                Some(Segment::Many) => {
                    back = Some((at, name_at));
                    at += 1;
                }
                Some(Segment::One) => {
                    at += 1;
                    name_at += 1;
                }
                Some(Segment::Literal(literal)) if **literal == **name => {
                    at += 1;
                    name_at += 1;
                }
                _ => {
                    let Some((many, swallowed)) = back else {
                        return false;
                    };
                    back = Some((many, swallowed + 1));
                    at = many + 1;
                    name_at = swallowed + 1;
                }
            }
        }
        let rest = self.segments.get(at..).unwrap_or_default();
        rest.iter().all(|segment| *segment == Segment::Many)
    }

    /// What every name that matches begins with.
    pub fn literal_prefix(&self) -> String {
        let mut prefix = String::new();
        for segment in &self.segments {
            let Segment::Literal(literal) = segment else {
                return prefix;
            };
            if !prefix.is_empty() {
                prefix.push('/');
            }
            prefix.push_str(literal);
        }
        prefix
    }

    /// The pattern as given, without slashes around it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let text = text.trim_matches('/');
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > STREAM_NAME_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let segment = |text: &str| match text {
            "*" => Ok(Segment::One),
            "**" => Ok(Segment::Many),
            _ if text.contains('*') => Err(PatternError::PartialStar),
            _ => {
                let literal = text.replace("%2A", "*").replace("%2a", "*");
                Ok(Segment::Literal(literal.into()))
            }
        };
        let segments = text.split('/').map(segment).collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.into(),
            segments,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(name)
    }

    #[test]
    fn one_star_is_exactly_one_segment() {
        assert!(matches("events/*", "events/a"));
        assert!(!matches("events/*", "events"));
        assert!(!matches("events/*", "events/a/b"));
        assert!(matches("*/b", "a/b"));
        assert!(!matches("*", "a/b"));
    }

    #[test]
    fn two_stars_are_any_number_of_segments() {
        for name in ["a", "a/b", "a/b/c"] {
            assert!(matches("**", name), "{name}");
            assert!(matches("a/**", name), "{name}");
        }
        assert!(matches("a/**/z", "a/z"));
        assert!(matches("a/**/z", "a/b/z/c/z"));
        assert!(!matches("a/**/z", "a/b/c"));
        assert!(matches("**/b/*/d/**", "x/b/y/b/c/d"));
        assert!(!matches("a/**", "b/a"));
    }

    #[test]
    fn a_literal_matches_itself_and_a_star_can_be_one() {
        assert!(matches("/a/b/", "a/b"));
        assert!(!matches("a/b", "a/B"));
        assert!(matches("a/%2A", "a/*"));
        assert!(!matches("a/%2A", "a/b"));
    }

    #[test]
    fn what_would_match_nothing_is_no_pattern() {
        let error = |text: &str| text.parse::<Pattern>().unwrap_err();
        assert_eq!(error("//"), PatternError::Empty);
        assert_eq!(error("orders-*"), PatternError::PartialStar);
        assert_eq!(error("a/***"), PatternError::PartialStar);
        assert_eq!(error(&"a".repeat(1025)), PatternError::TooLong);
    }

    #[test]
    fn many_stars_do_not_blow_up() {
        let pattern = "**/a/".repeat(170) + "z";
        let name = "a/".repeat(511) + "a";
        assert!(!matches(&pattern, &name));
    }

    #[test]
    fn the_literal_prefix_begins_every_match() {
        let prefix = |text: &str| text.parse::<Pattern>().unwrap().literal_prefix();
        assert_eq!(prefix("a/b/*/c"), "a/b");
        assert_eq!(prefix("**"), "");
        assert_eq!(prefix("a/b"), "a/b");
    }
}
