//! Flags, cohorts, tokens and the audit log on the command line; the server as a process.

mod serve;
mod story;
