//! What may happen while a period runs, and who is on which side then.

use std::sync::Barrier;

use changeover::change::Stage;
use changeover::routing::{self, Action, Because, RoutingError, Side, SideCounts, count_sides};

use super::fixture::{Fixture, group, period, pilot_of, rollout_of, snapshot};
use crate::support::each_database;

const DECEMBER: &str = "2026-12";

#[test]
fn a_period_is_opened_for_every_group_at_once() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let receipt = fixture.assign(&pilot_of(&["12", "404", "x"], "old"), DECEMBER).unwrap();
        assert_eq!(
            (receipt.groups, receipt.assigned_old, receipt.assigned_new, receipt.already_assigned),
            (2, 1, 1, 0)
        );
        let widened = &receipt.widened[0];
        assert_eq!((widened.users, widened.users_without_group, widened.groups), (3, 2, 1));
        assert_eq!(
            fixture.bill(DECEMBER),
            ["102:11:250:new:1", "102:12:250:new:1", "201:21:300:old:2", "202:21:7:old:2", "999:21:40:old:-"]
        );
        assert_eq!(fixture.bill("2026-11"), ["101:11:1001:old:1"], "another period is another assignment");

        let again = fixture.assign(&pilot_of(&[], "old"), DECEMBER).unwrap();
        assert_eq!((again.assigned_old, again.assigned_new, again.already_assigned), (0, 0, 2));
        let counts = count_sides(&mut fixture.connection(), &fixture.name).unwrap();
        assert_eq!(counts, [SideCounts { period: period(DECEMBER), old: 1, new: 1 }]);
    });
}

#[test]
fn a_slider_moved_after_assignment_changes_nothing_for_the_running_period() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        fixture.assign(&rollout_of(0), DECEMBER).unwrap();
        let before = fixture.bill(DECEMBER);
        fixture.assign(&rollout_of(100_000), DECEMBER).unwrap();
        let answer = fixture.router().side_of_user(&rollout_of(100_000), &fixture.question("11", DECEMBER)).unwrap();
        assert_eq!((answer.side, answer.because), (Side::Old, Because::Recorded));
        assert_eq!(fixture.bill(DECEMBER), before);

        let next = fixture.assign(&rollout_of(100_000), "2027-01").unwrap();
        assert_eq!((next.assigned_old, next.assigned_new), (0, 2), "the next period follows the slider");
    });
}

#[test]
fn a_cohort_removed_and_added_in_mid_period_changes_nothing() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let with = pilot_of(&["11"], "old");
        fixture.assign(&with, DECEMBER).unwrap();
        let before = fixture.bill(DECEMBER);
        let without = snapshot(&serde_json::json!([{ "cohort": "pilot", "serve": { "variant": "new" } }]), "old", None);
        for configuration in [&without, &pilot_of(&[], "old"), &with] {
            fixture.assign(configuration, DECEMBER).unwrap();
            let answer = fixture.router().side_of_user(configuration, &fixture.question("12", DECEMBER)).unwrap();
            assert_eq!(answer.side, Side::New);
            assert_eq!(fixture.bill(DECEMBER), before);
        }
    });
}

#[test]
fn members_of_one_group_are_never_split_whoever_asks_first() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        // Only user 12 is in the cohort, and user 11 asks first.
        let (pilot, router) = (pilot_of(&["12"], "old"), fixture.router());
        let first = router.side_of_user(&pilot, &fixture.question("11", DECEMBER)).unwrap();
        assert_eq!((first.side, first.because), (Side::New, Because::FirstQuestion));
        let second = router.side_of_user(&pilot, &fixture.question("12", DECEMBER)).unwrap();
        assert_eq!((second.side, second.because), (Side::New, Because::Recorded));
        assert_eq!(first.group, second.group);
        assert_eq!(fixture.count("assignment"), 1);
        assert_eq!(fixture.bill(DECEMBER)[..2], ["102:11:250:new:1", "102:12:250:new:1"]);
    });
}

