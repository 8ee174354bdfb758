//! `changeover flag`

use std::cmp::Ordering;
use std::io::Read;

use anyhow::Context as _;
use serde_json::json;

use super::flag_preview::PreviewArguments;
use super::flag_show::Filter;
use super::{Output, Settings, Word, flag_explain, flag_history, flag_show, import, proposal};
use crate::database::DatabaseConnection;
use crate::flags::{Flag, RolloutStep, ShareStep, Stepped};
use crate::http::api::flags::FlagAnswer;
use crate::http::api::rollouts::RolloutAnswer;
use crate::primitives::{FlagKey, VariantName};
use crate::store::flag_rollouts::{self, Stepping};
use crate::store::flag_versions::{self, Restoration};
use crate::store::flags::{self, FlagWrite, StoredFlag};
use crate::store::{Origin, Store};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List all flags
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// Show one flag: its rules from top to bottom, with whom they are for and what they serve
    Show { key: FlagKey },
    /// Print one flag's JSON
    Get { key: FlagKey },
    /// Create a flag from its JSON
    Create {
        /// A file, or - for stdin
        file: String,
        #[command(flatten)]
        why: Word,
    },
    /// Replace a flag by its JSON
    #[command(visible_alias = "replace")]
    Set {
        /// A file, or - for stdin
        #[arg(id = "flag_file", value_name = "FILE")]
        file: String,
        /// Only if the flag is still at this version
        #[arg(long, value_name = "NUMBER")]
        if_version: Option<i64>,
        #[command(flatten)]
        preview: PreviewArguments,
        #[command(flatten)]
        why: Word,
    },
    /// Give a variant another share of a rule: it takes what it lacks from one donor, or gives it back, and nobody else moves
    Rollout(RolloutArguments),
    /// Remove a flag; its history stays
    Delete {
        key: FlagKey,
        /// Only if the flag is still at this version
        #[arg(long, value_name = "NUMBER")]
        if_version: Option<i64>,
        #[command(flatten)]
        why: Word,
    },
    /// Print flags and cohorts as one document
    Export(import::ExportArguments),
    /// Write the flags and cohorts of a document: all of them, or none
    Import(import::ImportArguments),
    /// Throw the kill switch: everybody gets the off variant
    #[command(visible_alias = "disable")]
    Kill {
        key: FlagKey,
        #[command(flatten)]
        preview: PreviewArguments,
        #[command(flatten)]
        why: Word,
    },
    /// Release the kill switch
    #[command(visible_alias = "enable")]
    Revive {
        key: FlagKey,
        #[command(flatten)]
        preview: PreviewArguments,
        #[command(flatten)]
        why: Word,
    },
    /// List every version that a flag has had, and what each changed; those of a removed flag too
    History {
        key: FlagKey,
        /// Begin before this version
        #[arg(long, value_name = "NUMBER")]
        before: Option<i64>,
    },
    /// Tell what differs between two versions of a flag
    Diff {
        key: FlagKey,
        /// The earlier version [default: the one before the later]
        #[arg(long, value_name = "NUMBER")]
        from: Option<i64>,
        /// The later version [default: the newest]
        #[arg(long, value_name = "NUMBER")]
        to: Option<i64>,
    },
    /// Make a flag what it was at an earlier version; a removed flag is there again
    Restore {
        key: FlagKey,
        /// The version, as `flag history` lists it
        #[arg(long, value_name = "NUMBER")]
        to: i64,
        /// Only if the flag is still at this version
        #[arg(long, value_name = "NUMBER")]
        if_version: Option<i64>,
        #[command(flatten)]
        preview: PreviewArguments,
        #[command(flatten)]
        why: Word,
    },
    /// Evaluate a flag and explain the outcome: every rule and clause with the values that were compared; nothing is recorded
    #[command(visible_alias = "evaluate")]
    Explain(flag_explain::Arguments),
}

