//! The settings of restore points, shared by `changeover serve` and `changeover change stage`.

use std::path::PathBuf;

use super::table;
use crate::translation::{PastRestorePoint, RestorePoints};

#[derive(Debug, Clone, clap::Args)]
pub struct RestoreArguments {
    /// Make no restore point of the application's database before a change's stage is moved
    #[arg(long, env = "CHANGEOVER_NO_RESTORE_POINT")]
    no_restore_point: bool,

    /// Where the copies of an SQLite file go that are made before a move [default: beside it, in a directory with its name and
    /// .restore-points]
    #[arg(long, env = "CHANGEOVER_RESTORE_POINT_DIRECTORY", value_name = "PATH")]
    restore_point_directory: Option<PathBuf>,

    /// How many of these copies are kept
    #[arg(long, env = "CHANGEOVER_RESTORE_POINT_KEEP", default_value_t = 5, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..))]
    restore_point_keep: u16,

    /// Copy no SQLite file of more MiB than this; a move waits for the copy
    #[arg(long, env = "CHANGEOVER_RESTORE_POINT_MAX_MIB", default_value_t = 256, value_name = "MIB",
          value_parser = clap::value_parser!(u32).range(1..))]
    restore_point_max_mib: u32,
}

impl RestoreArguments {
    /// `None`: none are made.
    pub fn settings(&self) -> Option<RestorePoints> {
        (!self.no_restore_point).then(|| RestorePoints {
            directory: self.restore_point_directory.clone(),
            keep: usize::from(self.restore_point_keep),
            bytes_max: u64::from(self.restore_point_max_mib) << 20,
        })
    }
}

/// The restore points of the last moves; empty if there are none.
pub fn restore_text(points: &[PastRestorePoint]) -> String {
    if points.is_empty() {
        return String::new();
    }
    let rows =
        points.iter().map(|past| vec![past.at.to_string(), format!("{} → {}", past.from, past.to), past.point.told()]);
    format!("\n{}\n", table(&["move", "step", "restore point from before"], rows))
}
