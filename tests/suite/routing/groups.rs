//! Groups that merge and split, many moves and many questions at once, and who was where in the past.

use std::collections::BTreeSet;

use changeover::change::Stage;
use changeover::primitives::Instant;
use changeover::routing::{Asking, Because, BulkMove, RoutingError, Side, SplitOf, inherit, move_groups, side_at};
use serde_json::Value;

use super::fixture::{Fixture, group, period, pilot_of, rollout_of};
use crate::support::each_database;

const DECEMBER: &str = "2026-12";

/// Account 1 on the new side, account 2 on the old one, in November and December.
fn two_sides(fixture: &Fixture) {
    for month in ["2026-11", DECEMBER] {
        fixture.assign(&pilot_of(&["11"], "old"), month).unwrap();
    }
}

#[test]
fn an_account_merged_into_another_in_mid_period_is_billed_once_by_the_side_of_each_charges_account() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        two_sides(&fixture);
        let november = fixture.bill("2026-11");
        fixture.close_before(DECEMBER);
        // Account 1 is merged into account 2: its users move over, its charges so far keep the account that they were made for.
        fixture.run(
            "UPDATE memberships SET account_id = 2 WHERE account_id = 1;
             INSERT INTO charges (id, account_id, user_id, period, currency, amount_minor) VALUES (103, 2, 11, '2026-12', 'EUR', 90);
             INSERT INTO charge_allocations VALUES (103, 11, 30), (103, 12, 30), (103, 21, 30);",
        );
        let router = fixture.router();
        let answer = router.side_of_user(&pilot_of(&["11"], "old"), &fixture.question("11", DECEMBER)).unwrap();
        assert_eq!((answer.side, answer.group), (Side::Old, Some(group("2"))), "he is in account 2 now");
        assert_eq!(fixture.bill("2026-11"), november, "what was billed stays");
        assert_eq!(
            fixture.bill(DECEMBER),
            [
                "102:11:250:new:1",
                "102:12:250:new:1",
                "103:11:90:old:2",
                "201:21:300:old:2",
                "202:21:7:old:2",
                "999:21:40:old:-"
            ],
            "charges of account 1 by its side, the new one by that of account 2"
        );
        // Even if the application rewrites its charges they are on one side: that of the account that they have now.
        fixture.run("UPDATE charges SET account_id = 2 WHERE id = 102");
        assert_eq!(fixture.bill(DECEMBER)[0], "102:12:500:old:2");
        let told = |month: &str| {
            let asked = (Instant::from_micros(9_000), Some(period(month)));
            side_at(&mut fixture.connection(), &fixture.change(), &group("1"), asked).unwrap().side
        };
        assert_eq!(
            (told("2026-11"), told(DECEMBER)),
            (Side::New, Side::New),
            "what was recorded of account 1 can be read for ever"
        );
    });
}

#[test]
fn groups_that_come_out_of_a_split_inherit_its_side_when_they_are_told_to() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        two_sides(&fixture);
        fixture.run("UPDATE memberships SET account_id = 5 WHERE user_id = 12");
        let into = BTreeSet::from([group("5"), group("6")]);
        let split = |from: &str, reason: &'static str| {
            let from = group(from);
            let split = SplitOf {
                from: &from,
                into: &into,
                period: period(DECEMBER),
                actor: "ann",
                reason,
                at: Instant::from_micros(2_000),
            };
            inherit(&mut fixture.connection(), &fixture.change(), &split)
        };
        assert!(matches!(split("1", " "), Err(RoutingError::NoReason)));
        assert!(matches!(split("77", "x"), Err(RoutingError::NothingToInherit { .. })));
        let moves = split("1", "a subsidiary was founded").unwrap();
        assert!(moves.iter().all(|one| one.moved && one.after == Side::New && one.before.is_none()), "{moves:?}");
        let answer = fixture.router().side_of_user(&rollout_of(0), &fixture.question("12", DECEMBER)).unwrap();
        assert_eq!((answer.side, answer.because), (Side::New, Because::Recorded), "as he was told before the split");
        let asked = (Instant::from_micros(3_000), Some(period(DECEMBER)));
        let stood = side_at(&mut fixture.connection(), &fixture.change(), &group("5"), asked).unwrap();
        assert_eq!(stood.because.unwrap().assignment.reason, "split from group `1`: a subsidiary was founded");
    });
}

