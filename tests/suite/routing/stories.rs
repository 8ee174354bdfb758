//! What happens to accounts while a period runs, on the real example with its own translation: nobody is billed twice, and nobody is left out.

use changeover::change::{Allocation, ChangeFile, Stage};
use changeover::cli::demo::Example;
use changeover::database::{DatabaseConnection, Dialect};
use changeover::flags::Snapshot;
use changeover::primitives::Instant;
use changeover::report::{RunOptions, run};
use changeover::routing::{Assigning, GroupId, Move, RoutedChange, Side, Wish, assign, change_stage, move_group};
use changeover::sql::effective;
use changeover::sql::model::ChangeModel;
use changeover::sql::names::own;
use changeover::store::Store;
use changeover::translation::{
    BackfillOptions, Deed, VerifyOptions, backfill, install, own as installed, resolve, update, verify,
};

use super::fixture::{period, pilot_of};
use crate::examples::support::number;
use crate::support::{TestDatabase, each_database};

const OCTOBER: &str = "2026-10";
const NOVEMBER: &str = "2026-11";
const DECEMBER: &str = "2026-12";

/// Ann, Ben and Cleo, each with an account of their own and a video in it, whose number is theirs. The change is live.
struct Town {
    database: TestDatabase,
    store: Store,
    model: ChangeModel,
    charges: i64,
}

impl Town {
    fn new(database: TestDatabase) -> Self {
        let mut connection = database.connection();
        connection.batch(Example::VideoHosting.schema(database.dialect())).unwrap();
        connection
            .batch(
                "INSERT INTO users (id, name) VALUES (1, 'ann'), (2, 'ben'), (3, 'cleo');
                 INSERT INTO videos (id, user_id, title) VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c');
                 INSERT INTO periods (period) VALUES ('2026-10'), ('2026-11'), ('2026-12')",
            )
            .unwrap();
        let file = ChangeFile::parse(Example::VideoHosting.change_file()).unwrap();
        let model = resolve(&mut connection, &file).unwrap();
        install(&mut connection, &model, &file, deed()).unwrap();
        let store = Store::open(database.database()).unwrap();
        let town = Self { database, store, model, charges: 100 };
        town.stage(Stage::DualWrite);
        backfill(&mut connection, &town.model, BackfillOptions::default(), &mut |_, _, _| true).unwrap();
        town.stage(Stage::Shadow);
        town.stage(Stage::Live);
        town
    }

    fn connection(&self) -> DatabaseConnection {
        self.database.connection()
    }

    fn run(&self, sql: &str) {
        self.connection().batch(sql).unwrap();
    }

    fn stage(&self, to: Stage) {
        let mut connection = self.connection();
        let change = installed::get_change(&mut connection, &self.model.name).unwrap();
        let wish = Wish { to, deed: deed(), force: true, restore: None };
        assert!(change_stage(&self.store, &mut connection, &change, wish).unwrap().moved);
    }

    /// Opens a period by the flag as it is.
    fn assign(&self, snapshot: &Snapshot, at: &str) {
        let mut connection = self.connection();
        let change = RoutedChange::get(&mut connection, &self.model.name).unwrap();
        let assigning = Assigning { period: period(at), actor: "ann", at: now() };
        assign(&mut connection, &change, snapshot, &assigning).unwrap();
    }

    fn move_account(&self, owner: i64, at: &str, side: Side) {
        let mut connection = self.connection();
        let change = RoutedChange::get(&mut connection, &self.model.name).unwrap();
        let group = GroupId::new(&self.account(owner).to_string()).unwrap();
        let wanted = Move { group: &group, period: period(at), side, actor: "ann", reason: "asked for it", at: now() };
        move_group(&mut connection, &change, &wanted).unwrap();
    }

