//! `changeover demo`: the whole story on an example, in a new database, while plain old code writes.

pub mod cloud_costs;
mod example;
mod insert;
mod narration;
mod old_code;
mod place;
mod ramp;
mod random;
mod serving;
mod story;
pub mod video_hosting;
mod writer;

use std::path::PathBuf;

use anyhow::Context as _;

pub use example::{Example, LoadError};
pub use random::Random;

use super::{Output, Settings};
use crate::database::{DatabaseConnection, DatabaseUrl};
use crate::primitives::{Instant, PeriodScheme};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    data: DataArguments,
    /// End after the report; the exit code is 0 only if drift is 0 and the report is clean
    #[arg(long)]
    no_serve: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Only load an example into a new database, to try the other commands on it by hand
    Load(DataArguments),
    /// Write like the old application until standard input ends
    #[command(hide = true)]
    OldCode(old_code::Arguments),
}

/// Which example, and how much of it.
#[derive(Debug, Clone, clap::Args)]
struct DataArguments {
    /// Which example
    #[arg(long, value_enum, default_value_t = Example::VideoHosting)]
    example: Example,
    /// video-hosting: how many charges to generate; users and videos follow from it
    #[arg(long, default_value_t = 20_000, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    charges: u64,
    /// video-hosting: the same seed makes the same data
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// cloud-costs: the FOCUS 1.0 sample, a CSV file
    #[arg(long, value_name = "PATH", required_if_eq("example", "cloud-costs"))]
    data: Option<PathBuf>,
}

pub fn run(settings: &Settings, output: &Output, arguments: Arguments) -> anyhow::Result<u8> {
    match arguments.action {
        Some(Action::Load(data)) => load(&settings.database_url, output, &data),
        Some(Action::OldCode(arguments)) => old_code::run(&settings.database_url.secret(), &arguments),
        None => tell(settings, output, &arguments),
    }
}

fn tell(settings: &Settings, output: &Output, arguments: &Arguments) -> anyhow::Result<u8> {
    let url = place::choose(settings)?;
    let (shown, comparison) = story::tell(&url, &arguments.data, output)?;
    output.note("");
    output.result(&shown, &shown.text(&comparison));
    if arguments.no_serve {
        return Ok(u8::from(!shown.held));
    }
    let code = serving::run(settings, output, &url, &arguments.data)?;
    Ok(code.max(u8::from(!shown.held)))
}

fn load(url: &DatabaseUrl, output: &Output, data: &DataArguments) -> anyhow::Result<u8> {
    let mut connection = DatabaseConnection::open(url)?;
    let loaded = load_example(&mut connection, data)?;
    output.result(&loaded, &format!("{} is loaded into {url}: {}", data.example.name(), described(&loaded)));
    Ok(0)
}

fn load_example(connection: &mut DatabaseConnection, data: &DataArguments) -> anyhow::Result<serde_json::Value> {
    Ok(match data.example {
        Example::VideoHosting => {
            let running = PeriodScheme::default().containing(Instant::from(jiff::Timestamp::now()))?;
            let plan = video_hosting::Plan { charges: data.charges, seed: data.seed, running };
            serde_json::to_value(video_hosting::load(connection, &plan)?)?
        }
        Example::CloudCosts => {
            let path = data.data.as_ref().context("--data must name the FOCUS sample, a CSV file")?;
            serde_json::to_value(cloud_costs::load(connection, path)?)?
        }
    })
}

/// `{"users": 12, "charges": 3000}` → `12 users, 3,000 charges`.
fn described(loaded: &serde_json::Value) -> String {
    let counts = loaded.as_object().into_iter().flatten();
    let counts: Vec<String> = counts
        .map(|(what, count)| format!("{} {}", narration::counted(count.as_u64().unwrap_or(0)), what.replace('_', " ")))
        .collect();
    counts.join(", ")
}
