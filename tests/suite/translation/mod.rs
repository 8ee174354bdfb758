//! Translation on both databases.

mod crash;
