//! `changeover demo`: the whole story on an example, in a new database, while plain old code writes.

pub mod cloud_costs;
mod example;
mod insert;
mod old_code;
mod place;
mod random;
pub mod video_hosting;
mod writer;

use std::path::PathBuf;

use anyhow::Context as _;

pub use example::{Example, LoadError};
pub use random::Random;

use super::{Output, Settings};
use crate::database::{DatabaseConnection, DatabaseUrl};
use crate::primitives::{Instant, Period};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
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
        None => anyhow::bail!("not there yet"),
    }
}

fn load(url: &DatabaseUrl, output: &Output, data: &DataArguments) -> anyhow::Result<u8> {
    let mut connection = DatabaseConnection::open(url)?;
    let loaded = load_example(&mut connection, data)?;
    output.result(&loaded, &format!("loaded {} into {url}: {loaded}", data.example.name()));
    Ok(0)
}

fn load_example(connection: &mut DatabaseConnection, data: &DataArguments) -> anyhow::Result<serde_json::Value> {
    Ok(match data.example {
        Example::VideoHosting => {
            let running = Period::containing(Instant::from(jiff::Timestamp::now()));
            let plan = video_hosting::Plan { charges: data.charges, seed: data.seed, running };
            serde_json::to_value(video_hosting::load(connection, &plan)?)?
        }
        Example::CloudCosts => {
            let path = data.data.as_ref().context("--data must name the FOCUS sample, a CSV file")?;
            serde_json::to_value(cloud_costs::load(connection, path)?)?
        }
    })
}
