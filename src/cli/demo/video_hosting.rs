//! Generated data of the video-hosting example: any number of charges, the same for the same seed, and every shape that a
//! billing table has. No clock: the running month is an argument.

use std::collections::BTreeMap;

use super::example::{Example, LoadError, create_tables, settle};
use super::insert::{Field, Insert};
use super::random::Random;
use crate::database::{DatabaseConnection, DatabaseError};
use crate::primitives::{Period, PeriodScheme};

/// Months of history, the running one included.
const PERIODS: u64 = 4;
/// Charges that a refund may still reverse: the latest ones, at most this many.
const REFUNDABLE_MAX: usize = 64;

const COMPANIES: [&str; 12] = [
    "Łódź Filmów sp. z o.o.",
    "東京動画株式会社",
    "O'Hara & Sons",
    "Müller Überall GmbH",
    "مرئيات القاهرة",
    "Crème brûlée TV",
    "स्वागत फ़िल्म्स",
    "🎬 Reel Deal",
    "Nordlys A/S",
    "Plain Pictures Ltd",
    "100% \"Quoted\" Inc.",
    "Ωmega\\Video",
];
const GIVEN_NAMES: [&str; 10] =
    ["Ada", "Björn", "Chiara", "Đặng", "Émile", "Fatima", "Grace", "Hana", "Iñigo", "Jürgen"];

/// What to generate.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Everything else is derived from the number of charges.
    pub charges: u64,
    pub seed: u64,
    /// The running month; the history ends with it.
    pub running: Period,
}

/// Rows that have been loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Loaded {
    pub users: u64,
    pub videos: u64,
    pub charges: u64,
    /// Members of accounts that are shared from the start.
    pub members: u64,
}

impl Plan {
    #[must_use]
    pub fn users(&self) -> u64 {
        (self.charges / 20).max(10)
    }

    #[must_use]
    pub fn videos(&self) -> u64 {
        (self.charges / 5).max(self.users())
    }

    /// The months of the history, the running one last.
    #[must_use]
    pub fn periods(&self) -> Vec<Period> {
        let mut periods = vec![self.running];
        for _ in 1..PERIODS {
            periods.extend(periods.last().and_then(|period| PeriodScheme::default().previous(*period).ok()));
        }
        periods.reverse();
        periods
    }

    /// Members who join later: owner, user and weight of each, about one for twenty users; never one who is a member from
    /// the start.
    #[must_use]
    pub fn joiners(&self) -> Vec<Member> {
        let users = self.users();
        let mut random = Random::new(self.seed ^ 0x6a6f_696e);
        (1..=users)
            .filter(|owner| owner % 20 == 5)
            .map(|owner| Member {
                owner,
                user: 1 + (owner + 7 + random.below(users.saturating_sub(10))) % users,
                weight: random.between(1, 4),
            })
            .filter(|member| member.user != member.owner)
            .collect()
    }

    /// Accounts that are shared from the start, and with whom: two owners in ten share theirs with one to four users.
    fn founders(&self) -> Vec<Member> {
        let users = self.users();
        let mut random = Random::new(self.seed ^ 0x666f_756e);
        let mut members = Vec::new();
        for owner in (1..=users).filter(|owner| owner % 10 == 1 || owner % 10 == 2) {
            for nth in 1..=1 + random.below(4) {
                let user = 1 + (owner + nth) % users;
                members.push(Member { owner, user, weight: random.between(1, 5) });
            }
        }
        members
    }
}

/// A user who shares another one's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub owner: u64,
    pub user: u64,
    pub weight: i64,
}

/// Creates the example's tables and fills the old model, and of the new model only what no old table knows: who shares
/// whose account. One transaction: it is all there or nothing is.
pub fn load(connection: &mut DatabaseConnection, plan: &Plan) -> Result<Loaded, LoadError> {
    connection.in_transaction(|connection| {
        create_tables(connection, Example::VideoHosting)?;
        let users = load_users(connection, plan)?;
        let members = load_founders(connection, plan)?;
        let mut random = Random::new(plan.seed);
        let owners = load_videos(connection, plan, &mut random)?;
        let charges = load_charges(connection, plan, &owners, &mut random)?;
        settle(connection, Example::VideoHosting, &["users", "videos", "charges", "accounts"])?;
        Ok(Loaded { users, videos: plan.videos(), charges, members })
    })
}

fn load_users(connection: &mut DatabaseConnection, plan: &Plan) -> Result<u64, DatabaseError> {
    let mut insert = Insert::into("users", "id, name, company");
    for id in 1..=plan.users() {
        let name = format!("{} {id}", choice(&GIVEN_NAMES, id));
        // Half of the users have no company.
        let company = (id % 2 == 0).then(|| choice(&COMPANIES, id / 2));
        insert.push(connection, &[integer(id), Field::Text(&name), company.into()])?;
    }
    insert.finish(connection)
}

fn load_founders(connection: &mut DatabaseConnection, plan: &Plan) -> Result<u64, DatabaseError> {
    let founders = plan.founders();
    let shared: BTreeMap<u64, Option<&str>> = founders
        .iter()
        .map(|member| (member.owner, (member.owner % 2 == 0).then(|| choice(&COMPANIES, member.owner / 2))))
        .collect();
    let mut accounts = Insert::into("accounts", "id, owner_id, name");
    for (owner, company) in shared {
        accounts.push(connection, &[integer(owner), integer(owner), company.into()])?;
    }
    accounts.finish(connection)?;
    let mut members = Insert::into("memberships", "account_id, user_id, role, weight");
    for member in founders {
        let row = [integer(member.owner), integer(member.user), Field::Text("member"), Field::Integer(member.weight)];
        members.push(connection, &row)?;
    }
    members.finish(connection)
}

