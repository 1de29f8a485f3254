//! Streamkeeper: a message-broker sidecar that keeps durable, append-only streams.

pub mod metrics;
pub mod rules;
pub mod storage;
pub mod types;
