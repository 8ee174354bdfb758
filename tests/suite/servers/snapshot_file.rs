//! The snapshot file: what was written comes back, anything else is refused, and a writer that is killed leaves a good one.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use changeover::database::DatabaseUrl;
use changeover::flags::World;
use changeover::primitives::{CohortName, FlagKey, Instant};
use changeover::store::tokens::{self, Role};
use changeover::store::{Memory, Origin, SnapshotFile, SnapshotFileError, Store, cohorts, flags, state};
use serde_json::{Value, json};

use super::fixture::{Fleet, flag, readiness, start, wait_until};
use crate::support::{Random, TestDatabase, changeover, each_database, full_length};

const ORIGIN: Origin<'static> = Origin { actor: "ada", reason: "a test" };

fn url(database: &TestDatabase) -> DatabaseUrl {
    database.url().parse().unwrap()
}

/// A memory with something of everything, the text of a token in it, and a file of it.
fn saved(database: &TestDatabase, directory: &std::path::Path) -> (Store, Memory, String, SnapshotFile) {
    let store = Store::open(database.database()).unwrap();
    for key in ["first", "second"] {
        let data = flag(key, "b").to_string();
        store.write(|conn| flags::create(conn, &FlagKey::new(key).unwrap(), &data, ORIGIN)).unwrap();
    }
    for name in ["early", "nobody"] {
        store.write(|conn| cohorts::create(conn, &CohortName::new(name).unwrap(), "", ORIGIN)).unwrap();
    }
    let token = store.write(|conn| tokens::create(conn, "app", Role::Evaluate, None, ORIGIN)).unwrap().text;
    let ids = directory.join("ids.txt");
    std::fs::write(&ids, "7\n07\n6f9619ff-8b86-d011-b42d-00c04fc964ff\nada@example.org\n").unwrap();
    changeover().service(database).args(["cohort", "import", "early"]).arg(&ids).run().expect_code(0);
    let conditions = r#"[[{"attribute":"plan","operator":"equals","value":"staff"}]]"#;
    let describe = format!("UPDATE svc_changeover_cohorts SET conditions = '{conditions}' WHERE name = 'nobody'");
    database.connection().batch(&describe).unwrap();
    let memory = Memory::load(store.clone()).unwrap();
    let file = SnapshotFile::new(directory.join("state/a.snapshot"), &url(database));
    file.write(&memory.contents()).unwrap();
    (store, memory, token, file)
}

#[test]
fn what_was_saved_comes_back_whole_and_nobody_else_may_read_it() {
    each_database(|database| {
        let directory = tempfile::tempdir().unwrap();
        let (store, memory, token, file) = saved(&database, directory.path());
        assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read(file.path()).unwrap();
        let secret = token.rsplit('_').next().unwrap();
        assert!(!String::from_utf8_lossy(&text).contains(secret), "only hashes of tokens are in it");
        let again = Memory::starting(Store::unprepared(database.database()), file.read().unwrap());
        assert_eq!(again.snapshot().digest(), memory.snapshot().digest());
        for (one, other) in again.snapshot().cohorts().iter().zip(memory.snapshot().cohorts()) {
            assert_eq!(one, other, "with its conditions");
        }
        assert_eq!(again.confirmed_at(), memory.confirmed_at());
        let early = again.snapshot().find_cohort("early").unwrap();
        for (id, is_in) in [("7", true), ("07", true), ("8", false), ("ada@example.org", true)] {
            assert_eq!(again.snapshot().is_member(early, id), is_in, "{id}");
        }
        let now = Instant::from_micros(memory.confirmed_at().as_micros() + 1);
        assert_eq!(again.keyring().check(&token, now).unwrap().name, "app");
        // What has not changed since is not read again, what has is.
        store
            .write(|conn| flags::create(conn, &FlagKey::new("third").unwrap(), &flag("third", "a").to_string(), ORIGIN))
            .unwrap();
        assert!(again.refresh().unwrap());
        assert!(again.snapshot().find_flag("third").is_some());
        let cohorts = |memory: &Memory| memory.snapshot().cohorts()[0].clone();
        assert!(cohorts(&again).ids().len() == 4 && !Arc::ptr_eq(&cohorts(&again), &cohorts(&memory)));
    });
}

