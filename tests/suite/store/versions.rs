//! Flags and their history, the audit log, tokens, and the memory that follows them.

use changeover::database::Value;
use changeover::primitives::{FlagKey, Instant};
use changeover::store::audit::{self, Verdict};
use changeover::store::tokens::{self, Refusal, Role};
use changeover::store::{Memory, PageRequest, StoreError, flags};

use super::{ORIGIN, open};
use crate::support::each_database;

const FLAG: &str = r#"{"key":"a","type":"boolean","enabled":true,"variants":{"on":true,"off":false},"default_variant":"off","off_variant":"off","rules":[]}"#;

fn key() -> FlagKey {
    FlagKey::new("a").unwrap()
}

#[test]
fn of_two_writers_who_saw_the_same_version_one_is_refused() {
    each_database(|database| {
        let store = open(&database);
        let first = store.write(|conn| flags::create(conn, &key(), FLAG, ORIGIN)).unwrap();
        let again = store.write(|conn| flags::create(conn, &key(), FLAG, ORIGIN)).unwrap_err();
        assert!(matches!(again, StoreError::Exists { .. }));
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let write = || store.write(|conn| flags::replace(conn, &key(), FLAG, Some(first.version), ORIGIN));
            let writers: Vec<_> = (0..8).map(|_| scope.spawn(write)).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for outcome in outcomes.into_iter().filter_map(Result::err) {
            assert!(matches!(outcome, StoreError::Stale { .. }), "{outcome}");
        }
        store.write(|conn| flags::remove(conn, &key(), None, ORIGIN)).unwrap();
        let anew = store.write(|conn| flags::create(conn, &key(), FLAG, ORIGIN)).unwrap();
        let history = store.read(|conn| flags::history(conn, &key(), &PageRequest::first())).unwrap();
        let versions: Vec<i64> = history.items.iter().map(|version| version.version).collect();
        assert_eq!(versions.len(), 4);
        assert_eq!(versions[0], anew.version);
        assert!(versions.is_sorted_by(|newer, older| newer > older), "{versions:?}");
        assert_eq!(history.items[1].data, None, "the removal is part of the history");
    });
}

#[test]
fn the_audit_log_tells_when_a_row_was_altered_or_taken_out() {
    each_database(|database| {
        let store = open(&database);
        for _ in 0..3 {
            store.write(|conn| flags::create(conn, &key(), FLAG, ORIGIN)).unwrap();
            store.write(|conn| flags::remove(conn, &key(), None, ORIGIN)).unwrap();
        }
        let verdict = || store.read(audit::verify).unwrap();
        assert_eq!(verdict(), Verdict::Whole { rows: 6 });
        let mut connection = database.connection();
        let mut set = |id: i64, actor: &str| {
            let update = "UPDATE svc_changeover_audit SET actor = $1 WHERE id = $2";
            connection.execute(update, &[Value::from(actor), Value::from(id)]).unwrap();
        };
        set(4, "mallory");
        assert_eq!(verdict(), Verdict::Broken { id: 4 });
        set(4, "ada");
        assert_eq!(verdict(), Verdict::Whole { rows: 6 });
        connection.batch("DELETE FROM svc_changeover_audit WHERE id = 6").unwrap();
        assert_eq!(verdict(), Verdict::Broken { id: 6 });
    });
}

#[test]
fn memory_follows_the_store_and_keeps_what_it_has() {
    each_database(|database| {
        let store = open(&database);
        let memory = Memory::load(store.clone()).unwrap();
        assert!(!memory.refresh().unwrap(), "nothing is new");
        let stored = store.write(|conn| flags::create(conn, &key(), FLAG, ORIGIN)).unwrap();
        let issued = store.write(|conn| tokens::create(conn, "app", Role::Evaluate, None, ORIGIN)).unwrap();
        assert!(memory.snapshot().find_flag("a").is_none());
        assert!(memory.refresh().unwrap());
        assert_eq!(memory.snapshot().find_flag("a").unwrap().version(), stored.version);
        assert_eq!(memory.keyring().check(&issued.text, now()).unwrap().name, "app");
        database.connection().batch("UPDATE svc_changeover_flags SET data = 'x'").unwrap();
        store
            .write(|conn| flags::create(conn, &FlagKey::new("b").unwrap(), &FLAG.replace("\"a\"", "\"b\""), ORIGIN))
            .unwrap();
        memory.refresh().unwrap();
        assert!(memory.snapshot().find_flag("b").is_some(), "one unreadable flag does not hold up the others");
    });
}

#[test]
fn a_token_is_good_until_it_expires_or_is_revoked() {
    each_database(|database| {
        let store = open(&database);
        let first = store.write(tokens::create_first).unwrap().unwrap();
        assert!(store.write(tokens::create_first).unwrap().is_none(), "only the first start makes one");
        let soon = Instant::from_micros(now().as_micros() + 60_000_000);
        let short = store.write(|conn| tokens::create(conn, "short", Role::Viewer, Some(soon), ORIGIN)).unwrap();
        let keyring = store.read(tokens::Keyring::load).unwrap();
        assert_eq!(keyring.check(&short.text, now()).unwrap().role, Role::Viewer);
        assert_eq!(keyring.check(&short.text, soon), Err(Refusal::Expired));
        for wrong in ["", "co_", "co__", &first.text[..first.text.len() - 1], &first.text.replace("co_", "ci_")] {
            assert_eq!(keyring.check(wrong, now()), Err(Refusal::Unknown), "{wrong}");
        }
        let swapped = format!("co_{}_{}", short.token.id, first.text.rsplit('_').next().unwrap());
        assert_eq!(keyring.check(&swapped, now()), Err(Refusal::Unknown));
        store.write(|conn| tokens::revoke(conn, &first.token.id, ORIGIN)).unwrap();
        let keyring = store.read(tokens::Keyring::load).unwrap();
        assert_eq!(keyring.check(&first.text, now()), Err(Refusal::Revoked));
        let rows = database.connection().query("SELECT * FROM svc_changeover_tokens", &[]).unwrap();
        let secret = first.text.rsplit('_').next().unwrap();
        assert!(!format!("{rows:?}").contains(secret), "the secret is not stored");
    });
}

fn now() -> Instant {
    jiff::Timestamp::now().into()
}
