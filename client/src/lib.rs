//! Async Rust client of Streamkeeper.
