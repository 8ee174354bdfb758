//! What the pages of a change tell of it, read in one go, and what its next moves would do, in numbers.

use crate::change::{Direction, Stage};
use crate::database::DatabaseConnection;
use crate::http::AppState;
use crate::http::api::previews::preview_sides;
use crate::http::problem::Problem;
use crate::primitives::ChangeName;
use crate::report::standing;
use crate::routing::{SideCounts, count_sides, evaluate_gates};
use crate::store::jobs::{self, Job, JobKind};
use crate::store::reports::{self, Report};
use crate::store::{PageRequest, StoreError};
use crate::translation::own::{HistoryEntry, get_change, history};
use crate::translation::pause::{Gap, open_gap};
use crate::translation::pending::{self, PendingKey};
use crate::translation::{BackfillProgress, ChangeHealth, Gate, InstalledChange, Verification};
use crate::translation::{backfill_progress, last_verifications};

use super::words::{counted, grouped};

/// Keys that wait, and entries of the history, that a page shows at most.
const PENDING_SHOWN: i64 = 10;
const HISTORY_SHOWN: usize = 20;

/// A change, and how far it is.
pub struct Facts {
    pub change: InstalledChange,
    pub health: ChangeHealth,
    pub backfills: Vec<BackfillProgress>,
    pub verifications: Vec<Verification>,
    pub gap: Option<Gap>,
    pub pending_count: i64,
    pub pending: Vec<PendingKey>,
    pub sides: Vec<SideCounts>,
    pub report: Option<LastReport>,
    /// The newest first.
    pub history: Vec<HistoryEntry>,
    pub history_count: usize,
    /// Jobs that have not ended.
    pub jobs: Vec<Job>,
}

/// The newest report of a change.
pub struct LastReport {
    pub report: Report,
    /// Why its sign-offs count no more.
    pub faults: Vec<String>,
}

impl Facts {
    pub fn read(
        state: &AppState,
        connection: &mut DatabaseConnection,
        change: InstalledChange,
    ) -> Result<Self, Problem> {
        let name = change.name.clone();
        let mut entries = history(connection, &name)?;
        let history_count = entries.len();
        entries.reverse();
        entries.truncate(HISTORY_SHOWN);
        Ok(Self {
            health: ChangeHealth::read(connection, &change)?,
            backfills: backfill_progress(connection, &name)?,
            verifications: last_verifications(connection, &name)?,
            gap: open_gap(connection, &name)?,
            pending_count: pending::count(connection, &name)?,
            pending: pending::list(connection, &name, PENDING_SHOWN)?,
            sides: count_sides(connection, &name)?,
            report: last_report(state, &change)?,
            jobs: unfinished_jobs(state, &name)?,
            history: entries,
            history_count,
            change,
        })
    }

    /// The change of this name.
    pub fn get(state: &AppState, name: &ChangeName) -> Result<Self, Problem> {
        let mut connection = state.app().connection()?;
        let change = get_change(&mut connection, name)?;
        Self::read(state, &mut connection, change)
    }

    /// The gates of a step, with their evidence.
    pub fn gates(&self, state: &AppState, to: Stage) -> Result<Vec<Gate>, Problem> {
        let mut connection = state.app().connection()?;
        Ok(evaluate_gates(state.store(), &mut connection, &self.change, to, state.now())?)
    }