    /// Closes every period before this one, here and in the application.
    fn close_before(&self, open: &str) {
        let name = &self.model.name;
        self.connection()
            .in_transaction(|connection| {
                connection.batch(&format!("UPDATE periods SET closed = true WHERE period < '{open}'"))?;
                installed::close_before(connection, name, open, deed())
            })
            .unwrap();
    }

    fn account(&self, owner: i64) -> i64 {
        number(&mut self.connection(), &format!("SELECT id FROM accounts WHERE owner_id = {owner}"))
    }

    /// Old code charges a video's user.
    fn charge(&mut self, video: i64, at: &str, amount: i64) -> i64 {
        self.write(video, at, amount, "NULL")
    }

    fn refund(&mut self, of: i64, at: &str) -> i64 {
        let sql = |column: &str| format!("SELECT {column} FROM charges WHERE id = {of}");
        let (video, amount) =
            (number(&mut self.connection(), &sql("video_id")), number(&mut self.connection(), &sql("amount_minor")));
        self.write(video, at, -amount, &of.to_string())
    }

    fn write(&mut self, video: i64, at: &str, amount: i64, reverses: &str) -> i64 {
        self.charges += 1;
        let id = self.charges;
        self.run(&format!(
            "INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor, reverses_id)
             SELECT {id}, user_id, id, '{at}', 'EUR', {amount}, {reverses} FROM videos WHERE id = {video}"
        ));
        id
    }

    fn joins(&self, user: i64, owner: i64) {
        self.run(&format!("INSERT INTO memberships (account_id, user_id) VALUES ({}, {user})", self.account(owner)));
    }

    fn leaves(&self, user: i64, owner: i64) {
        self.run(&format!("DELETE FROM memberships WHERE account_id = {} AND user_id = {user}", self.account(owner)));
    }

    fn video_goes_to(&self, video: i64, owner: i64) {
        self.run(&format!("UPDATE video_accounts SET account_id = {} WHERE video_id = {video}", self.account(owner)));
    }

    /// What a charge's bill says: `ann 450, ben 450: new`. Looks at everything else as well: each charge is billed once and in full, both
    /// models agree with what derives them, and finance finds nothing wrong.
    fn bill(&self, charge: i64) -> String {
        self.assert_everything_is_billed_once();
        let view = own(self.database.dialect(), "effective_allocation");
        let sql = format!(
            "SELECT u.name AS payer, CAST(e.amount AS BIGINT) AS amount, e.side AS side FROM {view} e JOIN users u ON u.id = e.payer
             WHERE e.charge_id = {charge} ORDER BY u.name"
        );
        let rows = self.connection().query(&sql, &[]).unwrap();
        let parts: Vec<String> = rows
            .iter()
            .map(|row| format!("{} {}", row.text("payer").unwrap(), row.integer("amount").unwrap()))
            .collect();
        format!("{}: {}", parts.join(", "), rows[0].text("side").unwrap())
    }

    fn assert_everything_is_billed_once(&self) {
        let view = own(self.database.dialect(), "effective_allocation");
        let wrong = format!(
            "SELECT count(*) FROM charges c LEFT JOIN (SELECT charge_id, sum(amount) AS amount, count(DISTINCT side) AS sides
               FROM {view} GROUP BY charge_id) e ON e.charge_id = c.id
             WHERE e.charge_id IS NULL OR e.amount <> c.amount_minor OR e.sides <> 1"
        );
        let mut connection = self.connection();
        assert_eq!(number(&mut connection, &wrong), 0, "billed twice, in part or not at all");
        let found = verify(&mut connection, &self.model, VerifyOptions::default(), &mut |_, _| {}).unwrap();
        assert_eq!(found.iter().map(|block| block.drift()).sum::<u64>(), 0, "{found:#?}");
        let options = RunOptions { exceptions_max: 20, movers_max: 5, ..RunOptions::of(now(), "test") };
        let report = run(&mut connection, &self.store, &self.model.name, &options, &mut |_, _| true).unwrap();
        assert!(report.data.clean, "{:#?}", report.data.comparison.exceptions);
    }
}

