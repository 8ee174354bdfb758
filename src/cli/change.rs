//! `changeover change`: check, install, stage, inspect and uninstall a change.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::{
    Output, Settings, change_audit, change_check, change_cover, change_history, change_laws, change_pause, installed,
    restore::{RestoreArguments, restore_text},
    table,
};
use crate::allocation::Minor;
use crate::change::{ChangeFile, Stage};
use crate::database::{Database, DatabaseConnection};
use crate::primitives::{ChangeName, Instant, Period, exponent_of};
use crate::routing::{StageMove, Wish, change_stage, count_sides, evaluate_gates};
use crate::store::Store;
use crate::store::audit::AuditEntry;
use crate::translation::closing::{ClosingReceipt, close};
use crate::translation::own::{history, list_changes};
use crate::translation::{
    ChangeHealth, Deed, Gate, InstalledChange, RestorePoint, Step, TranslationError, backfill_progress, install,
    last_verifications, pause, pending, plan, removal_plan, remove, resolve, restore_points, update, update_plan,
};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Find every mistake in a change file, held against the application's database
    Check(change_check::Arguments),
    /// Install a change at stage `off`: triggers that do nothing yet, and Changeover's own tables
    Install(InstallArguments),
    /// Try the round-trip laws on random rows: what both models can hold comes back, what cannot is declared
    Laws(change_laws::Arguments),
    /// Move a change one stage on or back, if the gates hold
    Stage(StageArguments),
    /// Put back triggers that are missing, such as on a partition attached since the install
    Cover(change_cover::Arguments),
    /// Find what silences or breaks a change's triggers: disabled or dropped ones, partitions without them, changed tables, lost rights
    Audit(change_audit::Arguments),
    /// Show a change's stage, gates, backfill, last verify and history
    Status(NameArguments),
    /// List the installed changes
    List,
    /// List every file that a change has had, or print one of them
    History(change_history::Arguments),
    /// Put a corrected change file in the place of the installed one of the same name; the stage stays
    Update(InstallArguments),
    /// Stop translating at once, and note what is written meanwhile
    Pause(change_pause::PauseArguments),
    /// Translate again, and refresh what was written during the pause
    Resume(change_pause::ResumeArguments),
    /// Show the keys whose translation failed, or try them again
    Pending(change_pause::PendingArguments),
    /// Close every billing period before the given one: their allocations are left alone
    Close(CloseArguments),
    /// Remove a change that is at stage `off` or `complete`, without a trace
    Uninstall(UninstallArguments),
}

#[derive(Debug, clap::Args)]
pub struct InstallArguments {
    /// The change file
    file: PathBuf,
    /// Print the SQL and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub struct NameArguments {
    /// The change; may be left out if only one is installed
    pub name: Option<ChangeName>,
}

#[derive(Debug, clap::Args)]
pub struct StageArguments {
    /// The change, then the stage; the change may be left out if only one is installed
    #[arg(num_args = 1..=2, value_names = ["NAME", "STAGE"], required = true)]
    words: Vec<String>,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
    /// Move although a gate does not hold; needs --reason, and is audited
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    restore: RestoreArguments,
}

