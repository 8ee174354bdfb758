//! The examples on both databases: their data, their change files, and the whole story of `changeover demo`.

mod demo;
mod load;
mod one_to_many;
mod pgbench;
mod story;
pub mod support;
