//! Every storage backend held to the contract suite, one test per case and backend.
//!
//! The cases are in `streamkeeper::storage::contract`; this file only says which backends there are.

#[path = "../examples/custom_storage.rs"]
#[expect(dead_code, reason = "its `main` runs the same suite")]
mod custom_storage;

/// The backend that the example shows how to write.
mod custom {
    use super::custom_storage::LogFiles;

    streamkeeper::contract_tests!(LogFiles::new().expect("a temporary directory can be made"));
}
