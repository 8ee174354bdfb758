//! The change file against real catalogues.

mod catalogue;
