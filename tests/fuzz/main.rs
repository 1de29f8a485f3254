//! Fuzzing that runs with the other tests: inputs kept in `corpus/`, and mangled by a seed.
//!
//! `session`: a peer's conversation. `http`: heads of requests. `files`: what a broker finds when it opens. Frames are fuzzed beside
//! their codec (`protocol/fuzz`). Each target makes something of any bytes, so a case that failed is kept as a file and
//! replayed for ever. `make fuzz` runs all of them for longer.

#![expect(
    clippy::print_stdout,
    reason = "it says which seed it ran, and how much came of it"
)]

#[path = "../../protocol/fuzz/src/frames.rs"]
#[expect(
    dead_code,
    reason = "shared with the codec's tests, which also need events"
)]
mod frames;
#[path = "../hammer/random.rs"]
#[expect(dead_code, reason = "shared with tests that need sizes")]
mod random;

mod corpus;
mod files;
mod http;
mod session;
mod verdict;