#[test]
fn who_was_on_which_side_at_a_time_survives_moves_releases_and_another_stage() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        two_sides(&fixture);
        fixture.move_group("2", DECEMBER, Side::New).unwrap();
        changeover::routing::release(&mut fixture.connection(), &fixture.name, "bob", "back to shadow").unwrap();
        fixture.set_stage(Stage::Shadow);
        let stood = |id: &str, micros: i64| {
            let asked = (Instant::from_micros(micros), Some(period(DECEMBER)));
            side_at(&mut fixture.connection(), &fixture.change(), &group(id), asked).unwrap()
        };
        assert_eq!((stood("2", 999).side, stood("2", 999).because), (Side::Old, None), "before anything was recorded");
        let first = stood("2", 1_000);
        let why = first.because.unwrap().assignment;
        assert_eq!((first.side, why.flag_version, why.actor.as_str()), (Side::Old, Some(5), "ann"));
        assert!(why.reason.contains("configuration 7"), "{}", why.reason);
        assert_eq!((stood("2", 2_000).side, first.since.len()), (Side::New, 2));
        let now = jiff::Timestamp::now().as_microsecond();
        let released = stood("2", now + 1);
        assert_eq!((released.side, released.before.len()), (Side::Old, 2));
        assert_eq!(released.because.unwrap().assignment.reason, "back to shadow");
    });
}

#[test]
fn many_groups_are_moved_at_once_after_a_preview_or_not_at_all() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        two_sides(&fixture);
        let groups = BTreeSet::from([group("1"), group("2"), group("3")]);
        let wanted = |reason: &'static str, at: &str| BulkMove {
            groups: &groups,
            period: period(at),
            side: Side::New,
            actor: "ann",
            reason,
            at: Instant::from_micros(2_000),
        };
        let preview = move_groups(&mut fixture.connection(), &fixture.change(), &wanted("", DECEMBER), true).unwrap();
        assert_eq!((preview.groups, preview.moved, preview.recorded, preview.already), (3, 1, 1, 1));
        assert_eq!(fixture.count("assignment_history"), 0, "a preview writes nothing");
        let refused = move_groups(&mut fixture.connection(), &fixture.change(), &wanted("", DECEMBER), false);
        assert!(matches!(refused, Err(RoutingError::NoReason)));
        let moved =
            move_groups(&mut fixture.connection(), &fixture.change(), &wanted("wave 2", DECEMBER), false).unwrap();
        assert_eq!((moved.moved, moved.recorded, fixture.count("assignment_history")), (1, 1, 2));
        let again =
            move_groups(&mut fixture.connection(), &fixture.change(), &wanted("wave 2", DECEMBER), false).unwrap();
        assert_eq!((again.already, fixture.count("assignment_history")), (3, 2));
        fixture.close_before("2027-01");
        let closed = move_groups(&mut fixture.connection(), &fixture.change(), &wanted("late", DECEMBER), false);
        assert!(matches!(closed, Err(RoutingError::PeriodClosed { .. })));
        let quarter = move_groups(&mut fixture.connection(), &fixture.change(), &wanted("late", "2026-Q4"), false);
        let told = quarter.unwrap_err().to_string();
        assert!(told.contains("`2026-Q4` is a quarter; write a month as YYYY-MM"), "{told}");
    });
}

#[test]
fn many_questions_are_answered_line_by_line_in_order_with_and_without_recording() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let mut lines: Vec<String> = Vec::new();
        for n in 0..2_500 {
            lines.push(match n % 5 {
                0 => String::from(r#"{"user":"11"}"#),
                1 => String::from(r#"{"user":"404"}"#),
                2 => String::from(r#"{"group":"2"}"#),
                3 => String::from("no question"),
                _ => format!(r#"{{"user":"{}"}}"#, "x".repeat(5_000)),
            });
        }
        let ask = |record: bool| -> Vec<Value> {
            let asking = Asking {
                change: &fixture.name,
                period: Some(period(DECEMBER)),
                actor: "bulk",
                at: Instant::from_micros(5_000),
                record,
            };
            let mut output = Vec::new();
            let asked = fixture
                .router()
                .ask_lines(&pilot_of(&["11"], "old"), asking, lines.join("\n").as_bytes(), &mut output)
                .unwrap();
            assert_eq!((asked.lines, asked.errors), (2_500, 1_000));
            String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let peeked = ask(false);
        assert_eq!((peeked.len(), fixture.count("assignment")), (2_500, 0), "nothing is recorded");
        assert_eq!((peeked[0]["side"].as_str(), peeked[0]["because"].as_str()), (Some("new"), Some("not_recorded")));
        assert_eq!((peeked[1]["side"].as_str(), peeked[1]["because"].as_str()), (Some("old"), Some("unknown_user")));
        assert!(peeked[3]["error"].as_str().unwrap().contains("not a question"), "{}", peeked[3]);
        assert!(peeked[4]["error"].as_str().unwrap().contains("longer than"), "{}", peeked[4]);
        let lines_told: Vec<u64> = peeked.iter().map(|answer| answer["line"].as_u64().unwrap()).collect();
        assert_eq!(lines_told, (1..=2_500).collect::<Vec<u64>>());
        let recorded = ask(true);
        assert_eq!((recorded[0]["because"].as_str(), fixture.count("assignment")), (Some("first_question"), 2));
        assert_eq!(recorded[2_495]["because"].as_str(), Some("recorded"));
        assert!(recorded.iter().zip(&peeked).all(|(one, other)| one["side"] == other["side"]));
    });
}