#[test]
fn a_restart_forgets_nothing() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let first = fixture.router().side_of_user(&rollout_of(100_000), &fixture.question("21", DECEMBER)).unwrap();
        // A new router over a new pool, and by then the flag is gone altogether.
        let empty = changeover::flags::Snapshot::empty();
        let after = fixture.router().side_of_user(&empty, &fixture.question("21", DECEMBER)).unwrap();
        assert_eq!((first.side, after.side, after.because), (Side::New, Side::New, Because::Recorded));
    });
}

#[test]
fn servers_that_race_for_the_first_question_give_one_answer() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        for number in 0..12 {
            let at = format!("2027-{:02}", number % 12 + 1);
            let (new, old, barrier) = (rollout_of(100_000), rollout_of(0), Barrier::new(4));
            let sides: Vec<Side> = std::thread::scope(|scope| {
                let ask = |configuration| {
                    let (barrier, fixture, at) = (&barrier, &fixture, &at);
                    scope.spawn(move || {
                        let router = fixture.router();
                        barrier.wait();
                        router.side_of_user(configuration, &fixture.question("11", at)).unwrap().side
                    })
                };
                let threads = [ask(&new), ask(&old), ask(&new), ask(&old)];
                threads.map(|thread| thread.join().unwrap()).to_vec()
            });
            assert!(sides.iter().all(|side| *side == sides[0]), "{sides:?}");
        }
        assert_eq!(fixture.count("assignment"), 12);
    });
}

#[test]
fn a_user_who_moves_to_another_account_follows_its_side() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let (pilot, router) = (pilot_of(&["11"], "old"), fixture.router());
        fixture.assign(&pilot, DECEMBER).unwrap();
        assert_eq!(router.side_of_user(&pilot, &fixture.question("21", DECEMBER)).unwrap().side, Side::Old);
        let before = fixture.bill(DECEMBER);
        fixture.run("UPDATE memberships SET account_id = 1 WHERE user_id = 21");
        router.forget_groups();
        let answer = router.side_of_user(&pilot, &fixture.question("21", DECEMBER)).unwrap();
        assert_eq!((answer.side, answer.group), (Side::New, Some(group("1"))));
        assert_eq!(fixture.bill(DECEMBER), before, "charges stay with their groups");
    });
}

#[test]
fn a_group_without_charges_is_assigned_through_its_users() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let receipt = fixture.assign(&pilot_of(&["31"], "old"), DECEMBER).unwrap();
        assert_eq!((receipt.groups, receipt.assigned_new), (3, 1));
        fixture.run(
            "INSERT INTO charges (id, account_id, user_id, period, currency, amount_minor)
                 VALUES (301, 3, 31, '2026-12', 'EUR', 9);
             INSERT INTO charge_allocations VALUES (301, 31, 9)",
        );
        assert!(fixture.bill(DECEMBER).contains(&String::from("301:31:9:new:3")));
    });
}

#[test]
fn an_unknown_user_is_on_the_old_side_and_leaves_no_trace() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let router = fixture.router();
        for user in ["404", "", "abc", "1 OR 1=1", "' OR ''='", "99999999999999999999999", "11\0"] {
            let answer = router.side_of_user(&rollout_of(100_000), &fixture.question(user, DECEMBER)).unwrap();
            assert_eq!((answer.side, answer.group, answer.because), (Side::Old, None, Because::UnknownUser), "{user}");
        }
        assert_eq!(fixture.count("assignment"), 0);
    });
}

#[test]
fn before_live_everybody_is_on_the_old_side_and_nothing_is_recorded() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let all_new = rollout_of(100_000);
        for stage in [Stage::Off, Stage::DualWrite, Stage::Shadow] {
            fixture.set_stage(stage);
            let answer = fixture.router().side_of_user(&all_new, &fixture.question("11", DECEMBER)).unwrap();
            assert_eq!((answer.side, answer.because), (Side::Old, Because::StageBeforeLive { stage }));
            assert!(matches!(fixture.assign(&all_new, DECEMBER), Err(RoutingError::StageBeforeLive { .. })));
            assert!(matches!(fixture.move_group("1", DECEMBER, Side::New), Err(RoutingError::StageBeforeLive { .. })));
        }
        assert_eq!(fixture.count("assignment") + fixture.count("assignment_history"), 0);
    });
}

