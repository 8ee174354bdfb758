//! `changeover assign`

use super::{Output, Settings};

#[derive(Debug, clap::Args)]
pub struct AssignArguments {}

pub fn assign(_settings: &Settings, _output: &Output, _arguments: AssignArguments) -> anyhow::Result<u8> {
    anyhow::bail!("not there yet")
}
