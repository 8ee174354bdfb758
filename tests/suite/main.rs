//! Every integration test, in one binary; the folders mirror `src`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::as_conversions)]
#![allow(clippy::print_stderr, reason = "what a failed test prints is for a person")]

mod allocation;
mod api;
mod change;
mod cli;
mod conformance;
mod console;
mod database;
mod edge;
mod examples;
mod flags;
mod fuzz;
mod house;
mod import;
mod ofrep;
mod peers;
mod protect;
mod readme;
mod reference;
mod report;
mod routing;
mod security;
mod servers;
mod store;
#[allow(dead_code, unused_imports, reason = "made for tests that other parts write")]
mod support;
mod translation;
mod worker_gates;