#[test]
fn a_move_takes_all_charges_of_the_group_and_can_be_taken_back() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let router = fixture.router();
        fixture.assign(&rollout_of(0), DECEMBER).unwrap();
        let before = fixture.bill(DECEMBER);
        let receipt = fixture.move_group("1", DECEMBER, Side::New).unwrap();
        assert_eq!(
            (receipt.before, receipt.after, receipt.moved, receipt.charges),
            (Some(Side::Old), Side::New, true, 1)
        );
        assert_eq!(fixture.bill(DECEMBER)[..2], ["102:11:250:new:1", "102:12:250:new:1"]);
        let asked = router.side_of_user(&rollout_of(0), &fixture.question("12", DECEMBER)).unwrap();
        assert_eq!(asked.side, Side::New, "a running server answers by the move at once");
        assert!(!fixture.move_group("1", DECEMBER, Side::New).unwrap().moved);
        fixture.move_group("1", DECEMBER, Side::Old).unwrap();
        assert_eq!(fixture.bill(DECEMBER), before);

        let events = routing::history(&mut fixture.connection(), &fixture.name, &group("1")).unwrap();
        let told: Vec<_> = events.iter().map(|event| (event.action, event.assignment.side)).collect();
        assert_eq!(told, [(Action::Assign, Side::Old), (Action::Move, Side::New), (Action::Move, Side::Old)]);
        assert_eq!((events[0].assignment.flag_version, events[2].assignment.flag_version), (Some(5), None));
        assert_eq!(events[2].assignment.reason, "asked for it");
    });
}

#[test]
fn a_move_without_an_assignment_makes_one() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let receipt = fixture.move_group("3", DECEMBER, Side::New).unwrap();
        assert_eq!((receipt.before, receipt.moved, receipt.charges), (None, true, 0));
        let events = routing::history(&mut fixture.connection(), &fixture.name, &group("3")).unwrap();
        assert_eq!(events.iter().map(|event| event.action).collect::<Vec<_>>(), [Action::Move]);
    });
}

#[test]
fn a_closed_period_is_final() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        fixture.assign(&pilot_of(&["11"], "old"), "2026-11").unwrap();
        let before = fixture.bill("2026-11");
        fixture.close_before(DECEMBER);
        assert!(matches!(fixture.move_group("1", "2026-11", Side::Old), Err(RoutingError::PeriodClosed { .. })));
        assert!(matches!(fixture.assign(&rollout_of(0), "2026-11"), Err(RoutingError::PeriodClosed { .. })));
        let router = fixture.router();
        let recorded = router.side_of_user(&rollout_of(0), &fixture.question("11", "2026-11")).unwrap();
        assert_eq!((recorded.side, recorded.because), (Side::New, Because::Recorded));
        let none = router.side_of_user(&rollout_of(100_000), &fixture.question("31", "2026-11")).unwrap();
        assert_eq!((none.side, none.because), (Side::Old, Because::PeriodClosed));
        assert_eq!(fixture.bill("2026-11"), before);
    });
}