fn deed() -> Deed<'static> {
    Deed { actor: "test", at: now(), reason: "a story" }
}

fn now() -> Instant {
    jiff::Timestamp::now().into()
}

/// Ann's account is on the new side, everybody else's on the old one.
fn ann_is_new() -> Snapshot {
    pilot_of(&["1"], "old")
}

#[test]
fn a_member_who_joins_in_mid_period_shares_what_is_open_and_nothing_that_is_closed() {
    each_database(|database| {
        let mut town = Town::new(database);
        town.assign(&ann_is_new(), OCTOBER);
        town.assign(&ann_is_new(), NOVEMBER);
        let (october, november) = (town.charge(1, OCTOBER, 700), town.charge(1, NOVEMBER, 901));
        town.close_before(NOVEMBER);
        assert_eq!(town.bill(november), "ann 901: new");
        town.joins(2, 1);
        assert_eq!(town.bill(november), "ann 451, ben 450: new", "one unit more for whom it was charged");
        assert_eq!(town.bill(october), "ann 700: new", "he was no member in October");
        let bens_own = town.charge(2, NOVEMBER, 300);
        assert_eq!(town.bill(bens_own), "ben 300: old", "his own account is another matter");
    });
}

#[test]
fn a_member_who_leaves_in_mid_period_leaves_what_is_open_to_the_others() {
    each_database(|database| {
        let mut town = Town::new(database);
        town.joins(2, 1);
        town.assign(&ann_is_new(), OCTOBER);
        town.assign(&ann_is_new(), NOVEMBER);
        let (october, november) = (town.charge(1, OCTOBER, 700), town.charge(1, NOVEMBER, 900));
        town.close_before(NOVEMBER);
        town.leaves(2, 1);
        assert_eq!(town.bill(october), "ann 350, ben 350: new", "he was there in October");
        assert_eq!(town.bill(november), "ann 900: new");
    });
}

#[test]
fn an_account_merged_into_another_in_mid_period_is_billed_by_the_side_of_the_one_that_remains() {
    each_database(|database| {
        let mut town = Town::new(database);
        town.assign(&ann_is_new(), OCTOBER);
        town.assign(&ann_is_new(), NOVEMBER);
        let (october, november) = (town.charge(2, OCTOBER, 700), town.charge(2, NOVEMBER, 900));
        town.close_before(NOVEMBER);
        assert_eq!(
            (town.bill(october), town.bill(november)),
            (String::from("ben 700: old"), String::from("ben 900: old"))
        );
        // Ben's account is merged into Ann's: he becomes a member there, and his video goes with him.
        town.joins(2, 1);
        town.video_goes_to(2, 1);
        assert_eq!(town.bill(november), "ann 450, ben 450: new");
        assert_eq!(town.bill(october), "ben 700: old", "October was billed in his own account");
        let later = town.charge(2, NOVEMBER, 100);
        assert_eq!(town.bill(later), "ann 50, ben 50: new");
    });
}

#[test]
fn a_user_moved_between_accounts_in_mid_period_pays_where_he_is_now() {
    each_database(|database| {
        let mut town = Town::new(database);
        town.joins(3, 1);
        town.assign(&ann_is_new(), NOVEMBER);
        let (anns, bens) = (town.charge(1, NOVEMBER, 900), town.charge(2, NOVEMBER, 600));
        assert_eq!(
            (town.bill(anns), town.bill(bens)),
            (String::from("ann 450, cleo 450: new"), String::from("ben 600: old"))
        );
        town.leaves(3, 1);
        town.joins(3, 2);
        assert_eq!(town.bill(anns), "ann 900: new");
        assert_eq!(town.bill(bens), "ben 600: old", "Ben's account is on the old side: Cleo is not billed there yet");
        town.move_account(2, NOVEMBER, Side::New);
        assert_eq!(town.bill(bens), "ben 300, cleo 300: new");
    });
}

