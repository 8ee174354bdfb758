//! Whatever the ids look like, a set answers exactly for them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Ids that share prefixes, widths and forms, and some of which have families of their own in a larger set.
const IDS: &str = "[0-9]{0,3}|-[0-9]{1,3}|0{1,4}[0-9]{1,2}|u-[0-9]{1,3}|u-0[0-9]{2}|[a-c]{0,3}|[a-f0-9]{32}|[A-F0-9]{8}-[0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9A-F]{12}|[0-9]{19,22}|\\PC{0,8}";

fn large() -> Vec<String> {
    let plain = (0..600).map(|n| n.to_string());
    let prefixed = (0..600).map(|n| format!("u-{n:03}"));
    plain.chain(prefixed).chain((0..300).map(|n| format!("-{n}"))).collect()
}

#[test]
fn ids_are_exact() {
    let upper = "550E8400-E29B-41D4-A716-446655440000";
    let members = ["7", "07", "user", "550e8400-e29b-41d4-a716-446655440000", "7", "", "-7", "user-0012", "-0"];
    let ids: CohortIds = members.into_iter().collect();
    assert_eq!(ids.len(), 8);
    for member in members {
        assert!(ids.contains(member), "{member}");
    }
    for other in ["+7", "007", "7.0", " 7", "User", upper, "use", "users", "0", "-07", "user-12", "user-012", "--7"] {
        assert!(!ids.contains(other), "{other}");
    }
}

#[test]
fn an_empty_cohort_has_nobody() {
    let ids = CohortIds::default();
    assert!(ids.is_empty() && !ids.contains("") && !ids.contains("0") && !ids.contains("a"));
    assert_eq!(CohortIds::from_bytes(&ids.to_bytes()).unwrap(), ids);
}

#[test]
fn a_million_ids_stay_small() {
    type Make = fn(u128) -> String;
    let kinds: [(&str, usize, Make); 6] = [
        ("decimals", 16, |n| (n * 7).to_string()),
        ("negative decimals", 16, |n| format!("-{}", n * 7)),
        ("padded", 16, |n| format!("user-{:014}", n * 7)),
        ("UUIDs", 40, |n| shape::uuid_text(1, n << 64 | n)),
        ("UUIDs in upper case", 40, |n| shape::uuid_text(2, n << 64 | n | 0xa)),
        ("texts", 32, |n| format!("{:x}", n * 0x9e37_79b9_7f4a_7c15 % (1 << 68)) + "@example"),
    ];
    for (kind, mebibytes, make) in kinds {
        let ids: CohortIds = (0..1_000_000).map(make).collect();
        assert_eq!(ids.len(), 1_000_000, "{kind}");
        assert!(ids.size_bytes() <= mebibytes << 20, "{kind}: {} bytes", ids.size_bytes());
        assert!((0..1_000_000).step_by(13).all(|n| ids.contains(&make(n))), "{kind}");
        assert!((1_000_000..1_020_000).all(|n| !ids.contains(&make(n))), "{kind}");
    }
}

#[test]
fn any_number_of_prefixes_is_fine() {
    let ids: Vec<String> = (0..40_000).map(|n| format!("name{}x-{}", n % 9_000, n / 9_000)).chain(large()).collect();
    let set: CohortIds = ids.iter().collect();
    assert_eq!(set.len(), ids.len());
    assert!(ids.iter().all(|id| set.contains(id)));
    assert!(!set.contains("name1x-9") && !set.contains("name9000x-0"));
}

proptest! {
    #[test]
    fn a_cohort_holds_exactly_its_ids(few in prop::collection::btree_set(IDS, 0..60), with_many: bool, others in prop::collection::vec(IDS, 60)) {
        let mut ids = few;
        if with_many {
            ids.extend(large());
        }
        let cohort: CohortIds = ids.iter().collect();
        prop_assert_eq!(cohort.len(), ids.len());
        prop_assert_eq!(cohort.iter().collect::<BTreeSet<_>>(), ids.clone());
        for id in ids.iter().chain(&others) {
            prop_assert_eq!(cohort.contains(id), ids.contains(id), "{}", id);
            let longer = format!("{id}0");
            prop_assert_eq!(cohort.contains(&longer), ids.contains(&longer));
        }
        let again = CohortIds::from_bytes(&cohort.to_bytes()).unwrap();
        prop_assert_eq!(again.iter().collect::<BTreeSet<_>>(), ids);
    }

    #[test]
    fn a_change_is_the_set_without_and_with(
        held in prop::collection::btree_set(IDS, 0..60),
        removed in prop::collection::btree_set(IDS, 0..60),
        added in prop::collection::btree_set(IDS, 0..20),
        with_many: bool,
    ) {
        let mut held = held;
        if with_many {
            held.extend(large());
        }
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
        let cohort = held.iter().collect::<CohortIds>().changed(&list(&removed), &list(&added));
        let wanted: BTreeSet<String> = held.difference(&removed).cloned().chain(added).collect();
        prop_assert_eq!(cohort.iter().collect::<BTreeSet<_>>(), wanted.clone());
        prop_assert!(wanted.iter().all(|id| cohort.contains(id)));
        prop_assert!(removed.iter().all(|id| cohort.contains(id) == wanted.contains(id)));
    }

    #[test]
    fn damaged_bytes_are_an_error_or_an_exact_set(ids in prop::collection::btree_set(IDS, 1..40), with_many: bool, at: prop::sample::Index, byte: u8, cut: bool) {
        let mut ids = ids;
        if with_many {
            ids.extend(large());
        }
        let mut bytes = ids.iter().collect::<CohortIds>().to_bytes();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        if let Ok(read) = CohortIds::from_bytes(&bytes) {
            let listed: Vec<String> = read.iter().collect();
            prop_assert_eq!(listed.len(), read.len());
            for id in &listed {
                prop_assert!(read.contains(id), "{}", id);
            }
            for id in &ids {
                prop_assert_eq!(read.contains(id), listed.contains(id), "{}", id);
            }
        }
    }
}
