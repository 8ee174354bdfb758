//! A database that is restored to an earlier state: memory never goes back silently, and versions go on growing for everybody.

use changeover::primitives::{Dialect, FlagKey, Instant};
use changeover::store::audit::{self, Verdict};
use changeover::store::{Memory, Origin, PageRequest, Store, flags, state};

use super::fixture::wait_until;
use crate::support::{TestDatabase, each_database};

const ORIGIN: Origin<'static> = Origin { actor: "ada", reason: "a test" };

fn create(store: &Store, key: &str) -> i64 {
    let flag = super::fixture::flag(key, "a").to_string();
    store.write(|conn| flags::create(conn, &FlagKey::new(key).unwrap(), &flag, ORIGIN)).unwrap().version
}

/// What a restore from a backup that was taken after the first flag leaves.
fn set_back(database: &TestDatabase) {
    database
        .connection()
        .batch(
            "DELETE FROM svc_changeover_flags WHERE key <> 'first';
             UPDATE svc_changeover_state SET config_version = 1",
        )
        .unwrap();
}

#[test]
fn a_restored_database_is_followed_under_versions_that_nobody_has_seen() {
    each_database(|database| {
        let store = Store::open(database.database()).unwrap();
        create(&store, "first");
        let (one, other) = (Memory::load(store.clone()).unwrap(), Memory::load(store.clone()).unwrap());
        let served = (0..5).map(|nth| create(&store, &format!("lost-{nth}"))).max().unwrap();
        one.refresh().unwrap();
        other.refresh().unwrap();
        let epoch = store.read(state::versions).unwrap().epoch;
        set_back(&database);
        assert!(!one.refresh().unwrap());
        assert_eq!((one.snapshot().version(), one.behind().unwrap().version), (served, 1), "it does not go back");
        assert!(one.snapshot().find_flag("lost-0").is_some());
        let confirmed_at = one.confirmed_at();
        one.refresh().unwrap();
        assert_eq!(one.confirmed_at(), confirmed_at, "and it is not confirmed");
        wait_until("it follows", || one.refresh().unwrap());
        wait_until("so does the other server", || other.refresh().unwrap());
        for memory in [&one, &other] {
            assert!(memory.snapshot().version() > served, "{}", memory.snapshot().version());
            assert!(memory.snapshot().find_flag("lost-0").is_none() && memory.snapshot().find_flag("first").is_some());
            assert!(memory.behind().is_none());
        }
        assert_eq!(one.snapshot().digest(), other.snapshot().digest());
        assert_ne!(store.read(state::versions).unwrap().epoch, epoch);
        assert!(create(&store, "next") > served, "the versions of later writes are new to everybody");
        assert!(matches!(store.read(audit::verify).unwrap(), Verdict::Whole { .. }));
        let wanted = audit::Filter { subject: Some(String::from("database")), ..audit::Filter::default() };
        let rows = store.read(|conn| audit::list(conn, &wanted, &PageRequest { after: None, limit: None }));
        assert_eq!(rows.unwrap().items.len(), 1, "it is recorded once");
    });
}

#[test]
fn a_restore_that_has_not_ended_is_waited_for() {
    let database = TestDatabase::new(Dialect::Postgres);
    let store = Store::open(database.database()).unwrap();
    create(&store, "first");
    create(&store, "second");
    let memory = Memory::load(store.clone()).unwrap();
    database
        .connection()
        .batch("ALTER TABLE svc_changeover_flag_versions DROP CONSTRAINT svc_changeover_flag_versions_pkey")
        .unwrap();
    set_back(&database);
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_secs(4) {
        assert!(!memory.refresh().unwrap());
        assert!(memory.behind().unwrap().reason.contains("restore"));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(memory.snapshot().version(), 2);
    database.connection().batch("ALTER TABLE svc_changeover_flag_versions ADD PRIMARY KEY (key, version)").unwrap();
    wait_until("it follows", || memory.refresh().unwrap());
    assert!(memory.snapshot().version() > 2 && memory.snapshot().find_flag("second").is_none());
}

#[test]
fn another_database_with_the_same_versions_is_another_truth() {
    each_database(|database| {
        let store = Store::open(database.database()).unwrap();
        create(&store, "first");
        let memory = Memory::load(store.clone()).unwrap();
        database
            .connection()
            .batch("DELETE FROM svc_changeover_flags; UPDATE svc_changeover_state SET epoch = 'another'")
            .unwrap();
        assert!(!memory.refresh().unwrap(), "the same version of another history is not taken for ours");
        wait_until("it follows", || memory.refresh().unwrap());
        assert!(memory.snapshot().version() > 1 && memory.snapshot().find_flag("first").is_none());
        assert_eq!(store.read(state::versions).unwrap().epoch, "another");
    });
}

#[test]
fn freshness_is_by_the_last_confirmation() {
    let database = TestDatabase::sqlite();
    let memory = Memory::load(Store::open(database.database()).unwrap()).unwrap();
    let at = memory.confirmed_at();
    let later = |seconds: i64| Instant::from_micros(at.as_micros() + seconds * 1_000_000);
    assert!(!memory.freshness(at).is_stale && !memory.freshness(later(4)).is_stale);
    let stale = memory.freshness(later(6));
    assert!(stale.is_stale && stale.age.as_secs() == 6 && stale.confirmed_at == at);
    assert!(!memory.freshness(later(-60)).is_stale, "a clock that was set back says nothing");
}
