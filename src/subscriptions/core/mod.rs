//! **The pure core** of subscriptions: values in, values out; no I/O, no clock, no randomness.
//!
//! ```text
//!            pending work                     delivered             {"done":true} | ack with done | nothing left to do
//!   idle ─────────────────▶ wake: due ─▶ in flight ─▶ accepted ──────────────────────────────────────────────▶ idle
//!    ▲   generation + 1,      ▲              │ failed: next attempt after a back-off                              │
//!    │   new wake id          └──────────────┘                                                                    │
//!    └──────────────────────────────── lease ran out, or release ◀────────────────────────────────────────────────┘
//! ```
//!
//! [`Subscription`] is the state of one subscription; [`Subscription::step`] takes an [`Input`] and says what to make durable,
//! what to do, and what to answer, in a [`Step`]. Invariants:
//!
//! - `generation` never goes back, and each wake has its own.
//! - At most one wake is out. Only its holder's requests, with its id and generation, move cursors.
//! - Cursors only move forward, and never past the tail that was observed.
//! - After a failed delivery nothing is sent before `next_attempt_at`, whatever happens to the wake.

mod config;
mod glob;
mod links;
mod retry;
mod state;
mod step;
mod text;

pub use config::{Config, Delivery};
pub use glob::{Pattern, PatternError};
pub use links::{Facts, Link, Links, StreamInfo};
pub use retry::backoff;
pub use state::{Attempt, Head, Subscription, Wake};
pub use step::{Ack, Answer, Claimed, Context, Input, Outcome, Rejection, Step, WakeKey};

#[cfg(test)]
mod tests;
