//! What is loaded: the same for the same seed on both databases, with every shape that a billing table has.

use changeover::change::ChangeFile;
use changeover::cli::demo::Example;

use super::support::{load_cloud_costs, load_video_hosting, number, text};
use crate::support::{Finished, TestDatabase, changeover, each_database};

#[test]
fn generated_data_is_the_same_on_both_databases_and_for_every_run() {
    let mut sums = Vec::new();
    for database in [TestDatabase::sqlite(), TestDatabase::sqlite(), TestDatabase::postgres()] {
        let mut connection = database.connection();
        let loaded = load_video_hosting(&mut connection, 3_000, 42);
        assert_eq!((loaded.users, loaded.videos, loaded.charges), (150, 600, 3_000));
        sums.push(
            ["sum(amount_minor * (id % 1000))", "sum(user_id * id)", "sum(video_id * id)", "sum(reverses_id)"]
                .map(|sum| number(&mut connection, &format!("SELECT {sum} FROM charges"))),
        );
    }
    assert!(sums.windows(2).all(|pair| pair[0] == pair[1]), "{sums:?}");
}

#[test]
fn generated_data_has_every_shape_that_a_billing_table_has() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 4_000, 1);
        let mut count = |what: &str| number(&mut connection, &format!("SELECT count(*) FROM {what}"));
        assert_eq!(count("(SELECT DISTINCT currency FROM charges) c"), 4);
        assert_eq!(count("(SELECT DISTINCT period FROM charges) p"), 4);
        for some in [
            "charges WHERE amount_minor = 0",
            "charges WHERE amount_minor = 1",
            "charges WHERE amount_minor > 4294967296",
            "charges WHERE reverses_id IS NOT NULL AND amount_minor < 0",
            "charges WHERE currency = 'JPY' AND period = '2026-11'",
            "users WHERE company IS NULL",
            "users WHERE company = '東京動画株式会社'",
            "memberships WHERE role = 'member' AND weight > 1",
        ] {
            assert!(count(some) > 0, "{some}");
        }
        let wrong_refunds = "charges c JOIN charges o ON o.id = c.reverses_id WHERE c.amount_minor <> -o.amount_minor
             OR c.currency <> o.currency OR c.video_id <> o.video_id OR c.user_id <> o.user_id OR c.period < o.period
             OR o.reverses_id IS NOT NULL";
        assert_eq!(count(wrong_refunds), 0);
        let twice = "(SELECT reverses_id FROM charges WHERE reverses_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1) r";
        assert_eq!(count(twice), 0);
    });
}

#[test]
fn ids_are_minted_behind_the_loaded_ones() {
    each_database(|database| {
        let mut connection = database.connection();
        load_video_hosting(&mut connection, 1_000, 1);
        connection.batch("INSERT INTO users (name) VALUES ('next')").unwrap();
        assert_eq!(number(&mut connection, "SELECT id FROM users WHERE name = 'next'"), 51);
    });
}

#[test]
fn the_real_charges_are_exact_to_the_eleventh_decimal() {
    each_database(|database| {
        let mut connection = database.connection();
        let Some(loaded) = load_cloud_costs(&mut connection) else { return };
        assert_eq!((loaded.billing_accounts, loaded.sub_accounts, loaded.charges), (3, 73, 1_000));
        assert_eq!(number(&mut connection, "SELECT sum(amount) FROM charges"), 2_052_022_672_899);
        assert_eq!(number(&mut connection, "SELECT count(*) FROM charges WHERE amount = 0"), 329);
        assert_eq!(number(&mut connection, "SELECT count(*) FROM charges WHERE amount < 0"), 13);
        assert_eq!(number(&mut connection, "SELECT min(amount) FROM charges"), -261_370_000_000);
        let tagged = "SELECT count(*) FROM charges WHERE (tags ->> 'business_unit') IS NOT NULL";
        assert_eq!(number(&mut connection, tagged), 660);
        assert_eq!(text(&mut connection, "SELECT min(period) || ' ' || max(period) FROM charges"), "2024-09 2024-10");
    });
}

#[test]
fn both_change_files_can_be_read() {
    for example in [Example::VideoHosting, Example::CloudCosts] {
        let file = ChangeFile::parse(example.change_file());
        assert!(file.is_ok(), "{}: {file:?}", example.name());
    }
}

#[test]
fn an_example_is_never_loaded_over_something() {
    each_database(|database| {
        let load = || -> Finished {
            let arguments = ["--json", "demo", "load", "--charges", "100", "--database-url", database.url()];
            changeover().args(arguments).run()
        };
        let first = load().expect_code(0);
        assert_eq!(first.json()["charges"], 100);
        let second = load().expect_code(2);
        assert!(second.stderr.contains("already has a table `users`"), "{second}");
    });
}
