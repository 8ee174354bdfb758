//! `changeover demo`

use super::{Output, Settings};

#[derive(Debug, clap::Args)]
pub struct Arguments {}

pub fn run(_settings: &Settings, _output: &Output, _arguments: Arguments) -> anyhow::Result<u8> {
    anyhow::bail!("not there yet")
}
