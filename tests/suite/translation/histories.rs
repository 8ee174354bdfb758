//! Random histories: what old and new code may do, in any order; after each history both models agree.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use changeover::change::Stage;
use changeover::database::{DatabaseConnection, DatabaseError};

use super::fixture::{Installed, installed};
use crate::support::TestDatabase;

/// SplitMix64: the same history for the same seed.
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    fn amount(&mut self) -> i64 {
        match self.below(6) {
            0 => 0,
            1 => 1,
            2 => -1,
            3 => -(self.below(100_000) as i64),
            4 => self.below(4_000_000_000_000_000_000) as i64,
            _ => self.below(100_000) as i64,
        }
    }
}

/// The id of some existing row, as a subquery: the `nth` by id, whatever is there now.
fn some(table: &str, column: &str, nth: u64) -> String {
    format!(
        "(SELECT {column} FROM {table} ORDER BY {column} LIMIT 1 OFFSET (SELECT CASE WHEN count(*) = 0 THEN 0 ELSE {nth} % count(*) END FROM {table}))"
    )
}

/// One transaction of the application: its statements. `fresh` is an id that nobody else uses.
fn deed_of_old_code(random: &mut Random, fresh: u64) -> Vec<String> {
    let (one, other) = (random.below(1_000), random.below(1_000));
    let amount = random.amount();
    let period = if random.below(3) == 0 { "2026-10" } else { "2026-11" };
    let currency = if random.below(4) == 0 { "JPY" } else { "EUR" };
    let (user, video, charge) = (some("users", "id", one), some("videos", "id", one), some("charges", "id", one));
    let insert = "INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor, reverses_id)";
    match random.below(16) {
        0 => vec![format!("INSERT INTO users (id, name, company) VALUES ({fresh}, 'u{fresh}', NULL)")],
        1 | 2 => vec![format!(
            "INSERT INTO videos (id, user_id, title) SELECT {fresh}, {user}, 'v' WHERE EXISTS (SELECT 1 FROM users)"
        )],
        3..=5 => vec![format!(
            "{insert} SELECT {fresh}, v.user_id, v.id, '{period}', '{currency}', {amount}, NULL FROM videos v WHERE v.id = {video}"
        )],
        6 => vec![format!(
            "{insert} SELECT {fresh} + n.i, v.user_id, v.id, '{period}', '{currency}', {amount} / 7, NULL
            FROM videos v CROSS JOIN (SELECT 0 AS i UNION ALL SELECT 1 UNION ALL SELECT 2) n WHERE v.id = {video}"
        )],
        7 => vec![format!(
            "{insert} SELECT {fresh}, c.user_id, c.video_id, '{period}', c.currency, -c.amount_minor, c.id FROM charges c WHERE c.id = {charge}"
        )],
        8 => vec![format!("UPDATE charges SET amount_minor = {amount} WHERE id = {charge}")],
        9 => vec![format!(
            "UPDATE charges SET video_id = {}, currency = '{currency}' WHERE id = {charge}",
            some("videos", "id", other)
        )],
        10 => vec![format!("UPDATE videos SET user_id = {} WHERE id = {video}", some("users", "id", other))],
        11 => vec![
            format!("UPDATE charges SET reverses_id = NULL WHERE reverses_id = {charge}"),
            format!(
                "DELETE FROM charges WHERE id = {charge} AND NOT EXISTS (SELECT 1 FROM charges r WHERE r.reverses_id = charges.id)"
            ),
        ],
        12 => delete_videos(&format!("id = {video}")),
        13 => {
            let mut statements = vec![format!(
                "UPDATE charges SET user_id = (SELECT min(id) FROM users) WHERE user_id = {user} AND 1 < (SELECT count(*) FROM users)"
            )];
            statements.extend(delete_videos(&format!("user_id = {user}")));
            statements.push(format!("DELETE FROM users WHERE id = {user} AND NOT EXISTS (SELECT 1 FROM videos v WHERE v.user_id = users.id) AND NOT EXISTS (SELECT 1 FROM charges c WHERE c.user_id = users.id)"));
            statements
        }
        14 => vec![format!("UPDATE users SET company = 'Café {fresh}' WHERE id % 3 = {}", one % 3)],
        // A key of its own changes: nothing refers to it.
        _ => vec![format!(
            "UPDATE charges SET id = {fresh} WHERE id = {charge} AND reverses_id IS NULL AND NOT EXISTS (SELECT 1 FROM charges r WHERE r.reverses_id = charges.id)"
        )],
    }
}

fn delete_videos(condition: &str) -> Vec<String> {
    let videos = format!("SELECT id FROM videos WHERE {condition}");
    vec![
        format!(
            "UPDATE charges SET reverses_id = NULL WHERE reverses_id IN (SELECT id FROM charges WHERE video_id IN ({videos}))"
        ),
        format!("DELETE FROM charges WHERE video_id IN ({videos})"),
        format!("DELETE FROM videos WHERE {condition}"),
    ]
}

