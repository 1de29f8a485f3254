//! The tools for the data: the real program on directories as real brokers leave them, and on brokers that serve.

mod check;
mod support;