/// Returns the user of each video, in the order of the videos' ids.
fn load_videos(
    connection: &mut DatabaseConnection,
    plan: &Plan,
    random: &mut Random,
) -> Result<Vec<u64>, DatabaseError> {
    let mut insert = Insert::into("videos", "id, user_id, title");
    let mut owners = Vec::new();
    for id in 1..=plan.videos() {
        // Everybody has a video; some have many.
        let upto = 1 + random.below(plan.users());
        let owner = if id <= plan.users() { id } else { 1 + random.below(upto) };
        let title = format!("Video {id}");
        insert.push(connection, &[integer(id), integer(owner), Field::Text(&title)])?;
        owners.push(owner);
    }
    insert.finish(connection)?;
    Ok(owners)
}

fn load_charges(
    connection: &mut DatabaseConnection,
    plan: &Plan,
    owners: &[u64],
    random: &mut Random,
) -> Result<u64, DatabaseError> {
    let periods: Vec<String> = plan.periods().iter().map(ToString::to_string).collect();
    let mut months = Insert::into("periods", "period");
    for period in &periods {
        months.push(connection, &[Field::Text(period)])?;
    }
    months.finish(connection)?;
    let mut insert = Insert::into("charges", "id, user_id, video_id, period, currency, amount_minor, reverses_id");
    let mut refundable: Vec<(u64, Charge)> = Vec::new();
    for id in 1..=plan.charges {
        let nth_period = (id - 1) * PERIODS / plan.charges.max(1);
        let refunded = if random.permille(40) { take_any(&mut refundable, random) } else { None };
        let (charge, reverses) = match refunded {
            Some((original, charge)) => (Charge { amount: -charge.amount, ..charge }, integer(original)),
            None => (Charge::random(owners, random), Field::Null),
        };
        let row = [
            integer(id),
            integer(charge.user),
            integer(charge.video),
            Field::Text(usize::try_from(nth_period).ok().and_then(|nth| periods.get(nth)).map_or("", String::as_str)),
            Field::Text(charge.currency),
            Field::Integer(charge.amount),
            reverses,
        ];
        insert.push(connection, &row)?;
        if matches!(reverses, Field::Null) {
            refundable.push((id, charge));
            if refundable.len() > REFUNDABLE_MAX {
                refundable.remove(0);
            }
        }
    }
    insert.finish(connection)
}

/// Removes and returns one of the charges.
fn take_any(charges: &mut Vec<(u64, Charge)>, random: &mut Random) -> Option<(u64, Charge)> {
    let position = usize::try_from(random.below(u64::try_from(charges.len()).ok()?)).ok()?;
    (position < charges.len()).then(|| charges.swap_remove(position))
}

/// What a charge says besides its id and period.
#[derive(Debug, Clone, Copy)]
struct Charge {
    user: u64,
    video: u64,
    currency: &'static str,
    amount: i64,
}

impl Charge {
    fn random(owners: &[u64], random: &mut Random) -> Self {
        let position = random.below(u64::try_from(owners.len()).unwrap_or(0));
        let user = usize::try_from(position).ok().and_then(|position| owners.get(position)).copied().unwrap_or(1);
        let currency = currency_of(user);
        Self { user, video: position + 1, currency, amount: random_amount(currency, random) }
    }
}

/// A user is billed in one currency.
#[must_use]
pub fn currency_of(user: u64) -> &'static str {
    match user % 20 {
        0..=9 => "EUR",
        10..=15 => "USD",
        16..=18 => "JPY",
        _ => "BHD",
    }
}

/// Mostly ordinary amounts, some of them zero, one unit, a round thousand, or very large.
pub fn random_amount(currency: &str, random: &mut Random) -> i64 {
    let ordinary = if currency == "JPY" { random.between(50, 20_000) } else { random.between(99, 99_999) };
    match random.below(1000) {
        0..=29 => 0,
        30..=59 => 1,
        60..=99 => 1_000,
        100..=101 => ordinary.saturating_mul(10_000_000),
        _ => ordinary,
    }
}

fn integer(number: u64) -> Field<'static> {
    Field::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The `number`th of the choices, which are gone round.
fn choice(choices: &[&'static str], number: u64) -> &'static str {
    let length = u64::try_from(choices.len()).unwrap_or(1).max(1);
    usize::try_from(number % length).ok().and_then(|position| choices.get(position)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(charges: u64) -> Plan {
        Plan { charges, seed: 1, running: "2026-02".parse().unwrap() }
    }

    #[test]
    fn the_history_ends_with_the_running_month() {
        let periods: Vec<String> = plan(1).periods().iter().map(ToString::to_string).collect();
        assert_eq!(periods, ["2025-11", "2025-12", "2026-01", "2026-02"]);
    }

    #[test]
    fn nobody_joins_an_account_twice() {
        for charges in [1, 200, 2_000, 50_000] {
            let plan = plan(charges);
            let mut seen = std::collections::BTreeSet::new();
            for member in plan.founders().into_iter().chain(plan.joiners()) {
                assert!(member.user >= 1 && member.user <= plan.users() && member.user != member.owner, "{member:?}");
                assert!(seen.insert((member.owner, member.user)), "{member:?} of {charges}");
            }
        }
    }
}
