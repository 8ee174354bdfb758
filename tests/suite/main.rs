//! Every integration test, in one binary; the folders mirror `src`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::as_conversions)]

mod allocation;
