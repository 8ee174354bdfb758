//! Many questions at once: a line in, a line out, in order, with as little in memory as one batch has.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, BufRead, Read as _, Write};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::decide::Decider;
use super::error::RoutingError;
use super::question::{Answer, Because, Known, Question, Router, period_of, settled};
use super::record::{Mark, insert_absent, sides_of};
use super::routed::{Hold, lock_standing};
use super::side::{GroupId, Side};
use crate::flags::Snapshot;
use crate::primitives::{ChangeName, Instant, Period};

/// Questions that are answered by one look into the database.
pub const BATCH_LINES: usize = 1_000;
/// The longest line.
pub const LINE_BYTES_MAX: usize = 4_096;
const ATTEMPTS: u32 = 8;

/// What all questions of a stream have in common.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    pub change: &'a ChangeName,
    /// `None`: the one that contains `at`.
    pub period: Option<Period>,
    pub actor: &'a str,
    pub at: Instant,
    /// False: a first question is answered as if it were recorded, and is not.
    pub record: bool,
}

/// A line that asks: a user's id or a group's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Whose {
    User(String),
    Group(String),
}

/// A line that answers. `line` counts from 1.
#[derive(Debug, Serialize, ToSchema)]
pub struct AnswerLine {
    pub line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub answer: Option<Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How many lines were answered, and how many could not be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Asked {
    pub lines: u64,
    pub errors: u64,
}

impl Router {
    /// Answers each line of `input` with a line of `output`. A line that is no question gets an error line and the rest goes on.
    pub fn ask_lines(
        &self,
        snapshot: &Snapshot,
        asking: Asking<'_>,
        mut input: impl BufRead,
        mut output: impl Write,
    ) -> Result<Asked, AskError> {
        let mut asked = Asked::default();
        loop {
            let mut lines = Vec::new();
            while lines.len() < BATCH_LINES
                && let Some(line) = read_line(&mut input)?
            {
                lines.push(line);
            }
            if lines.is_empty() {
                return Ok(asked);
            }
            for answer in self.ask(snapshot, asking, asked.lines, &lines)? {
                asked.lines += 1;
                asked.errors += u64::from(answer.error.is_some());
                serde_json::to_writer(&mut output, &answer).map_err(io::Error::from)?;
                output.write_all(b"\n")?;
            }
            output.flush()?;
        }
    }

    /// Answers one batch of lines, of which the first has the number `before + 1`.
    pub fn ask(
        &self,
        snapshot: &Snapshot,
        asking: Asking<'_>,
        before: u64,
        lines: &[Vec<u8>],
    ) -> Result<Vec<AnswerLine>, RoutingError> {
        let known = self.known_now(asking.change)?;
        let period = period_of(&asking.question(), &known)?;
        let read: Vec<Result<Whose, String>> = lines.iter().map(|line| parse(line)).collect();
        let users: Vec<&str> = read
            .iter()
            .filter_map(|whose| match whose {
                Ok(Whose::User(user)) => Some(user.as_str()),
                Ok(Whose::Group(_)) | Err(_) => None,
            })
            .collect();
        let found = known.lookup.groups_of(&mut *self.database().connection()?, &users)?;
        let group_of = |whose: &Whose| match whose {
            Whose::User(user) => found.get(user.as_str()).cloned(),
            Whose::Group(group) => GroupId::new(group).ok(),
        };
        let groups: BTreeSet<GroupId> = read.iter().flatten().filter_map(group_of).collect();
        let groups: Vec<GroupId> = groups.into_iter().collect();
        let sides = self.sides(snapshot, asking, (&known, period), &groups)?;
        let unknown = if sides.everybody_new.is_some() { Side::New } else { Side::Old };
        let answers = (before + 1..).zip(read).map(|(line, whose)| match whose {
            Err(error) => AnswerLine { line, user: None, answer: None, error: Some(error) },
            Ok(whose) => {
                let group = group_of(&whose);
                let settled = group.as_ref().and_then(|group| sides.known.get(group).copied());
                let (side, because) = settled.unwrap_or((unknown, sides.everybody_new.unwrap_or(Because::UnknownUser)));
                let user = match whose {
                    Whose::User(user) => Some(user),
                    Whose::Group(_) => None,
                };
                AnswerLine { line, user, answer: Some(Answer { side, group, because }), error: None }
            }
        });
        Ok(answers.collect())
    }