#[test]
fn a_video_moved_to_another_account_in_mid_period_is_billed_there_once() {
    each_database(|database| {
        let mut town = Town::new(database);
        town.assign(&ann_is_new(), NOVEMBER);
        let charge = town.charge(1, NOVEMBER, 900);
        town.video_goes_to(1, 2);
        assert_eq!(
            town.bill(charge),
            "ann 900: old",
            "Ben's account is on the old side, where whoever was charged pays"
        );
        town.video_goes_to(1, 1);
        assert_eq!(town.bill(charge), "ann 900: new");
        // Old code gives the video to Cleo.
        town.run("UPDATE videos SET user_id = 3 WHERE id = 1");
        assert_eq!(town.bill(charge), "ann 900: old", "old code has charged Ann, and that stands");
    });
}

#[test]
fn a_cohort_changed_and_changed_back_in_mid_period_moves_nobody() {
    each_database(|database| {
        let mut town = Town::new(database);
        town.joins(2, 1);
        town.assign(&ann_is_new(), NOVEMBER);
        let charge = town.charge(1, NOVEMBER, 900);
        let before = town.bill(charge);
        for cohort in [&["3"][..], &[], &["1", "3"], &["1"]] {
            town.assign(&pilot_of(cohort, "old"), NOVEMBER);
            let later = town.charge(1, NOVEMBER, 100);
            assert_eq!((town.bill(charge), town.bill(later)), (before.clone(), String::from("ann 50, ben 50: new")));
        }
        assert_eq!(before, "ann 450, ben 450: new");
    });
}

#[test]
fn a_change_that_goes_back_and_comes_again_in_mid_period_bills_each_charge_once() {
    each_database(|database| {
        let mut town = Town::new(database);
        town.joins(2, 1);
        town.assign(&ann_is_new(), OCTOBER);
        town.assign(&ann_is_new(), NOVEMBER);
        let (october, november) = (town.charge(1, OCTOBER, 700), town.charge(1, NOVEMBER, 900));
        town.close_before(NOVEMBER);
        town.stage(Stage::Shadow);
        assert_eq!(town.bill(november), "ann 900: old");
        assert_eq!(town.bill(october), "ann 350, ben 350: new", "what was billed stays");
        let meanwhile = town.charge(1, NOVEMBER, 100);
        town.stage(Stage::Live);
        town.assign(&ann_is_new(), NOVEMBER);
        assert_eq!(
            (town.bill(november), town.bill(meanwhile)),
            (String::from("ann 900: old"), String::from("ann 100: old"))
        );
        town.move_account(1, NOVEMBER, Side::New);
        assert_eq!(town.bill(november), "ann 450, ben 450: new", "once somebody says so");
    });
}

#[test]
fn a_refund_after_the_members_have_changed_gives_back_to_those_who_paid() {
    each_database(|database| {
        let mut town = Town::new(database);
        town.joins(2, 1);
        town.assign(&ann_is_new(), OCTOBER);
        town.assign(&ann_is_new(), NOVEMBER);
        let charge = town.charge(1, OCTOBER, 901);
        town.close_before(NOVEMBER);
        town.leaves(2, 1);
        town.joins(3, 1);
        let refund = town.refund(charge, NOVEMBER);
        assert_eq!(town.bill(charge), "ann 451, ben 450: new");
        assert_eq!(town.bill(refund), "ann -451, ben -450: new");
    });
}

