//! Readers and subscribers saw the final log: so they all saw one order, and nothing that a crash took away.

use super::Violation;
use crate::history::{History, Seen};

pub fn check(history: &History) -> Result<(), Violation> {
    for observation in &history.observations {
        let Seen::Records { first, records } = &observation.seen else {
            continue;
        };
        for (offset, saw) in (*first..).zip(records.iter().copied()) {
            let index = usize::try_from(offset).ok();
            let has = index.and_then(|index| history.log.get(index)).copied();
            if has != Some(saw) {
                return Err(Violation::AnotherOrder { offset, saw, has });
            }
        }
    }
    Ok(())
}
