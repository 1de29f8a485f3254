//! The client verbs, one file each: `run` connects, asks, prints.

pub(super) mod append;
pub(super) mod close;
pub(super) mod create;
pub(super) mod healthcheck;
mod input;
pub(super) mod ls;
pub(super) mod read;
pub(super) mod rm;
pub(super) mod stat;
pub(super) mod tail;