#[derive(Debug, clap::Args)]
pub struct CloseArguments {
    /// The change; may be left out if only one is installed
    name: Option<ChangeName>,
    /// The first period that stays open, such as 2026-12
    #[arg(long, value_name = "PERIOD")]
    before: Period,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
    /// Only say what would be closed
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub struct UninstallArguments {
    /// The change; may be left out if only one is installed
    name: Option<ChangeName>,
    /// Print the SQL and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove the record of who was billed by which model, too
    #[arg(long)]
    discard_assignments: bool,
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    let database = settings.open_app_database()?;
    let mut connection = database.connection()?;
    match command {
        Command::Check(arguments) => change_check::run(settings, output, arguments),
        Command::Install(arguments) => run_install(settings, output, &database, &arguments),
        Command::Audit(arguments) => change_audit::run(settings, output, &mut connection, &arguments),
        Command::Cover(arguments) => change_cover::run(settings, output, &mut connection, &arguments),
        Command::Laws(arguments) => change_laws::run(settings, output, &arguments),
        Command::Stage(arguments) => run_stage(settings, output, &mut connection, &arguments),
        Command::Status(arguments) => run_status(settings, output, &mut connection, arguments.name.as_ref()),
        Command::List => run_list(output, &mut connection),
        Command::History(arguments) => change_history::run(output, &mut connection, &arguments),
        Command::Update(arguments) => run_update(settings, output, &database, &arguments),
        Command::Pause(arguments) => change_pause::run_pause(settings, output, &mut connection, &arguments),
        Command::Resume(arguments) => change_pause::run_resume(settings, output, &mut connection, &arguments),
        Command::Pending(arguments) => change_pause::run_pending(settings, output, &mut connection, &arguments),
        Command::Close(arguments) => run_close(settings, output, &mut connection, &arguments),
        Command::Uninstall(arguments) => run_uninstall(settings, output, &mut connection, &arguments),
    }
}

fn run_install(
    settings: &Settings,
    output: &Output,
    database: &Database,
    arguments: &InstallArguments,
) -> anyhow::Result<u8> {
    let connection = &mut *database.connection()?;
    let file = read_file(&arguments.file)?;
    change_check::refuse_mistakes(output, connection, database.url(), &file)?;
    let model = resolve(connection, &file)?;
    if arguments.dry_run {
        print_plan(output, &plan(connection, &model, &file)?);
        return Ok(0);
    }
    let store = settings.open_store()?;
    let change = install(connection, &model, &file, settings.deed(""))?;
    let audited = Audited { store: &store, actor: &settings.actor };
    audited.append(&change, "change.install", "", &json!({ "title": change.title }))?;
    output.result(
        &document(&change),
        &format!("{} is installed at stage off.\nNext: changeover change stage {} dualwrite", change.name, change.name),
    );
    Ok(0)
}

fn run_update(
    settings: &Settings,
    output: &Output,
    database: &Database,
    arguments: &InstallArguments,
) -> anyhow::Result<u8> {
    let connection = &mut *database.connection()?;
    let file = read_file(&arguments.file)?;
    change_check::refuse_mistakes(output, connection, database.url(), &file)?;
    let model = resolve(connection, &file)?;
    if arguments.dry_run {
        print_plan(output, &update_plan(connection, &model, &file)?);
        return Ok(0);
    }
    let store = settings.open_store()?;
    let change = update(connection, &model, &file, settings.deed(""))?;
    let audited = Audited { store: &store, actor: &settings.actor };
    audited.append(&change, "change.update", "", &json!({ "title": change.title }))?;
    let text = format!(
        "{} is updated, at stage {}. Blocks that changed are compared as a whole: changeover change pending {} --retry",
        change.name, change.stage, change.name
    );
    output.result(&document(&change), &text);
    Ok(0)
}

fn read_file(path: &Path) -> anyhow::Result<ChangeFile> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the change file {}", path.display()))?;
    Ok(ChangeFile::parse(&text).map_err(TranslationError::Mistakes)?)
}