#[test]
fn a_file_of_which_a_byte_is_different_is_refused() {
    let database = TestDatabase::sqlite();
    let directory = tempfile::tempdir().unwrap();
    let (.., file) = saved(&database, directory.path());
    let good = std::fs::read(file.path()).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(file.path(), bytes).unwrap();
        assert!(file.read().is_err(), "{what}");
    };
    let mut random = Random::new(5);
    for _ in 0..full_length(5_000, 400) {
        let mut bytes = good.clone();
        let at = random.index(bytes.len());
        bytes[at] ^= 1 << random.below(8);
        refused(&bytes, &format!("a bit of byte {at}"));
        let length = random.index(good.len());
        refused(&good[..length], &format!("cut off after {length} bytes"));
        let mut longer = good.clone();
        longer.extend((0..=random.below(64)).map(|_| random.below(256) as u8));
        refused(&longer, "more at its end");
    }
    std::fs::write(file.path(), &good).unwrap();
    assert!(file.read().unwrap().is_some());
    let mut other = good.clone();
    other[16] = 200;
    std::fs::write(file.path(), &other).unwrap();
    assert!(matches!(file.read(), Err(SnapshotFileError::OtherFormat { found: 200, .. })));
    std::fs::write(file.path(), "[flags]\n").unwrap();
    assert!(matches!(file.read(), Err(SnapshotFileError::Foreign { .. })));
    std::fs::write(file.path(), &good).unwrap();
    let other = SnapshotFile::new(file.path().to_owned(), &"sqlite:another.db".parse().unwrap());
    assert!(matches!(other.read(), Err(SnapshotFileError::OtherDatabase { .. })));
}

#[test]
fn a_damaged_file_is_no_obstacle_while_the_database_is_there() {
    each_database(|database| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.snapshot");
        std::fs::write(&file, "something else").unwrap();
        let server = start(&database, &file);
        assert!(server.output().contains("the snapshot file is not used"), "{}", server.output());
        assert_eq!(readiness(&server)["status"], "ready");
        wait_until("it is written anew", || {
            SnapshotFile::new(file.clone(), &url(&database)).read().is_ok_and(|saved| saved.is_some())
        });
    });
}

#[test]
fn a_server_that_is_killed_leaves_the_old_file_or_the_new_one() {
    let database = TestDatabase::sqlite();
    let fleet = Fleet::start(&database, 1);
    fleet.write(0, "POST", "/api/v1/cohorts", &json!({"name": "many"}));
    let (path, token) = (fleet.file(0), fleet.token.clone());
    wait_until("a first file is there", || path.exists());
    let kept = PathBuf::from(format!("{}.kept", path.display()));
    let mut random = Random::new(3);
    let mut newest = 0;
    for round in 0..full_length(60, 8) {
        let server = start(&database, &path);
        for step in 0..3 {
            let ids: Vec<String> = (0..50_000).map(|nth| (nth * 7 + round * 3 + step).to_string()).collect();
            let body = ids.join("\n");
            let headers = [("content-type", "text/plain")];
            let answer = server.send_as(&token, "PUT", "/api/v1/cohorts/many/ids", &headers, Some(body.as_bytes()));
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        std::thread::sleep(Duration::from_millis(random.below(400)));
        drop(server);
        std::fs::copy(&path, &kept).unwrap();
        let saved = SnapshotFile::new(kept.clone(), &url(&database)).read().unwrap().unwrap();
        let committed = Store::open(database.database()).unwrap().read(state::versions).unwrap();
        assert!(saved.versions.config <= committed.config, "never newer than what was committed");
        assert!(saved.versions.config >= newest, "never older than before");
        newest = saved.versions.config;
    }
    let _: Value = fleet.readiness(0);
}
