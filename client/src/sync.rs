//! Locking without poison.
//!
//! Every mutex of this crate guards plain data that is consistent between statements, and no critical section
//! waits or calls foreign code except `Waker::wake`; a panic elsewhere must not turn into a second one here.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, whether or not a holder panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
