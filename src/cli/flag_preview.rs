//! `--preview` of `changeover flag`: who would move, told instead of done.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::{Output, Settings};
use crate::flags::{Context, Flag, Rejected, context_of_line};
use crate::primitives::CohortName;
use crate::routing::{ChangePreview, Counted, Plan, Preview};
use crate::store::{Memory, Store};

/// Subjects that are counted at a time.
const BATCH_SUBJECTS: usize = 10_000;
/// Lines that are no subjects: so many are told.
const REJECTIONS_MAX: usize = 20;

/// Whether to tell instead of do, and over whom.
#[derive(Debug, Clone, clap::Args)]
pub struct PreviewArguments {
    /// Write nothing: count who would get another variant, over --cohort, --file or --groups
    #[arg(long)]
    preview: bool,

    /// Preview over the ids of this cohort
    #[arg(long, value_name = "NAME", requires = "preview", conflicts_with_all = ["preview_file", "preview_groups"])]
    cohort: Option<CohortName>,

    /// Preview over the ids of this file: one a line, CSV (.csv, first column), or NDJSON (.ndjson, .jsonl) with an id or a context a line
    #[arg(
        id = "preview_file",
        long = "file",
        value_name = "FILE",
        requires = "preview",
        conflicts_with = "preview_groups"
    )]
    file: Option<String>,

    /// Preview over every group of the change that the flag routes; that is what happens if nobody is named
    #[arg(id = "preview_groups", long = "groups", requires = "preview")]
    groups: bool,
}

impl PreviewArguments {
    pub fn is_wanted(&self) -> bool {
        self.preview
    }

    /// Counts who would move if `after` were the flag, and prints it.
    pub fn run(&self, settings: &Settings, output: &Output, store: &Store, after: Flag) -> anyhow::Result<()> {
        let snapshot = Memory::load(store.clone())?.snapshot();
        let plan = Plan::new(snapshot.clone(), after, jiff::Timestamp::now().into());
        let app = match plan.change() {
            Some(_) => settings.open_app_database()?,
            None => store.database().clone(),
        };
        let mut counted = Counted::default();
        let mut rejections = Vec::new();
        match (&self.cohort, &self.file) {
            (Some(name), _) => {
                let missing = || format!("there is no cohort `{name}`");
                let cohort =
                    snapshot.find_cohort(name.as_str()).and_then(|at| snapshot.cohort(at)).with_context(missing)?;
                let ids: Vec<Context> = cohort.ids().iter().map(|id| Context::of(&id)).collect();
                ids.chunks(BATCH_SUBJECTS).try_for_each(|batch| plan.count(&app, &mut counted, batch))?;
            }
            (None, Some(file)) => {
                let contexts = read_contexts(file, &mut rejections)?;
                contexts.chunks(BATCH_SUBJECTS).try_for_each(|batch| plan.count(&app, &mut counted, batch))?;
            }
            (None, None) if plan.change().is_some() => plan.count_all_groups(&app, &mut counted)?,
            (None, None) => {
                bail!("say over whom: --cohort NAME or --file FILE (the flag routes no change, so it has no groups)")
            }
        }
        for rejected in &rejections {
            output.note(&format!("line {} {}", rejected.line, rejected.what));
        }
        let preview = plan.finish(&app, counted, jiff::Timestamp::now().into())?;
        output.result(&preview, &text(&preview));
        Ok(())
    }
}

fn read_contexts(file: &str, rejections: &mut Vec<Rejected>) -> anyhow::Result<Vec<Context>> {
    let bytes = std::fs::read(file).with_context(|| format!("{file} cannot be read"))?;
    let text = String::from_utf8_lossy(&bytes);
    let ending = Path::new(file).extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    let read = match ending.as_deref() {
        Some("ndjson" | "jsonl") => context_of_line,
        Some("csv") => csv_line,
        _ => plain_line,
    };
    let mut contexts = Vec::new();
    for (line, subject) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        match read(subject) {
            Ok(context) => contexts.extend(context),
            Err(what) if rejections.len() < REJECTIONS_MAX => rejections.push(Rejected { line, what }),
            Err(_) => {}
        }
    }
    Ok(contexts)
}

fn plain_line(line: &str) -> Result<Option<Context>, String> {
    let id = line.trim();
    Ok((!id.is_empty()).then(|| Context::of(id)))
}

fn csv_line(line: &str) -> Result<Option<Context>, String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let Some(record) = reader.records().next() else { return Ok(None) };
    let record = record.map_err(|error| error.to_string())?;
    match record.get(0).map(str::trim) {
        None | Some("" | "id" | "ID" | "Id") => Ok(None),
        Some(id) => Ok(Some(Context::of(id))),
    }
}

fn text(preview: &Preview) -> String {
    let Preview { flag, flag_version, unit, subjects, moving, .. } = preview;
    let mut text = format!(
        "{flag}, version {flag_version}: {moving} of {subjects} {unit}s would get another variant ({} %); nothing is written",
        preview.percent_moving
    );
    for change in &preview.moves {
        text.push_str(&format!("\n  {} → {}: {} ({} %)", change.from, change.to, change.subjects, change.percent));
        if change.recorded > 0 {
            text.push_str(&format!(", {} of them only when the running period has ended", change.recorded));
        }
        let more =
            if u64::try_from(change.samples.len()).is_ok_and(|shown| shown < change.subjects) { ", …" } else { "" };
        text.push_str(&format!("\n    {}{more}", change.samples.join(", ")));
    }
    for staying in &preview.staying {
        text.push_str(&format!("\n  stay with {}: {} ({} %)", staying.variant, staying.subjects, staying.percent));
    }
    preview.change.iter().for_each(|change| text.push_str(&change_text(change)));
    text
}

fn change_text(change: &ChangePreview) -> String {
    let ChangePreview { change: name, stage, period, recorded_old, recorded_new, users, .. } = change;
    let mut text = format!("\n  recorded for {period}: {recorded_new} groups new, {recorded_old} old");
    if *users > 0 {
        text.push_str(&format!("\n  {users} users, {} of them without a group", change.users_without_group));
    }
    for cohort in &change.widened {
        let payers = cohort.payers.map_or_else(String::new, |payers| format!(" of {payers} payers"));
        text.push_str(&format!(
            "\n  cohort `{}`: {} users widened to {} groups{payers}, {} users without a group",
            cohort.cohort, cohort.users, cohort.groups, cohort.users_without_group
        ));
    }
    if !stage.routes_to_new() {
        text.push_str(&format!("\n  the change `{name}` is in stage {stage}: nobody is on the new side before live"));
    } else if stage.is_everybody_new() {
        text.push_str(&format!(
            "\n  the change `{name}` is in stage {stage}: everybody is on the new side, whatever the flag says"
        ));
    }
    text
}
