//! What is wrong with a change file: where, and what to do about it.

use std::fmt;

use serde::Serialize;

/// Something in a change file that has to be put right, or (as a warning) deserves a look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mistake {
    /// The block, as [`crate::change::Block::label`] names it, or the section: `[routing]`, `[allocation]`.
    pub block: Option<String>,
    /// The line of the change file, from 1.
    pub line: usize,
    /// One clause without a full stop.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl Mistake {
    /// A mistake whose texts are made fit for one line of a terminal.
    #[must_use]
    pub fn new(block: Option<&str>, line: usize, what: &str, remedy: &str) -> Self {
        Self { block: block.map(one_line), line, what: one_line(what), remedy: one_line(remedy) }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.block {
            Some(block) => write!(f, "line {}, {block}: {}; {}", self.line, self.what, self.remedy),
            None => write!(f, "line {}: {}; {}", self.line, self.what, self.remedy),
        }
    }
}

/// Control characters and line breaks become single spaces, and what is longer than a screen is cut.
fn one_line(text: &str) -> String {
    const CHARACTERS_MAX: usize = 600;
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let joined = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    if joined.chars().count() <= CHARACTERS_MAX {
        return joined;
    }
    joined.chars().take(CHARACTERS_MAX).chain(['…']).collect()
}

/// A name from the file between backticks, cut to what a message can hold.
#[must_use]
pub fn shown(name: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    if name.chars().count() <= CHARACTERS_MAX {
        return format!("`{name}`");
    }
    let cut: String = name.chars().take(CHARACTERS_MAX).collect();
    format!("`{cut}…`")
}

/// The known name that `given` was probably meant to be: the nearest by edit distance, if it is near enough.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const CHARACTERS_MAX: usize = 80;
    let given: Vec<char> = given.to_lowercase().chars().take(CHARACTERS_MAX).collect();
    let known: Vec<&str> = known.into_iter().collect();
    let (distance, name) = known
        .iter()
        .copied()
        .map(|name| (distance(&given, &name.to_lowercase().chars().take(CHARACTERS_MAX).collect::<Vec<_>>()), name))
        .min_by_key(|(distance, _)| *distance)?;
    let near_enough = (given.len() / 3).clamp(1, 3);
    if distance <= near_enough {
        return Some(name);
    }
    // `owner` for `owner_id`: the only name that begins so.
    let given: String = given.into_iter().collect();
    let mut longer = known.into_iter().filter(|name| given.len() >= 3 && name.to_lowercase().starts_with(&given));
    longer.next().filter(|name| longer.all(|other| other == *name))
}

/// Levenshtein's distance, a neighbouring swap counting as one step.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let mut previous_left: Option<char> = None;
    for (row, &l) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        let mut previous_right: Option<char> = None;
        for (column, &r) in right.iter().enumerate() {
            let mut best =
                (at(&last, column) + usize::from(l != r)).min(at(&last, column + 1) + 1).min(at(&current, column) + 1);
            if previous_left == Some(r) && previous_right == Some(l) && column > 0 {
                best = best.min(at(&before_last, column - 1) + 1);
            }
            current.push(best);
            previous_right = Some(r);
        }
        before_last = std::mem::replace(&mut last, current);
        previous_left = Some(l);
    }
    at(&last, right.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        let known = ["into", "from", "identity", "constant"];
        assert_eq!(nearest("indentity", known), Some("identity"));
        assert_eq!(nearest("form", known), Some("from"));
        assert_eq!(nearest("INTO", known), Some("into"));
        assert_eq!(nearest("ident", known), Some("identity"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn a_mistake_is_one_line_whatever_it_quotes() {
        let mistake = Mistake::new(Some("f1 (a\nb)"), 7, "what\r\n\0is", &"x".repeat(5000));
        let text = mistake.to_string();
        assert!(text.starts_with("line 7, f1 (a b): what is; xxx"), "{text}");
        assert!(text.len() < 700 && !text.chars().any(char::is_control));
    }
}
