//! `changeover report explain`: one charge, its class and why.

use serde::Serialize;

use super::{Output, Settings};
use crate::database::DatabaseConnection;
use crate::primitives::{ChangeName, Instant};
use crate::report::{self, ChargeStory};
use crate::routing::{RoutedCharge, side_of_charge};
use crate::translation::own::list_changes;

#[derive(Debug, clap::Args)]
pub struct ExplainArguments {
    /// The charge's id
    charge: String,
    /// The change; may be left out if only one is installed that has an [allocation]
    #[arg(long, value_name = "CHANGE")]
    change: Option<ChangeName>,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    story: &'a ChargeStory,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<RoutedCharge>,
}

pub fn explain(settings: &Settings, output: &Output, arguments: &ExplainArguments) -> anyhow::Result<u8> {
    let database = match settings.open_report_database()? {
        Some(replica) => replica,
        None => settings.open_app_database()?,
    };
    let mut connection = database.connection()?;
    let change = match &arguments.change {
        Some(name) => name.clone(),
        None => only_change(&mut connection)?,
    };
    let now = Instant::from(jiff::Timestamp::now());
    let asked = (&change, arguments.charge.as_str());
    let story = report::explain_charge(&mut connection, &settings.open_store()?, asked, now)?;
    let routing = match (story.group(), story.period()) {
        (Some(group), Some(period)) => side_of_charge(&mut connection, &change, (group, period), now)?,
        _ => None,
    };
    let text = story.to_text(routing.as_ref().map(|routing| routing.why.as_slice()).unwrap_or_default());
    output.result(&Document { story: &story, routing }, &text);
    Ok(if story.class.is_some_and(|class| !class.is_wrong()) { 0 } else { 1 })
}

fn only_change(connection: &mut DatabaseConnection) -> anyhow::Result<ChangeName> {
    let mut found = list_changes(connection)?.into_iter().filter(|change| change.file.allocation.is_some());
    match (found.next(), found.next()) {
        (Some(change), None) => Ok(change.name),
        (None, _) => {
            anyhow::bail!("no change with an [allocation] is installed: `changeover change list` lists what is")
        }
        (Some(one), Some(other)) => {
            anyhow::bail!(
                "several changes have charges, such as {} and {}: say which with --change",
                one.name,
                other.name
            )
        }
    }
}
