//! The fuzz targets' logic, in plain functions.
//!
//! The crate's ordinary tests include the same two modules and run them under proptest, so the properties hold in
//! every test run and not only while somebody fuzzes.

pub mod checks;
pub mod frames;
