//! The application's database: its catalogue, checking a change file against it, installing a change, moving it through its stages,
//! filling and verifying the new model, and the comparison of old and new allocation.

mod backfill;
pub mod catalogue;
mod check;
pub mod compare;
mod compare_rows;
mod cover;
mod error;
mod gates;
mod health;
mod install;
mod laws;
pub mod own;
pub mod pause;
pub mod pending;
mod progress;
mod ranges;
mod refusals;
mod repair;
mod resolve;
mod retry;
mod stage;
mod verify;
mod what_if;
mod writers;
pub mod writes;

pub use backfill::{BackfillOptions, backfill, fill_in_transaction};
pub use catalogue::{find_table, list_table_names, read_catalogue};
pub use check::{CheckError, Checked, CheckedBlock, Reads, check};
pub use cover::{cover, cover_plan};
pub use error::TranslationError;
pub use gates::{Gate, Outside, Signed, gates};
pub use health::{BackfillHealth, BlockHealth, ChangeHealth, Drift, Health, health};
pub use install::{Step, install, plan, uninstall, uninstall_plan};
pub use laws::{DeclaredLoss, Law, LawOptions, Laws, LossFound, TableTrials, last_laws, laws, store_laws};
pub use own::{Deed, InstalledChange};
pub use progress::{BackfillProgress, Verification, backfill_progress, last_verifications};
pub use ranges::SentinelTally;
pub use repair::{refresh_keys, repair};
pub use resolve::resolve;
pub use retry::{Due, Retried, is_any_due, retry_pending};
pub use stage::{Move, check_step, move_stage};
pub use verify::{BlockDrift, DriftClass, DriftRow, VerifyOptions, verify, verify_block};
pub use what_if::what_if;
pub use writers::wait_for_writers;