fn run_stage(
    settings: &Settings,
    output: &Output,
    connection: &mut DatabaseConnection,
    arguments: &StageArguments,
) -> anyhow::Result<u8> {
    let (name, stage) = match arguments.words.as_slice() {
        [stage] => (None, stage),
        [name, stage, ..] => (Some(name.parse::<ChangeName>()?), stage),
        [] => anyhow::bail!("say which stage"),
    };
    let to: Stage = stage.parse()?;
    let change = installed(connection, name.as_ref())?;
    let store = settings.open_store()?;
    let restore = arguments.restore.settings();
    let deed = settings.deed(&arguments.reason);
    let wish = Wish { to, deed, force: arguments.force, restore: restore.as_ref() };
    let outcome = change_stage(&store, connection, &change, wish)?;
    if outcome.moved {
        let detail = json!({
            "from": outcome.from, "to": to, "forced": outcome.forced, "released": outcome.released,
            "restore_point": outcome.restore_point.clone().map(RestorePoint::without_directory),
        });
        let audited = Audited { store: &store, actor: &settings.actor };
        audited.append(&change, "change.stage", &arguments.reason, &detail)?;
    }
    output.result(&outcome, &stage_text(&change, &outcome));
    Ok(if outcome.moved { 0 } else { 1 })
}

fn stage_text(change: &InstalledChange, outcome: &StageMove) -> String {
    let mut text = gates_text(&outcome.gates);
    let verdict = if !outcome.moved {
        format!("{} stays at {}: a gate does not hold.", change.name, outcome.from)
    } else if outcome.forced {
        format!("{} moved from {} to {}, past a gate that does not hold.", change.name, outcome.from, outcome.to)
    } else {
        format!("{} moved from {} to {}.", change.name, outcome.from, outcome.to)
    };
    text.push_str(&verdict);
    if let Some(point) = &outcome.restore_point {
        let _ = write!(text, "\nRestore point from before: {}", point.told());
    }
    if outcome.released > 0 {
        let _ = write!(text, "\n{} groups of open periods went back to the old side.", outcome.released);
    }
    if !outcome.checklist.is_empty() {
        text.push_str("\nTo be removed, in this order:");
        for (removal, number) in outcome.checklist.iter().zip(1..) {
            let _ = write!(text, "\n{number:>3}. {}: {}", removal.what, removal.names.join(", "));
        }
    }
    text
}

fn gates_text(gates: &[Gate]) -> String {
    let line = |gate: &Gate| format!("{} {}: {}\n", if gate.holds { "✓" } else { "✗" }, gate.name, gate.evidence);
    gates.iter().map(line).collect()
}

fn run_status(
    settings: &Settings,
    output: &Output,
    connection: &mut DatabaseConnection,
    name: Option<&ChangeName>,
) -> anyhow::Result<u8> {
    let change = installed(connection, name)?;
    let backfill = backfill_progress(connection, &change.name)?;
    let verification = last_verifications(connection, &change.name)?;
    let past = history(connection, &change.name)?;
    let sides = count_sides(connection, &change.name)?;
    let waiting = pending::list(connection, &change.name, 5)?;
    let count = pending::count(connection, &change.name)?;
    let gap = pause::open_gap(connection, &change.name)?;
    let next = change.stage.next();
    let gates = match next {
        Some(next) => {
            evaluate_gates(&settings.open_store()?, connection, &change, next, jiff::Timestamp::now().into())?
        }
        None => Vec::new(),
    };
    let mut text = format!("{}: {}\nstage {} since {}\n", change.name, change.title, change.stage, change.stage_at);
    if let Some(gap) = &gap {
        let state =
            if gap.resumed_at.is_some() { "a resume was begun and not finished" } else { "nothing is translated" };
        let _ = writeln!(text, "PAUSED since {} by {} ({}): {state}", gap.paused_at, gap.paused_by, gap.reason);
    }
    if count > 0 {
        let _ = writeln!(text, "\n{}", change_pause::pending_text(&waiting, count));
    }
    if let (Some(next), false) = (next, gates.is_empty()) {
        let _ = write!(text, "\nGates of {next}:\n{}", gates_text(&gates));
    }
    let target = |block: &str| {
        let found = change.file.blocks.iter().find(|candidate| candidate.id.to_string() == block);
        found.map(|block| block.into.value.clone()).unwrap_or_default()
    };
    if !backfill.is_empty() {
        let rows = backfill.iter().map(|done| {
            let state = if done.finished { "finished" } else { "unfinished" };
            vec![
                done.block.clone(),
                target(&done.block),
                done.keys_done.to_string(),
                state.to_owned(),
                done.updated_at.to_string(),
            ]
        });
        let _ = write!(text, "\n{}\n", table(&["backfill", "into", "keys", "state", "at"], rows));
    }
    if !verification.is_empty() {
        let rows = verification.iter().map(|run| {
            let counts = [run.keys, run.missing, run.extra, run.different].map(|count| count.to_string());
            let mut cells = vec![run.block.clone(), target(&run.block)];
            cells.extend(counts);
            cells.push(run.finished_at.to_string());
            cells
        });
        let _ = write!(text, "\n{}\n", table(&["verify", "into", "keys", "missing", "extra", "different", "at"], rows));
    }
    let health = ChangeHealth::read(connection, &change)?;
    let _ = write!(text, "{}", sentinel_text(&health));
    let points = restore_points(connection, &change.name, 5)?;
    let _ = write!(text, "{}", restore_text(&points));
    let rows = past
        .iter()
        .map(|entry| vec![entry.at.to_string(), entry.actor.clone(), entry.action.clone(), short(&entry.detail)]);
    let _ = write!(text, "\n{}", table(&["history", "who", "what", "detail"], rows));
    let document = json!({
        "change": document(&change), "next_stage": next, "gates": gates, "backfill": backfill,
        "verification": verification, "health": health.blocks, "assignments": sides, "history": past,
        "pending": { "count": count, "oldest": waiting.first().map(|key| key.first_at), "keys": waiting }, "gap": gap,
        "restore_points": points,
    });
    output.result(&document, &text);
    Ok(0)
}

