//! Which change a command is about.

use crate::database::DatabaseConnection;
use crate::primitives::ChangeName;
use crate::translation::InstalledChange;
use crate::translation::own::{get_change, list_changes};

/// The change of that name; without a name, the only one that is installed.
pub fn installed(connection: &mut DatabaseConnection, name: Option<&ChangeName>) -> anyhow::Result<InstalledChange> {
    if let Some(name) = name {
        return Ok(get_change(connection, name)?);
    }
    let mut changes = list_changes(connection)?;
    match changes.len() {
        0 => {
            anyhow::bail!("no change is installed in this database: install one with `changeover change install FILE`")
        }
        1 => Ok(changes.remove(0)),
        _ => {
            let names: Vec<String> = changes.iter().map(|change| change.name.to_string()).collect();
            anyhow::bail!("several changes are installed: name one of {}", names.join(", "))
        }
    }
}
