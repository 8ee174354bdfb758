//! Flags, cohorts, tokens and the audit log on the command line; the server as a process.

mod flags;
mod serve;
mod story;
