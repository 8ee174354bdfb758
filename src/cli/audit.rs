//! `changeover audit`

use super::{Output, Settings};

#[derive(Debug, clap::Subcommand)]
pub enum Command {}

pub fn run(_settings: &Settings, _output: &Output, command: Command) -> anyhow::Result<u8> {
    match command {}
}
