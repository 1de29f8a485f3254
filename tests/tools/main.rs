//! The tools for the data: the real program on directories as real brokers leave them, and on brokers that serve.

#[path = "../outside/broker.rs"]
mod served;

mod backup;
mod check;
mod compact;
mod load;
mod running;
mod support;
