//! The change file against real catalogues.

mod catalogue;
mod check;
mod mutations;