    /// True while nothing is translated because somebody paused it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.gap.as_ref().is_some_and(|gap| gap.resumed_at.is_none())
    }

    /// Target rows that are known to differ, if anybody has looked.
    #[must_use]
    pub fn drift(&self) -> Option<i64> {
        let known = self.health.blocks.iter().filter_map(|block| block.drift);
        let rows: Vec<i64> = known.map(|drift| drift.rows()).collect();
        (!rows.is_empty()).then(|| rows.iter().sum())
    }

    /// Groups that are recorded on the old and on the new side in periods that are not closed.
    #[must_use]
    pub fn open_sides(&self) -> (i64, i64) {
        let is_open = |count: &&SideCounts| count.period.to_string() >= self.change.open_period;
        let open = self.sides.iter().filter(is_open);
        open.fold((0, 0), |(old, new), count| (old + count.old, new + count.new))
    }

    fn blocks(&self, direction: Direction) -> i64 {
        let count = self.change.file.blocks.iter().filter(|block| block.id.direction == direction).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// How the flag, as it is, will divide the groups once it decides: who moves.
    #[must_use]
    pub fn division(&self, state: &AppState, to: Stage) -> Vec<String> {
        if to != Stage::Live || !self.change.file.is_routed() {
            return Vec::new();
        }
        let preview = match preview_sides(state, &self.change.file.routing.flag) {
            Ok(preview) => preview,
            Err(problem) => return vec![format!("Who will move cannot be told now: {}", problem.detail())],
        };
        let size = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let of = |variant: &str| preview.staying.iter().find(|staying| staying.variant == variant);
        let (new, share) = of("new").map_or((0, 0.0), |staying| (staying.subjects, staying.percent));
        let groups = counted(count(preview.subjects), "group", "groups");
        let mut told = vec![format!(
            "By the flag as it is now (version {}) {} of {groups} will be on the new side: {share:.3} %. What the flag and its cohorts say can be changed afterwards, too.",
            preview.flag_version,
            grouped(count(new)),
        )];
        for cohort in preview.change.iter().flat_map(|change| &change.widened) {
            let (users, groups) = (size(cohort.users), size(cohort.groups));
            told.push(format!(
                "The cohort {} has {}, who are in {}; {} in none.",
                cohort.cohort,
                counted(users, "user", "users"),
                counted(groups, "group", "groups"),
                counted(size(cohort.users_without_group), "is", "are"),
            ));
        }
        told
    }

    /// What a move of the stage will do, in sentences.
    #[must_use]
    pub fn consequences(&self, to: Stage) -> Vec<String> {
        let (from, (old, new)) = (self.change.stage, self.open_sides());
        let forward = counted(self.blocks(Direction::Forward), "forward block", "forward blocks");
        let backward = counted(self.blocks(Direction::Backward), "backward block", "backward blocks");
        let mut told = Vec::new();
        match to {
            Stage::Off => told.push(format!("{forward} will stop: writes to the old model no longer reach the new one. What the new model has stays, and grows stale.")),
            Stage::DualWrite if from == Stage::Off => told.push(format!("{forward} will run with each write to the old model, in the writer's own transaction. A backfill then brings over what is there already.")),
            Stage::DualWrite => told.push(String::from("Translation goes on as it is. Reports can still be run, but the change is no longer compared on its way to live.")),
            Stage::Shadow if from == Stage::DualWrite => told.push(String::from("Translation goes on as it is. From now on the two allocations are compared; nobody is billed by the new model.")),
            Stage::Shadow => {
                told.push(format!("{backward} will stop: writes to the new model no longer reach the old one."));
                told.push(format!("{} of open periods will go back to the old side. No row is lost: the old model was kept in step.", counted(new, "recorded assignment to the new side", "recorded assignments to the new side")));
            }
            Stage::Live if from == Stage::Shadow => {
                told.push(format!("{backward} will start: writes to the new model reach the old one as well, so that the way back loses nothing."));
                told.push(format!("From now on the flag {} decides for each group, once for each period, by which model it is billed. Nobody has been asked for yet; {} recorded in open periods.", self.change.file.routing.flag, if old + new == 1 { String::from("1 assignment is") } else { format!("{} are", counted(old + new, "assignment", "assignments")) }));
            }
            Stage::Live => told.push(format!("The flag {} decides again who is billed by the new model. Sides that are recorded stay as they are.", self.change.file.routing.flag)),
            Stage::RampDown => {
                told.push(String::from("Everybody will be billed by the new model, whatever the flag says."));
                told.push(format!("{} recorded on the old side in open periods; closed periods stay as they are.", if old == 1 { String::from("1 group is") } else { format!("{} are", counted(old, "group", "groups")) }));
            }
            Stage::Complete => {
                told.push(format!("The triggers and functions of {forward} and {backward} will be removed. There is no way back from here."));
                told.push(String::from("You will get a list of what is left to remove by hand, in order."));
            }
        }
        told
    }
}

fn unfinished_jobs(state: &AppState, name: &ChangeName) -> Result<Vec<Job>, Problem> {
    Ok(state.store().read(|connection| {
        let found = JobKind::ALL.into_iter().map(|kind| jobs::find_unfinished(connection, kind, name));
        Ok(found.collect::<Result<Vec<_>, StoreError>>()?.into_iter().flatten().collect())
    })?)
}

fn last_report(state: &AppState, change: &InstalledChange) -> Result<Option<LastReport>, Problem> {
    let newest = state.store().read(|connection| {
        let request = PageRequest { after: None, limit: Some(1) };
        Ok::<_, StoreError>(reports::list(connection, &change.name, &request)?.items.into_iter().next())
    })?;
    let Some(newest) = newest else { return Ok(None) };
    let (report, faults) = standing(state.store(), change, &newest.id)?;
    Ok(Some(LastReport { report, faults }))
}