/// One step of a rollout.
#[derive(Debug, Clone, clap::Args)]
pub struct RolloutArguments {
    key: FlagKey,
    /// The variant whose share changes
    #[arg(long)]
    variant: VariantName,
    /// Its share afterwards in per cent, exact to 0.001; or a step from where it is: +5, -2.5
    #[arg(long, allow_hyphen_values = true, value_name = "SHARE")]
    percent: ShareStep,
    /// The rule, as `flag show` numbers them; the number after the last adds a rule for everybody [default: the only rollout]
    #[arg(long, value_name = "NUMBER")]
    rule: Option<usize>,
    /// The variant that gives, or gets back [default: of two variants the other, of more the default variant]
    #[arg(long, value_name = "VARIANT")]
    from: Option<VariantName>,
    /// Only if the flag is still at this version
    #[arg(long, value_name = "NUMBER")]
    if_version: Option<i64>,
    #[command(flatten)]
    preview: PreviewArguments,
    #[command(flatten)]
    why: Word,
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    let store = settings.open_store()?;
    match command {
        Command::List { filter } => flag_show::list(&store, output, &filter)?,
        Command::Show { key } => flag_show::show(output, store.read(|conn| flags::get(conn, &key))?),
        Command::Get { key } => print_json(output, store.read(|conn| flags::get(conn, &key))?),
        Command::Create { file, why } => {
            let flag = read_flag(&file)?;
            let data = serde_json::to_string(&flag)?;
            let create = FlagWrite::Create(&data);
            write(settings, output, &store, (flag.key(), &why), create)?;
        }
        Command::Set { file, preview, .. } if preview.is_wanted() => {
            preview.run(settings, output, &store, read_flag(&file)?)?;
        }
        Command::Set { file, if_version, why, .. } => {
            let flag = read_flag(&file)?;
            let data = serde_json::to_string(&flag)?;
            let replace = FlagWrite::Replace { data: &data, seen: if_version };
            write(settings, output, &store, (flag.key(), &why), replace)?;
        }
        Command::Export(arguments) => import::export(&store, output, &arguments)?,
        Command::Import(arguments) => return import::import(settings, output, &store, &arguments),
        Command::Rollout(arguments) => rollout(settings, output, &store, &arguments)?,
        Command::Delete { key, if_version, why } => {
            let removed = proposal::write(settings, output, &store, &why, |conn, authority, origin| {
                flags::write(conn, &key, FlagWrite::Remove { seen: if_version }, authority, origin)
            })?;
            if removed.is_some() {
                output.result(&json!({ "removed": key }), &format!("{key} is removed; its history stays"));
            }
        }
        Command::Kill { key, preview, why } => switch(settings, output, &store, (&key, false), (&preview, &why))?,
        Command::Revive { key, preview, why } => switch(settings, output, &store, (&key, true), (&preview, &why))?,
        Command::History { key, before } => flag_history::history(&store, output, &key, before)?,
        Command::Diff { key, from, to } => flag_history::diff(&store, output, &key, (from, to))?,
        Command::Restore { key, to, preview, .. } if preview.is_wanted() => {
            let past = store.read(|conn| flag_versions::get(conn, &key, to))?;
            let data = past.data.with_context(|| format!("{key} was removed by version {to}"))?;
            preview.run(settings, output, &store, Flag::parse(&data)?)?;
        }
        Command::Restore { key, to, if_version, why, .. } => {
            let restored = proposal::write(settings, output, &store, &why, |conn, authority, origin| {
                flag_versions::restore(conn, &key, Restoration { version: to, seen: if_version, authority }, origin)
            })?;
            restored.into_iter().for_each(|stored| flag_show::show(output, stored));
        }
        Command::Explain(arguments) => flag_explain::run(settings, output, store, &arguments)?,
    }
    Ok(0)
}

fn rollout(settings: &Settings, output: &Output, store: &Store, wanted: &RolloutArguments) -> anyhow::Result<()> {
    let rule = match wanted.rule {
        Some(rule) => rule,
        None => store.read(|conn| flags::get(conn, &wanted.key)?.parse())?.only_rollout()?,
    };
    let (variant, donor) = (wanted.variant.clone(), wanted.from.clone());
    let step = RolloutStep { rule, variant, share: wanted.percent, donor };
    if wanted.preview.is_wanted() {
        let flag = store.read(|conn| flags::get(conn, &wanted.key)?.parse())?;
        return wanted.preview.run(settings, output, store, flag.with_step(&step)?.flag);
    }
    let taken = proposal::write(settings, output, store, &wanted.why, |conn, authority, origin| {
        let stepping = Stepping { step: &step, seen: wanted.if_version, authority };
        flag_rollouts::step(conn, &wanted.key, stepping, origin)
    })?;
    let Some((stored, stepped)) = taken else { return Ok(()) };
    let Stepped { donor, before, after, .. } = &stepped;
    let how = match before.cmp(after) {
        Ordering::Less => format!("before {before} %, the rest from `{donor}`"),
        Ordering::Equal => String::from("as before: nothing is written"),
        Ordering::Greater => format!("before {before} %, given back to `{donor}`"),
    };
    let text = format!(
        "{}: `{}` has {after} % of rules[{rule}] ({how}); version {}",
        wanted.key, wanted.variant, stored.version
    );
    output.result(&RolloutAnswer::new(stored, &step, &stepped), &text);
    Ok(())
}

/// Throws or releases the kill switch, or tells who would move.
fn switch(
    settings: &Settings,
    output: &Output,
    store: &Store,
    (key, enabled): (&FlagKey, bool),
    (preview, why): (&PreviewArguments, &Word),
) -> anyhow::Result<()> {
    if preview.is_wanted() {
        let flag = store.read(|conn| flags::get(conn, key)?.parse())?;
        return preview.run(settings, output, store, flag.with_enabled(enabled));
    }
    let switched = proposal::write(settings, output, store, why, |conn, authority, origin| {
        flags::set_enabled_as(conn, key, enabled, authority, origin)
    })?;
    switched.into_iter().for_each(|stored| flag_show::show(output, stored));
    Ok(())
}

fn write(
    settings: &Settings,
    output: &Output,
    store: &Store,
    (key, why): (&FlagKey, &Word),
    write: FlagWrite<'_>,
) -> anyhow::Result<()> {
    let work = |conn: &mut DatabaseConnection, authority, origin: Origin<'_>| {
        flags::write(conn, key, write, authority, origin)
    };
    let written = proposal::write(settings, output, store, why, work)?;
    written.into_iter().for_each(|stored| flag_show::show(output, stored));
    Ok(())
}

fn read_flag(file: &str) -> anyhow::Result<Flag> {
    let mut text = String::new();
    if file == "-" {
        std::io::stdin().read_to_string(&mut text).context("stdin cannot be read")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
    }
    let source = if file == "-" { "stdin" } else { file };
    Flag::parse(&text).with_context(|| format!("{source} is not a valid flag"))
}

fn print_json(output: &Output, stored: StoredFlag) {
    let answer = FlagAnswer::from(stored);
    let text = serde_json::to_string_pretty(&answer).unwrap_or_default();
    output.result(&answer, &text);
}