#[test]
fn a_refund_takes_the_side_of_what_it_reverses_whichever_side_its_account_is_on_now() {
    each_database(|database| {
        let mut town = Town::new(database);
        town.joins(2, 1);
        // In October the old model billed Ann alone; from November on her account is on the new side.
        town.assign(&pilot_of(&[], "old"), OCTOBER);
        town.assign(&ann_is_new(), NOVEMBER);
        town.assign(&pilot_of(&[], "old"), DECEMBER);
        let october = town.charge(1, OCTOBER, 900);
        town.close_before(NOVEMBER);
        let refund = town.refund(october, NOVEMBER);
        assert_eq!(
            (town.bill(october), town.bill(refund)),
            (String::from("ann 900: old"), String::from("ann -900: old"))
        );
        // And back: what November billed to both is given back to both, though December is billed by the old model again.
        let november = town.charge(1, NOVEMBER, 500);
        town.close_before(DECEMBER);
        let refund = town.refund(november, DECEMBER);
        assert_eq!(town.bill(november), "ann 250, ben 250: new");
        assert_eq!(town.bill(refund), "ann -250, ben -250: new");
        let december = town.charge(1, DECEMBER, 100);
        assert_eq!(town.bill(december), "ann 100: old");
    });
}

/// The view of an earlier version knew of no refunds. What somebody has built on it, and may read of it, stays.
#[test]
fn an_installation_of_an_earlier_version_bills_refunds_rightly_once_it_is_updated() {
    each_database(|database| {
        let mut town = Town::new(database);
        town.joins(2, 1);
        town.assign(&pilot_of(&[], "old"), OCTOBER);
        town.assign(&ann_is_new(), NOVEMBER);
        let charge = town.charge(1, OCTOBER, 900);
        town.close_before(NOVEMBER);
        let refund = town.refund(charge, NOVEMBER);
        let (dialect, mut connection) = (town.database.dialect(), town.connection());
        let file = ChangeFile::parse(Example::VideoHosting.change_file()).unwrap();
        let earlier = Allocation { reverses: None, ..file.allocation.clone().unwrap() };
        for sql in effective::drop(dialect).into_iter().chain(effective::create(dialect, &town.model.name, &earlier)) {
            connection.batch(&sql).unwrap();
        }
        let view = own(dialect, "effective_allocation");
        town.run(&format!("CREATE VIEW bills AS SELECT payer, amount, charge_id, side FROM {view}"));
        if dialect == Dialect::Postgres {
            town.run(&format!("GRANT SELECT ON {view} TO PUBLIC"));
        }
        let new = format!("SELECT count(*) FROM bills WHERE charge_id = {refund} AND side = 'new'");
        assert_eq!(number(&mut connection, &new), 2, "by the side that the account is on now");
        update(&mut connection, &town.model, &file, deed()).unwrap();
        assert_eq!(town.bill(refund), "ann -900: old");
        assert_eq!(number(&mut connection, &new), 0);
        if dialect == Dialect::Postgres {
            let sql = "SELECT count(*) FROM information_schema.role_table_grants WHERE grantee = 'PUBLIC' AND table_name = 'effective_allocation'";
            assert_eq!(number(&mut connection, sql), 1);
        }
    });
}

/// A fault that neither model shows: the account that a closed charge is filed under decides its side.
#[test]
fn a_closed_charge_that_changes_sides_is_told() {
    each_database(|database| {
        let mut town = Town::new(database);
        town.joins(2, 1);
        town.assign(&ann_is_new(), OCTOBER);
        town.assign(&ann_is_new(), NOVEMBER);
        let charge = town.charge(1, OCTOBER, 900);
        town.close_before(NOVEMBER);
        assert_eq!(town.bill(charge), "ann 450, ben 450: new");
        town.run(&format!("UPDATE charge_allocations SET account_id = {} WHERE charge_id = {charge}", town.account(3)));
        let options = RunOptions { exceptions_max: 20, movers_max: 5, ..RunOptions::of(now(), "test") };
        let report = run(&mut town.connection(), &town.store, &town.model.name, &options, &mut |_, _| true).unwrap();
        let found: Vec<(String, &str)> = report
            .data
            .comparison
            .exceptions
            .iter()
            .map(|line| (line.charge_id.clone(), line.class.as_str()))
            .collect();
        assert_eq!(found, [(charge.to_string(), "frozen_changed")]);
    });
}
