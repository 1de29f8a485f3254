//! The code of the start, let go of: a broker that waits needs little of what it ran to get ready.
//!
//! The kernel maps 64 KiB of the program around each page that is run, and nothing unmaps it again: more than half of what an
//! idle broker has resident would be the code of its start. Soon after it serves, all code is unmapped; what is run from then on
//! is mapped again from the page cache, where it was all along.
//!
//! This holds the only `unsafe` of the project. Invariant: a mapping is let go of only if the file has every byte of it.

use std::fs;
use std::time::Duration;

use rustix::mm::{Advice, madvise};

/// From when the broker serves; its listeners and tasks then run for the first time.
const AFTER: Duration = Duration::from_millis(100);

/// A mapping of this process, as `/proc/self/smaps` tells.
#[derive(Debug, PartialEq)]
struct Mapping {
    start: usize,
    bytes: usize,
    /// Mapped from a file, read and run, never written to through this mapping.
    is_code: bool,
    /// Bytes that differ from the file, or have none.
    anonymous: bool,
}

/// Unmaps the code that was run so far, once the start is over. Where that cannot be done, nothing is lost but memory.
pub(super) async fn let_go_of_code() {
    tokio::time::sleep(AFTER).await;
    match fs::read_to_string("/proc/self/smaps") {
        Ok(smaps) => mappings(&smaps).iter().for_each(let_go),
        Err(error) => tracing::debug!(%error, "the code of the start stays in memory"),
    }
}

/// Unmaps the pages of `mapping` if it is code.
fn let_go(mapping: &Mapping) {
    if !mapping.is_code || mapping.anonymous {
        return;
    }
    // SAFETY: the pages are of a file, privately mapped, cannot be written to, and none was changed before, since none is anonymous.
    // So each byte of this range reads the same after the call, from the file, as before it, and no reference or code pointer into it
    // can tell. The range is still that mapping: the program's own code and that of the libraries it is linked with stay where they
    // are until it ends, and nothing here unloads a library.
    #[expect(
        unsafe_code,
        reason = "see the comment above; docs/performance.md has the figures"
    )]
    let done = unsafe {
        madvise(
            std::ptr::without_provenance_mut(mapping.start),
            mapping.bytes,
            Advice::LinuxDontNeed,
        )
    };
    if let Err(error) = done {
        tracing::debug!(%error, "code of the start stays in memory");
    }
}

/// Reads `/proc/self/smaps`: a line for each mapping, and then one for each fact about it.
fn mappings(smaps: &str) -> Vec<Mapping> {
    let mut found: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        if let Some(bytes) = line.strip_prefix("Anonymous:") {
            if let Some(last) = found.last_mut() {
                last.anonymous = bytes.trim() != "0 kB";
            }
        } else if let Some(mapping) = mapping(line) {
            found.push(mapping);
        }
    }
    found
}

/// Reads the first line of a mapping; `None` if `line` is none. Nothing is code before its facts are known.
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let is_code = words.next()? == "r-xp";
    let of_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
    Some(Mapping {
        start,
        bytes: end.checked_sub(start)?,
        is_code: is_code && of_file,
        anonymous: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
561f00000000-561f00200000 r--p 00000000 fe:00 131 /usr/bin/streamkeeper
Rss:                1800 kB
Anonymous:             0 kB
561f00200000-561f00300000 r-xp 00200000 fe:00 131 /usr/bin/streamkeeper
Rss:                 900 kB
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00001000 fe:00 132 /usr/lib/written to.so
Rss:                   4 kB
Anonymous:             4 kB
7f0000002000-7f0000003000 rw-p 00000000 00:00 0
Anonymous:             4 kB
7f0000004000-7f0000005000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
";

    #[test]
    fn code_is_what_a_file_has_every_byte_of() {
        let all = mappings(SMAPS);
        assert_eq!(all.len(), 5);
        let code = all.iter().filter(|m| m.is_code && !m.anonymous);
        let ranges: Vec<_> = code.map(|m| (m.start, m.bytes)).collect();
        assert_eq!(ranges, [(0x561f_0020_0000, 0x10_0000)]);
    }

    #[test]
    fn a_mapping_of_which_nothing_is_known_is_kept() {
        let cut = "561f00200000-561f00300000 r-xp 00200000 fe:00 131 /usr/bin/streamkeeper\n";
        assert!(mappings(cut).iter().all(|m| m.anonymous));
        assert_eq!(mappings("no mapping - at all\nRss: 4 kB\n"), []);
    }
}
