//! What the trials found: losses by column, declared or not, and what cannot be declared away.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::watch::Watch;

/// A law that every change keeps, as far as it declares no loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Law {
    /// Touching a row changes nothing.
    Rest,
    /// What one side writes stays when the other side's code comes by.
    Stay,
    /// A write and its reversal leave everything as it was.
    Return,
}

impl Law {
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Rest => "touching a row changes nothing",
            Self::Stay => "what one side writes stays",
            Self::Return => "a write and its reversal leave everything as it was",
        }
    }
}

/// A column in which something was lost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LossFound {
    pub law: Law,
    pub table: String,
    pub column: String,
    /// The block that declares the loss, and what stands there instead; `None`: nobody does.
    pub block: Option<String>,
    pub reason: Option<String>,
    pub count: u64,
    /// The first one.
    pub sample: String,
}

/// A loss that the change file declares, and how often it was seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeclaredLoss {
    pub block: String,
    pub table: String,
    pub column: String,
    pub reason: String,
    pub seen: u64,
}

/// What was tried on one table.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TableTrials {
    pub table: String,
    /// `old` or `new`.
    pub side: String,
    pub rows: u64,
    pub trials: u64,
    /// Writes that the application's own constraints refuse, translated or not.
    pub refused: u64,
}

/// Everything that the trials of one run found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub tables: BTreeMap<usize, TableTrials>,
    losses: BTreeMap<(usize, String, Law), LossFound>,
    /// What no declaration can excuse.
    pub faults: BTreeMap<String, (u64, String)>,
}

impl Findings {
    pub fn new(watches: &[Watch]) -> Self {
        let tables = watches.iter().enumerate().filter(|(_, watch)| watch.is_source).map(|(number, watch)| {
            let side = if watch.is_new { "new" } else { "old" };
            (number, TableTrials { table: watch.table.shown(), side: side.to_owned(), ..TableTrials::default() })
        });
        Self { tables: tables.collect(), ..Self::default() }
    }

    pub fn count_trial(&mut self, table: usize) {
        self.tables.entry(table).or_default().trials += 1;
    }

    pub fn count_refused(&mut self, table: usize) {
        self.tables.entry(table).or_default().refused += 1;
    }

    pub fn refused_by_translation(&mut self, table: usize, story: &str) {
        self.fault(table, "translation refuses what the application alone may write", story);
    }

    pub fn restless(&mut self, table: usize, story: &str) {
        self.fault(table, "the models do not come to rest", story);
    }

    fn fault(&mut self, table: usize, what: &str, story: &str) {
        let name = self.tables.get(&table).map(|trials| trials.table.clone()).unwrap_or_default();
        let fault = self.faults.entry(format!("{name}: {what}")).or_insert_with(|| (0, story.to_owned()));
        fault.0 += 1;
    }

    pub fn lost(&mut self, law: Law, (number, watch): (usize, &Watch), column: &str, sample: String) {
        let declared = watch.declared.iter().find(|(_, declared, _)| declared == column);
        let loss = self.losses.entry((number, column.to_owned(), law)).or_insert_with(|| LossFound {
            law,
            table: watch.table.shown(),
            column: column.to_owned(),
            block: declared.map(|(block, _, _)| block.clone()),
            reason: declared.map(|(_, _, reason)| reason.clone()),
            count: 0,
            sample,
        });
        loss.count += 1;
    }

    pub fn losses(&self) -> Vec<LossFound> {
        self.losses.values().cloned().collect()
    }

    /// The declared losses with how often each was seen.
    pub fn declared(&self, watches: &[Watch]) -> Vec<DeclaredLoss> {
        let of = |(number, watch): (usize, &Watch)| -> Vec<DeclaredLoss> {
            let seen = |column: &String| {
                let same = self.losses.iter().filter(|((table, lost, _), _)| *table == number && lost == column);
                same.map(|(_, loss)| loss.count).sum()
            };
            let losses = watch.declared.iter().map(|(block, column, reason)| DeclaredLoss {
                block: block.clone(),
                table: watch.table.shown(),
                column: column.clone(),
                reason: reason.clone(),
                seen: seen(column),
            });
            losses.collect()
        };
        watches.iter().enumerate().flat_map(of).collect()
    }
}
