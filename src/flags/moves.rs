//! Who moves: outcomes of one flag before and after, counted over known subjects.

use serde::Serialize;
use utoipa::ToSchema;

use super::evaluate::Evaluation;

/// At most this many subjects are named for each move.
pub const SAMPLES_MAX: usize = 20;

/// Outcomes before and after, counted.
#[derive(Debug, Clone, Default)]
pub struct Moves {
    pairs: Vec<Pair>,
    subjects: u64,
}

#[derive(Debug, Clone)]
struct Pair {
    before: String,
    after: String,
    subjects: u64,
    recorded: u64,
    samples: Vec<String>,
}

/// How many subjects get another variant than before.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VariantMove {
    /// The variant before; in brackets an error's code, where no variant can be served.
    pub from: String,
    pub to: String,
    pub subjects: u64,
    /// Of all subjects counted.
    pub percent: f64,
    /// How many of them have a side recorded for the running period, and so move with the next one only.
    pub recorded: u64,
    /// The first of them.
    pub samples: Vec<String>,
}

/// How many subjects get the same variant as before.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Staying {
    pub variant: String,
    pub subjects: u64,
    pub percent: f64,
}

/// A subject's outcome as a text: the variant, or in brackets the code of the error.
#[must_use]
pub fn outcome<'a>(evaluation: &'a Evaluation<'_>) -> &'a str {
    match evaluation {
        Evaluation::Served(served) => served.variant.name.as_str(),
        Evaluation::Failed(failure) => match failure.code() {
            "FLAG_NOT_FOUND" => "(FLAG_NOT_FOUND)",
            "TARGETING_KEY_MISSING" => "(TARGETING_KEY_MISSING)",
            _ => "(GENERAL)",
        },
    }
}

impl Moves {
    /// Counts one subject.
    pub fn add(&mut self, subject: &str, before: &str, after: &str, is_recorded: bool) {
        self.subjects += 1;
        let known = self.pairs.iter().position(|pair| pair.before == before && pair.after == after);
        let at = known.unwrap_or(self.pairs.len());
        if known.is_none() {
            let (before, after) = (before.to_owned(), after.to_owned());
            self.pairs.push(Pair { before, after, subjects: 0, recorded: 0, samples: Vec::new() });
        }
        let Some(pair) = self.pairs.get_mut(at) else { return };
        pair.subjects += 1;
        pair.recorded += u64::from(is_recorded);
        if before != after && pair.samples.len() < SAMPLES_MAX {
            pair.samples.push(subject.to_owned());
        }
    }

    /// How many subjects were counted.
    #[must_use]
    pub fn subjects(&self) -> u64 {
        self.subjects
    }

    /// How many of them move.
    #[must_use]
    pub fn moving(&self) -> u64 {
        self.pairs.iter().filter(|pair| pair.before != pair.after).map(|pair| pair.subjects).sum()
    }

    /// Every move, the largest first.
    #[must_use]
    pub fn moves(&self) -> Vec<VariantMove> {
        let mut pairs: Vec<&Pair> = self.pairs.iter().filter(|pair| pair.before != pair.after).collect();
        pairs.sort_by(|one, other| {
            other
                .subjects
                .cmp(&one.subjects)
                .then_with(|| (&one.before, &one.after).cmp(&(&other.before, &other.after)))
        });
        let told = |pair: &Pair| VariantMove {
            from: pair.before.clone(),
            to: pair.after.clone(),
            subjects: pair.subjects,
            percent: self.percent(pair.subjects),
            recorded: pair.recorded,
            samples: pair.samples.clone(),
        };
        pairs.into_iter().map(told).collect()
    }

    /// Those who stay, by variant.
    #[must_use]
    pub fn staying(&self) -> Vec<Staying> {
        let mut pairs: Vec<&Pair> = self.pairs.iter().filter(|pair| pair.before == pair.after).collect();
        pairs.sort_by(|one, other| one.before.cmp(&other.before));
        let told = |pair: &Pair| Staying {
            variant: pair.before.clone(),
            subjects: pair.subjects,
            percent: self.percent(pair.subjects),
        };
        pairs.into_iter().map(told).collect()
    }

    /// A part of all subjects in per cent, to three places.
    #[must_use]
    pub fn percent(&self, part: u64) -> f64 {
        let thousandths = u128::from(part) * 100_000 / u128::from(self.subjects.max(1));
        f64::from(u32::try_from(thousandths).unwrap_or(u32::MAX)) / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_counted_the_largest_first_with_some_names() {
        let mut moves = Moves::default();
        for subject in 0..30 {
            moves.add(&subject.to_string(), "old", "new", subject < 5);
        }
        moves.add("x", "new", "old", false);
        moves.add("y", "old", "old", true);
        let told = moves.moves();
        assert_eq!((moves.subjects(), moves.moving(), told.len()), (32, 31, 2));
        assert_eq!((told[0].subjects, told[0].recorded, told[0].samples.len(), told[0].percent), (30, 5, 20, 93.75));
        assert_eq!((told[1].from.as_str(), told[1].samples.as_slice()), ("new", [String::from("x")].as_slice()));
        assert_eq!(moves.staying(), [Staying { variant: String::from("old"), subjects: 1, percent: 3.125 }]);
    }
}
