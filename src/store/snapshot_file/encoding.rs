//! The bytes of a snapshot file:
//!
//! ```text
//! changeover snap\n   16 bytes
//! format              u32
//! length of the body  u64
//! sha-256 of the body 32 bytes
//! body                length and JSON (versions, flags, tokens, edges, names of cohorts); then each cohort's ids, length first
//! ```
//!
//! Numbers are little-endian. No I/O here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::flags::{Cohort, CohortConditions, CohortIds, Flag, Snapshot, VersionedFlag};
use crate::primitives::{CohortName, Instant};
use crate::store::edge_memory::{Edges, SavedEdge};
use crate::store::memory::{Contents, Saved, UnreadableFlag};
use crate::store::state::Versions;
use crate::store::tokens::{Keyring, SavedToken};

const MAGIC: &[u8; 16] = b"changeover snap\n";

/// Counts up whenever the bytes below mean something else.
pub(super) const FORMAT: u32 = 1;

/// Why bytes are not taken for a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Foreign,
    OtherFormat(u32),
    Damaged(String),
}

#[derive(Serialize, Deserialize)]
struct Head {
    database: String,
    epoch: String,
    config_version: i64,
    config_changed_at: i64,
    token_version: i64,
    confirmed_at: i64,
    flags: Vec<SavedFlag>,
    cohorts: Vec<SavedCohort>,
    tokens: Vec<SavedToken>,
    /// A file written by an earlier version has none.
    #[serde(default)]
    edges: Vec<SavedEdge>,
}

#[derive(Serialize, Deserialize)]
struct SavedFlag {
    key: String,
    version: i64,
    flag: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
struct SavedCohort {
    name: String,
    generation: i64,
    conditions: CohortConditions,
}

pub(super) fn encode(database: &str, contents: &Contents) -> Vec<u8> {
    let mut body = Vec::new();
    // Texts, numbers and flags always serialize.
    write_block(&mut body, &serde_json::to_vec(&head(database, contents)).unwrap_or_default());
    for cohort in contents.snapshot.cohorts() {
        write_block(&mut body, &cohort.ids().to_bytes());
    }
    let mut bytes = Vec::with_capacity(body.len() + 64);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&length(&body));
    bytes.extend_from_slice(&Sha256::digest(&body));
    bytes.extend_from_slice(&body);
    bytes
}

fn head(database: &str, contents: &Contents) -> Head {
    let snapshot = &contents.snapshot;
    let flags = snapshot.flags().iter().filter_map(|flag| {
        let data = serde_json::value::to_raw_value(flag.flag()).ok()?;
        Some(SavedFlag { key: flag.flag().key().to_string(), version: flag.version(), flag: data })
    });
    let cohorts = snapshot.cohorts().iter();
    Head {
        database: database.to_owned(),
        epoch: contents.versions.epoch.clone(),
        config_version: contents.versions.config,
        config_changed_at: contents.versions.config_changed_at.as_micros(),
        token_version: contents.versions.tokens,
        confirmed_at: contents.confirmed_at.as_micros(),
        flags: flags.collect(),
        cohorts: cohorts
            .map(|cohort| SavedCohort {
                name: cohort.name().to_string(),
                generation: cohort.generation(),
                conditions: cohort.conditions().clone(),
            })
            .collect(),
        tokens: contents.keyring.to_saved(),
        edges: contents.edges.to_saved(),
    }
}

/// The database's name and what was saved of it.
pub(super) fn decode(bytes: &[u8]) -> Result<(String, Saved), Refusal> {
    let mut rest = bytes;
    if take(&mut rest, MAGIC.len()) != Some(MAGIC.as_slice()) {
        return Err(if MAGIC.starts_with(bytes) { damaged("it is cut off") } else { Refusal::Foreign });
    }
    let format = u32::from_le_bytes(array(&mut rest)?);
    if format != FORMAT {
        return Err(Refusal::OtherFormat(format));
    }
    let expected_length = u64::from_le_bytes(array(&mut rest)?);
    let checksum: [u8; 32] = array(&mut rest)?;
    if u64::try_from(rest.len()).ok() != Some(expected_length) {
        return Err(damaged(&format!("it has {} bytes of content instead of {expected_length}", rest.len())));
    }
    if Sha256::digest(rest).as_slice() != checksum {
        return Err(damaged("its checksum is not that of its content"));
    }
    let mut head: Head =
        serde_json::from_slice(read_block(&mut rest)?).map_err(|error| damaged(&format!("its content: {error}")))?;
    let mut cohorts = Vec::with_capacity(head.cohorts.len());
    for saved in std::mem::take(&mut head.cohorts) {
        let name = CohortName::new(&saved.name).map_err(|error| damaged(&error.to_string()))?;
        let ids = CohortIds::from_bytes(read_block(&mut rest)?).map_err(|error| damaged(&error.to_string()))?;
        cohorts.push(Arc::new(Cohort::new(name, saved.generation, ids).with_conditions(saved.conditions)));
    }
    if !rest.is_empty() {
        return Err(damaged("there is more in it than it says"));
    }
    Ok((head.database.clone(), saved(head, cohorts)))
}

fn saved(head: Head, cohorts: Vec<Arc<Cohort>>) -> Saved {
    let mut unreadable = Vec::new();
    let mut flags = Vec::with_capacity(head.flags.len());
    for SavedFlag { key, version, flag } in head.flags {
        match Flag::parse(flag.get()) {
            Ok(flag) => flags.push(VersionedFlag { flag, version }),
            Err(error) => {
                unreadable.push(UnreadableFlag { key, version, served: None, reason: error.to_string() });
            }
        }
    }
    let versions = Versions {
        epoch: head.epoch,
        config: head.config_version,
        config_changed_at: Instant::from_micros(head.config_changed_at),
        tokens: head.token_version,
    };
    Saved {
        snapshot: Snapshot::build(versions.config, versions.config_changed_at, flags, cohorts),
        keyring: Keyring::from_saved(head.tokens),
        edges: Edges::from_saved(head.edges),
        confirmed_at: Instant::from_micros(head.confirmed_at),
        versions,
        unreadable,
    }
}

fn damaged(what: &str) -> Refusal {
    Refusal::Damaged(what.to_owned())
}

fn length(bytes: &[u8]) -> [u8; 8] {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes()
}

fn write_block(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length(bytes));
    out.extend_from_slice(bytes);
}

fn read_block<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Refusal> {
    let length = u64::from_le_bytes(array(rest)?);
    let length = usize::try_from(length).map_err(|_| damaged("a part of it is too long"))?;
    take(rest, length).ok_or_else(|| damaged("it is cut off"))
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Refusal> {
    take(rest, N).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| damaged("it is cut off"))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}