fn short(detail: &str) -> String {
    if detail.chars().count() <= 60 {
        detail.to_owned()
    } else {
        format!("{}…", detail.chars().take(59).collect::<String>())
    }
}

/// How old the oldest look at each block is, and what the sentinel has done. Empty until it has done something.
fn sentinel_text(health: &ChangeHealth) -> String {
    let looked = health.blocks.iter().filter(|block| block.sentinel.verified_keys > 0);
    let instant = |at: Option<Instant>| at.map_or_else(|| String::from("–"), |at| at.to_string());
    let rows: Vec<Vec<String>> = looked
        .map(|block| {
            let tally = &block.sentinel;
            let mut cells = vec![block.block.clone(), block.into.clone(), tally.verified_keys.to_string()];
            cells.push(block.drift.unwrap_or_default().rows().to_string());
            cells.extend([tally.drift_found, tally.repaired].map(|rows| rows.to_string()));
            cells.extend([instant(block.oldest_range_at), instant(tally.last_pass_at)]);
            cells
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = ["sentinel", "into", "keys", "drift", "found", "repaired", "oldest look", "last pass"];
    format!("\n{}\n", table(&head, rows))
}

fn run_list(output: &Output, connection: &mut DatabaseConnection) -> anyhow::Result<u8> {
    let changes = list_changes(connection)?;
    let documents: Vec<_> = changes.iter().map(document).collect();
    let rows = changes.iter().map(|change| {
        vec![change.name.to_string(), change.stage.to_string(), change.open_period.clone(), change.title.clone()]
    });
    let text = if documents.is_empty() {
        String::from("No change is installed. Next: changeover change check FILE, then changeover change install FILE")
    } else {
        table(&["change", "stage", "open period", "title"], rows)
    };
    output.result(&documents, &text);
    Ok(0)
}

fn run_close(
    settings: &Settings,
    output: &Output,
    connection: &mut DatabaseConnection,
    arguments: &CloseArguments,
) -> anyhow::Result<u8> {
    let change = installed(connection, arguments.name.as_ref())?;
    if change.file.is_routed() {
        change.file.routing.period.check(arguments.before).with_context(|| format!("change `{}`", change.name))?;
    }
    let store = settings.open_store()?;
    let period = arguments.before.to_string();
    let deed = settings.deed(&arguments.reason);
    let receipt = close(connection, &change.name, &period, (arguments.dry_run, deed))?;
    if !arguments.dry_run {
        let audited = Audited { store: &store, actor: &settings.actor };
        audited.append(&change, "change.close", &arguments.reason, &json!(receipt))?;
    }
    let exponent = change.file.allocation.as_ref().and_then(|allocation| allocation.exponent);
    output.result(&receipt, &closing_text(&receipt, exponent));
    Ok(0)
}

fn closing_text(receipt: &ClosingReceipt, exponent: Option<u16>) -> String {
    let ClosingReceipt { change, open_period, closes, preview, .. } = receipt;
    let did = if *preview { "would be" } else { "are" };
    let mut text = format!("{change}: periods before {open_period} {did} closed.");
    if closes.is_empty() {
        text.push_str(" No charge is in them that was not closed before.");
        return text;
    }
    let rows = closes.iter().map(|total| {
        // As reports show it; what is no integer stands as the query has it.
        let amount = total.amount.parse().map_or_else(
            |_| total.amount.clone(),
            |amount| Minor::new(amount).decimal(exponent.or_else(|| exponent_of(&total.currency)).unwrap_or(0)),
        );
        vec![total.period.clone(), total.currency.clone(), total.charges.to_string(), amount]
    });
    text.push_str("\n\n");
    text.push_str(&table(&["period", "currency", "charges", "amount"], rows));
    text
}

fn run_uninstall(
    settings: &Settings,
    output: &Output,
    connection: &mut DatabaseConnection,
    arguments: &UninstallArguments,
) -> anyhow::Result<u8> {
    let change = installed(connection, arguments.name.as_ref())?;
    if arguments.dry_run {
        print_plan(output, &removal_plan(connection, &change)?);
        return Ok(0);
    }
    let store = settings.open_store()?;
    remove(connection, &change, arguments.discard_assignments)?;
    Audited { store: &store, actor: &settings.actor }.append(&change, "change.uninstall", "", &json!({}))?;
    let text = format!("{} is uninstalled. The rows of the new model stay: they are the application's.", change.name);
    output.result(&json!({ "uninstalled": change.name }), &text);
    Ok(0)
}

/// The statements of a plan, each group under what it is for.
pub(super) fn print_plan(output: &Output, steps: &[Step]) {
    let mut text = String::new();
    let mut last = "";
    for step in steps {
        if step.what != last {
            let _ = writeln!(text, "-- {}", step.what);
            last = &step.what;
        }
        let _ = writeln!(text, "{};\n", step.sql);
    }
    output.result(&steps, text.trim_end());
}

fn document(change: &InstalledChange) -> serde_json::Value {
    json!({
        "name": change.name, "title": change.title, "stage": change.stage, "open_period": change.open_period,
        "installed_at": change.installed_at, "stage_at": change.stage_at, "flag": change.file.routing.flag,
    })
}

/// Where the command's audit row goes. Opened before the deed, so that a service's database that is away stops the command first.
pub(super) struct Audited<'a> {
    pub(super) store: &'a Store,
    pub(super) actor: &'a str,
}

impl Audited<'_> {
    pub(super) fn append(
        &self,
        change: &InstalledChange,
        action: &str,
        reason: &str,
        detail: &serde_json::Value,
    ) -> anyhow::Result<()> {
        let subject = format!("change/{}", change.name);
        self.store.write(|connection| {
            let entry = AuditEntry { actor: self.actor, action, subject: &subject, reason, detail: detail.clone() };
            crate::store::audit::append(connection, &entry)
        })?;
        Ok(())
    }
}

impl Settings {
    /// What this command does, now, as its actor.
    pub(super) fn deed<'a>(&'a self, reason: &'a str) -> Deed<'a> {
        Deed { actor: &self.actor, at: jiff::Timestamp::now().into(), reason }
    }
}
