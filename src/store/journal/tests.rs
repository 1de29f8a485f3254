//! The journal over real files: what comes back after each end it may meet.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use super::ending::Cause;
use super::*;
use crate::store::Directory;

/// A journal in a directory of its own, and the rows that were committed.
struct Run {
    directory: tempfile::TempDir,
    committed: Vec<Bytes>,
}

impl Run {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            committed: Vec::new(),
        }
    }

    /// Opens the journal; the rows past `watermark` are those that were committed.
    fn open(&self, watermark: u64) -> Journal {
        let (journal, found) = self.try_open(watermark).expect("the journal opens");
        assert_eq!(journal.next_row(), self.committed.len() as u64 + 1);
        let from = usize::try_from(watermark).expect("a small number");
        assert_eq!(found, self.committed[from..]);
        journal
    }

    fn try_open(&self, watermark: u64) -> Result<(Journal, Vec<Bytes>), StoreError> {
        let mut journal = Journal::open(&Directory::new(self.directory.path()))?;
        let (mut rows, mut next) = (Vec::new(), watermark + 1);
        journal.replay(watermark, |row| {
            assert_eq!(row.number, next, "rows come in order");
            next += 1;
            rows.push(row.bytes);
            Ok(())
        })?;
        Ok((journal, rows))
    }

    fn commit(&mut self, journal: &mut Journal, rows: &[Bytes], watermark: u64) {
        journal.commit(rows, watermark).expect("it commits");
        self.committed.extend_from_slice(rows);
    }

    fn length(&self) -> u64 {
        let about = std::fs::metadata(self.directory.path().join(FILE));
        about.expect("the file is there").len()
    }

    /// Writes over a part of the file.
    fn put(&self, at: u64, bytes: &[u8]) {
        let file = OpenOptions::new()
            .write(true)
            .open(self.directory.path().join(FILE));
        let file = file.expect("the file is there");
        file.write_all_at(bytes, at).expect("it can be written");
    }

    /// The frame that a start leaves out, and what `check` is told of it, which is the same.
    fn left_out(&self, watermark: u64) -> Option<LeftOut> {
        let mut surveyed = None;
        let journal = Journal::open(&Directory::new(self.directory.path())).expect("it opens");
        let survey = journal.survey(watermark, |found| {
            if let survey::Surveyed::LeftOut(frame) = found {
                surveyed = Some(frame);
            }
            Ok(())
        });
        survey.expect("it is readable");
        let (journal, _rows) = self.try_open(watermark).expect("the journal opens");
        assert_eq!(journal.left_out_last(), surveyed.as_ref());
        surveyed
    }

    /// Flips a bit of the file.
    fn flip(&self, at: u64) {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .open(self.directory.path().join(FILE));
        let file = file.expect("the file is there");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("within the file");
        byte[0] ^= 0x10;
        file.write_all_at(&byte, at).expect("it can be written");
    }
}

fn row(length: usize, fill: u8) -> Bytes {
    Bytes::from(vec![fill; length])
}

#[test]
fn a_replay_tells_how_far_it_is_commit_by_commit_up_to_all_that_there_is() {
    let mut run = Run::new();
    let mut journal = run.open(0);
    let row = Bytes::from(vec![7; 3 * BLOCK]);
    for _ in 0..6 {
        run.commit(&mut journal, &[row.clone(), row.clone()], 0);
    }
    drop(journal);
    let mut journal = Journal::open(&Directory::new(run.directory.path())).expect("it opens");
    let told = std::cell::RefCell::new(Vec::new());
    let mut rows_before = Vec::new();
    let each = |row: Row| {
        rows_before.push((row.number, told.borrow().len()));
        Ok(())
    };
    let tell = |progress: Progress| told.borrow_mut().push(progress);
    // The first two commits are folded, and so is half of the third.
    journal.replay_telling(5, tell, each).expect("it is whole");
    let frame = 7 * BLOCK_BYTES;
    let done = |commits: u64| Progress {
        done: commits * frame,
        total: 4 * frame,
    };
    assert_eq!(told.into_inner(), [0, 1, 2, 3, 4].map(done));
    let before = [(6, 1), (7, 2), (8, 2), (9, 3), (10, 3), (11, 4), (12, 4)];
    assert_eq!(rows_before, before);
}

#[test]
fn rows_come_back_from_the_watermark_on() {
    let mut run = Run::new();
    let mut journal = run.open(0);
    run.commit(&mut journal, &[row(10, 1), row(70_000, 2)], 0);
    run.commit(&mut journal, &[row(1, 3)], 0);
    drop(journal);
    for watermark in 0..=3 {
        drop(run.open(watermark));
    }
}

#[test]
fn a_torn_last_commit_is_absent_and_its_place_is_used_again() {
    let mut run = Run::new();
    let mut journal = run.open(0);
    run.commit(&mut journal, &[row(100, 1)], 0);
    let torn = [row(20_000, 2), row(20_000, 3)];
    journal.commit(&torn, 0).expect("it commits");
    drop(journal);
    let second = 2 * BLOCK_BYTES;
    for at in [
        second + 5,
        second + HEADER_BYTES as u64 + 1,
        second + 30_000,
    ] {
        run.flip(at);
        drop(run.open(0));
        run.flip(at);
    }
    run.flip(second + 30_000);
    let mut journal = run.open(0);
    run.commit(&mut journal, &[row(9, 4)], 0);
    drop(journal);
    drop(run.open(0));
}

