//! The OFREP provider for Rust against a real server.

fn main() {}
