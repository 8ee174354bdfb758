//! `changeover assign` for many groups and for the past: `--at`, `--ask`, `--split`, `--move-file`, `--move-cohort`.

use std::collections::BTreeSet;
use std::io::{self, BufReader, BufWriter};

use anyhow::Context as _;
use serde_json::json;

use super::routing::{now, record};
use super::{Output, Settings};
use crate::database::DatabaseConnection;
use crate::primitives::{CohortName, Instant, Period};
use crate::routing::{
    Asking, BulkMove, BulkReceipt, GroupId, RoutedChange, Router, Side, SplitOf, StoodAt, inherit, move_groups, side_at,
};
use crate::store::Memory;

#[derive(Debug, clap::Args)]
pub struct BulkArguments {
    /// On which side --group or --user was at this time, and why
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    at: Option<Instant>,

    /// With --at: this group
    #[arg(long = "group", value_name = "GROUP", requires = "at")]
    of_group: Option<String>,

    /// With --at: the group that the application names for this user today
    #[arg(long, value_name = "USER", requires = "at", conflicts_with = "of_group")]
    user: Option<String>,

    /// Answer questions from standard input: a line {"user": "ID"} or {"group": "ID"} each, a line of answer each
    #[arg(long)]
    ask: bool,

    /// With --ask: record nothing
    #[arg(long, requires = "ask")]
    no_record: bool,

    /// The group that others came out of: they get its side in the running period, or in --period
    #[arg(long, value_name = "GROUP", requires = "into")]
    split: Option<String>,

    /// With --split: the groups that came out of it
    #[arg(long, value_name = "GROUPS", requires = "split", value_delimiter = ',')]
    into: Vec<String>,

    /// Move the groups of this file, one id a line
    #[arg(long, value_name = "FILE", requires = "side")]
    move_file: Option<String>,

    /// Move all groups of this cohort's users
    #[arg(long, value_name = "COHORT", requires = "side", conflicts_with = "move_file")]
    move_cohort: Option<CohortName>,

    /// With --move-file or --move-cohort: only count
    #[arg(long)]
    preview: bool,
}

/// What all of these share.
pub(super) struct Shared<'a> {
    pub settings: &'a Settings,
    pub output: &'a Output,
    pub change: &'a RoutedChange,
    pub period: Option<Period>,
    pub reason: &'a str,
}

fn instant(text: &str) -> Result<Instant, String> {
    Instant::parse(text).map_err(|_| format!("`{text}` is not an instant such as 2027-01-01T00:00:00Z"))
}

impl BulkArguments {
    pub(super) fn is_given(&self) -> bool {
        self.at.is_some() || self.ask || self.split.is_some() || self.move_file.is_some() || self.move_cohort.is_some()
    }

    pub(super) fn run(
        &self,
        connection: &mut DatabaseConnection,
        shared: &Shared<'_>,
        (side, moves_in): (Option<Side>, Option<Period>),
    ) -> anyhow::Result<()> {
        match (self.at, &self.split) {
            (Some(at), _) => self.tell(connection, shared, at),
            (None, Some(from)) => self.split(connection, shared, from),
            (None, None) if self.ask => self.ask(shared),
            (None, None) => {
                let side = side.context("say to which side: --to old or --to new")?;
                let period = moves_in.context("say which period: --period PERIOD")?;
                self.move_many(connection, shared, (side, period))
            }
        }
    }

    fn tell(&self, connection: &mut DatabaseConnection, shared: &Shared<'_>, at: Instant) -> anyhow::Result<()> {
        let group = match (&self.of_group, &self.user) {
            (Some(group), _) => GroupId::new(group)?,
            (None, Some(user)) => shared.change.group_of_user(connection, user)?,
            (None, None) => anyhow::bail!("say whose side: --group GROUP or --user USER"),
        };
        let stood = side_at(connection, shared.change, &group, (at, shared.period))?;
        shared.output.result(&stood, &stood_text(&stood));
        Ok(())
    }

