//! Why a user is on a side: told without recording anything.

use changeover::change::Stage;
use changeover::flags::{Asked, Context, Evaluation, Flag, Snapshot, VersionedFlag};
use changeover::primitives::Instant;
use changeover::routing::{Peek, Side};
use serde_json::json;

use super::fixture::{Fixture, period, pilot_of, rollout_of};
use crate::support::each_database;

const DECEMBER: &str = "2026-12";

#[test]
fn what_is_told_before_the_first_question_is_what_it_then_answers() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let (pilot, router) = (pilot_of(&["12"], "old"), fixture.router());
        for user in ["11", "12", "21", "31", "404"] {
            let question = fixture.question(user, DECEMBER);
            let before = fixture.count("assignment");
            let told = router.explain(&pilot, &question).unwrap();
            assert_eq!(fixture.count("assignment"), before, "asking why records nothing");
            let answer = router.side_of_user(&pilot, &question).unwrap();
            assert_eq!((told.side, &told.group), (answer.side, &answer.group), "{user}: {told:?}");
            let after = router.explain(&pilot, &question).unwrap();
            assert_eq!(after.side, answer.side);
            assert_eq!(after.recorded.len(), usize::from(after.group.is_some()), "{user}: {after:?}");
        }
        let told = json!(router.explain(&pilot, &fixture.question("11", DECEMBER)).unwrap());
        assert_eq!(told["recorded"][0]["actor"], "ofrep");
        assert_eq!(told["recorded"][0]["flag_version"], 5);
        assert_eq!(
            (&told["group"], &told["rules"]["variant"]),
            (&json!("1"), &json!("new")),
            "by the group, not the user"
        );
    });
}

#[test]
fn what_is_recorded_is_told_beside_what_the_rules_say_by_now() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        fixture.assign(&rollout_of(0), DECEMBER).unwrap();
        fixture.move_group("1", DECEMBER, Side::New).unwrap();
        let (now, router) = (rollout_of(0), fixture.router());
        let told = router.explain(&now, &fixture.question("12", DECEMBER)).unwrap();
        assert_eq!((told.side, told.rules.unwrap().variant.unwrap().as_str()), (Side::New, "old"));
        let told: Vec<(String, &str)> = told
            .recorded
            .iter()
            .map(|event| (event.assignment.actor.clone(), event.assignment.reason.as_str()))
            .collect();
        assert_eq!(told[1], (String::from("ann"), "asked for it"));
        assert_eq!(told.len(), 2);
    });
}

#[test]
fn every_stage_and_a_closed_period_are_told_as_they_are_answered() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let (new, router) = (rollout_of(100_000), fixture.router());
        for stage in [Stage::Off, Stage::Shadow, Stage::Live, Stage::RampDown, Stage::Complete] {
            fixture.set_stage(stage);
            for (user, at) in [("11", "2027-01"), ("404", "2027-01"), ("21", "2026-10")] {
                fixture.close_before("2026-11");
                let question = fixture.question(user, at);
                let told = router.explain(&new, &question).unwrap();
                let answer = router.side_of_user(&new, &question).unwrap();
                assert_eq!(told.side, answer.side, "{stage} {user} {at}");
            }
        }
    });
}

#[test]
fn a_prerequisite_that_routes_is_asked_without_recording() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let routed = rollout_of(100_000).find_flag("billing-allocation").unwrap().flag().clone();
        let flag = json!({
            "key": "page", "type": "boolean", "variants": { "on": true, "off": false }, "default_variant": "on", "off_variant": "off",
            "prerequisites": [{ "flag": "billing-allocation", "variants": ["new"] }],
        });
        let flags = [Flag::parse(&flag.to_string()).unwrap(), routed].map(|flag| VersionedFlag { flag, version: 1 });
        let snapshot = Snapshot::build(1, Instant::from_micros(0), flags.to_vec(), Vec::new());
        let (router, at) = (fixture.router(), Instant::from_micros(3_000));
        let world = Peek { router: &router, snapshot: &snapshot, period: Some(period(DECEMBER)), at };
        let page = snapshot.find_flag("page").unwrap();
        for (user, variant) in [("11", "on"), ("404", "off")] {
            let context = Context::of(user);
            match snapshot.evaluate_in(page, Asked { context: &context, now: at }, &world) {
                Evaluation::Served(served) => assert_eq!(served.variant.name.as_str(), variant, "{user}"),
                Evaluation::Failed(failure) => panic!("{user}: {failure}"),
            }
        }
        assert_eq!(fixture.count("assignment"), 0);
    });
}
