//! A change file's blocks as SQL text for one dialect. Pure: text in, text out.

pub mod assignment;
pub mod catalogue;
pub mod compare;
mod compare_input;
mod compare_sections;
mod division;
pub mod driving;
pub mod effective;
pub mod expected;
pub mod gap;
pub mod journal;
pub mod keys;
mod lenient;
pub mod model;
pub mod names;
pub mod pending;
pub mod postgres;
pub mod postgres_batch;
mod postgres_block;
mod postgres_locks;
mod postgres_triggers;
mod postgres_truncate;
pub mod rewrite;
pub mod scan;
pub mod sqlite;
pub mod statements;
pub mod verify;
