//! `changeover backfill`, `verify` and `repair`

use super::{Output, Settings};

#[derive(Debug, clap::Args)]
pub struct BackfillArguments {}
#[derive(Debug, clap::Args)]
pub struct VerifyArguments {}
#[derive(Debug, clap::Args)]
pub struct RepairArguments {}

pub fn backfill(_settings: &Settings, _output: &Output, _arguments: BackfillArguments) -> anyhow::Result<u8> {
    anyhow::bail!("not there yet")
}
pub fn verify(_settings: &Settings, _output: &Output, _arguments: VerifyArguments) -> anyhow::Result<u8> {
    anyhow::bail!("not there yet")
}
pub fn repair(_settings: &Settings, _output: &Output, _arguments: RepairArguments) -> anyhow::Result<u8> {
    anyhow::bail!("not there yet")
}
