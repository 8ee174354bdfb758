//! `changeover cohort staged`

use serde_json::json;

use super::cohort::{comparison_text, print};
use super::{Output, Settings, Why, table};
use crate::http::api::List;
use crate::http::api::cohort_staged::StagedAnswer;
use crate::primitives::CohortName;
use crate::store::cohorts::{self, Edit};
use crate::store::{Store, cohort_staging};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the uploads that wait for a cohort
    List { name: CohortName },
    /// Show who would come and who would go
    Show {
        name: CohortName,
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Do with an upload what it was sent for; refused if the cohort has changed since
    Activate {
        name: CohortName,
        #[arg(value_name = "ID")]
        id: String,
        /// Even if the cohort has changed since it was staged
        #[arg(long)]
        even_if_changed: bool,
        #[command(flatten)]
        why: Why,
    },
    /// Drop an upload
    Drop {
        name: CohortName,
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        why: Why,
    },
}

pub(super) fn run(settings: &Settings, store: &Store, output: &Output, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { name } => list(store, output, &name),
        Command::Show { name, id } => show(store, output, &name, &id),
        Command::Activate { name, id, even_if_changed, why } => {
            let origin = settings.origin(&why);
            let receipt = store.write(|conn| {
                let staged = cohort_staging::get(conn, &name, &id)?;
                let seen = (!even_if_changed).then_some(staged.base_generation);
                let edited = cohorts::edit(conn, &name, Edit::Activate(&staged), seen, origin)?;
                Ok(edited.receipt_of(&staged))
            })?;
            print(output, &receipt);
            Ok(())
        }
        Command::Drop { name, id, why } => {
            store.write(|conn| cohort_staging::drop_one(conn, &name, &id, settings.origin(&why)))?;
            output.result(&json!({ "dropped": id }), &format!("{id} is dropped; {name} stays as it is"));
            Ok(())
        }
    }
}

fn list(store: &Store, output: &Output, name: &CohortName) -> anyhow::Result<()> {
    let found = store.read(|conn| {
        cohorts::get(conn, name)?;
        cohort_staging::list(conn, name)
    })?;
    let rows = found.iter().map(|staged| {
        vec![
            staged.id.clone(),
            staged.action.as_str().to_owned(),
            staged.id_count.to_string(),
            staged.base_generation.to_string(),
            staged.created_at.to_string(),
            staged.actor.clone(),
            staged.reason.clone(),
        ]
    });
    let text = table(&["upload", "to", "ids", "at generation", "came", "by", "reason"], rows);
    let items: Vec<StagedAnswer> = found.into_iter().map(StagedAnswer::from).collect();
    output.result(&List { items, next: None }, &text);
    Ok(())
}

fn show(store: &Store, output: &Output, name: &CohortName, id: &str) -> anyhow::Result<()> {
    let (staged, comparison) = store.read(|conn| {
        let staged = cohort_staging::get(conn, name, id)?;
        let comparison = cohort_staging::preview(conn, &staged)?;
        Ok((staged, comparison))
    })?;
    let text = format!(
        "{id}: {} {} ids of {name}, staged at generation {} by {}\n{}",
        staged.action.as_str(),
        staged.id_count,
        staged.base_generation,
        staged.actor,
        comparison_text(&comparison, ["would come", "would go"])
    );
    output.result(&json!({ "staged": StagedAnswer::from(staged), "comparison": comparison }), &text);
    Ok(())
}