    fn ask(&self, shared: &Shared<'_>) -> anyhow::Result<()> {
        let settings = shared.settings;
        let snapshot = Memory::load(settings.open_store()?)?.snapshot();
        let router = Router::new(settings.open_app_database()?);
        let (period, record) = (shared.period, !self.no_record);
        let asking = Asking { change: &shared.change.name, period, actor: &settings.actor, at: now(), record };
        let (input, output) = (BufReader::new(io::stdin().lock()), BufWriter::new(io::stdout().lock()));
        let asked = router.ask_lines(&snapshot, asking, input, output)?;
        shared.output.note(&format!("{} lines, of which {} could not be answered", asked.lines, asked.errors));
        Ok(())
    }

    fn split(&self, connection: &mut DatabaseConnection, shared: &Shared<'_>, from: &str) -> anyhow::Result<()> {
        let Shared { settings, change, reason, .. } = shared;
        let from = GroupId::new(from)?;
        let into = self.into.iter().map(|id| GroupId::new(id)).collect::<Result<BTreeSet<_>, _>>()?;
        let store = settings.open_store()?;
        let at = now();
        let period = match shared.period {
            Some(period) => period,
            None => change.period_at(at)?,
        };
        let split = SplitOf { from: &from, into: &into, period, actor: &settings.actor, reason, at };
        let moves = inherit(connection, change, &split)?;
        let document = json!({ "change": change.name, "from": from, "moves": moves });
        record(&store, settings, "change.split", change, reason, document.clone())?;
        let lines = moves
            .iter()
            .map(|one| format!("group `{}` is on the {} side in {period}, as `{from}` is", one.group, one.after));
        shared.output.result(&document, &lines.collect::<Vec<_>>().join("\n"));
        Ok(())
    }

    fn move_many(
        &self,
        connection: &mut DatabaseConnection,
        shared: &Shared<'_>,
        (side, period): (Side, Period),
    ) -> anyhow::Result<()> {
        let Shared { settings, change, reason, .. } = shared;
        let store = settings.open_store()?;
        let groups = match (&self.move_file, &self.move_cohort) {
            (Some(file), _) => {
                let text = std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
                let ids = text.lines().map(str::trim).filter(|line| !line.is_empty());
                ids.map(GroupId::new).collect::<Result<BTreeSet<_>, _>>()?
            }
            (None, Some(name)) => {
                let snapshot = Memory::load(store.clone())?.snapshot();
                let cohort = snapshot.find_cohort(name.as_str()).and_then(|at| snapshot.cohort(at));
                let cohort = cohort.with_context(|| format!("there is no cohort `{name}`"))?;
                change.groups_of_cohort(connection, cohort)?
            }
            (None, None) => anyhow::bail!("say which groups: --move-file FILE or --move-cohort COHORT"),
        };
        let wanted = BulkMove { groups: &groups, period, side, actor: &settings.actor, reason, at: now() };
        let receipt = move_groups(connection, change, &wanted, self.preview)?;
        if !self.preview {
            record(&store, settings, "change.move", change, reason, serde_json::to_value(&receipt)?)?;
        }
        shared.output.result(&receipt, &bulk_text(&receipt));
        Ok(())
    }
}

fn bulk_text(receipt: &BulkReceipt) -> String {
    let BulkReceipt { groups, moved, recorded, already, side, period, .. } = receipt;
    let did = if receipt.preview { "would be put" } else { "were put" };
    format!(
        "{groups} groups {did} on the {side} side for {period}: {moved} from the other side, {recorded} that had no record, \
         {already} are there already"
    )
}

fn stood_text(stood: &StoodAt) -> String {
    let StoodAt { group, period, at, side, .. } = stood;
    let mut text = format!("at {at} group `{group}` was on the {side} side for {period}");
    match &stood.because {
        None => text.push_str(": nothing was recorded"),
        Some(event) => {
            let row = &event.assignment;
            let action = format!("{:?}", event.action).to_lowercase();
            text.push_str(&format!("\n  {action} at {} by {}: {}", row.at, row.actor, row.reason));
            if let Some(version) = row.flag_version {
                text.push_str(&format!(" (flag version {version})"));
            }
        }
    }
    for event in &stood.since {
        let row = &event.assignment;
        text.push_str(&format!("\n  since then: {} at {} by {}: {}", row.side, row.at, row.actor, row.reason));
    }
    text
}