    /// The sides of these groups, in the order of their ids; those that have none get one, if that is wanted.
    fn sides(
        &self,
        snapshot: &Snapshot,
        asking: Asking<'_>,
        (known, period): (&Known, Period),
        groups: &[GroupId],
    ) -> Result<Sides, RoutingError> {
        let first = self.settle(asking, period, groups)?;
        if first.open.is_empty() {
            return Ok(first);
        }
        let decider = Decider::new(&known.change, snapshot, |cohort| self.widen(cohort, known))?;
        let mut decided: HashMap<Side, Vec<&GroupId>> = HashMap::new();
        for group in &first.open {
            let side = match first.everybody_new {
                Some(_) => Side::New,
                None => decider.side_of(group, asking.at)?,
            };
            decided.entry(side).or_default().push(group);
        }
        let mut sides = first.known;
        if !asking.record {
            for (side, groups) in decided {
                sides.extend(groups.into_iter().map(|group| (group.clone(), (side, Because::NotRecorded))));
            }
            return Ok(Sides { known: sides, open: Vec::new(), everybody_new: first.everybody_new });
        }
        let reason = decider.because("first question in the period");
        let (at, flag_version) = (asking.at.as_micros(), Some(decider.flag_version()));
        let mark = Mark { at, actor: asking.actor, reason: &reason, flag_version };
        let mut connection = self.database().connection()?;
        connection.in_transaction_with_retry(ATTEMPTS, RoutingError::is_retryable, |connection| {
            lock_standing(connection, asking.change, Hold::Shared)?.check_writable(asking.change, period)?;
            for side in [Side::Old, Side::New] {
                let groups = decided.get(&side).into_iter().flatten().copied();
                insert_absent(connection, asking.change, period, side, groups, &mark)?;
            }
            Ok::<_, RoutingError>(())
        })?;
        drop(connection);
        // Read again: another server may have been faster for some of them.
        let mut recorded = self.settle(asking, period, &first.open)?;
        for (_, because) in recorded.known.values_mut() {
            *because = Because::FirstQuestion;
        }
        recorded.known.extend(sides);
        Ok(Sides { known: recorded.known, open: Vec::new(), everybody_new: first.everybody_new })
    }

    /// What follows from what is stored.
    fn settle(&self, asking: Asking<'_>, period: Period, groups: &[GroupId]) -> Result<Sides, RoutingError> {
        let mut connection = self.database().connection()?;
        let standing = lock_standing(&mut connection, asking.change, Hold::Shared)?;
        let recorded = sides_of(&mut connection, asking.change, period, groups)?;
        let stage = standing.stage;
        let everybody_new = stage.is_everybody_new().then_some(Because::EverybodyNew { stage });
        let mut sides = Sides { known: HashMap::new(), open: Vec::new(), everybody_new };
        for group in groups {
            match settled(&standing, recorded.get(group).copied(), period) {
                Some(answer) => drop(sides.known.insert(group.clone(), answer)),
                None => sides.open.push(group.clone()),
            }
        }
        Ok(sides)
    }
}

/// The sides of some groups.
struct Sides {
    known: HashMap<GroupId, (Side, Because)>,
    /// Those that have none yet.
    open: Vec<GroupId>,
    everybody_new: Option<Because>,
}

impl<'a> Asking<'a> {
    fn question(&self) -> Question<'a> {
        Question { change: self.change, user: "", period: self.period, actor: self.actor, at: self.at }
    }
}

/// Why a stream of questions broke off.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Routing(#[from] RoutingError),
    #[error("a line cannot be read or written")]
    Lines(#[from] io::Error),
}

/// One line without its end. Of a longer one no more than [`LINE_BYTES_MAX`] is kept, and one byte that tells.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > LINE_BYTES_MAX {
        skip_line(input)?;
    }
    Ok(Some(line))
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let piece = input.fill_buf()?;
        let (used, ended) = match piece.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (piece.len(), piece.is_empty()),
        };
        input.consume(used);
        if ended {
            return Ok(());
        }
    }
}

fn parse(line: &[u8]) -> Result<Whose, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
    }
    let whose: Whose = serde_json::from_slice(line)
        .map_err(|error| format!("not a question, write {{\"user\": \"ID\"}} or {{\"group\": \"ID\"}}: {error}"))?;
    match &whose {
        Whose::Group(group) => GroupId::new(group).map(drop).map_err(|error| error.to_string())?,
        Whose::User(user) if user.contains('\0') => return Err(String::from("a user's id has no zero byte")),
        Whose::User(_) => {}
    }
    Ok(whose)
}
