//! What may be asked of a broker's data while it serves: to be copied, and to be checked.

use std::io::Write;
use std::ops::ControlFlow;

use super::Broker;
use crate::store::backup::{self, BackupError, Counts};
use crate::store::check::{self, Event, Report};
use crate::store::{Lease, StoreError};

impl Broker {
    /// Writes a backup of the durable streams to `to`: everything that was confirmed before the call is in it. Blocks for as long as that takes.
    pub fn back_up(&self, to: &mut dyn Write) -> Result<Counts, BackupError> {
        backup::running(&self.inner.durable, to)
    }

    /// A lease for a backup or a check that is begun next.
    pub fn lease(&self) -> Lease {
        self.inner.durable.lease()
    }

    /// Whether what was begun under `lease` shall end: the store closes, or must open its files anew.
    pub fn is_over(&self, lease: Lease) -> bool {
        self.inner.durable.is_over(lease)
    }

    /// Reads all durable streams and compares them with their checksums; `each` is told what is found, and may end it. Blocks for as long as that takes, and
    /// uses the disk half of the time.
    pub fn check(
        &self,
        each: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Report, StoreError> {
        check::running(&self.inner.durable, each)
    }
}
