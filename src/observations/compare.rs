//! One old result against one new one.

use super::json::Json;
use super::rule::{Kind, Rules};

/// Places of differences that one comparison tells.
const PLACES_MAX: usize = 20;
/// Elements of arrays that are paired in any order by the best pairing; longer ones are sorted first.
const PAIRED_MAX: usize = 128;

/// What one side did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub value: Option<Json>,
    pub error: Option<String>,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Match,
    /// They differ, but only where a rule ignores it.
    Ignored,
    /// Where they differ, as JSON pointers with `*` for elements of arrays, or `error`.
    Mismatch(Vec<String>),
}

/// Compares under rules. Swapping both sides changes nothing.
#[must_use]
pub fn compare(old: &Outcome, new: &Outcome, rules: &Rules) -> Verdict {
    if differences(old, new, &rules.strict()).is_empty() {
        return Verdict::Match;
    }
    let found = differences(old, new, rules);
    if found.is_empty() { Verdict::Ignored } else { Verdict::Mismatch(found) }
}

fn differences(old: &Outcome, new: &Outcome, rules: &Rules) -> Vec<String> {
    if old.error.is_some() || new.error.is_some() {
        let is_fine = old.error == new.error || rules.ignores_errors();
        return if is_fine { Vec::new() } else { vec![String::from("error")] };
    }
    let mut walk = Walk { rules, found: Vec::new() };
    let null = Json::Null;
    walk.compare(old.value.as_ref().unwrap_or(&null), new.value.as_ref().unwrap_or(&null), &mut Vec::new());
    walk.found
}

struct Walk<'a> {
    rules: &'a Rules,
    found: Vec<String>,
}

impl Walk<'_> {
    fn compare(&mut self, old: &Json, new: &Json, place: &mut Vec<String>) {
        if self.found.len() >= PLACES_MAX || old == new || self.rules.covers(Kind::Ignore, place) {
            return;
        }
        let is_equal = match (old, new) {
            (Json::Number(a), Json::Number(b)) => self.are_numbers_equal(a, b, (old, new), place),
            (Json::Text(a), Json::Text(b)) => self.are_texts_equal(a, b, place),
            (Json::Array(a), Json::Array(b)) if self.rules.covers(Kind::AnyOrder, place) => {
                self.are_equal_in_any_order(a, b, place)
            }
            (Json::Array(a), Json::Array(b)) => {
                for (index, (a, b)) in a.iter().zip(b).enumerate() {
                    place.push(index.to_string());
                    self.compare(a, b, place);
                    place.pop();
                }
                a.len() == b.len()
            }
            (Json::Object(a), Json::Object(b)) => {
                for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
                    place.push(name.clone());
                    match (a.get(name), b.get(name)) {
                        (Some(a), Some(b)) => self.compare(a, b, place),
                        _ if self.rules.covers(Kind::Ignore, place) => {}
                        _ => self.note(place),
                    }
                    place.pop();
                }
                true
            }
            _ => false,
        };
        if !is_equal {
            self.note(place);
        }
    }

    fn note(&mut self, place: &[String]) {
        let is_index = |part: &String| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        let escaped = |part: &String| part.replace('~', "~0").replace('/', "~1");
        let parts = place.iter().map(|part| if is_index(part) { String::from("*") } else { escaped(part) });
        let pointer: String = parts.flat_map(|part| [String::from("/"), part]).collect();
        let pointer: String = pointer.chars().take(300).collect();
        if !self.found.contains(&pointer) && self.found.len() < PLACES_MAX {
            self.found.push(pointer);
        }
    }

    fn are_numbers_equal(&self, a: &str, b: &str, both: (&Json, &Json), place: &[String]) -> bool {
        let (Some(old), Some(new)) = (both.0.number(), both.1.number()) else { return a == b };
        old == new
            || self.rules.amounts(Kind::Absolute, place).any(|by| old.is_within(&new, by))
            || self.rules.amounts(Kind::Relative, place).any(|by| old.is_within_share(&new, by))
    }

    fn are_texts_equal(&self, a: &str, b: &str, place: &[String]) -> bool {
        let trims = self.rules.covers(Kind::Trim, place);
        let (a, b) = if trims { (a.trim(), b.trim()) } else { (a, b) };
        a == b || (self.rules.covers(Kind::IgnoreCase, place) && a.to_lowercase() == b.to_lowercase())
    }

    fn is_pair_equal(&self, a: &Json, b: &Json, place: &[String]) -> bool {
        let mut walk = Walk { rules: self.rules, found: Vec::new() };
        let mut place = place.to_vec();
        place.push(String::from("*"));
        walk.compare(a, b, &mut place);
        walk.found.is_empty()
    }

    /// Every element has one of the other side that it is equal to, and none is used twice.
    fn are_equal_in_any_order(&self, old: &[Json], new: &[Json], place: &[String]) -> bool {
        if old.len() != new.len() {
            return false;
        }
        if old.len() > PAIRED_MAX {
            let sorted = |elements: &[Json]| {
                let mut texts: Vec<(String, Json)> = elements.iter().map(|e| (e.to_string(), e.clone())).collect();
                texts.sort_by(|a, b| a.0.cmp(&b.0));
                texts
            };
            return sorted(old).iter().zip(&sorted(new)).all(|(a, b)| self.is_pair_equal(&a.1, &b.1, place));
        }
        let fits: Vec<Vec<usize>> = old
            .iter()
            .map(|a| new.iter().enumerate().filter(|(_, b)| self.is_pair_equal(a, b, place)).map(|(j, _)| j).collect())
            .collect();
        let mut partner = vec![None; new.len()];
        (0..old.len()).all(|one| find_partner(one, &fits, &mut partner, &mut vec![false; new.len()]))
    }
}

