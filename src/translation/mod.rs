//! The application's database: its catalogue, and the check of a change file against it.

pub mod catalogue;

pub use catalogue::{find_table, list_table_names, read_catalogue};
//! Everything that Changeover does on the application's database.

pub mod compare;
mod compare_rows;
