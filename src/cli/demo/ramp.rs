//! The second half of the story: who is billed by the new model, who is moved back, and the proof.

use anyhow::{Context as _, ensure};

use super::narration::{Backfill, Groups, OldCode, ReportShown, Shown, Total, counted};
use super::old_code::Written;
use super::story::{ACTOR, PATIENCE, Story, now};
use super::{Example, place};
use crate::allocation::Comparison;
use crate::change::Stage;
use crate::database::DatabaseConnection;
use crate::flags::Flag;
use crate::primitives::CohortName;
use crate::report::{self, Report, RunOptions};
use crate::routing::{self, Assigning, Move, RoutedChange, Side};
use crate::sql::model::ChangeModel;
use crate::store::reports::Word;
use crate::store::sorted_ids::SortedIds;
use crate::store::{Memory, Origin, cohorts, flags};

const COHORT: &str = "early-adopters";
/// Of 100,000 buckets.
const SHARE_NEW: u32 = 10_000;
/// Groups that are moved back to the old side by hand.
const MOVED_BACK: usize = 3;

impl Story<'_> {
    /// A cohort, and the flag: the cohort's groups and 10 % of all groups.
    pub(super) fn decide_who(&mut self) -> anyhow::Result<()> {
        let users = candidates(&mut *self.database.connection()?, self.data.example)?;
        let mut users: Vec<String> = users.into_iter().step_by(7).take(12).collect();
        users.sort_unstable();
        let cohort = CohortName::new(COHORT)?;
        let flag = Flag::parse(&self.flag().to_string())?;
        let data = serde_json::to_string(&flag.to_draft())?;
        let origin = Origin { actor: ACTOR, reason: "the first to try the new allocation" };
        self.store.write(|connection| {
            cohorts::create(connection, &cohort, "Users who asked to be first", origin)?;
            cohorts::edit(connection, &cohort, cohorts::Edit::Replace(&SortedIds::of(&users)), None, origin)?;
            flags::create(connection, flag.key(), &data, origin)
        })?;
        self.narrator
            .step("flag", &format!("new for cohort {COHORT} ({} users) and for 10 % of the groups", users.len()));
        Ok(())
    }

    fn flag(&self) -> serde_json::Value {
        serde_json::json!({
            "key": self.file.routing.flag,
            "type": "string",
            "description": self.file.title,
            "variants": { "old": "old", "new": "new" },
            "default_variant": "old",
            "off_variant": "old",
            "change": self.file.name,
            "rules": [
                { "description": "Those who asked to be first", "cohort": COHORT, "serve": { "variant": "new" } },
                { "description": "10 % of the groups", "serve": { "rollout": { "ranges": [
                    { "variant": "new", "from": 0, "to": SHARE_NEW },
                    { "variant": "old", "from": SHARE_NEW, "to": 100_000 },
                ] } } },
            ],
        })
    }

    /// The report that opens the way to `live`: clean, and signed.
    pub(super) fn go_live(&mut self) -> anyhow::Result<()> {
        let report = self.report("before going live")?;
        ensure!(report.data.clean, "the report before going live has unexplained differences");
        let id = report.id.unwrap_or_default();
        report::sign(&self.store, &id, Word::approving("Fiona Finance", "finance", now()))?;
        self.narrator.step("sign", "Fiona Finance signs the report");
        self.laws()?;
        self.move_to(Stage::Live)?;
        self.narrator
            .step("live", "groups may be billed by the new model; what is written there flows back to the old one");
        Ok(())
    }

    /// Records the side of every group for the running period.
    pub(super) fn assign(&mut self) -> anyhow::Result<()> {
        let memory = Memory::load(self.store.clone())?;
        let connection = &mut *self.database.connection()?;
        let change = RoutedChange::get(connection, &self.file.name)?;
        let assigning = Assigning { period: self.period, actor: ACTOR, at: now() };
        let receipt = routing::assign(connection, &change, &memory.snapshot(), &assigning)?;
        let text = format!("{}: {} groups new, {} old", self.period, receipt.assigned_new, receipt.assigned_old);
        self.narrator.step("assign", &text);
        Ok(())
    }

    /// Moves some groups of the new side back to the old one.
    pub(super) fn move_back(&mut self) -> anyhow::Result<u64> {
        let connection = &mut *self.database.connection()?;
        let change = RoutedChange::get(connection, &self.file.name)?;
        let assigned = routing::list(connection, &change.name, self.period, None, 100_000)?;
        let mut moved = 0;
        for assignment in assigned.iter().filter(|assignment| assignment.side == Side::New).take(MOVED_BACK) {
            let wanted = Move {
                group: &assignment.group,
                period: self.period,
                side: Side::Old,
                actor: ACTOR,
                reason: "asked to wait a month",
                at: now(),
            };
            moved += u64::from(routing::move_group(connection, &change, &wanted)?.moved);
        }
        self.narrator.step("move back", &format!("{moved} groups are back on the old allocation, and nothing is lost"));
        Ok(moved)
    }

    /// Verifies and reports once more, stops the old application and verifies what it left.
    pub(super) fn end(
        mut self,
        model: &ChangeModel,
        backfill: Backfill,
        moved_back: u64,
        live_from: Written,
    ) -> anyhow::Result<(Shown, Comparison)> {
        let (rows, rows_while_live) = rows_wanted(self.data.example);
        self.writer.wait_for((live_from.rows + rows_while_live).max(rows), PATIENCE)?;
        self.narrator.step("old code", &format!("has written {} rows by now", counted(self.writer.written().rows)));
        self.verify(model, "while old code writes")?;
        let written = self.writer.stop()?;
        self.narrator.step("old code", "ends");
        self.verify(model, "after its last write")?;
        let report = self.report("after all of it")?;
        let file = place::report_file(self.url)?;
        let html = report::to_html(&report).context("the report cannot be drawn")?;
        std::fs::write(&file, html).with_context(|| format!("{} cannot be written", file.display()))?;

        let comparison = report.data.comparison;
        let totals = Total::list(&comparison);
        let connection = &mut *self.database.connection()?;
        let counts = routing::count_sides(connection, &self.file.name)?;
        let counts = counts.iter().find(|counts| counts.period == self.period);
        let shown = Shown {
            held: self.drift.rows == 0 && report.data.clean && totals.iter().all(|total| total.exact),
            example: self.data.example.name(),
            database: self.url.to_string(),
            change: self.file.name.to_string(),
            loaded: self.loaded,
            old_code: OldCode { written, rows_while_live: written.rows - live_from.rows },
            backfill,
            drift: self.drift,
            totals,
            groups: Groups {
                period: self.period,
                new: counts.map_or(0, |counts| counts.new),
                old: counts.map_or(0, |counts| counts.old),
                moved_back,
            },
            report: ReportShown {
                id: report.id.unwrap_or_default(),
                clean: report.data.clean,
                exceptions: comparison.exceptions_total,
                sha256: report.sha256,
                file: file.display().to_string(),
            },
            seconds: self.narrator.seconds(),
        };
        Ok((shown, comparison))
    }

    /// Compares both allocations of all charges, and stores the report.
    fn report(&mut self, when: &str) -> anyhow::Result<Report> {
        let connection = &mut *self.database.connection()?;
        let options = RunOptions::of(now(), ACTOR);
        let report = report::run(connection, &self.store, &self.file.name, &options, &mut |_, _| true)?;
        let comparison = &report.data.comparison;
        let verdict = if report.data.clean { "clean" } else { "NOT clean" };
        let (charges, exceptions) = (counted(comparison.charges()), counted(comparison.exceptions_total));
        self.narrator.step("report", &format!("{verdict}: {charges} charges, {exceptions} exceptions, {when}"));
        Ok(report)
    }
}

/// The old application is given time to write so many rows in all, and so many while the change is live. In the cloud bill one
/// retagged charge shares out all of a sub-account anew.
fn rows_wanted(example: Example) -> (u64, u64) {
    match example {
        Example::VideoHosting => (2_000, 500),
        Example::CloudCosts => (300, 100),
    }
}

/// Users whom a demo may name: the ids of the first ones.
pub(super) fn candidates(connection: &mut DatabaseConnection, example: Example) -> anyhow::Result<Vec<String>> {
    let table = match example {
        Example::VideoHosting => "users",
        Example::CloudCosts => "sub_accounts",
    };
    let rows =
        connection.query(&format!("SELECT CAST(id AS TEXT) AS id FROM {table} ORDER BY {table}.id LIMIT 500"), &[])?;
    Ok(rows.iter().map(|row| row.text("id")).collect::<Result<_, _>>()?)
}