/// Pairs one more element, moving others to where they fit as well.
fn find_partner(one: usize, fits: &[Vec<usize>], partner: &mut Vec<Option<usize>>, tried: &mut [bool]) -> bool {
    for other in fits.get(one).into_iter().flatten() {
        match tried.get_mut(*other) {
            Some(tried) if !*tried => *tried = true,
            _ => continue,
        }
        let taken_by = partner.get(*other).copied().flatten();
        if taken_by.is_none_or(|taken_by| find_partner(taken_by, fits, partner, tried)) {
            if let Some(place) = partner.get_mut(*other) {
                *place = Some(one);
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::super::rule::Rule;
    use super::*;

    fn rule(path: &str, kind: Kind, value: Option<&str>) -> Rule {
        let (owner, reason) = (String::from("ada"), String::from("known"));
        let expires = Some(date(2026, 12, 1));
        Rule { operation: None, path: path.into(), kind, value: value.map(Into::into), owner, reason, expires }
    }

    fn value(text: &str) -> Outcome {
        Outcome { value: Some(Json::parse(text).unwrap()), error: None }
    }

    fn verdict(old: &str, new: &str, rules: &[Rule]) -> Verdict {
        compare(&value(old), &value(new), &Rules::of(rules, "x", date(2026, 11, 23)))
    }

    fn at(places: &[&str]) -> Verdict {
        Verdict::Mismatch(places.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn places_are_told() {
        assert_eq!(verdict(r#"{"a":1.0,"b":[1,2]}"#, r#"{"b":[1.00,2e0],"a":1}"#, &[]), Verdict::Match);
        assert_eq!(
            verdict(r#"{"a":[{"p":1},{"p":2}],"c":1}"#, r#"{"a":[{"p":2},{"p":3}]}"#, &[]),
            at(&["/a/*/p", "/c"])
        );
        assert_eq!(verdict("[1]", "[1,2]", &[]), at(&[""]));
        let failed = Outcome { value: None, error: Some(String::from("Timeout")) };
        assert_eq!(compare(&failed, &failed, &Rules::default()), Verdict::Match);
        assert_eq!(compare(&failed, &value("1"), &Rules::default()), at(&["error"]));
    }

    #[test]
    fn rules_do_what_they_say() {
        let cents = rule("/lines/*/price", Kind::Absolute, Some("0.01"));
        let (old, new) = (r#"{"lines":[{"price":1.10}]}"#, r#"{"lines":[{"price":1.11}]}"#);
        assert_eq!(verdict(old, new, &[cents]), Verdict::Match);
        assert_eq!(verdict(old, new, &[rule("/lines", Kind::Ignore, None)]), Verdict::Ignored);
        assert_eq!(verdict(old, new, &[rule("/other", Kind::Ignore, None)]), at(&["/lines/*/price"]));
        assert_eq!(verdict("[1,2,3]", "[3,1,2]", &[rule("", Kind::AnyOrder, None)]), Verdict::Match);
        assert_eq!(verdict("[1,1,3]", "[3,1,3]", &[rule("", Kind::AnyOrder, None)]), at(&[""]));
        let near = [rule("", Kind::AnyOrder, None), rule("", Kind::Absolute, Some("1"))];
        // 2 could take 1 or 3; 1 fits only one of them.
        assert_eq!(verdict("[2,1]", "[1,3]", &near), Verdict::Match);
        assert_eq!(
            verdict(r#"" Ada ""#, r#""ada""#, &[rule("", Kind::Trim, None), rule("", Kind::IgnoreCase, None)]),
            Verdict::Match
        );
        let expired = Rule { expires: Some(date(2026, 11, 22)), ..rule("", Kind::Ignore, None) };
        assert_eq!(verdict("1", "2", &[expired]), at(&[""]));
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            (0..4_i32).prop_map(|n| n.to_string()),
            Just(String::from("\"a\"")),
            Just(String::from("\"A \"")),
            Just(String::from("null"))
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
                (inner.clone(), inner).prop_map(|(a, b)| format!("{{\"a\":{a},\"b\":{b}}}")),
            ]
        })
    }

    fn rules() -> impl Strategy<Value = Vec<Rule>> {
        let path = prop_oneof![Just(""), Just("/a"), Just("/*/b"), Just("/0")];
        let kind = prop_oneof![
            Just((Kind::Absolute, Some("1"))),
            Just((Kind::Relative, Some("0.5"))),
            Just((Kind::AnyOrder, None)),
            Just((Kind::Trim, None)),
            Just((Kind::IgnoreCase, None)),
            Just((Kind::Ignore, None)),
            Just((Kind::Redact, None)),
        ];
        prop::collection::vec((path, kind).prop_map(|(path, (kind, value))| rule(path, kind, value)), 0..4)
    }

    proptest! {
        #[test]
        fn a_value_matches_itself_and_sides_may_be_swapped(a in json(), b in json(), rules in rules()) {
            prop_assert_eq!(verdict(&a, &a, &rules), Verdict::Match);
            let (there, back) = (verdict(&a, &b, &rules), verdict(&b, &a, &rules));
            prop_assert_eq!(std::mem::discriminant(&there), std::mem::discriminant(&back));
        }

        #[test]
        fn one_more_rule_never_makes_a_mismatch(a in json(), b in json(), all in rules(), more in rules()) {
            let before = verdict(&a, &b, &all);
            let both: Vec<Rule> = all.into_iter().chain(more).collect();
            if !matches!(before, Verdict::Mismatch(_)) {
                prop_assert!(!matches!(verdict(&a, &b, &both), Verdict::Mismatch(_)));
            }
        }
    }
}
