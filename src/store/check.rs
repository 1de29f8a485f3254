//! Checking a store: everything that was written down is read and compared with its checksums, and the parts with each other.
//!
//! - `findings`: what a check tells of, and its report.
//! - `walk`: the tables of `store.redb`, in one moment. `chunks`: the chunks of one stream. `rows`: what the journal brings past that
//!   moment. `forks`: who relies on whose records.
//!
//! Two ways: [`offline`], of a directory that no broker has open, which also has redb verify every page of its file; and
//! [`running`], of a store while it serves, which leaves that out and rests as long as it works.
//!
//! Invariants: nothing is written, repaired or removed. Memory does not grow with the records, only with the number of segments and
//! forks, and with the streams in the journal.

mod chunks;
mod findings;
mod forks;
mod rows;
mod walk;

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::findings::{Event, Problem, Report};

use self::findings::Findings;
use self::rows::Rows;
use self::walk::Walk;
use super::chunks::{ChunkStore, FILE};
use super::error::StoreError;
use super::files::Files;
use super::journal::{self, Journal, Row, Surveyed};
use super::local::LocalStore;
use super::looking::Looking;
use super::restored;
use super::snapshot::Snapshot;

/// redb's cache while nobody else needs it.
pub(super) const CACHE_BYTES: usize = 64 << 20;

/// Segments are not written to by a check.
const SEGMENT_BYTES: u64 = 0;

/// Checks the directory at `path`, which no broker has open. `each` is told of everything that is found, as it is found, and may
/// end the check.
///
/// # Errors
/// If it could not be checked: it is in use, is not there, or cannot be read. What is damaged is no error, but found.
pub fn offline(
    path: &Path,
    each: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Report, StoreError> {
    let files: Arc<dyn Files> = Arc::new(Looking::at(path));
    restored::refuse_unfinished(&*files)?;
    let mut findings = Findings::new(each, None);
    let mut outcome = guarded(&mut findings, |findings| pages(&files, findings));
    if outcome.is_ok() {
        outcome = guarded(&mut findings, |findings| contents(&files, findings));
    }
    findings.tell_found();
    outcome.map(|()| findings.report())
}

/// Checks a store that serves. It rests as long as it works.
///
/// # Errors
/// As [`offline`]; [`StoreError::Closed`] if the store is closed meanwhile, or `each` ends it.
pub fn running(
    store: &LocalStore,
    each: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Report, StoreError> {
    let Some(mut snapshot) = store.snapshot()? else {
        return Ok(Report::default());
    };
    let mut findings = Findings::new(each, Some(Rest::default()));
    let rows = snapshot.take_rows();
    let outcome = moment(&snapshot, &rows, &mut findings);
    // What an ended snapshot seemed to hold says nothing of the store.
    snapshot.ended().map_or(Ok(()), Err)?;
    findings.tell_found();
    outcome.map(|()| findings.report())
}

/// Goes through one moment of a store that serves.
fn moment(
    snapshot: &Snapshot<'_>,
    rows: &[Row],
    findings: &mut Findings<'_>,
) -> Result<(), StoreError> {
    let mut walk = Walk::new(snapshot, findings);
    walk.tables()?;
    let mut after = Rows::new(walk.into_known());
    for row in rows {
        findings.pause(snapshot)?;
        after.row(snapshot, row, findings)?;
    }
    after.finish(snapshot, findings)?;
    findings.pause(snapshot)
}

/// Runs a part of the check. A mangled file may be more than redb survives: that is found, then.
fn guarded(
    findings: &mut Findings<'_>,
    part: impl FnOnce(&mut Findings<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    match catch_unwind(AssertUnwindSafe(|| part(findings))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => findings.damage(error),
        Err(_panic) => {
            findings.problem(Problem::in_file(FILE, "redb gave up on what is in it"));
            Ok(())
        }
    }
}

/// Has redb compare every page of its file with its checksum.
fn pages(files: &Arc<dyn Files>, findings: &mut Findings<'_>) -> Result<(), StoreError> {
    let failed = |source| StoreError::Directory {
        path: files.place().to_owned(),
        source,
    };
    files.names().map_err(failed)?;
    files
        .length(FILE)
        .map_err(|source| StoreError::Io { file: FILE, source })?;
    let store = ChunkStore::open(files, CACHE_BYTES, SEGMENT_BYTES)?;
    if !store.verify_pages()? {
        findings.problem(Problem::in_file(
            FILE,
            "a page of it does not match its checksum",
        ));
    }
    Ok(())
}

/// Goes through everything that the directory holds.
fn contents(files: &Arc<dyn Files>, findings: &mut Findings<'_>) -> Result<(), StoreError> {
    let store = ChunkStore::open(files, CACHE_BYTES, SEGMENT_BYTES)?;
    let snapshot = Snapshot::at_rest(&store, None)?;
    let mut walk = Walk::new(&snapshot, findings);
    walk.tables()?;
    let mut rows = Rows::new(walk.into_known());
    let surveyed = survey(files, &snapshot, &mut rows, findings);
    if let Err(error) = surveyed {
        findings.damage(error)?;
    }
    rows.finish(&snapshot, findings)
}

fn survey(
    files: &Arc<dyn Files>,
    snapshot: &Snapshot<'_>,
    rows: &mut Rows,
    findings: &mut Findings<'_>,
) -> Result<(), StoreError> {
    match files.length(journal::FILE) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.problem(Problem::in_file(journal::FILE, "it is missing"));
            return Ok(());
        }
        _ => {}
    }
    let journal = Journal::open(&**files)?;
    journal.survey(snapshot.facts.watermark, |found| {
        match found {
            Surveyed::Row(row) => rows.row(snapshot, &row, findings)?,
            Surveyed::Doubtful(row) => rows.doubtful(snapshot, &row, findings),
            Surveyed::Lost(from, until) => rows.lost(from, until, findings),
            Surveyed::LeftOut(frame) if frame.was_whole() => {
                findings.problem(Problem::in_file(journal::FILE, frame.to_string()));
            }
            Surveyed::LeftOut(frame) => {
                findings.note(format!("{frame}. The broker starts without it"));
            }
        }
        findings.pause(snapshot)
    })
}

/// A check of a running store leaves the disk to others for as long as it used it.
#[derive(Debug)]
struct Rest {
    since: Instant,
}

/// How long a check works at a time.
const WORK: Duration = Duration::from_millis(20);

impl Default for Rest {
    fn default() -> Self {
        Self {
            since: Instant::now(),
        }
    }
}

impl Rest {
    fn rest(&mut self) {
        let worked = self.since.elapsed();
        if worked >= WORK {
            std::thread::sleep(worked.min(WORK * 10));
            self.since = Instant::now();
        }
    }
}