/// What code of the new model does: members join, leave, weigh differently, videos go to another account.
fn deed_of_new_code(random: &mut Random, stage: Stage) -> Vec<String> {
    let (one, other) = (random.below(1_000), random.below(1_000));
    let (account, user) = (some("accounts", "id", one), some("users", "id", other));
    let weight = random.below(4);
    // Before `live` nothing translates back, so links belong to the forward blocks alone.
    let kinds = if stage == Stage::Live { 5 } else { 4 };
    match random.below(kinds) {
        0 | 1 => vec![format!("INSERT INTO memberships (account_id, user_id, role, weight)
            SELECT {account}, {user}, 'member', {weight} WHERE EXISTS (SELECT 1 FROM accounts) ON CONFLICT (account_id, user_id) DO NOTHING")],
        2 => vec![format!("DELETE FROM memberships WHERE role = 'member' AND account_id = {account}")],
        3 => vec![format!("UPDATE memberships SET weight = {weight} WHERE account_id = {account}")],
        _ => vec![format!("UPDATE video_accounts SET account_id = {account} WHERE video_id = {} AND EXISTS (SELECT 1 FROM accounts)", some("videos", "id", other))],
    }
}

const NEW_TABLES: [&str; 4] = ["accounts", "memberships", "video_accounts", "charge_allocations"];

static RETRIES: AtomicU64 = AtomicU64::new(0);

/// Runs one transaction as an application would: once more if the database says so. A constraint of the application's own schema may
/// refuse a deed that lost a race; then nothing of it has happened.
fn act(connection: &mut DatabaseConnection, statements: &[String]) {
    let mut last = String::new();
    for attempt in 1..=50 {
        let outcome = connection.in_transaction::<_, DatabaseError>(|connection| {
            for statement in statements {
                connection.execute(statement, &[])?;
            }
            Ok(())
        });
        match outcome {
            Ok(()) => return,
            // As any application does: a victim that comes back at once meets the same transaction again.
            Err(error) if error.is_retryable() => {
                last = error.to_string();
                RETRIES.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(attempt * 2 + u64::from(std::process::id()) % 3));
            }
            Err(error) => {
                let text = error.to_string();
                let refused = text.contains("foreign key")
                    || text.contains("FOREIGN KEY")
                    || text.contains("duplicate key")
                    || text.contains("UNIQUE")
                    || text.contains("null value")
                    || text.contains("NOT NULL");
                assert!(refused && !text.contains("changeover"), "{text}\n{statements:#?}");
                // Old code must never be refused on account of the new model. SQLite does not name the table of a foreign key, but
                // its one writer loses no race either.
                let names_new = |text: &str| NEW_TABLES.iter().any(|table| text.contains(table));
                let is_old = !statements.iter().any(|statement| names_new(statement));
                assert!(!is_old || !(names_new(&text) || text.contains("FOREIGN KEY")), "{text}\n{statements:#?}");
                return;
            }
        }
    }
    panic!("fifty retries were not enough ({last}): {statements:#?}");
}

/// Runs `deeds` deeds and returns what was done. `after_each` looks at the database in between.
fn history(installed: &Installed, seed: u64, deeds: usize, after_each: &dyn Fn(&[Vec<String>])) -> Vec<Vec<String>> {
    let mut random = Random(seed);
    let mut connection = installed.connection();
    let mut told = Vec::new();
    for number in 0..deeds {
        let fresh = 10_000_000 + seed * 10_000 + number as u64 * 10;
        let statements = if random.below(4) == 0 {
            deed_of_new_code(&mut random, installed.stage)
        } else {
            deed_of_old_code(&mut random, fresh)
        };
        act(&mut connection, &statements);
        told.push(statements);
        after_each(&told);
    }
    told
}

fn two_hundred_histories(database: TestDatabase, stage: Stage) {
    let installed = installed(database, stage);
    for seed in 1..=200 {
        // After each deed, a failure names the deed; it takes ten times as long.
        let stepwise = std::env::var_os("CHANGEOVER_TEST_STEPWISE").is_some();
        let told = history(&installed, seed, 50, &|told| {
            if stepwise {
                installed
                    .assert_agrees(stage == Stage::Live, &|| format!("history {seed}, last deed: {:#?}", told.last()));
            }
        });
        installed.assert_agrees(stage == Stage::Live, &|| format!("history {seed}: {told:#?}"));
    }
}

#[test]
fn ten_thousand_deeds_leave_no_drift_on_sqlite_in_shadow() {
    two_hundred_histories(TestDatabase::sqlite(), Stage::Shadow);
}

#[test]
fn ten_thousand_deeds_leave_no_drift_on_sqlite_while_live() {
    two_hundred_histories(TestDatabase::sqlite(), Stage::Live);
}

#[test]
fn ten_thousand_deeds_leave_no_drift_on_postgres_in_shadow() {
    two_hundred_histories(TestDatabase::postgres(), Stage::Shadow);
}

#[test]
fn ten_thousand_deeds_leave_no_drift_on_postgres_while_live() {
    two_hundred_histories(TestDatabase::postgres(), Stage::Live);
}

#[test]
fn several_writers_at_once_leave_no_drift_on_postgres() {
    for stage in [Stage::Shadow, Stage::Live] {
        let installed = installed(TestDatabase::postgres(), stage);
        for round in 1..=100u64 {
            let told: Vec<_> = std::thread::scope(|scope| {
                let writers: Vec<_> = (0..4)
                    .map(|writer| {
                        let installed = &installed;
                        scope.spawn(move || history(installed, 1_000 + round * 4 + writer, 13, &|_| {}))
                    })
                    .collect();
                writers.into_iter().map(|writer| writer.join().unwrap()).collect()
            });
            installed.assert_agrees(stage == Stage::Live, &|| format!("{stage}, round {round}: {told:#?}"));
        }
        eprintln!("{stage}: {} deadlocks in 5,200 transactions", RETRIES.swap(0, Ordering::Relaxed));
    }
}
