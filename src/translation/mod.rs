//! The application's database: its catalogue, the check of a change file against it, and the comparison of old and new allocation.

pub mod catalogue;
pub mod compare;
mod compare_rows;

pub use catalogue::{find_table, list_table_names, read_catalogue};
