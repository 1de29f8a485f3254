//! Subscriptions, against the real binary: webhooks with a real receiver, pull-wake with real workers, kills and restarts.

#![expect(
    clippy::indexing_slicing,
    reason = "a field that is missing in JSON reads as null, and fails the assertion it is in"
)]

mod limits;
mod membership;
mod pull_wake;
mod refusals;
mod restart;
mod support;
mod tls;
mod webhook;
