//! Makes a set of ids that come in any order, each any number of times.

use std::collections::HashMap;

use super::shape::{Shape, UUID_FORMS, number_text};
use super::sorted::Sorted;
use super::texts::Writer;
use super::{CohortIds, Family};

/// A family costs every look-up a little, so it has to have this many ids, and there are at most so many families.
const FAMILY_IDS_MIN: usize = 256;
const FAMILIES_MAX: usize = 64;
/// While ids come in, so many families are tried; then those with few ids are given up.
const CANDIDATES_MAX: usize = 4_096;
const CANDIDATE_IDS_MIN: usize = 16;

/// Takes ids one by one.
#[derive(Default)]
pub struct CohortIdsBuilder {
    candidates: Vec<Candidate>,
    known: HashMap<Box<str>, Vec<(u8, usize)>>,
    last: usize,
    /// True once so many families are large that no new one is tried.
    is_full: bool,
    uuids: [Vec<u128>; UUID_FORMS],
    texts: String,
    /// Where each text ends in `texts`.
    ends: Vec<usize>,
}

struct Candidate {
    prefix: Box<str>,
    width: u8,
    numbers: Vec<u64>,
}

impl CohortIdsBuilder {
    /// Takes an id as it is.
    pub fn push(&mut self, id: &str) {
        match Shape::of(id) {
            Shape::Number { prefix, width, number } => match self.candidate(prefix, width) {
                Some(candidate) => candidate.numbers.push(number),
                None => self.push_text(id),
            },
            Shape::Uuid { form, number } => {
                if let Some(uuids) = self.uuids.get_mut(form) {
                    uuids.push(number);
                }
            }
            Shape::Text => self.push_text(id),
        }
    }

    #[must_use]
    pub fn finish(mut self) -> CohortIds {
        self.candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.numbers.len()));
        let few = self.candidates.partition_point(|candidate| candidate.numbers.len() >= FAMILY_IDS_MIN);
        for candidate in self.candidates.split_off(few.min(FAMILIES_MAX)) {
            self.dissolve(&candidate);
        }
        let mut families: Vec<Family> = std::mem::take(&mut self.candidates)
            .into_iter()
            .map(|Candidate { prefix, width, numbers }| Family { prefix, width, numbers: Sorted::of(numbers).into() })
            .collect();
        families.sort_by(|a, b| (&a.prefix, a.width).cmp(&(&b.prefix, b.width)));
        let uuids = std::mem::take(&mut self.uuids).map(|uuids| Sorted::of(uuids).into());
        CohortIds { families: families.into_boxed_slice(), uuids, texts: self.sorted_texts().finish().into() }
    }

    fn push_text(&mut self, text: &str) {
        self.texts.push_str(text);
        self.ends.push(self.texts.len());
    }

    fn candidate(&mut self, prefix: &str, width: u8) -> Option<&mut Candidate> {
        let is = |candidate: &Candidate| candidate.width == width && &*candidate.prefix == prefix;
        if !self.candidates.get(self.last).is_some_and(is) {
            let widths = self.known.get(prefix);
            let found = widths.and_then(|widths| widths.iter().find(|(known, _)| *known == width));
            self.last = match found {
                Some((_, at)) => *at,
                None => self.start(prefix, width)?,
            };
        }
        self.candidates.get_mut(self.last)
    }

    fn start(&mut self, prefix: &str, width: u8) -> Option<usize> {
        if self.candidates.len() >= CANDIDATES_MAX && !self.is_full {
            self.give_up_small();
        }
        if self.is_full {
            return None;
        }
        let at = self.candidates.len();
        self.candidates.push(Candidate { prefix: prefix.into(), width, numbers: Vec::new() });
        self.known.entry(prefix.into()).or_default().push((width, at));
        Some(at)
    }

    fn give_up_small(&mut self) {
        let all = std::mem::take(&mut self.candidates);
        let (large, small): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|candidate| candidate.numbers.len() >= CANDIDATE_IDS_MIN);
        small.iter().for_each(|candidate| self.dissolve(candidate));
        self.known.clear();
        for (at, candidate) in large.iter().enumerate() {
            self.known.entry(candidate.prefix.clone()).or_default().push((candidate.width, at));
        }
        self.is_full = large.len() > CANDIDATES_MAX / 2;
        (self.candidates, self.last) = (large, 0);
    }

    fn dissolve(&mut self, candidate: &Candidate) {
        for number in &candidate.numbers {
            self.push_text(&number_text(&candidate.prefix, candidate.width, *number));
        }
    }

    fn sorted_texts(&self) -> Writer {
        let starts = std::iter::once(&0).chain(&self.ends);
        let mut texts: Vec<&str> =
            starts.zip(&self.ends).filter_map(|(start, end)| self.texts.get(*start..*end)).collect();
        texts.sort_unstable();
        let mut writer = Writer::default();
        texts.iter().for_each(|text| writer.push(text));
        writer
    }
}
