//! Changeover: phase in the change that "can't be phased in".
//!
//! The map of the house. Imports run downwards only (a test reads the `use` lines):
//!
//! | module | owns |
//! |---|---|
//! | [`cli`] | the commands, and what reaches stdout, stderr and progress bars |
//! | [`console`] | the pages at `/console`: sign-in, changes and their stages |
//! | [`http`] | every path of the service, its errors, tokens and headers |
//! | [`jobs`] | what runs by itself inside the server |
//! | [`report`] | a comparison as terminal text, JSON and HTML |
//! | [`routing`] | groups, assignments, and which side a charge is on |
//! | [`translation`] | the application's database: check, install, backfill, verify, repair, compare |
//! | [`store`] | the service's own database: the only typed Diesel |
//! | [`conformance`] | does a server, ours or another, speak OFREP as real providers need it? |
//! | [`database`] | connections, pools, both dialects, transactions with retry |
//! | [`sql`] | a block of a change file as SQL text for one dialect |
//! | [`change`] | the change file, its stages and their gates |
//! | [`allocation`] | dividing a charge, classes of differences, totals |
//! | [`observations`] | old and new results that applications post, compared under rules |
//! | [`worker_gates`] | what gates tell background workers, and who holds their leases |
//! | [`edge`] | who a visitor is, and which copy of the application may serve them |
//! | [`flags`] | flags, cohorts, buckets and their evaluation |
//! | [`primitives`] | keys, ids, money, periods and instants |

pub mod allocation;
pub mod change;
pub mod cli;
pub mod conformance;
pub mod console;
pub mod database;
pub mod edge;
pub mod flags;
pub mod http;
pub mod jobs;
pub mod observations;
pub mod primitives;
pub mod report;
pub mod routing;
pub mod sql;
pub mod store;
pub mod translation;
pub mod worker_gates;