#[test]
fn a_damaged_commit_with_others_behind_it_is_an_error() {
    let mut run = Run::new();
    let mut journal = run.open(0);
    for fill in 1..=3 {
        run.commit(&mut journal, &[row(100, fill)], 0);
    }
    drop(journal);
    for at in [2 * BLOCK_BYTES + 2, 2 * BLOCK_BYTES + 80] {
        run.flip(at);
        let error = run.try_open(0).expect_err("row 2 is damaged");
        assert!(error.to_string().contains("row 2 is missing"), "{error}");
        drop(run.open(2));
        run.flip(at);
    }
}

#[test]
fn a_damaged_head_is_an_error_and_an_empty_file_is_a_new_journal() {
    let mut run = Run::new();
    let mut journal = run.open(0);
    run.commit(&mut journal, &[row(100, 1)], 0);
    drop(journal);
    run.flip(9);
    let error = run.try_open(0).expect_err("the head is damaged");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    for length in [0, 17, BLOCK_BYTES] {
        let other = Run::new();
        let path = other.directory.path().join(FILE);
        std::fs::write(path, vec![0; usize::try_from(length).expect("small")])
            .expect("it is written");
        drop(other.open(0));
    }
}

#[test]
fn a_commit_larger_than_the_buffer_comes_back() {
    let mut run = Run::new();
    let mut journal = run.open(0);
    let rows: Vec<Bytes> = (0..50).map(|fill| row(ROW_BYTES_MAX, fill)).collect();
    run.commit(&mut journal, &rows, 0);
    drop(journal);
    drop(run.open(0));
}

#[test]
fn laps_over_folded_rows_come_back_and_the_file_stays_small() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut run = Run::new();
        let (mut journal, mut watermark) = (run.open(0), 0);
        for _ in 0..300 {
            let rows: Vec<Bytes> = (0..random.usize(1..4))
                .map(|_| row(random.usize(1..40_000), random.u8(..)))
                .collect();
            run.commit(&mut journal, &rows, watermark);
            let committed = run.committed.len() as u64;
            match random.u8(..20) {
                // Up to some 20 rows stay.
                0..5 => watermark = watermark.max(committed.saturating_sub(random.u64(..20))),
                5 => {
                    drop(journal);
                    journal = run.open(watermark);
                }
                _ => {}
            }
        }
        assert!(
            run.length() <= 8 << 20,
            "seed {seed}: {} bytes",
            run.length()
        );
    }
}

/// Where the second frame of [`two_commits`] begins, and the rest of the figures of what is left out of it.
const SECOND: u64 = 2 * BLOCK_BYTES;

/// A commit of one row, and one of two rows of `length` bytes, not zeros.
fn two_commits(length: usize) -> Run {
    let mut run = Run::new();
    let mut journal = run.open(0);
    run.commit(&mut journal, &[row(100, 1)], 0);
    run.commit(&mut journal, &[row(length, 2), row(length, 3)], 0);
    run
}

fn cause(run: &Run) -> Option<Cause> {
    let frame = run.left_out(0)?;
    assert_eq!((frame.rows, frame.at), (2..=3, SECOND));
    Some(frame.cause)
}

#[test]
fn a_flipped_bit_of_the_last_commit_is_told_with_its_place() {
    for (length, end) in [(100, 236), (20_000, 40_036)] {
        let run = two_commits(length);
        assert_eq!(run.left_out(0), None, "it is whole");
        for at in [0, 5, 9, 27, 28, 36, 90, end - 1] {
            run.flip(SECOND + at);
            assert_eq!(cause(&run), Some(Cause::BitFlipped(SECOND + at)));
            run.flip(SECOND + at);
        }
        assert_eq!(run.left_out(0), None, "it is whole again");
    }
}

#[test]
fn damage_within_one_sector_is_told_from_sectors_that_were_not_written() {
    let small = two_commits(100);
    small.put(SECOND + 40, &[9; 20]);
    assert_eq!(cause(&small), Some(Cause::SectorDamaged));
    let zeros = two_commits(20_000);
    zeros.put(SECOND + 4 * 512, &[0; 512]);
    assert_eq!(cause(&zeros), Some(Cause::Unwritten));
    let either = two_commits(20_000);
    either.put(SECOND + 4_000, &[9; 20]);
    assert_eq!(cause(&either), Some(Cause::Unknown));
}

#[test]
fn an_earlier_commit_within_the_last_one_shows_that_it_was_not_written_whole() {
    let run = two_commits(20_000);
    let bytes = std::fs::read(run.directory.path().join(FILE)).expect("readable");
    run.put(SECOND + BLOCK_BYTES, &bytes[BLOCK..2 * BLOCK]);
    assert_eq!(cause(&run), Some(Cause::Unwritten));
}

#[test]
fn a_commit_that_was_left_out_once_is_told_no_more_when_its_rows_are_there_anew() {
    let mut run = two_commits(20_000);
    run.flip(SECOND + 90);
    run.committed.truncate(1);
    let mut journal = run.open(0);
    // The front is folded, and the small commit goes behind the broken one: its header stays to be seen.
    let bytes = std::fs::read(run.directory.path().join(FILE)).expect("readable");
    run.commit(&mut journal, &[row(100, 4)], 0);
    drop(journal);
    let second = usize::try_from(SECOND).expect("a small place");
    let broken = second..second + 11 * BLOCK;
    run.put(broken.end as u64, &bytes[broken]);
    assert_eq!(run.left_out(0), None);
    assert_eq!(run.left_out(2), None, "nor when they are folded");
    drop(run.open(0));
}

#[test]
fn rows_that_are_not_folded_are_not_written_over_when_the_end_of_the_file_is_reached() {
    let mut run = Run::new();
    let mut journal = run.open(0);
    for fill in 0..80 {
        run.commit(&mut journal, &[row(40_000, fill)], 0);
    }
    drop(journal);
    drop(run.open(0));
}
