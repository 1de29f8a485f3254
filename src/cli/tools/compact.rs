//! `streamkeeper compact`.

use clap::Args;
use serde_json::json;

use super::{Data, not_done};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::store::shrink;

/// Give back the space that a data directory does not need
///
/// The directory must not be in use: a broker gives back most of it by itself while it serves.
#[derive(Debug, Args)]
pub(in crate::cli) struct Compact {
    #[command(flatten)]
    data: Data,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Compact {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let (before, after) = shrink::shrink(&self.data.files())
            .map_err(|error| not_done("cannot compact", &error))?;
        let object = json!({
            "before": { "journal": before.journal, "store": before.store, "segments": before.segments },
            "after": { "journal": after.journal, "store": after.store, "segments": after.segments },
        });
        let line = format!(
            "{} bytes, were {}: journal {} (was {}), store {} (was {}), segments {} (were {})",
            after.total(),
            before.total(),
            after.journal,
            before.journal,
            after.store,
            before.store,
            after.segments,
            before.segments
        );
        Output::new(self.json).answer(&object, line)
    }
}
