//! `changeover assign`: the sides of a period, one group's move, and what is recorded.

use clap::ArgGroup;
use serde_json::{Value, json};

use super::routing_bulk::{BulkArguments, Shared};
use super::{Output, Settings};
use crate::database::DatabaseConnection;
use crate::primitives::{ChangeName, Instant, Period};
use crate::routing::{
    self, AssignReceipt, Assigning, Event, GroupId, Move, MoveReceipt, RoutedChange, Side, SideCounts,
};
use crate::store::audit::{self, AuditEntry};
use crate::store::{Memory, Store};

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("what").args(["group", "list", "history", "at", "ask", "split", "move_file", "move_cohort"])))]
pub struct AssignArguments {
    /// The change; may be left out if only one is installed that has an [allocation]
    change: Option<ChangeName>,

    /// The period, such as 2026-12, 2026-Q4, 2026-W47 or the day on which it begins, as the change counts them
    #[arg(long, value_name = "PERIOD")]
    period: Option<Period>,

    /// Move this group to another side instead of assigning all groups
    #[arg(long = "move", value_name = "GROUP", requires_all = ["side", "reason"])]
    group: Option<String>,

    /// The side to move it to: old or new
    #[arg(long = "to", value_name = "SIDE")]
    side: Option<Side>,

    /// Why it is moved; stands in the history and in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Moves count in the running period; without this and --period in the next one
    #[arg(long, conflicts_with = "period")]
    now: bool,

    #[command(flatten)]
    bulk: BulkArguments,

    /// List what is recorded: how many groups on each side, and with --period every group
    #[arg(long)]
    list: bool,

    /// With --list: begin after this group
    #[arg(long, value_name = "GROUP", requires = "list")]
    after: Option<String>,

    /// With --list: at most this many groups
    #[arg(long, value_name = "COUNT", requires = "list", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,

    /// Everything that happened to this group
    #[arg(long, value_name = "GROUP")]
    history: Option<String>,
}

pub fn assign(settings: &Settings, output: &Output, arguments: AssignArguments) -> anyhow::Result<u8> {
    let database = settings.open_app_database()?;
    let mut connection = database.connection()?;
    let change = match &arguments.change {
        Some(name) => RoutedChange::get(&mut connection, name)?,
        None => RoutedChange::get_only(&mut connection)?,
    };
    let moves_in = match arguments.period {
        Some(period) => Some(period),
        None if arguments.now => Some(change.period_at(now())?),
        None if arguments.side.is_some() => Some(change.next_period(now())?),
        None => None,
    };
    if arguments.bulk.is_given() {
        let reason = arguments.reason.as_deref().unwrap_or_default();
        let shared = Shared { settings, output, change: &change, period: arguments.period, reason };
        arguments.bulk.run(&mut connection, &shared, (arguments.side, moves_in))?;
        return Ok(0);
    }
    match (&arguments.group, moves_in) {
        _ if arguments.list => list(&mut connection, output, &change, &arguments)?,
        _ if arguments.history.is_some() => history(&mut connection, output, &change, &arguments)?,
        (Some(_), Some(period)) => move_group(settings, &mut connection, output, &change, &arguments, period)?,
        (None, Some(period)) => assign_period(settings, &mut connection, output, &change, period)?,
        (_, None) => anyhow::bail!("say which period: --period PERIOD"),
    }
    Ok(0)
}

fn assign_period(
    settings: &Settings,
    connection: &mut DatabaseConnection,
    output: &Output,
    change: &RoutedChange,
    period: Period,
) -> anyhow::Result<()> {
    let store = settings.open_store()?;
    let snapshot = Memory::load(store.clone())?.snapshot();
    let assigning = Assigning { period, actor: &settings.actor, at: now() };
    let receipt = routing::assign(connection, change, &snapshot, &assigning)?;
    record(&store, settings, "change.assign", change, "", serde_json::to_value(&receipt)?)?;
    if !receipt.flag_enabled {
        output.note(&format!("flag `{}` is off: every group got its off variant", receipt.flag));
    }
    output.result(&receipt, &assign_text(&receipt));
    Ok(())
}

fn move_group(
    settings: &Settings,
    connection: &mut DatabaseConnection,
    output: &Output,
    change: &RoutedChange,
    arguments: &AssignArguments,
    period: Period,
) -> anyhow::Result<()> {
    let (Some(group), Some(side), Some(reason)) = (&arguments.group, arguments.side, &arguments.reason) else {
        anyhow::bail!("a move needs --move GROUP, --to SIDE, --period PERIOD and --reason TEXT");
    };
    let group = GroupId::new(group)?;
    // Opened first: a move that could not be audited is not made.
    let store = settings.open_store()?;
    let wanted = Move { group: &group, period, side, actor: &settings.actor, reason, at: now() };
    let receipt = routing::move_group(connection, change, &wanted)?;
    if receipt.moved {
        record(&store, settings, "change.move", change, reason, serde_json::to_value(&receipt)?)?;
    }
    if receipt.charges == 0 {
        output.note(&format!("no charge of group `{group}` in {period} is known yet: is that its id?"));
    }
    output.result(&receipt, &move_text(&receipt));
    Ok(())
}

