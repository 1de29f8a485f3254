//! What a mangled directory may show of what the intact one had: each stream whole, or with an error, or short by what the end of the
//! journal held. No stream is short without a word for another reason.

use std::collections::BTreeSet;

pub const JOURNAL: &str = "journal.log";
pub const STORE: &str = "store.redb";

/// What was there before.
#[derive(Debug, Default)]
pub struct Intact {
    /// Records of each stream that are folded.
    pub folded: Vec<u64>,
    /// The appends that only the journal has, each a frame of its own: the stream, and its tail then.
    pub late: Vec<(usize, u64)>,
}

/// How reading a stream from its beginning ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There was no more.
    AtTail,
    Told,
    /// There was no such stream.
    Absent,
}

/// What is short, of what is allowed to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Short {
    /// Streams that said so.
    pub told: usize,
    /// Streams that were taken for absent.
    pub absent: usize,
    /// Frames of the journal's end that are missing.
    pub frames: usize,
}

impl Intact {
    /// The tails after the first `frames` of the late appends.
    fn tails(&self, frames: usize) -> Vec<u64> {
        let mut tails = self.folded.clone();
        for (stream, tail) in self.late.iter().take(frames) {
            if let Some(of_stream) = tails.get_mut(*stream) {
                *of_stream = *tail;
            }
        }
        tails
    }

    /// What `found` lacks: for each stream its records and how it ended. `mangled` are the files that were changed.
    ///
    /// # Errors
    /// If anything is missing that must not.
    pub fn judge(
        &self,
        found: &[(u64, Ended)],
        mangled: &BTreeSet<String>,
    ) -> Result<Short, String> {
        let ended = |how: Ended| found.iter().filter(|(_, ended)| *ended == how).count();
        let fits = |frames: &usize| {
            let tails = self.tails(*frames);
            found.len() == tails.len()
                && found
                    .iter()
                    .zip(tails)
                    .all(|((records, ended), tail)| *ended != Ended::AtTail || *records == tail)
        };
        let all = self.late.len();
        let frames = (0..=all).rev().find(fits);
        let frames = frames.ok_or_else(|| {
            format!(
                "{found:?} is not what there was at any time: {:?}",
                self.tails(all)
            )
        })?;
        let short = Short {
            told: ended(Ended::Told),
            absent: ended(Ended::Absent),
            frames: all - frames,
        };
        if short.frames > 0 && !mangled.contains(JOURNAL) {
            return Err(format!("{short:?}, though the journal is as it was"));
        }
        if short.absent > 0 && !mangled.contains(STORE) {
            return Err(format!("{short:?}, though the store is as it was"));
        }
        Ok(short)
    }
}

#[test]
fn streams_that_are_short_without_a_word_are_not_allowed() {
    use Ended::{Absent, AtTail, Told};
    let intact = Intact {
        folded: vec![5, 5],
        late: vec![(0, 6), (1, 8), (0, 9)],
    };
    let judge = |found: [(u64, Ended); 2], mangled: &str| {
        let short = intact.judge(&found, &BTreeSet::from([mangled.to_owned()]));
        short.ok().map(
            |Short {
                 told,
                 absent,
                 frames,
             }| (told, absent, frames),
        )
    };
    assert_eq!(
        judge([(9, AtTail), (8, AtTail)], "a segment"),
        Some((0, 0, 0))
    );
    assert_eq!(
        judge([(2, Told), (8, AtTail)], "a segment"),
        Some((1, 0, 0))
    );
    assert_eq!(
        judge([(2, AtTail), (8, AtTail)], JOURNAL),
        None,
        "it is short"
    );
    assert_eq!(judge([(6, AtTail), (8, AtTail)], JOURNAL), Some((0, 0, 1)));
    assert_eq!(judge([(5, AtTail), (5, AtTail)], JOURNAL), Some((0, 0, 3)));
    assert_eq!(
        judge([(6, AtTail), (8, AtTail)], STORE),
        None,
        "the journal had it"
    );
    assert_eq!(
        judge([(9, AtTail), (5, AtTail)], JOURNAL),
        None,
        "a later frame is there"
    );
    assert_eq!(judge([(0, Absent), (8, AtTail)], STORE), Some((0, 1, 0)));
    assert_eq!(judge([(0, Absent), (8, AtTail)], JOURNAL), None);
    assert_eq!(
        judge([(10, AtTail), (8, AtTail)], JOURNAL),
        None,
        "more than there was"
    );
}
