//! The explicit ids of a cohort, exact and small. An id that is text and a number (`42`, `-7`, `user-00001234`) costs the number's 8
//! bytes if many others have the same text before it, a UUID 16, and any other text its bytes less what it shares with the one
//! before it. No hash stands for an id: what is found is compared to its last byte.
//!
//! | file | owns |
//! |---|---|
//! | `shape` | which form an id has, and its exact text back from that |
//! | `sorted` | sorted numbers, found with one or two waits for memory |
//! | `texts` | sorted texts, each known by what differs from the one before |
//! | `build` | how a set is made of ids in any order |
//! | `bytes` | a set as bytes, and back |

mod build;
mod bytes;
mod shape;
mod sorted;
mod texts;

use std::sync::Arc;

pub use build::CohortIdsBuilder;
pub use bytes::UnreadableIds;
use shape::{Shape, UUID_FORMS};
use sorted::Sorted;
use texts::Texts;

/// A set of ids. Exact: `7`, `07` and `+7` are three ids, and so are a UUID in lower and in upper case. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct CohortIds {
    /// Sorted by prefix and width.
    families: Box<[Family]>,
    uuids: [Arc<Sorted<u128>>; UUID_FORMS],
    texts: Arc<Texts>,
}

/// Ids that are the same text followed by a number: of any length without leading zeros (width 0), or padded with them to a width.
#[derive(Debug, Clone)]
struct Family {
    prefix: Box<str>,
    width: u8,
    numbers: Arc<Sorted<u64>>,
}

impl CohortIds {
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        match Shape::of(id) {
            Shape::Number { prefix, width, number } => match self.family(prefix, width) {
                Some(family) => family.numbers.contains(number),
                None => self.texts.contains(id),
            },
            Shape::Uuid { form, number } => self.uuids.get(form).is_some_and(|uuids| uuids.contains(number)),
            Shape::Text => self.texts.contains(id),
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        let numbers: usize = self.families.iter().map(|family| family.numbers.len()).sum();
        numbers + self.uuids.iter().map(|uuids| uuids.len()).sum::<usize>() + self.texts.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All ids, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = String> + '_ {
        let numbers = self.families.iter().flat_map(|family| {
            family.numbers.values().iter().map(|number| shape::number_text(&family.prefix, family.width, *number))
        });
        let uuids = (0..).zip(&self.uuids);
        let uuids = uuids.flat_map(|(form, uuids)| uuids.values().iter().map(move |id| shape::uuid_text(form, *id)));
        let mut texts = self.texts.cursor();
        numbers.chain(uuids).chain(std::iter::from_fn(move || texts.next().map(str::to_owned)))
    }

    /// The bytes that the ids take in memory.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let numbers: usize = self.families.iter().map(|family| family.numbers.size_bytes() + family.prefix.len()).sum();
        numbers + self.uuids.iter().map(|uuids| uuids.size_bytes()).sum::<usize>() + self.texts.size_bytes()
    }

    /// The set without some ids and with others. What neither of them touches is shared, so this costs a copy of the numbers or texts
    /// of the same form, and no more. An id in both is in the new set.
    #[must_use]
    pub fn changed<T: AsRef<str>>(&self, removed: &[T], added: &[T]) -> Self {
        let mut changes = Changes::of(self);
        removed.iter().for_each(|id| changes.file(id.as_ref(), false));
        added.iter().for_each(|id| changes.file(id.as_ref(), true));
        changes.apply(self)
    }

    fn family(&self, prefix: &str, width: u8) -> Option<&Family> {
        self.families.get(self.family_at(prefix, width)?)
    }

    fn family_at(&self, prefix: &str, width: u8) -> Option<usize> {
        self.families.binary_search_by(|family| (&*family.prefix, family.width).cmp(&(prefix, width))).ok()
    }
}

impl<T: AsRef<str>> FromIterator<T> for CohortIds {
    /// Takes ids as they are (no trimming), in any order, each any number of times.
    fn from_iter<I: IntoIterator<Item = T>>(ids: I) -> Self {
        let mut builder = CohortIdsBuilder::default();
        for id in ids {
            builder.push(id.as_ref());
        }
        builder.finish()
    }
}

/// The same ids, however they came to be held.
impl PartialEq for CohortIds {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|id| other.contains(&id))
    }
}

impl Eq for CohortIds {}

/// What leaves and what enters one sorted list.
type Change<T> = (Vec<T>, Vec<T>);

/// Ids that leave and enter a set, by where it holds them.
struct Changes<'a> {
    ids: &'a CohortIds,
    families: Vec<Change<u64>>,
    uuids: [Change<u128>; UUID_FORMS],
    texts: Change<String>,
}

impl<'a> Changes<'a> {
    fn of(ids: &'a CohortIds) -> Self {
        let families = ids.families.iter().map(|_| Change::default()).collect();
        Self { ids, families, uuids: Default::default(), texts: Change::default() }
    }

    fn file(&mut self, id: &str, enters: bool) {
        let text = |texts: &mut Change<String>| side(texts, enters).push(id.to_owned());
        match Shape::of(id) {
            Shape::Number { prefix, width, number } => {
                let family = self.ids.family_at(prefix, width).and_then(|at| self.families.get_mut(at));
                match family {
                    Some(family) => side(family, enters).push(number),
                    None => text(&mut self.texts),
                }
            }
            Shape::Uuid { form, number } => {
                if let Some(uuids) = self.uuids.get_mut(form) {
                    side(uuids, enters).push(number);
                }
            }
            Shape::Text => text(&mut self.texts),
        }
    }

    fn apply(self, ids: &CohortIds) -> CohortIds {
        let families = ids.families.iter().zip(self.families).map(|(family, change)| Family {
            numbers: changed(&family.numbers, change, Sorted::changed),
            ..family.clone()
        });
        let mut uuids = ids.uuids.clone();
        for (uuids, change) in uuids.iter_mut().zip(self.uuids) {
            *uuids = changed(uuids, change, Sorted::changed);
        }
        CohortIds { families: families.collect(), uuids, texts: changed(&ids.texts, self.texts, Texts::changed) }
    }
}

fn side<T>(change: &mut Change<T>, enters: bool) -> &mut Vec<T> {
    if enters { &mut change.1 } else { &mut change.0 }
}

fn changed<S, T: Ord>(held: &Arc<S>, change: Change<T>, with: impl FnOnce(&S, &[T], &[T]) -> S) -> Arc<S> {
    let (mut removed, mut added) = change;
    if removed.is_empty() && added.is_empty() {
        return Arc::clone(held);
    }
    for ids in [&mut removed, &mut added] {
        ids.sort_unstable();
        ids.dedup();
    }
    Arc::new(with(held, &removed, &added))
}

#[cfg(test)]
mod tests;