#[test]
fn going_back_to_shadow_releases_what_is_open_and_keeps_what_is_closed() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let (all_new, router) = (rollout_of(100_000), fixture.router());
        fixture.assign(&all_new, "2026-11").unwrap();
        fixture.assign(&all_new, DECEMBER).unwrap();
        fixture.close_before(DECEMBER);
        let closed = fixture.bill("2026-11");
        assert_eq!(router.side_of_user(&all_new, &fixture.question("11", DECEMBER)).unwrap().side, Side::New);

        let released = routing::release(&mut fixture.connection(), &fixture.name, "ann", "wrong totals").unwrap();
        fixture.set_stage(Stage::Shadow);
        assert_eq!(released, 2);
        assert!(fixture.bill(DECEMBER).iter().all(|line| line.contains(":old:")), "{:?}", fixture.bill(DECEMBER));
        assert_eq!(fixture.bill("2026-11"), closed);
        assert_eq!(router.side_of_user(&all_new, &fixture.question("11", DECEMBER)).unwrap().side, Side::Old);
        assert_eq!(router.side_of_user(&all_new, &fixture.question("11", "2026-11")).unwrap().side, Side::New);

        // Live again: the running period stays as it was released, unless a group is moved; the next one follows the flag.
        fixture.set_stage(Stage::Live);
        assert_eq!(fixture.assign(&all_new, DECEMBER).unwrap().already_assigned, 2);
        assert_eq!(fixture.assign(&all_new, "2027-01").unwrap().assigned_new, 2);
        fixture.move_group("1", DECEMBER, Side::New).unwrap();
        let events = routing::history(&mut fixture.connection(), &fixture.name, &group("1")).unwrap();
        let december = events.iter().filter(|event| event.assignment.period == period(DECEMBER));
        let told: Vec<_> = december.map(|event| (event.action, event.assignment.side)).collect();
        assert_eq!(told, [(Action::Assign, Side::New), (Action::Release, Side::Old), (Action::Move, Side::New)]);
    });
}

#[test]
fn the_history_cannot_be_rewritten() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        fixture.move_group("1", DECEMBER, Side::New).unwrap();
        let history = changeover::sql::names::own(fixture.database.dialect(), "assignment_history");
        for attempt in [format!("DELETE FROM {history}"), format!("UPDATE {history} SET reason = 'x'")] {
            assert!(fixture.connection().batch(&attempt).unwrap_err().to_string().contains("append-only"), "{attempt}");
        }
    });
}

#[test]
fn a_charge_that_the_group_query_lists_twice_is_refused_and_still_billed_once() {
    each_database(|database| {
        let file = super::fixture::FILE.replace(
            "SELECT id AS charge_id, account_id AS group_id FROM charges;",
            "SELECT c.id AS charge_id, m.account_id AS group_id FROM charges c JOIN memberships m ON m.user_id = c.user_id",
        );
        let fixture = Fixture::with(database, "bigint", &file);
        fixture.run(
            "INSERT INTO memberships VALUES (1, 11), (2, 11);
             INSERT INTO charges (id, user_id, period, currency, amount_minor) VALUES (1, 11, '2026-12', 'EUR', 10);
             INSERT INTO charge_allocations VALUES (1, 11, 10)",
        );
        let refused = fixture.assign(&rollout_of(0), DECEMBER).unwrap_err().to_string();
        assert!(refused.contains("charge 1 into `1` and `2`"), "{refused}");
        for (one, two) in
            [(Side::Old, Side::Old), (Side::New, Side::Old), (Side::Old, Side::New), (Side::New, Side::New)]
        {
            fixture.move_group("1", DECEMBER, one).unwrap();
            fixture.move_group("2", DECEMBER, two).unwrap();
            assert_eq!(fixture.bill(DECEMBER).len(), 1, "{one} {two}");
        }
    });
}

#[test]
fn a_change_that_cannot_be_routed_says_what_is_missing() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let missing = fixture.assign(&changeover::flags::Snapshot::empty(), DECEMBER).unwrap_err();
        assert!(matches!(missing, RoutingError::FlagMissing { .. }));
        let (other, router) = (changeover::primitives::ChangeName::new("other").unwrap(), fixture.router());
        let question = routing::Question { change: &other, ..fixture.question("11", DECEMBER) };
        let unknown = router.side_of_user(&rollout_of(0), &question).unwrap_err();
        assert!(unknown.to_string().contains("change `other` is not installed"), "{unknown}");
        let wanted = routing::Move {
            group: &group("1"),
            period: period(DECEMBER),
            side: Side::New,
            actor: "ann",
            reason: " ",
            at: changeover::primitives::Instant::from_micros(0),
        };
        let silent = routing::move_group(&mut fixture.connection(), &fixture.change(), &wanted);
        assert!(matches!(silent, Err(RoutingError::NoReason)));
    });
}
