//! The rules of a stream, held to their word.
//!
//! `properties` runs random command sequences under a moving clock against `model`, an oracle that keeps the whole
//! history of a stream and recomputes everything from it. The other files state one rule per test by example.

mod append;
mod common;
mod create;
mod expiry;
mod json;
mod model;
mod producers;
mod properties;
mod retention;
mod steps;
mod trim;
