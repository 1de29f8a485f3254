//! Streamkeeper: a message-broker sidecar that keeps durable, append-only streams.
