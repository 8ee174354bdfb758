//! `changeover explanation`: say why charges of a wrong class are as they should be.

use jiff::civil::Date;
use serde_json::json;

use super::{Output, Settings, Why, table};
use crate::allocation::{ChargeClass, Wording};
use crate::primitives::ChangeName;
use crate::store::PageRequest;
use crate::store::explanations::{self, StoredExplanation};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Explain charges of a wrong class; it counts in reports from the next one on
    Add(AddArguments),
    /// List a change's explanations, the newest first
    List {
        /// The change
        change: ChangeName,
        /// Those that were withdrawn as well
        #[arg(long)]
        all: bool,
    },
    /// Print an explanation with its history
    Show {
        /// The change
        change: ChangeName,
        /// The explanation's id
        id: String,
    },
    /// Take an explanation back: what it covered is unexplained in the next report
    Withdraw {
        /// The change
        change: ChangeName,
        /// The explanation's id
        id: String,
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Debug, clap::Args)]
pub struct AddArguments {
    /// The change
    change: ChangeName,
    /// The class of the charges, such as duplicate
    #[arg(long)]
    class: ChargeClass,
    /// Only charges of this period [default: of any]
    #[arg(long, value_name = "PERIOD")]
    period: Option<String>,
    /// Only charges in this currency [default: in any]
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    /// Only this charge; may be given several times [default: any]
    #[arg(long = "charge", value_name = "ID")]
    charges: Vec<String>,
    /// A short code by which explanations are counted, such as legacy-import
    #[arg(long, value_name = "CODE")]
    reason_code: String,
    /// Why the charges are as they should be
    #[arg(long)]
    text: String,
    /// Who answers for it
    #[arg(long)]
    owner: String,
    /// The last day on which it counts, such as 2027-01-31
    #[arg(long, value_name = "DATE")]
    expires: Date,
    /// It covers at most so many charges
    #[arg(long, value_name = "N")]
    max_count: u64,
    #[command(flatten)]
    why: Why,
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    let store = settings.open_store()?;
    match command {
        Command::Add(arguments) => add(settings, output, arguments)?,
        Command::List { change, all } => {
            let mut found = Vec::new();
            let mut after = None;
            loop {
                let request = PageRequest { after, limit: Some(500) };
                let page = store.read(|conn| explanations::list(conn, &change, &request))?;
                found.extend(page.items.into_iter().filter(|one| all || one.withdrawn_at.is_none()));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let documents: Vec<_> = found.iter().map(document).collect();
            output.result(&documents, &text_of(&change, &found));
        }
        Command::Show { change, id } => {
            let (found, history) =
                store.read(|conn| Ok((explanations::get(conn, &change, &id)?, explanations::history(conn, &id)?)))?;
            let versions: Vec<_> = history
                .iter()
                .map(|one| json!({ "version": one.version, "wording": one.wording, "at": one.at, "actor": one.actor, "reason": one.reason }))
                .collect();
            let mut lines = vec![text_of(&change, std::slice::from_ref(&found)), found.wording.text.clone()];
            lines.extend(history.iter().map(|one| {
                let what = if one.wording.is_some() { "worded" } else { "withdrawn" };
                format!("version {}: {what} by {} at {} {}", one.version, one.actor, one.at, one.reason)
            }));
            output.result(&json!({ "explanation": document(&found), "history": versions }), &lines.join("\n"));
        }
        Command::Withdraw { change, id, why } => {
            let origin = settings.origin(&why);
            let withdrawn = store.write(|conn| {
                let before = explanations::get_seen(conn, &change, &id, None)?;
                explanations::withdraw(conn, &before, origin)
            })?;
            let text = format!("explanation {id} is withdrawn: what it covered is unexplained in the next report");
            output.result(&document(&withdrawn), &text);
        }
    }
    Ok(0)
}

fn add(settings: &Settings, output: &Output, arguments: AddArguments) -> anyhow::Result<()> {
    let wording = Wording {
        class: arguments.class,
        period: arguments.period,
        currency: arguments.currency,
        charges: arguments.charges,
        reason_code: arguments.reason_code,
        text: arguments.text,
        owner: arguments.owner,
        expires: arguments.expires,
        max_count: arguments.max_count,
    };
    let wording = explanations::checked(wording, jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date())?;
    let origin = settings.origin(&arguments.why);
    let stored =
        settings.open_store()?.write(|conn| explanations::create(conn, &arguments.change, &wording, origin))?;
    let text = format!(
        "explanation {} covers up to {} charges in class {} until {}, from the next report on",
        stored.id, wording.max_count, wording.class, wording.expires
    );
    output.result(&document(&stored), &text);
    Ok(())
}

fn document(one: &StoredExplanation) -> serde_json::Value {
    json!({
        "id": one.id, "change": one.change, "version": one.version, "wording": one.wording, "created_at": one.created_at,
        "created_by": one.created_by, "updated_at": one.updated_at, "updated_by": one.updated_by, "withdrawn_at": one.withdrawn_at,
    })
}

fn text_of(change: &ChangeName, found: &[StoredExplanation]) -> String {
    if found.is_empty() {
        return format!(
            "Nothing is explained on {change}: `changeover explanation add {change}` explains a difference."
        );
    }
    let rows = found.iter().map(|one| {
        let wording = &one.wording;
        let which = match wording.charges.as_slice() {
            [] => String::from("any charge"),
            [charge] => format!("charge {charge}"),
            several => format!("{} charges", several.len()),
        };
        let places: Vec<&str> = wording.period.iter().chain(&wording.currency).map(String::as_str).collect();
        vec![
            one.id.clone(),
            wording.class.to_string(),
            if places.is_empty() { which } else { format!("{which} in {}", places.join(" ")) },
            format!("{}", wording.max_count),
            wording.reason_code.clone(),
            wording.owner.clone(),
            if one.withdrawn_at.is_some() { String::from("withdrawn") } else { wording.expires.to_string() },
        ]
    });
    table(&["explanation", "class", "about", "at most", "reason", "owner", "until"], rows)
}
