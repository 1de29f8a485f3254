//! Puts the table where the README has a place for it: between two comments that nobody sees.

use std::path::Path;

use crate::error::Error;

const BEGIN: &str = "<!-- peers: written by `make peers` with --write-readme -->\n";
const END: &str = "<!-- peers: end -->\n";

/// Replaces what stands between the comments.
pub(super) fn replace_block(readme: &Path, block: &str) -> Result<(), Error> {
    let text = std::fs::read_to_string(readme).map_err(Error::io("reading the README"))?;
    let replaced = with_block(&text, block).ok_or_else(|| Error::Missing {
        what: "the place for the table in the README",
        how: format!("it stands between {BEGIN} and {END}").replace('\n', ""),
    })?;
    std::fs::write(readme, replaced).map_err(Error::io("writing the README"))
}

fn with_block(text: &str, block: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{block}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_comments_is_replaced() {
        let text = format!("before\n{BEGIN}old\n{END}after\n");
        let replaced = with_block(&text, "new\n").unwrap();
        assert_eq!(replaced, format!("before\n{BEGIN}new\n{END}after\n"));
    }

    #[test]
    fn a_readme_without_the_comments_is_left_alone() {
        assert_eq!(with_block("before\nafter\n", "new\n"), None);
        assert_eq!(with_block(&format!("{END}{BEGIN}"), "new\n"), None);
    }

    #[test]
    fn the_readme_of_this_repository_has_the_place() {
        let readme = include_str!("../../../../README.md");
        assert!(with_block(readme, "").is_some());
    }
}
