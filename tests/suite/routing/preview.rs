//! Who would move of a change's groups, and that a preview records nothing.

use std::sync::Arc;

use changeover::change::Stage;
use changeover::flags::{Context, Flag, Snapshot};
use changeover::primitives::Instant;
use changeover::routing::{Counted, Plan, Preview, Side};
use serde_json::json;

use super::fixture::{Fixture, group, pilot_of, rollout_of};
use crate::support::each_database;

const DECEMBER: &str = "2026-12";

fn flag_of(snapshot: &Snapshot) -> Flag {
    snapshot.find_flag("billing-allocation").unwrap().flag().clone()
}

/// The preview over all groups, or over these users.
fn preview(fixture: &Fixture, before: Snapshot, after: Flag, users: Option<&[&str]>) -> Preview {
    let plan = Plan::new(Arc::new(before), after, Instant::from_micros(0));
    let (app, mut counted) = (fixture.pool(), Counted::default());
    match users {
        Some(users) => {
            let users: Vec<Context> = users.iter().map(|user| Context::of(user)).collect();
            plan.count(&app, &mut counted, &users).unwrap();
        }
        None => plan.count_all_groups(&app, &mut counted).unwrap(),
    }
    plan.finish(&app, counted, Instant::parse("2026-12-10T12:00:00Z").unwrap()).unwrap()
}

#[test]
fn a_cohorts_users_are_widened_to_groups_and_the_preview_says_by_how_many() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        // User 12 brings the group of user 11 along; 404 has no group.
        let pilot = pilot_of(&["12", "31", "404"], "old");
        let preview =
            preview(&fixture, pilot_of(&["12", "31", "404"], "old"), flag_of(&pilot).with_enabled(false), None);
        assert_eq!((preview.unit, preview.subjects, preview.moving), ("group", 3, 2));
        let moved = &preview.moves[0];
        assert_eq!(
            (moved.from.as_str(), moved.to.as_str(), moved.samples.join(" ")),
            ("new", "old", String::from("1 3"))
        );
        let change = preview.change.unwrap();
        let widened = &change.widened[0];
        assert_eq!((widened.users, widened.users_without_group, widened.groups, widened.payers), (3, 1, 2, Some(2)));
        assert_eq!((change.stage, change.recorded_new, change.recorded_old), (Stage::Live, 0, 0));
        assert_eq!(fixture.count("assignment"), 0, "nothing is recorded");
    });
}

#[test]
fn whoever_is_recorded_stays_for_the_period() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        fixture.assign(&rollout_of(0), DECEMBER).unwrap();
        fixture.move_group("2", DECEMBER, Side::New).unwrap();
        let preview = preview(&fixture, rollout_of(0), flag_of(&rollout_of(100_000)), None);
        assert_eq!((preview.moving, preview.moves[0].recorded), (2, 2));
        let change = preview.change.unwrap();
        assert_eq!((change.recorded_old, change.recorded_new), (1, 1));
    });
}

#[test]
fn users_are_counted_as_the_groups_that_they_belong_to() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let users = ["11", "12", "21", "404"];
        let preview = preview(&fixture, rollout_of(0), flag_of(&rollout_of(100_000)), Some(&users));
        assert_eq!((preview.subjects, preview.moving), (2, 2));
        let change = preview.change.unwrap();
        assert_eq!((change.users, change.users_without_group), (4, 1));
    });
}

#[test]
fn what_is_previewed_for_all_groups_is_what_opening_the_period_records() {
    each_database(|database| {
        let fixture = Fixture::with_data(database);
        let charges: Vec<String> =
            (1000..1400).map(|number| format!("({number}, {number}, {number}, '2026-12', 'EUR', 5)")).collect();
        fixture.run(&format!(
            "INSERT INTO charges (id, account_id, user_id, period, currency, amount_minor) VALUES {}",
            charges.join(", ")
        ));
        let preview = preview(&fixture, rollout_of(0), flag_of(&rollout_of(30_000)), None);
        let receipt = fixture.assign(&rollout_of(30_000), DECEMBER).unwrap();
        assert_eq!(usize::try_from(preview.subjects).unwrap(), receipt.groups);
        assert_eq!(usize::try_from(preview.moving).unwrap(), receipt.assigned_new);
        for sample in &preview.moves[0].samples {
            let history =
                changeover::routing::history(&mut fixture.connection(), &fixture.name, &group(sample)).unwrap();
            assert_eq!(history[0].assignment.side, Side::New, "{sample}");
        }
        assert_eq!(json!(preview)["unit"], "group");
    });
}
