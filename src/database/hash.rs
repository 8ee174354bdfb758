//! The SQL function `changeover_hash` of SQLite connections: PostgreSQL has one built in, SQLite has none.

use diesel::{SqliteConnection, define_sql_function, sql_types};
use sha2::{Digest, Sha256};

define_sql_function! {
    /// 64 bits of a text's sha-256, the same on every machine and in every version.
    fn changeover_hash(text: sql_types::Text) -> sql_types::BigInt;
}

pub(super) fn register(connection: &mut SqliteConnection) -> diesel::QueryResult<()> {
    changeover_hash_utils::register_impl(connection, |text: String| {
        let digest = Sha256::digest(text.as_bytes());
        digest.iter().take(8).fold(0i64, |hash, byte| (hash << 8) | i64::from(*byte))
    })
}
