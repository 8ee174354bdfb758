//! The story itself, step by step, by the same functions that the commands call: from a change file and an old application
//! that never stops writing, to groups billed by the new model and a report that proves it.

use std::time::{Duration, Instant as Clock};

use anyhow::{Context as _, ensure};

use super::example::Example;
use super::narration::{Backfill, Drift, Groups, Narrator, OldCode, Report, Shown, Total, counted};
use super::old_code::Written;
use super::writer::Writer;
use super::{DataArguments, load_example, place, video_hosting};
use crate::allocation::Comparison;
use crate::change::{ChangeFile, Stage};
use crate::cli::Output;
use crate::database::{Database, DatabaseConnection, DatabaseUrl};
use crate::flags::Flag;
use crate::primitives::{ChangeName, CohortName, Instant, Period};
use crate::routing::{self, Assigning, Move, RoutedChange, Side};
use crate::sql::model::ChangeModel;
use crate::store::{Memory, Origin, Store, cohorts, flags};
use crate::translation::{self, BackfillOptions, Deed, SignedReport, VerifyOptions, own};

const ACTOR: &str = "demo";
const COHORT: &str = "early-adopters";
/// Of 100,000 buckets.
const SHARE_NEW: u32 = 10_000;
/// Groups that are moved back to the old side by hand.
const MOVED_BACK: usize = 3;
/// The old application is given time to write so much while the change is live, and so much in all.
const ROWS_WHILE_LIVE: u64 = 500;
const ROWS_IN_ALL: u64 = 2_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// The stage on which all of it happens.
pub struct Story<'a> {
    narrator: Narrator<'a>,
    url: &'a DatabaseUrl,
    data: &'a DataArguments,
    database: Database,
    store: Store,
    file: ChangeFile,
    period: Period,
    writer: Writer,
    loaded: serde_json::Value,
    drift: Drift,
}