fn list(
    connection: &mut DatabaseConnection,
    output: &Output,
    change: &RoutedChange,
    arguments: &AssignArguments,
) -> anyhow::Result<()> {
    let Some(period) = arguments.period else {
        let counts = routing::count_sides(connection, &change.name)?;
        output.result(&json!({ "change": change.name, "periods": counts }), &counts_text(&counts));
        return Ok(());
    };
    let page = routing::list(connection, &change.name, period, arguments.after.as_deref(), arguments.limit.into())?;
    let full = u32::try_from(page.len()).is_ok_and(|length| length == arguments.limit);
    let next = page.last().filter(|_| full).map(|last| last.group.clone());
    let rows = page.iter().map(|row| {
        [row.group.to_string(), row.side.to_string(), row.at.to_string(), row.actor.clone(), row.reason.clone()]
    });
    let text = table(["group", "side", "since", "by", "why"], rows);
    output.result(&json!({ "change": change.name, "period": period, "assignments": page, "next": next }), &text);
    if let Some(next) = next {
        output.note(&format!("there may be more: --after {next}"));
    }
    Ok(())
}

fn history(
    connection: &mut DatabaseConnection,
    output: &Output,
    change: &RoutedChange,
    arguments: &AssignArguments,
) -> anyhow::Result<()> {
    let group = GroupId::new(arguments.history.as_deref().unwrap_or_default())?;
    let mut events = routing::history(connection, &change.name, &group)?;
    events.retain(|event| arguments.period.is_none_or(|period| period == event.assignment.period));
    let document = json!({ "change": change.name, "group": group, "events": events });
    output.result(&document, &history_text(&group, &events));
    Ok(())
}

fn assign_text(receipt: &AssignReceipt) -> String {
    let mut text = format!(
        "{}, {}: {} groups by flag `{}`\n  assigned to new   {:>9}\n  assigned to old   {:>9}\n  already assigned  {:>9}",
        receipt.change,
        receipt.period,
        receipt.groups,
        receipt.flag,
        receipt.assigned_new,
        receipt.assigned_old,
        receipt.already_assigned
    );
    for cohort in &receipt.widened {
        text.push_str(&format!(
            "\n  cohort `{}`: {} users widened to {} groups, {} users without a group",
            cohort.cohort, cohort.users, cohort.groups, cohort.users_without_group
        ));
    }
    text
}

fn move_text(receipt: &MoveReceipt) -> String {
    let MoveReceipt { group, period, after, charges, .. } = receipt;
    if !receipt.moved {
        return format!("group `{group}` is on the {after} side in {period} already: nothing changed");
    }
    let before = receipt.before.map_or_else(|| String::from("old, not recorded"), |side| side.to_string());
    format!("group `{group}` moved to {after} for {period} (before: {before}); its charges of the period: {charges}")
}

fn counts_text(counts: &[SideCounts]) -> String {
    if counts.is_empty() {
        return String::from("nothing is assigned yet: every group is on the old side");
    }
    let rows = counts.iter().map(|count| [count.period.to_string(), count.old.to_string(), count.new.to_string()]);
    table(["period", "old", "new"], rows)
}

fn history_text(group: &GroupId, events: &[Event]) -> String {
    if events.is_empty() {
        return format!("group `{group}` has no recorded side: it is on the old one");
    }
    let rows = events.iter().map(|event| {
        let row = &event.assignment;
        let action = format!("{:?}", event.action).to_lowercase();
        let side = row.side.to_string();
        [row.period.to_string(), action, side, row.at.to_string(), row.actor.clone(), row.reason.clone()]
    });
    table(["period", "what", "side", "when", "by", "why"], rows)
}

fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

/// The audit row follows the write: the two databases share no transaction, and on one SQLite file the one would wait for the other.
/// Should it fail, the history in the application's database still has who, when and why.
pub(super) fn record(
    store: &Store,
    settings: &Settings,
    action: &str,
    change: &RoutedChange,
    reason: &str,
    detail: Value,
) -> anyhow::Result<()> {
    let subject = format!("change/{}", change.name);
    store.write(|connection| {
        let entry = AuditEntry { actor: &settings.actor, action, subject: &subject, reason, detail: detail.clone() };
        audit::append(connection, &entry)
    })?;
    Ok(())
}

pub(super) fn now() -> Instant {
    jiff::Timestamp::now().into()
}
