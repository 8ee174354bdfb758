//! `changeover backfill --estimate`

use serde_json::json;

use super::backfill::size;
use super::{Output, table};
use crate::database::Database;
use crate::sql::model::ChangeModel;
use crate::translation::estimate_backfill;

pub fn run(output: &Output, database: &Database, model: &ChangeModel) -> anyhow::Result<u8> {
    let estimates = estimate_backfill(&mut *database.connection()?, model)?;
    let rows = estimates.iter().map(|estimate| {
        vec![
            estimate.block.clone(),
            estimate.target.clone(),
            estimate.keys.to_string(),
            estimate.sample_keys.to_string(),
            estimate.seconds.map_or_else(|| String::from("–"), seconds),
            estimate.bytes.map_or_else(|| String::from("–"), size),
        ]
    });
    let total: f64 = estimates.iter().filter_map(|estimate| estimate.seconds).sum();
    let text = format!(
        "{}\nAbout {} with one worker, if nobody else needs the database; nothing has been written.",
        table(
            &[
                "block",
                "into",
                "keys",
                "timed",
                "takes about",
                estimates.first().map_or("bytes", |first| first.bytes_of)
            ],
            rows
        ),
        seconds(total),
    );
    output.result(&json!({ "change": model.name, "seconds": total, "blocks": estimates }), &text);
    Ok(0)
}

fn seconds(seconds: f64) -> String {
    if seconds < 90.0 {
        format!("{seconds:.1} s")
    } else if seconds < 5_400.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3_600.0)
    }
}
